package storage

import (
	"context"
	"fmt"
	"sync"
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

// enoughHeard is how many bytes are a sign of life: a server that sends one now and then is as good as silent. With the usual limit
// of 30 s that is 140 bytes a second.
const enoughHeard = 4 << 10

// watch ends a context when the other side has been silent for too long, or nearly so. Time in which nobody waits for the other
// side (a slow reader, between two pieces) does not count, so a long transfer lives as long as it moves.
type watch struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
	now    func() time.Time // nil: each wait has all the time there is

	mu      sync.Mutex // guards what follows: what moves is heard of by another goroutine than the one that waits
	timer   *time.Timer
	waiting bool
	since   time.Time     // when the present waiting began
	left    time.Duration // that may pass before enough is heard
	heard   int           // bytes, since left began anew
}

// watched gives a context with a running watch. Its end must be called.
func watched(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(silence{after: limit}) })
	w.resume()
	return ctx, w
}

// resume begins to wait for something else, with all the time there is.
func (w *watch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.heard = w.limit, 0
	w.wait()
}

// await goes on waiting for the rest of what was begun.
func (w *watch) await() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait()
}

func (w *watch) wait() {
	w.waiting = true
	if w.now != nil {
		w.since = w.now()
	}
	w.timer.Reset(w.left)
}

// got notes bytes that came or went.
func (w *watch) got(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard += n; w.heard < enoughHeard {
		return
	}
	if w.left, w.heard = w.limit, 0; w.waiting {
		w.wait()
	}
}

func (w *watch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	if w.waiting && w.now != nil {
		w.left -= w.now().Sub(w.since)
	}
	w.waiting = false
}

// rest is pause once what was waited for came: the next wait is for something else.
func (w *watch) rest() {
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.heard = w.limit, 0
}

func (w *watch) end() { w.timer.Stop(); w.cancel(nil) }

// movingBody is an upload whose every piece counts as a sign of life.
type movingBody struct {
	bodyReader
	watch *watch
}

func (b movingBody) Read(p []byte) (int, error) {
	n, err := b.bodyReader.Read(p)
	b.watch.got(n)
	return n, err
}
