package storage_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// TestDirectoryDeleteEmptiesDirectories: the directories go with their last object, under the hands of those who
// put new ones there, and none of those is lost.
func TestDirectoryDeleteEmptiesDirectories(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	again := func() storage.Store { return openURL(t, "file://"+root, storage.Options{}) }
	storagetest.EmptyingRace(t, again)
	if left, _ := filepath.Glob(filepath.Join(root, "blobs*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	for range 50 { // the same key: its writer loses the object, or the directory, at any moment
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := again().Delete(t.Context(), "blobs/x/y"); err != nil {
				t.Error(err)
			}
		})
		for range 2 {
			wg.Go(func() {
				if err := put(t.Context(), again(), "blobs/x/y", "the one content"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("the store's own directory: %v", err)
	}
}

// TestS3CreateWhileADirectoryIsEmptied: a file-backed server says for a moment that a part of the name is an object.
func TestS3CreateWhileADirectoryIsEmptied(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.Answer, Method: http.MethodPut, Status: http.StatusConflict,
		Body: `<Error><Code>ObjectParentIsFile</Code><Message>a part of the name is an object</Message></Error>`})
	s := server.Open(t, server.Bucket(t), "", storage.Options{RoundTripper: faults.Wrap})
	if err := put(t.Context(), s, "blobs/x/y", "x"); err != nil {
		t.Error(err)
	}
	if n := strings.Count(strings.Join(faults.Requests(), "\n"), "PUT "); n != 2 {
		t.Errorf("%d PUTs, want 2", n)
	}
}
