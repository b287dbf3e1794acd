package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// Upload is an upload in parts that was begun and not finished: it takes room, and no listing of objects shows it.
type Upload struct {
	Key   string
	Begun time.Time
}

// Uploads yields the unfinished uploads of an S3 store, in the order of their keys; of other stores there are none. The
// first error ends the sequence: ErrForbidden without the right to list them (s3:ListBucketMultipartUploads).
func Uploads(ctx context.Context, s Store) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		if lister, ok := s.(interface {
			uploads(context.Context, func(Upload, error) bool)
		}); ok {
			lister.uploads(ctx, yield)
		}
	}
}

func (s *s3Store) uploads(parent context.Context, yield func(Upload, error) bool) {
	ctx, w := watched(parent, s.timeout)
	defer w.end()
	keyMarker, idMarker := "", ""
	for {
		w.resume()
		page, err := s.reads.ListMultipartUploads(ctx, s.bucket, s.prefix, keyMarker, idMarker, "", 0)
		w.pause()
		if err != nil {
			yield(Upload{}, s.fail(ctx, "list uploads", "", err))
			return
		}
		for _, u := range page.Uploads {
			if key, ok := strings.CutPrefix(u.Key, s.prefix); ok && !yield(Upload{key, u.Initiated}, nil) {
				return
			}
		}
		if !page.IsTruncated || page.NextKeyMarker < keyMarker || page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker {
			return
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// Leftover is a file of a directory store that its writer began and did not finish: it was killed. Nobody reads it, and the
// next writer removes it.
type Leftover struct {
	Path     string // below the store's directory
	Size     int64
	Modified time.Time
}

// Leftovers gives those of a directory store, in the order of their names; other stores have none. What somebody is writing
// at this moment is none.
func Leftovers(ctx context.Context, s Store) ([]Leftover, error) {
	dir, ok := s.(*dirStore)
	if !ok {
		return nil, nil
	}
	var list []Leftover
	tmp := path.Join(reservedSegment, "tmp")
	entries, err := os.ReadDir(dir.path(tmp))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, dir.fail("list", tmp, err)
		}
		info, err := entry.Info()
		if err == nil && ownScratch(entry) && !heldScratch(filepath.Join(dir.path(tmp), entry.Name())) {
			list = append(list, Leftover{path.Join(tmp, entry.Name()), info.Size(), info.ModTime()})
		}
	}
	return list, dir.fail("list", tmp, err)
}

// ownScratch tells whether a writer can have made a file.
func ownScratch(entry fs.DirEntry) bool {
	return entry.Type().IsRegular() && len(entry.Name()) == len(rand.Text())
}

// heldScratch tells whether a file's writer lives, without getting in its way. Of one that may not be opened nobody can tell.
func heldScratch(path string) bool {
	held := flock.New(path, flock.SetFlag(os.O_RDONLY|syscall.O_NONBLOCK))
	defer held.Close()
	free, err := held.TryRLock()
	return err == nil && !free || errors.Is(err, fs.ErrNotExist)
}
