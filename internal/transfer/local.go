package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/chunk"
)

// keep finds the chunks that an earlier attempt left in the part file.
func (a *assembly) keep(ctx context.Context) error {
	if a.fresh {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	next := make(chan int)
	for range workers() {
		group.Go(func() error {
			buf := make([]byte, chunk.Max)
			for i := range next {
				c := a.Index[i]
				if n, err := a.part.ReadAt(buf[:c.Raw], a.raw[i]); n < c.Raw {
					return noEOF(err)
				}
				if c.Check(buf[:c.Raw]) == nil {
					a.done(i, &a.Kept)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(next)
		data := int64(-1) // where the next bytes are that are no hole
		for i, c := range a.Index {
			end := a.raw[i] + int64(c.Raw)
			if data < a.raw[i] {
				data = nextData(a.part, a.raw[i])
			}
			if data >= end {
				continue
			}
			select {
			case next <- i:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return group.Wait()
}

// nextData is the first offset at or after off that is in no hole, as far as the file system tells.
func nextData(f *os.File, off int64) int64 {
	const seekData = 3 // lseek(2) of Linux; elsewhere an error
	at, err := f.Seek(off, seekData)
	switch {
	case err == nil:
		return max(at, off)
	case errors.Is(err, syscall.ENXIO): // only a hole follows
		return math.MaxInt64
	}
	return off
}

// zeroFrame is how many bytes a chunk of zeros takes as stored: a header, and a block of four bytes for each 128 KiB.
func zeroFrame(raw int) int { return 9 + 4*((raw+128<<10-1)/(128<<10)) }

// zeros finds the chunks that are nothing but zeros.
func (a *assembly) zeros(ctx context.Context) error {
	known := map[int][sha256.Size]byte{}
	var nothing [chunk.Max]byte
	for i, c := range a.Index {
		if a.have[i] || c.Stored != zeroFrame(c.Raw) {
			continue
		}
		sha, ok := known[c.Raw]
		if !ok {
			sha = sha256.Sum256(nothing[:c.Raw])
			known[c.Raw] = sha
		}
		if c.SHA256 != sha {
			continue
		}
		if !a.fresh {
			if _, err := a.part.WriteAt(nothing[:c.Raw], a.raw[i]); err != nil {
				return err
			}
		}
		a.done(i, &a.Zero)
	}
	return ctx.Err()
}

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
		if cut != nil {
			a.seeds = append(a.seeds, cut)
		}
	}
	return nil
}

// partError is a failure of the part file, not of the seed.
type partError struct{ err error }

func (e *partError) Error() string { return e.err.Error() }

type seedPiece struct {
	raw []byte
	at  int
}

// readSeed cuts a seed, as far as it can be read.
func (a *assembly) readSeed(ctx context.Context, seed Seed) (*cutSeed, error) {
	src, err := seed.Open()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	cut := &cutSeed{Seed: seed}
	var mu sync.Mutex // guards cut.index
	group, ctx := errgroup.WithContext(ctx)
	full, free := make(chan seedPiece), make(chan []byte, 2*workers())
	for range cap(free) {
		free <- make([]byte, chunk.Max)
	}
	for range workers() {
		group.Go(func() error {
			for p := range full {
				sha := sha256.Sum256(p.raw)
				mu.Lock()
				cut.index[p.at].SHA256 = sha
				mu.Unlock()
				if err := a.put(sha, p.raw, &a.Seeded); err != nil {
					return &partError{err}
				}
				free <- p.raw[:chunk.Max]
			}
			return nil
		})
	}
	var broken error
	group.Go(func() error {
		defer close(full)
		pieces := chunk.NewReader(io.NewSectionReader(src, 0, seed.Size))
		offset := int64(0)
		for {
			raw, err := pieces.Next()
			if err != nil {
				if err != io.EOF {
					broken = err
				}
				return nil
			}
			var buf []byte
			select {
			case buf = <-free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			mu.Lock()
			at := len(cut.index)
			cut.index = append(cut.index, chunk.Chunk{Raw: len(raw)})
			mu.Unlock()
			cut.offsets = append(cut.offsets, offset)
			offset += int64(len(raw))
			select {
			case full <- seedPiece{buf[:copy(buf, raw)], at}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return cut, broken
}
