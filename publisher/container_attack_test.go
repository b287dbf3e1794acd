package publisher_test

import (
	"slices"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// payload is what a proposal makes of a role.
func (w *world) payload(t *testing.T, id, role string) *trust.Targets {
	t.Helper()
	next, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(id, manifest.PayloadName(role))))
	check(t, err)
	return next
}

// A certifier who is one of a customer's, too, puts another's certificate into a proposal with that customer's role, which he has begun, and
// which waits for the customer's other certifier: who signs the one role unasked completes the certificate.
func TestACertificateInAContainerThatWaitsForACustomersCertifier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	third, other := catalogtest.NewKey(t), catalogtest.NewKey(t)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: readyRole, New: publics(third)}, nil, signers(w.root[:2]...)))
	mustCommit(t)(w.publisher(t, w.online).SetCertifiers(ctx, publisher.CertifiersRequest{Customer: "acme", Product: "openstack",
		Certifiers: publics(w.certB, other), Threshold: 2}, signers(w.root[:2]...)))
	good := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA)).Proposal
	listed := w.payload(t, good, readyRole).Targets
	w.now = w.now.Add(time.Minute)
	customers := readyRole + ".acme"
	evil := w.craft(t, crafted{readyRole, func(r *trust.Targets) { r.Targets = listed }, signers(w.certB)}, crafted{customers, nil, signers(w.certB)})
	if p := w.pendingOne(t, good); p.Within != "" {
		t.Errorf("it is said to be within %s", p.Within)
	}
	whole := w.copy(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, nil, signers(third)))
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, "ready-to-deploy")
	// Once the customer's role is complete it waits for nobody else.
	must(t, publisher.Pending)(whole.publisher(t, nil).Sign(ctx, evil, nil, signers(other)))
	if p := whole.pendingOne(t, good); p.Within != evil {
		t.Errorf("%+v", p)
	}
}

// The exchange of a stolen key, put by the thief of one key of targets into a container that waits for somebody who has nothing to do with
// it, for all holders where some suffice, or for more of the next ones: those who sign exchange the key.
func TestAnExchangeInAContainerThatWaitsForOthers(t *testing.T) {
	t.Parallel()
	validated := "validated.openstack"
	for name, more := range map[string]func(t *testing.T, w *world) (edit func(*trust.Targets), role *crafted){
		"a role more, as it is": func(*testing.T, *world) (func(*trust.Targets), *crafted) {
			return nil, &crafted{validated, nil, nil}
		},
		"a role more, which gets a key more": func(t *testing.T, _ *world) (func(*trust.Targets), *crafted) {
			return hands(t, validated, catalogtest.NewKey(t)), &crafted{validated, nil, nil}
		},
		"a new role of all holders": func(_ *testing.T, w *world) (func(*trust.Targets), *crafted) {
			return func(next *trust.Targets) {
				next.Delegations = append(next.Delegations, trust.Delegation{Name: "product.zz", Paths: manifest.RolePaths("product.zz"), Authority: catalogtest.Authority(3, w.root...)})
			}, &crafted{"product.zz", nil, nil}
		},
		"more of those who come": func(t *testing.T, w *world) (func(*trust.Targets), *crafted) {
			mallory := catalogtest.NewKey(t)
			return func(next *trust.Targets) {
				hands(t, productRole, mallory)(next)
				for i, d := range next.Delegations {
					if d.Name == productRole {
						next.Delegations[i].Threshold = len(d.Keys)
					}
				}
			}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.certified(t, v1)
			fresh := catalogtest.NewKey(t)
			good := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: productRole,
				Old: []string{short(w.engineer), short(w.colleague)}, New: publics(fresh)}, nil, signers(w.root[0]))).Proposal
			handed := w.payload(t, good, "targets").Delegations
			w.now = w.now.Add(time.Minute)
			edit, role := more(t, w)
			roles := []crafted{{"targets", func(next *trust.Targets) {
				next.Delegations = slices.Clone(handed)
				if edit != nil {
					edit(next)
				}
			}, signers(w.root[2])}, {productRole, nil, nil}}
			if role != nil {
				roles = append(roles, *role)
			}
			evil := w.craft(t, roles...)
			if p := w.pendingOne(t, evil); p.Refused != "" {
				t.Fatalf("it is refused: %s", p.Refused)
			}
			if p := w.pendingOne(t, good); p.Within != "" {
				t.Errorf("it is said to be within %s", p.Within)
			}
			must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, productRole, nil, signers(fresh)))
			must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[1])))
			commit(t, w.publisher(t, w.online))
			if now, _ := w.view(t).Authority(productRole); now.Has(w.engineer.TUF.ID) || !now.Has(fresh.TUF.ID) {
				t.Errorf("%s is held by %q", productRole, now.KeyIDs())
			}
		})
	}
}

