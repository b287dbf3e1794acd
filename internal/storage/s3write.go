package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// probeFirst is the size from which Create asks whether the object is there before it sends it.
const probeFirst = 256 << 10

func (s *s3Store) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	if err := s.start(ctx, "create", key); err != nil {
		return err
	}
	if err := checkSize(key, s.url, size); err != nil {
		return err
	}
	if size >= probeFirst {
		if known, err := s.settled(ctx, key, body, size); known {
			return err
		}
	}
	put := upload{key: key, body: body, size: size, opts: putOptions(contentType, cacheControl)}
	if size >= s.opts.Parts.from() {
		if known, ok := body.(Digested); ok {
			put.sum = known.SHA256()
		}
		return s.createInParts(ctx, put)
	}
	return s.createAtOnce(ctx, put)
}

// createAtOnce is Create by one conditional PUT, or Restore by one without condition.
func (s *s3Store) createAtOnce(ctx context.Context, put upload) error {
	sum, err := digest(ctx, put.body, put.size)
	if err != nil {
		return s.fail(ctx, "create", put.key, err)
	}
	put.sum = sum
	if !put.over {
		put.opts.SetMatchETagExcept("*")
	}
	var last error
	for n := range maxAttempts {
		if err := pause(ctx, n); err != nil {
			return s.fail(ctx, "create", put.key, err)
		}
		_, last = s.put(ctx, "create", put)
		if last == nil || !inDoubt(last) || ctx.Err() != nil {
			return last
		}
		known, err := s.settledAs(ctx, put)
		if known || errors.Is(last, ErrConflict) && errors.Is(err, ErrForbidden) {
			return err // there, and the same, another, or not for us to compare
		}
		if errors.Is(err, ErrUnavailable) {
			return err // out of reach altogether
		}
	}
	return last
}

// settled looks whether the object is there. When it is, known is true and the error is Create's: nil for the same
// bytes. When it is not, the error says why that could not be seen, or is nil.
func (s *s3Store) settled(ctx context.Context, key string, body io.ReaderAt, size int64) (known bool, err error) {
	same, err := holds(ctx, s, key, body, size)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrUnavailable):
		return false, err // absent may read as forbidden
	case err != nil:
		return true, err
	case !same:
		return true, &Error{Op: "create", Key: key, Store: s.url, Err: ErrExists}
	}
	return true, nil
}

// inDoubt tells a failed conditional write that may have been stored all the same, or whose loss has to be looked
// at: no answer or a server error (the answer may be lost), 412 and 409 (may be the echo of one's own write), and the
// complaint about a parent of the name (a file-backed server makes it, too, while it removes an empty directory).
func inDoubt(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) || errors.Is(err, ErrExists)
}

func (s *s3Store) Swap(ctx context.Context, key, oldETag string, data []byte, contentType, cacheControl string) (string, error) {
	if err := s.start(ctx, "swap", key); err != nil {
		return "", err
	}
	if len(data) > maxSwapped {
		return "", &Error{Op: "swap", Key: key, Store: s.url, Err: fmt.Errorf("%w: at most %d bytes", ErrTooLarge, maxSwapped)}
	}
	sum := sha256.Sum256(data)
	put := upload{key: key, body: bytes.NewReader(data), size: int64(len(data)), sum: hex.EncodeToString(sum[:]), opts: putOptions(contentType, cacheControl)}
	if oldETag == "" {
		put.opts.SetMatchETagExcept("*")
	} else {
		put.opts.SetMatchETag(oldETag)
	}
	var last error
	for n := range maxAttempts {
		if err := pause(ctx, n); err != nil {
			return "", s.fail(ctx, "swap", key, err)
		}
		written, err := s.put(ctx, "swap", put)
		if last = err; err == nil {
			return s.tagOf(ctx, key, written)
		}
		if errors.Is(last, ErrNotFound) && oldETag != "" && !bucketMissing(last) { // If-Match on an absent key
			last = &Error{Op: "swap", Key: key, Store: s.url, Err: ErrConflict}
		}
		if !inDoubt(last) || ctx.Err() != nil {
			return "", last
		}
		etag, known, err := s.winner(ctx, key, oldETag, data)
		if known {
			return etag, err
		}
		if errors.Is(err, ErrUnavailable) {
			return "", err // out of reach altogether
		}
		if err != nil {
			return "", last // not for us to see; the write's own error says more
		}
	}
	return "", last
}

