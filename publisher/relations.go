package publisher

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// What waiting proposals are to each other: one is built on another, contains it, supersedes it, or excludes it.

// builds tells whether a change is made on top of a waiting proposal that may be the signers' own: signed by all of them.
type builds func(v *catalog.View, w *waiting, own bool) bool

// mine finds the proposals that may take effect and that a change builds on: the signers' own, unless it has a rule of its own.
// On top of one that may not take effect, everything else would wait in vain.
func (w *writer) mine(ctx context.Context, v *catalog.View, live []*waiting, d *desk) error {
	for _, proposal := range latestFirst(live) {
		joined := proposal.signedByAll(w.signers)
		if w.joins != nil {
			joined = w.joins(v, proposal, joined)
		}
		if !joined {
			continue
		}
		reason, err := verdict(w.vet(ctx, v, proposal.roles))
		if err != nil {
			return err
		}
		if reason == "" {
			d.waiting = append(d.waiting, proposal)
		}
	}
	return nil
}

// beside are the live proposals that may take effect, change a role of the draft, and are neither part of it nor on their way
// out: of the two, the first to take effect makes the other stale.
func (p *Publisher) beside(ctx context.Context, d *desk, dr *draft) (list []*waiting, err error) {
	for _, w := range d.live {
		shares := slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return dr.role(r.name) != nil && w.begunFor(d.view, r.name, nil) })
		contained := func(other *waiting) bool { return w.within(d.view, other) || other.supersedes(d.view, w) }
		if !shares || w == d.base || d.base != nil && w.within(d.view, d.base) || w.partOf(d, dr) || slices.ContainsFunc(d.live, contained) {
			continue
		}
		reason, err := verdict(p.vet(ctx, d.view, w.roles))
		if err != nil {
			return nil, err
		}
		if reason == "" {
			p.words(ctx, d.view, w)
			list = append(list, w)
		}
	}
	return list, nil
}

// partOf tells whether a draft, once signed, contains the proposal.
func (w *waiting) partOf(d *desk, dr *draft) bool {
	whole := &waiting{created: d.made()}
	for _, r := range dr.roles {
		whole.roles = append(whole.roles, &roleDraft{name: r.name, next: r.next, byHolder: true})
	}
	(&draft{roles: whole.roles}).authorize(d.view)
	return w.within(d.view, whole)
}

// tellBeside says of an outcome what it was built on, and what it made stale, or will.
func (o *Outcome) tellBeside(base *waiting, rivals []*waiting) {
	if base != nil && o.Status == Pending && base.id != o.Proposal {
		o.Notes = append(o.Notes, base.baseWords())
	}
	told := map[string]bool{o.Proposal: true}
	for _, w := range rivals {
		switch {
		case told[w.id]:
		case o.Status == Committed:
			o.Notes = append(o.Notes, w.id+" went stale by that; to propose it again: kitchen pending again "+w.id+" --key FILE")
		default:
			o.Notes = append(o.Notes, w.rivalWords())
		}
		told[w.id] = true
	}
}

// baseWords say of a waiting proposal that a change was built on it.
func (w *waiting) baseWords() string {
	if w.complete() {
		return "It is built on " + w.named() + ", which is complete, and takes its place; where that is put into effect alone first, this goes stale (then: kitchen pending again)."
	}
	return "It is built on " + w.named() + ", which waits, too, and takes its place."
}

// rivalWords say of a waiting proposal that a change was not built on it.
func (w *waiting) rivalWords() string {
	return w.named() + " waits, too, and this does not build on it: the first of the two to take effect makes the other stale. To look at it: kitchen pending " + w.id
}

// named is a proposal's id, with the first of the words that say what it changes, once they were worked out.
func (w *waiting) named() string {
	if len(w.change) == 0 {
		return w.id
	}
	return w.id + " (" + w.change[0] + ")"
}

