package transfer

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// TestAnInterruptedDeltaGoesOn: somebody stops it, or the store stays away; the next attempt moves the rest, and what is
// whole already is not asked for.
func TestAnInterruptedDeltaGoesOn(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]error{"stopped": errors.New("stop here"), "the store stays away": storage.ErrUnavailable, "the connection breaks": io.ErrUnexpectedEOF} {
		w := newWorld(t)
		a, old, raw := w.withDelta(62)
		d := a.Deltas[0]
		part, j := w.part(), w.job(a, seed(old))
		ctx, cancel := context.WithCancelCause(t.Context())
		left := d.Size / 2 // bytes that the store gives before it is gone
		w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
			return &dyingBody{body, &left, func() error {
				if name == "stopped" {
					cancel(cut)
				}
				return cut
			}}
		}
		if _, err := j.Assemble(ctx, part); !errors.Is(err, cut) {
			t.Fatalf("%s: error %v", name, err)
		}
		if got := j.kept(d); got != d.Size/2 {
			t.Errorf("%s: %d bytes are kept of %d", name, got, d.Size/2)
		}
		w.store.body = nil
		w.store.reset()
		s := w.assembled(j, part, raw)
		if s.Delta == 0 || s.Moved != d.Size-d.Size/2 || s.Requests != 1 {
			t.Errorf("%s: %+v of a delta of %d", name, s, d.Size)
		}
		if left, err := os.ReadDir(j.Scratch); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// dyingBody gives what is left to give, whichever body it is.
type dyingBody struct {
	io.ReadCloser
	left *int64
	end  func() error
}

func (b *dyingBody) Read(p []byte) (int, error) {
	if *b.left == 0 {
		return 0, b.end()
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), *b.left)])
	*b.left -= int64(n)
	return n, err
}

// TestAKeptDeltaIsUsedOrGoes: one that is whole costs no request, also where ranges would be less than a delta; one that
// is not wanted any more is removed.
func TestAKeptDeltaIsUsedOrGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, old, raw := w.withDelta(63)
	whole := w.read(a.Deltas[0].SHA256)
	j := w.job(a, seed(old))
	check(t, os.WriteFile(j.deltaName(a.Deltas[0]), whole, 0o600))
	if s := w.assembled(j, w.part(), raw); s.Delta == 0 || s.Moved != 0 {
		t.Errorf("%+v", s)
	}
	other := *a
	other.Deltas = []manifest.Delta{a.Deltas[0], a.Deltas[0]}
	other.Deltas[1].SHA256 = hexOf([]byte("one that was begun with another seed"))
	j = w.job(&other, seed(raw))
	for _, d := range other.Deltas {
		check(t, os.WriteFile(j.deltaName(d), whole[:10], 0o600))
	}
	w.assembled(j, w.part(), raw)
	if left, err := os.ReadDir(j.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// shrinkingTask is what a display knows of a task.
type shrinkingTask struct {
	total, count int64
	beyond       bool // more was counted than there was to come
}

func (s *shrinkingTask) Add(n int64)  { s.count += n; s.beyond = s.beyond || s.count > s.total }
func (s *shrinkingTask) Skip(n int64) { s.total -= n; s.beyond = s.beyond || s.count > s.total }
func (*shrinkingTask) Done(error)     {}

// TestProgressIsOfWhatMoves: rate and time left are of the bytes that come, not of those that seeds and deltas save; also
// when a delta that was to save them turns out wrong.
func TestProgressIsOfWhatMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, old, raw := w.withDelta(64)
	d := a.Deltas[0]
	run := func(name string, want int64, seeds ...Seed) {
		t.Helper()
		j, task := w.job(a, seeds...), &shrinkingTask{total: a.Stored.Size}
		j.Task = task
		w.assembledLoosely(j, raw)
		if task.beyond || task.total != task.count || want >= 0 && task.count != want {
			t.Errorf("%s: counted %d of %d bytes, want %d", name, task.count, task.total, want)
		}
	}
	run("from nothing", -1)
	run("from itself", 0, seed(raw))
	run("by a delta", d.Size, seed(old))
	w.overwrite(d.SHA256, noise(1, int(d.Size)))
	run("by a wrong delta", -1, seed(old))
}
