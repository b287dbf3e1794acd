package publisher

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestAPipeInPlaceOfTheLockOfTheCache: it is locked as a file is, and nobody waits for its other end.
func TestAPipeInPlaceOfTheLockOfTheCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "lock"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *cache, 1)
	go func() { opened <- openCache(dir) }()
	select {
	case c := <-opened:
		if c == nil {
			t.Fatal("it was not opened")
		}
		defer c.lock.Close()
		if other := openCache(dir); other != nil {
			t.Error("two publications use it at once")
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}
