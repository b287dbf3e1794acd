package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// NotAgain is a stale proposal whose change is not to be made again as it was (exit 3).
type NotAgain struct {
	ID      string
	Reason  string
	Command string // what to run instead; "" = nothing
}

func (e *NotAgain) Error() string {
	return fmt.Sprintf("proposal %s is not proposed again: %s", e.ID, e.Reason)
}

// Hint says what to run instead.
func (e *NotAgain) Hint() string { return e.Command }

// Again proposes the change of a stale proposal anew, on top of what is in effect now. The change is what the
// proposal's payloads differ in from what they were to replace; what its proposer said of it counts for nothing. What is
// so already is left out, and everything is vetted like any change. Whatever would not mean the same today is *NotAgain:
// something else took effect at the same place meanwhile, a rule forbids it now, or it takes a person: a certificate
// needs its evidence anew, a site's keys end now and not then. When all is in effect it is Unchanged. confirm sees the stale
// proposal, with what would be signed now as its Change, and is asked again if that is more by the time it is signed; nil is yes.
// Declined when it says no. Errors besides: *UnknownProposal, *NotAuthorized for signers of none of its roles.
func (p *Publisher) Again(ctx context.Context, id string, confirm func(PendingProposal) (bool, error), signers []keys.Signer) (*Outcome, error) {
	p = p.renewing()
	var w *waiting
	writer := &writer{Publisher: p, signers: signers, floor: map[string]int64{}, change: func(ctx context.Context, d *desk) (_ *draft, err error) {
		if w, err = p.find(ctx, d.view, id); err != nil {
			return nil, err
		}
		reason, err := verdict(p.vet(ctx, d.view, w.roles))
		if err != nil {
			return nil, err
		}
		if !w.byHolder() {
			return nil, &NotAgain{ID: id, Reason: "none of those who hold its roles has signed it: nobody here asked for it"}
		}
		past := map[string]*history{}
		for _, r := range w.roles {
			if w.stale == "" {
				break // it rests on what is in effect
			}
			if _, err := p.historyOf(ctx, d.view, r.name, past); err != nil {
				return nil, err
			}
		}
		if role := w.unbegun(d.view, "", signers, past); role != "" {
			return nil, &NotAgain{ID: id, Reason: "none of those who hold " + role + " has signed it, and this key would: nobody here asked for that"}
		}
		if w.stale == "" && reason != "" {
			command := cmp.Or(strings.Join(p.certifyCommands(ctx, d.view, w), "; "), "kitchen pending drop "+id+" says how to be rid of it")
			return nil, &NotAgain{ID: id, Reason: "it is refused as it is: " + reason, Command: command}
		}
		if w.stale == "" {
			return nil, &NotAgain{ID: id, Reason: "it can still take effect", Command: "kitchen sign " + w.roles[0].name + " --key FILE"}
		}
		r := &replay{Publisher: p, w: w, d: d, draft: newDraft(w.kind, w.roles[0].name), past: past}
		return r.run(ctx, signers)
	}}
	if confirm != nil {
		shown := map[string]bool{}
		writer.agrees = func(ctx context.Context, d *desk, dr *draft) error {
			return p.agreesAgain(ctx, d, w, dr, shown, confirm)
		}
	}
	out, err := writer.run(ctx)
	if errors.Is(err, errDeclined) {
		return &Outcome{Status: Declined}, nil
	}
	if refused, ok := errors.AsType[*Refused](err); ok {
		return nil, &NotAgain{ID: id, Reason: refused.Error()}
	}
	return out, err
}

// agreesAgain asks about what is new since it was asked last.
func (p *Publisher) agreesAgain(ctx context.Context, d *desk, w *waiting, dr *draft, shown map[string]bool, confirm func(PendingProposal) (bool, error)) error {
	dr.authorize(d.view)
	change := p.describe(ctx, d.view, dr.roles)
	if !slices.ContainsFunc(change, func(line string) bool { return !shown[line] }) {
		return nil
	}
	for _, line := range change {
		shown[line] = true
	}
	about, err := p.whole(ctx, d.view, w)
	if err != nil {
		return err
	}
	about.Change, about.Again = change, nil
	yes, err := confirm(*about)
	if err == nil && !yes {
		err = errDeclined
	}
	return err
}

// replay works out the change of one stale proposal anew.
type replay struct {
	*Publisher
	w       *waiting
	d       *desk
	draft   *draft
	changes int // that the proposal made
	again   int // of these, what is not so already

	past    map[string]*history // what is known of it
	asks    bool                // all that is refused is wanted, and not only the first of it
	refuses bool
	instead []string // with asks: the commands for what is refused
}

