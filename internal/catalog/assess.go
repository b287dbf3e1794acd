package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// siteWord is a site's last word on a release.
type siteWord struct {
	verdict string    // "" = none
	reason  string    // of the verdict, as withReason adds it
	ran     time.Time // when the run ended, or the journal saw the report, whichever was first; zero = not known here
	gap     bool
	lost    Lost
}

// words are what an assessment rests on: the reports as they are, or those that a certificate's evidence names.
type words interface {
	of(site manifest.SiteID) siteWord
	// soaked is when the journal saw the first pass by one of the sites; zero = not yet. known is false where that is
	// not to be told here.
	soaked(sites map[string]bool, warnedPass bool) (first time.Time, known bool)
}

// assess holds the sites' words to the certification policy in effect.
func (v *View) assess(ctx context.Context, r manifest.Release, q Question, w words, now time.Time) (*Assessment, error) {
	policy, err := v.Policy(ctx)
	if err != nil {
		return nil, err
	}
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	return assessUnder(policy, customers, r, q, w, now)
}

// assessUnder is assess with a policy and a registry of the caller's choice.
func assessUnder(policy *PolicyInEffect, customers []*manifest.Customer, r manifest.Release, q Question, w words, now time.Time) (*Assessment, error) {
	vendor, err := vendorOf(customers)
	if err != nil {
		return nil, err
	}
	e := &assessor{Requirements: policy.For(r.Product, q.Customer), customers: customers, words: w, now: now,
		required: map[string]string{}, a: &Assessment{Policy: policy}}
	if q.Customer != "" {
		if err := e.follows(q.Customer, r); err != nil {
			return nil, err
		}
	}
	for _, name := range e.Require {
		e.require(name, vendor, q.Customer)
	}
	e.soak()
	e.dropFollowed()
	for _, c := range customers {
		for i := range c.Sites {
			id := manifest.SiteID{Customer: c.Customer, Site: c.Sites[i].Name}
			if detail := e.site(c, &c.Sites[i], id); detail != "" {
				e.a.Sites = append(e.a.Sites, Unmet{id.String(), detail})
			}
		}
	}
	e.a.Required = slices.Sorted(maps.Keys(e.required))
	return e.a, nil
}

// assessor collects one assessment.
type assessor struct {
	manifest.Requirements
	customers []*manifest.Customer
	words     words
	now       time.Time
	required  map[string]string // site → what to say where it has not reported
	a         *Assessment
}

func (e *assessor) unmet(requirement, format string, args ...any) {
	e.a.Unmet = append(e.a.Unmet, Unmet{requirement, fmt.Sprintf(format, args...)})
}

func (e *assessor) customer(name string) *manifest.Customer {
	for _, c := range e.customers {
		if c.Customer == name {
			return c
		}
	}
	return nil
}

// follows: who is certified for follows the product.
func (e *assessor) follows(name string, r manifest.Release) error {
	switch c := e.customer(name); {
	case c == nil:
		return &UnknownCustomer{name}
	case c.Suspended:
		e.unmet("customer "+name, "it is suspended")
	case !c.Subscribes(r.Product):
		e.unmet("customer "+name, "it does not subscribe to %s", r.Product)
	}
	return nil
}

// require enters the sites that one name of the policy stands for.
func (e *assessor) require(name string, vendor *manifest.Customer, customer string) {
	switch {
	case name == manifest.VendorCI:
		if !e.requireCI(vendor, "the vendor's CI has not reported on it yet") {
			e.unmet(vendor.Customer+": a CI site", "the vendor has registered none, and its CI has to pass")
		}
	case name == manifest.CustomerCI && customer != "":
		if c := e.customer(customer); !e.requireCI(c, "it has not reported on it yet, and every CI site of the customer has to have passed") {
			e.unmet(customer+": a CI site", "it has none that is not retired, and every one has to have passed")
		}
	case name != manifest.CustomerCI:
		id, err := manifest.ParseSite(name)
		if c := e.customer(id.Customer); err != nil || c == nil || c.Site(id.Site) == nil {
			e.unmet(name, "the certification policy asks for it, and the registry has no such site")
			return
		}
		e.required[name] = "it has not reported on it yet, and the certification policy asks for it"
	}
}

// requireCI enters every CI site of a customer that is not retired; false when there is none.
func (e *assessor) requireCI(c *manifest.Customer, silent string) (some bool) {
	for i := range c.Sites {
		if s := &c.Sites[i]; s.Kind == manifest.SiteCI && !s.Retired {
			some = true
			e.required[c.Customer+"/"+s.Name] = silent
		}
	}
	return some
}

