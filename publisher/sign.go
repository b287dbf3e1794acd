package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// maxOffered is how many commands a hint names.
const maxOffered = 5

// NotToSign is a name that is neither a role's nor one waiting proposal's (exit 1).
type NotToSign struct {
	Name    string
	Several bool     // it begins the ids of several
	Waits   []string // with Several those, else all that could be signed
}

func (e *NotToSign) Error() string {
	if e.Several {
		return fmt.Sprintf("%d waiting proposals begin with %s", len(e.Waits), e.Name)
	}
	return fmt.Sprintf("there is no role %q in this catalog, and no waiting proposal whose id begins so (ROLE.VERSION at least)", e.Name)
}

// Hint names the commands that sign what waits.
func (e *NotToSign) Hint() string {
	var commands []string
	for _, id := range e.Waits[:min(len(e.Waits), maxOffered)] {
		commands = append(commands, signCommand(id))
	}
	if len(e.Waits) > maxOffered {
		commands = append(commands, fmt.Sprintf("and %d more (kitchen pending)", len(e.Waits)-maxOffered))
	}
	switch {
	case e.Several:
		return "one of them: " + strings.Join(commands, "; ")
	case len(commands) == 0:
		return "kitchen role show lists them, with who signs them; nothing waits for a signature"
	}
	return "kitchen role show lists them, with who signs them; what waits is signed by: " + strings.Join(commands, "; ")
}

// signCommand signs what waits for a role, or one proposal.
func signCommand(which string) string { return "kitchen sign " + which + " --key FILE" }

// ToSign tells what a name means to Sign and Export: a role, or the one waiting proposal whose id begins with it, role and
// version at least; and the roles whose holders sign that. A role is not looked up. Errors: *NotToSign, *NothingToSign for a
// proposal that takes no signature.
func (p *Publisher) ToSign(ctx context.Context, name string) (which string, roles []string, err error) {
	if isRole(name) && !p.numbered(ctx, name) {
		return name, []string{name}, nil
	}
	list, err := p.Pending(ctx)
	if err != nil {
		return "", nil, err
	}
	var waits, found []string
	var gone []PendingProposal
	for _, w := range list {
		switch begins := names(name, w.ID); {
		case w.Stale != "" && w.ID == name:
			return "", nil, takesNone(&w)
		case w.Stale != "" && begins:
			gone = append(gone, w)
		case w.Stale != "":
		case begins:
			found, roles = append(found, w.ID), rolesOf(&w)
			fallthrough
		default:
			waits = append(waits, w.ID)
		}
	}
	if len(found) == 1 {
		return found[0], roles, nil
	}
	if len(found) > 1 {
		return "", nil, &NotToSign{Name: name, Several: true, Waits: found}
	}
	if len(gone) == 1 {
		return "", nil, takesNone(&gone[0])
	}
	if _, _, _, err := manifest.ParseProposalID(name); err == nil {
		w, err := p.PendingOne(ctx, name)
		if err == nil {
			return "", nil, takesNone(w)
		}
		if storeFailure(err) {
			return "", nil, err
		}
	}
	return "", nil, &NotToSign{Name: name, Waits: waits}
}

// numbered tells a role with a version from a customer's role whose name looks so.
func (p *Publisher) numbered(ctx context.Context, name string) bool {
	_, _, customer := manifest.SplitRole(name)
	if customer == "" || strings.Trim(customer, "0123456789") != "" {
		return false
	}
	_, unknown := errors.AsType[*UnknownRole](p.KnowsRole(ctx, name))
	return unknown
}

// names tells whether a name is a proposal's id, or the beginning of one with its role and version: what is shorter is a slip.
func names(name, id string) bool {
	role, version, _, err := manifest.ParseProposalID(id)
	base := manifest.ProposalID(role, version, "")
	return err == nil && strings.HasPrefix(id, name) && strings.HasPrefix(name+".", base)
}

func rolesOf(w *PendingProposal) (names []string) {
	for _, r := range w.Roles {
		names = append(names, r.Role)
	}
	return slices.Compact(names)
}

