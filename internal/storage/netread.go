package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// netReader is Reader over a protocol that can fetch: the whole of what s3 and http share. It skips what a server
// sends before the range that was asked for, notices a body that ends early, and goes on where it broke off as long
// as the object is still the same.
type netReader struct {
	fetch   func(ctx context.Context, key string, want fetchRequest) (answer, error) // one request
	stat    func(ctx context.Context, key string) (Info, error)
	fail    func(ctx context.Context, op, key string, err error) error
	timeout time.Duration
	now     func() time.Time // see Options.Now
	resumes int              // see Options.Resumes
}

// fetchRequest is a GET; at most one of the entity tags is set.
type fetchRequest struct {
	offset, length     int64 // length < 0: to the end
	ifMatch, ifChanged string
}

// ranged tells whether a Range header is needed.
func (r fetchRequest) ranged() bool { return r.offset > 0 || r.length >= 0 }

// header is the value of the Range header (RFC 9110 section 14.1.2).
func (r fetchRequest) header() string {
	if r.length < 0 {
		return fmt.Sprintf("bytes=%d-", r.offset)
	}
	return fmt.Sprintf("bytes=%d-%d", r.offset, r.offset+r.length-1)
}

// answer is a body that begins at offset start of the object.
type answer struct {
	body    io.ReadCloser
	start   int64
	partial bool // 206, not the whole object
	info    Info
}

// errRange is an answer 416: the range begins at or past the end.
var errRange = errors.New("range beyond the object")

func (r *netReader) Stat(ctx context.Context, key string) (Info, error) {
	if err := r.start(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	ctx, w := watched(ctx, r.timeout)
	defer w.end()
	info, err := r.stat(ctx, key)
	return info, r.fail(ctx, "stat", key, err)
}

func (r *netReader) start(ctx context.Context, op, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return r.fail(ctx, op, key, ctx.Err())
	}
	return nil
}

func (r *netReader) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error) {
	return r.open(ctx, key, fetchRequest{offset: max(offset, 0), length: length})
}

func (r *netReader) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, Info, error) {
	body, info, err := r.open(ctx, key, fetchRequest{length: -1, ifChanged: etag})
	if err == nil && etag != "" && info.ETag == etag { // a server that ignores the condition
		body.Close()
		return nil, info, r.fail(ctx, "open", key, ErrNotModified)
	}
	return body, info, err
}

func (r *netReader) open(parent context.Context, key string, want fetchRequest) (io.ReadCloser, Info, error) {
	if err := r.start(parent, "open", key); err != nil {
		return nil, Info{}, err
	}
	if want.length == 0 {
		return r.empty(parent, key)
	}
	ctx, w := watched(parent, r.timeout)
	w.now = r.now
	w.resume()
	b := &netBody{reader: r, ctx: ctx, watch: w, key: key, next: want.offset, left: -1, tries: r.resumes}
	got, err := r.fetch(ctx, key, want)
	if errors.Is(err, errRange) {
		w.end()
		return r.beyond(parent, key, want.offset)
	}
	if err == nil {
		b.info = got.info
		b.info.Whole = want.ranged() && !got.partial
		if b.info.Size >= 0 {
			b.next, b.left = span(want.offset, want.length, b.info.Size)
		} else {
			b.left = want.length
		}
		err = b.take(got)
	}
	if err != nil {
		err = r.fail(ctx, "open", key, err)
		w.end()
		return nil, Info{}, err
	}
	w.rest()
	return b, b.info, nil
}

