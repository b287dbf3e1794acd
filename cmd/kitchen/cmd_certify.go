package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type certifyOptions struct {
	keyOptions
	release manifest.Release
	request publisher.CertifyRequest
}

func certifyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "certify", Category: groupSysadmin, Usage: "sign a release as ready to deploy, on the evidence of the sites", ArgsUsage: "PRODUCT@VERSION [--for CUSTOMER] --key FILE",
		Description: "Shows the reports that it rests on, and says no (exit 3) unless the certification policy is met (kitchen policy show). Without a policy of the vendor's: its CI passed, and no site's latest report is a failure; with --for, every CI site of that customer passed, too. " +
			"--waive lets pass what stands against it at one site; it is signed into the evidence, and shown to whoever signs or uses the certificate. The certificate ends with the waiver's DATE. " +
			"What is certified stays so (exit 0), also where it could not be certified today: the answer says so then, and `kitchen decertify` takes it back. " +
			"A recall is lifted for a release that was validated; one that was recalled before that stays so. " +
			"Takes effect when enough certifiers have signed; until then it waits as a proposal (exit 8), which the others sign with `kitchen sign`.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "lift-recall", Usage: "certify a recalled release, and take its recall back; say why with --note"},
			&cli.StringFlag{Name: "for", Usage: "certify for this `CUSTOMER` alone, with its own certifiers"},
			&cli.StringSliceFlag{Name: "waive", Usage: "`SITE[@DATE]:REASON`: let pass what stands against it at this site, through DATE (2026-01-31); repeatable"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the evidence and what is missing; sign nothing"},
			&cli.StringFlag{Name: "note", Usage: "`TEXT` kept with the evidence; the first certifier's counts, of one who joins a waiting proposal it is not kept"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o certifyOptions, err error) {
			o = certifyOptions{keyOptions: k.readKeyOptions(c), request: publisher.CertifyRequest{
				DryRun: c.Bool("dry-run"), Note: c.String("note"), LiftRecall: c.Bool("lift-recall"), Customer: c.String("for")}}
			if err := forFlag(c); err != nil {
				return o, err
			}
			if o.request.Waivers, err = waivers(c.StringSlice("waive")); err != nil {
				return o, err
			}
			o.release, err = releaseOperand(c)
			return o, err
		}, runCertify),
	}
}

// forFlag checks --for.
func forFlag(c *cli.Context) error {
	if !c.IsSet("for") {
		return nil
	}
	if err := manifest.CheckName("customer", c.String("for")); err != nil {
		return usagef("--for: %v", err)
	}
	return nil
}

// waivers reads the values of --waive.
func waivers(values []string) (list []manifest.Waiver, err error) {
	for _, value := range values {
		where, reason, ok := strings.Cut(value, ":")
		site, until, dated := strings.Cut(where, "@")
		if !ok {
			return nil, usagef("--waive %s: write SITE[@DATE]:REASON", value)
		}
		if strings.TrimSpace(reason) == "" {
			return nil, usagef("--waive %s: the reason is missing, after the colon: SITE[@DATE]:REASON", value)
		}
		if _, err := siteValue(site); err != nil {
			return nil, err
		}
		if dated && manifest.CheckUntil(cmp.Or(until, "-")) != nil {
			return nil, usagef("--waive %s: there is no day %q; write the last one on which it holds, like 2026-01-31", value, until)
		}
		list = append(list, manifest.Waiver{Site: site, Until: until, Reason: reason})
	}
	return list, nil
}

// certifyDocument is the evidence and what became of the certificate.
type certifyDocument struct {
	outcomeDocument
	DryRun bool            `json:"dry_run"`
	Sites  []siteVerdict   `json:"sites"`
	Unmet  []unmetDocument `json:"unmet"`
	Note   string          `json:"note,omitempty"`

	Customer      string           `json:"customer,omitempty"` // for whom alone
	PolicyVersion int64            `json:"policy_version"`     // 0 = the default
	Required      []string         `json:"required"`           // sites that the policy wants to have passed
	Waivers       []waiverDocument `json:"waivers"`
	Since         []string         `json:"since"` // what changed in registry and policy since the last certificate
	UnmetToday    []unmetDocument  `json:"unmet_today,omitempty"`
	Waiting       []string         `json:"waiting,omitempty"` // where requirements are unmet: proposals that certify it with waivers
}

// waiverDocument is an exception that the certifiers signed.
type waiverDocument struct {
	Site    string `json:"site"`
	Against string `json:"against"`
	Reason  string `json:"reason"`
	Until   string `json:"until,omitempty"`
	words   string
}

