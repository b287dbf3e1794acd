package storagetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// ErrInjected is wrapped by every failure that a test asked for, together with storage.ErrUnavailable.
var ErrInjected = errors.New("injected failure")

// ErrCrashed is what every call gives once the store "crashed" (Faults.CrashAtWrite).
var ErrCrashed = errors.New("injected crash: the process would be gone")

// Call is one call of a store's method.
type Call struct {
	N     int    // counts all calls, from 1
	Write int    // counts Create, Swap and Delete, from 1; 0 for the others
	Op    string // "open", "stat", "open-if-changed", "create", "restore", "swap", "delete", "list"
	Key   string // of List: the prefix
	Size  int64  // of the bytes to be written
}

// Faults is a store that counts its calls, fails where a test says so, and complains when an immutable object
// changes or one outside blobs/ is deleted. Set its fields before the first call.
type Faults struct {
	storage.Store
	// Before runs before a call reaches the store; its error is the call's, and the store is not asked. It may block.
	Before func(context.Context, Call) error
	// After runs when the store has done the call without an error; its error replaces the answer: the call failed,
	// but stored. It may block.
	After func(context.Context, Call) error
	// Mutable tells the keys that may be swapped; by default metadata/timestamp.json and whatever is below _kitchen/.
	Mutable func(key string) bool

	t       testing.TB
	mu      sync.Mutex // guards what follows
	calls   []Call
	writes  int
	fail    map[int]bool // by number of write: after it is stored?
	crashAt int
	crashed bool
	stored  bool
	content map[string][sha256.Size]byte
}

// NewFaults wraps a store; its complaints go to t.
func NewFaults(t testing.TB, inner storage.Store) *Faults {
	return &Faults{Store: inner, t: t, fail: map[int]bool{}, content: map[string][sha256.Size]byte{}}
}

// FailWrite lets the nth write (Create, Swap or Delete, from 1) fail: before anything is stored, or, with stored, after.
func (f *Faults) FailWrite(n int, stored bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[n] = stored
}

// CrashAtWrite lets the nth write and every later call fail, as if the process had died before that write reached
// the store or, with stored, right after.
func (f *Faults) CrashAtWrite(n int, stored bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt, f.stored = n, stored
}

// Calls gives all calls so far.
func (f *Faults) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Writes gives the number of writes so far.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Count gives the number of calls of one operation so far.
func (f *Faults) Count(op string) int {
	n := 0
	for _, c := range f.Calls() {
		if c.Op == op {
			n++
		}
	}
	return n
}

func (f *Faults) injected(c Call, err error) error {
	return &storage.Error{Op: c.Op, Key: c.Key, Store: f.URL(), Err: errors.Join(storage.ErrUnavailable, err)}
}

// enter counts a call and decides its fate: an error now, or an error once it is done.
func (f *Faults) enter(ctx context.Context, op, key string, size int64) (Call, error, error) {
	f.mu.Lock()
	c := Call{N: len(f.calls) + 1, Op: op, Key: key, Size: size}
	if op == "create" || op == "restore" || op == "swap" || op == "delete" {
		f.writes++
		c.Write = f.writes
	}
	f.calls = append(f.calls, c)
	var now, later error
	switch stored, listed := f.fail[c.Write]; {
	case f.crashed:
		now = f.injected(c, ErrCrashed)
	case c.Write > 0 && c.Write == f.crashAt:
		f.crashed = true
		if now = f.injected(c, ErrCrashed); f.stored {
			now, later = nil, now
		}
	case c.Write > 0 && listed:
		if now = f.injected(c, ErrInjected); stored {
			now, later = nil, now
		}
	}
	f.mu.Unlock()
	if now == nil && f.Before != nil {
		now = f.Before(ctx, c)
	}
	return c, now, later
}

func (f *Faults) leave(ctx context.Context, c Call, err, later error) error {
	if err != nil {
		return err
	}
	if f.After != nil {
		if err := f.After(ctx, c); err != nil {
			return err
		}
	}
	return later
}

