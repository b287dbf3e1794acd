package publisher_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
)

// TestWhatARotationSaysBefore: for a stolen engineer's key which releases stand on it and since when, and what else it
// signs; for an online key the order of things. A no signs nothing.
func TestWhatARotationSaysBefore(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	first := w.now
	w.now = w.now.Add(3 * catalogtest.Day)
	w.publish(t, "openstack@2.0.0")
	p, fresh := w.publisher(t, w.online), catalogtest.NewKey(t)
	plan, err := p.PlanRole(ctx, rotate(productRole, w.engineer, fresh))
	check(t, err)
	if len(plan.Releases) != 2 || plan.Releases[0].Release != v1 || plan.Releases[0].Since.After(first) || plan.Releases[1].Since.Sub(w.now).Abs() > 0 {
		t.Errorf("releases %+v", plan.Releases)
	}
	if len(plan.KeyUses) != 1 || plan.KeyUses[0].Role != recalledRole || plan.KeyUses[0].Command != "kitchen role rotate recalled.openstack --old "+short(w.engineer)+" --new FILE" {
		t.Errorf("the key signs besides: %+v", plan.KeyUses)
	}
	text := strings.Join(append(plan.Change, plan.Notes...), "\n")
	for _, word := range []string{"key " + short(fresh) + " in", "key " + short(w.engineer) + " out", "it lists openstack@1.0.0, openstack@2.0.0",
		"yanked or recalled"} {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
	before := w.state(t)
	asked := 0
	out := must(t, publisher.Declined)(p.ChangeRole(ctx, rotate(productRole, w.engineer, fresh), func(*publisher.RolePlan) (bool, error) { asked++; return false, nil }, signers(w.root[0], w.root[1], fresh)))
	if now := w.state(t); asked != 1 || fmt.Sprint(now) != fmt.Sprint(before) || out.Proposal != "" {
		t.Errorf("asked %d times, %+v", asked, out)
	}
	for stolen, word := range map[bool]string{false: "No host notices", true: "refuses the catalog"} {
		p.Stolen = stolen
		plan, err := p.PlanRole(ctx, rotate(trust.RoleSnapshot, w.online, fresh))
		check(t, err)
		if text := strings.Join(plan.Notes, "\n"); !strings.Contains(text, word) {
			t.Errorf("it does not say %q:\n%s", word, text)
		}
	}
}

// TestARotationShowsWhatItCarries: whoever signs a role for its new keys sees what each of its certificates rests on.
func TestARotationShowsWhatItCarries(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	fresh := catalogtest.NewKey(t)
	p := w.publisher(t, nil)
	must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(readyRole, w.certB, fresh), nil, signers(w.root[0])))
	asked := ""
	must(t, publisher.Declined)(p.Sign(ctx, readyRole, func(shown publisher.PendingProposal) (bool, error) {
		asked = strings.Join(shown.Change, "\n")
		return false, nil
	}, signers(w.certA)))
	info, err := w.view(t).Release(release(v1))
	check(t, err)
	for _, words := range []string{"it lists " + v1, "\n  " + v1 + " (sha256 " + info.SHA256 + ")", "\n  evidence of ", "\n  enovance/ci reported PASSED"} {
		if !strings.Contains(asked, words) {
			t.Errorf("it does not say %q:\n%s", words, asked)
		}
	}
}

func TestRotationsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	fresh := catalogtest.NewKey(t)
	ask := func(req publisher.RoleRequest) error {
		return w.refused(t, func() error { _, err := p.ChangeRole(ctx, req, nil, signers(w.root[:2]...)); return err })
	}
	wantError[*publisher.Invalid](t, ask(rotate(readyRole, w.certA, nil)), "2 of 1 keys")
	wantError[*publisher.Invalid](t, ask(publisher.RoleRequest{Role: readyRole, Threshold: 3}), "3 of 2 keys")
	wantError[*publisher.Invalid](t, ask(rotate(readyRole, w.engineer, fresh)), "no key "+short(w.engineer))
	wantError[*publisher.Invalid](t, ask(publisher.RoleRequest{Role: readyRole, Old: []string{w.certA.TUF.ID[:3]}}), "too few digits")
	wantError[*publisher.Invalid](t, ask(rotate(productRole, w.engineer, w.stagingCI)), "a site needs a key of its own")
	wantError[*publisher.Invalid](t, ask(rotate(trust.RoleRoot, w.root[0], w.vendorCI)), "a site needs a key of its own")
	wantError[*publisher.UnknownRole](t, ask(rotate("ready-to-deploy.openstack.acme", nil, fresh)), "ready-to-deploy.openstack.acme")
	wantError[*publisher.NotAuthorized](t, w.refused(t, func() error {
		_, err := p.ChangeRole(ctx, rotate(productRole, w.engineer, fresh), nil, signers(w.root[0], w.stranger))
		return err
	}), short(w.stranger))
}

// TestCarriedEvidenceIsReadOnce: a change of keys carries every certificate of a role along. To show it, again and again, each
// one's evidence is read once.
func TestCarriedEvidenceIsReadOnce(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	for _, r := range []string{"openstack@1.1.0", "openstack@1.2.0"} {
		w.validated(t, r)
		mustCommit(t)(certify(w.publisher(t, w.online), r, w.certA, w.certB))
	}
	must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(readyRole, w.certB, catalogtest.NewKey(t)), nil, signers(w.root[0])))
	faults := storagetest.NewFaults(t, w.store)
	var mu sync.Mutex
	read := map[string]int{}
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == "open" && strings.HasPrefix(c.Key, "evidence/") {
			read[c.Key]++
		}
		return nil
	}
	p := w.over(t, faults, nil)
	for range 3 {
		list, err := p.Pending(ctx)
		check(t, err)
		if len(list) != 1 || strings.Count(strings.Join(list[0].Change, "\n"), "  evidence of ") != 3 {
			t.Fatalf("%+v", list)
		}
	}
	if len(read) != 3 {
		t.Errorf("of three certificates: %v", read)
	}
	for key, n := range read {
		if n != 1 {
			t.Errorf("%s is read %d times", key, n)
		}
	}
}
