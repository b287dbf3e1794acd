package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// autoSeeds is how many earlier releases are looked at by themselves.
const autoSeeds = 2

// seedDir is a directory that held a release once. Nothing in it has to be so still.
type seedDir struct {
	dir string
	m   *manifest.Manifest // nil where it is not known
}

// seedDirs are the places where bytes of a release may be found on this host, the likeliest first: what the caller
// named, and the directories into which the product's releases were fetched last.
func (f *Fetcher) seedDirs(ctx context.Context, v *catalog.View, m *manifest.Manifest) []seedDir {
	var list []seedDir
	for _, name := range f.Transfer.Seeds {
		if reason := unfit(name); reason != "" {
			f.sink().Note(fmt.Sprintf("seed %s is left out: %s", name, reason))
			continue
		}
		if words := foreign(name, m); words != "" {
			f.sink().Note(fmt.Sprintf("seed %s: %s", name, words))
		}
		list = append(list, seedDir{dir: name})
	}
	held := f.heldDirs(m.Product)
	for _, h := range held[:min(len(held), autoSeeds)] {
		earlier, _, err := v.Manifest(ctx, h.release)
		if err != nil {
			earlier = nil // its files serve all the same
		}
		list = append(list, seedDir{h.dir, earlier})
	}
	return list
}

// unfit says why a name that somebody gave is no seed, "" when it may be one.
func unfit(name string) string {
	info, err := os.Stat(name)
	var known *fs.PathError
	switch {
	case errors.As(err, &known):
		return known.Err.Error()
	case err != nil:
		return err.Error()
	case !info.IsDir() && !info.Mode().IsRegular():
		return "neither a file nor a directory"
	}
	return ""
}

// foreign says of a directory that somebody gave that it has none of a release's artifacts under its own path, "" when it
// has, and of a file.
func foreign(name string, m *manifest.Manifest) string {
	entries, err := os.ReadDir(name)
	if err != nil || len(m.Artifacts) == 0 {
		return ""
	}
	for i := range m.Artifacts {
		if _, err := os.Stat(filepath.Join(name, filepath.FromSlash(m.Artifacts[i].Path))); err == nil {
			return ""
		}
	}
	words := "nothing in it is called " + m.Artifacts[0].Path
	if more := len(m.Artifacts) - 1; more > 0 {
		words += fmt.Sprintf(", or as one of the %d other artifacts", more)
	}
	words += ", so it saves nothing of that; name the file itself"
	if file := largestFile(name, entries); file != "" {
		words += ", such as " + file
	}
	return words
}

// largestFile is that of a directory which is most likely an earlier image, "" where there is none.
func largestFile(dir string, entries []fs.DirEntry) (name string) {
	size := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() > size {
			name, size = filepath.Join(dir, e.Name()), info.Size()
		}
	}
	return name
}

// heldDir is where a release was fetched to.
type heldDir struct {
	release manifest.Release
	dir     string
	at      time.Time
}

// heldDirs are the directories of a product's releases that are there still, the latest fetch first. A directory counts
// once, as what was put into it last.
func (f *Fetcher) heldDirs(product string) []heldDir {
	entries, err := os.ReadDir(f.heldRecords())
	if err != nil {
		return nil
	}
	var list []heldDir
	for _, e := range entries {
		release, err := manifest.ParseRelease(e.Name())
		if err != nil || release.Product != product {
			continue
		}
		info, statErr := e.Info()
		_, dir, readErr := f.held(release)
		if errors.Join(statErr, readErr) != nil || dir == "" {
			continue
		}
		if there, err := os.Stat(dir); err == nil && there.IsDir() {
			list = append(list, heldDir{release, dir, info.ModTime()})
		}
	}
	slices.SortStableFunc(list, func(a, b heldDir) int { return b.at.Compare(a.at) })
	met := map[string]bool{}
	return slices.DeleteFunc(list, func(h heldDir) bool {
		again := met[h.dir]
		met[h.dir] = true
		return again
	})
}

// openSeed is a seed with what is to be closed after its use.
type openSeed struct {
	transfer.Seed
	spool *os.File
}

func closeSeeds(list []openSeed) {
	for _, s := range list {
		if s.spool != nil {
			s.spool.Close()
		}
	}
}

// seedsFor are the seeds of one chunked artifact: in each place the file of the same path, or the tree's tar; a place
// that is a file is one itself. Those from which the manifest names a delta come first, files of another name last.
func (a *assembly) seedsFor(artifact *manifest.Artifact) []openSeed {
	var ranked [3][]openSeed
	for _, place := range a.seeds {
		var before *manifest.Artifact
		if place.m != nil {
			before = artifactAt(place.m, artifact.Path)
		}
		seed, ok := a.seedAt(place, artifact, before)
		if !ok {
			continue
		}
		rank := 1
		switch {
		case before != nil && (before.SHA256 == artifact.SHA256 || slices.ContainsFunc(artifact.Deltas, func(d manifest.Delta) bool { return d.From == before.SHA256 })):
			rank = 0
		case !artifact.IsTree() && filepath.Base(seed.Name) != path.Base(artifact.Path):
			rank = 2
		}
		ranked[rank] = append(ranked[rank], seed)
	}
	return slices.Concat(ranked[:]...)
}

func artifactAt(m *manifest.Manifest, path string) *manifest.Artifact {
	if m.Marmite.Path == path {
		return &m.Marmite
	}
	for i := range m.Artifacts {
		if m.Artifacts[i].Path == path {
			return &m.Artifacts[i]
		}
	}
	return nil
}