// within tells whether other changes everything that w changes, in the same way and on the same evidence, or was made
// on top of it; holders have begun it where they have begun w, and whatever w does not change; and it waits for nobody who need not be
// asked to sign w.
func (w *waiting) within(v *catalog.View, other *waiting) bool {
	if w == other || slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return other.role(r.name) == nil }) {
		return false
	}
	for _, o := range other.roles {
		wanted := w.role(o.name) == nil || w.begunFor(v, o.name, nil)
		if !w.suffices(o) || wanted && !other.begunFor(v, o.name, nil) {
			return false // w would wait for those who were never asked
		}
	}
	later := other.created.After(w.created)
	more, nothing := len(other.roles) > len(w.roles), true
	for _, r := range w.roles {
		o := other.role(r.name)
		current, err := currentRole(v, r.name)
		if err != nil || r.byHolder && !o.byHolder {
			return false
		}
		mine, theirs := diffTargets(current, r.next), diffTargets(current, o.next)
		for path, change := range mine {
			same := theirs[path] == change && r.next.Targets[path].Custom[customEvidence] == o.next.Targets[path].Custom[customEvidence]
			if !same && !(later && (w.goesFurtherIn(other, r.name, path, current) || w.goesOnIn(other, r.name, path))) {
				return false
			}
			more, nothing = more || !same, false
		}
		more = more || len(theirs) > len(mine)
	}
	if nothing { // signing again what is there: whoever asked for that after the other change did not mean that change
		return later
	}
	return more || other.created.Before(w.created) || (other.created.Equal(w.created) && other.id < w.id)
}

// suffices tells whether the keys that complete the proposal, whichever of those that may, can complete another's role; or that is complete.
func (w *waiting) suffices(o *roleDraft) bool {
	reaches := func(a trust.Authority) bool {
		enough := func(b trust.Authority) bool {
			return b.Threshold >= a.Threshold && !slices.ContainsFunc(b.KeyIDs(), func(id string) bool { return !a.Has(id) })
		}
		return a.Threshold == 0 || slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return enough(r.authority) || enough(r.successor) })
	}
	return o.authority.Threshold > 0 && (reaches(o.authority) && reaches(o.successor) || o.complete())
}

// goesOnIn tells whether a later change of the registry, of the same customers, was built on an earlier one: its proposer says so,
// and all who signed the one have signed the other.
func (w *waiting) goesOnIn(later *waiting, role, path string) bool {
	return role == manifest.RoleRegistry && later.on == w.id && later.role(role).next.Targets[path].SHA256 != "" && w.signedWith(later)
}

// goesFurtherIn tells whether a later change at one place may rest on an earlier one: a yank changes what is said of a published
// release, and not what it is, and takes another's back where all who signed that signed this; of who signs a role another change may
// say more.
func (w *waiting) goesFurtherIn(other *waiting, role, path string, current *trust.Targets) bool {
	earlier, later := w.role(role).next, other.role(role).next
	if name, ok := strings.CutPrefix(path, handOut); ok {
		return delegationMade(name, current, earlier, later)
	}
	before, after := earlier.Targets[path], later.Targets[path]
	return manifest.RoleStage(role) == manifest.StageCatalog && before.SHA256 == after.SHA256 && before.Length == after.Length && w.signedWith(other)
}

// aheadSlack is how far a proposal may be dated ahead and supersede another that is not.
const aheadSlack = 10 * time.Minute

// supersedes tells whether w does no more than to sign a role again that other, made before it, is to change: a holder who may
// drop the other asked for that to end it, and committers prefer it. What is dated ahead ends nothing that is not.
func (w *waiting) supersedes(v *catalog.View, other *waiting) bool {
	return w.created.After(other.created) && w.isRenewal(v) && (!w.ahead(v) || other.ahead(v)) &&
		slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
			return slices.ContainsFunc(r.sigs, func(s trust.Signature) bool { return other.keptFrom(v, r.name, s.KeyID) == "" })
		})
}

// ahead tells whether a proposal says that it was made later than it was there.
func (w *waiting) ahead(v *catalog.View) bool {
	there := v.Now()
	if !w.seen.IsZero() && w.seen.Before(there) {
		there = w.seen
	}
	return w.created.After(there.Add(aheadSlack))
}

