package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

func TestRefreshFromNothing(t *testing.T) {
	w := published(t)
	w.Validate("openstack@1.0.0")
	v := refresh(t, w, filepath.Join(t.TempDir(), "not", "there", "yet"))
	wantStage(t, v, "1.0.0", "validated")
	w.Certify("openstack@1.0.0")
	v = w.View()
	wantStage(t, v, "1.0.0", "ready-to-deploy")
	if got := v.Products(); !slices.Equal(got, []string{"openstack"}) {
		t.Fatalf("products: %q", got)
	}
	if v.TimestampETag() == "" || v.Timestamp().Version != w.TimestampNo || string(v.RawTimestamp()) != string(w.TimestampFile) ||
		string(v.RawSnapshot()) != string(w.SnapshotFile) || string(v.RawRole("targets")) != string(w.Files["targets"]) {
		t.Fatal("the view is not of the timestamp and snapshot written last")
	}
	if v.Age() != 0 || v.ClockBehind() || v.Offline() || len(v.Broken()) != 0 {
		t.Fatalf("age %s, behind %v, broken %v", v.Age(), v.ClockBehind(), v.Broken())
	}
	m, data, err := v.Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	info, err := v.Release(release("openstack@1.0.0"))
	check(t, err)
	if m.Summary == "" || catalogtest.Digest(data) != info.SHA256 || int64(len(data)) != info.Length || info.Seq != 1 {
		t.Fatalf("manifest %+v of %+v", m, info)
	}
}

func TestNothingChangedTakesTwoRequests(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	before := files(t, dir)
	want := []string{"open metadata/2.root.json", "open-if-changed metadata/timestamp.json"}
	if got := requests(t, w, dir); !slices.Equal(got, want) {
		t.Fatalf("requests: %q", got)
	}
	if !slices.Equal(files(t, dir), before) {
		t.Fatalf("files: %q", files(t, dir))
	}
}

func TestOnlyWhatChangedIsRead(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	w.Validate("openstack@1.0.0")
	want := []string{"open metadata/2.root.json", "open-if-changed metadata/timestamp.json",
		"open " + manifest.SnapshotObject(w.SnapshotNo), "open metadata/1.validated.openstack.json"}
	if got := requests(t, w, dir); !slices.Equal(got, want) {
		t.Fatalf("requests: %q", got)
	}
}

func TestExpiryIsCheckedWhenNothingChanged(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	w.Now = w.Now.Add(catalogtest.TimestampLife)
	_, err := w.Open(dir).Refresh(ctx)
	wantKind(t, err, trust.Expired)
	w.CommitTimestamp() // a new one under the old snapshot
	refresh(t, w, dir)
	w.Now = w.Now.Add(catalogtest.SnapshotLife - catalogtest.TimestampLife)
	w.CommitTimestamp()
	_, err = w.Open(dir).Refresh(ctx)
	wantKind(t, err, trust.Expired)
}

func TestRootChain(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	for range 3 { // away for three rotations
		w.RotateOnline()
	}
	w.CommitOnline()
	v := refresh(t, w, dir)
	if v.Root().Version != 4 {
		t.Fatalf("root %d", v.Root().Version)
	}
	if got := requests(t, w, dir); len(got) != 2 || got[0] != "open metadata/5.root.json" {
		t.Fatalf("requests: %q", got)
	}
	check(t, os.WriteFile(filepath.Join(dir, "root", "3.root.json"), []byte("{}"), 0o644))
	refresh(t, w, dir) // heals in the middle of the chain
	if got := requests(t, w, dir); len(got) != 2 {
		t.Fatalf("requests: %q", got)
	}
}

func TestForbiddenEndsTheRootWalkOnlyThere(t *testing.T) {
	w := published(t)
	for key, fails := range map[string]bool{"metadata/2.root.json": false, manifest.SnapshotObject(w.SnapshotNo): true, "metadata/timestamp.json": true} {
		faults := storagetest.NewFaults(t, w.Store)
		faults.Before = func(_ context.Context, c storagetest.Call) error {
			if c.Key == key {
				return &storage.Error{Op: c.Op, Key: c.Key, Err: storage.ErrForbidden}
			}
			return nil
		}
		o := w.Options(t.TempDir())
		o.Store = faults
		c, err := catalog.Open(ctx, o)
		check(t, err)
		if _, err = c.Refresh(ctx); fails != errors.Is(err, storage.ErrForbidden) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestStoreAway(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	w.Validate("openstack@1.0.0")
	want := len(requests(t, w, t.TempDir()))
	for n := 1; n <= want; n++ {
		broken := t.TempDir()
		faults := storagetest.NewFaults(t, w.Store)
		faults.Before = func(_ context.Context, c storagetest.Call) error {
			if c.N >= n {
				return &storage.Error{Op: c.Op, Key: c.Key, Err: storage.ErrUnavailable}
			}
			return nil
		}
		o := w.Options(broken)
		o.Store = faults
		c, err := catalog.Open(ctx, o)
		check(t, err)
		if _, err := c.Refresh(ctx); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("away from request %d on: %v", n, err)
		}
		wantStage(t, refresh(t, w, broken), "1.0.0", "validated") // goes on from wherever it stopped
	}
}

func TestCancelled(t *testing.T) {
	w := published(t)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.Open(t.TempDir()).Refresh(gone); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestTwoProcessesTakeTurns(t *testing.T) {
	w, dir := published(t), t.TempDir()
	inside, release := make(chan struct{}), make(chan struct{})
	faults := storagetest.NewFaults(t, w.Store)
	var once sync.Once
	faults.Before = func(context.Context, storagetest.Call) error {
		once.Do(func() { close(inside); <-release })
		return nil
	}
	o := w.Options(dir)
	o.Store = faults
	slow, err := catalog.Open(ctx, o)
	check(t, err)
	done := make(chan error)
	go func() {
		_, err := slow.Refresh(ctx)
		done <- err
	}()
	<-inside
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := w.Open(dir).Refresh(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the lock does not hold: %v", err)
	}
	close(release)
	check(t, <-done)
	refresh(t, w, dir)
}

func TestManyRefreshersOfOneDirectory(t *testing.T) {
	w, dir := published(t), t.TempDir()
	var group sync.WaitGroup
	for range 8 {
		c := w.Open(dir)
		group.Go(func() {
			if _, err := c.Refresh(ctx); err != nil {
				t.Error(err)
			}
			if _, err := c.Offline(nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestAnotherStoreGetsNoForeignETag(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	copied := t.TempDir()
	check(t, os.CopyFS(copied, os.DirFS(bucketPath(w, ""))))
	store, err := storage.Open(ctx, "file://"+copied, storage.Options{})
	check(t, err)
	faults := storagetest.NewFaults(t, store)
	o := w.Options(dir)
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	if v.TimestampETag() == "" || v.Timestamp().Version != w.TimestampNo {
		t.Fatal("the copy was not read")
	}
}
