package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// Pattern gives n bytes in which every position can be told from its neighbours.
func Pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}

// Seed is what RunReader expects to find.
func Seed() map[string][]byte {
	return map[string][]byte{
		"metadata/1.root.json":                    []byte(`{"signed":{}}`),
		"empty":                                   {},
		"blobs/sha256/ab/large":                   Pattern(3<<20 + 17),
		"names/with space & ~tilde@x=%41+ü.txt":   []byte("odd name"),
		"targets/catalog/p/2.1.0-rc.1~a/x.m.toml": []byte("version"),
	}
}

// RunReader is the read-only part of the suite. open gives a store that holds exactly Seed.
func RunReader(t *testing.T, open func(t *testing.T) storage.Store) {
	store := open(t)
	t.Run("whole objects", func(t *testing.T) { wholeObjects(t, store) })
	t.Run("ranges", func(t *testing.T) { ranges(t, store) })
	t.Run("unchanged", func(t *testing.T) { unchanged(t, store) })
	t.Run("absent", func(t *testing.T) { absent(t, store) })
	t.Run("endless data: reads are capped", func(t *testing.T) { capped(t, store) })
	t.Run("bad keys", func(t *testing.T) { badKeys(t, store) })
	t.Run("cancelled", func(t *testing.T) { cancelledReads(t, store) })
}

func wholeObjects(t *testing.T, store storage.Store) {
	for key, want := range Seed() {
		got, info, err := storage.ReadAll(t.Context(), store, key, 4<<20)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", key, len(got), err, len(want))
		}
		if info.Key != key || info.Size != int64(len(want)) {
			t.Errorf("%s: described as %+v", key, info)
		}
		stat, err := store.Stat(t.Context(), key)
		if err != nil || stat.Size != info.Size || stat.Key != key || stat.ETag != info.ETag {
			t.Errorf("%s: stat %+v, %v; open said %+v", key, stat, err, info)
		}
	}
}

func ranges(t *testing.T, store storage.Store) {
	const key = "blobs/sha256/ab/large"
	whole := Seed()[key]
	size := int64(len(whole))
	for _, r := range []struct{ offset, length int64 }{
		{0, -1}, {0, 1}, {0, 0}, {1, 1}, {1, -1}, {1 << 20, 4096}, {size - 1, 1}, {size - 1, 100}, {size - 10, -1},
		{size, -1}, {size, 1}, {size + 5, -1}, {size + 5, 10}, {0, size}, {0, size + 1}, {5, size},
	} {
		t.Run(fmt.Sprintf("%d+%d", r.offset, r.length), func(t *testing.T) {
			body, info, err := store.Open(t.Context(), key, r.offset, r.length)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			got, err := io.ReadAll(body)
			from, to := min(r.offset, size), size
			if r.length >= 0 {
				to = min(from+r.length, size)
			}
			if err != nil || !bytes.Equal(got, whole[from:to]) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, to-from)
			}
			if info.Size != size {
				t.Errorf("size %d, want that of the whole object, %d", info.Size, size)
			}
		})
	}
}

func unchanged(t *testing.T, store storage.Store) {
	const key = "metadata/1.root.json"
	body, info, err := store.OpenIfChanged(t.Context(), key, "")
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	if info.ETag == "" {
		t.Skip("this store has no entity tags")
	}
	if _, _, err := store.OpenIfChanged(t.Context(), key, info.ETag); !errors.Is(err, storage.ErrNotModified) {
		t.Errorf("the same tag: %v, want ErrNotModified", err)
	}
	body, _, err = store.OpenIfChanged(t.Context(), key, "another")
	if err != nil {
		t.Fatalf("another tag: %v", err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, Seed()[key]) {
		t.Errorf("another tag: %q, %v", got, err)
	}
}

func absent(t *testing.T, store storage.Store) {
	for _, key := range []string{"nothing", "metadata/2.root.json", "metadata/1.root.json/below", "no/such/directory/x"} {
		for name, err := range map[string]error{
			"open":            second(store.Open(t.Context(), key, 0, -1)),
			"open range":      second(store.Open(t.Context(), key, 5, 5)),
			"open no bytes":   second(store.Open(t.Context(), key, 0, 0)),
			"open if changed": second(store.OpenIfChanged(t.Context(), key, "x")),
			"stat":            last(store.Stat(t.Context(), key)),
		} {
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s of %s: %v, want ErrNotFound", name, key, err)
			}
			checkError(t, err, key)
		}
	}
}

func second(_ io.ReadCloser, _ storage.Info, err error) error { return err }
func last(_ storage.Info, err error) error                    { return err }

// checkError holds an error to what an operator needs: the object and a hint.
func checkError(t *testing.T, err error, key string) {
	t.Helper()
	var e *storage.Error
	if !errors.As(err, &e) {
		t.Errorf("%v is no *storage.Error", err)
		return
	}
	if e.Key != key || e.Store == "" || e.Op == "" || e.Hint() == "" {
		t.Errorf("error %q does not name the object, the store, the operation and a hint (%q)", e, e.Hint())
	}
}

func capped(t *testing.T, store storage.Store) {
	const key = "blobs/sha256/ab/large"
	for _, limit := range []int64{0, 1, 3<<20 + 16} {
		data, _, err := storage.ReadAll(t.Context(), store, key, limit)
		if !errors.Is(err, storage.ErrTooLarge) || data != nil {
			t.Errorf("limit %d: %d bytes, %v; want ErrTooLarge", limit, len(data), err)
		}
	}
}

// BadKeys are names that no store takes.
func BadKeys() []string {
	long := string(bytes.Repeat([]byte("a"), 256))
	return []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\x00b", "a\nb", "a\\b",
		"a\xffb", long, "a/" + long, "_store", "_store/lock", string(bytes.Repeat([]byte("a/"), 520)) + "a"}
}

func badKeys(t *testing.T, store storage.Store) {
	for _, key := range BadKeys() {
		for name, err := range map[string]error{
			"open": second(store.Open(t.Context(), key, 0, -1)),
			"stat": last(store.Stat(t.Context(), key)),
		} {
			var bad *storage.KeyError
			if !errors.As(err, &bad) {
				t.Errorf("%s of key %q: %v, want *KeyError", name, key, err)
			}
		}
	}
}

func cancelledReads(t *testing.T, store storage.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	body, _, err := store.Open(ctx, "blobs/sha256/ab/large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("body read after the end: %v", err)
	}
	for name, err := range map[string]error{
		"open": second(store.Open(ctx, "empty", 0, -1)),
		"stat": last(store.Stat(ctx, "empty")),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
}
