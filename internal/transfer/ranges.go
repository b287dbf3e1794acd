package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

const (
	maxGap   = 64 << 10 // bytes between two chunks that are read along rather than asked for again
	minRange = 8 << 20  // bytes of one request are at least so many, where so many neighbours are wanted
	maxRange = 16 << 20 // and at most so many
)

// ranges brings what is still missing out of the stored object.
func (a *assembly) ranges(ctx context.Context) error {
	positions, _ := a.lacking()
	r := &ranger{store: a.Store, key: manifest.BlobObject(a.Artifact.Stored.SHA256), index: a.Index, stored: a.stored, codec: a.codec, parallel: a.Parallel, patience: a.Patience,
		deliver: func(i int, raw []byte) error { return a.put(a.Index[i].SHA256, raw, &a.Ranged) }}
	err := r.fetch(ctx, positions)
	a.Moved += r.moved.Load()
	a.Requests += int(r.requests.Load())
	return err
}

// Chunks fetches the chunks at these positions of a stored object, which ascend, and writes their raw bytes, one after
// the other, to w: neighbours in one request, each held to the index. It tells how many bytes came from the store.
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
			if _, err := w.WriteAt(raw, at[i]); err != nil {
				return &partError{err}
			}
			task.Add(int64(len(raw)))
			return nil
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
	patience *Patience
	deliver  func(i int, raw []byte) error // gets verified bytes; called by many at once; its errors are *partError
	alone    bool                          // one request reads all there is to read, so that it may be answered with more
	moved    atomic.Int64
	requests atomic.Int64
	frames   sync.Pool   // of *[chunk.MaxFrame]byte, one for each range under way
	rooms    chan []byte // for the raw bytes of one chunk, as many as there are cores
}

// errWhole says that the server sends the whole object whatever it is asked for.
var errWhole = errors.New("the server ignores ranges")

// fetch delivers the chunks at positions, which ascend.
func (r *ranger) fetch(ctx context.Context, positions []int) error {
	r.parallel = min(r.parallel, MaxParallel)
	if r.parallel < 1 {
		r.parallel = DefaultParallel
	}
	groups := r.groups(positions)
	r.alone = len(groups) == 1
	r.rooms = make(chan []byte, workers())
	for range cap(r.rooms) {
		r.rooms <- make([]byte, chunk.DecodeRoom)
	}
	left, err := r.all(ctx, groups)
	if errors.Is(err, errWhole) {
		r.alone = true
		_, err = r.group(ctx, left) // in one go, to the end of what is needed
	}
	var local *partError
	if errors.As(err, &local) {
		return local.err
	}
	return err
}

// all brings the groups, some at a time, and gives back what it did not bring.
func (r *ranger) all(ctx context.Context, groups [][]int) (rest []int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for n := range groups {
		group.Go(func() (err error) {
			groups[n], err = r.group(ctx, groups[n])
			return err
		})
	}
	err = group.Wait()
	for _, left := range groups {
		rest = append(rest, left...)
	}
	return rest, err
}

// groups puts neighbours together: into few requests, but enough to keep all that may be under way at work.
func (r *ranger) groups(positions []int) [][]int {
	total := int64(0)
	for _, i := range positions {
		total += int64(r.index[i].Stored)
	}
	most := max(minRange, min(maxRange, total/int64(2*r.parallel)))
	var groups [][]int
	for n, i := range positions {
		if n > 0 {
			last := &groups[len(groups)-1]
			if r.stored[i]-r.end(positions[n-1]) < maxGap && r.end(i)-r.stored[(*last)[0]] <= most {
				*last = append(*last, i)
				continue
			}
		}
		groups = append(groups, []int{i})
	}
	return groups
}

func (r *ranger) end(i int) int64 { return r.stored[i] + int64(r.index[i].Stored) }

// group brings the chunks of one range, and goes on with what is left of it when the connection breaks. A chunk that
// came wrong is asked for once more, on its own. It gives back what it did not bring.
func (r *ranger) group(ctx context.Context, positions []int) ([]int, error) {
	frame, ok := r.frames.Get().(*[chunk.MaxFrame]byte)
	if !ok {
		frame = new([chunk.MaxFrame]byte)
	}
	defer r.frames.Put(frame)
	suspect := false // the first chunk came wrong
	for tries := (attempts{}); len(positions) > 0; {
		if ctx.Err() != nil {
			return positions, context.Cause(ctx)
		}
		ask := positions
		if suspect {
			ask = positions[:1]
		}
		n, err := r.request(ctx, ask, frame[:])
		positions = positions[n:]
		if n > 0 {
			suspect = false
			r.patience.gained(&tries)
		}
		var wrong *chunk.Error
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return positions, context.Cause(ctx)
		case errors.As(err, &wrong) && suspect:
			i := positions[0]
			return positions, &Mismatch{fmt.Sprintf("chunk %d at byte %d of %s", i, r.stored[i], r.key), fmt.Sprintf("sha256 %x", r.index[i].SHA256), wrong.Reason}
		case wrong != nil:
			suspect = true
		default:
			if err := r.patience.again(ctx, &tries, err); err != nil {
				return positions, err
			}
		}
	}
	return nil, nil
}

// request asks once for what lies between the first and the last position, and tells how many of them it brought.
func (r *ranger) request(ctx context.Context, positions []int, buf []byte) (n int, err error) {
	start, end := r.stored[positions[0]], r.end(positions[len(positions)-1])
	r.requests.Add(1)
	body, info, err := r.store.Open(ctx, r.key, start, end-start)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return 0, fmt.Errorf("%w: %w", &Mismatch{"stored object", r.key, "nothing"}, err)
	case err != nil:
		return 0, r.named(positions[0], err)
	}
	defer body.Close()
	if size := r.end(len(r.index) - 1); info.Size >= 0 && info.Size != size {
		return 0, &Mismatch{"stored size", fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d bytes", info.Size)}
	}
	if info.Whole {
		r.moved.Add(start) // they came, too
		if !r.alone {
			return 0, errWhole
		}
	}
	for at := start; n < len(positions); n++ {
		i := positions[n]
		frame := buf[:r.index[i].Stored]
		if err := r.read(body, r.stored[i]-at, i, frame); err != nil {
			return n, err
		}
		at = r.end(i)
		if err := r.unpack(i, frame); err != nil {
			return n, err
		}
	}
	return n, nil
}

// unpack delivers a chunk whose frame has come. As many do so at a time as there are cores: more would take turns, with
// less of what each works on in a core's cache.
func (r *ranger) unpack(i int, frame []byte) error {
	room := <-r.rooms
	defer func() { r.rooms <- room }()
	raw, err := r.codec.Decode(room[:0], frame, r.index[i])
	if err != nil {
		return err
	}
	return r.deliver(i, raw)
}

// read gets the frame of a chunk that begins after so many bytes of the body.
func (r *ranger) read(body io.Reader, after int64, i int, frame []byte) error {
	skipped, err := io.CopyN(io.Discard, body, after)
	n := 0
	if err == nil {
		n, err = io.ReadFull(body, frame)
	}
	r.moved.Add(skipped + int64(n))
	if err != nil {
		return r.named(i, noEOF(err))
	}
	return nil
}

// named says which chunk could not be read, if the store does not say which object.
func (r *ranger) named(i int, err error) error {
	var named *storage.Error
	if errors.As(err, &named) {
		return err
	}
	return fmt.Errorf("chunk %d at byte %d of %s: %w", i, r.stored[i], r.key, err)
}
