package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// Unmet is one requirement that is not met, for people: what is required, and what stands against it. Where it
// concerns a site, Requirement begins with the site's name.
type Unmet struct{ Requirement, Detail string }

// Question is which certificate of a release is meant.
type Question struct {
	Customer string // for this customer alone; "" = for everybody
	Lift     bool   // it is to lift the recall of the release
}

// role is who signs the certificate.
func (q Question) role(product string) string {
	if q.Customer != "" {
		return manifest.RoleReadyFor(product, q.Customer)
	}
	return manifest.RoleReady(product)
}

// Assessment is a release held to the certification policy.
type Assessment struct {
	Policy   *PolicyInEffect
	Required []string // sites that have to have passed, sorted
	Unmet    []Unmet  // what no waiver covers
	Sites    []Unmet  // what stands against it at one site, by site: Requirement is the site's name
}

// All are all unmet requirements that the waivers leave.
func (a *Assessment) All(waivers []manifest.Waiver) []Unmet {
	return slices.Concat(a.Unmet, slices.DeleteFunc(slices.Clone(a.Sites), func(u Unmet) bool {
		return slices.ContainsFunc(waivers, func(w manifest.Waiver) bool { return w.Site == u.Requirement })
	}))
}

// Since is All for waivers that were given before: each covers what it was given against, word for word, and nothing that
// came to stand against its site since.
func (a *Assessment) Since(waivers []manifest.Waiver) []Unmet {
	unmet := a.All(waivers)
	for _, u := range a.Sites {
		i := slices.IndexFunc(waivers, func(w manifest.Waiver) bool { return w.Site == u.Requirement })
		if i >= 0 && waivers[i].Against != u.Against() {
			unmet = append(unmet, Unmet{u.Requirement, fmt.Sprintf("%s; what was waived is: %s", u.Detail, waivers[i].Against)})
		}
	}
	return unmet
}

// Against is the detail as a waiver states it.
func (u Unmet) Against() string {
	return strings.TrimSpace(manifest.CleanText(u.Detail, maxReason))
}

// Certification holds a release to the certification policy in effect. Whatever the policy says:
//
//   - it is published and validated, neither recalled nor yanked, and recalled.<p> can be relied on. Where the recall is
//     to be lifted, that it can be named takes the place of "not recalled";
//   - no site that is not retired, of a customer that is not suspended, reported FAILED or ERROR last; NOT_RUN of a site
//     that is not required says nothing, as a missing report does;
//   - no such site's chain of reports on the release has a gap, and none that the journal saw is gone;
//   - the customer that it is for follows the product, and is not suspended.
//
// Beyond that the policy says which sites have to have reported PASSED last, and the rest of manifest.Requirements.
// WARNED is in-toto's word for "passed, with warnings". reports must be those of all sites on the release. The error
// is *UnknownRelease, *UnknownCustomer, or says that policy, roles or registry cannot be relied on.
func (v *View) Certification(ctx context.Context, r manifest.Release, q Question, reports *Reports) (*Assessment, error) {
	info, err := v.Release(r)
	if err != nil {
		return nil, err
	}
	a, err := v.assess(ctx, r, q, reportWords{reports, r}, v.Now())
	if err != nil {
		return nil, err
	}
	recall := v.recallUnmet(r, q)
	if q.Lift {
		recall = v.liftUnmet(r)
	}
	unmet := v.releaseUnmet(info, recall)
	if reports.NoJournal != nil {
		unmet = append(unmet, Unmet{"the journal", "without it nobody knows which reports are gone: " + reports.NoJournal.Error()})
	}
	a.Unmet = append(unmet, a.Unmet...)
	return a, nil
}

func (v *View) releaseUnmet(info *ReleaseInfo, recall string) []Unmet {
	var unmet []Unmet
	role := manifest.RoleValidated(info.Product)
	if err := v.Agreement(info.Release, role); err != nil {
		unmet = append(unmet, Unmet{"validated", err.Error()})
	}
	if recall != "" {
		unmet = append(unmet, Unmet{"not recalled", recall})
	}
	if yanked := info.YankWords(); yanked != "" {
		unmet = append(unmet, Unmet{"not yanked", fmt.Sprintf("it is %s; its engineers can take that back: kitchen yank %s --undo --key FILE", yanked, info.Release)})
	}
	return unmet
}

