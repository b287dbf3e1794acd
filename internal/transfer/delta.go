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
	"path/filepath"
	"slices"
	"syscall"

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
		d := a.Artifact.Deltas[at]
		if _, stored := a.lacking(); d.Size-a.kept(d) >= stored {
			continue
		}
		err := a.applyDelta(ctx, d, seed, diff)
		var local *partError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &local):
			return local.err
		case err != nil:
			a.problem("the delta from %s is not used: %v; the chunks that it would make move instead (tell the vendor, if it happens again)", seed.Name, err)
		}
	}
	return nil
}

// applyDelta brings a delta and applies it. What came of one that was interrupted stays for the next attempt.
func (a *assembly) applyDelta(ctx context.Context, d manifest.Delta, seed *cutSeed, diff chunk.Difference) error {
	file, err := openDelta(a.deltaName(d))
	if err != nil {
		return &partError{err}
	}
	defer file.Close()
	err = a.bringDelta(ctx, d, file)
	unfinished := passing(err)
	if err == nil {
		err = a.patch(ctx, file, d.Size, seed, diff)
	}
	a.expect(a.left())
	if !unfinished && ctx.Err() == nil {
		_ = os.Remove(file.Name()) // it was used, or it is wrong
	}
	return err
}

// patch applies a delta that was held to its digest.
func (a *assembly) patch(ctx context.Context, file *os.File, size int64, seed *cutSeed, diff chunk.Difference) error {
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
	var made int64
	for _, i := range diff.Missing {
		made += int64(a.Index[i].Raw)
	}
	return delta.Apply(ctx, out, gone, gone.size, file, size, made)
}

// deltaName is where a delta is kept until it was used. Its name is its digest: no other one is gone on with.
func (j *Job) deltaName(d manifest.Delta) string { return filepath.Join(j.Scratch, "delta-"+d.SHA256) }

// kept is how much of a delta an interrupted attempt has left.
func (j *Job) kept(d manifest.Delta) int64 {
	info, err := os.Lstat(j.deltaName(d))
	if err != nil || !info.Mode().IsRegular() || info.Size() > d.Size {
		return 0
	}
	return info.Size()
}

// dropDeltas removes what is kept of deltas that are not wanted any more.
func (j *Job) dropDeltas() {
	for _, d := range j.Artifact.Deltas {
		_ = os.Remove(j.deltaName(d))
	}
}

// openDelta opens the file in which a delta is kept, and follows no link.
func openDelta(name string) (*os.File, error) {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
}

// bringDelta makes f the whole of a delta and holds it to its digest, before anything reads it. What an earlier attempt
// has left need not be believed: where it leads to other bytes, all of the delta moves once more.
func (a *assembly) bringDelta(ctx context.Context, d manifest.Delta, f *os.File) error {
	kept := a.kept(d)
	err := a.copyDelta(ctx, d, f, kept)
	var wrong *Mismatch
	if kept > 0 && errors.As(err, &wrong) {
		err = a.copyDelta(ctx, d, f, 0)
	}
	return err
}

// copyDelta goes on from the first n bytes of f, and tells whether the whole has its digest.
func (a *assembly) copyDelta(ctx context.Context, d manifest.Delta, f *os.File, n int64) error {
	if err := f.Truncate(n); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a.expect(d.Size - n)
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, n); err != nil {
		return err
	}
	came := int64(0) // since the last gain
	for tries := (attempts{}); n < d.Size; {
		m, err := a.moreDelta(ctx, d, n, io.MultiWriter(f, sum, cameWriter{a}))
		n += m
		if came += m; came >= enough {
			a.Patience.gained(&tries)
			came = 0
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

// cameWriter counts what comes of a delta.
type cameWriter struct{ *assembly }

func (w cameWriter) Write(p []byte) (int, error) {
	w.came(int64(len(p)))
	return len(p), nil
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
