// Package durable writes small files so that a crash, a full disk or a pulled plug leaves either the old
// contents or the new ones, and never a mixture.
//
// Every write takes the same four steps: a temporary name in the same directory, write, fsync, then one atomic
// step (rename or link) and an fsync of the directory. A temporary name begins with TempPrefix; whoever lists a
// directory written by this package skips such names, and may delete them when no writer is active.
//
// The promise is that of a local POSIX file system: rename(2) and link(2) are atomic, and fsync reaches the disk.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// TempPrefix begins the name of every unfinished file.
const TempPrefix = "_tmp-"

// WriteFile replaces path by a file with exactly these bytes and permission bits, or leaves it as it was.
// The directory must exist. A symbolic link at path is replaced, not followed.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// CreateExclusive makes a new file that is complete from the first moment it can be seen. When path is taken,
// whatever it is, the error wraps os.ErrExist and path is untouched.
func CreateExclusive(path string, data []byte, perm os.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil {
		return pathError(err, "create", path)
	}
	return SyncDir(filepath.Dir(path))
}

// ErrNotRegular says that a name stands for something else than a regular file: a pipe, a device, a directory, or a
// link where none is followed.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge says that a file has more bytes than it may have.
var ErrTooLarge = errors.New("it is larger")

// Open opens a regular file for reading; anything else is ErrNotRegular. It never waits for the other end of a pipe.
func Open(path string) (*os.File, error) { return open(path, 0) }

// OpenOwn is Open for a file that only this program has to do with: a symbolic link in its place is not followed.
func OpenOwn(path string) (*os.File, error) { return open(path, syscall.O_NOFOLLOW) }

// ReadOwn reads such a file. One of more than max bytes is ErrTooLarge.
func ReadOwn(path string, max int64) ([]byte, error) {
	file, err := OpenOwn(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(data)) > max {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w than %d bytes", ErrTooLarge, max)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	link := flags&syscall.O_NOFOLLOW != 0 && errors.Is(err, syscall.ELOOP)
	if link || errors.Is(err, syscall.ENXIO) { // a link; a socket
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// LockFile is a file to take the lock of; it is made, where nothing has its name. A pipe in its place is locked as a file is:
// nobody waits for its other end.
func LockFile(path string, perm os.FileMode) *flock.Flock {
	return flock.New(path, flock.SetPermissions(perm), flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NONBLOCK))
}

// OpenRoot is os.OpenRoot, but for a pipe in the directory's place, on which that would wait.
func OpenRoot(dir string) (*os.Root, error) { return os.OpenRoot(filepath.Clean(dir) + "/.") }

// SyncDir makes the names in a directory durable: what was created, renamed or removed in it stays so.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MkdirAll is os.MkdirAll with every directory that it makes durable in its parent.
func MkdirAll(dir string, perm os.FileMode) error {
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, perm); err != nil {
		if info, again := os.Stat(dir); again == nil && info.IsDir() {
			return nil // another writer made it meanwhile
		}
		return err
	}
	return SyncDir(parent)
}

// CreateTemp opens a new unfinished file in dir, with mode 0600 and a name that begins with TempPrefix.
func CreateTemp(dir string) (*os.File, error) { return os.CreateTemp(dir, TempPrefix+"*") }

func writeTemp(path string, data []byte, perm os.FileMode) (string, error) {
	f, err := CreateTemp(filepath.Dir(path))
	if err != nil {
		return "", pathError(err, "create", path)
	}
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return f.Name(), nil
}

// pathError tells an operator the name that was wanted, not the temporary one.
func pathError(err error, op, path string) error {
	var path2 *fs.PathError
	if errors.As(err, &path2) {
		err = path2.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		err = link.Err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
