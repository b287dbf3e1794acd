package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// RoleRequest is a change of who signs a role, and of how many of them it takes.
type RoleRequest struct {
	// Role is root, targets, a delegated role, or any of snapshot, timestamp and journal, which change together: they are
	// the online key's.
	Role      string
	Old       []string       // keys that go: ids, or so many of their first digits that only one begins with them
	New       []*keys.Public // keys that come
	Threshold int            // 0 = as it is
}

// minKeyDigits is how much of a key id has to be given.
const minKeyDigits = 4

// onlineRoles are signed by the online key.
var onlineRoles = []string{trust.RoleSnapshot, trust.RoleTimestamp, manifest.RoleJournal}

// errDeclined is a no of whoever was asked.
var errDeclined = errors.New("not confirmed")

// ChangeRole gives a role other keys or another threshold. Root hands out root, targets and the online key's roles,
// targets all others; with it, in the same proposal, goes the role itself, signed again with the same content, where
// the signatures that it has do not suffice under its new keys. confirm sees what that means, and is asked again if it
// means more by the time it is signed; nil is yes. Declined when it says no. The same change again is Unchanged. Errors:
// *UnknownRole, *Invalid, *NothingToExchange, *NotAuthorized for a key that has nothing to sign in it.
func (p *Publisher) ChangeRole(ctx context.Context, req RoleRequest, confirm func(*RolePlan) (bool, error), signers []keys.Signer) (*Outcome, error) {
	w := p.roleWriter(req, signers)
	if confirm != nil {
		shown := map[string]bool{}
		w.agrees = func(ctx context.Context, d *desk, dr *draft) error {
			plan, err := p.planRole(ctx, d, req, dr)
			if err != nil || !plan.more(shown) {
				return err
			}
			yes, err := confirm(plan)
			if err == nil && !yes {
				err = errDeclined
			}
			return err
		}
	}
	out, err := w.run(ctx)
	if errors.Is(err, errDeclined) {
		return &Outcome{Status: Declined}, nil
	}
	return out, err
}

// roleWriter makes the change. Where it takes a key out it may be urgent: what its signers left waiting for others does not hold
// it up. That of the online key builds on what is in effect alone: it takes another person's hand to commit.
func (p *Publisher) roleWriter(req RoleRequest, signers []keys.Signer) *writer {
	w := &writer{Publisher: p, signers: signers, floor: map[string]int64{}, change: func(ctx context.Context, d *desk) (*draft, error) {
		dr, err := p.roleChange(ctx, d, req)
		if dr == nil || err != nil {
			return nil, err
		}
		return dr, dr.authorizeAny(d.view, req, signers)
	}}
	switch {
	case p.Stolen || slices.Contains(onlineRoles, req.Role) && len(req.Old)+len(req.New) > 0:
		w.joins = func(*catalog.View, *waiting, bool) bool { return false }
	case len(req.Old) > 0:
		w.joins = func(v *catalog.View, w *waiting, own bool) bool {
			return own && !req.corrects(v, w) && (req.asksTheSame(w) || req.goesOn(v, w))
		}
	}
	return w
}

// asksTheSame tells whether a waiting change needs nobody's signature but that of those who sign this one, too.
func (req *RoleRequest) asksTheSame(w *waiting) bool {
	return !slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		return !r.complete() && r.name != req.Role && r.name != parentOf(req.Role)
	})
}

// corrects tells whether a waiting change takes one of the same keys out of the same role, for other keys than these.
func (req *RoleRequest) corrects(v *catalog.View, w *waiting) bool {
	return slices.ContainsFunc(req.roles(), func(name string) bool {
		parent, now := w.role(parentOf(name)), trust.Authority{}
		if parent == nil {
			return false
		}
		now, _ = v.Authority(name)
		next, _ := parent.next.Delegation(name)
		gone := slices.ContainsFunc(req.Old, func(old string) bool {
			id, err := findKey(name, now, old)
			return err == nil && !next.Has(id)
		})
		return gone && slices.ContainsFunc(req.New, func(public *keys.Public) bool {
			key, err := trust.NewKey(public)
			return err == nil && !next.Has(key.ID)
		})
	})
}

// goesOn tells whether a waiting change takes out one of the same keys: the exchange of one key in several roles is one change.
func (req *RoleRequest) goesOn(v *catalog.View, w *waiting) bool {
	return slices.ContainsFunc(w.outgoing(v), func(id string) bool {
		return slices.ContainsFunc(req.Old, func(digits string) bool {
			return len(digits) >= minKeyDigits && strings.HasPrefix(id, strings.ToLower(digits))
		})
	})
}

