package fetcher

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Fetches into one directory make and sweep staging directories at the same time: none takes away another's.
func TestStagingIsNeverSweptBeforeItIsLocked(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "got")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 60 {
				s, err := newStaging(target, target, "digest")
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.mkdirs("puppet/modules"); err != nil {
					t.Errorf("swept while in use: %v", err)
				}
				s.discard()
			}
		})
	}
	group.Wait()
}

// TestWhatIsBeingRemovedIsNotTakenOver: a fetch that ends and one of the same release that begins meet at the staging
// directory of the first.
func TestWhatIsBeingRemovedIsNotTakenOver(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "got")
	ending, err := newStaging(target, target, "digest")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 { // removing them takes a while
		if err := os.WriteFile(filepath.Join(ending.dir, stagedRelease, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, done := ending.dir, make(chan struct{})
	go func() {
		defer close(done)
		ending.discard()
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		s, err := newStaging(target, target, "digest")
		if err != nil {
			t.Fatal(err)
		}
		if s.dir == dir {
			t.Error("taken over while it was removed")
			<-done
			return
		}
		s.discard()
	}
}
