package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// Unmet is one requirement that is not met, for people: what is required, and what stands against it. Where it
// concerns a site, Requirement begins with the site's name.
type Unmet struct{ Requirement, Detail string }

// CertificationUnmet holds a release to the certification policy. The default one (DESIGN §7), for everybody:
//
//   - it is published and validated, neither recalled nor yanked, and recalled.<p> can be relied on;
//   - every CI site of the vendor that is not retired reported PASSED last, and there is such a site;
//   - no site that is not retired, of a customer that is not suspended, reported FAILED or ERROR last; NOT_RUN of a customer's site says nothing, as
//     a missing report does (the vendor's own sites have to have passed all the same);
//   - no such site's chain of reports on the release has a gap, and none that the journal saw is gone.
//
// WARNED is in-toto's word for "passed, with warnings". reports must be those of all sites on the release. The
// error is *UnknownRelease, or says that roles or registry cannot be relied on.
func (v *View) CertificationUnmet(ctx context.Context, r manifest.Release, reports *Reports) ([]Unmet, error) {
	return v.certificationUnmet(ctx, r, reports, v.recallUnmet)
}

// LiftUnmet is CertificationUnmet for a certificate that lifts the recall of the release. In place of "not
// recalled" it demands that the recall can be named: recalled.<p> can be relied on, and its recall has a number.
func (v *View) LiftUnmet(ctx context.Context, r manifest.Release, reports *Reports) ([]Unmet, error) {
	return v.certificationUnmet(ctx, r, reports, v.liftUnmet)
}

func (v *View) certificationUnmet(ctx context.Context, r manifest.Release, reports *Reports, recall func(manifest.Release) string) ([]Unmet, error) {
	info, err := v.Release(r)
	if err != nil {
		return nil, err
	}
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	vendor, err := vendorOf(customers)
	if err != nil {
		return nil, err
	}
	unmet := v.releaseUnmet(info, recall(r))
	if reports.NoJournal != nil {
		unmet = append(unmet, Unmet{"the journal", "without it nobody knows which reports are gone: " + reports.NoJournal.Error()})
	}
	if !hasCI(vendor) {
		unmet = append(unmet, Unmet{vendor.Customer + ": a CI site", "the vendor has registered none, and its CI has to pass"})
	}
	for _, c := range customers {
		for i := range c.Sites {
			if reason := siteUnmet(c, &c.Sites[i], r, reports); reason != "" {
				unmet = append(unmet, Unmet{c.Customer + "/" + c.Sites[i].Name, reason})
			}
		}
	}
	return unmet, nil
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
		unmet = append(unmet, Unmet{"not yanked", fmt.Sprintf("it is %s; its engineers can take that back: kitchen yank %s --undo", yanked, info.Release)})
	}
	return unmet
}

// recallUnmet says what of recalls stands against certifying; "" is nothing.
func (v *View) recallUnmet(r manifest.Release) string {
	switch recall, err := v.Recall(r); {
	case err != nil:
		return "whether it is recalled cannot be known: " + err.Error()
	case recall != nil:
		if info, err := v.Release(r); err == nil && !info.Liftable() {
			return fmt.Sprintf("it is %s, and stays so, since it was not validated before", recall)
		}
		return fmt.Sprintf("it is %s; to take that back: kitchen certify %s --lift-recall", recall, r)
	}
	return ""
}

// liftUnmet says what stands against lifting the recall; "" is nothing.
func (v *View) liftUnmet(r manifest.Release) string {
	if _, err := v.Role(manifest.RoleRecalled(r.Product)); err != nil {
		return "which recall there is to lift cannot be known: " + err.Error()
	}
	if recall := v.knownRecall(r); recall != nil && recall.Since == 0 {
		return fmt.Sprintf("it is %s, by an entry without a number that a certificate could name; to give it one: kitchen recall %s --reason TEXT", recall, r)
	}
	return ""
}

func hasCI(c *manifest.Customer) bool {
	for _, s := range c.Sites {
		if s.Kind == manifest.SiteCI && !s.Retired {
			return true
		}
	}
	return false
}

// siteUnmet says what of one site stands against certifying; "" is nothing.
func siteUnmet(c *manifest.Customer, s *manifest.Site, r manifest.Release, reports *Reports) string {
	if s.Retired || c.Suspended {
		return ""
	}
	id := manifest.SiteID{Customer: c.Customer, Site: s.Name}
	if lost := reports.Lost(id, r); lost != "" {
		reason := fmt.Sprintf("a report of it that the journal saw is %s", lost)
		if latest := reports.Latest(id, r); latest != nil && latest.Result == manifest.Failed {
			reason = withReason("its latest report is "+latest.Verdict(), latest) + "; " + reason
		}
		return reason
	}
	if reports.Gap(id, r) {
		return "its reports have a gap: one is missing, doubled or not linked, so that its latest verdict cannot be known"
	}
	latest := reports.Latest(id, r)
	required := c.Vendor && s.Kind == manifest.SiteCI
	if latest == nil {
		if required {
			return "the vendor's CI has not reported on it yet"
		}
		return ""
	}
	switch verdict := latest.Verdict(); {
	case verdict == manifest.Passed:
		return ""
	case (verdict == manifest.Warned || verdict == manifest.NotRun) && !required:
		return ""
	default:
		return withReason("its latest report is "+verdict, latest)
	}
}

func withReason(text string, report *VerifiedReport) string {
	switch {
	case report.Reason != "":
		return text + ": " + report.Reason
	case len(report.Failed) > 0:
		return fmt.Sprintf("%s: %d test(s) failed, %s first", text, len(report.Failed), report.Failed[0])
	}
	return text
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
