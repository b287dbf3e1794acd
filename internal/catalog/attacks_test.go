package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// forgetFiles leaves a state directory with its memory alone.
func forgetFiles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"timestamp.json", "timestamp.etag", "snapshot.json", "roles", "memory.a.json"} {
		check(t, os.RemoveAll(filepath.Join(dir, name)))
	}
}

// withAndWithoutFiles runs an attack on a host that saw the catalog before, with its files and with its memory only.
func withAndWithoutFiles(t *testing.T, attack func(t *testing.T, w *catalogtest.World, dir string)) {
	t.Run("files", func(t *testing.T) {
		w, dir := published(t), t.TempDir()
		refresh(t, w, dir)
		attack(t, w, dir)
	})
	t.Run("memory alone", func(t *testing.T) {
		w, dir := published(t), t.TempDir()
		refresh(t, w, dir)
		forgetFiles(t, dir)
		attack(t, w, dir)
	})
}

func wantRefusal(t *testing.T, w *catalogtest.World, dir string, kind trust.Kind) {
	t.Helper()
	_, err := w.Open(dir).Refresh(ctx)
	wantKind(t, err, kind)
}

func TestRollbackOfTheTimestamp(t *testing.T) {
	withAndWithoutFiles(t, func(t *testing.T, w *catalogtest.World, dir string) {
		old := w.TimestampFile
		w.CommitTimestamp()
		refresh(t, w, dir)
		w.SwapTimestamp(old)
		forgetSome(t, dir)
		wantRefusal(t, w, dir, trust.Rollback)
	})
}

// forgetSome loses the files again if they were lost at the start.
func forgetSome(t *testing.T, dir string) {
	t.Helper()
	if filepath.Base(t.Name()) == "memory_alone" {
		forgetFiles(t, dir)
	}
}

func TestTimestampOfTheSameVersionWithOtherContent(t *testing.T) {
	withAndWithoutFiles(t, func(t *testing.T, w *catalogtest.World, dir string) {
		w.TimestampNo--
		w.Now = w.Now.Add(time.Second)
		w.CommitTimestamp()
		wantRefusal(t, w, dir, trust.SameVersion)
	})
}

func TestRollbackOfTheSnapshot(t *testing.T) {
	withAndWithoutFiles(t, func(t *testing.T, w *catalogtest.World, dir string) {
		w.SnapshotNo, w.SnapshotFile = 1, w.Object(manifest.SnapshotObject(1))
		w.CommitTimestamp()
		wantRefusal(t, w, dir, trust.Rollback)
	})
}

func TestRoleDroppedFromTheSnapshot(t *testing.T) {
	withAndWithoutFiles(t, func(t *testing.T, w *catalogtest.World, dir string) {
		delete(w.Snapshot.Roles, "recalled.openstack")
		w.CommitOnline()
		wantRefusal(t, w, dir, trust.Missing)
	})
}

func TestRollbackOfARoleByTheOnlineKey(t *testing.T) {
	withAndWithoutFiles(t, func(t *testing.T, w *catalogtest.World, dir string) {
		w.Recall("openstack@1.0.0", "CVE")
		refresh(t, w, dir)
		forgetSome(t, dir)
		w.PutRole("recalled.openstack", 1, w.Object(manifest.RoleObject("recalled.openstack", 1)))
		w.CommitOnline()
		wantRefusal(t, w, dir, trust.Rollback)
	})
}

func TestMixOfTwoSnapshots(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	old := w.Object(manifest.SnapshotObject(w.SnapshotNo))
	w.Validate("openstack@1.0.0")
	overwrite(t, w, manifest.SnapshotObject(w.SnapshotNo), old)
	wantRefusal(t, w, dir, trust.Mismatch)
}

func TestGarbageAsNextRoot(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	overwrite(t, w, manifest.RootObject(2), []byte("<html>not found</html>"))
	wantRefusal(t, w, dir, trust.Malformed)
	overwrite(t, w, manifest.RootObject(2), w.Root1)
	wantRefusal(t, w, dir, trust.Rollback)
	thief := catalogtest.NewKey(t)
	w.Root = w.Root.Clone()
	w.Root.Roles[trust.RoleTimestamp] = catalogtest.Authority(1, thief)
	w.Root.Version = 2
	overwrite(t, w, manifest.RootObject(2), w.Seal(w.Root, thief, w.RootKeys[0])) // one of two
	wantRefusal(t, w, dir, trust.Threshold)
	remove(t, w, manifest.RootObject(2))
	refresh(t, w, dir)
}

func TestRootChainCutShort(t *testing.T) {
	w, dir := published(t), t.TempDir()
	w.RotateOnline()
	w.CommitOnline()
	refresh(t, w, dir)
	check(t, os.Remove(filepath.Join(dir, "root", "2.root.json")))
	remove(t, w, manifest.RootObject(2))
	wantRefusal(t, w, dir, trust.Rollback)
}

