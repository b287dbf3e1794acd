package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// waits is a Patience for whom no time passes, and what it did.
type waits struct {
	Patience
	mu    sync.Mutex
	spent time.Duration
	told  []string
}

func newWaits() *waits {
	w := &waits{}
	w.After = func(d time.Duration) <-chan time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.spent += d
		return noTime(d)
	}
	w.Away = func(err error, next time.Duration) { w.told = append(w.told, fmt.Sprintf("%v, %v", err, next)) }
	return w
}

// TestAnOutageIsOutlastedForAboutAMinute: for a nightly job that is a store being restarted, or a link that comes back.
func TestAnOutageIsOutlastedForAboutAMinute(t *testing.T) {
	t.Parallel()
	var longest, least time.Duration
	for range 20 {
		w := newWaits()
		gone := fmt.Errorf("gone: %w", storage.ErrUnavailable)
		if err := w.Try(t.Context(), func() error { return gone }); err != gone {
			t.Fatalf("error %v", err)
		}
		longest = max(longest, w.spent)
		if least == 0 || w.spent < least {
			least = w.spent
		}
	}
	if least < 30*time.Second || longest > 100*time.Second {
		t.Errorf("it waited between %v and %v", least, longest)
	}
	w := newWaits()
	if err := w.Try(t.Context(), func() error { return storage.ErrForbidden }); !errors.Is(err, storage.ErrForbidden) || w.spent != 0 {
		t.Errorf("what does not pass: error %v after %v", err, w.spent)
	}
}

// refusing is a store that is out of reach for each of four ranges so many times, and comes back for all of them.
type refusing struct {
	storage.Reader
	times int
	all   sync.WaitGroup
	mu    sync.Mutex
	asked map[int64]int
}

func (s *refusing) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	s.mu.Lock()
	s.asked[offset]++
	n := s.asked[offset]
	s.mu.Unlock()
	if n == s.times {
		s.all.Done()
	}
	if n <= s.times {
		return nil, storage.Info{}, fmt.Errorf("refused: %w", storage.ErrUnavailable)
	}
	s.all.Wait()
	return s.Reader.Open(ctx, key, offset, length)
}

// TestAnOutageIsToldOnce: not for each range that is under way; and the next outage is told again.
func TestAnOutageIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := noise(50, 30<<20)
	a := w.artifact(raw)
	for name, c := range map[string]struct{ failures, told int }{"one that lasts": {6, 1}, "a short one": {3, 0}} {
		j, patience := w.job(a), newWaits()
		store := &refusing{Reader: j.Store, times: c.failures, asked: map[int64]int{}}
		store.all.Add(DefaultParallel)
		j.Patience, j.Store = &patience.Patience, store
		w.assembledLoosely(j, raw)
		if len(patience.told) != c.told || len(store.asked) != DefaultParallel {
			t.Errorf("%s: %d ranges, told %q", name, len(store.asked), patience.told)
		}
	}
	patience, n := newWaits(), 0
	for range 2 {
		check(t, patience.Try(t.Context(), func() error {
			if n++; n%8 == 0 {
				return nil
			}
			return storage.ErrUnavailable
		}))
	}
	if len(patience.told) != 2 {
		t.Errorf("two outages: told %q", patience.told)
	}
}
