// Package storage is the bucket: immutable objects that are created once, one kind of mutable object that is
// swapped, and the removal of what nobody needs any more.
//
// # Stores
//
//	file:///var/kitchen                                       a directory on a local file system
//	s3://bucket/prefix?endpoint=https://host:9000&region=eu-1  any S3 server that honours conditional writes
//	https://cdn.example.org/kitchen  http://…                 read-only: a CDN or a plain web server
//
// # Terms
//
// A key is one or more segments joined by "/". A segment is 1 to 255 bytes of valid UTF-8 without control
// characters and backslash, and is neither "." nor ".."; a key has at most 1024 bytes (the limit of S3). No key may
// be a directory of another: where "a/b" is an object, "a/b/c" is refused.
//
// An entity tag (ETag) is an opaque token: equal tokens mean the same bytes, and nothing may be read out of one.
//
// # Promises
//
// Create never replaces anything. Swap replaces only what its caller saw, and exactly one of any number of
// concurrent swappers succeeds. Both resolve a lost answer by reading the object back, so that nil means "the
// store holds exactly these bytes". An object is visible whole or not at all. A body that ends early is an error.
//
// Reading promises no more than that: readers trust signatures and digests, never the store.
package storage

import (
	"context"
	"io"
	"iter"
	"net/http"
	"time"
)

// Info describes one stored object.
type Info struct {
	Key      string
	Size     int64     // of the whole object, in bytes, also for a ranged read
	ETag     string    // opaque; "" where the server gives none
	Modified time.Time // as the store tells it; zero where it does not
	// Whole is set by Open of a range: the server ignored it and sends the whole object, of which what comes before
	// the offset was read and dropped. Many ranges of such an object cost many times its size: ask for few.
	Whole bool
}

// Reader reads objects. Every method gives ErrNotFound, ErrForbidden or ErrUnavailable for an object that is
// absent, withheld or out of reach; each is wrapped in an *Error that names the key and the store.
type Reader interface {
	// Open streams length bytes from offset; a negative length means to the end of the object. A range that
	// reaches past the end is cut to the object (an offset at or past the end gives no bytes).
	// The body fails with io.ErrUnexpectedEOF when it is cut short, never with a silent io.EOF.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error)
	// Stat describes an object without reading it.
	Stat(ctx context.Context, key string) (Info, error)
	// OpenIfChanged is Open of the whole object, or ErrNotModified while its entity tag still is etag.
	// An empty etag always opens.
	OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, Info, error)
}

// Writer creates immutable objects.
type Writer interface {
	// Create stores size bytes of body under a key that is free. It is nil, too, when the object already holds
	// exactly these bytes; ErrExists when it holds others. contentType and cacheControl may be empty; a
	// directory does not keep them. At most MaxObject bytes. The body may be read more than once, and in several
	// places at once. What an interrupted Create of a large object sent to an S3 server is not sent again by the
	// next one of the same key (Parts).
	Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error
}

// Digested is a body for Create that knows the SHA-256 of its bytes (lower-case hex): a store that has to name it
// before it sends anything need not read the body twice. A wrong one is refused by the store.
type Digested interface{ SHA256() string }

// Resumed is a body for Create that wants to know of bytes that need not be sent, for an interrupted Create of it sent them.
type Resumed interface{ Resumed(bytes int64) }

