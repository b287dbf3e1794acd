package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// overHTTP serves the world's directory through faults.
func (w *world) overHTTP(t *testing.T, faults *storagetest.HTTPFaults) storage.Reader {
	return servedWith(t, http.FileServer(http.Dir(w.dir)), storage.Options{RoundTripper: faults.Wrap, Resumes: 1, Timeout: 300 * time.Millisecond})
}

func TestServerThatIgnoresRangesIsAskedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := noise(1, 40<<20)
	a := w.artifact(raw)
	j := w.job(a)
	j.Parallel = 1
	files := http.FileServer(http.Dir(w.dir))
	var sent, requests atomic.Int64
	j.Store = served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		requests.Add(1)
		files.ServeHTTP(&countingWriter{rw, &sent}, r)
	}))
	w.assembledLoosely(j, raw)
	if requests.Load() != 2 || sent.Load() > 2*a.Stored.Size {
		t.Errorf("%d requests, %d bytes for an object of %d", requests.Load(), sent.Load(), a.Stored.Size)
	}
}

// TestNetworksThatBreak lets every way of breaking happen to ranges and to a delta.
func TestNetworksThatBreak(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(40, 12<<20)
	raw := edited(40, old, 6)
	plain := w.artifact(raw)
	withDelta := *plain
	w.addDelta(&withDelta, old, raw)
	for name, f := range map[string]storagetest.Fault{
		"refused":     {Kind: storagetest.Refuse, Times: 3},
		"lost":        {Kind: storagetest.LoseAnswer, Times: 3},
		"cut":         {Kind: storagetest.CutBody, Times: 3, At: 300_000},
		"cut at once": {Kind: storagetest.CutBody, Times: 3},
		"stalled":     {Kind: storagetest.StallBody, At: 1000},
		"silent":      {Kind: storagetest.Stall},
		"overloaded":  {Kind: storagetest.Answer, Status: http.StatusServiceUnavailable, Times: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.Key = plain.Stored.SHA256
			j := w.job(plain)
			j.Store = w.overHTTP(t, new(storagetest.HTTPFaults).Add(f))
			w.assembledLoosely(j, raw)

			f.Key = withDelta.Deltas[0].SHA256
			j = w.job(&withDelta, seed(old))
			j.Store = w.overHTTP(t, new(storagetest.HTTPFaults).Add(f))
			if s := w.assembledLoosely(j, raw); s.Ranged != 0 || s.Delta == 0 || len(s.Problems) != 0 {
				t.Errorf("the delta was given up: %+v", s)
			}
		})
	}
}

func TestStoreThatStaysAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := noise(2, 20<<20)
	a := w.artifact(raw)
	faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.CutBody, At: 5 << 20}).Add(storagetest.Fault{Kind: storagetest.Refuse, Times: -1})
	j := w.job(a)
	j.Store, j.Parallel = w.overHTTP(t, faults), 1
	part := w.part()
	s, err := j.Assemble(t.Context(), part)
	if !errors.Is(err, storage.ErrUnavailable) || s.Ranged == 0 {
		t.Fatalf("error %v, and %+v", err, s)
	}
	if s.Requests != 1+maxTries-1 && s.Requests != 1+maxTries {
		t.Errorf("%d requests, want %d tries after the first", s.Requests, maxTries)
	}
	kept := s.Ranged
	if s := w.assembled(w.job(a), part, raw); s.Kept != kept {
		t.Errorf("%d bytes were kept of %d", s.Kept, kept)
	}
}

// TestChunkThatCameWrongIsAskedForThroughABrokenConnection: what breaks does not make a wrong chunk of it.
func TestChunkThatCameWrongIsAskedForThroughABrokenConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(41, 8<<20)
	j := w.job(w.artifact(raw))
	var n atomic.Int64
	w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
		switch n.Add(1) {
		case 1:
			return &flipped{body, 100_000}
		case 2, 3:
			return io.NopCloser(io.LimitReader(body, 10))
		}
		return body
	}
	w.assembledLoosely(j, raw)
	// Wrong, broken, wrong again: now it is.
	n.Store(0)
	w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
		if n.Add(1) == 2 {
			return io.NopCloser(io.LimitReader(body, 10))
		}
		return &flipped{body, 100}
	}
	_, err := j.Assemble(t.Context(), w.part())
	wantMismatch(t, err, "chunk")
}

// TestEdgesThatDisagreeAboutTags: an object whose tag is another with every answer is read nevertheless.
func TestEdgesThatDisagreeAboutTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := noise(3, 4<<20)
	a := w.artifact(raw)
	files := http.FileServer(http.Dir(w.dir))
	var n atomic.Int64
	faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.CutBody, At: 1 << 20, Times: 2})
	j := w.job(a)
	j.Store = servedWith(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint("edge ", n.Add(1))))
		files.ServeHTTP(rw, r)
	}), storage.Options{RoundTripper: faults.Wrap})
	w.assembledLoosely(j, raw)
}

