package storagetest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/enovance/kitchen/internal/storage"
)

// Side says on which side of a call its process is stopped.
type Side string

// The sides of a call.
const (
	Before Side = "before" // nothing of it reached the store
	Within Side = "within" // half of the body that it reads or stores went over
	After  Side = "after"  // the store did it, and the caller does not know yet
)

// Sides are all sides.
var Sides = []Side{Before, Within, After}

// Place is where a process stops itself: at the nth call of its store, as a signal from outside would.
type Place struct {
	N      int // from 1; 0 is nowhere
	Side   Side
	Signal syscall.Signal
}

// String is the form that ParsePlace reads: "before 12 9".
func (p Place) String() string { return fmt.Sprintf("%s %d %d", p.Side, p.N, int(p.Signal)) }

// ParsePlace reads a place as one process tells it to another.
func ParsePlace(s string) (p Place, err error) {
	_, err = fmt.Sscanf(s, "%s %d %d", &p.Side, &p.N, &p.Signal)
	return p, err
}

// HasWithin tells whether a call has a middle: a body that comes, or goes.
func (c Call) HasWithin() bool {
	return c.Op == "create" || c.Op == "open" && strings.HasPrefix(c.Key, "blobs/")
}

// Stopping is a store whose process sends itself p.Signal at p. SIGKILL ends it there and then; after any other
// signal the call goes on once its context has ended. heard, which may be nil, is told of every call, before and after.
func Stopping(inner storage.Store, p Place, heard func(Call, Side)) storage.Store {
	return &stopping{Store: inner, place: p, heard: heard}
}

type stopping struct {
	storage.Store
	place Place
	heard func(Call, Side)
	calls atomic.Int64
}

// enter counts a call.
func (s *stopping) enter(ctx context.Context, op, key string, size int64) Call {
	c := Call{N: int(s.calls.Add(1)), Op: op, Key: key, Size: size}
	s.at(ctx, c, Before)
	return c
}

// at stops the process if this is the place.
func (s *stopping) at(ctx context.Context, c Call, side Side) {
	if s.heard != nil {
		s.heard(c, side)
	}
	if c.N != s.place.N || side != s.place.Side {
		return
	}
	if err := syscall.Kill(os.Getpid(), s.place.Signal); err != nil || s.place.Signal == syscall.SIGKILL {
		select {} // gone, or else the test hangs rather than passes
	}
	<-ctx.Done()
}

func (s *stopping) within(c Call) bool { return c.N == s.place.N && s.place.Side == Within }

func (s *stopping) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	c := s.enter(ctx, "open", key, 0)
	body, info, err := s.Store.Open(ctx, key, offset, length)
	s.at(ctx, c, After)
	if err == nil && s.within(c) {
		body = &halfBody{ReadCloser: body, left: info.Size / 2, stop: func() { s.at(ctx, c, Within) }}
	}
	return body, info, err
}

func (s *stopping) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, storage.Info, error) {
	c := s.enter(ctx, "open-if-changed", key, 0)
	body, info, err := s.Store.OpenIfChanged(ctx, key, etag)
	s.at(ctx, c, After)
	return body, info, err
}

func (s *stopping) Stat(ctx context.Context, key string) (storage.Info, error) {
	c := s.enter(ctx, "stat", key, 0)
	info, err := s.Store.Stat(ctx, key)
	s.at(ctx, c, After)
	return info, err
}

func (s *stopping) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	c := s.enter(ctx, "create", key, size)
	if s.within(c) {
		body = halfReaderAt{ReaderAt: body, half: size / 2, stop: func() { s.at(ctx, c, Within) }}
	}
	err := s.Store.Create(ctx, key, body, size, contentType, cacheControl)
	s.at(ctx, c, After)
	return err
}

func (s *stopping) Restore(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	c := s.enter(ctx, "restore", key, size)
	err := s.Store.Restore(ctx, key, body, size, contentType, cacheControl)
	s.at(ctx, c, After)
	return err
}

func (s *stopping) Swap(ctx context.Context, key, oldETag string, data []byte, contentType, cacheControl string) (string, error) {
	c := s.enter(ctx, "swap", key, int64(len(data)))
	etag, err := s.Store.Swap(ctx, key, oldETag, data, contentType, cacheControl)
	s.at(ctx, c, After)
	return etag, err
}

func (s *stopping) Delete(ctx context.Context, key string) error {
	c := s.enter(ctx, "delete", key, 0)
	err := s.Store.Delete(ctx, key)
	s.at(ctx, c, After)
	return err
}

func (s *stopping) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		c := s.enter(ctx, "list", prefix, 0)
		s.Store.List(ctx, prefix, after)(yield)
		s.at(ctx, c, After)
	}
}

// halfBody stops once so much was read.
type halfBody struct {
	io.ReadCloser
	left int64
	stop func()
}

func (b *halfBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.stop()
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// halfReaderAt stops at the first read that goes beyond the half.
type halfReaderAt struct {
	io.ReaderAt
	half int64
	stop func()
}

func (r halfReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.half {
		r.stop()
	}
	return r.ReaderAt.ReadAt(p, off)
}