func (r *replay) run(ctx context.Context, signers []keys.Signer) (*draft, error) {
	for _, s := range signers {
		if err := authorizeAny(r.w.roles, s); err != nil {
			return nil, err
		}
	}
	for _, role := range r.w.roles {
		if err := r.role(ctx, role); err != nil {
			return nil, err
		}
	}
	if r.changes > 0 && r.again == 0 {
		return nil, nil
	}
	return r.draft, r.vetted(ctx)
}

// role sets one role's next content.
func (r *replay) role(ctx context.Context, was *roleDraft) error {
	h, err := r.historyOf(ctx, r.d.view, was.name, r.past)
	if err != nil {
		return err
	}
	base := h.files[was.next.Replaces]
	if base == nil {
		return r.not("what "+was.name+" was then cannot be read any more", "make the change again with the command that made it")
	}
	now, err := r.d.role(was.name)
	if err != nil {
		return err
	}
	for _, path := range inOrder(base, was.next) {
		before, listed := base.Targets[path]
		after, lists := was.next.Targets[path]
		if listed == lists && sameTarget(before, after) {
			continue
		}
		r.changes++
		if err := r.target(ctx, was.name, path, now, before, after); err != nil {
			return err
		}
	}
	if err := r.delegations(was.name, base, was.next, now); err != nil {
		return err
	}
	r.draft.set(was.name, now)
	return nil
}

// meansTheSame tells whether an entry that is there is what a change would make of it: a release may have another place in
// the order, or be yanked since; a recall for the same reason has the number of its day.
func meansTheSame(role string, before, after, there trust.Target) bool {
	kind, _, _ := manifest.SplitRole(role)
	same := after.SHA256 == there.SHA256 && after.Length == there.Length
	switch {
	case kind == "product" && before.SHA256 == "" && same, kind == manifest.StageRecalled && same && after.Custom[customReason] == there.Custom[customReason]:
		return true
	}
	return sameTarget(after, there)
}

// inOrder are all paths of both, releases in their order of publication.
func inOrder(base, next *trust.Targets) []string {
	all := map[string]trust.Target{}
	maps.Copy(all, base.Targets)
	maps.Copy(all, next.Targets)
	paths := slices.Sorted(maps.Keys(all))
	place := func(path string) int64 { n, _ := parseSeq(all[path].Custom[customSeq]); return n }
	slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	return paths
}

// target makes one change of a role again. A target without digest is none.
func (r *replay) target(ctx context.Context, role, path string, now *trust.Targets, before, after trust.Target) error {
	there := now.Targets[path]
	kind, _, _ := manifest.SplitRole(role)
	command := commandFor(role, path, before, after)
	switch {
	case meansTheSame(role, before, after, there):
		return nil
	case isCertificate(role, after):
		return r.not("a certificate rests on the reports of its day; gather its evidence anew", r.certifyCommand(ctx, role, path, after))
	case kind == manifest.RoleRegistry:
		return r.entry(ctx, path, now, before, after)
	case !sameTarget(there, before):
		return r.not(fmt.Sprintf("%s: %s changed meanwhile: %s", role, path, strings.Join(r.describeRelease(ctx, r.d.view, role, path, before, there), "; ")), command)
	}
	r.again++
	if after.SHA256 == "" {
		delete(now.Targets, path)
		return nil
	}
	after.Custom = maps.Clone(after.Custom)
	switch {
	case kind == "product" && before.SHA256 == "":
		seq, err := nextSeq(now)
		if err != nil {
			return err
		}
		after.Custom[customSeq] = seq
	case kind == manifest.StageRecalled:
		after.Custom[customSince] = nextRecall(currentVersion(r.d.view, role))
	}
	now.Targets[path] = after
	return nil
}

// delegations makes the changes of who signs what again.
func (r *replay) delegations(role string, base, was, now *trust.Targets) error {
	for _, after := range was.Delegations {
		before, _ := base.Delegation(after.Name)
		i := slices.IndexFunc(now.Delegations, func(d trust.Delegation) bool { return d.Name == after.Name })
		there := trust.Delegation{}
		if i >= 0 {
			there = now.Delegations[i]
		}
		if delegationText(before) == delegationText(after) {
			continue
		}
		r.changes++
		switch {
		case isMade(before, after, there):
			continue
		case delegationText(there) != delegationText(before):
			if err := r.not(fmt.Sprintf("%s: who signs %s changed meanwhile", role, after.Name), rotationCommand(before, after, there)); err != nil {
				return err
			}
			continue
		case i < 0:
			now.Delegations = append(now.Delegations, after)
		default:
			now.Delegations[i] = after
		}
		r.again++
	}
	return nil
}

