package fetcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/durable"
)

// errTaken says that something else got the final name meanwhile.
var errTaken = errors.New("the name was taken meanwhile")

// staging is the directory in which a release is put together: a hidden sibling of
// the final name, locked while its maker lives, so that the next fetch can tell a
// crashed one from one under way.
type staging struct {
	target string // final name, symbolic links resolved
	dir    string
	root   *os.Root
	lock   *flock.Flock
	made   []string // parents of target that did not exist, outermost first
}

func stagingPrefix(target string) string { return "." + filepath.Base(target) + ".kitchen-" }

// stagingTries bounds how often a new staging directory may be swept away by another fetch before it is locked.
const stagingTries = 100

// newStaging makes a staging directory beside target and removes those that crashed
// fetches of the same target left behind.
func newStaging(target string) (s *staging, err error) {
	for range stagingTries {
		if s, err = tryStaging(target); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return s, err
}

// tryStaging is newStaging, but for fs.ErrNotExist when another fetch swept the directory away before it was locked.
func tryStaging(target string) (*staging, error) {
	s := &staging{target: target}
	parent := filepath.Dir(target)
	if err := s.makeParents(parent); err != nil {
		s.removeParents()
		return nil, err
	}
	sweepStaging(parent, stagingPrefix(target))
	dir, err := os.MkdirTemp(parent, stagingPrefix(target)+"*")
	if err != nil {
		s.removeParents()
		return nil, err
	}
	s.dir, s.lock = dir, lockOf(dir)
	if err = s.lock.Lock(); err == nil {
		s.root, err = os.OpenRoot(dir) // it is still there, and locked: from now on nobody sweeps it
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// lockOf locks a directory itself, so that no lock file stays behind.
func lockOf(dir string) *flock.Flock { return flock.New(dir, flock.SetFlag(os.O_RDONLY)) }

func (s *staging) makeParents(dir string) error {
	info, err := os.Stat(dir)
	if err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "fetch into", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if up := filepath.Dir(dir); up != dir {
		if err := s.makeParents(up); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	} else if err == nil {
		s.made = append(s.made, dir)
	}
	return nil
}

// removeParents takes back the parents that were made, as far as they are empty.
func (s *staging) removeParents() {
	for i := len(s.made) - 1; i >= 0; i-- {
		if os.Remove(s.made[i]) != nil {
			return
		}
	}
}

// sweepStaging removes staging directories whose maker is gone.
func sweepStaging(parent, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || len(name) <= len(prefix) || name[:len(prefix)] != prefix {
			continue
		}
		old := filepath.Join(parent, name)
		lock := lockOf(old)
		if free, err := lock.TryLock(); err == nil && free {
			os.RemoveAll(old)
		}
		lock.Close()
	}
}

// discard removes everything that was put together, and the lock.
func (s *staging) discard() {
	s.release()
	if s.dir != "" {
		os.RemoveAll(s.dir)
		s.dir = ""
	}
	s.removeParents()
}

func (s *staging) release() {
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
}

// mkdirs makes a directory of the release and its parents. "." is the release itself.
func (s *staging) mkdirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := s.mkdirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return s.root.Chmod(dir, 0o755) // whatever the umask is
}

// write makes one file of the release from content, which is read to its end.
func (s *staging) write(name string, executable bool, content io.Reader) error {
	if err := s.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	file, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	perm := os.FileMode(0o644)
	if executable {
		perm = 0o755
	}
	buffer := make([]byte, 256<<10)
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, content, buffer)
	if err == nil {
		err = file.Chmod(perm)
	}
	return errors.Join(err, file.Close())
}

// symlink makes one link of the release.
func (s *staging) symlink(name, target string) error {
	if err := s.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	return s.root.Symlink(target, name)
}

// publish gives the directory its final name. With durably set every byte is on the
// disk before that, and the name afterwards.
func (s *staging) publish(durably bool) error {
	if err := s.root.Chmod(".", 0o755); err != nil {
		return err
	}
	if durably {
		if err := s.sync(); err != nil {
			return err
		}
	}
	// An empty directory under the final name gives way; rmdir keeps anything else.
	err := syscall.Rmdir(s.target)
	switch removed := err == nil; {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s: %w", errTaken, s.target, err)
	default:
		if err := os.Rename(s.dir, s.target); err != nil {
			if removed {
				err = errors.Join(err, os.Mkdir(s.target, 0o755))
			}
			return err
		}
	}
	s.dir, s.made = "", nil
	s.release()
	if durably {
		return durable.SyncDir(filepath.Dir(s.target))
	}
	return nil
}

// sync flushes every file and directory that was put together.
func (s *staging) sync() error {
	return fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || (!d.IsDir() && !d.Type().IsRegular()) {
			return err
		}
		file, err := s.root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
