package transfer

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

const (
	maxTries   = 11                     // how often in a row something is asked for without a chunk gained: for about a minute
	wrongTries = 4                      // and where the answer is wrong, not late
	firstPause = 100 * time.Millisecond // half of the first pause, on average
	mostDouble = 7                      // how often it doubles: the longest pauses are about 13 s
	toldAt     = 4                      // the pause that is worth a word: the first of more than a second, about
	worthWord  = 2 * time.Second        // an outage that took so long is, too: where a server hangs, the second failure
	longest    = 75 * time.Second       // after so much time of failing nothing is asked for once more, if it was asked for often enough
	leastTries = 3                      // often enough
	enough     = 64 << 10               // bytes that are a gain: what sends one now and then is away
)

// passing tells whether a failure to read may be another one, or none, the next time.
func passing(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Patience outlasts a store that is away for about a minute; of one that hangs each try takes half a minute, and all some two. All that move at a time share one, so that an outage is
// told once. Its zero value, and nil, wait without a word.
type Patience struct {
	Away  func(err error, next time.Duration)  // told of an outage that lasts, and when the next try is; nil: nobody is
	After func(time.Duration) <-chan time.Time // how to wait; nil is time.After
	Now   func() time.Time                     // the host's clock; nil: only tries are counted

	mu   sync.Mutex
	away int  // how many wait for the store
	told bool // of the outage in which they do
}

// attempts are those at one thing that failed since something was gained.
type attempts struct {
	failed int
	since  time.Time // when the first failed
}

// Try does what can be done again, until it succeeds, fails for good, or patience is at its end.
func (p *Patience) Try(ctx context.Context, do func() error) error {
	for tries := (attempts{}); ; {
		err := do()
		if err == nil {
			p.gained(&tries)
			return nil
		}
		if err := p.again(ctx, &tries, err); err != nil {
			return err
		}
	}
}

// again waits before the next try after err, or gives the error to end with.
func (p *Patience) again(ctx context.Context, tries *attempts, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if tries.failed == 0 {
		tries.since = p.now()
	}
	most, took := maxTries, p.now().Sub(tries.since)
	switch {
	case errors.Is(err, storage.ErrWrongAnswer):
		most = wrongTries
	case took > longest:
		most = leastTries
	}
	if !passing(err) || tries.failed >= most-1 {
		p.gained(tries)
		return err
	}
	if tries.failed++; tries.failed == 1 {
		p.count(1)
	}
	base := firstPause << min(tries.failed, mostDouble)
	next := base/2 + rand.N(base)
	if tries.failed >= toldAt || took > worthWord {
		p.tell(err, next)
	}
	select {
	case <-p.after(next):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Patience) now() time.Time {
	if p == nil || p.Now == nil {
		return time.Time{}
	}
	return p.Now()
}

func (p *Patience) after(d time.Duration) <-chan time.Time {
	if p == nil || p.After == nil {
		return time.After(d)
	}
	return p.After(d)
}

// tell says that the store is away, unless that was said of this outage.
func (p *Patience) tell(err error, next time.Duration) {
	if p == nil || p.Away == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.told {
		p.told = true
		p.Away(err, next)
	}
}

// gained has tries begin anew: something came, or nobody asks again. Once nobody waits, the next outage is another one.
func (p *Patience) gained(tries *attempts) {
	if tries.failed > 0 {
		p.count(-1)
	}
	*tries = attempts{}
}

func (p *Patience) count(n int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away += n
	p.told = p.told && p.away > 0
}
