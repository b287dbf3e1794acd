package main

import (
	"context"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/urfave/cli/v2"
)

func statusCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "status", Category: groupOperator, Usage: "who validated what, who did not, what is certified, recalled, deployed", ArgsUsage: "[PRODUCT[@VERSION]]",
		Action: action(k, func(c *cli.Context) (string, error) {
			return c.Args().First(), operands(c, "[PRODUCT[@VERSION]]")
		}, runStatus),
	}
}

// statusDocument is the matrix of releases and sites.
type statusDocument struct {
	Schema   string          `json:"schema"` // kitchen.status/v1
	Releases []releaseStatus `json:"releases"`
	Rejected []rejected      `json:"rejected"` // objects among the reports that do not count
	Problems []string        `json:"problems"`
	Issued   string          `json:"issued"`
	age      string
}

type releaseStatus struct {
	releaseDocument
	Sites []siteVerdict `json:"sites"`
}

// deployedAt are the sites whose latest report is a deployment that passed.
func (r *releaseStatus) deployedAt() (sites []string) {
	for _, s := range r.Sites {
		if s.Deployed {
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
		siteTable(p, r.Sites)
		p.linef("")
	}
	for _, r := range d.Rejected {
		p.para(2, "does not count: ", r.Report+": "+r.Reason)
	}
	for _, problem := range d.Problems {
		p.para(2, "cannot be used: ", problem)
	}
	p.linef("as of %s, %s ago", d.Issued, d.age)
}

func runStatus(ctx context.Context, k *kitchen, what string) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		releases, filter, err := selectReleases(v, what)
		if err != nil {
			return err
		}
		k.progress.Note("reading the sites' reports")
		reports, err := v.Reports(ctx, filter)
		if err != nil {
			return err
		}
		d := &statusDocument{
			Schema: "kitchen.status/v1", Releases: []releaseStatus{}, Rejected: []rejected{},
			Problems: problems(v), Issued: stamp(v.Issued()), age: render.Duration(v.Age()),
		}
		for _, r := range releases {
			rows, err := v.ReleaseStatus(ctx, r.Release, reports)
			if err != nil {
				return err
			}
			d.Releases = append(d.Releases, releaseStatus{newReleaseDocument(r), siteVerdicts(rows)})
		}
		for _, r := range reports.Rejected {
			d.Rejected = append(d.Rejected, rejected{r.Key, r.Reason})
		}
		return k.show(d)
	})
}

// selectReleases reads "", "product" or "product@version".
func selectReleases(v *catalog.View, what string) ([]catalog.ReleaseInfo, catalog.ReportFilter, error) {
	if !strings.Contains(what, "@") {
		releases, err := releasesOf(v, what)
		return releases, catalog.ReportFilter{}, err
	}
	r, err := parseRelease(what)
	if err != nil {
		return nil, catalog.ReportFilter{}, err
	}
	info, err := v.Release(r)
	if err != nil {
		return nil, catalog.ReportFilter{}, err
	}
	return []catalog.ReleaseInfo{*info}, catalog.ReportFilter{Release: &r}, nil
}
