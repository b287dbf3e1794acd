package publisher

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// Whatever vetting lets through: a catalog that a fresh reader would refuse is never swapped in. Tested from within,
// since nothing that comes this far is known to be broken.
func TestABrokenCandidateIsNeverSwappedIn(t *testing.T) {
	t.Parallel()
	name, stranger := manifest.RoleProduct("openstack"), catalogtest.NewKey(t)
	same := func(*trust.Targets) {}
	next := func(w *catalogtest.World, change func(*trust.Targets)) *trust.Targets {
		n := w.Roles[name].Clone()
		n.Version, n.Expires = n.Version+1, w.Now.Add(time.Hour)
		change(n)
		return n
	}
	engineers := func(w *catalogtest.World) trust.Authority { return catalogtest.Authority(1, w.RoleKeys[name]...) }
	for fault, broken := range map[string]func(w *catalogtest.World) *roleDraft{
		"signed by a stranger": func(w *catalogtest.World) *roleDraft {
			return &roleDraft{name: name, next: next(w, same), authority: catalogtest.Authority(1, stranger)}
		},
		"not signed at all": func(w *catalogtest.World) *roleDraft {
			return &roleDraft{name: name, next: next(w, same), authority: trust.Authority{Threshold: 1}}
		},
		"expired": func(w *catalogtest.World) *roleDraft {
			return &roleDraft{name: name, next: next(w, func(n *trust.Targets) { n.Expires = w.Now.Add(-time.Second) }), authority: engineers(w)}
		},
		"a role that nobody delegates": func(w *catalogtest.World) *roleDraft {
			return &roleDraft{name: manifest.RoleProduct("swift"), next: next(w, same), authority: engineers(w)}
		},
		"another role's keys taken away": func(w *catalogtest.World) *roleDraft {
			return &roleDraft{name: trust.RoleTargets, next: withoutKeys(w, name, stranger), authority: catalogtest.Authority(2, w.RootKeys...)}
		},
		"another version within": func(w *catalogtest.World) *roleDraft {
			r := &roleDraft{name: name, next: next(w, func(n *trust.Targets) { n.Version += 5 }), authority: engineers(w)}
			r.payload = seal(t, r, w)
			r.next.Version -= 5
			return r
		},
	} {
		t.Run(fault, func(t *testing.T) {
			w := catalogtest.New(t)
			w.AddProduct("openstack")
			w.Publish("openstack@1.0.0", catalogtest.Content{})
			w.Commit()
			r := broken(w)
			if r.payload == nil {
				r.payload = seal(t, r, w, stranger)
			}
			faults := storagetest.NewFaults(t, w.Store)
			p := &Publisher{Catalog: w.Open(t.TempDir()), Store: faults, Now: func() time.Time { return w.Now }, Online: w.Online}
			view, err := p.refresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = p.install(t.Context(), view, []*roleDraft{r})
			var refused *trust.Error
			if !errors.As(err, &refused) {
				t.Errorf("%v, want the refusal that a reader would give", err)
			}
			if n := faults.Count("swap"); n != 0 {
				t.Errorf("%d swaps of the timestamp", n)
			}
		})
	}
}

// withoutKeys are targets that give a role in effect to somebody else.
func withoutKeys(w *catalogtest.World, role string, to *catalogtest.Key) *trust.Targets {
	n := w.Targets.Clone()
	n.Version++
	for i := range n.Delegations {
		if n.Delegations[i].Name == role {
			n.Delegations[i].Authority = catalogtest.Authority(1, to)
		}
	}
	return n
}

// seal signs a draft with every key of its authority.
func seal(t *testing.T, r *roleDraft, w *catalogtest.World, others ...*catalogtest.Key) []byte {
	t.Helper()
	payload, err := r.next.Payload()
	if err != nil {
		t.Fatal(err)
	}
	all := append(append(others, w.RootKeys...), w.RoleKeys[manifest.RoleProduct("openstack")]...)
	for _, k := range all {
		if !r.authority.Has(k.TUF.ID) {
			continue
		}
		sig, err := trust.Sign(context.Background(), payload, k)
		if err != nil {
			t.Fatal(err)
		}
		r.sigs = append(r.sigs, sig)
	}
	return payload
}