// TestCancelEndsEveryRung: what waits for the network ends with the context, and leaves nobody behind.
func TestCancelEndsEveryRung(t *testing.T) {
	w := newWorld(t)
	old := image(42, 12<<20)
	raw := edited(42, old, 6)
	a := w.artifact(raw)
	w.addDelta(a, old, raw)
	before := runtime.NumGoroutine()
	for name, j := range map[string]*Job{"ranges": w.job(a), "delta": w.job(a, seed(old)), "seed": w.job(a, seed(old))} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop here")
		w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
			cancel(stop)
			return &hangingBody{ctx}
		}
		if name == "seed" {
			j.Task = taskFunc(func(int64) { cancel(stop) })
		}
		if _, err := j.Assemble(ctx, w.part()); !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for n := 0; runtime.NumGoroutine() > before; n++ { // one that has ended may still be counted
		if n > 10_000 {
			t.Fatalf("%d goroutines, were %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

// hangingBody gives nothing until the context ends, as those of a store do.
type hangingBody struct{ ctx context.Context }

func (b *hangingBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, context.Cause(b.ctx)
}
func (*hangingBody) Close() error { return nil }

// TestDiskFull: on every rung a full disk is what it is, and no fault of the source.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("SKIPPED: no /dev/full here:", err)
	}
	defer full.Close()
	w := newWorld(t)
	old := image(9, 8<<20)
	raw := edited(9, old, 4)
	a := w.artifact(raw)
	w.addDelta(a, old, raw)
	for name, prepare := range map[string]func(*assembly) func(context.Context) error{
		"zeros": func(a *assembly) func(context.Context) error { a.fresh = false; return a.zeros },
		"seed":  func(a *assembly) func(context.Context) error { return a.seed },
		"delta": func(a *assembly) func(context.Context) error {
			check(t, a.seed(t.Context()))
			return a.delta
		},
		"ranges": func(a *assembly) func(context.Context) error { return a.ranges },
	} {
		asm, err := w.job(a, seed(old)).newAssembly(w.part())
		check(t, err)
		rung := prepare(asm)
		asm.part = full
		if err := rung(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: error %v, want that of a full disk", name, err)
		}
	}
	_, err = Chunks(t.Context(), w.store, a.Stored.SHA256, w.job(a).Index, []int{0, 1}, 1, full, progress.Silent{}.Start("", 0))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("chunks: error %v", err)
	}
	part := w.part()
	check(t, part.Close())
	if _, err := w.job(a).Assemble(t.Context(), part); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: error %v", err)
	}
}

// TestManyPlacesAreVisitedOnce: a chunk that stands in many places and comes many times does not cost their product.
func TestManyPlacesAreVisitedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := bytes.Repeat(noise(4, 64<<10), 20)
	a, err := w.job(w.artifact(raw)).newAssembly(w.part())
	check(t, err)
	check(t, a.put(a.Index[0].SHA256, raw[:a.Index[0].Raw], &a.Seeded))
	left := a.missing
	a.have[0] = false // whoever looked again would write again
	check(t, a.put(a.Index[0].SHA256, raw[:a.Index[0].Raw], &a.Seeded))
	if a.have[0] || a.missing != left {
		t.Error("a settled chunk was put again")
	}
}

func TestSeedWithoutEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, err := w.job(w.artifact(image(43, 4<<20))).newAssembly(w.part())
	check(t, err)
	r := &seedReader{a: a, cut: &cutSeed{offsets: make([]int64, chunk.MaxChunks)}}
	broken, err := r.read(t.Context(), chunk.NewFollower(chunk.NewReader(strings.NewReader("and so on")), nil))
	check(t, err)
	if broken == nil || len(r.cut.offsets) > chunk.MaxChunks {
		t.Error("a seed without end is read without end")
	}
}

// TestFewChunksOfManyAreSpread: ranges keep as many requests busy as may be under way, and are no larger than said.
func TestFewChunksOfManyAreSpread(t *testing.T) {
	t.Parallel()
	const n = 4 * 261 // MiB
	x := make(chunk.Index, n)
	positions := make([]int, n)
	for i := range x {
		x[i], positions[i] = chunk.Chunk{Raw: 256 << 10, Stored: 256 << 10}, i
	}
	_, stored := offsets(x)
	for _, c := range []struct{ chunks, parallel, want int }{{n, 4, 17}, {4 * 40, 4, 5}, {4 * 80, 4, 8}, {4 * 80, 1, 5}, {1, 4, 1}, {0, 4, 0}} {
		r := &ranger{index: x, stored: stored, parallel: c.parallel}
		groups := r.groups(positions[:c.chunks])
		if len(groups) != c.want {
			t.Errorf("%d MiB, %d at a time: %d requests, want %d", c.chunks/4, c.parallel, len(groups), c.want)
		}
	}
	r := &ranger{index: x, stored: stored, parallel: 4}
	if got := r.groups([]int{0, 1, 3, 400, 401}); len(got) != 3 {
		t.Errorf("groups %v: a gap of 256 KiB is not worth reading along", got)
	}
}

// TestDeltaOfOtherBytesIsNotParsed: the digest comes first.
func TestDeltaOfOtherBytesIsNotParsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(44, 8<<20)
	raw := edited(44, old, 4)
	a := w.artifact(raw)
	w.addDelta(a, old, raw)
	j := w.job(a, seed(old))
	w.overwrite(a.Deltas[0].SHA256, noise(9, int(a.Deltas[0].Size)))
	if s := w.assembledLoosely(j, raw); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "sha256: want "+a.Deltas[0].SHA256) {
		t.Errorf("problems %q", s.Problems)
	}
}
