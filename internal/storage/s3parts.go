package storage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

// partUpload is one object on its way to the server in parts.
//
// The body is read in order, once: that gives the SHA-256 of each part, which is signed with it, and that of the
// whole, which must be known to be right before the parts become an object (no server checks it). What is sent
// is read again, so that memory stays flat; where the file changed in between, the server refuses the part.
//
// An upload that is broken off, by Ctrl-C too, stays at the server and is gone on with by the next Create of the same
// key (s3resume.go). It is aborted only where it can be of no use: the bytes are not what they should be, or the name
// is taken. A bucket wants a lifecycle rule that ends uploads nobody comes back to (AbortIncompleteMultipartUpload).
type partUpload struct {
	*s3Store
	of   upload
	each int64 // size of every part but the last
	id   string
	sums bool                       // parts carry x-amz-checksum-sha256, which servers that know it keep and list
	have map[int]minio.CompletePart // by number: sent earlier, and found equal
	done []minio.CompletePart
}

// errGone is an upload that somebody else completed or aborted, or whose parts somebody replaced.
var errGone = errors.New("the upload in parts is gone")

// sumHeader makes the server check, keep and list the SHA-256 of a part.
const sumHeader, sumAlgorithm = "x-amz-checksum-sha256", "x-amz-checksum-algorithm"

// createInParts is Create for a large object whose name was free a moment ago.
func (s *s3Store) createInParts(ctx context.Context, u upload) error {
	var last error
	for n := range maxAttempts {
		if err := pause(ctx, n); err != nil {
			return s.fail(ctx, "create", u.key, err)
		}
		p, err := s.uploadOf(ctx, u, n == 0)
		if err != nil {
			return err
		}
		if last = p.send(ctx); last == nil {
			last = p.complete(ctx)
		}
		gone := errors.Is(last, errGone)
		if !gone && !errors.Is(last, ErrUnavailable) {
			return last
		}
		// A server may break the connection on which it refuses a part of what somebody else completed.
		if known, err := s.settledAs(ctx, u); known {
			p.abort(ctx)
			return err
		}
		if !gone {
			return last
		}
	}
	return last
}

// uploadOf is an upload to go on with, or else a new one.
func (s *s3Store) uploadOf(ctx context.Context, u upload, resume bool) (*partUpload, error) {
	each := s.opts.Parts.each(u.size)
	p := &partUpload{s3Store: s, of: u, each: each, done: make([]minio.CompletePart, (u.size+each-1)/each)}
	if resume {
		if found, err := p.resume(ctx); found || err != nil {
			p.tellResumed(ctx)
			return p, err
		}
	}
	p.tellResumed(ctx) // nothing, if that of before came to nothing
	ctx, w := watched(ctx, s.timeout)
	defer w.end()
	opts := u.opts
	opts.UserMetadata = map[string]string{sumAlgorithm: "SHA256"}
	var err error
	p.id, err = s.reads.NewMultipartUpload(ctx, s.bucket, s.prefix+u.key, opts) // an answer lost costs an empty upload
	p.sums, p.have = true, nil
	return p, s.fail(ctx, "create", u.key, err)
}

// tellResumed tells the body what the server has of it.
func (p *partUpload) tellResumed(ctx context.Context) {
	body, ok := p.of.body.(Resumed)
	if !ok {
		return
	}
	var have int64
	for n := range p.have {
		_, size := p.part(ctx, n)
		have += size
	}
	body.Resumed(have)
}

// count is the number of parts; part gives the place of the nth, from 1.
func (p *partUpload) count() int { return len(p.done) }

func (p *partUpload) part(ctx context.Context, n int) (body bodyReader, size int64) {
	offset := int64(n-1) * p.each
	size = min(p.each, p.of.size-offset)
	return bodyReader{ctx, io.NewSectionReader(p.of.body, offset, size)}, size
}

// sumOf is the SHA-256 of a part; what is read goes to the whole's hash, too.
func (p *partUpload) sumOf(ctx context.Context, n int, whole hash.Hash) ([]byte, error) {
	sum := sha256.New()
	body, size := p.part(ctx, n)
	into := io.Writer(sum)
	if whole != nil {
		into = io.MultiWriter(sum, whole)
	}
	got, err := io.Copy(into, body)
	switch {
	case err != nil:
		return nil, p.fail(ctx, "create", p.of.key, fmt.Errorf("read the bytes to be stored: %w", err))
	case got != size:
		err := fmt.Errorf("the bytes to be stored end after %d of %d: %w", int64(n-1)*p.each+got, p.of.size, io.ErrUnexpectedEOF)
		return nil, &Error{Op: "create", Key: p.of.key, Store: p.url, Err: err}
	}
	return sum.Sum(nil), nil
}

