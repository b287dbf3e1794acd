package publisher_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

func TestWithoutTheOnlineKeyAChangeWaitsAndNobodySeesIt(t *testing.T) {
	w := newWorld(t)
	before := w.state(t)
	out := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	if out.Proposal == "" || !strings.Contains(out.WaitsFor, "committer") {
		t.Errorf("%+v", out)
	}
	for name, bytes := range w.state(t) {
		if before[name] != bytes {
			t.Errorf("readers see a change of %s", name)
		}
	}
	w.wantStage(t, "openstack@1.0.0", "")
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].ID != out.Proposal || !pending[0].Complete() || pending[0].Kind != "publish" ||
		!strings.Contains(strings.Join(pending[0].Change, "\n"), "publish openstack@1.0.0") {
		t.Fatalf("%+v", pending)
	}
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 1 || result.Committed[0].ID != out.Proposal || result.Version != w.view(t).Timestamp().Version {
		t.Errorf("%+v", result)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
	if pending, err := w.publisher(t, nil).Pending(ctx); err != nil || len(pending) != 0 {
		t.Errorf("still waiting: %+v, %v", pending, err)
	}
}

func TestTheSameProposalAgainIsTheSameProposal(t *testing.T) {
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", nil)
	first := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, dir, signers(w.engineer)))
	faults := storagetest.NewFaults(t, w.store)
	again := must(t, publisher.Pending)(w.over(t, faults, nil).Publish(ctx, dir, signers(w.engineer)))
	if again.Proposal != first.Proposal || faults.Writes() > 0 {
		t.Errorf("proposal %s, then %s with %d writes", first.Proposal, again.Proposal, faults.Writes())
	}
	other := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, dir, signers(w.colleague)))
	if other.Proposal != first.Proposal {
		t.Errorf("the colleague's signature went to %s, not to %s", other.Proposal, first.Proposal)
	}
	err := w.refused(t, func() error {
		_, err := w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"x": "other"}), signers(w.engineer))
		return err
	})
	if e := wantError[*publisher.Immutable](t, err); e.Proposal != first.Proposal {
		t.Errorf("other bytes under a waiting version: %+v", e)
	}
}

func TestASecondChangeBuildsOnTheOneThatWaits(t *testing.T) {
	w := newWorld(t)
	p := w.publisher(t, nil)
	must(t, publisher.Pending)(p.Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	must(t, publisher.Pending)(p.Publish(ctx, source(t, "openstack@1.1.0", nil), signers(w.engineer)))
	pending, err := p.Pending(ctx)
	check(t, err)
	if len(pending) != 2 || pending[0].Within != pending[1].ID && pending[1].Within != pending[0].ID {
		t.Errorf("neither is shown within the other: %+v", pending)
	}
	commit(t, w.publisher(t, w.online))
	check(t, w.published(t, "openstack@1.0.0", 1))
	check(t, w.published(t, "openstack@1.1.0", 2))
}

func TestAWriterWithTheOnlineKeyCommitsWhatItWouldMakeStale(t *testing.T) {
	w := newWorld(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	out := mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.1.0", nil), signers(w.colleague)))
	if !strings.Contains(strings.Join(out.Summary, "\n"), "also in effect now") {
		t.Errorf("does not say what else it committed: %q", out.Summary)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
	check(t, w.published(t, "openstack@1.1.0", 2))
}

func TestTwoOfTwoCertifiers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	role := "ready-to-deploy.openstack"
	wantHave := func(out *publisher.Outcome, have int, who ...key) {
		t.Helper()
		var ids []string
		for _, k := range who {
			ids = append(ids, short(k))
		}
		r := out.Roles[0]
		if len(out.Roles) != 1 || r.Role != role || r.Have != have || r.Need != 2 || !slices.Equal(r.Signers, ids) {
			t.Fatalf("%+v, want %d of 2", out, have)
		}
	}
	one := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA))
	wantHave(one, 1, w.certA)
	if !strings.Contains(one.WaitsFor, "1 more signature for "+role) || !strings.Contains(one.WaitsFor, short(w.certB)) {
		t.Errorf("waits for %q", one.WaitsFor)
	}
	wantHave(must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA)), 1, w.certA)
	wantHave(must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, role, nil, signers(w.certA))), 1, w.certA)
	w.wantStage(t, "openstack@1.0.0", "validated")
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 || len(result.Incomplete) != 1 {
		t.Fatalf("one signature of two: %+v", result)
	}
	for _, by := range []key{w.engineer, w.validator, w.stranger, w.online, w.root[0], w.cephCertifier} {
		err := w.refused(t, func() error { _, err := w.publisher(t, w.online).Sign(ctx, role, nil, signers(by)); return err })
		wantError[*publisher.NotAuthorized](t, err, short(by), role, short(w.certA))
	}
	two := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, role, nil, signers(w.certB)))
	wantHave(two, 2, w.certA, w.certB)
	w.wantStage(t, "openstack@1.0.0", "validated")
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != one.Proposal {
		t.Fatalf("%+v", result)
	}
	w.wantStage(t, "openstack@1.0.0", manifest.StageReady)
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Sign(ctx, role, nil, signers(w.certB)))
}

