package publisher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/publisher"
)

// TestAWrongExchangeIsCorrected: the right one does not build on it, and what waits is named.
func TestAWrongExchangeIsCorrected(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	fresh, other := catalogtest.NewKey(t), catalogtest.NewKey(t)
	p := w.publisher(t, nil)
	wrong := must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(productRole, w.engineer, other), nil, signers(w.root[0]))).Proposal
	right := rotate(productRole, w.engineer, fresh)
	w.now = w.now.Add(time.Minute)
	plan, err := p.PlanRole(ctx, right, signers(w.root[0])...)
	check(t, err)
	out := must(t, publisher.Pending)(p.ChangeRole(ctx, right, nil, signers(w.root[0])))
	for _, lines := range [][]string{plan.Notes, out.Notes} {
		if text := strings.Join(lines, "\n"); !strings.Contains(text, "kitchen pending "+wrong) || !strings.Contains(text, "does not build on it") {
			t.Errorf("of the wrong one it says %q", text)
		}
	}
	if text := strings.Join(out.Summary, "\n"); strings.Contains(text, other.TUF.ID) || !strings.Contains(text, fresh.TUF.ID) {
		t.Errorf("the right one holds the wrong one:\n%s", text)
	}
	w.now = w.now.Add(time.Minute)
	must(t, publisher.Pending)(p.Sign(ctx, wrong, nil, signers(w.root[1])))
	if again := must(t, publisher.Pending)(p.ChangeRole(ctx, right, nil, signers(w.root[1]))); again.Proposal != out.Proposal {
		t.Errorf("the second holder's is %s, not %s", again.Proposal, out.Proposal)
	}
	// Both have the signatures of those who hand the role out: the one does not hold the other up.
	must(t, publisher.Pending)(p.Sign(ctx, out.Proposal, nil, signers(fresh)))
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != out.Proposal {
		t.Errorf("%+v", result)
	}
}

// TestAKeyThatIsThereComesForNobody is said before it is signed.
func TestAKeyThatIsThereComesForNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plan, err := w.publisher(t, nil).PlanRole(ctx, rotate(productRole, w.engineer, w.colleague), signers(w.root[0])...)
	check(t, err)
	if text := strings.Join(plan.Notes, "\n"); !strings.Contains(text, short(w.colleague)+" is one of the 2 of "+productRole+" already") {
		t.Errorf("it says %q", text)
	}
}

// TestWhoProposesIsToldOfRivals, and of what the change is built on.
func TestWhoProposesIsToldOfRivals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	p := w.publisher(t, nil)
	withdrawn := must(t, publisher.Pending)(p.Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "bad driver"}, signers(w.certA))).Proposal
	w.validated(t, v2)
	told := func(what string, lines []string, id string) {
		t.Helper()
		if text := strings.Join(lines, "\n"); !strings.Contains(text, id) || !strings.Contains(text, "makes the other stale") {
			t.Errorf("%s: %q", what, text)
		}
	}
	dry, err := p.Certify(ctx, release(v2), publisher.CertifyRequest{DryRun: true}, signers(w.certB))
	check(t, err)
	told("a dry run of certify", dry.Notes, withdrawn)
	out := must(t, publisher.Pending)(certify(p, v2, w.certB))
	told("certify", out.Notes, withdrawn)
}

// TestRegistryChangesOfOnePersonContainEachOther: the last is offered alone, and says on what it was built.
func TestRegistryChangesOfOnePersonContainEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, nil)
	var last *publisher.Outcome
	for _, site := range []string{"acme/one", "acme/two", "acme/three"} {
		w.now = w.now.Add(time.Minute)
		before := last
		last = must(t, publisher.Pending)(p.AddSite(ctx, publisher.SiteRequest{Site: siteID(site), Kind: "ci", Key: publics(catalogtest.NewKey(t))[0]}, signers(w.admin)))
		if text := strings.Join(last.Notes, "\n"); before != nil && !strings.Contains(text, "It is built on "+before.Proposal) {
			t.Errorf("%s: it says %q", site, text)
		}
	}
	pending, err := p.Pending(ctx)
	check(t, err)
	for _, w := range pending {
		if (w.ID == last.Proposal) != (w.Within == "") || len(w.Rivals) != 0 {
			t.Errorf("%s is within %q and excludes %q", w.ID, w.Within, w.Rivals)
		}
	}
	// Once the last is in effect the others are settled, whatever becomes of what they changed.
	commit(t, w.publisher(t, w.online))
	mustCommit(t)(w.publisher(t, w.online).RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/two")}, signers(w.admin)))
	if pending, err = p.Pending(ctx); err != nil || len(pending) != 0 {
		t.Errorf("%v %+v", err, pending)
	}
}
