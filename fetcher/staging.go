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
//
//	manifest    digest of the release's manifest
//	parts/      artifacts under way, and delta-<sha256>, which a later fetch of the same release goes on with
//	release/    what gets the final name
//	before/     what an interrupted fetch had in release/: bytes to begin from, not verified any more
type staging struct {
	target string // final name, symbolic links resolved
	dir    string
	root   *os.Root // of release/
	lock   *flock.Flock
	made   []string // parents of target that did not exist, outermost first
}

const (
	stagedManifest = "manifest"
	stagedParts    = "parts"
	stagedRelease  = "release"
	stagedBefore   = "before"
)

func stagingPrefix(place string) string { return "." + filepath.Base(place) + ".kitchen-" }

// stagingTries bounds how often a new staging directory may be swept away by another fetch before it is locked.
const stagingTries = 100

// newStaging makes a staging directory beside place for the release whose manifest has this digest, or takes over the
// one that an interrupted fetch of it left there; those that crashed fetches of other releases left for this place are
// removed. place is the target itself, or another name on its file system that is the same at every attempt.
func newStaging(place, target, sha string) (s *staging, err error) {
	for range stagingTries {
		if s, err = tryStaging(place, target, sha); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return s, err
}

// tryStaging is newStaging, but for fs.ErrNotExist when another fetch swept the directory away before it was locked.
func tryStaging(place, target, sha string) (*staging, error) {
	s := &staging{target: target}
	err := s.makeParents(filepath.Dir(target))
	if err == nil {
		s.takeOver(place, sha)
		if s.dir == "" {
			err = s.begin(place, sha)
		} else {
			err = s.setAside()
		}
	}
	if err == nil {
		release := filepath.Join(s.dir, stagedRelease)
		if err = os.Mkdir(release, 0o700); err == nil {
			s.root, err = os.OpenRoot(release)
		}
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// setAside keeps what an interrupted fetch had put into the release apart from the release, which begins empty again.
func (s *staging) setAside() error {
	before := filepath.Join(s.dir, stagedBefore)
	if err := os.RemoveAll(before); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, stagedRelease), before); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reclaim makes a part again of a file that an interrupted fetch had given its place already.
func (s *staging) reclaim(part, name string) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return
	}
	defer root.Close()
	from, to := path.Join(stagedBefore, name), path.Join(stagedParts, part)
	if info, err := root.Lstat(from); err != nil || !info.Mode().IsRegular() {
		return
	}
	if _, err := root.Lstat(to); errors.Is(err, fs.ErrNotExist) {
		_ = root.Rename(from, to) // else it moves again
	}
}

// begin makes a new staging directory. Once it is locked and still there, nobody sweeps it.
func (s *staging) begin(place, sha string) (err error) {
	if s.dir, err = os.MkdirTemp(filepath.Dir(place), stagingPrefix(place)+"*"); err != nil {
		return err
	}
	s.lock = lockOf(s.dir)
	if err := s.lock.Lock(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, stagedManifest), []byte(sha), 0o600); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(s.dir, stagedParts), 0o700)
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

// takeOver makes the staging directory of an interrupted fetch of the same release its own, if there is one, and removes
// all others whose maker is gone.
func (s *staging) takeOver(place, sha string) {
	sweepStaging(filepath.Dir(place), stagingPrefix(place), func(dir string, lock *flock.Flock) bool {
		if s.dir != "" || !resumable(dir, sha) {
			return false
		}
		s.dir, s.lock = dir, lock
		return true
	})
}

// sweepStaging removes the directories with this prefix whose maker is gone, but for those that keep takes over with
// their lock.
func sweepStaging(parent, prefix string, keep func(dir string, lock *flock.Flock) bool) {
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
			if keep != nil && keep(old, lock) {
				continue
			}
			os.RemoveAll(old)
		}
		lock.Close()
	}
}

// resumable tells whether a staging directory is of this release, and whole enough to go on with. It has to be ours
// alone: whoever else might write into it could change what is verified before it gets its name.
func resumable(dir, sha string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); !ok || int64(sys.Uid) != int64(os.Geteuid()) {
		return false
	}
	info, err = os.Lstat(filepath.Join(dir, stagedParts))
	if err != nil || !info.IsDir() {
		return false
	}
	data, err := durable.ReadOwn(filepath.Join(dir, stagedManifest), int64(len(sha)))
	return err == nil && string(data) == sha
}

// part opens the file in which an artifact is put together, for reading and writing. What it holds already is to be
// verified.
func (s *staging) part(name string) (*os.File, error) {
	path := filepath.Join(s.dir, stagedParts, name)
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
}

// place gives a finished part its name in the release.
func (s *staging) place(part *os.File, name string) error {
	if err := s.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	if err := part.Chmod(0o644); err != nil {
		return err
	}
	if _, err := s.root.Lstat(name); err == nil {
		return &fs.PathError{Op: "place", Path: name, Err: fs.ErrExist}
	}
	return os.Rename(part.Name(), filepath.Join(s.dir, stagedRelease, filepath.FromSlash(name)))
}

// leave keeps what was put together for the next fetch of the same release, and tells how many bytes of parts that is.
func (s *staging) leave() (kept int64) {
	entries, err := os.ReadDir(filepath.Join(s.dir, stagedParts))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				kept += min(sys.Blocks*512, info.Size())
			}
		}
	}
	if err != nil || kept == 0 {
		s.discard()
		return 0
	}
	s.dir, s.made = "", nil
	s.release()
	return kept
}

// discard removes everything that was put together, and then the lock: nobody takes over what is being removed.
func (s *staging) discard() {
	if s.dir != "" {
		os.RemoveAll(s.dir)
		s.dir = ""
	}
	s.release()
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
		if err := os.Rename(filepath.Join(s.dir, stagedRelease), s.target); err != nil {
			if removed {
				err = errors.Join(err, os.Mkdir(s.target, 0o755))
			}
			return err
		}
	}
	s.made = nil
	s.discard()
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
