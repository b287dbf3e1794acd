package catalog_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
)

// A site that the policy names and the registry does not have any more is unmet, and no waiver covers it.
func TestPolicyNamesASiteThatVanished(t *testing.T) {
	w, _ := journaledWorld(t)
	setPolicy(w, "[default]\nrequire = [\"acme/vanished\", \"umbrella/ci\"]\n")
	v := w.View()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	a, err := v.Certification(ctx, on, catalog.Question{}, r)
	check(t, err)
	said := 0
	for _, u := range a.Unmet {
		if (u.Requirement == "acme/vanished" || u.Requirement == "umbrella/ci") && strings.Contains(u.Detail, "no such site") {
			said++
		}
	}
	if said != 2 {
		t.Errorf("%+v", a)
	}
}
