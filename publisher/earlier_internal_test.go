package publisher

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// framesOf is an object of chunks, each in a frame of its own, and what a manifest would say of it.
func framesOf(t *testing.T, chunks ...string) (object []byte, x chunk.Index, a *manifest.Artifact) {
	t.Helper()
	var raw []byte
	for _, c := range chunks {
		frame := smallCodec(t).Encode(nil, []byte(c))
		x = append(x, chunk.Chunk{SHA256: sha256.Sum256([]byte(c)), Raw: len(c), Stored: len(frame)})
		object, raw = append(object, frame...), append(raw, c...)
	}
	return object, x, &manifest.Artifact{SHA256: digest(raw), Size: int64(len(raw)), Index: manifest.Object{SHA256: "index"},
		Stored: manifest.Stored{SHA256: digest(object), Size: int64(len(object))}}
}

func smallCodec(t *testing.T) *chunk.Codec {
	t.Helper()
	c, err := chunk.NewCodec(zstd.SpeedFastest, 1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openedAs seals a file of an object, as uploader.object does.
func openedAs(t *testing.T, object []byte, x chunk.Index, a *manifest.Artifact) (*earlierObject, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(name, object, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	u := &uploader{Publisher: &Publisher{}, codec: smallCodec(t)}
	s, err := u.sealsOf(t.Context(), a, f, x)
	if err != nil {
		return nil, err
	}
	return newEarlier(f, x, s), nil
}

// TestAnEarlierObjectIsAlteredWhileItIsUsed: it was right when its frames were sealed, and is changed by somebody before one
// is taken from it, or two are exchanged. Those are not taken; the others are.
func TestAnEarlierObjectIsAlteredWhileItIsUsed(t *testing.T) {
	t.Parallel()
	object, x, a := framesOf(t, "one", "two")
	o, err := openedAs(t, object, x, a)
	if err != nil {
		t.Fatal(err)
	}
	one, two := object[:x[0].Stored], object[x[0].Stored:]
	if _, err := o.file.WriteAt([]byte("X"), int64(len(object)-1)); err != nil {
		t.Fatal(err)
	}
	if frame, ok := o.frame([]byte("before "), x[0].SHA256); !ok || string(frame) != "before "+string(one) {
		t.Errorf("the sound one: %q, %v", frame, ok)
	}
	wantNone := func(what string, at int) {
		t.Helper()
		if frame, ok := o.frame([]byte("before "), x[at].SHA256); ok || string(frame) != "before " || o.sound([]int{1 - at, at}) {
			t.Errorf("%s: %q, %v", what, frame, ok)
		}
	}
	wantNone("the altered one", 1)
	if !o.sound([]int{0}) {
		t.Error("the sound one is not")
	}
	if _, err := o.file.WriteAt(append(two, one...), 0); err != nil {
		t.Fatal(err)
	}
	wantNone("one in the place of another", 0)
	wantNone("one in the place of another", 1)
	if err := o.file.Truncate(5); err != nil {
		t.Fatal(err)
	}
	wantNone("cut", 0)
}

// TestAnEarlierObjectThatIsNotWhatWasSigned: no frame is taken from one that has other bytes or another size than its manifest says, or
// that whoever signed it made to unpack to other bytes than its index, or to another artifact than its manifest, says.
func TestAnEarlierObjectThatIsNotWhatWasSigned(t *testing.T) {
	t.Parallel()
	object, x, right := framesOf(t, "one", "two")
	if _, err := openedAs(t, object, x, right); err != nil {
		t.Fatal(err)
	}
	evil, _, _ := framesOf(t, "one", "TWO")
	for name, c := range map[string]struct {
		object []byte
		change func(a *manifest.Artifact)
	}{
		"damaged":                   {evil, func(*manifest.Artifact) {}},
		"cut":                       {object[:len(object)-1], func(*manifest.Artifact) {}},
		"longer":                    {append(bytes.Clone(object), 0), func(*manifest.Artifact) {}},
		"of another size, signed":   {object, func(a *manifest.Artifact) { a.Stored.Size-- }},
		"unpacks to other bytes":    {evil, func(a *manifest.Artifact) { a.Stored.SHA256 = digest(evil) }},
		"is another artifact":       {object, func(a *manifest.Artifact) { a.SHA256 = digest([]byte("other!")) }},
		"of another length, signed": {object, func(a *manifest.Artifact) { a.Size++ }},
	} {
		a := *right
		c.change(&a)
		if o, err := openedAs(t, c.object, x, &a); err != errDamaged {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
}

// TestAnObjectThatUnpacksToOtherBytesIsNotShared: another product's engineers signed for an object and for an index that names the right
// chunks, and the object unpacks to others. It has its digest, and may even have seals; nobody who publishes the right bytes shares it.
func TestAnObjectThatUnpacksToOtherBytesIsNotShared(t *testing.T) {
	t.Parallel()
	object, x, right := framesOf(t, "what the vendor built")
	evil, other, _ := framesOf(t, "what a thief would run"[:21])
	store, err := storage.Open(t.Context(), "file://"+t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	index, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	right.Index = manifest.Object{SHA256: digest(index), Size: int64(len(index))}
	if err := store.Create(t.Context(), manifest.BlobObject(right.Index.SHA256), bytes.NewReader(index), right.Index.Size, "", ""); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		object []byte
		chunks chunk.Index
		size   int64
		want   bool
	}{"the right one": {object, x, right.Size, true}, "other chunks": {object, other, right.Size, false},
		"other bytes": {evil, x, right.Size, false}, "terabytes": {object, x, 1 << 42, false}} {
		s, err := newSeals()
		if err != nil {
			t.Fatal(err)
		}
		s.add(c.object)
		o, err := openedAs(t, object, x, right)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.file.WriteAt(c.object, 0); err != nil {
			t.Fatal(err)
		}
		o.seals = s
		a := *right
		a.Size = c.size
		u := &uploader{Publisher: &Publisher{Store: store}, codec: smallCodec(t), opened: map[string]*earlierObject{right.Stored.SHA256 + "." + right.Index.SHA256 + "." + right.SHA256: o}}
		if got := u.unpacks(t.Context(), &a, c.chunks); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestSealingIsLinear in the number of frames, in what it allocates: artifacts have up to a million and more.
func TestSealingIsLinear(t *testing.T) { // alone: it counts what is allocated
	s, err := newSeals()
	if err != nil {
		t.Fatal(err)
	}
	frame, frames := []byte("frame"), 100_000
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	for range frames {
		s.add(frame)
	}
	runtime.ReadMemStats(&end)
	if per := (end.TotalAlloc - start.TotalAlloc) / uint64(frames); per > 1024 {
		t.Errorf("%d bytes for a seal", per)
	}
}