func TestFastForwardRecovery(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	honest := w.Now
	w.SnapshotNo, w.TimestampNo = trust.MaxInteger-2, trust.MaxInteger-2
	w.CommitOnline() // a thief with the online key
	refresh(t, w, dir)
	w.Now = honest.Add(40 * 365 * catalogtest.Day)
	o := w.Options(dir)
	w.SwapTimestamp(w.Seal(&trust.Timestamp{Version: trust.MaxInteger, Issued: w.Now, Expires: w.Now.Add(catalogtest.Day),
		Snapshot: trust.MetaOf(w.SnapshotNo, w.SnapshotFile)}, w.Online))
	w.Now = honest
	wantRefusal(t, w, dir, trust.Expired) // the thief's clock is believed, and nothing is valid then

	w.RotateOnline()
	w.SnapshotNo, w.TimestampNo = 7, 7
	w.CommitOnline()
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	if v.Timestamp().Version != 8 || !v.Now().Equal(honest) {
		t.Fatalf("timestamp %d at %s", v.Timestamp().Version, v.Now())
	}
	_, err = c.Offline(nil)
	check(t, err)
	if got := requests(t, w, dir); len(got) != 2 {
		t.Fatalf("requests: %q", got)
	}
}

func TestReleaseRepublishedWithOtherBytes(t *testing.T) {
	w, dir := published(t), t.TempDir()
	w.Validate("openstack@1.0.0")
	refresh(t, w, dir)
	honest := w.Roles["product.openstack"]
	w.Edit("product.openstack", func(all *trust.Targets) {
		path := manifest.TargetPath(manifest.StageCatalog, release("openstack@1.0.0"))
		target := all.Targets[path]
		target.SHA256 = catalogtest.Digest([]byte("other"))
		all.Targets[path] = target
	})
	w.Commit()
	for range 2 {
		v := refresh(t, w, dir)
		wantRoleKind(t, v, "product.openstack", trust.Mismatch)
		_, err := v.Release(release("openstack@1.0.0"))
		wantKind(t, err, trust.Mismatch)
		if _, err := v.Role("validated.openstack"); err != nil {
			t.Fatal(err)
		}
		offline, err := w.Open(dir).Offline(nil)
		check(t, err)
		if _, err := offline.Role("product.openstack"); kindOf(err) == "" {
			t.Fatal(err)
		}
	}
	fresh := w.View() // who never saw the first bytes sees two roles that contradict each other
	_, err := fresh.Release(release("openstack@1.0.0"))
	wantKind(t, err, trust.Mismatch)
	w.Edit("product.openstack", func(all *trust.Targets) { all.Targets = honest.Clone().Targets })
	w.Commit()
	wantStage(t, refresh(t, w, dir), "1.0.0", "validated")
}

func TestDroppedRecall(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w, dir := published(t), t.TempDir()
		w.Recall("openstack@1.0.0", "CVE in the image")
		refresh(t, w, dir)
		if lost {
			forgetFiles(t, dir)
		}
		w.Edit("recalled.openstack", func(all *trust.Targets) { clear(all.Targets) })
		w.Commit()
		v := refresh(t, w, dir)
		wantRoleKind(t, v, "recalled.openstack", trust.Missing)
		recall, err := v.Recall(release("openstack@1.0.0"))
		if err != nil || recall == nil || recall.Reason != "CVE in the image" {
			t.Fatalf("the recall is forgotten: %v, %v", recall, err)
		}
		w.Publish("openstack@1.1.0", catalogtest.Content{})
		if _, err := refresh(t, w, dir).Recall(release("openstack@1.1.0")); kindOf(err) != trust.Missing {
			t.Fatalf("a role that drops recalls is relied on: %v", err)
		}
	}
}

