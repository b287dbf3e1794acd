package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// maxWindow is the largest zstd window that is decoded, in bytes: it bounds the
// memory of a decoder, whatever the frame header asks for.
const maxWindow = 64 << 20

// artifactReader streams the raw bytes of one artifact out of the store. It ends
// with io.EOF only when the stored bytes and the raw bytes were exactly those that
// the manifest names; whoever copies to the end has verified the artifact.
type artifactReader struct {
	release manifest.Release
	a       *manifest.Artifact
	body    io.Closer
	stored  *checked
	decoder *zstd.Decoder // nil for identity
	raw     *checked
}

// openArtifact starts reading an artifact. task counts stored bytes.
func (f *Fetcher) openArtifact(ctx context.Context, r manifest.Release, a *manifest.Artifact, task progress.Task) (*artifactReader, error) {
	t := &artifactReader{release: r, a: a}
	body, info, err := f.Store.Open(ctx, manifest.BlobObject(a.Stored.SHA256), 0, -1)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, t.mismatch("stored object", manifest.BlobObject(a.Stored.SHA256), nothing)
	case err != nil:
		return nil, fmt.Errorf("%s of %s: %w", a.Path, r, err)
	}
	t.body = body
	if info.Size >= 0 && info.Size != a.Stored.Size { // a web server may not tell
		body.Close()
		return nil, t.mismatch("stored size", bytesWords(a.Stored.Size), bytesWords(info.Size))
	}
	counted := io.TeeReader(&contextReader{ctx, body}, progress.Writer{Task: task})
	t.stored = newChecked(counted, a.Stored.Size, a.Stored.SHA256, "stored ", t.mismatch)
	var raw io.Reader = t.stored
	switch a.Stored.Encoding {
	case manifest.EncodingIdentity:
	case manifest.EncodingZstd:
		t.decoder, err = zstd.NewReader(t.stored, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
		if err != nil {
			body.Close()
			return nil, fmt.Errorf("%s of %s: %w", a.Path, r, err)
		}
		raw = t.decoder
	default:
		body.Close()
		return nil, t.mismatch("encoding", "zstd or identity", a.Stored.Encoding)
	}
	t.raw = newChecked(raw, a.Size, a.SHA256, "", t.mismatch)
	return t, nil
}

// Read gives raw bytes. Its errors are *Mismatch, or the store's.
func (t *artifactReader) Read(p []byte) (int, error) {
	n, err := t.raw.Read(p)
	if err == nil {
		return n, nil
	}
	// Whatever ended the raw stream, the stored bytes have the first word: they are
	// read to their end, which their own size bounds.
	if _, cause := io.Copy(io.Discard, t.stored); cause != nil {
		return n, cause
	}
	var known *Mismatch
	if err != io.EOF && !errors.As(err, &known) {
		err = t.mismatch("encoding", "valid "+t.a.Stored.Encoding, err.Error())
	}
	return n, err
}

// Close frees the decoder and the body. It says nothing about what was read.
func (t *artifactReader) Close() {
	if t.decoder != nil {
		t.decoder.Close()
	}
	t.body.Close()
}

func (t *artifactReader) mismatch(what, want, got string) error {
	return &Mismatch{Release: t.release, Path: t.a.Path, What: what, Want: want, Got: got}
}

// checked passes bytes on while it counts and hashes them. It gives io.EOF only
// after exactly the promised bytes, and the same answer ever after.
type checked struct {
	src      io.Reader
	size     int64
	seen     int64
	sha      string
	hash     hash.Hash
	what     string // before "size" and "sha256" in a mismatch
	mismatch func(what, want, got string) error
	end      error
}

func newChecked(src io.Reader, size int64, sha, what string, mismatch func(what, want, got string) error) *checked {
	return &checked{src: src, size: size, sha: sha, hash: sha256.New(), what: what, mismatch: mismatch}
}

func (c *checked) Read(p []byte) (int, error) {
	if c.end != nil {
		return 0, c.end
	}
	if room := c.size - c.seen + 1; int64(len(p)) > room {
		p = p[:room]
	}
	n, err := c.src.Read(p)
	c.seen += int64(n)
	if c.seen > c.size {
		c.end = c.mismatch(c.what+"size", bytesWords(c.size), "more than that")
		return 0, c.end
	}
	c.hash.Write(p[:n])
	if err == io.EOF {
		err = c.finish()
	}
	c.end = err
	return n, err
}

func (c *checked) finish() error {
	if c.seen != c.size {
		return c.mismatch(c.what+"size", bytesWords(c.size), bytesWords(c.seen))
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); got != c.sha {
		return c.mismatch(c.what+"sha256", c.sha, got)
	}
	return io.EOF
}

func bytesWords(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

// contextReader ends with the context, also between the reads of a local file.
type contextReader struct {
	ctx context.Context
	src io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.src.Read(p)
}
