package publisher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// RolePlan is what a change of a role means, to be looked at before it is signed.
type RolePlan struct {
	Role     string
	Change   []string         // in words
	Roles    []RoleSignatures // what needs signatures, and whose
	Releases []ListedRelease  // what the role lists, oldest first: from then on its new keys stand for all of it
	KeyUses  []KeyUse         // what else the keys sign that go
	Notes    []string         // the order of things, and what to look at
}

// ListedRelease is a release that a role lists.
type ListedRelease struct {
	Release string
	Since   time.Time // when a version of the role first listed it; zero when its past cannot be read so far
}

// KeyUse is a role that a key signs besides.
type KeyUse struct {
	Key     string // short id
	Role    string
	Command string // that exchanges it there
}

// PlanRole works out what ChangeRole would do with these signers, who may be none; nil when everything is so already. Nothing
// is written.
func (p *Publisher) PlanRole(ctx context.Context, req RoleRequest, signers ...keys.Signer) (*RolePlan, error) {
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	live, err := p.live(ctx, view)
	if err != nil && !denied(err) {
		return nil, err
	}
	d := &desk{view: view, store: p.Store, now: view.Now(), live: live}
	w := p.roleWriter(req, signers)
	if err := w.mine(ctx, view, live, d); err != nil {
		return nil, err
	}
	change := func(ctx context.Context, d *desk) (*draft, error) { return p.roleChange(ctx, d, req) }
	dr, err := change(ctx, d)
	var waits []string
	base := d.base
	if dr == nil && err == nil && base != nil {
		waits = []string{"It waits already, in proposal " + base.id + " (kitchen pending " + base.id + ")."}
		d.base, d.live = nil, slices.DeleteFunc(live, func(w *waiting) bool { return w == base })
		dr, err = change(ctx, &desk{view: view, store: p.Store, now: d.now})
	}
	if dr == nil || err != nil {
		return nil, err
	}
	dr.include(d.base)
	plan, err := p.planRole(ctx, d, req, dr)
	if err == nil && waits != nil {
		plan.Notes, plan.Roles = append(waits, plan.Notes...), countSignatures(base.roles)
	}
	return plan, err
}

// planRole is the plan of a whole draft: what it builds on is part of it, and of what has to be signed.
func (p *Publisher) planRole(ctx context.Context, d *desk, req RoleRequest, dr *draft) (*RolePlan, error) {
	dr.authorize(d.view)
	plan := &RolePlan{Role: req.Role, Change: dr.summary, Roles: countSignatures(dr.roles)}
	var err error
	if plan.Releases, err = p.listed(ctx, d.view, req.Role); err != nil {
		return nil, err
	}
	plan.KeyUses = keyUses(&candidate{view: d.view, roles: dr.roles}, req)
	plan.Notes = append(lowered(&candidate{view: d.view, roles: dr.roles}, req), p.rotationNotes(&candidate{view: d.view, roles: dr.roles}, plan)...)
	plan.Notes = append(plan.Notes, req.alreadyIn(d.view)...)
	if d.base != nil {
		p.words(ctx, d.view, d.base)
		plan.Notes = append(plan.Notes, d.base.baseWords())
	}
	rivals, err := p.beside(ctx, d, dr)
	for _, w := range rivals {
		plan.Notes = append(plan.Notes, w.rivalWords())
	}
	return plan, err
}

// alreadyIn says of keys that are to come in exchange that they are there: the role will have one less.
func (req *RoleRequest) alreadyIn(v *catalog.View) (lines []string) {
	now, _ := v.Authority(req.Role)
	for _, public := range req.New {
		if key, err := trust.NewKey(public); err == nil && len(req.Old) > 0 && now.Has(key.ID) {
			lines = append(lines, fmt.Sprintf("Key %s is one of the %d of %s already: nobody comes in its place, if that was meant.", ShortID(key.ID), len(now.Keys), req.Role))
		}
	}
	return lines
}

// more tells whether the plan says anything that was not shown, and counts it as shown.
func (r *RolePlan) more(shown map[string]bool) bool {
	more := false
	lines := slices.Clone(r.Change)
	for _, l := range r.Releases {
		lines = append(lines, "lists "+l.Release)
	}
	for _, line := range lines {
		more = more || !shown[line]
		shown[line] = true
	}
	return more
}

