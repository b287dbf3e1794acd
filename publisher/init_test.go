package publisher_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// empty is people and no catalog.
func empty(t *testing.T) *world {
	t.Helper()
	return people(t, filepath.Join(t.TempDir(), "bucket"))
}

func (w *world) initialize(store storage.Store) error {
	_, err := publisher.Initialize(ctx, store, w.now, w.init(), w.online)
	return err
}

func TestInitializeMakesACatalogThatAFreshReaderAccepts(t *testing.T) {
	w := empty(t)
	result, err := publisher.Initialize(ctx, w.store, w.now, w.init(), w.online)
	check(t, err)
	if string(result.RootBytes) != string(w.object(t, "metadata/1.root.json")) || result.Fingerprint != catalog.Fingerprint(result.RootBytes) || result.Resumed {
		t.Errorf("the result is not the root that is stored: %q, resumed %t", result.Fingerprint, result.Resumed)
	}
	w.fingerprint = result.Fingerprint
	v := w.view(t)
	root := v.Root()
	for role, need := range map[string]int{trust.RoleRoot: 2, trust.RoleTargets: 2, trust.RoleSnapshot: 1, trust.RoleTimestamp: 1} {
		if got := root.Roles[role].Threshold; got != need {
			t.Errorf("threshold of %s is %d, want %d", role, got, need)
		}
	}
	if life := root.Expires.Sub(w.now); life != 365*catalogtest.Day {
		t.Errorf("the root lives for %s", life)
	}
	vendor, err := v.Vendor(ctx)
	check(t, err)
	if vendor.Customer != "enovance" || vendor.Name != "eNovance" || !vendor.Subscribes("anything") {
		t.Errorf("the vendor's entry is %+v", vendor)
	}
	for _, role := range []string{manifest.RoleRegistry, manifest.RolePolicy, manifest.RoleJournal} {
		if _, ok := v.Authority(role); !ok {
			t.Errorf("nobody is trusted for %s", role)
		}
	}
}

func TestInitializeRefusesAnExistingCatalog(t *testing.T) {
	w := newWorld(t)
	err := w.refused(t, func() error { return w.initialize(w.store) })
	wantError[*publisher.AlreadyInitialized](t, err, w.store.URL())
}

func TestInitializeRefusesTheUnfinishedCatalogOfOthers(t *testing.T) {
	w, others := empty(t), empty(t)
	faults := storagetest.NewFaults(t, w.store)
	faults.CrashAtWrite(7, true) // six probes, then the root
	if err := others.initialize(faults); !errors.Is(err, storagetest.ErrCrashed) {
		t.Fatal(err)
	}
	before := w.object(t, "metadata/1.root.json")
	if e := wantError[*publisher.AlreadyInitialized](t, w.initialize(w.store)); !e.Other {
		t.Errorf("does not say that the root is of other keys: %v", e)
	}
	if string(before) != string(w.object(t, "metadata/1.root.json")) || exists(filepath.Join(w.dir, manifest.TimestampObject)) {
		t.Error("the others' beginning was changed")
	}
	check(t, others.initialize(w.store))
}

// overwriting is a store without conditional writes, as some S3 servers are.
type overwriting struct {
	storage.Store
	dir           string
	create, swaps bool // which of the two ignores its condition
}

func (o overwriting) Create(ctx context.Context, key string, body io.ReaderAt, size int64, ct, cc string) error {
	err := o.Store.Create(ctx, key, body, size, ct, cc)
	if !o.create || !errors.Is(err, storage.ErrExists) {
		return err
	}
	data := make([]byte, size)
	if _, err := body.ReadAt(data, 0); err != nil && err != io.EOF {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, filepath.FromSlash(key)), data, 0o644)
}

func (o overwriting) Swap(ctx context.Context, key, etag string, data []byte, ct, cc string) (string, error) {
	if o.swaps {
		etag = ""
		if info, err := o.Stat(ctx, key); err == nil {
			etag = info.ETag
		}
	}
	return o.Store.Swap(ctx, key, etag, data, ct, cc)
}

func TestInitializeRefusesAStoreWithoutConditionalWrites(t *testing.T) {
	for name, store := range map[string]overwriting{"create overwrites": {create: true}, "swap ignores the tag": {swaps: true}} {
		t.Run(name, func(t *testing.T) {
			w := empty(t)
			store.Store, store.dir = w.store, w.dir
			wantError[*storage.ConditionError](t, w.initialize(store), "conditional writes")
			for _, key := range w.objects(t) {
				if !strings.HasPrefix(key, "_kitchen/") {
					t.Errorf("left behind: %s", key)
				}
			}
		})
	}
}

