package transfer

import (
	"context"
	"crypto/sha256"

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

// nothing is a chunk of zeros, the longest there is.
var nothing [chunk.Max]byte

// zeroFrame is how many bytes a chunk of zeros takes as stored: a header, and a block of four bytes for each 128 KiB.
func zeroFrame(raw int) int { return 9 + 4*((raw+128<<10-1)/(128<<10)) }

// zeros finds the chunks that are nothing but zeros.
func (a *assembly) zeros(ctx context.Context) error {
	known := map[int][sha256.Size]byte{}
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
		if err := a.clear(a.raw[i], int64(c.Raw)); err != nil {
			return err
		}
		a.done(i, &a.Zero)
	}
	return ctx.Err()
}

// clear makes n bytes of the part zeros: a hole, where there can be one.
func (a *assembly) clear(off, n int64) error {
	if a.fresh || nextData(a.part, off) >= off+n || punch(a.part, off, n) == nil {
		return nil
	}
	_, err := a.part.WriteAt(nothing[:n], off)
	return err
}