// The thief of one key of targets puts it into a container in which the role says something that nobody of it began: that is no part of what
// its next holder is asked for.
func TestAnExchangeInAContainerThatNobodyBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	fresh := catalogtest.NewKey(t)
	good := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: productRole,
		Old: []string{short(w.engineer), short(w.colleague)}, New: publics(fresh)}, nil, signers(w.root[0]))).Proposal
	handed := w.payload(t, good, "targets").Delegations
	w.now = w.now.Add(time.Minute)
	evil := w.craft(t, crafted{"targets", func(next *trust.Targets) { next.Delegations = handed }, signers(w.root[2])},
		crafted{productRole, changes(v1Path, func(n *trust.Target) { n.Custom["yanked"] = "x" }), nil})
	if p := w.pendingOne(t, good); p.Within != "" {
		t.Errorf("it is said to be within %s", p.Within)
	}
	out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, productRole, nil, signers(fresh)))
	if out.Proposal != good || len(w.pendingOne(t, evil).Roles[1].Signers) > 0 {
		t.Errorf("%+v", out)
	}
}

// A later change of a role keeps a release, in other words than an earlier one of somebody else, which yanks it: it does not stand for that.
func TestAYankBehindALaterChangeOfSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.publish(t, v2)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: productRole, Threshold: 2}, nil,
		signers(w.root[0], w.root[1], w.engineer, w.colleague)))
	good := must(t, publisher.Pending)(w.publisher(t, nil).Yank(ctx, release(v1), "hole", signers(w.engineer))).Proposal
	w.now = w.now.Add(time.Minute)
	w.craft(t, crafted{productRole, changes("catalog/openstack/1.1.0/manifest.toml", func(n *trust.Target) { n.Custom["yanked"] = "x" }), signers(w.colleague)})
	if p := w.pendingOne(t, good); p.Within != "" {
		t.Errorf("it is said to be within %s", p.Within)
	}
	if ids, _ := w.offered(t, productRole, w.colleague); !slices.Contains(ids, good) {
		t.Errorf("offered: %q", ids)
	}
}

// The thief of one of two engineers' keys drops the other's change, and makes it again: each of the two then stands for the other, and the
// good one is offered all the same, with a network or without.
func TestProposalsInARingAreOfferedAndExported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.publish(t, v2)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: productRole, Threshold: 2}, nil,
		signers(w.root[0], w.root[1], w.engineer, w.colleague)))
	good := must(t, publisher.Pending)(w.publisher(t, nil).Yank(ctx, release(v1), "hole", signers(w.engineer))).Proposal
	yanked := w.payload(t, good, productRole).Targets
	w.now = w.now.Add(time.Minute)
	_, err := w.publisher(t, nil).Drop(ctx, good, publisher.DropRequest{Supersede: true}, signers(w.colleague))
	check(t, err)
	w.now = w.now.Add(time.Minute)
	again := w.craft(t, crafted{productRole, func(r *trust.Targets) { r.Targets = yanked }, signers(w.colleague)})
	if p, by := w.pendingOne(t, good), w.pendingOne(t, again); p.SupersededBy != again || by.Within != good {
		t.Fatalf("no ring: %+v, %+v", p, by)
	}
	exported := func() (ids []string) {
		t.Helper()
		_, shown, err := w.publisher(t, nil).Export(ctx, productRole)
		check(t, err)
		for _, p := range shown {
			ids = append(ids, p.ID)
		}
		return ids
	}
	if ids := exported(); !slices.Contains(ids, good) {
		t.Errorf("exported: %q", ids)
	}
	if ids, _ := w.offered(t, productRole, w.colleague); !slices.Contains(ids, good) {
		t.Errorf("offered: %q", ids)
	}
}
