package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

// statusOptions say what is to be shown; empty ones leave the choice open.
type statusOptions struct {
	release  *manifest.Release // one release's matrix
	product  string
	customer string
	site     *manifest.SiteID
	since    time.Time
	failed   bool
}

func statusCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "status", Category: groupOperator, Usage: "who validated what, who did not, what is certified, recalled, deployed", ArgsUsage: "[PRODUCT[@VERSION]]",
		Description: "PRODUCT@VERSION shows one release: every site with its key, and the tests that passed there on the release before and fail now. " +
			"Reports are known from the journal; the store is listed for what is new since, and where that is not possible, the journal's are all there is.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "product", Usage: "only releases of this `PRODUCT`"},
			&cli.StringFlag{Name: "customer", Usage: "only sites of this `CUSTOMER`"},
			&cli.StringFlag{Name: "site", Usage: "only this `CUSTOMER/SITE`"},
			&cli.StringFlag{Name: "since", Usage: "only reports since this `TIME` (2026-01-31T12:00:00Z, 2026-01-31, or 3d ago as 3d)"},
			&cli.BoolFlag{Name: "failed", Usage: "only what failed, and what is missing or gone"},
		},
		Action: action(k, k.statusOptions, runStatus),
	}
}

func (k *kitchen) statusOptions(c *cli.Context) (o statusOptions, err error) {
	o = statusOptions{product: c.String("product"), customer: c.String("customer"), failed: c.Bool("failed")}
	if err := operands(c, "[PRODUCT[@VERSION]]"); err != nil {
		return o, err
	}
	switch what := c.Args().First(); {
	case what != "" && o.product != "":
		return o, usagef("%s and --product exclude each other", what)
	case strings.Contains(what, "@"):
		r, err := parseRelease(what)
		if err != nil {
			return o, err
		}
		o.release = &r
	case what != "":
		o.product = what
	}
	if c.String("site") != "" {
		if o.customer != "" {
			return o, usagef("--customer and --site exclude each other")
		}
		site, err := siteValue(c.String("site"))
		if err != nil {
			return o, err
		}
		o.site = &site
	}
	o.since, err = k.timeFlag(c, "since")
	return o, err
}

// filter is which reports have to be read.
func (o *statusOptions) filter() catalog.ReportFilter {
	return catalog.ReportFilter{Release: o.release, Product: o.product, Customer: o.customer, Site: o.site, Known: true}
}

// wants tells whether a row is to be shown.
func (o *statusOptions) wants(s siteVerdict) bool {
	bad := s.Gap || s.Verdict == manifest.Failed || s.Verdict == manifest.Errored
	customer, _, _ := strings.Cut(s.Site, "/")
	return (o.customer == "" || o.customer == customer) && (o.site == nil || o.site.String() == s.Site) &&
		(o.since.IsZero() || !s.when.Before(o.since)) && (!o.failed || bad)
}

// narrow tells that rows are left out, so that a release without any is not worth its line.
func (o *statusOptions) narrow() bool {
	return o.customer != "" || o.site != nil || !o.since.IsZero() || o.failed
}

// statusDocument is the matrix of releases and sites.
type statusDocument struct {
	Schema   string          `json:"schema"` // kitchen.status/v1
	Releases []releaseStatus `json:"releases"`
	Rejected []rejected      `json:"rejected"` // objects among the reports that do not count
	Unlisted []string        `json:"unlisted"` // sites of which only what the journal saw is known
	Problems []string        `json:"problems"`
	Issued   string          `json:"issued"`
	age      string
}

type releaseStatus struct {
	releaseDocument
	Previous string        `json:"previous,omitempty"` // the release before, that regressions are against; with P@V alone
	Sites    []siteVerdict `json:"sites"`
	matrix   func(*page)   // instead of the plain table
}

