package fetcher

import (
	"cmp"
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// Way is one way on from an installed version: updates, each of which may be applied to the one before it.
type Way struct {
	Steps []Step // at least one
}

// Step is an update on a way.
type Step struct {
	catalog.ReleaseInfo
	Ready bool // the gate of this host says yes
}

// Ready tells whether every step may be deployed today.
func (w Way) Ready() bool {
	return !slices.ContainsFunc(w.Steps, func(s Step) bool { return !s.Ready })
}

// Goal is the version that the way leads to.
func (w Way) Goal() string { return w.Steps[len(w.Steps)-1].Version }

// Paths are the ways from an installed version of a product to a later one, or to every one ("").
type Paths struct {
	// Ways are, for each version that can be reached, the shortest way to it whose steps are all ready, and the
	// shortest of all where that has fewer steps. Short ways come first, ready ones before others.
	Ways []Way
	// Withheld are the updates that may be applied to a version on the way, and are yanked or recalled: no way leads
	// over them. In order of publication.
	Withheld []NotVisible
}

// Paths looks for ways from one version of a product to another, or to all (to = ""), in the order of publication:
// no way leads back. from need not be published. Whether a step is ready is for Ready to say.
//
// Errors: *catalog.UnknownProduct, *catalog.UnknownRelease of to, those of Ready, and what makes a manifest or the
// recalls unreadable: half an answer would be a wrong one.
func (f *Fetcher) Paths(ctx context.Context, v *catalog.View, product, from, to string) (*Paths, error) {
	releases, err := v.Releases(product)
	if err != nil {
		return nil, err
	}
	if to != "" {
		if _, err := v.Release(manifest.Release{Product: product, Version: to}); err != nil {
			return nil, err
		}
	}
	if err := recallsKnown(v, product); err != nil {
		return nil, err
	}
	m, err := f.newRoadMap(ctx, v, releases, from)
	if err != nil {
		return nil, err
	}
	ways := append(m.shortest(true), m.shortest(false)...)
	result := &Paths{Withheld: m.withheld}
	for i, w := range ways { // ready ones are first
		better := slices.ContainsFunc(ways[:i], func(o Way) bool { return o.Goal() == w.Goal() && len(o.Steps) <= len(w.Steps) })
		if !better && (to == "" || w.Goal() == to) {
			result.Ways = append(result.Ways, w)
		}
	}
	slices.SortStableFunc(result.Ways, func(a, b Way) int { return cmp.Compare(len(a.Steps), len(b.Steps)) })
	return result, nil
}

// roadMap are the updates of a product that lie ahead of an installed version.
type roadMap struct {
	from     string
	steps    []Step // in order of publication
	onto     []*manifest.Manifest
	withheld []NotVisible
}

func (f *Fetcher) newRoadMap(ctx context.Context, v *catalog.View, releases []catalog.ReleaseInfo, from string) (*roadMap, error) {
	m := &roadMap{from: from}
	floor := int64(0)
	if i := slices.IndexFunc(releases, func(info catalog.ReleaseInfo) bool { return info.Version == from }); i >= 0 {
		floor = releases[i].Seq
	}
	for _, info := range releases {
		if info.Version == from || info.Seq <= floor {
			continue
		}
		if info.Conflict != nil {
			return nil, info.Conflict
		}
		release, _, err := v.Manifest(ctx, info.Release)
		if err != nil {
			return nil, err
		}
		if reason := f.withheld(v, info); reason != "" {
			if m.reaches(release) {
				m.withheld = append(m.withheld, NotVisible{Release: info.Release, Reason: reason})
			}
			continue
		}
		if !m.reaches(release) {
			continue // neither does anything later lead over it
		}
		verdict, err := f.Ready(ctx, v, info.Release, ReadyOptions{})
		if err != nil {
			return nil, err
		}
		m.steps, m.onto = append(m.steps, Step{info, verdict.Ready}), append(m.onto, release)
	}
	return m, nil
}

// withheld says why no way leads over a release, "" when one may.
func (f *Fetcher) withheld(v *catalog.View, info catalog.ReleaseInfo) string {
	if recall := f.recalled(v, info.Release); recall != nil {
		return "it is " + recall.String()
	}
	if info.Yanked != "" {
		return "it is " + info.YankWords()
	}
	return ""
}

// reaches tells whether a release may be applied to the installed version, or to a step.
func (m *roadMap) reaches(release *manifest.Manifest) bool {
	return applies(release, m.from) || slices.ContainsFunc(m.steps, func(s Step) bool { return applies(release, s.Version) })
}

func applies(release *manifest.Manifest, version string) bool {
	unmet, err := pathUnmet(release, version)
	return err == nil && len(unmet) == 0
}

// shortest is, for each version that can be reached, a way of the fewest steps, in order of publication. A step leads
// on to later ones only, so one pass in that order has each predecessor's way before it is asked for.
func (m *roadMap) shortest(readyOnly bool) []Way {
	best := make([]Way, len(m.steps)) // no steps: cannot be reached
	var ways []Way
	for i, step := range m.steps {
		if readyOnly && !step.Ready {
			continue
		}
		if applies(m.onto[i], m.from) {
			best[i] = Way{[]Step{step}}
		} else {
			for j := range i {
				n := len(best[j].Steps)
				if n > 0 && (len(best[i].Steps) == 0 || n+1 < len(best[i].Steps)) && applies(m.onto[i], m.steps[j].Version) {
					best[i] = Way{append(slices.Clone(best[j].Steps), step)}
				}
			}
		}
		if len(best[i].Steps) > 0 {
			ways = append(ways, best[i])
		}
	}
	return ways
}
