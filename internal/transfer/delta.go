package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/delta"
	"github.com/enovance/kitchen/manifest"
)

// delta makes the missing chunks out of those that a seed has and the artifact has not, where the manifest names a delta
// for exactly that and it is shorter than the chunks. A delta that fails is a problem, no error.
func (a *assembly) delta(ctx context.Context) error {
	for _, seed := range a.seeds {
		if a.missing == 0 {
			return nil
		}
		diff := chunk.Compare(seed.index, a.Index)
		churn := hex.EncodeToString(diff.Churn[:])
		at := slices.IndexFunc(a.Artifact.Deltas, func(d manifest.Delta) bool { return d.Churn == churn })
		if at < 0 {
			continue
		}
		if _, stored := a.lacking(); a.Artifact.Deltas[at].Size >= stored {
			continue
		}
		err := a.applyDelta(ctx, a.Artifact.Deltas[at], seed, diff)
		var local *partError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &local):
			return local.err
		case err != nil:
			a.problem("the delta from %s: %v", seed.Name, err)
		}
	}
	return nil
}

func (a *assembly) applyDelta(ctx context.Context, d manifest.Delta, seed *cutSeed, diff chunk.Difference) error {
	file, err := a.fetchDelta(ctx, d)
	if err != nil {
		return err
	}
	defer file.Close()
	src, err := seed.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	gone := &pieces{src: src}
	for _, i := range diff.Gone {
		gone.add(seed.offsets[i], int64(seed.index[i].Raw))
	}
	out := &chunkWriter{assembly: a, positions: diff.Missing}
	var size int64
	for _, i := range diff.Missing {
		size += int64(a.Index[i].Raw)
	}
	return delta.Apply(ctx, out, gone, gone.size, file, d.Size, size)
}

// fetchDelta brings a delta object into a file without a name.
func (a *assembly) fetchDelta(ctx context.Context, d manifest.Delta) (*os.File, error) {
	f, err := os.CreateTemp(a.Scratch, "kitchen-delta-*")
	if err != nil {
		return nil, &partError{err}
	}
	if err = os.Remove(f.Name()); err == nil {
		err = a.copyDelta(ctx, d, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (a *assembly) copyDelta(ctx context.Context, d manifest.Delta, f *os.File) error {
	sum := sha256.New()
	for n, tries := int64(0), 0; n < d.Size; {
		m, err := a.moreDelta(ctx, d, n, io.MultiWriter(f, sum))
		n += m
		if m > 0 {
			a.Patience.gained(&tries)
		}
		if err != nil {
			if err := a.Patience.again(ctx, &tries, err); err != nil {
				return err
			}
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != d.SHA256 {
		return &Mismatch{"sha256", d.SHA256, got}
	}
	return nil
}

// moreDelta asks once for the bytes of a delta object from n on, and tells how many came.
func (a *assembly) moreDelta(ctx context.Context, d manifest.Delta, n int64, w io.Writer) (int64, error) {
	a.Requests++
	body, info, err := a.Store.Open(ctx, manifest.BlobObject(d.SHA256), n, d.Size-n)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	if info.Size >= 0 && info.Size != d.Size {
		return 0, &Mismatch{"size", fmt.Sprintf("%d bytes", d.Size), fmt.Sprintf("%d bytes", info.Size)}
	}
	if info.Whole {
		a.Moved += n
	}
	m, err := io.CopyN(w, body, d.Size-n)
	a.Moved += m
	if err != nil {
		return m, noEOF(err)
	}
	return m, nil
}

// pieces reads parts of a seed as if they were one file.
type pieces struct {
	src  io.ReaderAt
	list []piece
	size int64
}

type piece struct{ start, offset, length int64 }

func (p *pieces) add(offset, length int64) {
	p.list = append(p.list, piece{p.size, offset, length})
	p.size += length
}

// ReadAt implements io.ReaderAt.
func (p *pieces) ReadAt(b []byte, off int64) (n int, err error) {
	at, found := slices.BinarySearchFunc(p.list, off, func(x piece, off int64) int { return cmp.Compare(x.start, off) })
	if !found {
		at--
	}
	for n < len(b) {
		if at < 0 || at >= len(p.list) || off >= p.size {
			return n, io.EOF
		}
		x := p.list[at]
		within := off - x.start
		m := int(min(int64(len(b)-n), x.length-within))
		if got, err := p.src.ReadAt(b[n:n+m], x.offset+within); got < m {
			return n + got, noEOF(err)
		}
		n, off, at = n+m, off+int64(m), at+1
	}
	return n, nil
}

// chunkWriter takes the chunks at these positions, one after the other, holds each to the index and puts it in place.
type chunkWriter struct {
	*assembly
	positions []int
	buf       []byte
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	written := len(b)
	for len(b) > 0 {
		if len(w.positions) == 0 {
			return 0, errors.New("it gives more than is missing")
		}
		c := w.Index[w.positions[0]]
		n := min(c.Raw-len(w.buf), len(b))
		w.buf, b = append(w.buf, b[:n]...), b[n:]
		if len(w.buf) < c.Raw {
			continue
		}
		if err := c.Check(w.buf); err != nil {
			return 0, err
		}
		if err := w.put(c.SHA256, w.buf, &w.Delta); err != nil {
			return 0, err
		}
		w.buf, w.positions = w.buf[:0], w.positions[1:]
	}
	return written, nil
}