// dropFollowed: where the last site of a chain is enough, a site that another required one waits for, be it through
// others, is required no more.
func (e *assessor) dropFollowed() {
	if !e.LastOfChain {
		return
	}
	after := map[string][]string{}
	var live []string
	for _, c := range e.customers {
		for _, s := range c.Sites {
			name := c.Customer + "/" + s.Name
			after[name] = s.After
			if _, required := e.required[name]; required && !s.Retired && !c.Suspended {
				live = append(live, name)
			}
		}
	}
	followed := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		for _, before := range after[name] {
			if !followed[before] {
				followed[before] = true
				follow(before)
			}
		}
	}
	for _, name := range live {
		follow(name)
	}
	maps.DeleteFunc(e.required, func(name string, _ string) bool { return followed[name] })
}

// soak: the release has been out for long enough.
func (e *assessor) soak() {
	if e.Soak == 0 {
		return
	}
	sites := map[string]bool{}
	for name := range e.required {
		sites[name] = true
	}
	first, known := e.words.soaked(sites, e.WarnedPass)
	switch {
	case !known:
	case first.IsZero():
		e.unmet("soak time", "it is %s from when the journal sees the first PASSED of a required site, and it has seen none (kitchen commit)", spanOf(e.Soak))
	case e.now.Sub(first) < e.Soak:
		e.unmet("soak time", "it ends on %s, %s after the journal saw the first PASSED of a required site", stampOf(first.Add(e.Soak)), spanOf(e.Soak))
	}
}

// site says what of one site stands against certifying; "" is nothing.
func (e *assessor) site(c *manifest.Customer, s *manifest.Site, id manifest.SiteID) string {
	silent, required := e.required[id.String()]
	switch {
	case s.Retired && required:
		return "it is retired, and the certification policy asks for it"
	case c.Suspended && required:
		return "its customer is suspended, and the certification policy asks for it"
	case s.Retired || c.Suspended:
		return ""
	}
	word := e.words.of(id)
	latest := "its latest report is " + word.verdict + word.reason
	switch {
	case word.lost != "" && (word.verdict == manifest.Failed || word.verdict == manifest.NotRun || word.verdict == manifest.Errored):
		return fmt.Sprintf("%s; a report of it that the journal saw is %s", latest, word.lost)
	case word.lost != "":
		return fmt.Sprintf("a report of it that the journal saw is %s", word.lost)
	case word.gap:
		return "its reports have a gap: one is missing, doubled or not linked, so that its latest verdict cannot be known"
	case word.verdict == "":
		return silent
	case word.verdict == manifest.Passed, word.verdict == manifest.Warned && (!required || e.WarnedPass):
		if old := e.now.Sub(word.ran) > e.MaxAge; required && old && e.MaxAge > 0 && !word.ran.IsZero() {
			return fmt.Sprintf("its latest report is of %s, and may be %s old", stampOf(word.ran), spanOf(e.MaxAge))
		}
		return ""
	case word.verdict == manifest.NotRun && !required:
		return ""
	}
	return latest
}

// reportWords are the words of the reports as they are.
type reportWords struct {
	reports *Reports
	release manifest.Release
}

func (w reportWords) of(site manifest.SiteID) siteWord {
	word := siteWord{gap: w.reports.Gap(site, w.release), lost: w.reports.Lost(site, w.release)}
	if latest := w.reports.Latest(site, w.release); latest != nil {
		word.verdict, word.reason, word.ran = latest.Verdict(), reasonOf(latest), latest.ran()
	}
	return word
}

func (w reportWords) soaked(sites map[string]bool, warnedPass bool) (first time.Time, known bool) {
	for i := range w.reports.All {
		report := &w.reports.All[i]
		verdict := report.Verdict()
		passed := verdict == manifest.Passed || warnedPass && verdict == manifest.Warned
		if report.Release == w.release && passed && !report.Seen.IsZero() && sites[report.Site.String()] && (first.IsZero() || report.Seen.Before(first)) {
			first = report.Seen
		}
	}
	return first, true
}

// ran is when the report's run ended, as far as that can be believed: not after the journal saw it.
func (r *VerifiedReport) ran() time.Time {
	if !r.Seen.IsZero() && r.Seen.Before(r.Finished) {
		return r.Seen
	}
	return r.Finished
}

// reasonOf is what a report says of its verdict, to be added to it.
func reasonOf(report *VerifiedReport) string {
	switch {
	case report.Reason != "":
		return ": " + strings.TrimSpace(report.Reason)
	case len(report.Failed) > 0:
		return fmt.Sprintf(": %d test(s) failed, %s first", len(report.Failed), manifest.CleanText(report.Failed[0], manifest.MaxTestName))
	}
	return ""
}

// spanOf is a duration as a policy writes it.
func spanOf(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