// empty is the answer to a range without bytes; it still tells whether there is such an object.
func (r *netReader) empty(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	info, err := r.Stat(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	return http.NoBody, info, nil
}

// beyond is the answer to a range that the server finds past the end of the object, if it is.
func (r *netReader) beyond(ctx context.Context, key string, offset int64) (io.ReadCloser, Info, error) {
	body, info, err := r.empty(ctx, key)
	if err == nil && info.Size > offset {
		return nil, Info{}, r.fail(ctx, "open", key, wrongAnswer(fmt.Sprintf("it refuses the range from byte %d of %d", offset, info.Size)))
	}
	return body, info, err
}

// netBody is a body that survives a broken connection.
type netBody struct {
	reader  *netReader
	ctx     context.Context
	watch   *watch
	key     string
	info    Info
	src     io.ReadCloser // nil while broken
	next    int64         // offset in the object of the next byte
	left    int64         // bytes still to come; negative: until the end, the size is not known
	tries   int
	gained  int64 // bytes, since it broke last
	skipped int64 // bytes that the present answer had before next
	poor    int   // answers in a row that broke after less than minGain
	end     error // what every further read gives
}

// A server that gives every request its first thousand bytes would be asked a million times for an image: after maxPoor answers
// in a row of less than minGain bytes it is as good as one that gives none.
const (
	minGain = 64 << 10
	maxPoor = 20
)

// take makes an answer the source, from the byte that is wanted next.
func (b *netBody) take(got answer) error {
	if got.start > b.next {
		got.body.Close()
		return wrongAnswer(fmt.Sprintf("its answer begins at byte %d of the object instead of %d", got.start, b.next))
	}
	b.skipped = b.next - got.start
	if _, err := io.CopyN(io.Discard, liveReader{got.body, b.watch}, b.skipped); err != nil {
		got.body.Close()
		return b.elsewhere(err)
	}
	b.src = got.body
	return nil
}

// elsewhere says of an answer that it was all of it of what comes before the byte that was asked for, if so.
func (b *netBody) elsewhere(err error) error {
	if err = noEOF(err); b.skipped == 0 || b.gained > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("the answer ends before byte %d of the object, which was asked for: %w", b.next, err)
}

// liveReader tells a watch what came.
type liveReader struct {
	io.Reader
	watch *watch
}

func (l liveReader) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.watch.got(n)
	}
	return n, err
}

func (b *netBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.left != 0 {
		if b.ctx.Err() != nil { // what the connection still holds is not delivered after the end
			return 0, b.reader.fail(b.ctx, "read", b.key, context.Cause(b.ctx))
		}
		if b.left > 0 && int64(len(p)) > b.left {
			p = p[:b.left]
		}
		if err := b.connect(); err != nil {
			if err := b.broken(err); err != nil {
				return 0, err
			}
			continue
		}
		b.watch.await()
		n, err := b.src.Read(p)
		b.watch.pause()
		if n > 0 {
			b.watch.got(n)
			b.advance(int64(n))
			return n, nil // an error comes again with the next call
		}
		if err == io.EOF && b.left < 0 {
			b.left = 0
		} else if err != nil {
			if err := b.broken(b.elsewhere(err)); err != nil {
				return 0, err
			}
		}
	}
	return 0, io.EOF
}

func (b *netBody) advance(n int64) {
	b.next += n
	b.tries = b.reader.resumes
	if b.gained += n; b.gained >= minGain {
		b.poor = 0
	}
	if b.left > 0 {
		b.left -= n
	}
}

// broken gives up the source; nil when it is worth asking for the rest. Once it is an error it stays that error.
func (b *netBody) broken(err error) error {
	if b.src != nil {
		b.src.Close()
		b.src = nil
	}
	if b.end != nil {
		return b.end
	}
	b.tries--
	if b.gained < minGain {
		b.poor++
	}
	if b.gained = 0; b.poor >= maxPoor {
		b.tries, err = 0, fmt.Errorf("%d answers in a row brought less than %d KiB each: %w", b.poor, minGain>>10, err)
	}
	err = b.reader.fail(b.ctx, "read", b.key, cutShort(b.left, err))
	if b.ctx.Err() != nil || b.tries <= 0 || b.left < 0 || !errors.Is(err, ErrUnavailable) {
		b.end = err
	}
	return b.end
}

