package transfer

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

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// maxWindow is the largest zstd window that is decoded, in bytes: it bounds the memory of a decoder, whatever the frame
// header asks for.
const maxWindow = 64 << 20

// Stream gives the raw bytes of an artifact out of its stored object, from the first to the last. It ends with io.EOF only
// when the stored bytes and the raw bytes were exactly those that the manifest names: who reads to the end has verified them.
type Stream struct {
	body    io.Closer
	stored  *checked
	decoder *zstd.Decoder // nil for identity
	raw     *checked
}

// Open begins to read an artifact. task counts stored bytes. Errors: *Mismatch, and those of the store.
func Open(ctx context.Context, store storage.Reader, a *manifest.Artifact, task progress.Task) (*Stream, error) {
	key := manifest.BlobObject(a.Stored.SHA256)
	body, info, err := store.Open(ctx, key, 0, -1)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", &Mismatch{"stored object", key, "nothing"}, err)
	case err != nil:
		return nil, err
	case info.Size >= 0 && info.Size != a.Stored.Size: // a web server may not tell
		body.Close()
		return nil, &Mismatch{"stored size", bytesWords(a.Stored.Size), bytesWords(info.Size)}
	}
	s := &Stream{body: body, stored: newChecked(io.TeeReader(WithContext(ctx, body), progress.Writer{Task: task}), a.Stored.Size, a.Stored.SHA256, "stored ")}
	var raw io.Reader = s.stored
	switch a.Stored.Encoding {
	case manifest.EncodingIdentity:
	case manifest.EncodingZstd:
		s.decoder, err = zstd.NewReader(s.stored, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1)) // it reads when it is read: Read goes on where it stopped
		if err != nil {
			body.Close()
			return nil, err
		}
		raw = s.decoder
	default:
		body.Close()
		return nil, &Mismatch{"encoding", "zstd or identity", strconv.Quote(a.Stored.Encoding)}
	}
	s.raw = newChecked(raw, a.Size, a.SHA256, "")
	return s, nil
}

// Read gives raw bytes. Its errors are *Mismatch, or the store's.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.raw.Read(p)
	if err == nil {
		return n, nil
	}
	// Whatever ended the raw stream, the stored bytes have the first word: they are read to their end, which their own size
	// bounds.
	if _, cause := io.Copy(io.Discard, s.stored); cause != nil {
		return n, cause
	}
	var known *Mismatch
	if err != io.EOF && !errors.As(err, &known) {
		err = &Mismatch{"encoding", "valid zstd", err.Error()}
	}
	return n, err
}

// Close frees the decoder and the body. It says nothing about what was read.
func (s *Stream) Close() error {
	if s.decoder != nil {
		s.decoder.Close()
	}
	return s.body.Close()
}

// Unpack reads the stored object of an artifact in chunks to its end, and holds it to all that is signed of it: the object to
// its digest, each frame to its chunk in the index, and the chunks together to the artifact. each, unless nil, is given every
// frame, in their order, once it is known to unpack to its chunk; it may not keep it. Errors: *Mismatch, where one of the stored
// bytes goes before all others, and those of the reader.
func Unpack(ctx context.Context, object io.Reader, codec *chunk.Codec, x chunk.Index, a *manifest.Artifact, each func(frame []byte)) error {
	stored := newChecked(WithContext(ctx, object), a.Stored.Size, a.Stored.SHA256, "stored ")
	whole := sha256.New()
	wrong := unpackFrames(stored, codec, x, whole, each)
	if _, err := io.Copy(io.Discard, stored); err != nil {
		return err
	}
	if wrong != nil {
		return wrong
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != a.SHA256 {
		return &Mismatch{"sha256", a.SHA256, got + " of what its frames unpack to"}
	}
	return nil
}

func unpackFrames(stored io.Reader, codec *chunk.Codec, x chunk.Index, whole io.Writer, each func(frame []byte)) error {
	frame, raw := make([]byte, 0, chunk.Max), make([]byte, 0, chunk.DecodeRoom)
	for i, c := range x {
		if c.Stored > cap(frame) {
			frame = make([]byte, 0, c.Stored)
		}
		frame = frame[:c.Stored]
		_, err := io.ReadFull(stored, frame)
		if err != nil {
			return &Mismatch{fmt.Sprintf("frame %d of %d", i+1, len(x)), bytesWords(int64(c.Stored)), "the end of the object"}
		}
		if raw, err = codec.Decode(raw[:0], frame, c); err != nil {
			return &Mismatch{fmt.Sprintf("frame %d of %d", i+1, len(x)), "the chunk that its index names", err.Error()}
		}
		whole.Write(raw)
		if each != nil {
			each(frame)
		}
	}
	return nil
}

// checked passes bytes on while it counts and hashes them. It gives io.EOF only after exactly the promised bytes, and the same
// answer ever after.
type checked struct {
	src  io.Reader
	size int64
	seen int64
	sha  string
	hash hash.Hash
	what string // before "size" and "sha256" in a mismatch
	end  error
}

// Checked passes on the bytes of src, and ends with io.EOF only after exactly size of them that have the SHA-256 (lower-case
// hex); else with a *Mismatch, or what src ends with.
func Checked(src io.Reader, size int64, sha256 string) io.Reader {
	return newChecked(src, size, sha256, "")
}

func newChecked(src io.Reader, size int64, sha, what string) *checked {
	return &checked{src: src, size: size, sha: sha, hash: sha256.New(), what: what}
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
		c.end = &Mismatch{c.what + "size", bytesWords(c.size), "more than that"}
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
		return &Mismatch{c.what + "size", bytesWords(c.size), bytesWords(c.seen)}
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); got != c.sha {
		return &Mismatch{c.what + "sha256", c.sha, got}
	}
	return io.EOF
}

func bytesWords(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

// WithContext gives what src does until the context ends, also between the reads of a local file, and then its cause.
func WithContext(ctx context.Context, src io.Reader) io.Reader { return &contextReader{ctx, src} }

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
