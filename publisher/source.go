package publisher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/enovance/kitchen/manifest"
)

const (
	sourceFile    = "product.toml"
	maxSourceFile = 1 << 20
	// placeholder stands for digests while a release's layout is checked, before anything is read.
	placeholder = "0000000000000000000000000000000000000000000000000000000000000000"
)

// source is a release's directory. All access goes through os.Root, so that neither ".." nor a symbolic link leads
// out of it, whatever happens to the directory meanwhile.
type source struct {
	root  *os.Root
	name  string // of product.toml, from the folder the caller is in
	spec  *manifest.Source
	items []*item // the marmite first, then the artifacts as product.toml lists them
}

// item is an artifact: one file, or a tree.
type item struct {
	path     string            // as product.toml has it
	unpack   bool              // what is published is what the file unpacks to
	artifact manifest.Artifact // with size and digest once read; complete once stored
	dir      *os.Root          // a tree's directory
	stamps   map[string]os.FileInfo
}

// openSource reads product.toml.
func openSource(dir string) (*source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &source{root: root, name: path.Join(dir, sourceFile)}
	if s.spec, err = readSpec(root, s.name); err != nil {
		root.Close()
		return nil, err
	}
	return s, nil
}

func readSpec(root *os.Root, name string) (*manifest.Source, error) {
	f, _, err := openFile(root, sourceFile, nil)
	if err != nil {
		return nil, &Source{Path: name, Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSourceFile+1))
	if err != nil {
		return nil, &Source{Path: name, Err: err}
	}
	return manifest.ParseSource(name, data)
}

func (s *source) Close() error {
	err := s.root.Close()
	for _, it := range s.items {
		if it.dir != nil {
			err = errors.Join(err, it.dir.Close())
		}
	}
	return err
}

// scan looks at everything that product.toml lists, without reading it, and checks the release's whole layout.
func (s *source) scan(ctx context.Context) error {
	listed := []manifest.SourceArtifact{{Path: s.spec.Marmite.Path, Kind: manifest.KindMarmite}}
	for _, a := range append(listed, s.spec.Artifacts...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		it := &item{path: a.Path, unpack: a.Unpack, stamps: map[string]os.FileInfo{},
			artifact: manifest.Artifact{Path: a.PublishedPath(), Kind: a.Kind, SHA256: placeholder}}
		s.items = append(s.items, it)
		if err := it.scan(ctx, s.root); err != nil {
			return s.notThere(err)
		}
	}
	trial := s.manifest()
	for i := range trial.Artifacts {
		trial.Artifacts[i].Stored = manifest.Stored{SHA256: placeholder, Size: trial.Artifacts[i].Size, Encoding: manifest.EncodingIdentity}
	}
	trial.Marmite.Stored = manifest.Stored{SHA256: placeholder, Size: trial.Marmite.Size, Encoding: manifest.EncodingIdentity}
	_, err := trial.Encode()
	return err
}

// notThere names, for a file that does not exist, where it has to be and who says so.
func (s *source) notThere(err error) error {
	var gone *Source
	if !errors.As(err, &gone) || !errors.Is(gone.Err, fs.ErrNotExist) {
		return err
	}
	return &Source{Path: path.Join(path.Dir(s.name), gone.Path), Err: gone.Err, Reason: "does not exist, and " + s.name + " names it",
		Next: "put it there, or correct its path in " + s.name + ": paths in that file start at its own folder"}
}

// manifest is what is known so far.
func (s *source) manifest() *manifest.Manifest {
	m := &manifest.Manifest{Format: 1, Product: s.spec.Product, Version: s.spec.Version, Kind: s.spec.Kind, From: s.spec.From,
		Summary: s.spec.Summary, Requires: s.spec.Requires, Marmite: s.items[0].artifact}
	for _, it := range s.items[1:] {
		m.Artifacts = append(m.Artifacts, it.artifact)
	}
	return m
}