// send reads the body in order and sends what the server lacks, several parts at once.
func (p *partUpload) send(ctx context.Context) error {
	var whole hash.Hash
	if p.of.sum != "" {
		whole = sha256.New()
	}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(p.opts.Parts.parallel())
	for n := 1; n <= p.count() && sending.Err() == nil; n++ {
		sum, err := p.sumOf(sending, n, whole)
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		if part, ok := p.have[n]; ok {
			p.done[n-1] = part
			continue
		}
		g.Go(func() error { return p.sendPart(sending, n, sum) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return p.fail(ctx, "create", p.of.key, ctx.Err())
	}
	if whole != nil && hex.EncodeToString(whole.Sum(nil)) != p.of.sum {
		p.abort(ctx)
		err := fmt.Errorf("the bytes to be stored have sha256 %x, not %s", whole.Sum(nil), p.of.sum)
		return &Error{Op: "create", Key: p.of.key, Store: p.url, Err: err}
	}
	return nil
}

// sendPart sends a part until the server has it. Doing so twice does no harm.
func (p *partUpload) sendPart(ctx context.Context, n int, sum []byte) error {
	var last error
	for try := range maxAttempts {
		if err := pause(ctx, try); err != nil {
			return p.fail(ctx, "create", p.of.key, err)
		}
		part, err := p.putPart(ctx, n, sum)
		if err == nil {
			p.done[n-1] = completed(part)
			return nil
		}
		if last = err; !errors.Is(last, ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	return last
}

func (p *partUpload) putPart(parent context.Context, n int, sum []byte) (minio.ObjectPart, error) {
	ctx, w := watched(parent, p.timeout)
	defer w.end()
	body, size := p.part(ctx, n)
	opts := minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum), DisableContentSha256: true}
	if p.sums {
		opts.CustomHeader = http.Header{}
		opts.CustomHeader.Set(sumHeader, base64.StdEncoding.EncodeToString(sum))
	}
	moving := struct{ io.Reader }{movingBody{body, w}}
	part, err := p.writes.PutObjectPart(ctx, p.bucket, p.prefix+p.of.key, p.id, n, moving, size, opts)
	if gone(err) {
		return part, p.goneError(err)
	}
	return part, p.fail(ctx, "create", p.of.key, damaged(err))
}

// completed is what completion says of a part: its checksum only where the server told it.
func completed(part minio.ObjectPart) minio.CompletePart {
	return minio.CompletePart{PartNumber: part.PartNumber, ETag: strings.Trim(part.ETag, `"`), ChecksumSHA256: part.ChecksumSHA256}
}

// gone tells the answers by which a server says that the upload, or a part of it as it was sent, is no more.
func gone(err error) bool {
	var r minio.ErrorResponse
	return errors.As(err, &r) && slices.Contains([]string{"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}, r.Code)
}

func (p *partUpload) goneError(err error) error {
	reply := minio.ToErrorResponse(err)
	return &Error{Op: "create", Key: p.of.key, Store: p.url, Err: fmt.Errorf("%w: %w (%s)", ErrConflict, errGone, s3Text(reply))}
}

// complete makes the parts an object, unless the name is taken (by what is not to be replaced). Like a single PUT it is tried once at a time, and
// whatever is not a clear answer is settled by reading the object back.
func (p *partUpload) complete(ctx context.Context) error {
	var last error
	for n := range maxAttempts {
		if err := pause(ctx, n); err != nil {
			return p.fail(ctx, "create", p.of.key, err)
		}
		answer := p.completeOnce(ctx)
		last = p.fail(ctx, "create", p.of.key, answer)
		switch {
		case last == nil, ctx.Err() != nil:
			return last
		case gone(answer):
			return p.goneError(answer)
		case !inDoubt(last):
			return last
		}
		known, err := p.settledAs(ctx, p.of)
		if known || errors.Is(last, ErrConflict) && errors.Is(err, ErrForbidden) {
			p.abort(ctx)
			return err
		}
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		if errors.Is(last, ErrConflict) && n > 0 {
			return p.goneError(answer) // after another's write at the same moment Amazon wants the parts anew
		}
	}
	return last
}

func (p *partUpload) completeOnce(parent context.Context) error {
	ctx, w := watched(parent, p.timeout)
	defer w.end()
	w.limit += time.Duration(p.of.size>>26) * time.Second // some servers copy the parts now
	w.resume()
	var opts minio.PutObjectOptions
	if !p.of.over {
		opts.SetMatchETagExcept("*")
	}
	_, err := p.writes.CompleteMultipartUpload(ctx, p.bucket, p.prefix+p.of.key, p.id, p.done, opts)
	if cause := context.Cause(ctx); err != nil && errors.As(cause, &silence{}) {
		return fmt.Errorf("%w: %w", ErrUnavailable, cause)
	}
	if err != nil && s3Code(err) == http.StatusOK { // a server that began its answer before it was done
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// abort gives the parts up. Without the right to (s3:AbortMultipartUpload) they wait for the bucket's lifecycle rule.
func (p *partUpload) abort(ctx context.Context) {
	ctx, w := watched(ctx, p.timeout)
	defer w.end()
	_ = p.reads.AbortMultipartUpload(ctx, p.bucket, p.prefix+p.of.key, p.id)
}
