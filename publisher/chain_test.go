package publisher_test

import (
	"testing"
	"time"

	"github.com/enovance/kitchen/publisher"
)

// What one engineer changes on a laptop takes effect as a whole, although each change is a proposal of its own: the last
// one holds them all, whether it lists more than the one before it, as much, or less, and whatever the clocks say.
func TestAChainOfWaitingChangesTakesEffectAsAWhole(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.now = start.now.Add(time.Hour)
	laptop := start.publisher(t, nil)
	must(t, publisher.Pending)(laptop.Publish(ctx, source(t, v1, nil), signers(start.engineer)))
	must(t, publisher.Pending)(laptop.Publish(ctx, source(t, v2, nil), signers(start.engineer)))
	for name, c := range map[string]struct {
		steps  []yankStep
		yanked [2]string // v1, v2
	}{
		"one yank":      {[]yankStep{{v1, false}}, [2]string{"slow", ""}},
		"two yanks":     {[]yankStep{{v1, false}, {v2, false}}, [2]string{"slow", "slow"}},
		"a yank undone": {[]yankStep{{v1, false}, {v2, false}, {v2, true}}, [2]string{"slow", ""}},
		"both undone":   {[]yankStep{{v1, false}, {v2, false}, {v2, true}, {v1, true}}, [2]string{}},
	} {
		for _, late := range []time.Duration{0, time.Minute, -time.Minute} { // each host's clock against the one before
			t.Run(name+" "+late.String(), func(t *testing.T) {
				t.Parallel()
				w := start.copy(t)
				for _, step := range c.steps {
					w.now = w.now.Add(late)
					must(t, publisher.Pending)(step.by(w.publisher(t, nil), w.engineer))
				}
				w.now = start.now.Add(time.Hour)
				result := commit(t, w.publisher(t, w.online))
				if len(result.Committed) != 1 || len(result.Incomplete)+len(result.Refused) > 0 {
					t.Errorf("%+v", result)
				}
				if got := [2]string{w.info(t, v1).Yanked, w.info(t, v2).Yanked}; got != c.yanked {
					t.Errorf("yanked: %q, want %q", got, c.yanked)
				}
			})
		}
	}
}

// yankStep hides a release, or shows it again.
type yankStep struct {
	release string
	undo    bool
}

func (s yankStep) by(p *publisher.Publisher, k key) (*publisher.Outcome, error) {
	if s.undo {
		return p.Unyank(ctx, release(s.release), signers(k))
	}
	return p.Yank(ctx, release(s.release), "slow", signers(k))
}