// recallUnmet says what of recalls stands against certifying; "" is nothing.
func (v *View) recallUnmet(r manifest.Release, q Question) string {
	command := "kitchen certify " + r.String()
	if q.Customer != "" {
		command += " --for " + q.Customer
	}
	switch recall, _, err := v.RecallFor(r, q.role(r.Product)); {
	case err != nil:
		return "whether it is recalled cannot be known: " + err.Error()
	case recall != nil:
		if info, err := v.Release(r); err == nil && !info.Liftable() {
			return fmt.Sprintf("it is %s, and stays so, since it was not validated before", recall)
		}
		return fmt.Sprintf("it is %s; to take that back: %s --lift-recall --key FILE", recall, command)
	}
	return ""
}

// liftUnmet says what stands against lifting the recall; "" is nothing.
func (v *View) liftUnmet(r manifest.Release) string {
	if _, err := v.Role(manifest.RoleRecalled(r.Product)); err != nil {
		return "which recall there is to lift cannot be known: " + err.Error()
	}
	if recall := v.knownRecall(r); recall != nil && recall.Since == 0 {
		return fmt.Sprintf("it is %s, by an entry without a number that a certificate could name; to give it one: kitchen recall %s --reason TEXT --key FILE", recall, r)
	}
	return ""
}

// SiteStatus is what one site says of one release.
type SiteStatus struct {
	Site      string    // "acme/staging"
	Kind      string    // ci | production
	Verdict   string    // PASSED | WARNED | FAILED | NOT_RUN | ERROR; "" = no report yet; VANISHED | ALTERED | WITHHELD, see Lost
	When      time.Time // when the latest report was finished, at the latest when the journal saw it; zero without one
	Passed    int       // tests
	Warned    int       // tests: skipped, or passed with warnings
	Failed    int       // tests
	Reason    string    // of the latest report
	Deployed  bool      // a production site's latest report is a deployment that passed
	Gap       bool      // see Reports.Gap
	Lost      Lost      // see Reports.Lost: there is no pass then, whatever the latest report says; a FAILED stays one
	Retired   bool
	Suspended bool            // its customer is
	Report    *VerifiedReport // the latest one; nil without one
}

// ReleaseStatus is a row for every site that follows the product or reported on the release, by customer and in
// the registry's order of sites; a retired site only shows with a report.
func (v *View) ReleaseStatus(ctx context.Context, r manifest.Release, reports *Reports) ([]SiteStatus, error) {
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	var rows []SiteStatus
	for _, c := range customers {
		for i := range c.Sites {
			row := siteStatus(c, &c.Sites[i], r, reports)
			if row.Report != nil || row.Lost != "" || c.Subscribes(r.Product) && !row.Retired {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

func siteStatus(c *manifest.Customer, s *manifest.Site, r manifest.Release, reports *Reports) SiteStatus {
	id := manifest.SiteID{Customer: c.Customer, Site: s.Name}
	row := SiteStatus{Site: id.String(), Kind: s.Kind, Retired: s.Retired, Suspended: c.Suspended, Report: reports.Latest(id, r),
		Gap: reports.Gap(id, r), Lost: reports.Lost(id, r)}
	if latest := row.Report; latest != nil {
		row.Verdict, row.When, row.Reason = latest.Verdict(), latest.Finished, latest.Reason
		if !latest.Seen.IsZero() && row.When.After(latest.Seen) {
			row.When = latest.Seen
		}
		row.Passed, row.Warned, row.Failed = len(latest.Passed), len(latest.Warned), len(latest.Failed)
		row.Deployed = row.Lost == "" && latest.deployed()
	}
	if row.Lost != "" && row.Verdict != manifest.Failed && row.Verdict != manifest.Errored {
		row.Verdict = strings.ToUpper(string(row.Lost))
	}
	return row
}
