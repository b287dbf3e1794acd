package fetcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

var sample = catalogtest.Content{
	Files: map[string]string{"images/controller.img": strings.Repeat("image", 100_000), "empty": ""},
	Trees: map[string]map[string]string{"puppet/": {"site.pp": "node default {}\n", "bin/apply": "#!/bin/sh\n", "empty": ""}},
}

func TestFetchGivesExactlyTheRelease(t *testing.T) {
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", sample)
	f := at(t, w, "acme/prod", "")
	into := filepath.Join(t.TempDir(), "new", "live")
	old := syscall.Umask(0o077)
	result, err := f.Fetch(context.Background(), f.view(t), m.Release(), into)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"empty", "images", "images/controller.img", "marmite.yaml", "puppet", "puppet/bin", "puppet/bin/apply", "puppet/empty", "puppet/site.pp"}
	if got := names(t, into); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, perm := range map[string]fs.FileMode{".": 0o755, "puppet": 0o755, "puppet/bin/apply": 0o755, "puppet/site.pp": 0o644, "images/controller.img": 0o644} {
		info, err := os.Stat(filepath.Join(into, name))
		if err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if result.Files != 6 || result.Unchanged || result.Moved == 0 || result.Size < 500_000 {
		t.Errorf("result %+v", result)
	}
	again, err := f.Fetch(context.Background(), f.view(t), m.Release(), into)
	if err != nil || !again.Unchanged || again.Moved != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	if left := names(t, filepath.Dir(into)); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, ".kitchen-") }) {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchTarget(t *testing.T) {
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", sample)
	f := at(t, w, "acme/prod", "")
	v := f.view(t)
	for _, c := range []struct {
		name  string
		make  func(dir string) error
		fails bool
	}{
		{"absent", func(string) error { return nil }, false},
		{"empty", func(dir string) error { return os.Mkdir(dir, 0o700) }, false},
		{"a link to an empty directory", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"-real", 0o755), os.Symlink(dir+"-real", dir))
		}, false},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, true},
		{"something else in it", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o644))
		}, true},
		{"a crashed fetch beside it", func(dir string) error {
			return os.MkdirAll(filepath.Join(filepath.Dir(dir), stagingPrefix(dir)+"123", "images"), 0o755)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "live")
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			before := names(t, filepath.Dir(dir))
			_, err := f.Fetch(context.Background(), v, m.Release(), dir)
			var occupied *Occupied
			if c.fails != errors.As(err, &occupied) || !c.fails && err != nil {
				t.Fatalf("got %v", err)
			}
			if after := names(t, filepath.Dir(dir)); c.fails && !slices.Equal(before, after) {
				t.Errorf("changed from %v to %v", before, after)
			}
			if !c.fails {
				if err := f.VerifyFiles(context.Background(), m, dir); err != nil {
					t.Error(err)
				}
				if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".live.kitchen-*")); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			}
		})
	}
}

