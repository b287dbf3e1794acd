package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

const (
	maxGap   = 64 << 10 // bytes between two chunks that are read along rather than asked for again
	maxRange = 16 << 20 // bytes of one request
	maxTries = 5        // of one range without a chunk gained
)

// ranges brings what is still missing out of the stored object.
func (a *assembly) ranges(ctx context.Context) error {
	positions, _ := a.lacking()
	r := &ranger{store: a.Store, key: manifest.BlobObject(a.Artifact.Stored.SHA256), index: a.Index, stored: a.stored, codec: a.codec, parallel: a.Parallel,
		deliver: func(i int, raw []byte) error { return a.put(a.Index[i].SHA256, raw, &a.Ranged) }}
	err := r.fetch(ctx, positions)
	a.Moved += r.moved.Load()
	a.Requests += int(r.requests.Load())
	return err
}

// Chunks fetches the chunks at these positions of a stored object and writes their raw bytes, one after the other, to w:
// neighbours in one request, each held to the index. It tells how many bytes came from the store.
func Chunks(ctx context.Context, store storage.Reader, object string, x chunk.Index, positions []int, parallel int, w io.WriterAt, task progress.Task) (moved int64, err error) {
	codec, err := newCodec()
	if err != nil {
		return 0, err
	}
	at := make(map[int]int64, len(positions))
	var size int64
	for _, i := range positions {
		at[i] = size
		size += int64(x[i].Raw)
	}
	_, stored := offsets(x)
	r := &ranger{store: store, key: manifest.BlobObject(object), index: x, stored: stored, codec: codec, parallel: parallel,
		deliver: func(i int, raw []byte) error {
			_, err := w.WriteAt(raw, at[i])
			task.Add(int64(len(raw)))
			return err
		}}
	err = r.fetch(ctx, positions)
	return r.moved.Load(), err
}

// ranger reads chunks of one stored object.
type ranger struct {
	store    storage.Reader
	key      string
	index    chunk.Index
	stored   []int64 // offsets
	codec    *chunk.Codec
	parallel int
	deliver  func(i int, raw []byte) error // gets verified bytes; called by many at once
	moved    atomic.Int64
	requests atomic.Int64
	whole    atomic.Bool // the server ignores ranges
}

// errWhole says that the server sends the whole object whatever it is asked for.
var errWhole = errors.New("the server ignores ranges")

// fetch delivers the chunks at positions, which ascend.
func (r *ranger) fetch(ctx context.Context, positions []int) error {
	groups := r.groups(positions)
	group, inner := errgroup.WithContext(ctx)
	limit := r.parallel
	if limit < 1 {
		limit = DefaultParallel
	}
	group.SetLimit(min(limit, MaxParallel))
	left := make([][]int, len(groups))
	for n, g := range groups {
		if inner.Err() != nil {
			left[n] = g
			continue
		}
		group.Go(func() (err error) {
			left[n], err = r.group(inner, g)
			return err
		})
	}
	err := group.Wait()
	if !errors.Is(err, errWhole) {
		return err
	}
	var rest []int
	for _, g := range left {
		rest = append(rest, g...)
	}
	_, err = r.group(ctx, rest) // in one go, to the end of what is needed
	return err
}

// groups puts neighbours together.
func (r *ranger) groups(positions []int) [][]int {
	var groups [][]int
	for n, i := range positions {
		if n > 0 {
			last := &groups[len(groups)-1]
			before := positions[n-1]
			gap := r.stored[i] - r.end(before)
			if gap < maxGap && r.end(i)-r.stored[(*last)[0]] <= maxRange {
				*last = append(*last, i)
				continue
			}
		}
		groups = append(groups, []int{i})
	}
	return groups
}

func (r *ranger) end(i int) int64 { return r.stored[i] + int64(r.index[i].Stored) }

// group brings the chunks of one range, and goes on with what is left of it when the connection breaks. It gives back
// what it did not bring.
func (r *ranger) group(ctx context.Context, positions []int) ([]int, error) {
	buf := &rangeBuffers{}
	for tries := 0; len(positions) > 0; tries++ {
		if err := pause(ctx, tries); err != nil {
			return positions, err
		}
		left, err := r.request(ctx, positions, buf)
		if len(left) < len(positions) {
			tries = 0
		}
		positions = left
		var wrong *chunk.Error
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return positions, context.Cause(ctx)
		case errors.As(err, &wrong):
			if err := r.alone(ctx, positions[0], buf); err != nil {
				return positions, err
			}
			positions = positions[1:]
		case !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, io.ErrUnexpectedEOF), tries+1 >= maxTries:
			return positions, err
		}
	}
	return nil, nil
}

// alone asks for a chunk that came wrong once more, on its own.
func (r *ranger) alone(ctx context.Context, i int, buf *rangeBuffers) error {
	_, err := r.request(ctx, []int{i}, buf)
	var wrong *chunk.Error
	if errors.As(err, &wrong) {
		return &Mismatch{fmt.Sprintf("chunk %d at byte %d of %s", i, r.stored[i], r.key), fmt.Sprintf("sha256 %x", r.index[i].SHA256), wrong.Reason}
	}
	return err
}

type rangeBuffers struct{ frame, raw []byte }

// request asks once for what lies between the first and the last position, and gives back those that it did not bring.
func (r *ranger) request(ctx context.Context, positions []int, buf *rangeBuffers) ([]int, error) {
	start, end := r.stored[positions[0]], r.end(positions[len(positions)-1])
	r.requests.Add(1)
	body, info, err := r.store.Open(ctx, r.key, start, end-start)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return positions, fmt.Errorf("%w: %w", &Mismatch{"stored object", r.key, "nothing"}, err)
	case err != nil:
		return positions, err
	}
	defer body.Close()
	last := len(r.index) - 1
	if size := r.end(last); info.Size >= 0 && info.Size != size {
		return positions, &Mismatch{"stored size", fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d bytes", info.Size)}
	}
	if info.Whole && !r.whole.Swap(true) && start > 0 {
		return positions, errWhole
	}
	for at := start; len(positions) > 0; positions = positions[1:] {
		i := positions[0]
		if err := r.skip(body, r.stored[i]-at); err != nil {
			return positions, err
		}
		c := r.index[i]
		buf.frame = grown(buf.frame, c.Stored)
		n, err := io.ReadFull(body, buf.frame)
		r.moved.Add(int64(n))
		if err != nil {
			return positions, noEOF(err)
		}
		at = r.end(i)
		if buf.raw, err = r.codec.Decode(buf.raw[:0], buf.frame, c); err != nil {
			return positions, err
		}
		if err := r.deliver(i, buf.raw); err != nil {
			return positions, err
		}
	}
	return nil, nil
}

func (r *ranger) skip(body io.Reader, n int64) error {
	if n == 0 {
		return nil
	}
	m, err := io.CopyN(io.Discard, body, n)
	r.moved.Add(m)
	if m < n {
		return noEOF(err)
	}
	return nil
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// pause waits before another try: about 0.2 s, 0.4 s, 0.8 s …, with jitter; not before the first.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	base := 100 * time.Millisecond << min(n, 6)
	t := time.NewTimer(base/2 + rand.N(base))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
