package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

var ctx = context.Background()

// acme is a World with openstack, the customer acme and its two chained CI sites and production site.
func acme(t *testing.T) *catalogtest.World {
	t.Helper()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.AddCustomer("acme", "openstack")
	w.AddSite("acme/staging", manifest.SiteCI)
	w.AddSite("acme/staging-2", manifest.SiteCI, "acme/staging")
	w.AddSite("acme/prod", manifest.SiteProduction)
	return w
}

// published is acme with openstack@1.0.0.
func published(t *testing.T) *catalogtest.World {
	t.Helper()
	w := acme(t)
	w.Publish("openstack@1.0.0", catalogtest.Content{})
	return w
}

func release(s string) manifest.Release {
	r, err := manifest.ParseRelease(s)
	if err != nil {
		panic(err)
	}
	return r
}

func refresh(t *testing.T, w *catalogtest.World, dir string) *catalog.View {
	t.Helper()
	v, err := w.Open(dir).Refresh(ctx)
	check(t, err)
	return v
}

// requests counts what a refresh asks of the store.
func requests(t *testing.T, w *catalogtest.World, dir string) []string {
	t.Helper()
	faults := storagetest.NewFaults(t, w.Store)
	o := w.Options(dir)
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	check(t, err)
	var keys []string
	for _, call := range faults.Calls() {
		keys = append(keys, call.Op+" "+call.Key)
	}
	return keys
}

// overwrite plays somebody who can write the bucket's disk.
func overwrite(t *testing.T, w *catalogtest.World, key string, data []byte) {
	t.Helper()
	path := bucketPath(w, key)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, data, 0o644))
}

func remove(t *testing.T, w *catalogtest.World, key string) {
	t.Helper()
	check(t, os.Remove(bucketPath(w, key)))
}

func bucketPath(w *catalogtest.World, key string) string {
	return filepath.Join(strings.TrimPrefix(w.Store.URL(), "file://"), filepath.FromSlash(key))
}

func kindOf(err error) trust.Kind {
	var e *trust.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func wantKind(t *testing.T, err error, kind trust.Kind) {
	t.Helper()
	if kindOf(err) != kind {
		t.Fatalf("got %q (%v), want %q", kindOf(err), err, kind)
	}
}

func wantRoleKind(t *testing.T, v *catalog.View, role string, kind trust.Kind) {
	t.Helper()
	targets, err := v.Role(role)
	wantKind(t, err, kind)
	if targets != nil || v.RawRole(role) != nil {
		t.Fatalf("%s gives content beside its error", role)
	}
}

func stages(t *testing.T, v *catalog.View) map[string]string {
	t.Helper()
	all, err := v.Releases("openstack")
	check(t, err)
	got := map[string]string{}
	for _, info := range all {
		got[info.Version] = info.Stage
	}
	return got
}

func wantStage(t *testing.T, v *catalog.View, version, stage string) {
	t.Helper()
	if got := stages(t, v)[version]; got != stage {
		t.Fatalf("openstack@%s is %q, want %q", version, got, stage)
	}
}

// files are those below a state directory, without the lock.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" {
			name, _ := filepath.Rel(dir, path)
			all = append(all, name)
		}
		return err
	}))
	slices.Sort(all)
	return all
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyOf copies a directory: a bucket, a state directory.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	copied := t.TempDir()
	check(t, os.CopyFS(copied, os.DirFS(dir)))
	return copied
}

// removeAll loses some files of a state directory.
func removeAll(dir string, names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, filepath.FromSlash(name))))
	}
	return errors.Join(errs...)
}

// asHint finds what an error tells people to do.
func asHint(err error, hint *interface{ Hint() string }) bool { return errors.As(err, hint) }

func containsAll(s string, wants ...string) bool {
	return !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(s, want) })
}
