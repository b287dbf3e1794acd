package storage

import (
	"context"
	"io"
	"sync"
	"time"
)

// Limited is a store whose bodies are read at bytesPerSecond, all of them together, however many are open: in any time
// t since one of them was opened, no more than that rate times t is delivered. What the rate allows and nobody takes
// is not saved up. A reader that waits for its turn is not waiting for the server, so no silence is held against that.
// A rate of 0 or less is no limit. now is the clock; writing and the few bytes of Stat and List are not slowed.
func Limited(s Store, bytesPerSecond int64, now func() time.Time) Store {
	if bytesPerSecond <= 0 {
		return s
	}
	return &limitedStore{Store: s, rate: &rate{perSecond: bytesPerSecond, now: now}}
}

type limitedStore struct {
	Store
	rate *rate
}

func (s *limitedStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error) {
	body, info, err := s.Store.Open(ctx, key, offset, length)
	return s.slowed(ctx, key, body, err), info, err
}

func (s *limitedStore) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, Info, error) {
	body, info, err := s.Store.OpenIfChanged(ctx, key, etag)
	return s.slowed(ctx, key, body, err), info, err
}

func (s *limitedStore) slowed(ctx context.Context, key string, body io.ReadCloser, err error) io.ReadCloser {
	if err != nil {
		return nil
	}
	return &limitedBody{ReadCloser: body, ctx: ctx, store: s, key: key}
}

// rate hands out time: who has read n bytes waits until the moment up to which they, and all read before, are paid.
type rate struct {
	perSecond int64
	now       func() time.Time
	mu        sync.Mutex // guards paid
	paid      time.Time
}

// piece is the most that is read at once, a tenth of a second's worth.
func (r *rate) piece() int { return int(min(max(r.perSecond/10, 1), 64<<10)) }

func (r *rate) take(ctx context.Context, n int) error {
	r.mu.Lock()
	now := r.now()
	if r.paid.Before(now) {
		r.paid = now
	}
	r.paid = r.paid.Add(time.Duration(float64(n) / float64(r.perSecond) * float64(time.Second)))
	wait := r.paid.Sub(now)
	r.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type limitedBody struct {
	io.ReadCloser
	ctx   context.Context
	store *limitedStore
	key   string
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.store.rate.piece())])
	if n > 0 {
		if err := b.store.rate.take(b.ctx, n); err != nil {
			return 0, &Error{Op: "read", Key: b.key, Store: b.store.URL(), Err: err}
		}
	}
	return n, err
}