func TestTheSecondCertifyJoinsTheFirst(t *testing.T) {
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	one := must(t, publisher.Pending)(certify(w.publisher(t, w.online), "openstack@1.0.0", w.certA))
	w.now = w.now.Add(time.Minute)
	mustCommit(t)(certify(w.publisher(t, w.online), "openstack@1.0.0", w.certB))
	w.wantStage(t, "openstack@1.0.0", manifest.StageReady)
	if pending, err := w.publisher(t, nil).Pending(ctx); err != nil || len(pending) != 0 {
		t.Errorf("%s still waits: %+v, %v", one.Proposal, pending, err)
	}
}

func TestSignShowsTheChangeAndTakesNoForAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	role := "ready-to-deploy.openstack"
	must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA))
	asked := 0
	answer := func(yes bool, err error) func(publisher.PendingProposal) (bool, error) {
		return func(p publisher.PendingProposal) (bool, error) {
			asked++
			text := strings.Join(p.Change, "\n")
			for _, part := range []string{"certify openstack@1.0.0", "enovance/ci reported PASSED"} {
				if !strings.Contains(text, part) {
					t.Errorf("the signer does not see %q: %q", part, text)
				}
			}
			return yes, err
		}
	}
	must(t, publisher.Declined)(w.publisher(t, w.online).Sign(ctx, role, answer(false, nil), signers(w.certB)))
	gone := errors.New("the terminal is gone")
	if _, err := w.publisher(t, w.online).Sign(ctx, role, answer(true, gone), signers(w.certB)); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	w.wantStage(t, "openstack@1.0.0", "validated")
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, role, answer(true, nil), signers(w.certB)))
	w.wantStage(t, "openstack@1.0.0", manifest.StageReady)
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

func TestProposalsLapse(t *testing.T) {
	w := newWorld(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	w.now = w.now.Add(14 * catalogtest.Day)
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 0 || !result.Renewed {
		t.Errorf("%+v", result)
	}
	w.wantStage(t, "openstack@1.0.0", "")
}

func TestCommitWithoutTheOnlineKey(t *testing.T) {
	w := newWorld(t)
	_, err := w.publisher(t, nil).Commit(ctx)
	wantError[*publisher.NoOnlineKey](t, err)
}

func TestCommitWithAWrongOnlineKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	for name, wrong := range map[string]keys.Signer{"stranger": w.stranger, "root holder": w.root[0], "engineer": w.engineer} {
		faults := storagetest.NewFaults(t, w.store)
		err := w.refused(t, func() error { _, err := w.over(t, faults, wrong).Commit(ctx); return err })
		wantError[*publisher.NotAuthorized](t, err, "snapshot", short(w.online))
		if faults.Writes() > 0 {
			t.Errorf("%s: %d writes", name, faults.Writes())
		}
		err = w.refused(t, func() error {
			_, err := w.publisher(t, wrong).Publish(ctx, source(t, "ceph@1.0.0", nil), signers(w.cephEngineer))
			return err
		})
		wantError[*publisher.NotAuthorized](t, err)
	}
}

func TestCommitRenewsWhatIsAboutToExpire(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		days    int
		renewed bool
	}{"fresh": {0, false}, "3 days of 7": {3, false}, "4 days of 7": {4, true}, "the last moment": {7, true}, "timestamp expired": {8, true},
		"snapshot expired too": {31, true}, "11 weeks": {77, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.view(t)
			w.now = w.now.Add(time.Duration(c.days) * catalogtest.Day)
			if _, err := w.catalog(t, w.store).Refresh(ctx); (c.days >= 7) != (err != nil) {
				t.Fatalf("a reader after %d days: %v", c.days, err)
			}
			p := w.publisher(t, w.online)
			sink := &meddler{t: t}
			p.Progress = sink
			result := commit(t, p)
			after := w.view(t)
			if result.Renewed != c.renewed || (after.Timestamp().Version > before.Timestamp().Version) != c.renewed || result.Version != after.Timestamp().Version {
				t.Errorf("renewed: %t, timestamp %d then %d", result.Renewed, before.Timestamp().Version, after.Timestamp().Version)
			}
			if c.renewed && (!after.Issued().Equal(w.now) || after.Snapshot().Expires.Sub(w.now) != 30*catalogtest.Day || after.Timestamp().Expires.Sub(w.now) != 7*catalogtest.Day) {
				t.Errorf("issued %s, expires %s and %s", after.Issued(), after.Timestamp().Expires, after.Snapshot().Expires)
			}
			if said := len(sink.notes) > 0; said != (c.days >= 7) {
				t.Errorf("said %q", sink.notes)
			}
			if again := commit(t, w.publisher(t, w.online)); again.Renewed {
				t.Error("renewed twice")
			}
		})
	}
}

// A committer who saw the catalog before has its expired files in the state directory.
func TestCommitOfAProposalRevivesAnExpiredCatalog(t *testing.T) {
	w := newWorld(t)
	committer := w.publisher(t, w.online)
	commit(t, committer)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
	w.now = w.now.Add(10 * catalogtest.Day)
	if result := commit(t, committer); len(result.Committed) != 1 || result.Renewed {
		t.Errorf("%+v", result)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
}
