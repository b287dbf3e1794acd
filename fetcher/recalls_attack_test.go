package fetcher

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// TestFetchWhileTheListOfRecallsIsHidden: whoever removes it from the bucket, or alters it, does not get a recalled release
// past a host that never saw the recall.
func TestFetchWhileTheListOfRecallsIsHidden(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string]func(path string) error{
		"removed": os.Remove,
		"altered": func(path string) error { return os.WriteFile(path, []byte("{}"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"disk.img": "disk"}})
			w.Recall("openstack@1.0.0", "a hole")
			role := manifest.RoleRecalled("openstack")
			for version := int64(1); version < 20; version++ {
				path := object(t, w.Store, manifest.RoleObject(role, version))
				if _, err := os.Stat(path); err == nil {
					if err := hide(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			f := at(t, w, "acme/prod", "")
			into := filepath.Join(t.TempDir(), "got")
			if _, err := f.Fetch(t.Context(), f.view(t), m.Release(), into); err == nil || isA[*NotVisible](err) {
				t.Errorf("error %v, want one that says that recalls are not known", err)
			}
			if _, err := os.Lstat(into); err == nil {
				t.Error("it was fetched")
			}
		})
	}
}