// vetted holds the change to the rules before anybody signs it, and puts it into words.
func (r *replay) vetted(ctx context.Context) error {
	trial := &draft{}
	for _, role := range r.draft.roles {
		trial.set(role.name, role.next.Clone())
	}
	trial.include(r.d.base)
	if err := r.finish(ctx, r.d, trial, nil); err != nil {
		return err
	}
	for _, o := range r.draft.objects {
		if err := put(ctx, r.Store, o.key, o.data); err != nil {
			return err
		}
	}
	if because := r.w.withdrawal(r.d.view); because != "" {
		r.draft.summary = append(r.draft.summary, because)
	}
	r.draft.summary = append(r.draft.summary, r.describe(ctx, r.d.view, trial.roles)...)
	return r.vet(ctx, r.d.view, trial.roles)
}

// authorizeAny refuses a signer that may sign none of the roles.
func authorizeAny(roles []*roleDraft, s keys.Signer) (err error) {
	for _, r := range roles {
		e := authorize(r.name, r.signers(), []keys.Signer{s})
		if e == nil {
			return nil
		}
		err = cmp.Or(err, e)
	}
	return err
}

// not refuses one change of the proposal.
func (r *replay) not(reason, command string) error {
	if r.asks {
		r.refuses = true
		if command != "" {
			r.instead = append(r.instead, command)
		}
		return nil
	}
	return &NotAgain{ID: r.w.id, Reason: reason, Command: command}
}

// entry makes the change of a customer's registry entry again: field by field, so that two administrators who add a
// site each do not stand in each other's way.
func (r *replay) entry(ctx context.Context, path string, now *trust.Targets, before, after trust.Target) error {
	var all [3]*manifest.Customer
	for i, target := range []trust.Target{before, after, now.Targets[path]} {
		all[i] = &manifest.Customer{}
		if target.SHA256 == "" {
			continue
		}
		var err error
		if all[i], err = getCustomer(ctx, r.Store, path, target); err != nil {
			return err
		}
	}
	if after.SHA256 == "" {
		return r.not("a customer cannot be taken out", "")
	}
	merged, conflict := mergeEntry(all[0], all[1], all[2])
	if conflict != "" {
		return r.not("registry: "+conflict, "look at it (kitchen customer show "+all[1].Customer+"), then make the change again with its own command")
	}
	present := now.Targets[path]
	dr, err := registryDraft(now, merged)
	if err != nil {
		return err
	}
	if !sameTarget(now.Targets[path], present) {
		r.again++
		r.draft.objects = append(r.draft.objects, dr.objects...)
	}
	return nil
}

// mergeEntry is what the change from base to mine makes of now, or why it makes no sense there.
func mergeEntry(base, mine, now *manifest.Customer) (*manifest.Customer, string) {
	merged, conflict := *now, ""
	merged.Name = mergeField("its name", base.Name, mine.Name, now.Name, &conflict)
	merged.Vendor = mergeField("whether it is the vendor", base.Vendor, mine.Vendor, now.Vendor, &conflict)
	merged.Suspended = mergeField("whether it is suspended", base.Suspended, mine.Suspended, now.Suspended, &conflict)
	const between = "\n"
	follows := func(c *manifest.Customer) string { return strings.Join(c.Subscribe, between) }
	merged.Subscribe = strings.FieldsFunc(mergeField("what it subscribes to", follows(base), follows(mine), follows(now), &conflict), func(c rune) bool { return c == '\n' })
	merged.Customer = mine.Customer
	merged.Sites = slices.Clone(now.Sites)
	for _, site := range mine.Sites {
		before, there := base.Site(site.Name), merged.Site(site.Name)
		text := func(s *manifest.Site) string {
			if s == nil {
				return ""
			}
			return fmt.Sprintf("%+v", *s)
		}
		switch {
		case text(before) == text(&site) || text(there) == text(&site):
		case before != nil && !(text(&manifest.Site{Keys: before.Keys, Retired: before.Retired}) == text(&manifest.Site{Keys: site.Keys, Retired: site.Retired})):
			conflict = cmp.Or(conflict, fmt.Sprintf("the end of a key of site %s/%s counts from the moment it is said (kitchen site rotate-key, kitchen site retire)", mine.Customer, site.Name))
		case before != nil && text(there) == text(before):
			*there = site
		case before != nil || there != nil:
			conflict = cmp.Or(conflict, fmt.Sprintf("site %s/%s changed meanwhile", mine.Customer, site.Name))
		default:
			merged.Sites = append(merged.Sites, site)
		}
	}
	return &merged, conflict
}

// mergeField is one field after a change; a change on both sides is a conflict.
func mergeField[T comparable](what string, base, mine, now T, conflict *string) T {
	switch {
	case mine == base || mine == now:
		return now
	case now != base:
		*conflict = cmp.Or(*conflict, what+" changed meanwhile")
	}
	return mine
}
