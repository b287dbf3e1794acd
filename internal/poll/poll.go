// Package poll repeats a task at intervals until it is told to stop.
//
// Intervals vary, so that many hosts that were started together do not ask together. While the task fails they grow,
// each twice the one before up to a bound, and vary more: a store that comes back is not met by all at once.
//
// The package waits by a timer that it is given, and does nothing in parallel.
package poll

import (
	"cmp"
	"context"
	"time"
)

// Longest is the longest interval after failures, where Loop.Every is not longer itself and Loop.Longest says nothing.
const Longest = 30 * time.Minute

// Loop is a task's rhythm.
type Loop struct {
	Every   time.Duration                          // from the end of a round to the next, about
	Longest time.Duration                          // the longest interval after failures; 0 = Longest
	After   func(time.Duration) <-chan time.Time   // time.After
	Random  func() float64                         // at least 0, less than 1
	Pause   func(next time.Duration, failures int) // told before each wait; may be nil
}

// Run does a round at once, and then one after each interval. A round tells whether it went well; its error ends the
// loop, and is Run's. When the context ends, Run ends with its cause, during a round as soon as that returns.
func (l Loop) Run(ctx context.Context, round func(context.Context) (well bool, err error)) error {
	failures := 0
	for {
		well, err := round(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case well:
			failures = 0
		default:
			failures++
		}
		next := l.next(failures)
		if l.Pause != nil {
			l.Pause(next, failures)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.After(next):
		}
	}
}

// next is the interval after so many failures in a row: within a tenth of Every after none, else between half and all
// of the grown one.
func (l Loop) next(failures int) time.Duration {
	if failures == 0 {
		return time.Duration(float64(l.Every) * (0.9 + 0.2*l.Random()))
	}
	grown, bound := l.Every, max(l.Every, cmp.Or(l.Longest, Longest))
	for range failures {
		if grown >= bound/2 {
			grown = bound
			break
		}
		grown *= 2
	}
	return time.Duration(float64(grown) * (0.5 + 0.5*l.Random()))
}