// deployedAt are the sites where this release was deployed last.
func (r *releaseStatus) deployedAt() (sites []string) {
	for _, s := range r.Sites {
		if s.Deployed && s.Replaced == "" {
			sites = append(sites, s.Site)
		}
	}
	return sites
}

type rejected struct {
	Report string `json:"report"`
	Reason string `json:"reason"`
}

func (d *statusDocument) human(p *page) {
	if len(d.Releases) == 0 {
		p.linef("no releases")
	}
	for _, r := range d.Releases {
		p.verdict(toneOf(r.Stage), r.Release+"  "+r.Stage)
		if remark := r.remark(); remark != "" {
			p.verdict(r.remarkTone(), "  "+remark)
		}
		if where := r.deployedAt(); r.Recalled != "" && len(where) > 0 {
			p.para(4, "  deployed at ", strings.Join(where, ", ")+": a release that replaces it has to be deployed there")
		}
		if r.matrix != nil {
			r.matrix(p)
		} else {
			siteTable(p, r.Sites)
		}
		p.linef("")
	}
	d.rejections(p)
	if len(d.Unlisted) > 0 {
		p.para(2, "known from the journal alone, since it may not be listed: ", strings.Join(d.Unlisted, ", "))
	}
	for _, problem := range d.Problems {
		p.para(2, "cannot be used: ", problem)
	}
	p.linef("as of %s, %s ago", d.Issued, d.age)
}

// rejections shows the first few reports of each site that do not count; JSON has them all.
func (d *statusDocument) rejections(p *page) {
	const shown = 3
	count := map[string]int{}
	site := func(r rejected) string { // of reports/CUSTOMER/SITE/…
		parts := strings.SplitN(r.Report, "/", 4)
		return strings.Join(parts[1:min(3, len(parts))], "/")
	}
	for _, r := range d.Rejected {
		if count[site(r)]++; count[site(r)] <= shown {
			p.para(2, "does not count: ", r.Report+": "+r.Reason)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if more := count[name] - shown; more > 0 {
			p.para(2, "does not count: ", fmt.Sprintf("%d more of %s (-o json tells all)", more, name))
		}
	}
}

func runStatus(ctx context.Context, k *kitchen, o statusOptions) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		releases, err := o.releases(ctx, v)
		if err != nil {
			return err
		}
		k.progress.Note("reading the sites' reports")
		reports, err := v.Reports(ctx, o.filter())
		if err != nil {
			return err
		}
		d := &statusDocument{
			Schema: "kitchen.status/v1", Releases: []releaseStatus{}, Rejected: []rejected{}, Unlisted: []string{},
			Problems: problems(v), Issued: stamp(v.Issued()), age: render.Duration(v.Age()),
		}
		for _, r := range releases {
			rows, err := v.ReleaseStatus(ctx, r.Release, reports)
			if err != nil {
				return err
			}
			all := siteVerdicts(rows)
			if err := o.replaced(ctx, v, r.Release, reports, all); err != nil {
				return err
			}
			sites := slices.DeleteFunc(all, func(s siteVerdict) bool { return !o.wants(s) })
			if len(sites) > 0 || !o.narrow() {
				d.Releases = append(d.Releases, releaseStatus{releaseDocument: newReleaseDocument(r), Sites: sites})
			}
		}
		if err := o.compare(ctx, v, reports, d); err != nil {
			return err
		}
		for _, r := range reports.Rejected {
			d.Rejected = append(d.Rejected, rejected{r.Key, r.Reason})
		}
		for _, site := range reports.Unlisted {
			d.Unlisted = append(d.Unlisted, site.String())
		}
		if reports.NoJournal != nil {
			d.Problems = append(d.Problems, "the journal of reports: "+reports.NoJournal.Error())
		}
		return k.show(d)
	})
}

