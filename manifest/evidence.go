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
//	  "note": "…",
//	  "created": "2026-01-31T12:00:00Z"
//	}
//
// (each member on a line of its own; note is left out when empty).
type Evidence struct {
	Schema          string // EvidenceSchema
	Release         Release
	ManifestSHA256  string
	Reports         []EvidenceReport // at most 4,000
	RegistryVersion int64
	RecalledVersion int64
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

type evidenceJSON struct {
	Schema          string           `json:"schema"`
	Release         string           `json:"release"`
	Manifest        string           `json:"manifest"`
	Reports         []EvidenceReport `json:"reports"`
	RegistryVersion int64            `json:"registry_version"`
	RecalledVersion int64            `json:"recalled_version"`
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
	for _, n := range []int64{e.RegistryVersion, e.RecalledVersion} {
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
