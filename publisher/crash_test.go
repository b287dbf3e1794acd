package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// state is all that a fresh reader sees: every role's bytes.
func (w *world) state(t *testing.T) map[string]string {
	t.Helper()
	v := w.view(t)
	all := map[string]string{"timestamp": string(v.RawTimestamp()), "snapshot": string(v.RawSnapshot()), "targets": string(v.RawRole(trust.RoleTargets))}
	for _, role := range v.Roles() {
		all[role] = string(v.RawRole(role))
	}
	return all
}

// writing is something that writes to a catalog.
type writing struct {
	do func(t *testing.T, w *world, store storage.Store) error
	// done says what is not as it has to be once it is complete; nil when all is.
	done func(t *testing.T, w *world) error
	min  int // writes that it takes at least
}

// crashAtEveryWrite lets it crash at write 1, 2, …: before the write reached the store, and right after. Readers
// see all of it or nothing, and running again completes it.
func crashAtEveryWrite(t *testing.T, start *world, what writing) {
	t.Helper()
	before := start.state(t)
	for _, stored := range []bool{false, true} {
		n := 1
		for ; ; n++ {
			w := start.copy(t)
			if !w.crashes(t, what, n, stored) {
				break
			}
			if !maps.Equal(w.state(t), before) && what.done(t, w) != nil {
				t.Fatalf("after a crash at write %d (stored: %t), readers see neither the old state nor the new one", n, stored)
			}
			w.now = w.now.Add(time.Hour)
			if err := what.do(t, w, w.store); err != nil {
				t.Fatalf("running again after a crash at write %d (stored: %t): %v", n, stored, err)
			}
			if err := what.done(t, w); err != nil {
				t.Fatalf("running again after a crash at write %d (stored: %t) does not complete it: %v", n, stored, err)
			}
		}
		if n <= what.min {
			t.Fatalf("it takes %d writes; at least %d were expected", n-1, what.min)
		}
	}
}

// crashes tells whether it got as far as the nth write.
func (w *world) crashes(t *testing.T, what writing, n int, stored bool) bool {
	t.Helper()
	faults := storagetest.NewFaults(t, w.store)
	faults.CrashAtWrite(n, stored)
	err := what.do(t, w, faults)
	if faults.Writes() < n {
		check(t, err)
		check(t, what.done(t, w))
		return false
	}
	if !errors.Is(err, storagetest.ErrCrashed) {
		t.Fatalf("crash at write %d (stored: %t): %v", n, stored, err)
	}
	return true
}

// published says what is missing from a release for its readers.
func (w *world) published(t *testing.T, r string, seq int64) error {
	t.Helper()
	v := w.view(t)
	info, err := v.Release(release(r))
	if err != nil {
		return err
	}
	if info.Seq != seq {
		return fmt.Errorf("%s has place %d", r, info.Seq)
	}
	if _, err := v.Recall(info.Release); err != nil {
		return err
	}
	m, _, err := v.Manifest(ctx, info.Release)
	if err != nil {
		return err
	}
	w.wantBlobs(t, m)
	return nil
}

func TestCrashAtEveryWriteOfAPublication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", sample)
	crashAtEveryWrite(t, w, writing{min: 9, // 3 blobs and a marmite, manifest, 2 roles, snapshot, timestamp
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, w.online).Publish(ctx, dir, signers(w.engineer))
			return err
		},
		done: func(t *testing.T, w *world) error { return w.published(t, "openstack@1.0.0", 1) },
	})
}

func TestCrashAtEveryWriteOfAProposal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": "disk"})
	crashAtEveryWrite(t, w, writing{min: 8,
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, nil).Publish(ctx, dir, signers(w.engineer))
			return err
		},
		done: func(t *testing.T, w *world) error {
			pending, err := w.publisher(t, nil).Pending(ctx)
			if err != nil || len(pending) != 1 || !pending[0].Complete() {
				return fmt.Errorf("waiting: %+v, %v", pending, err)
			}
			commit(t, w.publisher(t, w.online))
			return w.published(t, "openstack@1.0.0", 1)
		},
	})
}

// Beside the proposal there is a report that the journal has not seen: both go in one snapshot.
func TestCrashAtEveryWriteOfACommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	dir := source(t, "openstack@2.0.0", nil)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, dir, signers(w.engineer)))
	crashAtEveryWrite(t, w, writing{min: 5, // role, segment, journal, snapshot, timestamp
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, w.online).Commit(ctx)
			return err
		},
		done: func(t *testing.T, w *world) error {
			if err := w.published(t, "openstack@2.0.0", 2); err != nil {
				return err
			}
			return w.journaled(t, 2)
		},
	})
}

