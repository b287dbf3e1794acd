package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// EvidenceSchema is the Schema of an evidence document.
const EvidenceSchema = "kitchen.evidence/v1"

const (
	maxEvidenceReports = 4000
	maxNote            = 4096
	maxWaivers         = 100
)

// Evidence is what a certificate rested on when it was signed. Its encoding is
// JSON, indented by two spaces, members in the order of the fields here:
//
//	{
//	  "schema": "kitchen.evidence/v1",
//	  "release": "openstack@2.1.0",
//	  "manifest": "<sha256>",
//	  "reports": [
//	    {"site": "enovance/ci", "verdict": "PASSED", "sha256": "<sha256 of the bundle>", "sequence": 1}
//	  ],
//	  "registry_version": 7,
//	  "recalled_version": 1,
//	  "policy_version": 3,
//	  "policy": "<sha256>",
//	  "customer": "acme",
//	  "waivers": [
//	    {"site": "acme/staging", "against": "its latest report is FAILED", "reason": "…", "until": "2026-02-28"}
//	  ],
//	  "note": "…",
//	  "created": "2026-01-31T12:00:00Z"
//	}
//
// (each member on a line of its own; what has no value is left out from policy_version on, created excepted).
type Evidence struct {
	Schema          string // EvidenceSchema
	Release         Release
	ManifestSHA256  string
	Reports         []EvidenceReport // at most 4,000
	RegistryVersion int64
	RecalledVersion int64
	PolicyVersion   int64     // of the role policy; 0 = there was none, and the default held
	PolicySHA256    string    // of policy/policy.toml; "" with version 0
	Customer        string    // whom the certificate is for; "" = everybody
	Waivers         []Waiver  // at most 100, by site
	Note            string    // at most 4,096 bytes, lines allowed
	Created         time.Time // UTC, whole seconds
}

// EvidenceReport is one report that was weighed.
type EvidenceReport struct {
	Site     string `json:"site"` // "acme/staging"
	Verdict  string `json:"verdict"`
	SHA256   string `json:"sha256"` // of the bundle's bytes
	Sequence int64  `json:"sequence"`
}

// Waiver is an exception that the certifiers sign: what stands against certifying at one site is let pass.
type Waiver struct {
	Site    string `json:"site"`    // "acme/staging"
	Against string `json:"against"` // what stood against it when it was waived, in words; at most 4,096 bytes
	Reason  string `json:"reason"`  // at most 4,096 bytes
	Until   string `json:"until,omitempty"`
}

// Ends is when the waiver ends: with the day Until in UTC. Zero: it does not.
func (w *Waiver) Ends() time.Time {
	day, err := time.Parse(time.DateOnly, w.Until)
	if err != nil {
		return time.Time{}
	}
	return day.AddDate(0, 0, 1)
}

// Ends is when the first of the evidence's waivers ends; zero when none does.
func (e *Evidence) Ends() (first time.Time) {
	for i := range e.Waivers {
		if end := e.Waivers[i].Ends(); first.IsZero() || !end.IsZero() && end.Before(first) {
			first = end
		}
	}
	return first
}

type evidenceJSON struct {
	Schema          string           `json:"schema"`
	Release         string           `json:"release"`
	Manifest        string           `json:"manifest"`
	Reports         []EvidenceReport `json:"reports"`
	RegistryVersion int64            `json:"registry_version"`
	RecalledVersion int64            `json:"recalled_version"`
	PolicyVersion   int64            `json:"policy_version,omitempty"`
	Policy          string           `json:"policy,omitempty"`
	Customer        string           `json:"customer,omitempty"`
	Waivers         []Waiver         `json:"waivers,omitempty"`
	Note            string           `json:"note,omitempty"`
	Created         string           `json:"created"`
}

// Encode renders the document. The same evidence gives the same bytes.
func (e *Evidence) Encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("evidence on %s: %w", e.Release, err)
	}
	j := evidenceJSON{
		Schema: e.Schema, Release: e.Release.String(), Manifest: e.ManifestSHA256, Reports: e.Reports,
		RegistryVersion: e.RegistryVersion, RecalledVersion: e.RecalledVersion,
		PolicyVersion: e.PolicyVersion, Policy: e.PolicySHA256, Customer: e.Customer, Waivers: e.Waivers,
		Note: e.Note, Created: e.Created.UTC().Format(time.RFC3339),
	}
	if j.Reports == nil {
		j.Reports = []EvidenceReport{}
	}
	data, err := plainJSON(j, "  ")
	if err == nil && int64(len(data)) > kindEvidence.MaxSize {
		err = fmt.Errorf("evidence on %s is larger than 1 MiB", e.Release)
	}
	return data, err
}

