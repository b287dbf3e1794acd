package publisher_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
)

// brokenSigner answers with a signature that does not verify, or not at all.
type brokenSigner struct {
	keys.Signer
	err error
}

func (b brokenSigner) Sign(context.Context, []byte) ([]byte, error) { return []byte("nonsense"), b.err }

func TestRefusedCallsLeaveTheTimestampAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	stray := source(t, "openstack@1.1.0", nil)
	before := w.state(t)
	p := w.publisher(t, w.online)
	out := func(_ *publisher.Outcome, err error) error { return err }
	for name, call := range map[string]func() error{
		"initialize": func() error { return w.initialize(w.store) },
		"publish: other bytes": func() error {
			return out(p.Publish(ctx, source(t, v1, map[string]string{"x": "y"}), signers(w.engineer)))
		},
		"publish: no engineer": func() error { return out(p.Publish(ctx, stray, signers(w.stranger))) },
		"publish: no key":      func() error { return out(p.Publish(ctx, stray, nil)) },
		"publish: no product":  func() error { return out(p.Publish(ctx, source(t, "swift@1.0.0", nil), signers(w.engineer))) },
		"publish: other case": func() error {
			return out(p.Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"a": "", "A": ""}), signers(w.engineer)))
		},
		"publish: wrong online": func() error { return out(w.publisher(t, w.stranger).Publish(ctx, stray, signers(w.engineer))) },
		"publish: the signer's answer is nonsense": func() error {
			return out(p.Publish(ctx, stray, []keys.Signer{brokenSigner{w.engineer, nil}}))
		},
		"publish: the online key's answer is nonsense": func() error {
			return out(w.publisher(t, brokenSigner{w.online, nil}).Publish(ctx, stray, signers(w.engineer)))
		},
		"publish: the online key is out of reach": func() error {
			return out(w.publisher(t, brokenSigner{w.online, errors.New("KMS is down")}).Publish(ctx, stray, signers(w.engineer)))
		},
		"add product: other keys": func() error {
			req := w.openstack()
			req.Certifiers = publics(w.stranger)
			return out(p.AddProduct(ctx, req, signers(w.root[:2]...)))
		},
		"add product: no root holder": func() error {
			return out(p.AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.admin)))
		},
		"add customer: exists": func() error {
			return out(p.AddCustomer(ctx, publisher.CustomerRequest{Name: "acme"}, signers(w.admin)))
		},
		"add site: key taken":       func() error { return out(p.AddSite(ctx, w.site("acme/lab", w.engineer), signers(w.admin))) },
		"validate: unknown":         func() error { return out(p.Validate(ctx, release("openstack@9.9.9"), signers(w.validator))) },
		"certify: no certifier":     func() error { return out(certify(p, v1, w.engineer)) },
		"recall: no reason":         func() error { return out(p.Recall(ctx, release(v1), "", signers(w.engineer))) },
		"recall: another product's": func() error { return out(p.Recall(ctx, release(v1), "x", signers(w.cephEngineer))) },
		"sign: no holder":           func() error { return out(p.Sign(ctx, readyRole, nil, signers(w.stranger))) },
		"sign: no such role":        func() error { return out(p.Sign(ctx, "product.swift", nil, signers(w.stranger))) },
		"commit: no key":            func() error { _, err := w.publisher(t, nil).Commit(ctx); return err },
		"commit: wrong key":         func() error { _, err := w.publisher(t, w.root[0]).Commit(ctx); return err },
		"commit: cancelled": func() error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := p.Commit(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.refused(t, call)
			if text := err.Error(); text == "" || strings.HasSuffix(text, ".") || strings.Contains(text, "%!") {
				t.Errorf("an odd error: %q", text)
			}
		})
	}
	if !maps.Equal(before, w.state(t)) {
		t.Error("readers see a change")
	}
	mustCommit(t)(p.Publish(ctx, stray, signers(w.engineer))) // what was left behind is in nobody's way
	w.view(t)
}

// Ctrl-C at any write: nothing has changed for readers.
func TestACancelledPublicationChangesNothing(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	dir := source(t, v1, map[string]string{"images/disk.img": "disk"})
	for _, at := range []int{1, 3, 5, 6} {
		w := start.copy(t)
		ctx, cancel := context.WithCancel(ctx)
		faults := storagetest.NewFaults(t, w.store)
		faults.Before = func(ctx context.Context, c storagetest.Call) error {
			if c.Write == at {
				cancel()
			}
			return ctx.Err()
		}
		err := w.refused(t, func() error {
			_, err := w.over(t, faults, w.online).Publish(ctx, dir, signers(w.engineer))
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at write %d: %v", at, err)
		}
		if faults.Writes() != at {
			t.Errorf("cancelled at write %d, and %d were made", at, faults.Writes())
		}
	}
}

// The candidate is verified as a reader would before it is shown: a role that went bad in the store since it was
// fetched is not this writer's fault, and does not stop it.
func TestAWriterIsNotStoppedByABrokenRoleOfOthers(t *testing.T) {
	w := newWorld(t)
	w.publish(t, "ceph@1.0.0")
	w.overwrite(t, "metadata/1.product.ceph.json", []byte("damaged"))
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, v1, nil), signers(w.engineer)))
	v, err := w.catalog(t, w.store).Refresh(ctx)
	check(t, err)
	if broken := v.Broken(); len(broken) != 1 || broken[0].Role != "product.ceph" {
		t.Errorf("broken: %+v", broken)
	}
	if _, err := v.Release(release(v1)); err != nil {
		t.Error(err)
	}
	_, err = w.publisher(t, w.online).Publish(ctx, source(t, "ceph@1.1.0", nil), signers(w.cephEngineer))
	wantError[*trust.Error](t, err, "product.ceph")
}

// Nor by a proposal that changes such a role: nobody can say what it would do.
func TestARecallIsNotStoppedByAProposalOnABrokenRole(t *testing.T) {
	w := newWorld(t)
	w.publish(t, "ceph@1.0.0")
	w.publish(t, v1)
	w.craft(t, crafted{recalledRole, nil, signers(w.colleague)},
		crafted{"product.ceph", func(n *trust.Targets) { n.Replaces = "" }, signers(w.cephEngineer)})
	w.overwrite(t, "metadata/1.product.ceph.json", []byte("damaged"))
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v1), "stop it", signers(w.engineer)))
}
