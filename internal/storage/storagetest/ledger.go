package storagetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// Ledger remembers what every immutable object held, whoever stored or read it and over whichever way to the store,
// and complains when somebody is shown other bytes under the same name, or deletes anything outside blobs/.
type Ledger struct {
	t       testing.TB
	mu      sync.Mutex // guards what follows
	content map[string][sha256.Size]byte
	swap    chan struct{}
}

// NewLedger makes one; its complaints go to t.
func NewLedger(t testing.TB) *Ledger {
	return &Ledger{t: t, content: map[string][sha256.Size]byte{}, swap: make(chan struct{})}
}

// Watch is a way to a store of which the ledger sees everything.
func (l *Ledger) Watch(inner storage.Store) *Watched {
	return &Watched{Store: inner, ledger: l, calls: map[string]int{}}
}

// NextSwap is closed when the next swap begins or ends, of whichever object.
func (l *Ledger) NextSwap() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.swap
}

func (l *Ledger) swaps() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.swap)
	l.swap = make(chan struct{})
}

func (l *Ledger) saw(key string, sum [sha256.Size]byte) {
	if key == "metadata/timestamp.json" || strings.HasPrefix(key, "_kitchen/") {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.content[key]; ok && was != sum {
		l.t.Errorf("the immutable object %s was seen with two contents", key)
	}
	l.content[key] = sum
}

// Watched is a store whose calls are counted, and whose contents a Ledger compares.
type Watched struct {
	storage.Store
	ledger *Ledger
	mu     sync.Mutex // guards what follows
	calls  map[string]int
	bytes  int64
}

// Bytes gives the number of bytes that were read so far, but for those of OpenIfChanged.
func (w *Watched) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

func (w *Watched) read(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += int64(n)
}

// Count gives the number of calls of one operation so far ("" is all): "open", "stat", "open-if-changed", "create",
// "swap", "delete", "list"; "conflict" are the swaps that another writer won, and are not among "".
func (w *Watched) Count(op string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if op != "" {
		return w.calls[op]
	}
	all := -w.calls["conflict"]
	for _, n := range w.calls {
		all += n
	}
	return all
}

func (w *Watched) count(op string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[op]++
}

func (w *Watched) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	w.count("open")
	body, info, err := w.Store.Open(ctx, key, offset, length)
	if err == nil {
		whole := func(sum [sha256.Size]byte) {
			if offset == 0 && length < 0 {
				w.ledger.saw(key, sum)
			}
		}
		body = &hashedBody{ReadCloser: body, sum: sha256.New(), read: w.read, whole: whole}
	}
	return body, info, err
}

func (w *Watched) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, storage.Info, error) {
	w.count("open-if-changed")
	return w.Store.OpenIfChanged(ctx, key, etag)
}

func (w *Watched) Stat(ctx context.Context, key string) (storage.Info, error) {
	w.count("stat")
	return w.Store.Stat(ctx, key)
}

func (w *Watched) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	w.count("create")
	err := w.Store.Create(ctx, key, body, size, contentType, cacheControl)
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(body, 0, size)); err != nil {
		w.ledger.t.Errorf("create %s: its body cannot be read again: %v", key, err)
	}
	w.ledger.saw(key, [sha256.Size]byte(sum.Sum(nil)))
	return nil
}

func (w *Watched) Restore(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	w.count("restore")
	return w.Store.Restore(ctx, key, body, size, contentType, cacheControl)
}

func (w *Watched) Swap(ctx context.Context, key, oldETag string, data []byte, contentType, cacheControl string) (string, error) {
	w.count("swap")
	w.ledger.swaps()
	defer w.ledger.swaps()
	etag, err := w.Store.Swap(ctx, key, oldETag, data, contentType, cacheControl)
	if errors.Is(err, storage.ErrConflict) {
		w.count("conflict")
	}
	return etag, err
}

func (w *Watched) Delete(ctx context.Context, key string) error {
	w.count("delete")
	checkDelete(w.ledger.t, key)
	return w.Store.Delete(ctx, key)
}

func (w *Watched) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	w.count("list")
	return w.Store.List(ctx, prefix, after)
}

// hashedBody tells what is read of a body, and the digest of one that was read to its end.
type hashedBody struct {
	io.ReadCloser
	sum   hash.Hash
	read  func(int)
	whole func([sha256.Size]byte)
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n])
	b.read(n)
	if err == io.EOF {
		b.whole([sha256.Size]byte(b.sum.Sum(nil)))
	}
	return n, err
}
