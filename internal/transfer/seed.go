package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/chunk"
)

// cutSeed is a seed and what it consists of.
type cutSeed struct {
	Seed
	index   chunk.Index // stored lengths are not known
	offsets []int64
}

// seed takes what the seeds have. Each is read once: a chunk is written from the very bytes that were hashed.
func (a *assembly) seed(ctx context.Context) error {
	for _, seed := range a.Seeds {
		if a.missing == 0 {
			return nil
		}
		cut, err := a.readSeed(ctx, seed)
		var local *partError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &local):
			return local.err
		case err != nil:
			a.problem("seed %s: %v", seed.Name, err)
		}
		if cut != nil && len(a.Artifact.Deltas) > 0 {
			a.seeds = append(a.seeds, cut)
		}
	}
	return nil
}

// seedPiece is a chunk on its way from the cutter to a worker.
type seedPiece struct {
	raw []byte
	at  int
}

// seedReader cuts one seed, and lets workers hash and write what was cut.
type seedReader struct {
	a    *assembly
	full chan seedPiece
	free chan []byte
	mu   sync.Mutex // guards cut.index
	cut  *cutSeed
}

// readSeed cuts a seed, as far as it can be read.
func (a *assembly) readSeed(ctx context.Context, seed Seed) (*cutSeed, error) {
	src, err := seed.Open()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r := &seedReader{a: a, full: make(chan seedPiece), free: make(chan []byte, 2*workers()), cut: &cutSeed{Seed: seed}}
	for range cap(r.free) {
		r.free <- make([]byte, chunk.Max)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range workers() {
		group.Go(r.work)
	}
	var broken error
	group.Go(func() (err error) {
		defer close(r.full)
		broken, err = r.read(ctx, chunk.NewReader(io.NewSectionReader(src, 0, seed.Size)))
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.cut, broken
}

func (r *seedReader) work() error {
	for p := range r.full {
		sha := digest(p.raw)
		r.mu.Lock()
		r.cut.index[p.at].SHA256 = sha
		r.mu.Unlock()
		if err := r.a.put(sha, p.raw, &r.a.Seeded); err != nil {
			return err
		}
		r.free <- p.raw[:chunk.Max]
	}
	return nil
}

// read hands out the chunks. A seed that breaks, or goes on for longer than an artifact may, gives what came until then.
func (r *seedReader) read(ctx context.Context, pieces *chunk.Reader) (broken, err error) {
	for offset := int64(0); ; {
		raw, err := pieces.Next()
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		case len(r.cut.offsets) == chunk.MaxChunks:
			return errors.New("it has more chunks than an artifact may have; the rest is left out"), nil
		}
		var buf []byte
		select {
		case buf = <-r.free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		r.mu.Lock()
		at := len(r.cut.index)
		r.cut.index = append(r.cut.index, chunk.Chunk{Raw: len(raw)})
		r.mu.Unlock()
		r.cut.offsets = append(r.cut.offsets, offset)
		offset += int64(len(raw))
		select {
		case r.full <- seedPiece{buf[:copy(buf, raw)], at}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// longestZeros is the digest of the chunk that a long hole is cut into.
var longestZeros = sync.OnceValue(func() [sha256.Size]byte { return sha256.Sum256(nothing[:]) })

// digest is SHA-256, at once for what a seed with holes has most of.
func digest(raw []byte) [sha256.Size]byte {
	if len(raw) == len(nothing) && bytes.Equal(raw, nothing[:]) {
		return longestZeros()
	}
	return sha256.Sum256(raw)
}