// winner looks who won: the object holds data (then it was this write), is still what it was (then nobody yet:
// known is false and err nil), or is another's.
func (s *s3Store) winner(ctx context.Context, key, oldETag string, data []byte) (etag string, known bool, err error) {
	now, info, err := ReadAll(ctx, s, key, maxSwapped)
	switch {
	case errors.Is(err, ErrNotFound) && oldETag == "":
		return "", false, nil
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrUnavailable):
		return "", false, err
	case err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTooLarge):
		return "", true, err
	case err == nil && bytes.Equal(now, data):
		return info.ETag, true, nil
	case err == nil && info.ETag == oldETag:
		return "", false, nil
	}
	return "", true, &Error{Op: "swap", Key: key, Store: s.url, Err: ErrConflict}
}

func bucketMissing(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Key == "" && errors.Is(err, ErrNotFound)
}

// tagOf asks for the tag where the answer to the write did not hold it.
func (s *s3Store) tagOf(ctx context.Context, key, etag string) (string, error) {
	if etag != "" {
		return etag, nil
	}
	info, err := s.Stat(ctx, key)
	return info.ETag, err
}

// upload is one object to be written.
type upload struct {
	key  string
	body io.ReaderAt
	size int64
	sum  string // SHA-256 of the body in hex: signed, so that the server refuses what it did not receive whole; in parts "" where it is not known
	opts minio.PutObjectOptions
	over bool // replaces what is there: see Restorer
}

func putOptions(contentType, cacheControl string) minio.PutObjectOptions {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return minio.PutObjectOptions{
		ContentType: contentType, CacheControl: cacheControl, DisableMultipart: true, DisableContentSha256: true,
	}
}

// put sends an object in one request, once. Every piece that the server takes is a sign of life; once it has
// everything it gets longer to answer, by the size of what it has to put in its place.
func (s *s3Store) put(parent context.Context, op string, u upload) (string, error) {
	ctx, w := watched(parent, s.timeout)
	defer w.end()
	w.limit += time.Duration(u.size>>28) * time.Second
	body := movingBody{bodyReader{ctx, io.NewSectionReader(u.body, 0, u.size)}, w}
	info, err := s.writes.PutObject(ctx, s.bucket, s.prefix+u.key, struct{ io.Reader }{body}, u.size, "", u.sum, u.opts)
	return info.ETag, s.fail(ctx, op, u.key, damaged(err))
}

// damaged marks a server's refusal of bytes that are not those which were signed: they may arrive whole another time.
func damaged(err error) error {
	if err != nil && s3Code(err) == http.StatusBadRequest && isDigestCode(err) {
		return fmt.Errorf("%w: the bytes were damaged on their way: %w", ErrUnavailable, err)
	}
	return err
}

func isDigestCode(err error) bool {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r.Code == "XAmzContentSHA256Mismatch" || r.Code == "BadDigest" || r.Code == "IncompleteBody"
}

// digest is signed with the request, so that nothing damaged is stored under an immutable name. Unless the body knows
// it, it is read once beforehand.
func digest(ctx context.Context, body io.ReaderAt, size int64) (string, error) {
	if known, ok := body.(Digested); ok {
		return known.SHA256(), nil
	}
	h := sha256.New()
	n, err := io.Copy(h, bodyReader{ctx, io.NewSectionReader(body, 0, size)})
	if err != nil {
		return "", fmt.Errorf("read the bytes to be stored: %w", err)
	}
	if n != size {
		return "", fmt.Errorf("the bytes to be stored end after %d of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
