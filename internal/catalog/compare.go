package catalog

import (
	"slices"

	"github.com/enovance/kitchen/manifest"
)

// Previous is the release of the same product that was published before; nil for the first one. Errors are those of
// Release and Releases.
func (v *View) Previous(r manifest.Release) (*ReleaseInfo, error) {
	info, err := v.Release(r)
	if err != nil {
		return nil, err
	}
	releases, err := v.Releases(r.Product)
	if err != nil {
		return nil, err
	}
	var previous *ReleaseInfo
	for i := range releases {
		if releases[i].Seq < info.Seq {
			previous = &releases[i]
		}
	}
	return previous, nil
}

// Regressions are the tests that failed in a report, and passed in the one before; sorted, each once. Both must have
// their names: see Reports.All.
func Regressions(now, before *VerifiedReport) []string {
	if now == nil || before == nil {
		return nil
	}
	passed := map[string]bool{}
	for _, tests := range [][]string{before.Passed, before.Warned} {
		for _, test := range tests {
			passed[test] = true
		}
	}
	return slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(now.Failed))), func(test string) bool { return !passed[test] })
}