func (a *assembly) seedAt(place seedDir, artifact, before *manifest.Artifact) (openSeed, bool) {
	name := place.dir
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		if artifact.IsTree() {
			return a.treeSeed(place, artifact, before)
		}
		name = filepath.Join(place.dir, filepath.FromSlash(artifact.Path))
		info, err = os.Stat(name)
	}
	if err != nil || !info.Mode().IsRegular() {
		if err != nil && place.m == nil && !errors.Is(err, fs.ErrNotExist) {
			a.f.sink().Note("seed " + place.dir + ": " + err.Error())
		}
		return openSeed{}, false
	}
	return openSeed{Seed: transfer.Seed{Name: name, Size: info.Size(), Open: func() (transfer.SeedReader, error) { return durable.Open(name) }}}, true
}

// treeSeed makes the tar of a tree again that may lie in a place, as far as its files are what a manifest says: that of
// the release that was put there, or else the one of the release under way.
func (a *assembly) treeSeed(place seedDir, artifact, before *manifest.Artifact) (openSeed, bool) {
	if before == nil || !before.IsTree() {
		before = artifact
	}
	name := filepath.Join(place.dir, filepath.FromSlash(artifact.Path))
	root, err := durable.OpenRoot(name)
	if err != nil {
		return openSeed{}, false
	}
	defer root.Close()
	spool, err := os.CreateTemp(a.staging.dir, "seed-*")
	if err != nil {
		return openSeed{}, false
	}
	if err = os.Remove(spool.Name()); err == nil {
		err = writeSeedTree(spool, root, before.Files)
	}
	size, seekErr := spool.Seek(0, io.SeekCurrent)
	if errors.Join(err, seekErr) != nil || size == 0 {
		spool.Close() // a disk that is full, for one: the tree itself may fit still
		return openSeed{}, false
	}
	open := func() (transfer.SeedReader, error) { return unclosed{spool}, nil }
	return openSeed{transfer.Seed{Name: name, Size: size, Open: open}, spool}, true
}

// maxChanged is how many changed files of a tree are passed over, when it is a seed, before the rest is left out.
const maxChanged = 100

// writeSeedTree writes the tar of those files of a list that are there. Errors are those of writing it.
func writeSeedTree(w io.Writer, root *os.Root, files []manifest.TreeFile) error {
	there := slices.DeleteFunc(slices.Clone(files), func(f manifest.TreeFile) bool {
		if f.SHA256 == "" {
			return false
		}
		info, err := root.Lstat(f.Path)
		return err != nil || !info.Mode().IsRegular() || info.Size() != f.Size
	})
	if !slices.ContainsFunc(there, func(f manifest.TreeFile) bool { return f.SHA256 != "" }) {
		return nil
	}
	out := &keptError{w: w}
	for range maxChanged {
		at := -1
		err := manifest.WriteTree(out, there, func(name string) (io.ReadCloser, error) {
			for at++; there[at].Path != name; { // files are asked for in order
				at++
			}
			return openRegular(root, name)
		})
		if err == nil || out.err != nil || at < 0 {
			break
		}
		there = there[at+1:] // that file is another by now
	}
	return out.err
}

// openRegular opens a file as durable.Open does, within a directory.
func openRegular(root *os.Root, name string) (io.ReadCloser, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return f, nil
}

// keptError keeps the error of a writer apart from those of what is written.
type keptError struct {
	w   io.Writer
	err error
}

func (k *keptError) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		k.err = err
	}
	return n, err
}

// unclosed is a spool that is opened more than once and closed in the end.
type unclosed struct{ io.ReaderAt }

func (unclosed) Close() error { return nil }

// copyLocal writes a file that is one stream into the release from a place that has it, if it is that still.
func (a *assembly) copyLocal(ctx context.Context, artifact *manifest.Artifact) bool {
	if artifact.IsTree() {
		return false
	}
	for _, place := range a.seeds {
		if place.m != nil {
			if before := artifactAt(place.m, artifact.Path); before == nil || before.SHA256 != artifact.SHA256 {
				continue
			}
		}
		name := place.dir
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			name = filepath.Join(place.dir, filepath.FromSlash(artifact.Path))
			info, err = os.Stat(name)
		}
		if err == nil && info.Mode().IsRegular() && info.Size() == artifact.Size && a.copyFrom(ctx, name, artifact) {
			return true
		}
	}
	return false
}

func (a *assembly) copyFrom(ctx context.Context, name string, artifact *manifest.Artifact) bool {
	src, err := durable.Open(name)
	if err != nil {
		return false
	}
	defer src.Close()
	if err := a.staging.write(artifact.Path, false, transfer.Checked(transfer.WithContext(ctx, src), artifact.Size, artifact.SHA256)); err != nil {
		_ = a.staging.root.Remove(artifact.Path)
		return false
	}
	a.mu.Lock()
	a.Local += artifact.Size
	a.mu.Unlock()
	return true
}

// seedPath is where a site keeps what its last run or deployment of a product fetched.
func (t *turn) seedPath(product string) string { return filepath.Join(t.dir.seeds(), product) }

// keepSeed keeps a release's files after its hook, to fetch the next one from. The hook may have changed them: they are
// never taken for what they were.
func (t *turn) keepSeed(j *job) {
	files, kept := filepath.Join(j.dir, "files"), t.seedPath(j.m.Product)
	if t.f.Transfer.NoSeeds || j.workspace.held == nil {
		return
	}
	if _, err := os.Stat(files); err != nil || durable.MkdirAll(filepath.Dir(kept), 0o700) != nil {
		return
	}
	if os.RemoveAll(kept) != nil || os.Rename(files, kept) != nil {
		return
	}
	if kept, err := filepath.Abs(kept); err == nil {
		_ = t.f.hold(j.m.Release(), j.sha, kept) // without it the next fetch moves more
	}
}
