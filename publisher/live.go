package publisher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
)

// live reads the proposals that could still take effect: on top of what is in effect now, not lapsed, and signed by
// somebody who may. Of one key's the newest are looked at, so that nobody can hide what others signed.
func (p *Publisher) live(ctx context.Context, v *catalog.View) ([]*waiting, error) {
	files, err := p.listPending(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(files, func(a, b *pendingFiles) int { return b.modified.Compare(a.modified) })
	var list []*waiting
	hall := &hall{taken: map[seat]int{}}
	for _, f := range files {
		if f.past(v) || !f.worthReading(v) || !hall.hasRoom(f.claimed(v)) {
			continue
		}
		w, err := p.readProposal(ctx, v, f)
		if err != nil {
			return nil, err
		}
		if w != nil && w.stale == "" && w.signed() && hall.takes(w.seats(v, f.role)) {
			list = append(list, w)
		}
	}
	for _, text := range hall.crowded() {
		p.note(text)
	}
	slices.SortFunc(list, func(a, b *waiting) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.id, b.id))
	})
	return list, nil
}

// seat is what a proposal takes up of a holder's share: a key, and the role that the proposal is named after.
type seat struct{ key, role string }

// hall counts the proposals that are looked at.
type hall struct {
	taken     map[seat]int
	strangers int
	left      map[seat]int // that were not looked at
}

// hasRoom tells whether a proposal of these holders may be looked at; one of nobody's, among the strangers'. Somebody can claim
// a key that did not sign: what it takes up counts once that is verified.
func (h *hall) hasRoom(seats []seat) bool {
	if len(seats) == 0 {
		return h.strangers < maxStrangers
	}
	if slices.ContainsFunc(seats, func(s seat) bool { return h.taken[s] < maxOfOneKey }) {
		return true
	}
	if h.left == nil {
		h.left = map[seat]int{}
	}
	h.left[seats[0]]++
	return false
}

// takes counts a proposal, if there is room for it.
func (h *hall) takes(seats []seat) bool {
	if !h.hasRoom(seats) {
		return false
	}
	if len(seats) == 0 {
		h.strangers++
	}
	for _, s := range seats {
		h.taken[s]++
	}
	return true
}

// crowded says what was not looked at, and why.
func (h *hall) crowded() (lines []string) {
	bySeat := func(a, b seat) int { return cmp.Or(strings.Compare(a.role, b.role), strings.Compare(a.key, b.key)) }
	for _, s := range slices.SortedFunc(maps.Keys(h.left), bySeat) {
		lines = append(lines, fmt.Sprintf("%d more proposals for %s signed by key %s are not looked at: it has %d newer ones; if its holder knows nothing of them, the key is stolen: kitchen role rotate %s --old %s --new FILE",
			h.left[s], s.role, ShortID(s.key), maxOfOneKey, s.role, ShortID(s.key)))
	}
	return lines
}

// claimed are the seats of today's holders whose signatures the names of a proposal's objects promise.
func (f *pendingFiles) claimed(v *catalog.View) (seats []seat) {
	for _, role := range slices.Sorted(maps.Keys(f.sigs)) {
		present, _ := v.Authority(role)
		for _, id := range present.KeyIDs() {
			if f.sigs[role][id] != nil {
				seats = append(seats, seat{id, f.role})
			}
		}
	}
	return seats
}

// seats are those of today's holders who have signed it.
func (w *waiting) seats(v *catalog.View, role string) (seats []seat) {
	for _, r := range w.roles {
		present, _ := v.Authority(r.name)
		for _, sig := range r.sigs {
			if s := (seat{sig.KeyID, role}); present.Has(sig.KeyID) && !slices.Contains(seats, s) {
				seats = append(seats, s)
			}
		}
	}
	return seats
}
