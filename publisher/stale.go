package publisher

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// recentlyStale tells whether a stale proposal is worth showing: for as long as it could have taken effect, and, where only the time
// ended it, as long again. An error is the store's.
func (p *Publisher) recentlyStale(ctx context.Context, v *catalog.View, w *waiting) (bool, error) {
	if w.expires.After(v.Now()) {
		return true, nil
	}
	if !w.expires.After(v.Now().Add(-lifeProposal)) {
		return false, nil
	}
	for _, r := range w.roles {
		if r.next.Replaces == currentDigest(v, r.name) {
			continue
		}
		info, err := p.Store.Stat(ctx, manifest.RoleObject(r.name, r.next.Version)) // what came in its place
		if ignoreAbsent(err) != nil {
			return false, err
		}
		if err == nil && info.Modified.Before(w.expires) {
			return false, nil
		}
	}
	return true, nil
}

// tellStale says, where nothing waits for a signature of the role, what did not long ago.
func (s *signing) tellStale(ctx context.Context) error {
	if s.out.Status != Unchanged || s.id != "" {
		return nil
	}
	view, err := s.refresh(ctx)
	if err != nil {
		return err
	}
	list, err := s.stale(ctx, view)
	if err != nil {
		return err
	}
	for _, w := range list {
		if slices.Contains(w.begun, s.role) && len(w.Again) > 0 {
			s.out.Notes = append(s.out.Notes, w.ID+" takes no signature any more: "+w.Stale+"; to propose it again: "+strings.Join(w.Again, "; "))
		}
	}
	return nil
}

// explainStale says of a stale proposal what it would have changed, what took effect in its place, and what makes its change
// again: by what it changed on what it rested on, as far as the past of its roles can be read. True: all that it changes is so
// by now, and nobody misses it. An error is the store's.
func (p *Publisher) explainStale(ctx context.Context, v *catalog.View, w *waiting, past map[string]*history, shown *PendingProposal) (moot bool, err error) {
	shown.Change, moot = nil, true
	anew := &replay{Publisher: p, w: w, d: &desk{view: v, store: p.Store, now: v.Now()}, draft: newDraft(w.kind, w.roles[0].name), past: past, asks: true}
	for _, r := range w.roles {
		h, err := p.historyOf(ctx, v, r.name, past)
		if err != nil {
			return false, err
		}
		current := currentContent(v, r.name)
		if current == nil || h.files[r.next.Replaces] == nil {
			moot = false
			continue
		}
		base := h.files[r.next.Replaces]
		shown.Change = append(shown.Change, append(p.describeTargets(ctx, v, r, base), describeDelegations(base, r.next)...)...)
		since := &roleDraft{name: r.name, next: current}
		for _, line := range append(p.describeTargets(ctx, v, since, base), describeDelegations(base, current)...) {
			if !strings.HasPrefix(line, " ") { // without its evidence
				shown.Since = append(shown.Since, line)
			}
		}
		if err := anew.role(ctx, r); storeFailure(err) {
			return false, err
		} else if err != nil {
			moot = false
		}
	}
	shown.Again = anew.commands()
	return moot && len(shown.Again) == 0 && !anew.refuses, nil
}

// commands make what is left of the change again: what Again refuses takes the command that is meant for it.
func (r *replay) commands() []string {
	if r.again > 0 && !r.refuses {
		return []string{"kitchen pending again " + r.w.id + " --key FILE"}
	}
	slices.Sort(r.instead)
	return slices.Compact(r.instead)
}

// isCertificate tells an entry whose evidence has to be gathered from one that stands for itself.
func isCertificate(role string, after trust.Target) bool {
	return isReady(manifest.RoleStage(role)) && after.SHA256 != ""
}

// commandFor is the command that changes a target of a role as it was changed.
func commandFor(role, path string, before, after trust.Target) string {
	kind, _, customer := manifest.SplitRole(role)
	_, r, err := manifest.ParseTargetPath(path)
	switch {
	case kind == manifest.RoleRegistry:
		return "kitchen customer add, or kitchen site add"
	case err != nil:
		return "the command that made it"
	case kind == "product" && before.SHA256 == "":
		return "kitchen publish DIR --key FILE (of " + r.String() + ")"
	case kind == "product" && after.Custom[customYanked] == "":
		return "kitchen yank " + r.String() + " --undo --key FILE"
	case kind == "product":
		return "kitchen yank " + r.String() + " --reason TEXT --key FILE"
	case kind == manifest.StageReady && after.SHA256 == "":
		return "kitchen decertify " + r.String() + " --reason TEXT" + ifSo(customer != "", " --for "+customer) + " --key FILE"
	case kind == manifest.StageRecalled:
		return "kitchen recall " + r.String() + " --reason TEXT --key FILE"
	}
	return "kitchen " + verbs[kind] + " " + r.String() + " --key FILE"
}