func TestBrokenSiblingHidesNobody(t *testing.T) {
	const role, path = "validated.openstack", "metadata/1.validated.openstack.json"
	for name, attack := range map[string]struct {
		kind trust.Kind
		play func(t *testing.T, w *catalogtest.World)
	}{
		"garbage":  {trust.Mismatch, func(t *testing.T, w *catalogtest.World) { overwrite(t, w, path, []byte("{}")) }},
		"withheld": {trust.Missing, func(t *testing.T, w *catalogtest.World) { remove(t, w, path) }},
		"endless data": {trust.Mismatch, func(t *testing.T, w *catalogtest.World) {
			check(t, os.Truncate(bucketPath(w, path), 1<<40))
		}},
		"wrong key": {trust.BadSignature, func(t *testing.T, w *catalogtest.World) {
			w.RoleKeys[role] = w.RoleKeys["product.openstack"]
			w.Edit(role, nil)
			w.Commit()
		}},
		"out of scope": {trust.OutOfScope, func(t *testing.T, w *catalogtest.World) {
			w.Edit(role, func(all *trust.Targets) {
				all.Targets["ready-to-deploy/openstack/1.0.0/manifest.toml"] = all.Targets["validated/openstack/1.0.0/manifest.toml"]
			})
			w.Commit()
		}},
		"other version than listed": {trust.Mismatch, func(t *testing.T, w *catalogtest.World) {
			w.PutRole(role, 9, w.Files[role])
			w.CommitOnline()
		}},
		"expired": {trust.Expired, func(t *testing.T, w *catalogtest.World) {
			w.PutRole(role, 9, w.Seal(&trust.Targets{Role: role, Version: 9, Expires: w.Now}, w.RoleKeys[role]...))
			w.CommitOnline()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := published(t)
			w.Validate("openstack@1.0.0")
			attack.play(t, w)
			v := w.View()
			wantRoleKind(t, v, role, attack.kind)
			wantStage(t, v, "1.0.0", "published")
			if broken := v.Broken(); len(broken) != 1 || broken[0].Role != role {
				t.Fatalf("broken: %v", broken)
			}
			if _, err := v.StageTarget(manifest.StageValidated, release("openstack@1.0.0")); kindOf(err) != attack.kind {
				t.Fatal(err)
			}
			if _, raw, ok := v.ExpiredRole(role); ok != (attack.kind == trust.Expired) || ok != (raw != nil) {
				t.Fatal("an expired role is kept for renewal, others are not")
			}
		})
	}
}

func TestForbiddenRoleIsItsOwnTrouble(t *testing.T) {
	w := published(t)
	faults := storagetest.NewFaults(t, w.Store)
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if c.Key == "metadata/1.recalled.openstack.json" {
			return &storage.Error{Op: c.Op, Key: c.Key, Err: storage.ErrForbidden}
		}
		return nil
	}
	o := w.Options(t.TempDir())
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	wantStage(t, v, "1.0.0", "published")
	if _, err := v.Recall(release("openstack@1.0.0")); !errors.Is(err, storage.ErrForbidden) {
		t.Fatal(err)
	}
}

func TestDisagreeingRoles(t *testing.T) {
	w := published(t)
	w.Publish("openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0"}})
	w.Validate("openstack@1.1.0")
	w.Edit("validated.openstack", func(all *trust.Targets) {
		all.Targets["validated/openstack/1.0.0/manifest.toml"] = all.Targets["validated/openstack/1.1.0/manifest.toml"]
	})
	w.Commit()
	v := w.View()
	wantStage(t, v, "1.0.0", "")
	wantStage(t, v, "1.1.0", "validated")
	_, err := v.Release(release("openstack@1.0.0"))
	wantKind(t, err, trust.Mismatch)
	wantKind(t, v.Agreement(release("openstack@1.0.0"), "validated.openstack"), trust.Mismatch)
	check(t, v.Agreement(release("openstack@1.1.0"), "validated.openstack"))
}

func TestReleaseMissingFromOneRole(t *testing.T) {
	w := published(t)
	w.Certify("openstack@1.0.0") // never validated
	v := w.View()
	wantStage(t, v, "1.0.0", "published")
	var missing *catalog.NotListed
	if err := v.Agreement(release("openstack@1.0.0"), "validated.openstack", "ready-to-deploy.openstack"); !errors.As(err, &missing) || missing.Role != "validated.openstack" {
		t.Fatal(err)
	}
}

func TestManifestWithOtherBytes(t *testing.T) {
	w := published(t)
	v := w.View()
	info, err := v.Release(release("openstack@1.0.0"))
	check(t, err)
	key := manifest.TargetObject(manifest.TargetPath(manifest.StageCatalog, info.Release), info.SHA256)
	overwrite(t, w, key, []byte("other"))
	_, _, err = v.Manifest(ctx, info.Release)
	wantKind(t, err, trust.Mismatch)
	remove(t, w, key)
	if _, _, err = v.Manifest(ctx, info.Release); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	wantKind(t, err, trust.Missing)
}

func TestManifestOfAnotherRelease(t *testing.T) {
	w := published(t)
	w.Edit("product.openstack", func(all *trust.Targets) {
		target := all.Targets["catalog/openstack/1.0.0/manifest.toml"]
		target.Custom = map[string]string{catalog.CustomSeq: "2"}
		all.Targets["catalog/openstack/2.0.0/manifest.toml"] = target
	})
	w.Commit()
	v := w.View()
	data := w.Object(manifest.TargetObject("catalog/openstack/1.0.0/manifest.toml", w.Roles["product.openstack"].Targets["catalog/openstack/1.0.0/manifest.toml"].SHA256))
	w.Put(manifest.TargetObject("catalog/openstack/2.0.0/manifest.toml", catalogtest.Digest(data)), data)
	_, _, err := v.Manifest(ctx, release("openstack@2.0.0"))
	wantKind(t, err, trust.Malformed)
}
