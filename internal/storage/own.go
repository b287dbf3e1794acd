package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/enovance/kitchen/internal/durable"
)

// Misplaced says that something else stands where a directory store keeps a file or a directory of its own. Nobody follows a
// link there, nor waits for the other end of a pipe.
type Misplaced struct {
	Path string
	Is   fs.FileMode // its type
	Want string      // "a file" or "a directory"
}

func (e *Misplaced) Error() string {
	is := "something else"
	for bit, words := range map[fs.FileMode]string{fs.ModeSymlink: "a link", fs.ModeDir: "a directory", fs.ModeNamedPipe: "a pipe", fs.ModeSocket: "a socket", fs.ModeDevice: "a device"} {
		if e.Is&bit != 0 {
			is = words
		}
	}
	if e.Is == 0 {
		is = "a file"
	}
	return fmt.Sprintf("%s is %s, where the store needs %s of its own", e.Path, is, e.Want)
}

// Hint says how to be rid of it.
func (e *Misplaced) Hint() string {
	return "nothing was changed: look at it, then move it away, and the store makes its own anew; find out who may write below " + reservedSegment + "/ (docs/ACCESS.md)"
}

// misplaced is what is wrong with one of the store's own names; nil where nothing has it.
func misplaced(path string, dir bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case dir && !info.IsDir():
		return &Misplaced{path, info.Mode().Type(), "a directory"}
	case !dir && !info.Mode().IsRegular():
		return &Misplaced{path, info.Mode().Type(), "a file"}
	}
	return nil
}

// own makes a directory for the store's own files. One that a link leads to is none of the store's: whoever may write here
// could have files elsewhere removed.
func (s *dirStore) own(dir string) error {
	if err := s.ownDirs(dir); err != nil {
		return err
	}
	if err := durable.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return s.ownDirs(dir)
}

func (s *dirStore) ownDirs(dir string) error {
	for _, path := range []string{filepath.Join(s.root, reservedSegment), dir} {
		if err := misplaced(path, true); err != nil {
			return err
		}
	}
	return nil
}

// openOwn opens one of the store's own files.
func openOwn(path string, flags int) (*os.File, error) {
	if err := misplaced(path, false); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0o666)
}

// lockPoll is how often a waiting writer looks whether the lock is free.
const lockPoll = 3 * time.Millisecond

func (s *dirStore) lockPath() string { return filepath.Join(s.root, reservedSegment, "lock") }

// lock takes the lock of all swappers of this store, in this process and in others.
func (s *dirStore) lock(ctx context.Context) (unlock func(), err error) {
	if err := s.own(filepath.Dir(s.lockPath())); err != nil {
		return nil, err
	}
	if err := misplaced(s.lockPath(), false); err != nil {
		return nil, err
	}
	l := durable.LockFile(s.lockPath(), 0o666)
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		l.Close()
		return nil, err
	}
	return func() { l.Close() }, nil
}

// CheckOwn tells whether a directory store's own files are what every writer needs, or, with replaces, also those who replace
// and delete objects. Other stores have none. Nothing is written.
func CheckOwn(s Store, replaces bool) error {
	d, ok := s.(*dirStore)
	if !ok {
		return nil
	}
	err := d.ownDirs(filepath.Join(d.root, reservedSegment, "tmp"))
	for path, flags := range map[string]int{d.lockPath(): os.O_RDONLY, d.removalsPath(): os.O_WRONLY | os.O_APPEND} {
		if err != nil || !replaces {
			break
		}
		var f *os.File
		if f, err = openOwn(path, flags); err == nil {
			err = f.Close()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil // it will be made
		}
	}
	return d.fail("write", "", err)
}

// InTheWay says what stands in a directory store where an object belongs, or a directory of its name, and is none; "" where
// nothing does, and of other stores. While it is there the object cannot be stored again.
func InTheWay(s Store, key string) string {
	d, ok := s.(*dirStore)
	if !ok || checkKey(key) != nil {
		return ""
	}
	return d.inTheWay(key)
}

func (s *dirStore) inTheWay(key string) string {
	path := s.path(key)
	if info, err := os.Lstat(path); err == nil {
		target, err := os.Stat(path)
		switch {
		case err == nil && target.Mode().IsRegular():
			return ""
		case info.IsDir():
			return path + " is a directory, in which other objects may lie"
		}
		return path + " is no file"
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err != nil || info.IsDir() {
			continue
		}
		if target, err := os.Stat(dir); err != nil || !target.IsDir() {
			return dir + ", a part of this name, is no directory"
		}
	}
	return ""
}

// obstructed is the error of a name of which a part is another object, or a link that leads to no directory. Nil where none is.
func (s *dirStore) obstructed(key string) error {
	if what := s.inTheWay(key); what != "" {
		return &Error{Op: "create", Key: key, Store: s.url, Err: fmt.Errorf("%w: %s: look at it, and move it out of the way", ErrExists, what)}
	}
	return nil
}