// Restorer puts back what was damaged: by the disk, or by whoever can write to the store without this package.
type Restorer interface {
	// Restore stores size bytes of body under a key, whatever is there, as Create does. body is Digested, and the last segment
	// of the key is its digest: of all objects only those that are named so may be replaced, by the bytes that were always meant.
	// Who reads the object at that moment gets the one or the other, or an error. A bucket that keeps versions keeps both.
	Restore(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error
}

// Swapper replaces small mutable objects by compare-and-set.
type Swapper interface {
	// Swap replaces the object whose entity tag is oldETag by data and returns the new tag; oldETag "" means
	// that there must be no such object. ErrConflict when the object is another, or is absent; it then is
	// as somebody else left it. Nil means that the object held data at some moment after the call began.
	Swap(ctx context.Context, key, oldETag string, data []byte, contentType, cacheControl string) (newETag string, err error)
}

// Deleter removes objects. It is for what nobody needs any more (prune), and for nothing else.
type Deleter interface {
	// Delete removes the object; it is nil, too, when there is no such object. Who reads it at that moment may get
	// all of it, a part and an error, or ErrNotFound. Of a Create of the same key at the same moment either may come
	// last. A bucket that keeps versions keeps this one, too.
	Delete(ctx context.Context, key string) error
}

// Lister lists objects.
type Lister interface {
	// List yields every object whose key begins with prefix and sorts after the key "after" (both may be
	// empty), in ascending bytewise order of the whole keys. The first error ends the sequence. Unfinished
	// uploads and lock files are no objects. ETag may be empty.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
}

// Store is a whole bucket.
type Store interface {
	Reader
	Writer
	Restorer
	Swapper
	Deleter
	Lister
	// URL is the address the store was opened with, without any password in it.
	URL() string
}

// MaxObject is the largest object that Create takes: 5 TiB, S3's limit.
const MaxObject = 5 << 40

// DefaultTimeout is how long a store may be silent: for a whole small call, or between two pieces of a body.
const DefaultTimeout = 30 * time.Second

// Options say how to reach a store. The zero value is usable.
type Options struct {
	// RoundTripper wraps the transport of network stores. Tests put their faults there.
	RoundTripper func(http.RoundTripper) http.RoundTripper
	// Timeout is the deadline of a small call and the longest silence within a body. Zero is DefaultTimeout.
	Timeout time.Duration
	// Now is the host's clock. Without one, a body that comes byte by byte is waited for.
	Now func() time.Time
	// Parts say how a large object goes to an S3 server.
	Parts Parts
	// Resumes is how often in a row a body may break without a byte gained before its reader sees an error (twenty times, with
	// less than 64 KiB gained each time); what broke is asked for again after about 0.1 s, 0.2 s, 0.4 s …, with jitter. Zero is DefaultResumes.
	Resumes int
	// CreateBucket lets Open make the S3 bucket, or the first write the directory, where there is none and the rights are there.
	CreateBucket bool
	// Getenv reads the environment for credentials, region, endpoint and certificate authorities
	// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE,
	// AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, …).
	// Nil is an empty environment: an S3 store is then reached without credentials.
	Getenv func(string) string
}

// DefaultResumes outlasts some seconds without a network.
const DefaultResumes = 5

func (o Options) resumes() int {
	if o.Resumes > 0 {
		return o.Resumes
	}
	return DefaultResumes
}

func (o Options) timeout() time.Duration {
	if o.Timeout > 0 {
		return o.Timeout
	}
	return DefaultTimeout
}

func (o Options) getenv(name string) string {
	if o.Getenv == nil {
		return ""
	}
	return o.Getenv(name)
}

func (o Options) wrap(rt http.RoundTripper) http.RoundTripper {
	if o.RoundTripper == nil {
		return rt
	}
	return o.RoundTripper(rt)
}

// Parts say how a large object goes to an S3 server: in parts of their own, several at once, of which none is sent
// again when the upload is interrupted and Create called anew. Zero fields are defaults.
type Parts struct {
	// From is the size from which an object goes in parts: 64 MiB. One PUT could be of 5 GiB, but where it breaks
	// off it starts from nothing; below 64 MiB that costs less than the requests (three more) and the second hash.
	From int64
	// Size is the least size of a part but the last: 16 MiB (S3 takes none below 5 MiB). It grows with the object,
	// which has at most 9,000 parts (S3's limit is 10,000).
	Size int64
	// Parallel is how many parts are sent at the same time: 4.
	Parallel int
}

// Limits of S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	maxPut   = 5 << 30 // bytes in one PUT
	maxParts = 9000
)

func (p Parts) from() int64 {
	if p.From > 0 {
		return min(p.From, maxPut)
	}
	return 64 << 20
}

// each is the size of the parts of an object of this size; it depends on nothing else, so that an upload can be gone
// on with.
func (p Parts) each(size int64) int64 {
	least := int64(16 << 20)
	if p.Size > 0 {
		least = p.Size
	}
	const mib = 1 << 20
	return max(least, (size+maxParts*mib-1)/(maxParts*mib)*mib)
}

func (p Parts) parallel() int {
	if p.Parallel > 0 {
		return p.Parallel
	}
	return 4
}
