package publisher

import (
	"maps"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// notRecalled are the releases that a stale proposal was to recall, and that no recall stops: it was lost in a race with another change
// of the list, or lapsed, and whoever made it may think that they are stopped.
func (w *waiting) notRecalled(v *catalog.View, past map[string]*history) (releases []manifest.Release) {
	for _, r := range w.roles {
		kind, product, _ := manifest.SplitRole(r.name)
		current := currentContent(v, r.name)
		if kind != manifest.StageRecalled || current == nil {
			continue
		}
		certificates, readable := certificatesOf(v, product)
		base := baseOf(v, r, past)
		if base == nil {
			base = &trust.Targets{}
		}
		for _, path := range slices.Sorted(maps.Keys(diffTargets(base, r.next))) {
			_, release, err := manifest.ParseTargetPath(path)
			target, there := current.Targets[path]
			if err == nil && (!there || readable && !certificates.leave(release, target)) {
				releases = append(releases, release)
			}
		}
	}
	return releases
}

// releaseNames are releases in words.
func releaseNames(releases []manifest.Release) []string {
	names := make([]string, len(releases))
	for i, r := range releases {
		names[i] = r.String()
	}
	return names
}

// NotRecalledWords say so of releases, as a list; "" for none.
func (p *PendingProposal) NotRecalledWords() string {
	if len(p.NotRecalled) == 0 {
		return ""
	}
	named := p.NotRecalled[:min(len(p.NotRecalled), maxOffered)]
	text := listOr(named, "") + ifSo(len(p.NotRecalled) > maxOffered, " and "+count(len(p.NotRecalled)-maxOffered, "more release"))
	return text + ifSo(len(p.NotRecalled) == 1, " is") + ifSo(len(p.NotRecalled) > 1, " are") + " NOT RECALLED: this never took effect"
}
