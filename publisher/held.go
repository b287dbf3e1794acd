package publisher

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// latestFirst orders proposals so that one that was made on top of others comes before them: each is at least a second
// younger than what it was made on. Among those of one second the one that holds more is first. Before all others come those that
// say who signs: a key that is to go must not make its own going stale by signing something else.
func latestFirst(list []*waiting) []*waiting {
	size := func(w *waiting) (n int) {
		for _, r := range w.roles {
			n += len(r.next.Targets) + len(r.next.Delegations)
		}
		return n
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b *waiting) int {
		return cmp.Or(compareTrue(a.handsOut(), b.handsOut()), b.created.Compare(a.created), size(b)-size(a), strings.Compare(a.id, b.id))
	})
	return sorted
}

// handsOut tells whether a proposal may change who signs a role.
func (w *waiting) handsOut() bool {
	return w.role(trust.RoleRoot) != nil || w.role(trust.RoleTargets) != nil
}

// compareTrue puts what is true first.
func compareTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// heldBy is a proposal on account of which a change waits: the holders of root, or of targets, have all signed that they give
// one of the roles other keys, and the change is not signed by these. Else a key that is to go could put its rotation off for
// ever, by another change each time; what those holders have all signed, too, is theirs to put first. Or it recalls a release, and the change would sign the list of recalls again without that.
// Recalls alone are never held up, and nothing is by what a rule forbids.
func (p *Publisher) heldBy(ctx context.Context, v *catalog.View, live []*waiting, roles []*roleDraft) (*waiting, error) {
	for _, w := range live {
		if !w.outruns(v, roles) && !w.stops(v, roles) {
			continue
		}
		if reason, err := verdict(p.vet(ctx, v, w.roles)); err != nil || reason == "" {
			return w, err
		}
	}
	return nil, nil
}

// outruns tells whether the holders of root, or of targets, have given one of the roles other keys in w, which have not signed it.
func (w *waiting) outruns(v *catalog.View, roles []*roleDraft) bool {
	for _, parent := range []string{trust.RoleRoot, trust.RoleTargets} {
		giver := w.role(parent)
		if giver == nil || !giver.complete() || (&waiting{roles: roles}).gives(parent) {
			continue
		}
		for _, role := range roles {
			kind, _, _ := manifest.SplitRole(role.name)
			given, ok := giver.next.Delegation(role.name)
			present, _ := v.Authority(role.name)
			same := w.role(role.name) != nil && string(w.role(role.name).payload) == string(role.payload)
			if ok && !same && kind != manifest.StageRecalled && authorityText(present) != authorityText(given.Authority) &&
				len(trust.ValidSignatures(role.payload, role.sigs, given.Authority)) < given.Threshold {
				return true
			}
		}
	}
	return false
}

// gives tells whether those who hand roles out have all signed this change, too: then it is theirs to say which comes first.
func (w *waiting) gives(parent string) bool {
	giver := w.role(parent)
	return giver != nil && giver.complete()
}

// stops tells whether w recalls a release, by enough signatures, in a list that a change signs again as it is. What says who
// signs is not held up by that.
func (w *waiting) stops(v *catalog.View, roles []*roleDraft) bool {
	return w.complete() && !(&waiting{roles: roles}).handsOut() && slices.ContainsFunc(roles, func(r *roleDraft) bool {
		recall := w.role(r.name)
		return recall != nil && recall.recalls(v) && !r.recalls(v)
	})
}

// heldWords say so.
func heldWords(by *waiting) string {
	if !by.handsOut() {
		return "proposal " + by.id + " recalls a release, and takes effect first (kitchen pending " + by.id + ")"
	}
	return "those who say who signs it have given it other keys, in proposal " + by.id + ", which has to take effect first (kitchen pending " + by.id + ")"
}
