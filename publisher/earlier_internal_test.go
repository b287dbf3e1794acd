package publisher

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

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
