package publisher

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// WentStale is a proposal that was waited for, and can never take effect any more (exit 3).
type WentStale struct {
	ID     string
	Reason string
	Again  []string // commands that make its change again
}

func (e *WentStale) Error() string {
	return "proposal " + e.ID + " went stale while it waited: " + e.Reason
}

// Hint says how to propose it again.
func (e *WentStale) Hint() string {
	if len(e.Again) == 0 {
		return "kitchen pending " + e.ID + " says what took effect in its place"
	}
	return "to propose it again: " + strings.Join(e.Again, "; ")
}

// awaitEvery is about how long to wait before a waiting proposal is looked at once more.
const awaitEvery = 3 * time.Second

// Await looks at a waiting proposal until it is in effect, for at most so long, and tells what became of it: Committed; or
// Pending still, with what it waits for. A store that is away is asked again. Errors: *WentStale, *UnknownProposal where it
// was taken away, those of the store when the time is over, and the context's.
func (p *Publisher) Await(ctx context.Context, id string, longest time.Duration) (*Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	said := ""
	for {
		w, err := p.PendingOne(ctx, id)
		switch {
		case errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil:
		case err != nil:
			return nil, err
		case w.Done:
			return &Outcome{Status: Committed, Roles: w.Roles}, nil
		case w.Stale != "":
			return nil, &WentStale{ID: id, Reason: w.Stale, Again: w.Again}
		case w.WaitsFor() != said:
			said = w.WaitsFor()
			p.sink().Note("waiting up to " + longest.String() + " for " + said)
		}
		if pause(limited, time.Duration((0.9+0.2*rand.Float64())*float64(awaitEvery))) == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		return &Outcome{Status: Pending, Proposal: id, Roles: w.Roles, WaitsFor: w.WaitsFor()}, nil
	}
}
