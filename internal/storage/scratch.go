package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// scratch is an unfinished file below reservedSegment/tmp. Its writer holds a lock on it, so that whoever writes
// next can tell the leftovers of a crash from work in progress and remove them.
type scratch struct {
	path string
	file *os.File
	held *flock.Flock
}

func (s *dirStore) newScratch(ctx context.Context) (*scratch, error) {
	if _, err := os.Stat(s.root); !s.create && errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRoot
	}
	dir := filepath.Join(s.root, reservedSegment, "tmp")
	if err := s.own(dir); err != nil {
		return nil, err
	}
	sweep(dir)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := lockedFile(filepath.Join(dir, rand.Text()))
		if t != nil || err != nil {
			return t, err
		}
	}
}

// lockedFile makes and locks a new file; nil when a sweeper was quicker than the lock.
func lockedFile(path string) (*scratch, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	t := &scratch{path: path, file: f, held: flock.New(path, flock.SetFlag(os.O_RDWR))}
	locked, err := t.held.TryLock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.discard()
		return nil, err
	}
	mine, err := os.Stat(path)
	opened, err2 := f.Stat()
	if !locked || err != nil || err2 != nil || !os.SameFile(mine, opened) {
		f.Close()
		t.held.Close()
		return nil, nil
	}
	return t, nil
}

// sweep removes what crashed writers left. Failing to is no harm.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if !ownScratch(entry) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		held := flock.New(path, flock.SetFlag(os.O_RDWR))
		if ok, err := held.TryLock(); ok && err == nil {
			os.Remove(path)
		}
		held.Close()
	}
}

// fill writes exactly size bytes and puts them on the disk.
func (t *scratch) fill(body io.Reader, size int64) error {
	n, err := io.Copy(t.file, body)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("the bytes to be stored ended after %d of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return t.file.Sync()
}

// discard removes the unfinished name; an object that was linked from it stays.
func (t *scratch) discard() {
	t.file.Close()
	os.Remove(t.path)
	t.held.Close()
}