// roleChange works the request out; nil when everything is so already.
func (p *Publisher) roleChange(ctx context.Context, d *desk, req RoleRequest) (*draft, error) {
	parents := map[string]*trust.Targets{}
	changed := map[string]trust.Authority{}
	for _, name := range req.roles() {
		parent := parentOf(name)
		if parents[parent] == nil {
			content, err := d.role(parent)
			if err != nil {
				return nil, err
			}
			parents[parent] = content
		}
		handed := parents[parent].Delegations
		i := slices.IndexFunc(handed, func(h trust.Delegation) bool { return h.Name == name })
		if i < 0 {
			return nil, unknownRole(d.view, name)
		}
		next, err := req.apply(name, handed[i].Authority)
		if err != nil {
			return nil, err
		}
		if authorityText(next) != authorityText(handed[i].Authority) {
			handed[i].Authority, changed[name] = next, next
		}
	}
	if len(changed) == 0 {
		return nil, p.neverHeld(ctx, d.view, req)
	}
	return p.draftRole(ctx, d, req, parents, changed)
}

// NothingToExchange is an exchange of keys of which the ones that come are there, and of which one that goes never was
// (exit 2): --old and --new in each other's place, mostly.
type NothingToExchange struct{ Role, Old, New string }

func (e *NothingToExchange) Error() string {
	return fmt.Sprintf("role %s has the key that is to come (%s) already, and never had the one that is to go (%s)", e.Role, e.New, e.Old)
}

// Hint says what the cause may be.
func (e *NothingToExchange) Hint() string {
	return "perhaps --old and --new are in each other's place; kitchen role show " + e.Role + " names its keys, kitchen key show FILE tells a key's id"
}

// neverHeld is a *NothingToExchange for a key that is to go and that no version of the role had. Where the past cannot be
// read so far it is nil.
func (p *Publisher) neverHeld(ctx context.Context, v *catalog.View, req RoleRequest) error {
	ids := slices.Clone(req.Old)
	for _, public := range req.New {
		if key, err := trust.NewKey(public); err == nil {
			ids = append(ids, key.ID)
		}
	}
	name := KeyNames(ids...)
	for _, old := range req.Old {
		had, whole := false, true
		for _, role := range req.roles() {
			first := false
			err := p.walkBack(ctx, v, parentOf(role), func(t *trust.Targets, _ []byte) bool {
				handed, _ := t.Delegation(role)
				id, _ := findKey(role, handed.Authority, old)
				had, first = had || id != "", t.Replaces == ""
				return !had
			})
			if err != nil {
				return err
			}
			whole = whole && first
		}
		if !had && whole {
			return &NothingToExchange{Role: req.Role, Old: name(old), New: strings.Join(named(name, ids[len(req.Old):]), ", ")}
		}
	}
	return nil
}

// draftRole puts together what changes: the hand-out, and what has to be signed again with it.
func (p *Publisher) draftRole(ctx context.Context, d *desk, req RoleRequest, parents map[string]*trust.Targets, changed map[string]trust.Authority) (*draft, error) {
	dr := newDraft("rotate", parentOf(req.Role))
	for _, parent := range []string{trust.RoleRoot, trust.RoleTargets} {
		if slices.ContainsFunc(req.roles(), func(name string) bool { _, ok := changed[name]; return ok && parentOf(name) == parent }) {
			dr.set(parent, parents[parent])
		}
	}
	next, signed := changed[req.Role]
	if file := currentFile(d.view, req.Role); signed && dr.role(req.Role) == nil && !slices.Contains(onlineRoles, req.Role) && file != nil {
		_, _, expired := d.view.ExpiredRole(req.Role)
		if expired || !signedFor(file, next) {
			content, err := d.role(req.Role)
			if err != nil {
				return nil, err
			}
			dr.set(req.Role, content)
		}
	}
	for _, r := range dr.roles {
		r.next.Version, r.next.Expires = currentVersion(d.view, r.name)+1, d.now.Add(lifetime(r.name)) // or later
	}
	dr.authorize(d.view)
	dr.summary = p.describe(ctx, d.view, dr.roles)
	candidate := &candidate{view: d.view, roles: dr.roles}
	return dr, checkCandidateKeys(ctx, p.Store, candidate)
}

// roles are those that change together, the one that was named first.
func (req *RoleRequest) roles() []string {
	if !slices.Contains(onlineRoles, req.Role) {
		return []string{req.Role}
	}
	return append([]string{req.Role}, slices.DeleteFunc(slices.Clone(onlineRoles), func(name string) bool { return name == req.Role })...)
}