func TestCrashAtEveryWriteOfAnInitialization(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		for n := 1; ; n++ {
			w := empty(t)
			faults := storagetest.NewFaults(t, w.store)
			faults.CrashAtWrite(n, stored)
			err := w.initialize(faults)
			if faults.Writes() < n {
				check(t, err)
				if n < 10 {
					t.Fatalf("an initialization takes only %d writes", n-1)
				}
				break
			}
			if !errors.Is(err, storagetest.ErrCrashed) {
				t.Fatalf("crash at write %d (stored: %t): %v", n, stored, err)
			}
			complete := exists(filepath.Join(w.dir, manifest.TimestampObject))
			w.now = w.now.Add(time.Hour)
			result, err := publisher.Initialize(ctx, w.store, w.now, w.init(), w.online)
			check(t, err)
			if result.MadeBefore != complete || string(result.RootBytes) != string(w.object(t, manifest.RootObject(1))) {
				t.Errorf("crash at write %d (stored: %t): made before: %t, want %t", n, stored, result.MadeBefore, complete)
			}
			w.verifyNew(t)
		}
	}
}

// verifyNew holds a new catalog to what a reader, and the next writer, need of it.
func (w *world) verifyNew(t *testing.T) {
	t.Helper()
	w.fingerprint = catalog.Fingerprint(w.object(t, "metadata/1.root.json"))
	if _, err := w.view(t).Vendor(ctx); err != nil {
		t.Fatal(err)
	}
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, w.openstack(), signers(w.root[:2]...)))
	w.view(t)
}

func TestInitializationThatCrashesAgainAndAgain(t *testing.T) {
	w := empty(t)
	for n := 5; ; n++ {
		faults := storagetest.NewFaults(t, w.store)
		faults.CrashAtWrite(n, true)
		if err := w.initialize(faults); faults.Writes() < n || exists(filepath.Join(w.dir, manifest.TimestampObject)) {
			break
		} else if !errors.Is(err, storagetest.ErrCrashed) {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
	}
	w.verifyNew(t)
}

func TestInitializeWantsEnoughRootSigners(t *testing.T) {
	for name, change := range map[string]func(*world, *publisher.Init){
		"one of two at hand": func(w *world, in *publisher.Init) {
			in.RootKeys, in.RootPublic = signers(w.root[0]), publics(w.root[1], w.root[2])
		},
		"the same key twice": func(w *world, in *publisher.Init) {
			in.RootKeys, in.RootPublic = signers(w.root[0], w.root[0]), publics(w.root[1])
		},
		"a threshold of three": func(w *world, in *publisher.Init) { in.RootThreshold = 3 },
		"a threshold that cannot be met": func(w *world, in *publisher.Init) {
			in.RootThreshold = 4
		},
		"no root key":                  func(w *world, in *publisher.Init) { in.RootKeys, in.RootPublic = nil, nil },
		"no administrator":             func(w *world, in *publisher.Init) { in.Registry = nil },
		"an administrator not at hand": func(w *world, in *publisher.Init) { in.Registry, in.RegistryPublic = nil, publics(w.admin) },
		"targets holders who are not":  func(w *world, in *publisher.Init) { in.TargetsPublic = publics(w.stranger) },
		"too few of the targets' holders": func(w *world, in *publisher.Init) {
			in.TargetsKeys, in.TargetsPublic = signers(w.certA), publics(w.certB)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := empty(t)
			in := w.init()
			change(w, &in)
			_, err := publisher.Initialize(ctx, w.store, w.now, in, w.online)
			var invalid *publisher.Invalid
			if !errors.As(err, &invalid) {
				wantError[*publisher.NotAtHand](t, err)
			}
			if left := w.objects(t); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestInitializeWithoutAnOnlineKey(t *testing.T) {
	w := empty(t)
	_, err := publisher.Initialize(ctx, w.store, w.now, w.init(), nil)
	wantError[*publisher.Invalid](t, err, "online key")
}

func TestInitializeWithHoldersOfTargetsOfTheirOwn(t *testing.T) {
	w := empty(t)
	in := w.init()
	in.TargetsKeys = signers(w.certA, w.certB)
	result, err := publisher.Initialize(ctx, w.store, w.now, in, w.online)
	check(t, err)
	w.fingerprint = result.Fingerprint
	err = w.refused(t, func() error {
		_, err := w.publisher(t, w.online).AddProduct(ctx, w.openstack(), signers(w.root[:2]...))
		return err
	})
	wantError[*publisher.NotAuthorized](t, err, short(w.root[0]), "targets", short(w.certA))
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, w.openstack(), []keys.Signer{w.certA, w.certB}))
}

// TestManyToApproveUnlessThereIsOne: what README.md and docs/FORMAT.md say of the thresholds that nobody named.
func TestManyToApproveUnlessThereIsOne(t *testing.T) {
	t.Parallel()
	w := empty(t)
	for n, want := range map[int][]string{1: {"root, targets: any 1 of", "registry, policy: any 1 of"}, 2: {"root, targets: any 2 of", "registry: any 1 of", "policy: any 2 of"}} {
		holders, admins := publics(w.root[:n]...), publics([]key{w.admin, catalogtest.NewKey(t)}[:n]...)
		c, err := publisher.BeginCeremony(w.now, publisher.Init{Vendor: "enovance", RootPublic: holders, RegistryPublic: admins}, w.online.Public())
		check(t, err)
		for _, line := range want {
			if !slices.Contains(c.Words(), line) {
				t.Errorf("%d keys: no %q in %q", n, line, c.Words())
			}
		}
	}
}
