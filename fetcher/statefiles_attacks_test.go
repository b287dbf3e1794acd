package fetcher

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
)

// stateFiles are the files that a host keeps below site/, by their names there.
func (f *follower) stateFiles(t *testing.T) []string {
	t.Helper()
	root := filepath.Join(f.State, "site")
	var files []string
	for _, name := range names(t, root) {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	return files
}

// TestAPipeInPlaceOfASitesFile: nobody reads from it, and nobody waits for that. A deployment that is not known any more
// needs a person, as ever.
func TestAPipeInPlaceOfASitesFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	for _, site := range []string{"acme/staging", "acme/prod"} {
		whole := at(t, w, site, say)
		whole.run(t, RunOptions{})
		if _, err := whole.Fetch(context.Background(), whole.view(t), release(t, r1), filepath.Join(t.TempDir(), "into")); err != nil {
			t.Fatal(err)
		}
		files := whole.stateFiles(t)
		if len(files) < 3 {
			t.Fatalf("%s keeps %v", site, files)
		}
		for _, name := range files {
			for how, put := range map[string]func(string) error{"a pipe": pipe, "a link to a pipe": func(p string) error {
				to := filepath.Join(t.TempDir(), "pipe")
				if err := pipe(to); err != nil {
					return err
				}
				return os.Symlink(to, p)
			}} {
				t.Run(site+" "+name+" "+how, func(t *testing.T) {
					f := whole.rebooted(image(t, whole.State))
					if err := replace(filepath.Join(f.State, "site", name), put); err != nil {
						t.Fatal(err)
					}
					only := release(t, r1)
					result, err := f.inTime(t, RunOptions{})
					if err != nil {
						t.Fatalf("run: %v", err)
					}
					if len(result.Runs) > 0 {
						t.Errorf("ran again: %+v", result.Runs)
					}
					view, fetched := f.view(t), make(chan error, 1)
					go func() {
						_, err := f.Fetch(context.Background(), view, only, filepath.Join(t.TempDir(), "into"))
						fetched <- err
					}()
					select {
					case err := <-fetched:
						if err != nil {
							t.Errorf("fetch: %v", err)
						}
					case <-time.After(2 * time.Minute):
						t.Fatal("the fetch hangs")
					}
				})
			}
		}
	}
}

// TestAHookLeavesAPipeWhereTheNextReleaseIsFetchedFrom: the release's files, which the hook may change, are what the next
// one is made from.
func TestAHookLeavesAPipeWhereTheNextReleaseIsFetchedFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trees := func(text string) catalogtest.Content {
		return catalogtest.Content{Files: map[string]string{"disk.img": disk(0) + text}, Trees: map[string]map[string]string{"puppet/": {"big": disk(3) + text}}}
	}
	ready(w, r1, trees("1"))
	f := at(t, w, "acme/staging", say+"; cd $KITCHEN_DIR; rm -r disk.img puppet; mkfifo disk.img puppet")
	if _, err := f.inTime(t, RunOptions{}); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(f.siteDir(f.Site.ID).seeds(), "openstack", "puppet")
	if info, err := os.Lstat(kept); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Fatalf("the seed: %v, %v", info, err)
	}
	ready(w, r2, trees("2"))
	if _, err := f.inTime(t, RunOptions{}); err != nil {
		t.Fatal(err)
	}
	f.assertRan(t, r1, r2)
	onlyReport(t, w, "acme/staging", r2)
}
