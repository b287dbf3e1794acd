package publisher

import (
	"context"
	"maps"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
)

// staleOne is a stale proposal with what it is shown as.
type staleOne struct {
	w     *waiting
	shown PendingProposal
}

// notBuiltOn leaves out stale proposals on which one was built that took effect, or one that is left out itself: whatever became of
// their change, the same people signed that. What a proposal was built on is its proposer's word: that it says more of the same places
// is in what was signed.
func notBuiltOn(v *catalog.View, list []staleOne, over []*waiting, past map[string]*history) (left []staleOne) {
	for i := 0; i < len(over); i++ {
		left = nil
		for _, one := range list {
			if over[i].on == one.w.id && one.w.signedWith(over[i]) && one.w.placesIn(v, over[i], past) {
				over = append(over, one.w)
			} else {
				left = append(left, one)
			}
		}
		list = left
	}
	return list
}

// placesIn tells whether another proposal, made to replace the same, changes every place that this one changes, in whatever way.
func (w *waiting) placesIn(v *catalog.View, other *waiting, past map[string]*history) bool {
	for _, r := range w.roles {
		o, base := other.role(r.name), baseOf(v, r, past)
		if o == nil || base == nil || o.next.Replaces != r.next.Replaces {
			return false
		}
		theirs := diffTargets(base, o.next)
		for path := range diffTargets(base, r.next) {
			if theirs[path] == "" {
				return false
			}
		}
	}
	return true
}

// signedWith tells whether all who signed a proposal have signed another that changes the same roles.
func (w *waiting) signedWith(other *waiting) bool {
	return !slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		o := other.role(r.name)
		return o == nil || slices.ContainsFunc(r.sigs, func(s trust.Signature) bool { return !signedBy(o.sigs, s.KeyID) })
	})
}

// unsettled leaves out stale proposals that were proposed again: what became of the later one is what counts.
func (p *Publisher) unsettled(ctx context.Context, v *catalog.View, list []staleOne, past map[string]*history) ([]PendingProposal, error) {
	if len(list) == 0 {
		return nil, nil
	}
	live, err := p.live(ctx, v)
	if err != nil {
		return nil, err
	}
	var left []PendingProposal
	for _, one := range list {
		again := slices.ContainsFunc(list, func(other staleOne) bool { return one.w.proposedAgainIn(v, other.w, past) })
		for _, other := range live {
			if again || !one.w.proposedAgainIn(v, other, past) {
				continue
			}
			reason, err := verdict(p.vet(ctx, v, other.roles)) // what is refused must not hide it
			if err != nil {
				return nil, err
			}
			again = reason == ""
		}
		if !again {
			left = append(left, one.shown)
		}
	}
	return left, nil
}

// proposedAgainIn tells whether a later proposal makes all of this one's changes, with a holder's signature wherever this one has one.
// It is of those who signed this one, or makes no other change: else one holder could hide another's behind a larger one.
func (w *waiting) proposedAgainIn(v *catalog.View, later *waiting, past map[string]*history) bool {
	if later.id == w.id || !later.byHolder() || !later.created.After(w.created) {
		return false
	}
	same := len(later.roles) == len(w.roles)
	for _, r := range w.roles {
		again := later.role(r.name)
		base := baseOf(v, r, past)
		if again == nil || base == nil || r.byHolder && !again.byHolder || !r.madeIn(base, again.next) || len(diffTargets(base, r.next)) == 0 {
			return false
		}
		// What the later one only keeps it does not propose.
		from := baseOf(v, again, past)
		if from == nil || r.madeIn(base, from) {
			return false
		}
		same = same && r.makesAll(base, from, again.next)
	}
	return same || w.signedWith(later)
}

// makesAll tells whether what a later version changes of what it rests on is nothing but what the draft changes of base, in the same way.
func (r *roleDraft) makesAll(base, from, later *trust.Targets) bool {
	mine := diffTargets(base, r.next)
	for path, change := range diffTargets(from, later) {
		before, after := r.next.Targets[path], later.Targets[path]
		if mine[path] == "" || mine[path] != change && !(after.SHA256 != "" && sameTarget(unnumbered(before), unnumbered(after))) {
			return false
		}
	}
	return true
}

// unnumbered is an entry without the numbers of its day.
func unnumbered(t trust.Target) trust.Target {
	t.Custom = maps.Clone(t.Custom)
	delete(t.Custom, customSeq)
	delete(t.Custom, customSince)
	return t
}

// baseOf is what a proposal of a role rests on, as far as its past can be read.
func baseOf(v *catalog.View, r *roleDraft, past map[string]*history) *trust.Targets {
	if r.next.Replaces == currentDigest(v, r.name) {
		return currentContent(v, r.name)
	}
	if past[r.name] == nil {
		return nil
	}
	return past[r.name].files[r.next.Replaces]
}

// wasDropped tells whether a stale proposal has in its place a version that changed nothing: its role was signed again as it was,
// which is how a proposal is dropped.
// A key that is to go could drop its own rotation so: what takes one out is told in full.
func (w *waiting) wasDropped(v *catalog.View, past map[string]*history) bool {
	if len(w.outgoing(v)) > 0 {
		return false
	}
	for _, r := range w.roles {
		h := past[r.name]
		if h == nil || h.files[r.next.Replaces] == nil {
			continue
		}
		for _, t := range h.files {
			if t.Version > 0 && t.Replaces == r.next.Replaces && len(diffTargets(h.files[r.next.Replaces], t)) == 0 {
				return true
			}
		}
	}
	return false
}
