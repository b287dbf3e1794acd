package fetcher

import (
	"path/filepath"
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
