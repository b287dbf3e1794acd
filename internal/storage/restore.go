package storage

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
)

// checkRestore refuses what would replace one content by another.
func checkRestore(key, store string, body io.ReaderAt, size int64) error {
	if known, ok := body.(Digested); !ok || known.SHA256() != path.Base(key) {
		return &Error{Op: "restore", Key: key, Store: store, Err: errors.New("its name is not the digest of what is to be stored")}
	}
	return checkSize(key, store, size)
}

// Restore of a directory store gives a finished file the name, in place of the one that has it.
func (s *dirStore) Restore(ctx context.Context, key string, body io.ReaderAt, size int64, _, _ string) error {
	if err := s.start(ctx, "restore", key); err != nil {
		return err
	}
	if err := checkRestore(key, s.url, body, size); err != nil {
		return err
	}
	temp, err := s.newScratch(ctx)
	if err != nil {
		return s.fail("restore", key, err)
	}
	defer temp.discard()
	if err := temp.fill(digested(bodyReader{ctx, io.NewSectionReader(body, 0, size)}, body), size); err != nil {
		return s.fail("restore", key, err)
	}
	return s.fail("restore", key, undisturbed(ctx, func() error {
		if err := s.makeParents(key); err != nil {
			return err
		}
		if err := os.Rename(temp.path, s.path(key)); err != nil {
			return err
		}
		return s.syncUp(key)
	}))
}

// Restore of an S3 store is Create without its condition. The digest is signed with what is sent in one request; in parts, it is
// checked before they become an object.
func (s *s3Store) Restore(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	if err := s.start(ctx, "restore", key); err != nil {
		return err
	}
	if err := checkRestore(key, s.url, body, size); err != nil {
		return err
	}
	put := upload{key: key, body: body, size: size, opts: putOptions(contentType, cacheControl), sum: path.Base(key), over: true}
	if size >= s.opts.Parts.from() {
		return s.createInParts(ctx, put)
	}
	return s.createAtOnce(ctx, put)
}

// Restore says that a web store is read-only.
func (s *httpStore) Restore(_ context.Context, key string, _ io.ReaderAt, _ int64, _, _ string) error {
	return s.unsupported("restore", key)
}

// settledAs is settled for an upload: one that is to replace what is there has arrived, or not yet.
func (s *s3Store) settledAs(ctx context.Context, u upload) (known bool, err error) {
	known, err = s.settled(ctx, u.key, u.body, u.size)
	if u.over && errors.Is(err, ErrExists) {
		return false, nil
	}
	return known, err
}
