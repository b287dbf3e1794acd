package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for something that has to happen.
const patience = 60 * time.Second

// sharedText is output that is looked at while it is written.
type sharedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take gives what was written since the last call.
func (s *sharedText) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.b.String()
	s.b.Reset()
	return text
}

// has tells whether something was written since the last take.
func (s *sharedText) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.b.String(), text)
}

// until waits for what other processes do.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("not so within %s: %s", patience, what)
		}
	}
}

// watching is run --watch in this process. No time passes between its rounds: the test ends each pause.
type watching struct {
	t              *testing.T
	stdout, stderr sharedText
	stop           context.CancelCauseFunc
	pauses         chan time.Duration
	next           chan time.Time
	code           chan int
}

func (s scene) watch(t *testing.T, line string) *watching {
	t.Helper()
	w := &watching{t: t, pauses: make(chan time.Duration), next: make(chan time.Time), code: make(chan int, 1)}
	k, err := s.kitchen(&w.stdout, &w.stderr)
	if err != nil {
		t.Fatal(err)
	}
	k.environ = os.Environ
	ctx, stop := context.WithCancelCause(context.Background())
	w.stop = stop
	k.after = func(d time.Duration) <-chan time.Time {
		select {
		case w.pauses <- d:
		case <-ctx.Done():
		}
		return w.next
	}
	go func() { w.code <- k.main(ctx, s.words(line)) }()
	t.Cleanup(func() { stop(nil) })
	return w
}

// round waits for the end of a round and gives what was said in it, and how long the pause would be.
func (w *watching) round() (said string, pause time.Duration) {
	w.t.Helper()
	select {
	case pause = <-w.pauses:
		return w.stdout.take() + w.stderr.take(), pause
	case code := <-w.code:
		w.t.Fatalf("it ended with %d: %s%s", code, w.stdout.take(), w.stderr.take())
	case <-time.After(patience):
		w.t.Fatalf("no round ended: %s%s", w.stdout.take(), w.stderr.take())
	}
	return "", 0
}

// again ends the pause, and waits for the next round.
func (w *watching) again() (said string, pause time.Duration) {
	w.t.Helper()
	select {
	case w.next <- time.Time{}:
	case <-time.After(patience):
		w.t.Fatal("it does not wait")
	}
	return w.round()
}

// end stops it by a signal and gives its exit code.
func (w *watching) end(s os.Signal) int {
	w.stop(stopSignal{s})
	return w.ended()
}

func (w *watching) ended() int {
	w.t.Helper()
	select {
	case code := <-w.code:
		return code
	case <-time.After(patience):
		w.t.Fatal("it does not end")
		return -1
	}
}

func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}
