package storagetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// restored: what is damaged is replaced by what its name says, and by nothing else; who reads it meanwhile gets no mixture.
func restored(t *testing.T, store storage.Store, again func() storage.Store) {
	for _, size := range []int{100, 2 << 20} {
		data := Pattern(size)
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		key := "blobs/sha256/" + name[:2] + "/" + name
		put := func(key string, data []byte, sum string) error {
			return store.Restore(t.Context(), key, summed{bytes.NewReader(data), sum}, int64(len(data)), "application/octet-stream", "immutable")
		}
		if err := put(key, data, name); err != nil {
			t.Errorf("%d bytes, of which nothing is there: %v", size, err)
		}
		expect(t, again(), key, data)
		for what, damaged := range map[string][]byte{"cut": data[:size-1], "empty": {}, "longer": append(bytes.Clone(data), 'x'), "flipped": flipped(data)} {
			if err := store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			Put(t, store, key, damaged)
			reader, info, err := store.Open(t.Context(), key, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, min(10, info.Size))
			if _, err := io.ReadFull(reader, first); err != nil {
				t.Fatal(err)
			}
			if err := put(key, data, name); err != nil {
				t.Errorf("%d bytes, %s: %v", size, what, err)
			}
			expect(t, again(), key, data)
			if rest, err := io.ReadAll(reader); err == nil && !bytes.Equal(append(first, rest...), damaged) {
				t.Errorf("%d bytes, %s: a reader got a mixture", size, what)
			}
			reader.Close()
		}
		for what, err := range map[string]error{
			"other bytes":               put(key, flipped(data), name),
			"other bytes and their sum": put(key, flipped(data), hex.EncodeToString(sha256.New().Sum(nil))),
			"a name that is no sum":     put("metadata/1.root.json", data, name),
			"a body that knows no sum":  store.Restore(t.Context(), key, bytes.NewReader(data), int64(size), "", ""),
		} {
			if err == nil {
				t.Errorf("%d bytes: %s are stored", size, what)
			}
		}
		expect(t, again(), key, data)
	}
}

func flipped(data []byte) []byte {
	other := bytes.Clone(data)
	other[len(other)/2] ^= 1
	return other
}