// takesNone says why a proposal that is there takes no signature, and what makes its change again.
func takesNone(w *PendingProposal) error {
	e := &NothingToSign{Proposal: w.ID, Reason: w.Stale, Command: strings.Join(w.Again, "; ")}
	if w.Stale == "" {
		e.Reason = "nobody who may has signed it"
	}
	if w.Stale == "" && slices.ContainsFunc(w.Roles, func(r RoleSignatures) bool { return r.Have > 0 }) {
		e.Reason = "its signers have so many others waiting that it is not looked at"
	}
	return e
}

// SignBegun is Sign that asks nobody, and leaves aside a proposal, named or not, of which it would sign a role that none of those who
// hold it has begun: *Refused.
func (p *Publisher) SignBegun(ctx context.Context, which string, signers []keys.Signer) (*Outcome, error) {
	s := p.signing(which, nil, signers)
	s.begunOnly = true
	return s.run(ctx)
}

func (p *Publisher) signing(which string, confirm func(PendingProposal) (bool, error), signers []keys.Signer) *signing {
	s := &signing{Publisher: p.renewing(), role: which, confirm: confirm, signers: signers, seen: map[string]bool{}, declined: map[string]bool{},
		out: &Outcome{Status: Unchanged, Summary: []string{"nothing waits for a signature of role " + which}}}
	if role, _, _, err := manifest.ParseProposalID(which); err == nil {
		s.role, s.id = role, which
	}
	s.begunOnly = s.id == "" && confirm == nil
	return s
}

// authorizeSigning wants signers that hold the role, as it is or as a waiting proposal would make it.
func authorizeSigning(v *catalog.View, role string, live []*waiting, signers []keys.Signer) error {
	err := authorizeRole(v, role, signers)
	for _, w := range live {
		if err == nil {
			return nil
		}
		err = authorize(role, w.role(role).signers(), signers)
	}
	return err
}

// changing shows the live proposals that change a role. What else waits for one of their roles is looked at, too: it may
// supersede one.
func (p *Publisher) changing(ctx context.Context, v *catalog.View, live []*waiting, role string) (list []*waiting, shown []PendingProposal, err error) {
	beside := func(w *waiting) bool {
		return slices.ContainsFunc(live, func(other *waiting) bool {
			return other.role(role) != nil && slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return other.role(r.name) != nil })
		})
	}
	near := slices.DeleteFunc(slices.Clone(live), func(w *waiting) bool { return !beside(w) })
	all, err := p.show(ctx, v, near)
	if err != nil {
		return nil, nil, err
	}
	for i, w := range near {
		if w.role(role) != nil {
			list, shown = append(list, w), append(shown, all[i])
		}
	}
	return list, shown, nil
}

// next is the place of the next proposal to look at, -1 for none.
func (s *signing) next(shown []PendingProposal) int {
	return slices.IndexFunc(shown, func(w PendingProposal) bool { return !s.seen[w.ID] && s.offers(&w, shown) })
}

// offers tells whether a proposal is to be looked at: the one that was named, or whatever no other stands for that is looked at,
// too, and was not declined. Of those that stand for each other in a ring each is looked at.
func (s *signing) offers(w *PendingProposal, list []PendingProposal) bool {
	if s.id != "" {
		return w.ID == s.id
	}
	by := s.standsFor(w, list)
	for steps := 0; by != nil && by.ID != w.ID && steps < len(list); steps++ {
		by = s.standsFor(by, list)
	}
	return by != nil && by.ID == w.ID || s.standsFor(w, list) == nil
}

// standsFor is the proposal that is looked at in place of another; nil for none.
func (s *signing) standsFor(w *PendingProposal, list []PendingProposal) *PendingProposal {
	i := slices.IndexFunc(list, func(other PendingProposal) bool {
		return !s.declined[other.ID] && (other.ID == w.Within || other.ID == w.SupersededBy)
	})
	if i < 0 {
		return nil
	}
	return &list[i]
}

// unanswered is a question about a proposal to which there was no answer.
type unanswered struct{ error }

func (e *unanswered) Unwrap() error { return e.error }

// aim refuses signers who may sign none of the roles of the one proposal that is to be signed.
func (s *signing) aim(live []*waiting) error {
	i := slices.IndexFunc(live, func(w *waiting) bool { return w.id == s.id })
	if i < 0 {
		return &NothingToSign{Proposal: s.id, Reason: "it waits no more"}
	}
	for _, by := range s.signers {
		if err := authorizeAny(live[i].roles, by); err != nil {
			return err
		}
	}
	return nil
}