// keptFrom says why a key may not drop the proposal by signing one of its roles again as it is; "" when it may. A key that is
// to go could keep itself in office so, and one that is to stop a release could keep others from it.
func (w *waiting) keptFrom(v *catalog.View, role, key string) string {
	present, _ := v.Authority(role)
	change := w.role(role)
	switch giver := w.giver(); {
	case change == nil || !present.Has(key):
		return "key " + ShortID(key) + " does not hold " + role
	case change.recalls(v):
		return "it is a recall, which nobody drops: it lapses, or a certificate lifts it (kitchen certify --lift-recall)"
	case giver != "" && giver != role:
		return "the holders of " + giver + " have begun to sign it, and they alone drop it"
	case w.takesOut(v, key):
		return "it takes a role from key " + ShortID(key) + ", which therefore cannot drop it"
	}
	return ""
}

// giver is the role whose present holders have begun to sign who holds others: root, or else targets, or "".
func (w *waiting) giver() string {
	for _, name := range []string{trust.RoleRoot, trust.RoleTargets} {
		if r := w.role(name); r != nil && r.byHolder {
			return name
		}
	}
	return ""
}

// endedIn is the role whose holders may drop the proposal, by a version without it; "" for a recall.
func (w *waiting) endedIn(v *catalog.View) string {
	role := cmp.Or(w.giver(), w.roles[0].name)
	if w.stale == "" && w.role(role).recalls(v) {
		return ""
	}
	return role
}

// takesOut tells whether the proposal takes any role from a key.
func (w *waiting) takesOut(v *catalog.View, key string) bool {
	return slices.Contains(w.outgoing(v), key)
}

// outgoing are the ids of the keys from which the proposal takes any role.
func (w *waiting) outgoing(v *catalog.View) (ids []string) {
	for _, giver := range w.roles {
		for _, next := range giver.next.Delegations {
			present, _ := v.Authority(next.Name)
			for _, id := range present.KeyIDs() {
				if !next.Has(id) {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// recalls tells whether it is a list of recalls that grows.
func (r *roleDraft) recalls(v *catalog.View) bool {
	kind, _, _ := manifest.SplitRole(r.name)
	current, err := currentRole(v, r.name)
	return kind == manifest.StageRecalled && (err != nil || len(diffTargets(current, r.next)) > 0)
}

// rival says of shown proposals which exclude each other: those that change the same role, each on top of what is in effect, and
// neither of which is said to contain or supersede the other. What no holder has begun in that role is no rival.
func rival(v *catalog.View, live []*waiting, list []PendingProposal) {
	stands := func(w *PendingProposal) bool { return w.Refused == "" && w.Within == "" }
	for i := range list {
		for j := range list {
			a, b := &list[i], &list[j]
			shared := func(r *roleDraft) bool { return live[j].role(r.name) != nil && live[j].begunFor(v, r.name, nil) }
			if i != j && stands(a) && stands(b) && a.SupersededBy != b.ID && b.SupersededBy != a.ID && slices.ContainsFunc(live[i].roles, shared) {
				a.Rivals = append(a.Rivals, b.ID)
			}
		}
	}
}

// rivals say of what was signed that only one of several can take effect.
func (s *signing) rivals() (lines []string) {
	told := map[string]bool{}
	for _, w := range s.waited {
		if told[w.ID] || !s.seen[w.ID] || s.declined[w.ID] || len(w.Rivals) == 0 || s.committed {
			continue
		}
		for _, id := range w.Rivals {
			told[id] = true
		}
		lines = append(lines, w.ID+" "+w.Excludes())
	}
	return lines
}

// Excludes says in words which others can never take effect once this one has; "" for none.
func (p *PendingProposal) Excludes() string {
	if len(p.Rivals) == 0 {
		return ""
	}
	named := strings.Join(p.Rivals[:min(len(p.Rivals), maxOffered)], ", ")
	if more := len(p.Rivals) - maxOffered; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return "excludes " + named + ": only one of them can take effect"
}

// relate completes what shown proposals say of each other: one is superseded by what contains the proposal that ends it,
// and which knows that it ends it.
func relate(list []PendingProposal) {
	place := map[string]int{}
	for i := range list {
		place[list[i].ID] = i
	}
	for i := range list {
		by, superseded := place[list[i].SupersededBy]
		if !superseded {
			continue
		}
		for range list {
			if next, contained := place[list[by].Within]; contained && next != i {
				by = next
			}
		}
		list[i].SupersededBy = list[by].ID
		list[by].Supersedes = append(list[by].Supersedes, list[i].ID)
	}
}
