package transfer

import (
	"fmt"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// TestPatienceIsForWhatIsLate: a store that is away is waited for longer than one that answers wrongly, and nothing else is.
func TestPatienceIsForWhatIsLate(t *testing.T) {
	t.Parallel()
	now := make(chan time.Time)
	close(now)
	p := &Patience{After: func(time.Duration) <-chan time.Time { return now }}
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"away":         {storage.ErrUnavailable, maxTries},
		"wrong answer": {fmt.Errorf("%w: %w", storage.ErrUnavailable, storage.ErrWrongAnswer), wrongTries},
		"forbidden":    {storage.ErrForbidden, 1},
	} {
		tries := 0
		if err := p.Try(t.Context(), func() error { tries++; return c.err }); err != c.err || tries != c.want {
			t.Errorf("%s: %d tries, want %d: %v", name, tries, c.want, err)
		}
	}
}

// TestAServerThatHangsIsNotWaitedForElevenTimes: each try takes it half a minute to fail. It is told the second time, and given up after
// about a minute of that; what came well for hours before does not count.
func TestAServerThatHangsIsNotWaitedForElevenTimes(t *testing.T) {
	t.Parallel()
	w := newWaits()
	clock := time.Unix(0, 0)
	w.Now = func() time.Time { return clock }
	tries := 0
	err := w.Try(t.Context(), func() error {
		if tries++; tries == 1 {
			clock = clock.Add(3 * time.Hour)
		}
		clock = clock.Add(30 * time.Second)
		return storage.ErrUnavailable
	})
	if err != storage.ErrUnavailable || tries != 4 || len(w.told) != 1 {
		t.Errorf("%d tries, told %q: %v", tries, w.told, err)
	}
}