func (it *item) scan(ctx context.Context, root *os.Root) error {
	name, isTree := strings.CutSuffix(it.path, "/")
	info, err := root.Stat(name)
	if err != nil {
		return sourceError(it.path, err)
	}
	switch {
	case isTree && !info.IsDir():
		return &Source{Path: it.path, Reason: "is no directory: write it without the slash at its end"}
	case !isTree && info.IsDir():
		return &Source{Path: it.path, Reason: fmt.Sprintf("is a directory: write path = %q to publish all of it", name+"/")}
	case !isTree:
		it.artifact.Size = info.Size()
		return it.addFile(name, it.path, info)
	}
	if it.dir, err = root.OpenRoot(name); err != nil {
		return sourceError(it.path, err)
	}
	if err := it.walk(ctx, "."); err != nil {
		return err
	}
	slices.SortFunc(it.artifact.Files, func(a, b manifest.TreeFile) int { return strings.Compare(a.Path, b.Path) })
	if it.artifact.Files == nil {
		return &Source{Path: it.path, Reason: "is an empty directory: there is nothing to publish"}
	}
	it.artifact.Size, err = manifest.TreeSize(it.artifact.Files)
	return it.inTree(err)
}

// addFile accepts regular files and nothing else.
func (it *item) addFile(name, shown string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &Source{Path: shown, Reason: "is " + typeName(info.Mode()) + "; only files, directories and symbolic links can be published"}
	}
	it.stamps[name] = info
	return nil
}

func typeName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode.IsDir():
		return "a directory"
	}
	return "no ordinary file"
}

// walk gathers a directory's entries. Symbolic links are entries themselves and never followed.
func (it *item) walk(ctx context.Context, dir string) error {
	entries, err := it.readDir(dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 && dir != "." {
		it.artifact.Files = append(it.artifact.Files, manifest.TreeFile{Path: dir + "/"})
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dir, entry.Name())
		if len(it.artifact.Files) >= manifest.MaxTreeFiles {
			return &Source{Path: it.path, Reason: fmt.Sprintf("holds more than %d entries", manifest.MaxTreeFiles)}
		}
		if err := it.add(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (it *item) readDir(dir string) ([]fs.DirEntry, error) {
	d, err := it.dir.Open(dir)
	if err != nil {
		return nil, sourceError(it.shown(dir), err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, sourceError(it.shown(dir), err)
	}
	return entries, nil
}

func (it *item) add(ctx context.Context, name string) error {
	info, err := it.dir.Lstat(name)
	if err != nil {
		return sourceError(it.shown(name), err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return it.walk(ctx, name)
	case mode&fs.ModeSymlink != 0:
		return it.addLink(name)
	}
	if err := it.addFile(name, it.shown(name), info); err != nil {
		return err
	}
	it.artifact.Files = append(it.artifact.Files, manifest.TreeFile{Path: name, Size: info.Size(), SHA256: placeholder,
		Executable: info.Mode().Perm()&0o100 != 0})
	return nil
}

// addLink keeps a link as a link; the manifest's rules hold it inside the tree.
func (it *item) addLink(name string) error {
	target, err := it.dir.Readlink(name)
	if err != nil {
		return sourceError(it.shown(name), err)
	}
	file := manifest.TreeFile{Path: name, Link: shortLink(target)}
	if _, err := manifest.TreeSize([]manifest.TreeFile{file}); err != nil {
		return it.inTree(err)
	}
	it.artifact.Files = append(it.artifact.Files, file)
	return nil
}

// shortLink leaves out what means nothing: "./a//b/" is "a/b". It resolves no "..", which could mean another file.
func shortLink(target string) string {
	if path.IsAbs(target) {
		return target
	}
	parts := slices.DeleteFunc(strings.Split(target, "/"), func(s string) bool { return s == "" || s == "." })
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// shown is an entry's path from the release's directory.
func (it *item) shown(name string) string {
	if it.dir == nil || name == "." {
		return it.path
	}
	return it.path + name
}

// inTree makes the path in an error one from the release's directory.
func (it *item) inTree(err error) error {
	var bad *manifest.PathError
	if errors.As(err, &bad) {
		return &Source{Path: it.shown(bad.Path), Reason: bad.Reason, Err: err}
	}
	return err
}

// sourceError names the path, and says what os.Root means.
func sourceError(shown string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Source{Path: shown, Reason: "does not exist", Err: err}
	case errors.Is(err, syscall.ELOOP):
		return &Source{Path: shown, Reason: "is a symbolic link that leads round in a circle", Err: err}
	case err != nil && strings.Contains(err.Error(), "escapes"):
		return &Source{Path: shown, Reason: "leads out of the directory", Err: err}
	}
	return &Source{Path: shown, Err: err}
}