// cutShort is io.ErrUnexpectedEOF with its reason; a negative number of missing bytes is not known.
func cutShort(missing int64, err error) error {
	text := "body cut short"
	if missing >= 0 {
		text = fmt.Sprintf("body cut short, %d bytes missing", missing)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", text, err)
	}
	return fmt.Errorf("%s: %w: %w", text, io.ErrUnexpectedEOF, err)
}

// connect makes sure that there is a source: the first one, or the rest of the same object.
func (b *netBody) connect() error {
	if b.src != nil || b.end != nil {
		return b.end
	}
	if err := pause(b.ctx, b.reader.resumes-b.tries); err != nil {
		return err
	}
	b.watch.resume()
	defer b.watch.rest()
	want := fetchRequest{offset: b.next, length: b.left}
	if b.info.ETag != "" && !strings.HasPrefix(b.info.ETag, "W/") { // If-Match compares strongly
		want.ifMatch = b.info.ETag
	}
	got, err := b.reader.fetch(b.ctx, b.key, want)
	if errors.Is(err, errRange) {
		return fmt.Errorf("%w: it is shorter now", ErrConflict)
	}
	if err != nil {
		return b.reader.fail(b.ctx, "read", b.key, err)
	}
	if got.info.ETag != b.info.ETag || got.info.Size != b.info.Size || !got.info.Modified.Equal(b.info.Modified) {
		got.body.Close()
		return ErrConflict
	}
	return b.take(got)
}

func (b *netBody) Close() error {
	defer b.watch.end()
	if b.src == nil {
		return nil
	}
	return b.src.Close()
}

// pause waits before the nth retry: about 0.1 s, 0.2 s, 0.4 s …, with jitter; the 0th does not wait.
func pause(ctx context.Context, n int) error {
	if n <= 0 {
		return context.Cause(ctx)
	}
	base := 50 * time.Millisecond << min(n, 6)
	t := time.NewTimer(base/2 + rand.N(base))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// placeOf reads where the body of an answer begins and how large the object is, from its status and headers
// (RFC 9110 section 14.4). A server may answer a ranged request with the whole object. Size is -1 when unknown.
func placeOf(partial bool, h http.Header) (start, size int64, err error) {
	length := int64(-1)
	if v := h.Get("Content-Length"); v != "" {
		if length, err = natural(v); err != nil {
			return 0, 0, wrongAnswer(fmt.Sprintf("content-length %q is no number", v))
		}
	}
	if !partial {
		return 0, length, nil
	}
	r := h.Get("Content-Range")
	start, end, size, err := contentRange(r)
	if err != nil {
		return 0, 0, err
	}
	if length >= 0 && length != end-start+1 {
		return 0, 0, wrongAnswer(fmt.Sprintf("content-range %q, but content-length %d", r, length))
	}
	return start, size, nil
}

// contentRange reads "bytes FIRST-LAST/SIZE". An answer of several ranges (multipart/byteranges) has no such header,
// and none of unknown size was asked for.
func contentRange(r string) (first, last, size int64, err error) {
	const unit = "bytes "
	bad := wrongAnswer(fmt.Sprintf("content-range %q does not say which bytes of how many come", r))
	if len(r) < len(unit) || !strings.EqualFold(r[:len(unit)], unit) {
		return 0, 0, 0, bad
	}
	place, total, ok := strings.Cut(r[len(unit):], "/")
	from, to, ok2 := strings.Cut(place, "-")
	first, err = natural(from)
	last, err2 := natural(to)
	if ok && total == "*" {
		bad = wrongAnswer(fmt.Sprintf("content-range %q lacks the size of the object, after the slash", r))
	}
	size, err3 := natural(total)
	if !ok || !ok2 || err != nil || err2 != nil || err3 != nil || last < first || size <= last {
		return 0, 0, 0, bad
	}
	return first, last, size, nil
}

// natural is a number in decimal digits, without sign.
func natural(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
