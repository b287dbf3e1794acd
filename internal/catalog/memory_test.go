package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
)

// TestLeftoversOfKilledWritersAreSwept, by the next refresh, wherever they lie; nothing else that anybody put there is.
func TestLeftoversOfKilledWritersAreSwept(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	dir, elsewhere := copyOf(t, l.dir), t.TempDir()
	check(t, removeAll(dir, "registry"))
	check(t, os.Symlink(elsewhere, filepath.Join(dir, "registry")))
	check(t, os.MkdirAll(filepath.Join(dir, "site", "spool"), 0o755))
	gone := []string{"_tmp-1", "root/_tmp-22", "roles/_tmp-333", "manifests/_tmp-4"}
	kept := []string{"site/_tmp-5", "site/spool/_tmp-6", "notes.txt", "roles/_tmpnotes", "registry/_tmp-7"}
	for _, name := range append(gone, kept...) {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o644))
	}
	check(t, os.Mkdir(filepath.Join(dir, "_tmp-directory"), 0o755))
	check(t, second(l.w.Open(dir).Offline(nil)))
	if _, err := os.Stat(filepath.Join(dir, gone[0])); err != nil {
		t.Fatal("an offline view writes nothing, and sweeps nothing")
	}
	refresh(t, l.w, dir)
	for _, name := range gone {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range append(kept, "_tmp-directory") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is gone", name)
		}
	}
}

// TestSweepingWhileAViewWrites: a view writes manifests without the lock; a refresh that sweeps at that very moment costs
// it another try and no more.
func TestSweepingWhileAViewWrites(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	v := refresh(t, l.w, l.dir)
	info, err := v.Release(release("openstack@1.0.0"))
	check(t, err)
	manifests := filepath.Join(l.dir, "manifests")
	var sweeps atomic.Int32 // how many more unfinished files may be taken from the write under way
	done, swept := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				swept <- n
				return
			default:
			}
			entries, _ := os.ReadDir(manifests)
			for _, entry := range entries {
				if strings.HasPrefix(entry.Name(), durable.TempPrefix) && sweeps.Add(-1) >= 0 && os.Remove(filepath.Join(manifests, entry.Name())) == nil {
					n++
				}
			}
		}
	}()
	for range 200 {
		check(t, os.Remove(filepath.Join(manifests, info.SHA256+".toml")))
		sweeps.Store(2)
		if err := third(v.Manifest(ctx, info.Release)); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	t.Logf("%d unfinished files were swept", <-swept)
}

// unavailable opens the catalog at a store that is out of reach for some calls.
func unavailable(t *testing.T, w *catalogtest.World, dir string, when func(storagetest.Call) bool) *catalog.Catalog {
	t.Helper()
	faults := storagetest.NewFaults(t, w.Store)
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if when(c) {
			return &storage.Error{Op: c.Op, Key: c.Key, Err: storage.ErrUnavailable}
		}
		return nil
	}
	o := w.Options(dir)
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	return c
}

// TestLostMemoryIsSaid: with both copies gone an offline view refuses, also after a refresh that was interrupted, and
// the next refresh that ends says so, once.
func TestLostMemoryIsSaid(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	for _, lost := range [][]string{{}, {"timestamp.json"}, {"pin.json"}} {
		dir := copyOf(t, l.dir)
		check(t, removeAll(dir, append(lost, "memory.a.json", "memory.b.json", "roles/product.openstack.json")...))
		l.wantForgetful(t, dir)
		half := unavailable(t, l.w, dir, func(c storagetest.Call) bool { return strings.HasSuffix(c.Key, ".product.openstack.json") })
		if err := second(half.Refresh(ctx)); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
		l.wantForgetful(t, dir)
		for _, want := range []bool{true, false} {
			if v := refresh(t, l.w, dir); v.MemoryLost() != want {
				t.Fatalf("without %q: memory lost is %v, want %v", lost, v.MemoryLost(), want)
			}
			check(t, second(l.w.Open(dir).Offline(nil)))
		}
	}
}

func (l *lived) wantForgetful(t *testing.T, dir string) {
	t.Helper()
	var missing *catalog.NotRefreshed
	if err := second(l.w.Open(dir).Offline(nil)); !errors.As(err, &missing) || kindOf(err) != trust.Missing || missing.Hint() == "" {
		t.Fatalf("offline without a memory: %v", err)
	}
}

// TestANewHostHasNoMemoryToLose, wherever its first refresh was interrupted.
func TestANewHostHasNoMemoryToLose(t *testing.T) {
	t.Parallel()
	w, half := certified(t), t.TempDir()
	for n := 1; ; n++ {
		dir := copyOf(t, half)
		for range 2 {
			if v := refresh(t, w, dir); v.MemoryLost() {
				t.Fatalf("after a first refresh that was interrupted at request %d memory is lost", n)
			}
		}
		c := unavailable(t, w, half, func(c storagetest.Call) bool { return c.N >= n })
		if err := second(c.Refresh(ctx)); err == nil {
			break
		}
	}
}
