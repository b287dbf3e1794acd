package fetcher

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	for _, dir := range f.Transfer.Seeds {
		list = append(list, seedDir{dir: dir})
	}
	for _, h := range f.heldDirs(m.Product) {
		if len(list) == len(f.Transfer.Seeds)+autoSeeds {
			break
		}
		earlier, raw, err := v.Manifest(ctx, h.release)
		if err == nil && len(raw) > 0 {
			list = append(list, seedDir{h.dir, earlier})
		}
	}
	return list
}

// heldDir is where a release was fetched to.
type heldDir struct {
	release manifest.Release
	dir     string
	at      time.Time
}

// heldDirs are the directories of a product's releases that are there still, the latest fetch first.
func (f *Fetcher) heldDirs(product string) []heldDir {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(f.heldPath(manifest.Release{Product: product, Version: "x"})), product+"@*"))
	if err != nil {
		return nil
	}
	var list []heldDir
	for _, name := range names {
		release, err := manifest.ParseRelease(filepath.Base(name))
		info, statErr := os.Stat(name)
		data, readErr := os.ReadFile(name)
		_, dir, found := strings.Cut(strings.TrimSuffix(string(data), "\n"), "\n")
		if errors.Join(err, statErr, readErr) != nil || !found {
			continue
		}
		if there, err := os.Stat(dir); err == nil && there.IsDir() {
			list = append(list, heldDir{release, dir, info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b heldDir) int { return b.at.Compare(a.at) })
	return list
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
// that is a file is one itself. Those from which the manifest names a delta come first.
func (a *assembly) seedsFor(artifact *manifest.Artifact) []openSeed {
	var first, then []openSeed
	for _, place := range a.seeds {
		var before *manifest.Artifact
		if place.m != nil {
			before = artifactAt(place.m, artifact.Path)
		}
		seed, ok := a.seedAt(place, artifact, before)
		switch {
		case !ok:
		case before != nil && (before.SHA256 == artifact.SHA256 || slices.ContainsFunc(artifact.Deltas, func(d manifest.Delta) bool { return d.From == before.SHA256 })):
			first = append(first, seed)
		default:
			then = append(then, seed)
		}
	}
	return append(first, then...)
}

func artifactAt(m *manifest.Manifest, path string) *manifest.Artifact {
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
			return a.treeSeed(place, before)
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

// treeSeed makes the tar of a tree again that was fetched before, as far as its files are what they were.
func (a *assembly) treeSeed(place seedDir, before *manifest.Artifact) (openSeed, bool) {
	if before == nil || !before.IsTree() {
		return openSeed{}, false
	}
	root, err := os.OpenRoot(filepath.Join(place.dir, filepath.FromSlash(before.Path)))
	if err != nil {
		return openSeed{}, false
	}
	defer root.Close()
	spool, err := os.CreateTemp(a.staging.dir, "seed-*")
	if err != nil {
		return openSeed{}, false
	}
	if os.Remove(spool.Name()) != nil {
		spool.Close()
		return openSeed{}, false
	}
	// One that differs from its manifest ends early; what came before serves.
	_ = manifest.WriteTree(spool, before.Files, func(name string) (io.ReadCloser, error) { return root.Open(name) })
	size, err := spool.Seek(0, io.SeekCurrent)
	if err != nil || size == 0 {
		spool.Close()
		return openSeed{}, false
	}
	open := func() (transfer.SeedReader, error) { return unclosed{spool}, nil }
	return openSeed{transfer.Seed{Name: filepath.Join(place.dir, before.Path), Size: size, Open: open}, spool}, true
}

// unclosed is a spool that is opened more than once and closed in the end.
type unclosed struct{ io.ReaderAt }

func (unclosed) Close() error { return nil }

// copyLocal writes a small file into the release from where an earlier release has it, if it is that still.
func (a *assembly) copyLocal(ctx context.Context, artifact *manifest.Artifact) bool {
	if artifact.IsTree() {
		return false
	}
	for _, place := range a.seeds {
		if place.m == nil {
			continue
		}
		before := artifactAt(place.m, artifact.Path)
		if artifact.Kind == manifest.KindMarmite && place.m.Marmite.Path == artifact.Path {
			before = &place.m.Marmite
		}
		if before == nil || before.SHA256 != artifact.SHA256 {
			continue
		}
		if a.copyFrom(ctx, filepath.Join(place.dir, filepath.FromSlash(artifact.Path)), artifact) {
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
	differs := func(what, want, got string) error { return &Mismatch{a.m.Release(), artifact.Path, what, want, got} }
	if err := a.staging.write(artifact.Path, false, newChecked(&contextReader{ctx, src}, artifact.Size, artifact.SHA256, "", differs)); err != nil {
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