// ParseEvidence reads an evidence document. It accepts exactly what Encode
// renders.
func ParseEvidence(data []byte) (*Evidence, error) {
	if int64(len(data)) > kindEvidence.MaxSize {
		return nil, errors.New("evidence is larger than 1 MiB")
	}
	if err := CheckJSON(data); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	var j evidenceJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	release, err := ParseRelease(j.Release)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	created, err := time.Parse(time.RFC3339, j.Created)
	if err != nil {
		return nil, fmt.Errorf("evidence: created: %w", err)
	}
	e := &Evidence{
		Schema: j.Schema, Release: release, ManifestSHA256: j.Manifest,
		RegistryVersion: j.RegistryVersion, RecalledVersion: j.RecalledVersion,
		PolicyVersion: j.PolicyVersion, PolicySHA256: j.Policy, Customer: j.Customer, Waivers: j.Waivers,
		Note: j.Note, Created: created.UTC(),
	}
	if len(j.Reports) > 0 {
		e.Reports = j.Reports
	}
	canonical, err := e.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(canonical, data) {
		return nil, fmt.Errorf("evidence on %s is not in canonical form (line %d)", release, firstDifference(canonical, data))
	}
	return e, nil
}

func (e *Evidence) check() error {
	if e.Schema != EvidenceSchema {
		return fmt.Errorf("schema %q is not %s", clip(e.Schema), EvidenceSchema)
	}
	if err := e.Release.check(); err != nil {
		return err
	}
	if err := checkDigest("the manifest's digest", e.ManifestSHA256); err != nil {
		return err
	}
	if len(e.Reports) > maxEvidenceReports {
		return fmt.Errorf("more than %d reports", maxEvidenceReports)
	}
	for i := range e.Reports {
		if err := e.Reports[i].check(); err != nil {
			return fmt.Errorf("reports[%d]: %w", i, err)
		}
	}
	if err := e.checkScope(); err != nil {
		return err
	}
	for _, n := range []int64{e.RegistryVersion, e.RecalledVersion, e.PolicyVersion} {
		if n < 0 || n > maxSafeInt {
			return fmt.Errorf("version %d is out of range", n)
		}
	}
	if err := checkText("note", e.Note, maxNote, true); err != nil {
		return err
	}
	if err := checkTime(e.Created); err != nil {
		return fmt.Errorf("created %w", err)
	}
	return nil
}

// checkScope holds policy, customer and waivers to their form.
func (e *Evidence) checkScope() error {
	if (e.PolicyVersion == 0) != (e.PolicySHA256 == "") {
		return errors.New("policy and policy_version go together")
	}
	if e.PolicySHA256 != "" {
		if err := checkDigest("the policy's digest", e.PolicySHA256); err != nil {
			return err
		}
	}
	if e.Customer != "" {
		if err := CheckName("customer", e.Customer); err != nil {
			return err
		}
	}
	if len(e.Waivers) > maxWaivers {
		return fmt.Errorf("more than %d waivers", maxWaivers)
	}
	for i := range e.Waivers {
		if err := e.Waivers[i].check(); err != nil {
			return fmt.Errorf("waivers[%d]: %w", i, err)
		}
		if i > 0 && e.Waivers[i-1].Site >= e.Waivers[i].Site {
			return fmt.Errorf("waivers[%d]: they are not one a site, in order", i)
		}
	}
	return nil
}

func (w *Waiver) check() error {
	if _, err := ParseSite(w.Site); err != nil {
		return err
	}
	for what, text := range map[string]string{"against": w.Against, "reason": w.Reason} {
		if text == "" {
			return fmt.Errorf("%s is missing", what)
		}
		if err := checkText(what, text, maxNote, false); err != nil {
			return err
		}
	}
	return CheckUntil(w.Until)
}

// CheckUntil accepts the last day of a waiver, "2026-01-31", and "" for one that does not end.
func CheckUntil(until string) error {
	day, err := time.Parse(time.DateOnly, until)
	if until != "" && (err != nil || checkTime(day) != nil || day.Format(time.DateOnly) != until) {
		return fmt.Errorf("%q is no day; write it like 2026-01-31", clip(until))
	}
	return nil
}

func (r *EvidenceReport) check() error {
	if _, err := ParseSite(r.Site); err != nil {
		return err
	}
	switch r.Verdict {
	case Passed, Warned, Failed, NotRun, Errored:
	default:
		return fmt.Errorf("verdict %q is not known", clip(r.Verdict))
	}
	if r.Sequence < 1 || r.Sequence > maxSafeInt {
		return fmt.Errorf("sequence %d is out of range", r.Sequence)
	}
	return checkDigest("its digest", r.SHA256)
}
