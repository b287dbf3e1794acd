package publisher

import (
	"context"
	"fmt"
	"strconv"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// CertifyRequest says how to certify.
type CertifyRequest struct {
	DryRun bool   // show what it would rest on, and write nothing; signers may be none
	Note   string // goes into the evidence; cut to 1,000 bytes of plain text
}

// CertifyResult is the evidence, and what became of the certificate.
type CertifyResult struct {
	Outcome  *Outcome             // nil with DryRun, and when requirements are unmet
	Evidence *manifest.Evidence   // what the certificate rests on; nil when it is Unchanged
	Sites    []catalog.SiteStatus // the matrix of reports
	Unmet    []catalog.Unmet      // with *NotCertifiable
}

// Certify signs a release into ready-to-deploy.<product>, resting on the reports as they are now, if the
// certification policy is met. When it is not, the error is *NotCertifiable and the result holds the matrix all the
// same. The second certifier's signature joins the waiting proposal of the first, provided that the evidence is
// the same; a note of the second is then not recorded, and the outcome says so. A certified release is Unchanged.
// Errors besides: *catalog.UnknownRelease, *NotAuthorized.
func (p *Publisher) Certify(ctx context.Context, r manifest.Release, req CertifyRequest, signers []keys.Signer) (*CertifyResult, error) {
	req.Note = manifest.CleanText(req.Note, maxReason)
	result := &CertifyResult{}
	certify := func(ctx context.Context, d *desk) (*draft, error) {
		*result = CertifyResult{}
		name := manifest.RoleReady(r.Product)
		if len(signers) > 0 || !req.DryRun {
			if err := authorizeRole(d.view, name, signers); err != nil {
				return nil, err
			}
		}
		return p.certificate(ctx, d, r, req, result)
	}
	var err error
	if req.DryRun {
		var view *catalog.View
		if view, err = p.refresh(ctx); err == nil {
			_, err = certify(ctx, &desk{view: view, store: p.Store, now: view.Now()})
		}
	} else {
		result.Outcome, err = p.write(ctx, certify, signers)
	}
	if err != nil && result.Unmet == nil {
		return nil, err
	}
	return result, err
}

// certificate works the certificate out and fills the result. It is nil when there is one.
func (p *Publisher) certificate(ctx context.Context, d *desk, r manifest.Release, req CertifyRequest, result *CertifyResult) (*draft, error) {
	name := manifest.RoleReady(r.Product)
	info, err := d.view.Release(r)
	if err != nil {
		return nil, err
	}
	role, err := d.role(name)
	if err != nil {
		return nil, err
	}
	reports, err := d.view.Reports(ctx, catalog.ReportFilter{Release: &r})
	if err != nil {
		return nil, err
	}
	if result.Sites, err = d.view.ReleaseStatus(ctx, r, reports); err != nil {
		return nil, err
	}
	target := trust.Target{Length: info.Length, SHA256: info.SHA256}
	listed, err := list(name, role, r, target)
	if err != nil || listed && !req.DryRun {
		return nil, err
	}
	if result.Unmet, err = d.view.CertificationUnmet(ctx, r, reports); err != nil {
		return nil, err
	}
	if len(result.Unmet) > 0 {
		return nil, &NotCertifiable{Release: r, Unmet: result.Unmet}
	}
	if listed {
		return nil, nil
	}
	evidence := gatherEvidence(d, info, result.Sites, req.Note)
	document, err := evidence.Encode()
	if err != nil {
		return nil, err
	}
	result.Evidence = evidence
	sha := digest(document)
	target.Custom = map[string]string{customEvidence: sha, customRecalledVersion: strconv.FormatInt(evidence.RecalledVersion, 10)}
	role.Targets[manifest.TargetPath(manifest.StageReady, r)] = target
	dr := newDraft("certify", name, certifySummary(r, evidence)...).set(name, role)
	dr.objects = []object{{manifest.EvidenceObject(sha), document}}
	return dr, dr.copyManifest(ctx, d, manifest.StageReady, r)
}

// gatherEvidence writes down the latest report of every site.
func gatherEvidence(d *desk, info *catalog.ReleaseInfo, sites []catalog.SiteStatus, note string) *manifest.Evidence {
	e := &manifest.Evidence{Schema: manifest.EvidenceSchema, Release: info.Release, ManifestSHA256: info.SHA256, Note: note,
		RegistryVersion: currentVersion(d.view, manifest.RoleRegistry),
		RecalledVersion: currentVersion(d.view, manifest.RoleRecalled(info.Product)),
		Created:         d.now}
	for _, s := range sites {
		if s.Report != nil {
			e.Reports = append(e.Reports, manifest.EvidenceReport{Site: s.Site, Verdict: s.Verdict, SHA256: s.Report.SHA256, Sequence: s.Report.Sequence})
		}
	}
	return e
}

func certifySummary(r manifest.Release, e *manifest.Evidence) []string {
	lines := []string{fmt.Sprintf("certify %s (sha256 %s) for every customer", r, e.ManifestSHA256)}
	for _, report := range e.Reports {
		lines = append(lines, fmt.Sprintf("rests on: %s reported %s", report.Site, report.Verdict))
	}
	if e.Note != "" {
		lines = append(lines, "note: "+e.Note)
	}
	return lines
}