// replaced notes what was deployed after a release at its sites; for one release alone that takes the others' reports.
func (o *statusOptions) replaced(ctx context.Context, v *catalog.View, r manifest.Release, reports *catalog.Reports, rows []siteVerdict) (err error) {
	if !slices.ContainsFunc(rows, func(s siteVerdict) bool { return s.Deployed }) {
		return nil
	}
	if o.release != nil {
		filter := o.filter()
		filter.Release, filter.Product = nil, r.Product
		if reports, err = v.Reports(ctx, filter); err != nil {
			return err
		}
	}
	for i := range rows {
		site, err := manifest.ParseSite(rows[i].Site)
		if err != nil {
			return err
		}
		if by := reports.Replaced(site, r); rows[i].Deployed && by != nil {
			rows[i].Replaced = by.String()
		}
	}
	return nil
}

// releases are those that are asked for. A customer that is asked for has to exist; with a site, its reports tell.
func (o *statusOptions) releases(ctx context.Context, v *catalog.View) ([]catalog.ReleaseInfo, error) {
	if o.customer != "" {
		if _, err := v.Customer(ctx, o.customer); err != nil {
			return nil, err
		}
	}
	if o.release == nil {
		return releasesOf(v, o.product)
	}
	info, err := v.Release(*o.release)
	if err != nil {
		return nil, err
	}
	return []catalog.ReleaseInfo{*info}, nil
}

// compare makes the matrix of one release: what got worse at each site since the release before.
func (o *statusOptions) compare(ctx context.Context, v *catalog.View, reports *catalog.Reports, d *statusDocument) error {
	if o.release == nil || len(d.Releases) == 0 {
		return nil
	}
	r := &d.Releases[0]
	previous, err := v.Previous(*o.release)
	if err != nil {
		return err
	}
	if previous != nil {
		filter := o.filter()
		filter.Release, r.Previous = &previous.Release, previous.Release.String()
		before, err := v.Reports(ctx, filter)
		if err != nil {
			return err
		}
		for i := range r.Sites {
			site, err := manifest.ParseSite(r.Sites[i].Site)
			if err != nil {
				return err
			}
			r.Sites[i].Regressions = catalog.Regressions(reports.Latest(site, *o.release), before.Latest(site, previous.Release))
		}
	}
	for i := range r.Sites {
		if site, err := manifest.ParseSite(r.Sites[i].Site); err == nil {
			if latest := reports.Latest(site, *o.release); latest != nil {
				r.Sites[i].FailedTests = latest.Failed
			}
		}
	}
	r.matrix = func(p *page) { matrixTable(p, r, v.Now()) }
	return nil
}

// matrixTable shows one release's sites with age and key, and what got worse below.
func matrixTable(p *page, r *releaseStatus, now time.Time) {
	table := &render.Table{Columns: []render.Column{{Name: "SITE"}, {Name: "VERDICT"}, {Name: "TESTS"}, {Name: "AGE"}, {Name: "KEY"}, {Name: "", Flex: true}}}
	for _, s := range r.Sites {
		age := "-"
		if !s.when.IsZero() {
			age = render.Duration(max(0, now.Sub(s.when)))
		}
		table.Add(render.Cell{Text: s.Site}, toned(s.verdict()), render.Cell{Text: s.tests()}, render.Cell{Text: age}, render.Cell{Text: dash(s.Signer)}, render.Cell{Text: s.remark()})
	}
	p.table(table, "no sites")
	for _, s := range r.Sites {
		if len(s.FailedTests) > 0 {
			p.para(4, "  "+s.Site+", failed: ", someOf(s.FailedTests))
		}
		if len(s.Regressions) > 0 {
			p.para(4, "  "+s.Site+", passed on "+r.Previous+" and fails now: ", someOf(s.Regressions))
		}
	}
}

// someOf names the first few of a list that may be long; JSON has all of it.
func someOf(tests []string) string {
	const shown = 20
	if len(tests) <= shown {
		return strings.Join(tests, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(tests[:shown], ", "), len(tests)-shown)
}
