package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

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
	sha [sha256.Size]byte
}

// seedReader cuts one seed and hashes what was cut, and lets workers write it.
type seedReader struct {
	a    *assembly
	full chan seedPiece
	free chan []byte
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
		broken, err = r.read(ctx, chunk.NewFollower(chunk.NewReader(io.NewSectionReader(src, 0, seed.Size)), a.Index))
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.cut, broken
}

func (r *seedReader) work() error {
	for p := range r.full {
		if err := r.a.put(p.sha, p.raw, &r.a.Seeded); err != nil {
			return err
		}
		r.free <- p.raw[:chunk.Max]
	}
	return nil
}

// read hands out the chunks. A seed that breaks, or goes on for longer than an artifact may, gives what came until then.
func (r *seedReader) read(ctx context.Context, pieces *chunk.Follower) (broken, err error) {
	for offset := int64(0); ; {
		raw, sha, err := pieces.Next()
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
		r.cut.index = append(r.cut.index, chunk.Chunk{SHA256: sha, Raw: len(raw)})
		r.cut.offsets = append(r.cut.offsets, offset)
		offset += int64(len(raw))
		select {
		case r.full <- seedPiece{buf[:copy(buf, raw)], sha}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