// certifyCommand is the command that certifies as a certificate did, with its waivers and its note as far as its evidence can be
// read.
func (p *Publisher) certifyCommand(ctx context.Context, role, path string, certificate trust.Target) string {
	_, r, err := manifest.ParseTargetPath(path)
	if err != nil {
		return "the command that made it"
	}
	command := "kitchen certify " + r.String()
	if _, _, customer := manifest.SplitRole(role); customer != "" {
		command += " --for " + customer
	}
	if certificate.Custom[customLifts] != "" {
		command += " --lift-recall"
	}
	command += " --key FILE"
	e, err := p.evidence(ctx, certificate.Custom[customEvidence])
	if err != nil {
		return command
	}
	for _, w := range e.Waivers {
		command += " --waive " + ShellWord(w.Site+ifSo(w.Until != "", "@"+w.Until)+":"+w.Reason)
	}
	if e.Note != "" {
		command += " --note " + ShellWord(e.Note)
	}
	return command
}

// certifyCommands are those for the certificates that a proposal would make.
func (p *Publisher) certifyCommands(ctx context.Context, v *catalog.View, w *waiting) (commands []string) {
	for _, r := range w.roles {
		current, err := currentRole(v, r.name)
		if err != nil {
			continue
		}
		for _, path := range inOrder(current, r.next) {
			if after := r.next.Targets[path]; isCertificate(r.name, after) && !sameTarget(current.Targets[path], after) {
				commands = append(commands, p.certifyCommand(ctx, r.name, path, after))
			}
		}
	}
	return commands
}

// plainWord is what a shell takes as one word, as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// ShellWord is a word of a command that is printed to be copied.
func ShellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// rotationCommand is the command for what is left of a change of who signs a role.
func rotationCommand(before, after, there trust.Delegation) string {
	keys := ""
	name := KeyNames(slices.Concat(before.KeyIDs(), after.KeyIDs(), there.KeyIDs())...)
	for _, id := range before.KeyIDs() {
		if !after.Has(id) && there.Has(id) {
			keys += " --old " + name(id)
		}
	}
	for _, id := range after.KeyIDs() {
		if !before.Has(id) && !there.Has(id) {
			keys += " --new FILE (of " + name(id) + ")"
		}
	}
	number := before.Threshold != after.Threshold && there.Threshold != after.Threshold
	switch {
	case before.Threshold == 0 || keys == "" && !number: // the role is new, or has other paths
		return "kitchen role show " + after.Name
	case keys == "":
		return fmt.Sprintf("kitchen role set-threshold %s %d --key FILE", after.Name, after.Threshold)
	}
	return "kitchen role rotate " + after.Name + keys + ifSo(number, fmt.Sprintf(" --threshold %d", after.Threshold)) + " --key FILE"
}

// isMade tells whether what a change says of who signs a role is so: the keys that come are there, those that go are not,
// and the threshold is the one that it sets. Another change may have said more of it since.
func isMade(before, after, there trust.Delegation) bool {
	come := func(id string) bool { return !before.Has(id) && !there.Has(id) }
	stay := func(id string) bool { return !after.Has(id) && there.Has(id) }
	return there.Threshold > 0 && !slices.ContainsFunc(after.KeyIDs(), come) && !slices.ContainsFunc(before.KeyIDs(), stay) &&
		(before.Threshold == after.Threshold || there.Threshold == after.Threshold) &&
		(slices.Equal(before.Paths, after.Paths) || slices.Equal(there.Paths, after.Paths))
}

// delegationMade is isMade for the change of one role's hand-out from base to next.
func delegationMade(role string, base, next, now *trust.Targets) bool {
	before, _ := base.Delegation(role)
	after, kept := next.Delegation(role)
	there, _ := now.Delegation(role)
	return kept && isMade(before, after, there)
}