func TestFetchOfWhatIsNotVisible(t *testing.T) {
	w := newWorld(t)
	w.Publish("openstack@1.0.0", sample)
	ready(w, "openstack@1.1.0", catalogtest.Content{})
	ready(w, "openstack@1.2.0", catalogtest.Content{})
	w.AddProduct("ceph")
	ready(w, "ceph@1.0.0", catalogtest.Content{})
	held := at(t, w, "acme/staging", "")
	if _, err := held.Fetch(context.Background(), held.view(t), release(t, "openstack@1.2.0"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	w.Recall("openstack@1.1.0", "CVE in the image")
	w.Yank("openstack@1.2.0", "typo")
	f := at(t, w, "acme/staging", "")
	for r, reason := range map[string]string{
		"openstack@1.0.0": "not validated", "openstack@1.1.0": "CVE in the image", "openstack@1.2.0": "yanked",
		"ceph@1.0.0": "does not subscribe", "openstack@9.9.9": "not published", "nothing@1.0.0": "not published",
	} {
		dir := filepath.Join(t.TempDir(), "deep", "live")
		_, err := f.Fetch(context.Background(), f.view(t), release(t, r), dir)
		var hidden *NotVisible
		if !errors.As(err, &hidden) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", r, err)
		}
		if _, err := os.Lstat(filepath.Dir(dir)); err == nil {
			t.Errorf("%s left something behind", r)
		}
	}
	if _, err := held.Fetch(context.Background(), held.view(t), release(t, "openstack@1.2.0"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Errorf("a yanked release that was fetched before: %v", err)
	}
	f.Site.Follow = FollowPublished
	if _, err := f.Fetch(context.Background(), f.view(t), release(t, "openstack@1.0.0"), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Errorf("follow = published: %v", err)
	}
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(data, nil)
}

func TestFetchAttacks(t *testing.T) {
	image := bytes.Repeat([]byte("image"), 20_000)
	bomb := compressed(t, make([]byte, 64<<20))
	noise := func(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }
	w, number := newWorld(t), 0
	for _, blob := range [][]byte{noise(500), bomb} {
		w.Put(manifest.BlobObject(catalogtest.Digest(blob)), blob)
	}
	for _, c := range []struct {
		name string
		lie  func(a *manifest.Artifact) // of the manifest
		blob func(b []byte) []byte      // of the store
		want string                     // Mismatch.What
	}{
		{name: "blob-truncated", blob: func(b []byte) []byte { return b[:len(b)/2] }, want: "stored size"},
		{name: "blob-longer", blob: func(b []byte) []byte { return append(slices.Clone(b), "more"...) }, want: "stored size"},
		{name: "blob-emptied", blob: func([]byte) []byte { return nil }, want: "stored size"},
		{name: "blob-bit-flipped", blob: func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b }, want: "stored sha256"},
		{name: "blob-of-other-bytes", blob: func(b []byte) []byte { return noise(len(b)) }, want: "stored sha256"},
		{name: "manifest-names-bytes-that-are-no-zstd", lie: func(a *manifest.Artifact) {
			a.Stored = manifest.Stored{SHA256: catalogtest.Digest(noise(500)), Size: 500, Encoding: "zstd"}
		}, want: "encoding"},
		{name: "decompression-bomb", lie: func(a *manifest.Artifact) {
			a.Stored = manifest.Stored{SHA256: catalogtest.Digest(bomb), Size: int64(len(bomb)), Encoding: "zstd"}
		}, want: "size"},
		{name: "raw-size-too-small", lie: func(a *manifest.Artifact) { a.Size-- }, want: "size"},
		{name: "raw-size-too-large", lie: func(a *manifest.Artifact) { a.Size++ }, want: "size"},
		{name: "raw-digest-wrong", lie: func(a *manifest.Artifact) { a.SHA256 = catalogtest.Digest([]byte("x")) }, want: "sha256"},
		{name: "stored-size-too-small", lie: func(a *manifest.Artifact) { a.Stored.Size-- }, want: "stored size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.T = t
			number++
			image := fmt.Sprintf("%d %s", number, image) // a blob of its own
			m := w.Manifest(release(t, fmt.Sprintf("openstack@1.0.%d", number)), catalogtest.Content{Files: map[string]string{"disk.img": image}})
			key := manifest.BlobObject(m.Artifacts[0].Stored.SHA256)
			if c.lie != nil {
				c.lie(&m.Artifacts[0])
			}
			publishManifest(t, w, m)
			if c.blob != nil {
				overwrite(t, w.Store, key, c.blob(w.Object(key)))
			}
			assertRefused(t, w, m, c.want)
		})
	}
}

