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
)

// passing tells whether a failure to read may be another one, or none, the next time.
func passing(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Patience outlasts a store that is away for about a minute. All that move at a time share one, so that an outage is
// told once. Its zero value, and nil, wait without a word.
type Patience struct {
	Away  func(err error, next time.Duration)  // told of an outage that lasts, and when the next try is; nil: nobody is
	After func(time.Duration) <-chan time.Time // how to wait; nil is time.After

	mu   sync.Mutex
	away int  // how many wait for the store
	told bool // of the outage in which they do
}

// Try does what can be done again, until it succeeds, fails for good, or patience is at its end.
func (p *Patience) Try(ctx context.Context, do func() error) error {
	for tries := 0; ; {
		err := do()
		if err == nil {
			p.reset(&tries)
			return nil
		}
		if err := p.again(ctx, &tries, err); err != nil {
			return err
		}
	}
}

// again waits before the next try after err, or gives the error to end with. tries counts those without a gain.
func (p *Patience) again(ctx context.Context, tries *int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	most := maxTries
	if errors.Is(err, storage.ErrWrongAnswer) {
		most = wrongTries
	}
	if !passing(err) || *tries >= most-1 {
		p.reset(tries)
		return err
	}
	if *tries++; *tries == 1 {
		p.count(1)
	}
	base := firstPause << min(*tries, mostDouble)
	next := base/2 + rand.N(base)
	if *tries == toldAt {
		p.tell(err, next)
	}
	select {
	case <-p.after(next):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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

// reset has tries begin anew: something came, or nobody asks again. Once nobody waits, the next outage is another one.
func (p *Patience) reset(tries *int) {
	if *tries > 0 {
		p.count(-1)
	}
	*tries = 0
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
