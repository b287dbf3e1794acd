package publisher_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
)

// waitsForRecallers leaves a change by the root holders that waits for people who have nothing to do with them.
func waitsForRecallers(t *testing.T) (w *world, id string) {
	t.Helper()
	w = readyWorld(t)
	out := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: recalledRole, Threshold: 2}, nil, signers(w.root[0], w.root[1])))
	if !strings.Contains(out.WaitsFor, recalledRole) || !slices.ContainsFunc(out.Summary, func(line string) bool { return strings.Contains(line, "NOBODY ALONE STOPS A RELEASE of openstack") }) {
		t.Fatalf("%+v", out)
	}
	return w, out.Proposal
}

// TestAnEmergencyExchangeWaitsForNobodyElse: what its signers left waiting for others does not hold up the exchange of a stolen
// online key; that the one makes the other stale is said, before and after.
func TestAnEmergencyExchangeWaitsForNobodyElse(t *testing.T) {
	t.Parallel()
	start, other := waitsForRecallers(t)
	fresh := catalogtest.NewKey(t)
	for name, change := range map[string]func(w *world, p *publisher.Publisher) (*publisher.Outcome, error){
		"the online key, stolen": func(w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			p.Stolen = true
			return p.ChangeRole(ctx, rotate(trust.RoleSnapshot, w.online, fresh), nil, signers(w.root[0], w.root[1]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start.copy(t)
			out := must(t, publisher.Pending)(change(w, w.publisher(t, nil)))
			for _, r := range out.Roles {
				if r.Role == recalledRole || !r.Complete() {
					t.Errorf("it waits for %s: %+v", out.WaitsFor, r)
				}
			}
			if len(out.Notes) != 1 || !strings.Contains(out.Notes[0], other) || !strings.Contains(out.Notes[0], "kitchen pending "+other) {
				t.Errorf("of the other change it says %q", out.Notes)
			}
			p := w.publisher(t, fresh)
			_, err := p.Commit(ctx)
			wantError[*publisher.TakesOver](t, err, out.Proposal)
			wantError[*publisher.NotAuthorized](t, err)
			p.Stolen = true
			commit(t, p)
			pending, err := w.publisher(t, nil).Pending(ctx)
			check(t, err)
			if len(pending) != 1 || pending[0].ID != other || pending[0].Stale == "" {
				t.Errorf("%+v", pending)
			}
		})
	}
}

// TestTheExchangeOfAStolenKeyWaitsForNobodyElse, whichever role it signs; the exchange of the same key in another role goes on in
// the same proposal, and so does what needs nobody else.
func TestTheExchangeOfAStolenKeyWaitsForNobodyElse(t *testing.T) {
	t.Parallel()
	w, other := waitsForRecallers(t)
	fresh := catalogtest.NewKey(t)
	p, by := w.publisher(t, nil), signers(w.root[0], w.root[1])
	stolen := rotate(productRole, w.engineer, fresh)
	plan, err := p.PlanRole(ctx, stolen, by...)
	check(t, err)
	out := must(t, publisher.Pending)(p.ChangeRole(ctx, stolen, nil, by))
	told := func(lines []string) bool {
		return slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "kitchen pending "+other) })
	}
	if !told(out.Notes) || !told(plan.Notes) {
		t.Errorf("of the other change it says %q, beforehand %q", out.Notes, plan.Notes)
	}
	for _, r := range out.Roles {
		if r.Role == recalledRole || !r.Complete() && r.Role != productRole {
			t.Errorf("it waits for %s: %+v", out.WaitsFor, r)
		}
	}
	both := must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(recalledRole, w.engineer, fresh), nil, by))
	if text := strings.Join(both.Summary, "\n"); !strings.Contains(text, "role "+productRole+": ") || strings.Contains(text, other) {
		t.Errorf("the second role of the same key does not go on in the first one's proposal, and there alone:\n%s", text)
	}
	must(t, publisher.Pending)(p.Sign(ctx, both.Proposal, nil, signers(fresh)))
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != both.Proposal {
		t.Errorf("%+v", result)
	}
	for _, role := range []string{productRole, recalledRole} {
		if present, _ := w.view(t).Authority(role); present.Has(w.engineer.TUF.ID) || !present.Has(fresh.TUF.ID) {
			t.Errorf("%s: %q", role, present.KeyIDs())
		}
	}
}

