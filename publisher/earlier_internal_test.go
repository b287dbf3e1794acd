package publisher

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/manifest"
)

// TestAnEarlierObjectIsAlteredWhileItIsUsed: it had its digest when its frames were sealed, and is changed by somebody before one
// is taken from it, or two are exchanged. Those are not taken; the others are.
func TestAnEarlierObjectIsAlteredWhileItIsUsed(t *testing.T) {
	t.Parallel()
	stored := []byte("frame one, frame two")
	x := chunk.Index{{SHA256: sha256.Sum256([]byte("one")), Raw: 3, Stored: 10}, {SHA256: sha256.Sum256([]byte("two")), Raw: 3, Stored: 10}}
	name := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(name, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(stored)
	open := func(want manifest.Stored) (*earlierObject, error) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		s, err := sealWhole(t.Context(), f, x, want)
		if err != nil {
			return nil, err
		}
		return newEarlier(f, x, want, s)
	}
	want := manifest.Stored{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(stored))}
	for _, wrong := range []manifest.Stored{{SHA256: want.SHA256, Size: 19}, {SHA256: hex.EncodeToString(make([]byte, 32)), Size: want.Size}} {
		if o, err := open(wrong); err != errDamaged {
			t.Errorf("%+v: %v, %v", wrong, o, err)
		}
	}
	o, err := open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer o.file.Close()
	if _, err := o.file.WriteAt([]byte("X"), 13); err != nil {
		t.Fatal(err)
	}
	if frame, ok := o.frame([]byte("before "), x[0].SHA256); !ok || string(frame) != "before frame one," {
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
	if _, err := o.file.WriteAt([]byte("frame two,frame one,"), 0); err != nil {
		t.Fatal(err)
	}
	wantNone("one in the place of another", 0)
	wantNone("one in the place of another", 1)
	if err := o.file.Truncate(5); err != nil {
		t.Fatal(err)
	}
	wantNone("cut", 0)
	if _, err := newEarlier(o.file, x, want, o.seals); err != errDamaged {
		t.Errorf("cut: %v", err)
	}
}

// TestAnObjectThatUnpacksToOtherBytesIsNotShared: another product's engineers signed for an object and for an index that names the right
// chunks, and the object unpacks to others. It has its digest; nobody who publishes the right bytes shares it.
func TestAnObjectThatUnpacksToOtherBytesIsNotShared(t *testing.T) {
	t.Parallel()
	codec, err := chunk.NewCodec(zstd.SpeedFastest, 1)
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := []byte("what the vendor built"), []byte("what a thief would run")[:21]
	object := func(raw []byte) (*uploader, *manifest.Artifact, chunk.Index) {
		t.Helper()
		frame := codec.Encode(nil, raw)
		x := chunk.Index{{SHA256: sha256.Sum256(right), Raw: len(right), Stored: len(frame)}}
		name := filepath.Join(t.TempDir(), "object")
		if err := os.WriteFile(name, frame, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		a := &manifest.Artifact{Stored: manifest.Stored{SHA256: digest(frame), Size: int64(len(frame))}, Index: manifest.Object{SHA256: "index"}}
		s, err := sealWhole(t.Context(), f, x, a.Stored)
		if err != nil {
			t.Fatal(err)
		}
		o, err := newEarlier(f, x, a.Stored, s)
		if err != nil {
			t.Fatal(err)
		}
		return &uploader{codec: codec, opened: map[string]*earlierObject{a.Stored.SHA256 + ".index": o}}, a, x
	}
	if u, a, x := object(right); !u.unpacks(t.Context(), a, x) {
		t.Error("the right one is not taken")
	} else if x = (chunk.Index{{SHA256: sha256.Sum256(wrong), Raw: len(wrong)}}); u.unpacks(t.Context(), a, x) {
		t.Error("it is taken for other chunks")
	}
	if u, a, x := object(wrong); u.unpacks(t.Context(), a, x) {
		t.Error("one that unpacks to other bytes is taken")
	}
}