// listed are the releases of a role, with when each was listed first.
func (p *Publisher) listed(ctx context.Context, v *catalog.View, role string) ([]ListedRelease, error) {
	if manifest.RoleStage(role) == "" {
		return nil, nil
	}
	current, err := currentRole(v, role)
	if err != nil {
		return nil, err
	}
	since := map[string]time.Time{}
	whole := false
	err = p.walkBack(ctx, v, role, func(t *trust.Targets, _ []byte) bool {
		for path, target := range current.Targets {
			if t.Targets[path].SHA256 == target.SHA256 {
				since[path] = t.Expires.Add(-lifetime(role))
			}
		}
		whole = t.Replaces == ""
		return true
	})
	if err != nil {
		return nil, err
	}
	var list []ListedRelease
	for _, path := range slices.Sorted(maps.Keys(current.Targets)) {
		if _, r, err := manifest.ParseTargetPath(path); err == nil {
			l := ListedRelease{Release: r.String()}
			if whole {
				l.Since = since[path]
			}
			list = append(list, l)
		}
	}
	slices.SortStableFunc(list, func(a, b ListedRelease) int { return a.Since.Compare(b.Since) })
	return list, nil
}

// keyUses are what the keys that go sign besides.
func keyUses(after *candidate, req RoleRequest) []KeyUse {
	var uses []KeyUse
	for _, parent := range []string{trust.RoleRoot, trust.RoleTargets} {
		content, err := after.role(parent)
		if err != nil {
			continue
		}
		for _, d := range content.Delegations {
			for _, old := range req.Old {
				if id, err := findKey(d.Name, d.Authority, old); err == nil && !slices.Contains(req.roles(), d.Name) {
					name := KeyNames(d.KeyIDs()...)(id)
					uses = append(uses, KeyUse{name, d.Name, fmt.Sprintf("kitchen role rotate %s --old %s --new FILE", d.Name, name)})
				}
			}
		}
	}
	return uses
}

// powers are what so many signatures as a role needs can do.
var powers = map[string]string{
	trust.RoleRoot:          "replace every key of this catalog",
	trust.RoleTargets:       "say who signs every role but root, snapshot and timestamp",
	manifest.RoleRegistry:   "enter customers and sites, and the keys whose reports count",
	manifest.RolePolicy:     "say what a certificate must rest on",
	"product":               "publish and yank releases",
	manifest.StageValidated: "validate releases, so that every subscribed customer sees them",
	manifest.StageReady:     "certify releases, so that production hosts deploy them",
	manifest.StageRecalled:  "recall releases",
}

// lowered says what fewer signatures than before can do from then on.
func lowered(after *candidate, req RoleRequest) []string {
	var notes []string
	for _, name := range req.roles() {
		was, _ := after.view.Authority(name)
		parent, err := after.role(parentOf(name))
		if err != nil {
			continue
		}
		is, _ := parent.Delegation(name)
		kind, _, customer := manifest.SplitRole(name)
		power := powers[cmp.Or(kind, name)]
		if is.Threshold >= was.Threshold || power == "" {
			continue
		}
		if customer != "" {
			power += " (those of " + customer + " alone)"
		}
		who := fmt.Sprintf("any %d of the %d holders of %s", is.Threshold, len(is.Keys), name)
		switch {
		case len(is.Keys) == 1:
			who = "the one holder of " + name + ", alone,"
		case is.Threshold == 1:
			who = fmt.Sprintf("each of the %d holders of %s, alone,", len(is.Keys), name)
		}
		notes = append(notes, fmt.Sprintf("From then on %s can %s. So can whoever steals %d of their keys.", who, power, is.Threshold))
	}
	return notes
}

// withoutSpare says of roles that a change leaves without a key to spare what the loss of one means, and who can mend it.
// One key alone, as is usual for an engineer or the committer, is told of for root and targets only. Of recalls it says, too, that
// no one person can make one any more.
func withoutSpare(current, next *trust.Targets) []string {
	var lines []string
	for _, d := range next.Delegations {
		before, known := current.Delegation(d.Name)
		if kind, product, _ := manifest.SplitRole(d.Name); kind == manifest.StageRecalled && d.Threshold > max(1, before.Threshold) {
			lines = append(lines, fmt.Sprintf("  NOBODY ALONE STOPS A RELEASE of %s any more: each recall takes %d of the %d keys of %s from then on; usual is 1, many to approve and one to stop",
				product, d.Threshold, len(d.Keys), d.Name))
		}
		top := d.Name == trust.RoleRoot || d.Name == trust.RoleTargets
		if !known || authorityText(before.Authority) == authorityText(d.Authority) || d.Threshold < len(d.Keys) || d.Threshold == 1 && !top {
			continue
		}
		lines = append(lines, "  "+spareless(d.Name, d.Authority))
	}
	return lines
}

