package publisher_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// blobs are the digests that the store holds.
func (w *world) blobs(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	check(t, filepath.WalkDir(filepath.Join(w.dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[d.Name()] = true
		}
		return err
	}))
	return all
}

// orphan stores a blob that nothing names, and lets every blob and manifest be as old as age.
func (w *world) orphan(t *testing.T, content string, age time.Duration) string {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	sha := hex.EncodeToString(sum[:])
	check(t, w.store.Create(ctx, manifest.BlobObject(sha), strings.NewReader(content), int64(len(content)), "", ""))
	for _, dir := range []string{"blobs", "targets"} {
		check(t, filepath.WalkDir(filepath.Join(w.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				err = os.Chtimes(path, w.now.Add(-age), w.now.Add(-age))
			}
			return err
		}))
	}
	return sha
}

const month = 30 * 24 * time.Hour

func TestPruneRemovesWhatNothingReaches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	w.publish(t, "openstack@2.0.0")
	_, err := w.publisher(t, w.online).Yank(ctx, release("openstack@1.0.0"), "slow", signers(w.engineer))
	check(t, err)
	// A proposal without the online key: its blobs wait for the committer.
	_, err = w.publisher(t, nil).Publish(ctx, source(t, "openstack@3.0.0", nil), signers(w.engineer))
	check(t, err)
	needed := w.blobs(t)
	orphan := w.orphan(t, "left by an upload that came to nothing", month)

	told, err := w.publisher(t, nil).Prune(ctx, publisher.PruneRequest{})
	check(t, err)
	if len(told.Objects) != 1 || told.Objects[0].Key != manifest.BlobObject(orphan) || told.Deleted || told.Kept != len(needed) || told.Young != 0 {
		t.Errorf("told %+v", told)
	}
	if _, err := w.publisher(t, nil).Prune(ctx, publisher.PruneRequest{Delete: true}); err == nil {
		t.Error("pruned without the online key")
	} else {
		wantError[*publisher.NoOnlineKey](t, err)
	}
	if young, err := w.publisher(t, nil).Prune(ctx, publisher.PruneRequest{Grace: 2 * month}); err != nil || len(young.Objects) != 0 || young.Young != 1 || !young.From.Equal(w.now.Add(month)) {
		t.Errorf("within the grace period: %+v, %v", young, err)
	}
	done, err := w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true})
	check(t, err)
	if !done.Deleted || len(done.Objects) != 1 || done.Bytes != told.Bytes {
		t.Errorf("done %+v", done)
	}
	left := w.blobs(t)
	for sha := range needed {
		if !left[sha] {
			t.Errorf("%s is gone", sha)
		}
	}
	if left[orphan] {
		t.Error("the orphan is there still")
	}
	if again, err := w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true}); err != nil || len(again.Objects) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	_, err = w.publisher(t, w.online).Commit(ctx)
	check(t, err)
	w.wantStage(t, "openstack@3.0.0", "published")
}

func TestPruneStopsAtAManifestThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	orphan := w.orphan(t, "an orphan", month)
	info, err := w.view(t).Release(release("openstack@1.0.0"))
	check(t, err)
	file := filepath.Join(w.dir, filepath.FromSlash(manifest.TargetObject(manifest.TargetPath(manifest.StageCatalog, info.Release), info.SHA256)))
	for _, damage := range []func() error{func() error { return os.WriteFile(file, []byte("garbage"), 0o644) }, func() error { return os.Remove(file) }} {
		check(t, damage())
		if _, err := w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true}); err == nil || !strings.Contains(err.Error(), "nothing is pruned") {
			t.Errorf("error %v", err)
		}
		if !w.blobs(t)[orphan] {
			t.Error("something was deleted")
		}
	}
}

// meddlingStore does something before it deletes for the first time.
type meddlingStore struct {
	storage.Store
	before func() error
}

func (s *meddlingStore) Delete(ctx context.Context, key string) error {
	if s.before != nil {
		before := s.before
		s.before = nil
		if err := before(); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, key)
}

