package publisher

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

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
	for _, giver := range w.roles {
		for _, next := range giver.next.Delegations {
			if present, _ := v.Authority(next.Name); present.Has(key) && !next.Has(key) {
				return true
			}
		}
	}
	return false
}

// recalls tells whether it is a list of recalls that grows.
func (r *roleDraft) recalls(v *catalog.View) bool {
	kind, _, _ := manifest.SplitRole(r.name)
	current, err := currentRole(v, r.name)
	return kind == manifest.StageRecalled && (err != nil || len(diffTargets(current, r.next)) > 0)
}

// rival says of shown proposals which exclude each other: those that change the same role, each on top of what is in effect, and
// neither of which is said to contain or supersede the other.
func rival(live []*waiting, list []PendingProposal) {
	stands := func(w *PendingProposal) bool { return w.Refused == "" && w.Within == "" }
	for i := range list {
		for j := range list {
			a, b := &list[i], &list[j]
			shared := slices.ContainsFunc(live[i].roles, func(r *roleDraft) bool { return live[j].role(r.name) != nil })
			if i != j && shared && stands(a) && stands(b) && a.SupersededBy != b.ID && b.SupersededBy != a.ID {
				a.Rivals = append(a.Rivals, b.ID)
			}
		}
	}
}

// rivals say of what was signed, or offered, that only one of several can take effect.
func (s *signing) rivals() (lines []string) {
	told := map[string]bool{}
	for _, w := range s.waited {
		if told[w.ID] || !s.seen[w.ID] || len(w.Rivals) == 0 || s.committed {
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
