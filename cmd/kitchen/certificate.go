package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
)

// certificateDocument is one certificate of a release, with what it rests on where that can be read.
type certificateDocument struct {
	Role          string           `json:"role"`
	Customer      string           `json:"customer,omitempty"` // for whom alone
	Evidence      string           `json:"evidence"`           // digest
	Created       string           `json:"created,omitempty"`
	PolicyVersion int64            `json:"policy_version"` // 0 = the default
	Reports       []reportedBy     `json:"reports"`
	Waived        []string         `json:"waived"` // sites, as the certificate itself says
	Waivers       []waiverDocument `json:"waivers"`
	Note          string           `json:"note,omitempty"`
	Problem       string           `json:"problem,omitempty"` // why the evidence cannot be used
}

type reportedBy struct {
	Site     string `json:"site"`
	Verdict  string `json:"verdict"`
	Sequence int64  `json:"sequence"`
	SHA256   string `json:"sha256"`
}

// certificates are those that list the release, for everybody and for single customers.
func certificates(ctx context.Context, v *catalog.View, info catalog.ReleaseInfo) []certificateDocument {
	docs := []certificateDocument{}
	for _, role := range info.CertificateRoles() {
		_, _, customer := manifest.SplitRole(role)
		target, err := v.RoleTarget(role, info.Release)
		if err != nil || target == nil {
			continue
		}
		d := certificateDocument{Role: role, Customer: customer, Evidence: target.Custom[catalog.CustomEvidence], Waived: list(catalog.Waived(*target)),
			Reports: []reportedBy{}, Waivers: []waiverDocument{}}
		e, err := v.Evidence(ctx, role, info.Release)
		if err != nil {
			d.Problem = err.Error()
		} else {
			d.Created, d.PolicyVersion, d.Waivers, d.Note = stamp(e.Created), e.PolicyVersion, waiverDocuments(e.Waivers), e.Note
			for _, r := range e.Reports {
				d.Reports = append(d.Reports, reportedBy{r.Site, r.Verdict, r.Sequence, r.SHA256})
			}
		}
		docs = append(docs, d)
	}
	return docs
}

func (d *certificateDocument) human(p *page) {
	whom := "everybody"
	if d.Customer != "" {
		whom = d.Customer
	}
	when := ""
	if d.Created != "" {
		when = " on " + d.Created
	}
	p.linef("certified for %s%s, evidence %s", whom, when, render.Digest(d.Evidence))
	waiverLines(p, d.Waivers)
	if d.Problem != "" {
		if len(d.Waived) > 0 {
			p.para(4, "  WAIVED for ", strings.Join(d.Waived, ", "))
		}
		p.para(4, "  the evidence cannot be used: ", d.Problem)
	}
	if d.Note != "" {
		p.para(4, "  note: ", d.Note)
	}
}

// evidenceDocument is what ready --evidence found of one certificate.
type evidenceDocument struct {
	Role     string            `json:"role"`
	Created  string            `json:"created,omitempty"`
	Waivers  []waiverDocument  `json:"waivers"`
	Findings []findingDocument `json:"findings"`
}

type findingDocument struct {
	What   string `json:"what"`
	Result string `json:"result"` // holds | not-checkable | unmet
	Detail string `json:"detail,omitempty"`
}

func evidenceDocuments(checked []fetcher.EvidenceChecked) []evidenceDocument {
	var docs []evidenceDocument
	for _, c := range checked {
		d := evidenceDocument{Role: c.Role, Waivers: []waiverDocument{}}
		if c.Evidence != nil {
			d.Created, d.Waivers = stamp(c.Evidence.Created), waiverDocuments(c.Evidence.Waivers)
		}
		for _, f := range c.Findings {
			switch {
			case f.Unknown != "":
				d.Findings = append(d.Findings, findingDocument{f.What, "not-checkable", f.Unknown})
			case f.Unmet != "":
				d.Findings = append(d.Findings, findingDocument{f.What, "unmet", f.Unmet})
			default:
				d.Findings = append(d.Findings, findingDocument{f.What, "holds", ""})
			}
		}
		docs = append(docs, d)
	}
	return docs
}

// human leaves what does not hold to the verdict's own list.
func (d *evidenceDocument) human(p *page) {
	for _, f := range d.Findings {
		if f.Result == "holds" {
			p.para(4, "  checked: ", f.What)
		}
	}
}

// policyDocument is the certification policy in effect.
type policyDocument struct {
	Schema  string         `json:"schema"`  // kitchen.policy/v1
	Version int64          `json:"version"` // of the role; 0 = none was signed, and the default holds
	SHA256  string         `json:"sha256,omitempty"`
	Expires string         `json:"expires,omitempty"`
	Signers []string       `json:"signers"` // short ids of the keys that signed it
	Default ruleDocument   `json:"default"` // what holds where no rule says otherwise
	Rules   []ruleDocument `json:"rules"`
}

type ruleDocument struct {
	Product  string   `json:"product,omitempty"`
	Customer string   `json:"customer,omitempty"`
	Require  []string `json:"require,omitempty"`
	Chain    string   `json:"chain,omitempty"`
	Warned   string   `json:"warned,omitempty"`
	MaxAge   string   `json:"max_age,omitempty"`
	Soak     string   `json:"soak,omitempty"`
	scope    string
	words    string
}

func newRule(r manifest.PolicyRule) ruleDocument {
	return ruleDocument{r.Product, r.Customer, r.Require, r.Chain, r.Warned, string(r.MaxAge), string(r.Soak), r.Scope(), r.Words()}
}

func (d *policyDocument) human(p *page) {
	if d.Version == 0 {
		p.linef("the default: no certification policy was signed")
	} else {
		p.linef("certification policy, version %d, valid until %s", d.Version, d.Expires)
		p.para(2, "signed by ", strings.Join(d.Signers, ", "))
	}
	for _, r := range append([]ruleDocument{d.Default}, d.Rules...) {
		p.para(4, fmt.Sprintf("  %s: ", r.scope), r.words)
	}
	p.para(2, "", "Besides, for every certificate: published, validated, neither yanked nor recalled; no site's latest report is FAILED, and none of a site's reports is missing.")
}