func (f *Faults) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	return f.read(ctx, "open", key, func() (io.ReadCloser, storage.Info, error) { return f.Store.Open(ctx, key, offset, length) })
}

func (f *Faults) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, storage.Info, error) {
	return f.read(ctx, "open-if-changed", key, func() (io.ReadCloser, storage.Info, error) { return f.Store.OpenIfChanged(ctx, key, etag) })
}

func (f *Faults) read(ctx context.Context, op, key string, do func() (io.ReadCloser, storage.Info, error)) (io.ReadCloser, storage.Info, error) {
	c, err, later := f.enter(ctx, op, key, 0)
	if err != nil {
		return nil, storage.Info{}, err
	}
	body, info, err := do()
	if after := f.leave(ctx, c, err, later); after != nil {
		if body != nil {
			body.Close()
		}
		return nil, info, after
	}
	return body, info, nil
}

func (f *Faults) Stat(ctx context.Context, key string) (storage.Info, error) {
	c, err, later := f.enter(ctx, "stat", key, 0)
	if err != nil {
		return storage.Info{}, err
	}
	info, err := f.Store.Stat(ctx, key)
	return info, f.leave(ctx, c, err, later)
}

func (f *Faults) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	c, err, later := f.enter(ctx, "create", key, size)
	if err != nil {
		return err
	}
	if err = f.Store.Create(ctx, key, body, size, contentType, cacheControl); err == nil {
		f.remember(key, body, size)
	}
	return f.leave(ctx, c, err, later)
}

func (f *Faults) Restore(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	c, err, later := f.enter(ctx, "restore", key, size)
	if err != nil {
		return err
	}
	return f.leave(ctx, c, f.Store.Restore(ctx, key, body, size, contentType, cacheControl), later)
}

// remember complains when a create succeeded for content that is not what the object held before.
func (f *Faults) remember(key string, body io.ReaderAt, size int64) {
	if f.mutable(key) {
		return
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, size)); err != nil {
		f.t.Errorf("create %s: its body cannot be read again: %v", key, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := [sha256.Size]byte(h.Sum(nil))
	if was, ok := f.content[key]; ok && was != now {
		f.t.Errorf("the immutable object %s was created twice with different content", key)
	}
	f.content[key] = now
}

func (f *Faults) mutable(key string) bool {
	if f.Mutable != nil {
		return f.Mutable(key)
	}
	return key == "metadata/timestamp.json" || len(key) > 9 && key[:9] == "_kitchen/"
}

func (f *Faults) Swap(ctx context.Context, key, oldETag string, data []byte, contentType, cacheControl string) (string, error) {
	if !f.mutable(key) {
		f.t.Errorf("the immutable object %s is swapped", key)
	}
	c, err, later := f.enter(ctx, "swap", key, int64(len(data)))
	if err != nil {
		return "", err
	}
	etag, err := f.Store.Swap(ctx, key, oldETag, data, contentType, cacheControl)
	if err = f.leave(ctx, c, err, later); err != nil {
		return "", err
	}
	return etag, nil
}

func (f *Faults) Delete(ctx context.Context, key string) error {
	checkDelete(f.t, key)
	c, err, later := f.enter(ctx, "delete", key, 0)
	if err != nil {
		return err
	}
	return f.leave(ctx, c, f.Store.Delete(ctx, key), later)
}

// checkDelete complains about the removal of anything but the bytes of artifacts: all else is history or in use.
func checkDelete(t testing.TB, key string) {
	if !strings.HasPrefix(key, "blobs/") {
		t.Errorf("%s is deleted, which is outside blobs/", key)
	}
}

func (f *Faults) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		_, err, _ := f.enter(ctx, "list", prefix, 0)
		if err != nil {
			yield(storage.Info{}, err)
			return
		}
		f.Store.List(ctx, prefix, after)(yield)
	}
}
