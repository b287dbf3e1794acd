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