// A commit that has nothing but reports.
func TestCrashAtEveryWriteOfTheJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	crashAtEveryWrite(t, w, writing{min: 4, // segment, journal, snapshot, timestamp
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, w.online).Commit(ctx)
			return err
		},
		done: func(t *testing.T, w *world) error { return w.journaled(t, 2) },
	})
}

func TestCrashAtEveryWriteOfTheLastSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA))
	crashAtEveryWrite(t, w, writing{min: 4, // signature, role, snapshot, timestamp
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, w.online).Sign(ctx, "ready-to-deploy.openstack", nil, signers(w.certB))
			return err
		},
		done: func(t *testing.T, w *world) error {
			if stage := w.stage(t, "openstack@1.0.0"); stage != manifest.StageReady {
				return fmt.Errorf("it is %s", stage)
			}
			return nil
		},
	})
}

func TestCrashAtEveryWriteOfARenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.view(t).Timestamp().Version
	w.now = w.now.Add(6 * 24 * time.Hour)
	crashAtEveryWrite(t, w, writing{min: 2,
		do: func(t *testing.T, w *world, store storage.Store) error {
			_, err := w.over(t, store, w.online).Commit(ctx)
			return err
		},
		done: func(t *testing.T, w *world) error {
			if v := w.view(t).Timestamp().Version; v <= before {
				return fmt.Errorf("timestamp %d", v)
			}
			return nil
		},
	})
}

func TestCommitAdoptsTheRoleThatACrashedCommitLeft(t *testing.T) {
	w := newWorld(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	faults := storagetest.NewFaults(t, w.store)
	faults.CrashAtWrite(2, true) // both roles are stored
	if _, err := w.over(t, faults, w.online).Commit(ctx); !errors.Is(err, storagetest.ErrCrashed) {
		t.Fatal(err)
	}
	left := w.object(t, "metadata/1.product.openstack.json")
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
		t.Fatalf("%+v", result)
	}
	if v := w.view(t); !bytes.Equal(v.RawRole("product.openstack"), left) {
		t.Error("the role in effect is not the one that was left")
	}
}

func TestWritesThatFailButAreStoredAreNotMadeTwice(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	dir := source(t, "openstack@1.0.0", map[string]string{"images/disk.img": "disk"})
	for n := 1; ; n++ {
		w := start.copy(t)
		faults := storagetest.NewFaults(t, w.store) // complains of immutable objects that change
		faults.FailWrite(n, true)
		p := w.over(t, faults, w.online)
		if _, err := p.Publish(ctx, dir, signers(w.engineer)); faults.Writes() < n {
			check(t, err)
			break
		} else if !errors.Is(err, storagetest.ErrInjected) {
			t.Fatalf("write %d failed: %v", n, err)
		}
		out, err := p.Publish(ctx, dir, signers(w.engineer)) // the same process goes on
		check(t, err)
		check(t, w.published(t, "openstack@1.0.0", 1))
		if !slices.Contains([]string{publisher.Committed, publisher.Unchanged}, out.Status) {
			t.Errorf("after a failure at write %d: %+v", n, out)
		}
	}
}

// A commit that crashed used up a version number; another engineer's proposal was made before and has that number.
func TestProposalWhoseNumberACrashedWriteUsedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, theirs := source(t, "openstack@1.0.0", nil), source(t, "openstack@2.0.0", nil)
	faults := storagetest.NewFaults(t, w.store)
	p := w.over(t, faults, w.online)
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if c.Op == "create" && c.Key == "metadata/1.product.openstack.json" {
			must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, theirs, signers(w.colleague)))
		}
		if c.Op == "create" && c.Key == "metadata/1.recalled.openstack.json" {
			return storagetest.ErrCrashed
		}
		return nil
	}
	if _, err := p.Publish(ctx, mine, signers(w.engineer)); !errors.Is(err, storagetest.ErrCrashed) {
		t.Fatal(err)
	}
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 0 || len(result.Refused) != 1 {
		t.Errorf("%+v", result)
	}
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, mine, signers(w.engineer)))
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, theirs, signers(w.colleague)))
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
		t.Errorf("made again: %+v", result)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
	check(t, w.published(t, "openstack@2.0.0", 2))
}

// The same, seen by the engineer whose proposal it is: to make it again has to help.
func TestProposalWhoseNumberIsUsedUpCanBeMadeAgain(t *testing.T) {
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", nil)
	first := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, dir, signers(w.engineer)))
	w.put(t, "metadata/1.product.openstack.json", []byte(`{"signatures":[],"signed":{}}`)) // an unfinished write
	second := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, dir, signers(w.engineer)))
	if second.Proposal == first.Proposal {
		t.Error("it is still the proposal that can never take effect")
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != second.Proposal {
		t.Errorf("%+v", result)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
}