// newRootWithoutSpare says so of the root of a catalog that is made: it is the day on which another key costs nothing.
func newRootWithoutSpare(root trust.Authority) []string {
	if root.Threshold < len(root.Keys) {
		return nil
	}
	return []string{"  " + spareless(trust.RoleRoot, root)}
}

// spareless says what the loss of one key of a role means that needs all of them.
func spareless(name string, a trust.Authority) string {
	remedy := fmt.Sprintf("the holders of %s can give it other keys then (kitchen role rotate %s)", parentOf(name), name)
	if name == trust.RoleRoot {
		remedy = "nobody can mend that: the only way on is a new catalog, with a root that every host has to pin anew; give it a further key in time (kitchen role rotate root --new FILE --key FILE)"
	}
	which := fmt.Sprintf("ANY ONE of its %d keys is lost", len(a.Keys))
	if a.Threshold == 1 {
		which = "its ONE key is lost"
	}
	return fmt.Sprintf("NO KEY TO SPARE: once %s, nobody can sign %s any more; %s", which, name, remedy)
}

// rotationNotes say in which order things happen, and what to look at before.
func (p *Publisher) rotationNotes(after *candidate, plan *RolePlan) []string {
	var notes []string
	switch {
	case after.changes(trust.RoleRoot) && after.changesOnline() && p.Stolen:
		notes = append(notes, fmt.Sprintf("Root %d is written first. From then until the new key has signed snapshot and timestamp, which the same command does next, every host that refreshes refuses the catalog (exit 4); "+
			"what hosts hold serves them offline meanwhile. Use the committer's own host and state directory, which saw the catalog before the theft.", after.view.Root().Version+1))
	case after.changes(trust.RoleRoot) && after.changesOnline() && !after.takesOnline():
		notes = append(notes, fmt.Sprintf("The committer signs snapshot and timestamp so that the present and the next root take them; then root %d is written. No host notices. No key goes (--old KEY would say which). %s", after.view.Root().Version+1, after.onlineThen()))
	case after.changes(trust.RoleRoot) && after.changesOnline():
		notes = append(notes, fmt.Sprintf("The committer signs snapshot and timestamp with the old and the new online key; then root %d is written; then the new key signs alone. No host notices. "+
			"With the old key stolen or lost: --stolen.", after.view.Root().Version+1))
	case after.changes(trust.RoleRoot):
		notes = append(notes, fmt.Sprintf("Hosts follow to root %d from the root that they have; nobody has to pin another.", after.view.Root().Version+1))
	}
	if len(plan.Releases) > 0 && after.changes(plan.Role) {
		notes = append(notes, "The role's signatures do not suffice under its new keys: it is signed again, for every release that it lists. "+
			"Where a key was stolen, look at each before (kitchen show P@V, kitchen role show "+plan.Role+"): what the thief put there would be signed, too, and stays until it is yanked or recalled.")
	} else if len(plan.Releases) > 0 {
		notes = append(notes, "The role's signatures suffice under its new keys: it stays as it is, with every release that it lists.")
	}
	return notes
}

// takesOnline tells whether an online key goes.
func (c *candidate) takesOnline() bool {
	was, _ := c.view.Authority(trust.RoleTimestamp)
	is, _ := c.topAuthority(trust.RoleTimestamp)
	return slices.ContainsFunc(was.KeyIDs(), func(id string) bool { return !is.Has(id) })
}

// onlineThen says who signs snapshot and timestamp from then on, where no online key goes.
func (c *candidate) onlineThen() string {
	is, _ := c.topAuthority(trust.RoleTimestamp)
	if is.Threshold == 1 {
		return fmt.Sprintf("From then on each of the %d online keys, alone, suffices: so does whoever steals one of them.", len(is.Keys))
	}
	return fmt.Sprintf("From then on it takes %d of the %d online keys.", is.Threshold, len(is.Keys))
}

// maxNamed is how many releases a line names.
const maxNamed = 20

// releasesOf names what a role lists.
func releasesOf(t *trust.Targets) string {
	var names []string
	for _, path := range slices.Sorted(maps.Keys(t.Targets)) {
		if _, r, err := manifest.ParseTargetPath(path); err == nil {
			names = append(names, r.String())
		}
	}
	if len(names) == 0 {
		return ""
	}
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return "; it lists " + strings.Join(names, ", ")
}