// parentOf is the role that hands a role out.
func parentOf(role string) string {
	if isTopRole(role) {
		return trust.RoleRoot
	}
	return trust.RoleTargets
}

// HandedOutBy are the roles whose holders decide who signs a role, the foremost first.
func HandedOutBy(role string) []string {
	if isTopRole(role) || role == manifest.RoleJournal {
		return []string{trust.RoleRoot, trust.RoleTargets}
	}
	return []string{trust.RoleTargets, trust.RoleRoot}
}

// apply is the authority as asked for.
func (req *RoleRequest) apply(role string, was trust.Authority) (trust.Authority, error) {
	is := trust.Authority{Threshold: was.Threshold, Keys: slices.Clone(was.Keys)}
	there := len(req.New) > 0
	for _, pub := range req.New {
		key, err := trust.NewKey(pub)
		if err != nil {
			return is, &Invalid{What: "role " + role, Reason: err.Error()}
		}
		if !is.Has(key.ID) {
			is.Keys, there = append(is.Keys, key), false
		}
	}
	for _, old := range req.Old {
		id, err := findKey(role, was, old)
		if slices.ContainsFunc(req.New, func(pub *keys.Public) bool {
			key, err := trust.NewKey(pub)
			return err == nil && key.ID == id
		}) {
			return is, &Invalid{What: "role " + role, Reason: "key " + ShortID(id) + " is the one that goes and the one that comes"}
		}
		if id == "" && there {
			continue // exchanged already
		}
		if err != nil {
			return is, err
		}
		is.Keys = slices.DeleteFunc(is.Keys, func(k trust.Key) bool { return k.ID == id })
	}
	if req.Threshold != 0 {
		is.Threshold = req.Threshold
	}
	if is.Threshold < 1 || is.Threshold > len(is.Keys) {
		next := "give it more keys (--new) or another threshold (--threshold)"
		if len(req.Old)+len(req.New) == 0 {
			next = fmt.Sprintf("give a number from 1 to %d, or first another key (kitchen role rotate %s --new FILE)", len(is.Keys), role)
		}
		return is, &Invalid{What: "role " + role, Reason: fmt.Sprintf("it would need %d of %d keys; %s", is.Threshold, len(is.Keys), next)}
	}
	return is, nil
}

// findKey is the one key whose id begins so; "" and an error when there is none.
func findKey(role string, a trust.Authority, digits string) (string, error) {
	digits = strings.ToLower(digits)
	var found []string
	for _, id := range a.KeyIDs() {
		if strings.HasPrefix(id, digits) && len(digits) >= minKeyDigits {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if len(digits) < minKeyDigits {
			return "", &Invalid{What: "role " + role, Reason: fmt.Sprintf("%q are too few digits to name a key: give at least %d, or its .pub file", digits, minKeyDigits)}
		}
		return "", &Invalid{What: "role " + role, Reason: fmt.Sprintf("it has no key %s, but %s (kitchen role show %s)", ShortID(digits), listOr(shortIDs(a.KeyIDs()), "none"), role)}
	}
	return found[0], &Invalid{What: "role " + role, Reason: fmt.Sprintf("several of its keys begin with %s: %s", digits, strings.Join(found, ", "))}
}

// authorizeAny refuses a signer who has nothing to do with the draft: neither to sign in it, nor in what of the request
// is in effect already.
func (d *draft) authorizeAny(v *catalog.View, req RoleRequest, signers []keys.Signer) error {
	all := trust.Authority{Threshold: 1}
	for _, r := range d.roles {
		all.Keys = append(all.Keys, r.signers().Keys...)
	}
	for _, name := range req.roles() {
		for _, role := range []string{name, parentOf(name)} {
			now, _ := v.Authority(role)
			all.Keys = append(all.Keys, now.Keys...)
		}
		if parent := d.role(parentOf(name)); parent != nil {
			next, _ := parent.next.Delegation(name)
			all.Keys = append(all.Keys, next.Keys...)
		}
	}
	slices.SortFunc(all.Keys, func(a, b trust.Key) int { return strings.Compare(a.ID, b.ID) })
	all.Keys = slices.CompactFunc(all.Keys, func(a, b trust.Key) bool { return a.ID == b.ID })
	if err := authorize(d.primary, all, signers); err != nil {
		primary := &roleDraft{name: d.primary}
		primary.authority, _ = v.Authority(d.primary)
		if r := d.role(d.primary); r != nil {
			primary = r
		}
		stranger := slices.DeleteFunc(slices.Clone(signers), func(s keys.Signer) bool { return authorize(d.primary, all, []keys.Signer{s}) == nil })
		return authorize(d.primary, primary.signers(), stranger) // who of the others may, the others know
	}
	return nil
}
