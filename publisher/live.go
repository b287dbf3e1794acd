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
	defer p.sink().Start("reading what waits below pending/", -1).Done(nil)
	files, err := p.listPending(ctx)
	if err != nil {
		return nil, err
	}
	newestFirst(files)
	var list []*waiting
	quota, firsts := newQuota(), map[string]*waiting{}
	for _, f := range files {
		if f.past(v) || !f.worthReading(v) || !quota.hasRoom(f.claimed(v)) {
			continue
		}
		w, err := p.readWithin(ctx, v, f, quota.affords)
		if err != nil {
			return nil, err
		}
		if w == nil || w.stale != "" || !w.signed() {
			continue
		}
		what := w.signedByHolders()
		first := firsts[what]
		switch {
		case first != nil && w.seen.Before(first.seen):
			list[slices.Index(list, first)], firsts[what] = w, w
		case first != nil && w.seen.After(first.seen):
		case quota.takes(w.shares(v)):
			if list = append(list, w); what != "" {
				firsts[what] = w
			}
		}
	}
	for _, text := range append(quota.crowded(), quota.tooMuchWords()...) {
		p.note(text)
	}
	slices.SortFunc(list, func(a, b *waiting) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.id, b.id))
	})
	return list, nil
}

// signedByHolders names the payloads that holders of today have signed; "" for none. Whoever may write below pending/ can put them, and
// their signatures, beside payloads of his own for the other roles: of such proposals the first counts, which they were signed for.
func (w *waiting) signedByHolders() (names string) {
	for _, r := range w.roles {
		if r.byHolder {
			names += r.name + " " + digest(r.payload) + "\n"
		}
	}
	return names
}

func newestFirst(files []*pendingFiles) {
	slices.SortStableFunc(files, func(a, b *pendingFiles) int { return b.modified.Compare(a.modified) })
}

// share is what a proposal counts against, of what is looked at: a key, and a role that it signed.
type share struct{ key, role string }

// quota counts the proposals that are looked at.
type quota struct {
	taken     map[share]int
	strangers int
	left      map[share]int // that were not looked at
	foreign   int64         // bytes that were read of what no holder has signed
	tooMuch   int           // that were not looked at for their bytes
}

func newQuota() *quota { return &quota{taken: map[share]int{}, left: map[share]int{}} }

// hasRoom tells whether a proposal of these holders may be looked at; one of nobody's, among the strangers'. Somebody can claim
// a key that did not sign: what it takes up counts once that is verified.
func (q *quota) hasRoom(shares []share) bool {
	if len(shares) == 0 && q.strangers < maxStrangers {
		return true
	}
	if slices.ContainsFunc(shares, func(s share) bool { return q.taken[s] < maxOfOneKey }) {
		return true
	}
	var of share // nobody's
	if len(shares) > 0 {
		of = shares[0]
	}
	q.left[of]++
	return false
}

// takes counts a proposal, if there is room for it.
func (q *quota) takes(shares []share) bool {
	if !q.hasRoom(shares) {
		return false
	}
	if len(shares) == 0 {
		q.strangers++
	}
	for _, s := range shares {
		q.taken[s]++
	}
	return true
}

// crowded says what was not looked at, and why.
func (q *quota) crowded() (lines []string) {
	byShare := func(a, b share) int { return cmp.Or(strings.Compare(a.role, b.role), strings.Compare(a.key, b.key)) }
	for _, s := range slices.SortedFunc(maps.Keys(q.left), byShare) {
		if s.key == "" {
			lines = append(lines, fmt.Sprintf("%d more proposals that no holder has signed are not looked at, only the %d newest", q.left[s], maxStrangers))
			continue
		}
		lines = append(lines, fmt.Sprintf("%d more proposals for %s signed by key %s, as their names say, are not looked at: it has %d newer ones; if its holder knows nothing of those, the key is stolen: kitchen role rotate %s --old %s --new FILE",
			q.left[s], s.role, ShortID(s.key), maxOfOneKey, s.role, ShortID(s.key)))
	}
	return lines
}

// crowdedStale says what was not looked at for stale proposals.
func (q *quota) crowdedStale() (lines []string) {
	more := 0
	for _, n := range q.left {
		more += n
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("of what went stale, at most the %d newest of each key are shown: %d more proposals were not looked at", maxOfOneKey, more))
	}
	return lines
}

// claimed are the shares of today's holders whose signatures the names of a proposal's objects promise.
func (f *pendingFiles) claimed(v *catalog.View) (shares []share) {
	for _, role := range slices.Sorted(maps.Keys(f.sigs)) {
		present, _ := v.Authority(role)
		for _, id := range present.KeyIDs() {
			if f.sigs[role][id] != nil {
				shares = append(shares, share{id, role})
			}
		}
	}
	return shares
}

// shares are those of today's holders who have signed it.
func (w *waiting) shares(v *catalog.View) (shares []share) {
	for _, r := range w.roles {
		present, _ := v.Authority(r.name)
		for _, sig := range r.sigs {
			if present.Has(sig.KeyID) {
				shares = append(shares, share{sig.KeyID, r.name})
			}
		}
	}
	return shares
}
