package publisher_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestADamagedFrameOfASealedObjectIsMadeAgain: where the cache has the seals of an earlier object, each frame that is taken from it is
// held to its seal, and the rest is not read; one that is damaged is compressed again, the others are stored as they were.
func TestADamagedFrameOfASealedObjectIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, network := range map[string]bool{"in a directory": false, "kept in the cache": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var store storage.Store = w.store
			if network {
				store = overNetwork{store}
			}
			p := w.over(t, store, w.online)
			p.Cache, p.Packing = t.TempDir(), publisher.Packing{Level: publisher.LevelFastest, NoDeltas: true}
			publish := func(version string, edits uint64) (*manifest.Artifact, map[[32]byte]string) {
				t.Helper()
				_, err := p.Publish(ctx, source(t, "openstack@"+version, map[string]string{"disk": prose(edits)}), signers(w.engineer))
				check(t, err)
				a := &w.manifestOf(t, "openstack@"+version).Artifacts[0]
				w.wantContent(t, a, "", prose(edits))
				return a, w.frames(t, a)
			}
			same := func(a, b map[[32]byte]string) (n int) {
				for sha, frame := range a {
					if b[sha] == frame {
						n++
					}
				}
				return n
			}
			first, frames := publish("1.0.0", 0)
			object := w.blobFile(first.Stored.SHA256)
			if network {
				object = filepath.Join(p.Cache, first.Stored.SHA256+"."+first.Index.SHA256)
			}
			p.Packing.Level = publisher.LevelBest
			_, next := publish("2.0.0", 1)
			shared := same(frames, next)
			if shared < len(frames)/2 {
				t.Fatalf("of %d frames %d were taken again", len(frames), shared)
			}
			for sha := range frames { // of the two releases: no other takes part below
				if next[sha] == "" {
					delete(frames, sha)
				}
			}
			last := &w.manifestOf(t, "openstack@2.0.0").Artifacts[0] // it is looked at first, and would be shared
			for _, name := range []string{w.blobFile(last.Stored.SHA256), filepath.Join(p.Cache, last.Stored.SHA256+"."+last.Index.SHA256)} {
				if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(object)
			check(t, err)
			data[len(data)/2] ^= 1
			check(t, os.WriteFile(object, data, 0o600))
			if _, next = publish("3.0.0", 1); same(frames, next) != len(frames)-1 {
				t.Errorf("one frame is damaged: of %d %d were taken again", len(frames), same(frames, next))
			}
		})
	}
}

// frames are those of a stored object, by the digests of their chunks.
func (w *world) frames(t *testing.T, a *manifest.Artifact) map[[32]byte]string {
	t.Helper()
	x, err := transfer.ReadIndex(ctx, w.store, a)
	check(t, err)
	object := w.object(t, manifest.BlobObject(a.Stored.SHA256))
	frames := map[[32]byte]string{}
	for _, c := range x {
		frames[c.SHA256] = string(object[:c.Stored])
		object = object[c.Stored:]
	}
	return frames
}
