package poll

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// rhythm runs rounds with these outcomes and gives the intervals between them; no time passes.
func rhythm(t *testing.T, l Loop, outcomes ...bool) []time.Duration {
	t.Helper()
	var waits []time.Duration
	l.After = func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		c := make(chan time.Time, 1)
		c <- time.Time{}
		return c
	}
	if l.Random == nil {
		l.Random = func() float64 { return 0.5 }
	}
	end := errors.New("no more outcomes")
	n := 0
	err := l.Run(t.Context(), func(context.Context) (bool, error) {
		if n == len(outcomes) {
			return true, end
		}
		n++
		return outcomes[n-1], nil
	})
	if err != end {
		t.Fatal(err)
	}
	return waits
}

func TestAStoreThatIsAwayIsAskedLessAndLess(t *testing.T) {
	const m = time.Minute
	got := rhythm(t, Loop{Every: 4 * m}, true, false, false, false, false, false, true, false)
	want := []time.Duration{4 * m, 6 * m, 12 * m, 45 * m / 2, 45 * m / 2, 45 * m / 2, 4 * m, 6 * m}
	if !slices.Equal(got, want) {
		t.Errorf("intervals %v, want %v", got, want)
	}
	if got := rhythm(t, Loop{Every: 24 * time.Hour}, false, false); !slices.Equal(got, []time.Duration{18 * time.Hour, 18 * time.Hour}) {
		t.Errorf("an interval beyond the bound became %v", got)
	}
	if got := rhythm(t, Loop{Every: m, Longest: 2 * m}, false, false, false); !slices.Equal(got, []time.Duration{3 * m / 2, 3 * m / 2, 3 * m / 2}) {
		t.Errorf("a bound of its own: %v", got)
	}
	if got := rhythm(t, Loop{Every: 4 * m}, slices.Repeat([]bool{false}, 200)...); got[199] != 45*m/2 {
		t.Errorf("after 200 failures %v", got[199])
	}
}

func TestHostsThatStartTogetherDoNotStayTogether(t *testing.T) {
	for random, want := range map[float64][2]time.Duration{0: {90 * time.Second, 100 * time.Second}, 0.999999: {110 * time.Second, 200 * time.Second}} {
		got := rhythm(t, Loop{Every: 100 * time.Second, Random: func() float64 { return random }}, true, false)
		for i := range want {
			if off := (got[i] - want[i]).Abs(); off > time.Millisecond {
				t.Errorf("random %v: %v, want %v", random, got, want)
			}
		}
	}
}

func TestRunEndsWithTheReasonOfTheStop(t *testing.T) {
	because := errors.New("told to stop")
	for _, when := range []string{"during a round", "between rounds"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		rounds := 0
		l := Loop{Every: time.Hour, Random: func() float64 { return 0 }, After: func(time.Duration) <-chan time.Time {
			cancel(because)
			return nil
		}}
		err := l.Run(ctx, func(context.Context) (bool, error) {
			if rounds++; when == "during a round" {
				cancel(because)
				return false, errors.New("cut short")
			}
			return true, nil
		})
		if err != because || rounds != 1 {
			t.Errorf("%s: %v after %d rounds", when, err, rounds)
		}
	}
}