func waiverDocuments(waivers []manifest.Waiver) []waiverDocument {
	docs := []waiverDocument{}
	for _, w := range waivers {
		docs = append(docs, waiverDocument{w.Site, w.Against, w.Reason, w.Until, catalog.WaiverWords(w)})
	}
	return docs
}

func waiverLines(p *page, waivers []waiverDocument) {
	for _, w := range waivers {
		p.para(4, "  WAIVED: ", w.words)
	}
}

// siteVerdict is what one site says of one release.
type siteVerdict struct {
	Site     string `json:"site"`
	Kind     string `json:"kind"`
	Verdict  string `json:"verdict"` // "" = no report yet; see catalog.SiteStatus
	When     string `json:"when,omitempty"`
	Passed   int    `json:"passed"`
	Warned   int    `json:"warned"` // skipped, or passed with warnings
	Failed   int    `json:"failed"`
	Reason   string `json:"reason,omitempty"`
	Deployed bool   `json:"deployed"`
	Gap      bool   `json:"gap"`            // a report of this site is missing
	Lost     string `json:"lost,omitempty"` // altered, vanished, withheld: what became of a report that the journal saw
	Retired  bool   `json:"retired"`
	Report   string `json:"report,omitempty"`
	Sequence int64  `json:"sequence,omitempty"`
	Seen     string `json:"seen,omitempty"`   // when the journal saw it; "" = not yet
	Signer   string `json:"signer,omitempty"` // short id of the key
	// Regressions are tests that failed, and passed there on the release before; with status P@V alone.
	Regressions []string `json:"regressions,omitempty"`
	FailedTests []string `json:"failed_tests,omitempty"` // their names; likewise
	Replaced    string   `json:"replaced,omitempty"`     // the release that was deployed there after this one; with status alone
	when        time.Time
	suspended   bool
}

func siteVerdicts(rows []catalog.SiteStatus) []siteVerdict {
	sites := []siteVerdict{}
	for _, s := range rows {
		d := siteVerdict{
			Site: s.Site, Kind: s.Kind, Verdict: s.Verdict, When: stamp(s.When), Passed: s.Passed, Warned: s.Warned, Failed: s.Failed,
			Reason: s.Reason, Deployed: s.Deployed, Gap: s.Gap, Lost: string(s.Lost), Retired: s.Retired, when: s.When, suspended: s.Suspended,
		}
		if s.Report != nil {
			d.Report, d.Sequence, d.Seen, d.Signer = s.Report.Key, s.Report.Sequence, stamp(s.Report.Seen), publisher.ShortID(s.Report.Signer)
		}
		sites = append(sites, d)
	}
	return sites
}

func siteTable(p *page, sites []siteVerdict) {
	table := &render.Table{Columns: []render.Column{{Name: "SITE"}, {Name: "KIND"}, {Name: "VERDICT"}, {Name: "TESTS"}, {Name: "WHEN (UTC)"}, {Name: "", Flex: true}}}
	for _, s := range sites {
		when := "-"
		if !s.when.IsZero() {
			when = s.when.UTC().Format("2006-01-02 15:04")
		}
		table.Add(render.Cell{Text: s.Site}, render.Cell{Text: s.Kind}, toned(s.verdict()), render.Cell{Text: s.tests()}, render.Cell{Text: when}, render.Cell{Text: s.remark()})
	}
	p.table(table, "no sites")
}

// verdict is the one word for it.
func (s siteVerdict) verdict() string {
	if s.Deployed {
		return "deployed"
	}
	return dash(s.Verdict)
}

// tests are those that passed, out of all.
func (s siteVerdict) tests() string {
	if n := s.Passed + s.Warned + s.Failed; n > 0 {
		return fmt.Sprintf("%d/%d", s.Passed, n)
	}
	return "-"
}

func (s siteVerdict) remark() string {
	var remarks []string
	if s.Deployed && s.Replaced != "" {
		remarks = append(remarks, "then "+s.Replaced)
	}
	switch {
	case s.Lost == string(catalog.Withheld):
		remarks = append(remarks, "its report may not be read here")
	case s.Lost != "":
		remarks = append(remarks, "a report has "+map[string]string{string(catalog.Vanished): "vanished", string(catalog.Altered): "been altered"}[s.Lost])
	case s.Gap:
		remarks = append(remarks, "a report is missing")
	}
	switch {
	case s.Retired:
		return strings.Join(append(remarks, "retired site"), "; ")
	case s.suspended:
		remarks = append(remarks, "suspended customer")
	}
	if s.Report != "" && s.Seen == "" {
		remarks = append(remarks, "not in the journal yet")
	}
	if s.Reason != "" {
		remarks = append(remarks, s.Reason)
	}
	return strings.Join(remarks, "; ")
}

