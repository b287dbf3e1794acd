package publisher_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A directory that cannot be published, and what the refusal has to name.
type badSource struct {
	name string
	make func(t *testing.T, dir string)
	says []string
}

func listed(path, kind string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		spec := filepath.Join(dir, "product.toml")
		text, err := os.ReadFile(spec)
		check(t, err)
		write(t, spec, string(text)+artifact(path, kind))
	}
}

var badSources = []badSource{
	{"no product.toml", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "product.toml"))) }, []string{"product.toml"}},
	{"product.toml is a named pipe", func(t *testing.T, dir string) {
		check(t, os.Remove(filepath.Join(dir, "product.toml")))
		check(t, syscall.Mkfifo(filepath.Join(dir, "product.toml"), 0o644))
	}, []string{"product.toml", "named pipe"}},
	{"no marmite named", func(t *testing.T, dir string) { edit(t, dir, "[marmite]\npath = \"marmite.yaml\"\n", "") }, []string{"marmite"}},
	{"marmite missing", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "marmite.yaml"))) }, []string{"/marmite.yaml: does not exist, and ", "/product.toml names it"}},
	{"marmite is a directory", func(t *testing.T, dir string) {
		check(t, os.Remove(filepath.Join(dir, "marmite.yaml")))
		check(t, os.Mkdir(filepath.Join(dir, "marmite.yaml"), 0o755))
	}, []string{"marmite.yaml", "directory"}},
	{"artifact missing", listed("images/none.img", "image"), []string{"images/none.img", "does not exist"}},
	{"path with ..", listed("images/../../etc/passwd", "image"), []string{".."}},
	{"path absolute", listed("/etc/passwd", "image"), []string{"/etc/passwd", "absolute"}},
	{"path with a backslash", listed(`images\\disk.img`, "image"), []string{"backslash"}},
	{"link out of the directory", func(t *testing.T, dir string) {
		check(t, os.Symlink("/etc/passwd", filepath.Join(dir, "images/out.img")))
		listed("images/out.img", "image")(t, dir)
	}, []string{"images/out.img", "leads out"}},
	{"relative link out of the directory", func(t *testing.T, dir string) {
		write(t, filepath.Join(filepath.Dir(dir), "secret"), "secret")
		check(t, os.Symlink("../../secret", filepath.Join(dir, "images/out.img")))
		listed("images/out.img", "image")(t, dir)
	}, []string{"images/out.img", "leads out"}},
	{"tree behind a link out of the directory", func(t *testing.T, dir string) {
		check(t, os.Symlink("/etc", filepath.Join(dir, "chef")))
		listed("chef/", "configuration")(t, dir)
	}, []string{"chef/", "leads out"}},
	{"link in a circle", func(t *testing.T, dir string) {
		check(t, os.Symlink("out.img", filepath.Join(dir, "images/out.img")))
		listed("images/out.img", "image")(t, dir)
	}, []string{"images/out.img"}},
	{"named pipe", func(t *testing.T, dir string) {
		check(t, syscall.Mkfifo(filepath.Join(dir, "images/pipe"), 0o644))
		listed("images/pipe", "image")(t, dir)
	}, []string{"images/pipe", "named pipe"}},
	{"named pipe in a tree", func(t *testing.T, dir string) {
		check(t, syscall.Mkfifo(filepath.Join(dir, "puppet/pipe"), 0o644))
	}, []string{"puppet/pipe", "named pipe"}},
	{"socket", func(t *testing.T, dir string) {
		socket(t, filepath.Join(dir, "images/s"))
		listed("images/s", "image")(t, dir)
	}, []string{"images/s", "socket"}},
	{"socket in a tree", func(t *testing.T, dir string) { socket(t, filepath.Join(dir, "puppet/s")) }, []string{"puppet/s", "socket"}},
	{"artifacts that collide without case", func(t *testing.T, dir string) {
		write(t, filepath.Join(dir, "images/DISK.img"), "other")
		listed("images/DISK.img", "image")(t, dir)
	}, []string{"images/", "collides", "ignores case"}},
	{"artifact listed twice", listed("images/disk.img", "image"), []string{"images/disk.img", "twice"}},
	{"artifact in a tree that is listed", listed("puppet/site.pp", "script"), []string{"puppet"}},
	{"tree whose files collide without case", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "puppet/SITE.pp"), "other") },
		[]string{"collides", "ignores case"}},
	{"tree with an absolute link", func(t *testing.T, dir string) {
		check(t, os.Symlink("/etc/passwd", filepath.Join(dir, "puppet/link")))
	}, []string{"puppet/link"}},
	{"tree with a link out", func(t *testing.T, dir string) {
		check(t, os.Mkdir(filepath.Join(dir, "puppet/sub"), 0o755))
		check(t, os.Symlink("../../marmite.yaml", filepath.Join(dir, "puppet/sub/link")))
	}, []string{"puppet/sub/link"}},
	{"empty tree", func(t *testing.T, dir string) {
		check(t, os.Mkdir(filepath.Join(dir, "chef"), 0o755))
		listed("chef/", "configuration")(t, dir)
	}, []string{"chef/", "empty"}},
	{"tree that is a file", listed("marmite.yaml/", "configuration"), []string{"marmite.yaml"}},
	{"directory without a slash", func(t *testing.T, dir string) { edit(t, dir, `"puppet/"`, `"puppet"`) }, []string{"puppet", "is a directory"}},
	{"unknown key", func(t *testing.T, dir string) { edit(t, dir, "summary", "sumary") }, []string{"product.toml", "sumary"}},
}

