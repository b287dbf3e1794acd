package publisher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// The thief of one root key, or of an engineer's, leaves the change of an honest holder, which goes stale, with one more in it: the honest one is not
// left out for that, and whoever wants it again is not led to the thief's.
func TestAStaleChangeIsHiddenBehindALargerOne(t *testing.T) {
	t.Parallel()
	for _, thief := range []string{"a root holder", "an engineer"} {
		t.Run(thief, func(t *testing.T) {
			w := newWorld(t)
			w.publish(t, v1)
			hiddenBehindALargerOne(t, w, thief == "an engineer")
		})
	}
}

func hiddenBehindALargerOne(t *testing.T, w *world, engineer bool) {
	t.Helper()
	mallory := catalogtest.NewKey(t)
	add := func(name string, by ...key) *publisher.Outcome {
		t.Helper()
		req := w.openstack()
		req.Name = name
		out, err := w.publisher(t, w.onlineIf(len(by) > 1)).AddProduct(ctx, req, signers(by...))
		check(t, err)
		return out
	}
	honest := add("nova", w.root[0]).Proposal
	payload, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(honest, manifest.PayloadName("targets"))))
	check(t, err)
	w.now = w.now.Add(time.Minute)
	by := signers(w.root[2])
	if engineer {
		by = nil
	}
	roles := []crafted{{"targets", func(r *trust.Targets) {
		r.Delegations = payload.Clone().Delegations
		for i, d := range r.Delegations {
			if d.Name == productRole {
				k, err := trust.NewKey(mallory.Public())
				check(t, err)
				r.Delegations[i].Keys = append(r.Delegations[i].Keys, k)
			}
		}
	}, by}}
	if engineer {
		roles = append(roles, crafted{productRole, nil, signers(w.engineer)})
	}
	evil := w.craft(t, roles...)
	w.now = w.now.Add(time.Minute)
	if out := add("swift", w.root[1], w.root[2]); out.Status != publisher.Committed {
		t.Fatalf("%+v", out)
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if !slices.ContainsFunc(pending, func(p publisher.PendingProposal) bool { return p.ID == honest }) {
		t.Errorf("of the stale %s nothing is said", honest)
	}
	out := must(t, publisher.Unchanged)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[0])))
	notes := strings.Join(out.Notes, "\n")
	if !strings.Contains(notes, "kitchen pending again "+honest) {
		t.Errorf("the honest holder is not told of his own change: %q", notes)
	}
	if !engineer {
		return // it is the change of a holder, and told as one
	}
	if strings.Contains(notes, evil) {
		t.Errorf("the honest holder is led to the thief's change: %q", notes)
	}
	_, err = w.publisher(t, nil).Again(ctx, evil, nil, signers(w.root[0]))
	wantError[*publisher.NotAgain](t, err, "none of those who hold targets has signed it")
}

func (w *world) onlineIf(commits bool) keys.Signer {
	if commits {
		return w.online
	}
	return nil
}
