package storage

import (
	"context"
	"iter"
	"strings"
	"time"
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