func socket(t *testing.T, path string) {
	t.Helper()
	t.Chdir(filepath.Dir(path)) // the name of a socket is short
	l, err := net.Listen("unix", filepath.Base(path))
	check(t, err)
	t.Cleanup(func() { l.Close() })
}

func TestSourcesThatCannotBePublished(t *testing.T) {
	w := newWorld(t)
	for _, c := range badSources {
		t.Run(c.name, func(t *testing.T) {
			dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": "disk", "puppet/site.pp": "node default {}\n"})
			c.make(t, dir)
			faults := storagetest.NewFaults(t, w.store)
			p := w.over(t, faults, w.online)
			_, err := p.Publish(ctx, dir, signers(w.engineer))
			wantSourceError(t, err, c.says)
			_, err = p.Plan(ctx, dir, signers(w.engineer)...)
			wantSourceError(t, err, c.says)
			if faults.Writes() > 0 {
				t.Errorf("%d writes", faults.Writes())
			}
		})
	}
}

// wantSourceError wants one of the errors that Publish promises for a bad directory.
func wantSourceError(t *testing.T, err error, says []string) {
	t.Helper()
	var source *publisher.Source
	var file *manifest.FileError
	var path *manifest.PathError
	if !errors.As(err, &source) && !errors.As(err, &file) && !errors.As(err, &path) {
		t.Fatalf("got %T %v", err, err)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestPublishDirectoryThatDoesNotExist(t *testing.T) {
	w := newWorld(t)
	_, err := w.publisher(t, w.online).Publish(ctx, filepath.Join(t.TempDir(), "none"), signers(w.engineer))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestLinksInsideTheDirectoryAreFollowedForFilesAndKeptInTrees(t *testing.T) {
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": "disk", "puppet/site.pp": "x"})
	check(t, os.Symlink("disk.img", filepath.Join(dir, "images/latest.img")))
	listed("images/latest.img", "image")(t, dir)
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
	m, _, err := w.view(t).Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	w.wantBlobs(t, m)
	digests := map[string]string{}
	for _, a := range m.Artifacts {
		digests[a.Path] = a.SHA256
	}
	if digests["images/latest.img"] == "" || digests["images/latest.img"] != digests["images/disk.img"] {
		t.Errorf("the link is not the file: %v", digests)
	}
}

// meddler changes files while they are read.
type meddler struct {
	t     *testing.T
	start func(label string)
	add   func(label string)
	notes []string
}

func (m *meddler) Start(label string, _ int64) progress.Task {
	if m.start != nil {
		m.start(label)
	}
	return meddling{m, label}
}
func (m *meddler) Note(line string) { m.notes = append(m.notes, line) }

type meddling struct {
	*meddler
	label string
}

func (m meddling) Add(int64) {
	if m.add != nil {
		m.add(m.label)
	}
}
func (meddling) Done(error) {}

// failOnRead fails the test when an artifact is read.
type failOnRead struct{ t *testing.T }

func (f failOnRead) Start(label string, _ int64) progress.Task {
	if !strings.HasPrefix(label, "refreshing") {
		f.t.Errorf("began %s", label)
	}
	return progress.Silent{}.Start(label, 0)
}
func (failOnRead) Note(string) {}

func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	whole := strings.Repeat("image", 1_000_000) // several buffers long
	for _, c := range []struct {
		name, label string
		during      bool
		path        string
		content     string
	}{
		{name: "grows before it is read", label: "packing images/disk.img", path: "images/disk.img", content: whole + "more"},
		{name: "is another before it is read", label: "packing images/disk.img", path: "images/disk.img", content: strings.ToUpper(whole)},
		{name: "grows while it is read", label: "packing images/disk.img", during: true, path: "images/disk.img", content: whole + "more"},
		{name: "shrinks while it is read", label: "packing images/disk.img", during: true, path: "images/disk.img", content: "short"},
		{name: "a tree's file before the tree is read", label: "packing puppet/", path: "puppet/site.pp", content: "node other {}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": whole, "puppet/site.pp": "node default {}\n"})
			done := false
			change := func(label string) {
				if label == c.label && !done {
					done = true
					replace(t, filepath.Join(dir, c.path), c.content)
				}
			}
			p := w.publisher(t, w.online)
			if c.during {
				p.Progress = &meddler{t: t, add: change}
			} else {
				p.Progress = &meddler{t: t, start: change}
			}
			err := w.refused(t, func() error { _, err := p.Publish(ctx, dir, signers(w.engineer)); return err })
			if changed := wantError[*publisher.Source](t, err, c.path, "changed while it was read"); !strings.Contains(changed.Hint(), "run the same command again once nothing writes to that directory") {
				t.Errorf("hint %q", changed.Hint())
			}
			if !done {
				t.Error("nothing was changed: no such step")
			}
			w.wantStage(t, "openstack@1.0.0", "")
		})
	}
}

func replace(t *testing.T, path, content string) {
	info, err := os.Stat(path)
	check(t, err)
	check(t, os.WriteFile(path, []byte(content), 0o644))
	at := info.ModTime().Add(time.Second)
	check(t, os.Chtimes(path, at, at))
}
