package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// maxDifferences is how many differences an error spells out.
const maxDifferences = 5

type entryKind int

const (
	fileEntry entryKind = iota
	linkEntry
	dirEntry
)

func (k entryKind) String() string { return [...]string{"file", "symbolic link", "directory"}[k] }

// entry is what a manifest says about one path of a release's directory.
type entry struct {
	kind       entryKind
	size       int64
	sha        string
	executable bool
	link       string
}

// contents gives every path that a release's directory holds, directories included,
// without "." itself.
func contents(m *manifest.Manifest) map[string]entry {
	all := map[string]entry{}
	add := func(name string, e entry) {
		all[name] = e
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			all[dir] = entry{kind: dirEntry}
		}
	}
	add(m.Marmite.Path, entry{size: m.Marmite.Size, sha: m.Marmite.SHA256})
	for i := range m.Artifacts {
		a := &m.Artifacts[i]
		if !a.IsTree() {
			add(a.Path, entry{size: a.Size, sha: a.SHA256})
			continue
		}
		add(path.Clean(a.Path), entry{kind: dirEntry})
		for _, file := range a.Files {
			name := a.Path + file.Path
			switch {
			case file.Link != "":
				add(name, entry{kind: linkEntry, link: file.Link})
			case strings.HasSuffix(name, "/"):
				add(path.Clean(name), entry{kind: dirEntry})
			default:
				add(name, entry{size: file.Size, sha: file.SHA256, executable: file.Executable})
			}
		}
	}
	return all
}

// VerifyFiles checks that dir holds exactly what m lists: every file with its bytes
// and executable bit, every link with its target, every directory, and nothing else.
// Whatever differs is *FilesDiffer, which names the first few paths.
func (f *Fetcher) VerifyFiles(ctx context.Context, m *manifest.Manifest, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", dir, m.Release(), err)
	}
	defer root.Close()
	c := &comparison{root: root, want: contents(m), diff: FilesDiffer{Release: m.Release(), Dir: dir}}
	total := int64(0)
	for _, e := range c.want {
		total += e.size
	}
	c.task = f.sink().Start("verify "+dir, total)
	err = c.run(ctx)
	c.task.Done(err)
	return err
}

// comparison walks a directory against the entries it should hold. Found entries are
// taken out of want; what is left in the end is missing.
type comparison struct {
	root *os.Root
	want map[string]entry
	diff FilesDiffer
	task progress.Task
}

func (c *comparison) differs(format string, args ...any) {
	if len(c.diff.Differences) == maxDifferences {
		c.diff.More++
		return
	}
	c.diff.Differences = append(c.diff.Differences, fmt.Sprintf(format, args...))
}

func (c *comparison) run(ctx context.Context) error {
	err := fs.WalkDir(c.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		return c.visit(ctx, name, d)
	})
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", c.diff.Dir, c.diff.Release, err)
	}
	missing := make([]string, 0, len(c.want))
	for name := range c.want {
		missing = append(missing, name)
	}
	sort.Strings(missing)
	for _, name := range missing {
		c.differs("%q is missing", name)
	}
	if len(c.diff.Differences) > 0 {
		return &c.diff
	}
	return nil
}

func (c *comparison) visit(ctx context.Context, name string, d fs.DirEntry) error {
	want, listed := c.want[name]
	delete(c.want, name)
	if !listed {
		c.differs("%q is not part of the release", name)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	info, err := c.root.Lstat(name)
	if err != nil {
		return err
	}
	if got := kindOf(info.Mode()); got != want.kind.String() {
		c.differs("%q should be a %s and is a %s", name, want.kind, got)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	switch want.kind {
	case linkEntry:
		target, err := c.root.Readlink(name)
		if err == nil && target != want.link {
			c.differs("%q should point to %q and points to %q", name, want.link, target)
		}
		return err
	case fileEntry:
		return c.file(ctx, name, info, want)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return fileEntry.String()
	case mode.IsDir():
		return dirEntry.String()
	case mode&fs.ModeSymlink != 0:
		return linkEntry.String()
	}
	return "device, socket or pipe"
}

func (c *comparison) file(ctx context.Context, name string, info fs.FileInfo, want entry) error {
	mode := info.Mode()
	if (mode&0o111 != 0) != want.executable {
		c.differs("%q has mode %04o, its executable bit should be %s", name, mode.Perm(), onOff(want.executable))
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		c.differs("%q has a set-user-id or set-group-id bit", name)
	}
	if info.Size() != want.size {
		c.differs("%q has %d bytes, expected %d", name, info.Size(), want.size)
		return nil
	}
	file, err := c.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	// One byte more than expected shows a file that grew meanwhile.
	src := io.LimitReader(transfer.WithContext(ctx, file), want.size+1)
	if _, err := io.CopyBuffer(io.MultiWriter(sum, progress.Writer{Task: c.task}), src, make([]byte, 256<<10)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.sha {
		c.differs("%q has sha256 %s, expected %s", name, got, want.sha)
	}
	return nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
