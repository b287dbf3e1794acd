package fetcher

import (
	"bytes"
	"context"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// follower is one host of a World, with its own state directory and configuration.
type follower struct {
	*Fetcher
	w      *catalogtest.World
	stderr bytes.Buffer
}

// newWorld has the product openstack, its customer acme with a chain of two CI sites
// and a production site, and the vendor's CI.
func newWorld(t *testing.T) *catalogtest.World {
	t.Helper()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.AddCustomer("acme", "openstack")
	w.AddSite("acme/staging", manifest.SiteCI)
	w.AddSite("acme/staging-2", manifest.SiteCI, "acme/staging")
	w.AddSite("acme/prod", manifest.SiteProduction)
	return w
}

// noTime is how tests wait.
func noTime(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

// at makes a host for a site; hook is a shell script for both kinds of hooks.
func at(t *testing.T, w *catalogtest.World, site, hook string) *follower {
	t.Helper()
	f := &follower{w: w}
	f.Fetcher = &Fetcher{Store: w.Store, State: t.TempDir(), Now: func() time.Time { return w.Now }, Stderr: &f.stderr, Transfer: Transfer{After: noTime},
		Env: []string{"PATH=" + os.Getenv("PATH"), "KITCHEN_STATE=leak", "COSIGN_PASSWORD=leak"}}
	if site != "" {
		id, err := manifest.ParseSite(site)
		if err != nil {
			t.Fatal(err)
		}
		argv := []string{"sh", "-c", hook}
		f.Site = &Site{ID: id, Signer: w.SiteKeys[id], Dir: t.TempDir(), HookGrace: time.Second, Auto: true,
			Hooks: map[string][]string{HookTest: argv, HookDeploy: argv}}
	}
	return f
}

// view refreshes this host.
func (f *follower) view(t *testing.T) *catalog.View {
	t.Helper()
	v, err := f.w.Open(f.State).Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f *follower) run(t *testing.T, o RunOptions) *RunResult {
	t.Helper()
	result, err := f.Run(context.Background(), f.view(t), o)
	if err != nil {
		t.Fatalf("run: %v\n%s", err, f.stderr.String())
	}
	return result
}

// line counts what the hooks of this host wrote into a file of the site's folder.
func (f *follower) line(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.Site.Dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func release(t *testing.T, s string) manifest.Release {
	t.Helper()
	r, err := manifest.ParseRelease(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ready publishes, validates and certifies.
func ready(w *catalogtest.World, r string, c catalogtest.Content) *manifest.Manifest {
	m := w.Publish(r, c)
	w.Validate(r)
	w.Certify(r)
	return m
}

// publishManifest lists any manifest, also one that no honest publisher would write.
func publishManifest(t *testing.T, w *catalogtest.World, m *manifest.Manifest) {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := manifest.TargetPath(manifest.StageCatalog, m.Release())
	w.Put(manifest.TargetObject(path, catalogtest.Digest(data)), data)
	w.Edit(manifest.RoleProduct(m.Product), func(role *trust.Targets) {
		role.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data),
			Custom: map[string]string{catalog.CustomSeq: strconv.Itoa(len(role.Targets) + 1)}}
	})
	w.Commit()
	w.Validate(m.Release().String())
}

// object is the file of an object in the World's directory.
func object(t *testing.T, s storage.Store, key string) string {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(u.Path, filepath.FromSlash(key))
}

// overwrite replaces an object's bytes behind the store's back.
func overwrite(t *testing.T, s storage.Store, key string, data []byte) {
	t.Helper()
	name := object(t, s, key)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// names lists everything below a directory, sorted; nil when there is no directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel, _ := filepath.Rel(dir, p); rel != "." {
			list = append(list, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// reports lists the reports in the store.
func reports(t *testing.T, w *catalogtest.World) []string {
	t.Helper()
	var keys []string
	for info, err := range w.Store.List(context.Background(), "reports/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(info.Key, "/_logs/") {
			keys = append(keys, info.Key)
		}
	}
	return keys
}
