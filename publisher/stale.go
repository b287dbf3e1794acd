package publisher

import (
	"context"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// explainStale says of a stale proposal what it would have changed, what took effect in its place, and what makes its change
// again: by what it changed on what it rested on, as far as the past of its roles can be read. True: all that it changes is so
// by now, and nobody misses it.
func (p *Publisher) explainStale(ctx context.Context, v *catalog.View, w *waiting, past map[string]*history, shown *PendingProposal) (moot bool) {
	shown.Change, moot = nil, true
	for _, r := range w.roles {
		h, current := past[r.name], currentContent(v, r.name)
		if h == nil || current == nil || h.files[r.next.Replaces] == nil {
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
		now := diffTargets(base, current)
		for path, change := range diffTargets(base, r.next) {
			if now[path] != change {
				shown.Again = append(shown.Again, w.commandAgain(r.name, path, base.Targets[path], r.next.Targets[path]))
			}
		}
	}
	slices.Sort(shown.Again)
	shown.Again = slices.Compact(shown.Again)
	return moot && len(shown.Again) == 0
}

// commandAgain is the command that proposes one change of a stale proposal again: a certificate needs its evidence anew,
// all else is taken from the proposal.
func (w *waiting) commandAgain(role, path string, before, after trust.Target) string {
	if isCertificate(role, after) {
		return commandFor(role, path, before, after)
	}
	return "kitchen pending again " + w.id + " --key FILE"
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
		return "kitchen publish DIR (of " + r.String() + ")"
	case kind == "product" && after.Custom[customYanked] == "":
		return "kitchen yank " + r.String() + " --undo"
	case kind == "product":
		return "kitchen yank " + r.String() + " --reason TEXT"
	case kind == manifest.StageReady && after.SHA256 == "":
		return "kitchen decertify " + r.String() + " --reason TEXT" + ifSo(customer != "", " --for "+customer)
	case kind == manifest.StageReady && after.Custom[customLifts] != "":
		return "kitchen certify " + r.String() + " --lift-recall"
	case kind == manifest.StageRecalled:
		return "kitchen recall " + r.String() + " --reason TEXT"
	}
	return "kitchen " + verbs[kind] + " " + r.String()
}
