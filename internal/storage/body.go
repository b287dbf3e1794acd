package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// exactBody delivers exactly the bytes that were promised: fewer are io.ErrUnexpectedEOF, more are never seen.
// It ends with the context, too.
type exactBody struct {
	ctx  context.Context
	src  io.ReadCloser
	left int64
	fail func(error) error // names the object in an error
}

func (b *exactBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, b.fail(err)
	}
	if b.left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	b.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && b.left == 0:
		return n, nil // io.EOF comes with the next call
	case errors.Is(err, io.EOF):
		return n, b.fail(fmt.Errorf("%d bytes missing: %w", b.left, io.ErrUnexpectedEOF))
	}
	return n, b.fail(err)
}

func (b *exactBody) Close() error { return b.src.Close() }

// span cuts the range that was asked for to an object of this size.
func span(offset, length, size int64) (int64, int64) {
	offset = min(max(offset, 0), size)
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return offset, length
}

// bodyReader reads an io.ReaderAt from its start, and ends with the context.
type bodyReader struct {
	ctx context.Context
	*io.SectionReader
}

func (r bodyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.SectionReader.Read(p)
}

func (r bodyReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}

// digested holds what is read from src to the SHA-256 that body knows, if it does.
func digested(src io.Reader, body io.ReaderAt) io.Reader {
	known, ok := body.(Digested)
	if !ok {
		return src
	}
	return &digestedReader{src: src, want: known.SHA256(), sum: sha256.New()}
}

type digestedReader struct {
	src  io.Reader
	want string
	sum  hash.Hash
}

func (d *digestedReader) Read(p []byte) (int, error) {
	n, err := d.src.Read(p)
	d.sum.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.want {
			return n, fmt.Errorf("the bytes to be stored have sha256 %s, not %s", got, d.want)
		}
	}
	return n, err
}

// sameBytes compares a stream with the size bytes of want, without holding either.
func sameBytes(got io.Reader, want io.ReaderAt, size int64) (bool, error) {
	const chunk = 256 << 10
	a, b := make([]byte, chunk), make([]byte, chunk)
	for off := int64(0); off < size; {
		n := min(chunk, size-off)
		if _, err := io.ReadFull(got, a[:n]); err != nil {
			return false, err
		}
		if m, err := want.ReadAt(b[:n], off); int64(m) < n {
			return false, fmt.Errorf("read the bytes to be stored: %w", noEOF(err))
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
		off += n
	}
	return true, nil
}

func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// holds tells whether the object under key is exactly the size bytes of body.
func holds(ctx context.Context, r Reader, key string, body io.ReaderAt, size int64) (bool, error) {
	got, info, err := r.Open(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer got.Close()
	if info.Size != size {
		return false, nil
	}
	return sameBytes(got, body, size)
}

// ReadAll reads a whole object of at most max bytes; a larger one is ErrTooLarge, before or right after the
// first byte too many. On an error the bytes are nil.
func ReadAll(ctx context.Context, r Reader, key string, max int64) ([]byte, Info, error) {
	ctx, cancel := Small(ctx)
	defer cancel()
	body, info, err := r.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, info, err
	}
	defer body.Close()
	data, err := ReadBody(body, info, max)
	return data, info, err
}

// ReadBody is ReadAll for a body that is open already, as OpenIfChanged gives it. It does not close the body.
func ReadBody(body io.Reader, info Info, max int64) ([]byte, error) {
	if info.Size > max {
		return nil, &Error{Op: "read", Key: info.Key, Err: fmt.Errorf("%w: %d bytes, at most %d expected", ErrTooLarge, info.Size, max)}
	}
	var buf bytes.Buffer
	n, err := buf.ReadFrom(io.LimitReader(body, max+1))
	switch {
	case err != nil:
		return nil, err
	case n > max:
		return nil, &Error{Op: "read", Key: info.Key, Err: fmt.Errorf("%w: at most %d bytes expected", ErrTooLarge, max)}
	}
	return buf.Bytes(), nil
}
