package publisher

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// history is what a role held lately: every version that was in effect since proposals that stale shows could
// have been made.
type history struct {
	payloads map[string]bool           // digests of payloads
	files    map[string]*trust.Targets // by the digest of the file; "" is "never signed"
}

// history walks back through the versions of a role, by the digest that each says it replaces. Numbers that are
// used up by objects that never took effect are not part of it.
func (p *Publisher) history(ctx context.Context, v *catalog.View, role string) (*history, error) {
	h := &history{payloads: map[string]bool{}, files: map[string]*trust.Targets{}}
	err := p.walkBack(ctx, v, role, func(t *trust.Targets, file []byte) bool {
		payload, _, err := trust.ParseEnvelope(file)
		h.payloads[digest(payload)], h.files[digest(file)] = err == nil, t
		if t.Replaces == "" {
			h.files[""] = &trust.Targets{}
		}
		return !t.ProposalExpires.Add(2 * lifeProposal).Before(v.Now()) // of those that lapsed lately, too
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// historyOf is history, looked up in what is known.
func (p *Publisher) historyOf(ctx context.Context, v *catalog.View, role string, known map[string]*history) (*history, error) {
	if known[role] == nil {
		h, err := p.history(ctx, v, role)
		if err != nil {
			return nil, err
		}
		known[role] = h
	}
	return known[role], nil
}

// walkBack visits the versions of a role that were in effect, the present one first, until visit says no or the past
// cannot be read. Errors are the store's.
func (p *Publisher) walkBack(ctx context.Context, v *catalog.View, role string, visit func(t *trust.Targets, file []byte) bool) error {
	file, number := currentFile(v, role), currentVersion(v, role)
	for steps := 0; file != nil && steps < maxHistory; {
		payload, _, err := trust.ParseEnvelope(file)
		if err != nil {
			return nil //nolint:nilerr // the past ends where it cannot be read
		}
		t, err := parseContent(role, payload)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		if !visit(t, file) || t.Replaces == "" {
			return nil
		}
		for file = nil; file == nil && number > 1 && steps < maxHistory; steps++ {
			number--
			older, err := get(ctx, p.Store, manifest.RoleObject(role, number))
			if ignoreAbsent(err) != nil {
				return err
			}
			if err == nil && digest(older) == t.Replaces {
				file = older
			}
		}
	}
	return nil
}

// inEffect tells whether everything that a stale proposal changed, on top of what it rested on, is so now.
func (p *Publisher) inEffect(ctx context.Context, v *catalog.View, w *waiting, past map[string]*history) (bool, error) {
	return p.tookEffect(ctx, v, w, past, false)
}

// tookEffect is inEffect, or whether it was so at any time since: what became of it after that is another decision.
func (p *Publisher) tookEffect(ctx context.Context, v *catalog.View, w *waiting, past map[string]*history, ever bool) (bool, error) {
	for _, r := range w.roles {
		h, err := p.historyOf(ctx, v, r.name, past)
		if err != nil {
			return false, err
		}
		if h.payloads[digest(r.payload)] {
			continue
		}
		base, current := h.files[r.next.Replaces], currentContent(v, r.name)
		if base == nil || current == nil {
			return false, nil
		}
		was := func(t *trust.Targets) bool { return t.Version > base.Version && r.madeIn(base, t) }
		if !r.madeIn(base, current) && !(ever && slices.ContainsFunc(slices.Collect(maps.Values(h.files)), was)) {
			return false, nil
		}
	}
	return true, nil
}

// madeIn tells whether all that a draft changes of base is so in another version.
func (r *roleDraft) madeIn(base, other *trust.Targets) bool {
	there := diffTargets(base, other)
	for path, change := range diffTargets(base, r.next) {
		after, listed := r.next.Targets[path]
		same := listed && meansTheSame(r.name, base.Targets[path], after, other.Targets[path])
		if role, ok := strings.CutPrefix(path, handOut); ok {
			same = delegationMade(role, base, r.next, other)
		}
		if there[path] != change && !same {
			return false
		}
	}
	return true
}

func currentContent(v *catalog.View, role string) *trust.Targets {
	t, err := currentRole(v, role)
	if err != nil {
		return nil
	}
	return t
}
