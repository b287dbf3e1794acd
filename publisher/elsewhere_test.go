package publisher_test

import (
	"os"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// TestEqualArtifactsOfTwoProductsAreOneObject, though how chunks are packed depends on what a product published before: where
// the other product's object is at hand, and holds what it should. It gets deltas from the product's own releases.
func TestEqualArtifactsOfTwoProductsAreOneObject(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ network, moved, damaged, shared bool }{
		"in a directory":                              {shared: true},
		"in a directory, damaged":                     {damaged: true},
		"over a network, published from here":         {network: true, shared: true},
		"over a network, published from another host": {network: true, moved: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var store storage.Store = w.store
			if c.network {
				store = overNetwork{store}
			}
			p := w.over(t, store, w.online)
			p.Cache = t.TempDir()
			publish := func(r string, edits uint64, engineer key) *manifest.Artifact {
				t.Helper()
				_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": prose(edits)}), signers(engineer))
				check(t, err)
				a := &w.manifestOf(t, r).Artifacts[0]
				w.wantContent(t, a, "", prose(edits))
				return a
			}
			publish("ceph@1.0.0", 0, w.cephEngineer)
			first := publish("ceph@2.0.0", 2, w.cephEngineer)
			if c.moved {
				p.Cache = t.TempDir()
			}
			publish("openstack@1.0.0", 1, w.engineer)
			if c.damaged {
				file := w.blobFile(first.Stored.SHA256)
				data, err := os.ReadFile(file)
				check(t, err)
				data[len(data)/2] ^= 1
				check(t, os.WriteFile(file, data, 0o600))
			}
			second := publish("openstack@2.0.0", 2, w.engineer)
			if shared := second.Stored == first.Stored; shared != c.shared {
				t.Errorf("shared: %t, as %+v and %+v", shared, second.Stored, first.Stored)
			}
			if len(second.Deltas) != 1 {
				t.Errorf("%d deltas", len(second.Deltas))
			}
		})
	}
}