func (d *certifyDocument) human(p *page) {
	siteTable(p, d.Sites)
	whom := ""
	if d.Customer != "" {
		whom = " for " + d.Customer
	}
	if d.PolicyVersion > 0 {
		p.para(2, fmt.Sprintf("policy version %d wants PASSED by ", d.PolicyVersion), dash(strings.Join(d.Required, ", ")))
	}
	switch {
	case len(d.Unmet) > 0:
		p.verdict(render.Bad, "NOT CERTIFIABLE"+whom+"  "+d.Release)
		unmetLines(p, d.Unmet)
		waiverLines(p, d.Waivers)
		d.sinceLines(p)
		for _, id := range d.Waiting {
			p.para(2, "", "A certificate of it with a waiver waits for signatures. To look at it, and to sign it:")
			p.linef("  kitchen pending %s", id)
			p.linef("  kitchen sign %s --key FILE", id)
		}
	case d.DryRun:
		p.verdict(render.Good, d.Release+" can be certified"+whom+" (dry run: nothing is signed)")
		waiverLines(p, d.Waivers)
		d.sinceLines(p)
		for _, note := range d.Notes {
			p.para(2, "", note)
		}
	default:
		d.outcomeDocument.human(p)
	}
}

func (d *certifyDocument) sinceLines(p *page) {
	for _, line := range d.Since {
		p.para(4, "  ", line)
	}
}

func runCertify(ctx context.Context, k *kitchen, o certifyOptions) error {
	role := manifest.RoleReady(o.release.Product)
	if o.request.Customer != "" {
		role = manifest.RoleReadyFor(o.release.Product, o.request.Customer)
	}
	o.request.Show = func(since []string) {
		for _, line := range since {
			for i, part := range render.Wrap(line, 78) {
				k.progress.Note(strings.Repeat("  ", min(i, 1)) + part)
			}
		}
	}
	load := k.signers
	if o.request.DryRun {
		o.request.Show = nil // they are in the answer
		load = k.optionalSigners
	}
	signers, err := load(o.keyOptions, role)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		result, err := p.Certify(ctx, o.release, o.request, signers)
		var no *publisher.NotCertifiable
		if err != nil && !errors.As(err, &no) {
			return err
		}
		d := newCertifyDocument(o, result, no)
		if len(d.Unmet) > 0 {
			d.Status = statusRefused
			return k.no(d)
		}
		failed := k.awaited(&d.outcomeDocument)
		if err := k.show(d); err != nil || failed != nil {
			return cmp.Or(err, failed)
		}
		switch d.Status {
		case publisher.Pending:
			return answer(exitNotInEffect)
		case statusStale:
			return answer(exitNo)
		}
		return nil
	})
}

// newCertifyDocument is the answer; no is nil unless requirements are unmet, result where nothing could be looked at.
func newCertifyDocument(o certifyOptions, result *publisher.CertifyResult, no *publisher.NotCertifiable) *certifyDocument {
	d := &certifyDocument{outcomeDocument: outcomeDocument{Schema: "kitchen.certify/v1", Release: o.release.String(), Summary: []string{}, Roles: []roleDocument{}},
		DryRun: o.request.DryRun, Sites: []siteVerdict{}, Customer: o.request.Customer, Required: []string{}, Waivers: []waiverDocument{}, Since: []string{}}
	if result != nil {
		d.Sites, d.Unmet, d.Note = siteVerdicts(result.Sites), unmetDocuments(result.Unmet), result.Note
		d.Notes = result.Notes
		d.Required, d.Waivers, d.Since, d.Waiting = list(result.Required), waiverDocuments(result.Waivers), list(result.Since), result.Waiting
		if len(result.Today) > 0 {
			d.UnmetToday = unmetDocuments(result.Today)
		}
		if result.Policy != nil {
			d.PolicyVersion = result.Policy.Version
		}
		if result.Outcome != nil {
			d.outcomeDocument = *newOutcome("certify", o.release.String(), result.Outcome)
		}
	}
	if no != nil {
		d.Unmet = unmetDocuments(no.Unmet)
	}
	return d
}