// leave says of a proposal, of which a role is signed that no holder has begun, that where nobody is asked it is signed by its whole
// id alone. It stands for no other then.
func (s *signing) leave(w *waiting, role string) error {
	s.declined[w.id] = true
	step := "look at it (kitchen pending " + w.id + "); to sign it: " + signCommand(w.id)
	if s.carried {
		step = "to look at it, and to sign it if it is meant, leave out --yes"
	}
	reason := "nobody who holds " + role + " has signed " + w.id + ": " + step
	s.strange = append(s.strange, w.id+" was not signed: "+reason)
	return &Refused{Role: role, Reason: reason, Next: "if nobody whom you know made it, leave it alone: without signatures by those who hold " + role + " it comes to nothing"}
}

// unbegun is the first role of which it would be for the signers to begin the proposal: the one that was named, if any, or another that
// any of them would sign; "" for none.
func (w *waiting) unbegun(v *catalog.View, named string, signers []keys.Signer, past map[string]*history) string {
	for _, r := range w.roles {
		signs := slices.ContainsFunc(signers, func(s keys.Signer) bool { return authorize(r.name, r.signers(), []keys.Signer{s}) == nil })
		if (r.name == named || signs) && !w.begunFor(v, r.name, past) {
			return r.name
		}
	}
	return ""
}

// begunFor tells whether one of those who hold a role today has signed its next version, or that others are to hold it as it is. past
// is what is known of the roles' past, for a stale proposal.
func (w *waiting) begunFor(v *catalog.View, role string, past map[string]*history) bool {
	return w.role(role).byHolder || w.handsOver(v, role, past)
}

// handsOver tells whether the proposal changes who signs a role, as one of those who hand it out has signed, and nothing of what the
// role says: so its new holders are asked to sign it, who cannot have begun that.
func (w *waiting) handsOver(v *catalog.View, role string, past map[string]*history) bool {
	giver, r := w.role(parentOf(role)), w.role(role)
	if giver == nil || giver == r || !giver.byHolder {
		return false
	}
	handed, base := baseOf(v, giver, past), baseOf(v, r, past)
	if handed == nil || base == nil || len(diffTargets(base, r.next)) > 0 {
		return false
	}
	before, _ := handed.Delegation(role)
	after, _ := giver.next.Delegation(role)
	return authorityText(before.Authority) != authorityText(after.Authority)
}

// begun are the roles of the proposal that begunFor tells of.
func (w *waiting) begun(v *catalog.View, past map[string]*history) (roles []string) {
	for _, r := range w.roles {
		if w.begunFor(v, r.name, past) {
			roles = append(roles, r.name)
		}
	}
	return roles
}

// concerns tells whether any of the signers may sign any of the proposal's roles.
func (w *waiting) concerns(signers []keys.Signer) bool {
	return slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		return slices.ContainsFunc(signers, func(s keys.Signer) bool { return authorize(r.name, r.signers(), []keys.Signer{s}) == nil })
	})
}

// leftAside says of what was not offered why.
func (s *signing) leftAside() (lines []string) {
	for _, w := range s.waited {
		switch {
		case s.seen[w.ID] && w.SupersededBy != "" && s.out.Status == Pending:
			lines = append(lines, "it is being superseded by "+w.SupersededBy+", which committers prefer to it")
		case s.seen[w.ID]:
		case s.committed && w.Within != "" && !s.declined[w.Within]: // and is part of what took effect, if that did
		case s.committed && w.SupersededBy != "":
			lines = append(lines, w.ID+" was superseded: it can never take effect now")
		case s.committed:
			lines = append(lines, w.ID+" went stale by that; to propose it again: kitchen pending again "+w.ID+" --key FILE")
		case s.id != "":
		case s.unanswered != "" && w.Within == "":
			lines = append(lines, notAnswered(w.ID))
		case w.SupersededBy != "":
			lines = append(lines, fmt.Sprintf("%s was not offered: %s supersedes it; to sign it all the same: %s", w.ID, w.SupersededBy, signCommand(w.ID)))
		case w.Within != "":
			lines = append(lines, fmt.Sprintf("%s was not offered: %s contains it; to sign it alone: %s", w.ID, w.Within, signCommand(w.ID)))
		}
	}
	return lines
}

func notAnswered(id string) string {
	return "not signed, for want of an answer: " + id + " (" + signCommand(id) + ")"
}
