package publisher

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
)

// mine splits the proposals of the signers that may take effect: those that all of them signed, or that this change joins,
// are to build on, unless it joins others alone. On top of one that may not take effect, everything else would wait in vain.
func (w *writer) mine(ctx context.Context, v *catalog.View, live []*waiting, d *desk) error {
	for _, proposal := range latestFirst(live) {
		own := proposal.signedByAll(w.signers)
		builds := own && (w.joins == nil || w.joins(proposal)) || w.joins != nil && proposal.complete() && w.joins(proposal)
		if !own && !builds {
			continue
		}
		reason, err := verdict(w.vet(ctx, v, proposal.roles))
		switch {
		case err != nil:
			return err
		case reason == "" && builds:
			d.waiting = append(d.waiting, proposal)
		case reason == "":
			d.apart = append(d.apart, proposal)
		}
	}
	return nil
}

// workOut works a change out: on top of the latest of the waiting proposals to build on that changes one of its roles, if that
// needs nobody's signature but those that the change needs anyway. Else the change would wait for people who have nothing to
// do with it.
func (d *desk) workOut(ctx context.Context, change change, signers []keys.Signer) (*draft, error) {
	for {
		dr, err := change(ctx, d)
		if dr == nil || err != nil || d.base == nil || d.base.completedBy(signers) {
			return dr, err
		}
		plain, err := change(ctx, &desk{view: d.view, store: d.store, now: d.now})
		if plain == nil || err != nil || plain.needsAllOf(d.view, d.base) {
			return change(ctx, d) // what else it tells its caller, it told of the plain one
		}
		d.apart = append(d.apart, d.base)
		d.waiting = slices.DeleteFunc(d.waiting, func(w *waiting) bool { return w == d.base })
		d.base = nil
	}
}

// completedBy tells whether the signers alone are all that a proposal takes.
func (w *waiting) completedBy(signers []keys.Signer) bool {
	return !slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		return held(signers, r.authority) < r.authority.Threshold || held(signers, r.successor) < r.successor.Threshold
	})
}

// needsAllOf tells whether the draft by itself needs every number of signatures that a proposal needs.
func (d *draft) needsAllOf(v *catalog.View, w *waiting) bool {
	d.authorize(v)
	needs := map[string]bool{authorityText(trust.Authority{}): true}
	for _, r := range d.roles {
		needs[authorityText(r.authority)], needs[authorityText(r.successor)] = true, true
	}
	return !slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		return !needs[authorityText(r.authority)] || !needs[authorityText(r.successor)]
	})
}

// rivals are the ids of the proposals left aside that change a role of the draft: of the two, the first to take effect makes
// the other stale.
func (d *desk) rivals(dr *draft) (ids []string) {
	for _, w := range d.apart {
		contained := slices.ContainsFunc(d.apart, func(other *waiting) bool { return w.within(d.view, other) })
		if !contained && slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return dr.role(r.name) != nil }) {
			ids = append(ids, w.id)
		}
	}
	return ids
}

// tellRivals says so in the outcome.
func (o *Outcome) tellRivals(ids []string) {
	for _, id := range ids {
		switch {
		case id == o.Proposal:
		case o.Status == Committed:
			o.Notes = append(o.Notes, id+" went stale by that; to propose it again: kitchen pending again "+id)
		default:
			o.Notes = append(o.Notes, rivalWords(id))
		}
	}
}

func rivalWords(id string) string {
	return "This does not build on " + id + ", which waits, too: once this is in effect, that is stale (then: kitchen pending again " + id + "), or the other way round."
}