// assertRefused fetches and expects a *Mismatch and a clean parent directory.
func assertRefused(t *testing.T, w *catalogtest.World, m *manifest.Manifest, what string) {
	t.Helper()
	f := at(t, w, "acme/prod", "")
	parent := t.TempDir()
	_, err := f.Fetch(context.Background(), f.view(t), m.Release(), filepath.Join(parent, "live"))
	var mismatch *Mismatch
	if !errors.As(err, &mismatch) || mismatch.What != what {
		t.Fatalf("got %v", err)
	}
	if mismatch.Want == mismatch.Got || mismatch.Got == "" {
		t.Errorf("evidence %q, %q", mismatch.Want, mismatch.Got)
	}
	if left := names(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchTreeThatIsNotItsManifest(t *testing.T) {
	w := newWorld(t)
	m := w.Manifest(release(t, "openstack@1.0.0"), catalogtest.Content{
		Files: map[string]string{"x": "x"}, Trees: map[string]map[string]string{"puppet/": {"a.pp": "aaaa", "b.pp": "bbbb"}}})
	for i := range m.Artifacts {
		for j := range m.Artifacts[i].Files {
			m.Artifacts[i].Files[j].SHA256 = catalogtest.Digest([]byte(fmt.Sprint(j)))
		}
	}
	publishManifest(t, w, m)
	assertRefused(t, w, m, "tree")
}

func TestFetchMissingBlobAndCancelLeaveNothing(t *testing.T) {
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", sample)
	f := at(t, w, "acme/prod", "")
	v, parent := f.view(t), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Fetch(ctx, v, m.Release(), filepath.Join(parent, "live")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.Remove(object(t, w.Store, manifest.BlobObject(m.Marmite.Stored.SHA256))); err != nil {
		t.Fatal(err)
	}
	_, err := f.Fetch(context.Background(), v, m.Release(), filepath.Join(parent, "live"))
	var gone *Mismatch
	if !errors.As(err, &gone) || gone.Path != "marmite.yaml" || gone.Got != "nothing" || !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing blob: %v", err)
	}
	if left := names(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoSpaceSaysWhatIsNeeded(t *testing.T) {
	m := &manifest.Manifest{Product: "p", Version: "1", Marmite: manifest.Artifact{Size: 7}, Artifacts: []manifest.Artifact{{Size: 5}}}
	err := noSpace(m, "/srv/live", fmt.Errorf("write: %w", syscall.ENOSPC))
	var full *NoSpace
	if !errors.As(err, &full) || full.Need != 12 || full.Dir != "/srv" || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if other := errors.New("other"); noSpace(m, "/srv/live", other) != other {
		t.Error("another error was changed")
	}
}

func TestVerifyFiles(t *testing.T) {
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", sample)
	f := at(t, w, "acme/prod", "")
	v := f.view(t)
	for _, c := range []struct {
		name   string
		change func(dir string) error
		want   []string
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"bytes", func(d string) error { return os.WriteFile(d+"/puppet/site.pp", []byte("node default !!\n"), 0o644) },
			[]string{`"puppet/site.pp" has sha256`, catalogtest.Digest([]byte("node default {}\n"))}},
		{"length", func(d string) error { return os.WriteFile(d+"/marmite.yaml", []byte("x"), 0o644) }, []string{`"marmite.yaml" has 1 bytes`}},
		{"missing", func(d string) error { return os.RemoveAll(d + "/puppet/bin") }, []string{`"puppet/bin" is missing`, `"puppet/bin/apply" is missing`}},
		{"extra", func(d string) error { return os.WriteFile(d+"/puppet/evil.pp", nil, 0o644) }, []string{`"puppet/evil.pp" is not part`}},
		{"extra directory", func(d string) error { return os.Mkdir(d+"/more", 0o755) }, []string{`"more" is not part`}},
		{"executable bit set", func(d string) error { return os.Chmod(d+"/puppet/site.pp", 0o755) }, []string{"executable bit should be off"}},
		{"executable bit lost", func(d string) error { return os.Chmod(d+"/puppet/bin/apply", 0o644) }, []string{"executable bit should be on"}},
		{"set-user-id", func(d string) error { return os.Chmod(d+"/puppet/bin/apply", 0o755|fs.ModeSetuid) }, []string{"set-user-id"}},
		{"link in place of a file", func(d string) error {
			return errors.Join(os.Rename(d+"/marmite.yaml", d+"/../m"), os.Symlink("../m", d+"/marmite.yaml"))
		}, []string{`"marmite.yaml" should be a file and is a symbolic link`}},
		{"link in place of a directory", func(d string) error {
			return errors.Join(os.Rename(d+"/images", d+"/../i"), os.Symlink("../i", d+"/images"))
		}, []string{`"images" should be a directory and is a symbolic link`}},
		{"pipe in place of a file", func(d string) error {
			return errors.Join(os.Remove(d+"/marmite.yaml"), syscall.Mkfifo(d+"/marmite.yaml", 0o644))
		}, []string{"device, socket or pipe"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "live")
			if _, err := f.Fetch(context.Background(), v, m.Release(), dir); err != nil {
				t.Fatal(err)
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			err := f.VerifyFiles(context.Background(), m, dir)
			var differs *FilesDiffer
			if (len(c.want) > 0) != errors.As(err, &differs) || len(c.want) == 0 && err != nil {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
		})
	}
}

func TestVerifyFilesNamesAFewAndCountsTheRest(t *testing.T) {
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", sample)
	f := at(t, w, "acme/prod", "")
	err := f.VerifyFiles(context.Background(), m, t.TempDir())
	var differs *FilesDiffer
	if !errors.As(err, &differs) || len(differs.Differences) != maxDifferences || differs.More != 4 {
		t.Errorf("got %v", err)
	}
}
