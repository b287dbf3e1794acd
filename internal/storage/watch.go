package storage

import (
	"context"
	"fmt"
	"time"
)

// silence is the cause of a call that was given up because nothing came for too long.
type silence struct{ after time.Duration }

func (s silence) Error() string { return fmt.Sprintf("nothing heard for %s", s.after) }

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
	w.timer = time.AfterFunc(limit, func() { cancel(silence{limit}) })
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
