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

// TestAServerThatHangsIsNotWaitedForElevenTimes: each try takes it half a minute to fail. It is told at once, and given up when the
// minute is over.
func TestAServerThatHangsIsNotWaitedForElevenTimes(t *testing.T) {
	t.Parallel()
	w := newWaits()
	clock := time.Unix(0, 0)
	w.Now = func() time.Time { return clock }
	tries := 0
	err := w.Try(t.Context(), func() error {
		tries++
		clock = clock.Add(30 * time.Second)
		if tries == 1 && len(w.told) > 0 {
			t.Error("told before it failed")
		}
		return storage.ErrUnavailable
	})
	if err != storage.ErrUnavailable || tries != 3 || len(w.told) != 1 {
		t.Errorf("%d tries, told %q: %v", tries, w.told, err)
	}
}