// TestADryRunShowsWhatTheRealRunDoes: also where a change builds on another, and where it does not.
func TestADryRunShowsWhatTheRealRunDoes(t *testing.T) {
	t.Parallel()
	w, other := waitsForRecallers(t)
	p, by := w.publisher(t, nil), signers(w.root[0], w.root[1])
	plan, err := p.PlanRole(ctx, publisher.RoleRequest{Role: recalledRole, Threshold: 2}, by...)
	check(t, err)
	if text := strings.Join(plan.Notes, "\n"); !strings.Contains(text, "It waits already, in proposal "+other) || strings.Contains(text, "does not build on it") {
		t.Errorf("it does not say that it waits in %s:\n%s", other, text)
	}
	if plan.Roles[0].Have != 2 {
		t.Errorf("it does not count the signatures that are there: %+v", plan.Roles)
	}
	w = readyWorld(t)
	p = w.publisher(t, nil)
	first := must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(trust.RoleRoot, nil, catalogtest.NewKey(t)), nil, signers(w.root[0])))
	second := publisher.RoleRequest{Role: trust.RoleTargets, Threshold: 3}
	plan, err = p.PlanRole(ctx, second, signers(w.root[0])...)
	check(t, err)
	out := must(t, publisher.Pending)(p.ChangeRole(ctx, second, nil, signers(w.root[0])))
	if text := strings.Join(plan.Change, "\n"); text != strings.Join(out.Summary, "\n") || len(plan.Roles) != len(out.Roles) {
		t.Errorf("it shows\n%s\n%+v\nand does\n%+v\non top of %s", text, plan.Roles, out, first.Proposal)
	}
}

// TestARecallBuildsOnRecallsAlone: nothing else that its signer left waiting can hold it up.
func TestARecallBuildsOnRecallsAlone(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	p := w.publisher(t, nil)
	two := publisher.RoleRequest{Role: recalledRole, Threshold: 1, Old: []string{short(w.certB)}}
	must(t, publisher.Pending)(p.ChangeRole(ctx, two, nil, signers(w.root[0], w.engineer)))
	out := must(t, publisher.Pending)(p.Recall(ctx, release(v1), "burns", signers(w.engineer)))
	if len(out.Roles) != 1 || !out.Roles[0].Complete() {
		t.Errorf("%+v", out)
	}
}

// TestTheLastSignatureForAStolenOnlineKeySaysWhatIsNext, wherever it is asked.
func TestTheLastSignatureForAStolenOnlineKeySaysWhatIsNext(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	fresh := catalogtest.NewKey(t)
	p := w.publisher(t, nil)
	must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(trust.RoleSnapshot, w.online, fresh), nil, signers(w.root[0])))
	out := must(t, publisher.Pending)(p.Sign(ctx, trust.RoleRoot, nil, signers(w.root[1])))
	pending, err := p.Pending(ctx)
	check(t, err)
	for _, text := range []string{out.WaitsFor, pending[0].WaitsFor()} {
		if !strings.Contains(text, "kitchen commit --stolen") {
			t.Errorf("waits for %q", text)
		}
	}
}

// TestACommitterWithOneOfTwoOnlineKeysIsToldOfTwo, and not of a rotation that there is none of. Hosts follow to the second key.
func TestACommitterWithOneOfTwoOnlineKeysIsToldOfTwo(t *testing.T) {
	t.Parallel()
	fresh := catalogtest.NewKey(t)
	w := readyWorld(t)
	h := &hosts{t, w, map[string]string{}}
	h.step("one online key")
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, rotate(trust.RoleSnapshot, nil, fresh), nil, signers(w.root[0], w.root[1])))
	mustCommit(t)(w.withBoth(t, w.store, fresh).ChangeRole(ctx, publisher.RoleRequest{Role: trust.RoleTimestamp, Threshold: 2}, nil, signers(w.root[0], w.root[1])))
	h.step("two of two online keys")
	_, err := w.publisher(t, w.online).Commit(ctx)
	if e := wantError[*publisher.NeedsOnlineKeys](t, err, "2 of the online keys"); strings.Contains(e.Hint(), "OLD") || !strings.Contains(e.Hint(), "name 2 of them") {
		t.Errorf("%s; %s", e, e.Hint())
	}
}
