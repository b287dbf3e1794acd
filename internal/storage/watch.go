package storage

import (
	"context"
	"fmt"
	"time"
)

// silence is the cause of a call that was given up because nothing came for too long, or not the whole.
type silence struct {
	after time.Duration
	whole bool
}

func (s silence) Error() string {
	if s.whole {
		return fmt.Sprintf("not all of it came within %s", s.after)
	}
	return fmt.Sprintf("nothing heard for %s", s.after)
}

// Small gives a context for reading one small object, of which ReadAll is one way: a server that sends a byte now and
// then must not hold anybody for days.
func Small(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, smallDeadline, silence{smallDeadline, true})
}

// smallDeadline is how long the reading of one small object may take, of at most 16 MiB: 140 kB a second.
const smallDeadline = 2 * time.Minute

// watch ends a context when the other side has been silent for too long. Time in which nobody waits for the other
// side (a slow reader, between two pieces) does not count, so a long transfer lives as long as it moves.
type watch struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// watched gives a context with a running watch. Its end must be called.
func watched(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(silence{after: limit}) })
	return ctx, w
}

func (w *watch) pause()  { w.timer.Stop() }
func (w *watch) resume() { w.timer.Reset(w.limit) }
func (w *watch) end()    { w.timer.Stop(); w.cancel(nil) }

// movingBody is an upload whose every piece counts as a sign of life.
type movingBody struct {
	bodyReader
	watch *watch
}

func (b movingBody) Read(p []byte) (int, error) {
	n, err := b.bodyReader.Read(p)
	b.watch.resume()
	return n, err
}
