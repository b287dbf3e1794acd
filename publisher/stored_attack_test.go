package publisher_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// damages are what a disk, or whoever can write to a store, does to an object.
var damages = map[string]func([]byte) []byte{
	"of the right size":     func(data []byte) []byte { data[len(data)/2] ^= 1; return data },
	"cut":                   func(data []byte) []byte { return data[:len(data)/2] },
	"longer than it may be": func(data []byte) []byte { return append(data, "and more"...) },
	"empty":                 func([]byte) []byte { return nil },
}

// stock is a catalog with a release of a large artifact, a small one and a marmite, and the digests of all that is stored
// for it.
func stock(t *testing.T) (w *world, files map[string]string, stored []manifest.Object) {
	t.Helper()
	w, files = newWorld(t), map[string]string{"disk": image(0), "small": strings.Repeat("small\n", 100)}
	_, err := w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", files), signers(w.engineer))
	check(t, err)
	m := w.manifestOf(t, "openstack@1.0.0")
	for _, a := range append(m.Artifacts, m.Marmite) {
		stored = append(stored, a.Objects()...)
	}
	if len(stored) != 4 { // and the index of the large one
		t.Fatalf("%d objects", len(stored))
	}
	return w, files, stored
}

func (w *world) damage(t *testing.T, all []manifest.Object, how func([]byte) []byte) {
	t.Helper()
	for _, o := range all {
		data, err := os.ReadFile(w.blobFile(o.SHA256))
		check(t, err)
		check(t, os.WriteFile(w.blobFile(o.SHA256), how(data), 0o644))
	}
}

// wantWhole holds what is stored to its names.
func (w *world) wantWhole(t *testing.T, all []manifest.Object) {
	t.Helper()
	for _, o := range all {
		if data, err := os.ReadFile(w.blobFile(o.SHA256)); err != nil || int64(len(data)) != o.Size || catalogtest.Digest(data) != o.SHA256 {
			t.Errorf("%s: %d bytes, %v", manifest.BlobObject(o.SHA256), len(data), err)
		}
	}
}

// TestADamagedObjectIsNotShared: a release of the same content restores what is damaged of it, whatever its size, and says so;
// and so does publishing the first one again. No reader had the right bytes to lose.
func TestADamagedObjectIsNotShared(t *testing.T) {
	t.Parallel()
	for name, how := range damages {
		for _, next := range []string{"openstack@1.1.0", "openstack@1.0.0"} {
			t.Run(name+", publish "+next, func(t *testing.T) {
				t.Parallel()
				w, files, stored := stock(t)
				w.damage(t, stored, how)
				p, heard := w.publisher(t, w.online), &labels{}
				p.Progress = heard
				dir := source(t, "openstack@1.0.0", files)
				if next != "openstack@1.0.0" {
					dir = source(t, next, files)
				}
				out, err := p.Publish(ctx, dir, signers(w.engineer))
				check(t, err)
				if again := next == "openstack@1.0.0"; again != (out.Status == publisher.Unchanged) {
					t.Errorf("%+v", out)
				}
				w.wantWhole(t, stored)
				said := strings.Join(out.Summary, "\n")
				for _, o := range stored {
					if !strings.Contains(said, "restored "+manifest.BlobObject(o.SHA256)) {
						t.Errorf("it is not said that %s was restored:\n%s", manifest.BlobObject(o.SHA256), said)
					}
				}
				if !strings.Contains(said, " and was damaged: it has ") || !strings.Contains(strings.Join(heard.notes, "\n"), "is damaged: it has ") {
					t.Errorf("it is not said what was wrong:\n%s\n%s", said, heard.notes)
				}
			})
		}
	}
}

// TestSomethingElseInPlaceOfAnObject: a folder, a pipe or a link that leads nowhere has its name. A check says that it has to be
// moved out of the way before a publication can restore the object, and so does a publication; then it is restored, and said.
func TestSomethingElseInPlaceOfAnObject(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(path string) error{
		"a folder":          func(path string) error { return os.Mkdir(path, 0o755) },
		"a pipe":            func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a link to nothing": func(path string) error { return os.Symlink("nothing", path) },
		"a link to itself":  func(path string) error { return os.Symlink(filepath.Base(path), path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, files, stored := stock(t)
			file, key := w.blobFile(stored[0].SHA256), manifest.BlobObject(stored[0].SHA256)
			check(t, os.Remove(file))
			check(t, plant(file))
			r, err := w.publisher(t, nil).Check(ctx, publisher.CheckRequest{})
			check(t, err)
			says(t, theFinding(t, r, key), file+" is ", "move it out of the way; then publish the same release again")
			dir := source(t, "openstack@1.0.0", files)
			_, err = w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
			if err == nil || !strings.Contains(err.Error(), file+" is ") || !strings.Contains(err.Error(), "move it out of the way") {
				t.Errorf("%v", err)
			}
			check(t, os.Remove(file))
			out, err := w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
			check(t, err)
			if out.Status != publisher.Unchanged || len(out.Summary) != 1 || !strings.Contains(out.Summary[0], "which the store had lost") {
				t.Errorf("%+v", out)
			}
			w.wantWhole(t, stored)
		})
	}
}

// overNetwork is a store of which nothing is at hand.
type overNetwork struct{ storage.Store }

// TestADamagedObjectOverANetwork: its size is asked for, and what has another is restored. What has the right size is shared, as it would
// have to be downloaded to know better, which ReadData does; a check that reads finds it and says what to run.
func TestADamagedObjectOverANetwork(t *testing.T) {
	t.Parallel()
	w, files, stored := stock(t)
	p := w.over(t, overNetwork{w.store}, w.online)
	again := func() {
		t.Helper()
		_, err := p.Publish(ctx, source(t, "openstack@1.0.0", files), signers(w.engineer))
		check(t, err)
	}
	w.damage(t, stored, damages["cut"])
	again()
	w.wantWhole(t, stored)
	w.damage(t, stored, damages["of the right size"])
	again()
	r, err := p.Check(ctx, publisher.CheckRequest{ReadData: true})
	check(t, err)
	for _, o := range stored {
		says(t, theFinding(t, r, manifest.BlobObject(o.SHA256)), "other bytes than its name says", "kitchen publish DIR --read-data")
	}
	p.Packing.ReadData = true
	again()
	w.wantWhole(t, stored)
}

// TestADamagedObjectThatMayNotBeReplaced: the error names it, and says who can put it right, and how.
func TestADamagedObjectThatMayNotBeReplaced(t *testing.T) {
	t.Parallel()
	w, files, stored := stock(t)
	w.damage(t, stored[:1], damages["cut"])
	faults := storagetest.NewFaults(t, w.store)
	forbidden := &storage.Error{Op: "restore", Key: manifest.BlobObject(stored[0].SHA256), Right: "s3:PutObject", Err: storage.ErrForbidden}
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if c.Op == "restore" {
			return forbidden
		}
		return nil
	}
	_, err := w.over(t, faults, w.online).Publish(ctx, source(t, "openstack@1.1.0", files), signers(w.engineer))
	e := wantError[*publisher.Damaged](t, err, manifest.BlobObject(stored[0].SHA256), w.store.URL(), fmt.Sprintf("and should have %d", stored[0].Size), "cannot be restored from here")
	for _, words := range []string{"run the same command again with credentials that may overwrite", "docs/ACCESS.md", "from a mirror"} {
		if !strings.Contains(e.Hint(), words) {
			t.Errorf("%q is not in %q", words, e.Hint())
		}
	}
	w.wantStage(t, "openstack@1.1.0", "")
}
