package storage

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/minio/minio-go/v7"

	"github.com/enovance/kitchen/internal/durable"
)

// Delete of a directory store removes the file, then the directories above it that are empty now, so that their
// names are free again. Whoever creates an object in one of them at that moment makes it anew (undisturbed).
func (s *dirStore) Delete(ctx context.Context, key string) error {
	if err := s.start(ctx, "delete", key); err != nil {
		return err
	}
	path := s.path(key)
	info, err := os.Stat(path)
	switch {
	case noObject(err):
		return nil
	case err != nil:
		return s.fail("delete", key, err)
	case !info.Mode().IsRegular():
		return nil
	}
	if err := syscall.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail("delete", key, &fs.PathError{Op: "unlink", Path: path, Err: err})
	}
	return s.fail("delete", key, s.removeEmpty(filepath.Dir(path)))
}

// removeEmpty removes a directory and those above it as long as they are empty, and makes the removals durable.
func (s *dirStore) removeEmpty(dir string) error {
	if dir != s.root && emptyDir(dir) {
		if err := s.countRemoval(); err != nil {
			return err
		}
		for dir != s.root && syscall.Rmdir(dir) == nil {
			dir = filepath.Dir(dir)
		}
	}
	for {
		err := durable.SyncDir(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == s.root {
			return err
		}
		dir = filepath.Dir(dir) // another deleter removed it
	}
}

func emptyDir(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) == 0
}

// removalsPath is a file that grows by a byte before directories are removed. A writer that took the name of a
// directory for durable (rooted) sees by its size that the directory may be another one, not yet durable.
func (s *dirStore) removalsPath() string { return filepath.Join(s.root, reservedSegment, "removed") }

func (s *dirStore) countRemoval() error {
	if err := s.own(filepath.Dir(s.removalsPath())); err != nil {
		return err
	}
	f, err := openOwn(s.removalsPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte{'.'})
	return errors.Join(err, f.Close())
}

func (s *dirStore) removals() int64 {
	info, err := os.Stat(s.removalsPath())
	if err != nil {
		return 0
	}
	return info.Size()
}

// maxDisturbed is how often in a row a writer makes what a deleter removes under its hands.
const maxDisturbed = 1000

// undisturbed does again what fails because a directory, or the object, was deleted in the middle of it.
func undisturbed(ctx context.Context, do func() error) error {
	var err error
	for range maxDisturbed {
		if err = do(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// Delete of an S3 store may be repeated, so the library's own retries are fine.
func (s *s3Store) Delete(parent context.Context, key string) error {
	if err := s.start(parent, "delete", key); err != nil {
		return err
	}
	ctx, w := watched(parent, s.timeout)
	defer w.end()
	err := s.plain.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if s3Code(err) == http.StatusNotFound && minio.ToErrorResponse(err).Code != "NoSuchBucket" {
		return nil
	}
	return s.fail(ctx, "delete", key, err)
}
