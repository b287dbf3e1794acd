package publisher

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
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