// TestAPublicationThatSharesWhatIsBeingPruned: whoever commits a release that needs a blob which a prune is about to
// delete is refused, and succeeds afterwards.
func TestAPublicationThatSharesWhatIsBeingPruned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", nil)
	// The blobs of a publication that never became a proposal.
	p := w.publisher(t, w.online)
	other := w.copy(t)
	_, err := other.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	check(t, os.CopyFS(filepath.Join(w.dir, "blobs"), os.DirFS(filepath.Join(other.dir, "blobs"))))
	w.orphan(t, "and an orphan", month)

	killed := errors.New("killed here")
	pruner := w.publisher(t, w.online)
	pruner.Store = &meddlingStore{Store: w.store, before: func() error {
		_, err := p.Publish(ctx, dir, signers(w.engineer))
		if err == nil {
			t.Error("a release was committed whose blobs are about to go")
		} else if !strings.Contains(err.Error(), "being pruned") || !strings.Contains(err.Error(), "kitchen prune --yes --take-over") {
			t.Errorf("error %v", err)
		}
		return killed
	}}
	if _, err := pruner.Prune(ctx, publisher.PruneRequest{Delete: true}); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	_, err = w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)) // the list of the killed one stands
	if err == nil {
		t.Error("committed in the middle of a prune")
	}
	if _, err = w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true}); err == nil {
		t.Error("took over what may be under way")
	} else {
		wantError[*publisher.Pruning](t, err, "under way")
	}
	_, err = w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true, TakeOver: true})
	check(t, err)
	_, err = w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	w.wantStage(t, "openstack@1.0.0", "published")
}

// leftByAnUpload stores the blobs of a publication that never became a proposal, long ago.
func (w *world) leftByAnUpload(t *testing.T, dir string) {
	t.Helper()
	other := w.copy(t)
	_, err := other.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	check(t, os.CopyFS(filepath.Join(w.dir, "blobs"), os.DirFS(filepath.Join(other.dir, "blobs"))))
	w.orphan(t, "and an orphan", month)
}

// swappingStore does something before the first swap of the timestamp.
type swappingStore struct {
	storage.Store
	before func()
}

func (s *swappingStore) Swap(ctx context.Context, key, etag string, data []byte, contentType, cacheControl string) (string, error) {
	if s.before != nil && key == manifest.TimestampObject {
		before := s.before
		s.before = nil
		before()
	}
	return s.Store.Swap(ctx, key, etag, data, contentType, cacheControl)
}

// creatingStore does something before the first manifest is stored.
type creatingStore struct {
	storage.Store
	before func()
}

func (s *creatingStore) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	if s.before != nil && strings.HasPrefix(key, "targets/catalog/") {
		before := s.before
		s.before = nil
		before()
	}
	return s.Store.Create(ctx, key, body, size, contentType, cacheControl)
}

// TestAWholePruneBetweenUploadAndCommit: what a publication found in the store is looked for again before its commit.
func TestAWholePruneBetweenUploadAndCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", nil)
	w.leftByAnUpload(t, dir)
	store := &creatingStore{Store: w.store, before: func() {
		_, err := w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true})
		check(t, err)
	}}
	if _, err := w.over(t, store, w.online).Publish(ctx, dir, signers(w.engineer)); err == nil || !strings.Contains(err.Error(), "not in the store whole") {
		t.Errorf("error %v", err)
	}
	w.wantStage(t, "openstack@1.0.0", "")
	_, err := w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	w.wantStage(t, "openstack@1.0.0", "published")
}

// TestAPruneThatWasTakenOverDeletesNothingMore: what was published meanwhile stays.
func TestAPruneThatWasTakenOverDeletesNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", nil)
	w.leftByAnUpload(t, dir)
	pruner := w.publisher(t, w.online)
	pruner.Store = &swappingStore{Store: w.store, before: func() { // in the fence, its list being written
		_, err := w.publisher(t, w.online).Prune(ctx, publisher.PruneRequest{Delete: true, TakeOver: true})
		check(t, err)
		_, err = w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer))
		check(t, err)
	}}
	_, err := pruner.Prune(ctx, publisher.PruneRequest{Delete: true})
	if err == nil {
		// Everything on its list is reached by now: nothing was left to delete.
		t.Log("it had nothing to delete any more")
	}
	w.wantStage(t, "openstack@1.0.0", "published")
	left := w.blobs(t)
	for _, o := range w.manifestOf(t, "openstack@1.0.0").Objects() {
		if !left[o.SHA256] {
			t.Errorf("%s of a published release is gone", o.SHA256)
		}
	}
}
