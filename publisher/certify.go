package publisher

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// CertifyRequest says how to certify.
type CertifyRequest struct {
	DryRun bool // show what it would rest on, and write nothing; signers may be none
	// LiftRecall names the recall that stands, and so takes it back. Without it a recalled release is not certified.
	LiftRecall bool
	Note       string // goes into the evidence; cut to 1,000 bytes of plain text
}

// CertifyResult is the evidence, and what became of the certificate.
type CertifyResult struct {
	Outcome  *Outcome             // nil with DryRun, and when requirements are unmet
	Evidence *manifest.Evidence   // what the certificate rests on; nil when it is Unchanged
	Sites    []catalog.SiteStatus // the matrix of reports
	Unmet    []catalog.Unmet      // with *NotCertifiable
	Note     string               // the request's, where it is kept with the evidence; "" where it is not
}

// Certify signs a release into ready-to-deploy.<product>, resting on the reports as they are now, if the
// certification policy is met. When it is not, the error is *NotCertifiable and the result holds the matrix all the
// same. The second certifier's signature joins the waiting proposal of the first, provided that the evidence is
// the same; the note that counts is then the first one's, and where another was given the outcome says so. A certified release is Unchanged,
// unless it is recalled or yanked: that is *NotCertifiable. Errors besides: *catalog.UnknownRelease,
// *NotAuthorized, *Invalid for a recall to lift that there is not.
func (p *Publisher) Certify(ctx context.Context, r manifest.Release, req CertifyRequest, signers []keys.Signer) (*CertifyResult, error) {
	req.Note = strings.TrimSpace(manifest.CleanText(req.Note, maxReason))
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
	if err == nil {
		result.keepNote(req.Note)
	}
	return result, err
}

// keepNote says, by the words of what was signed, whether a note is part of it: not where the certificate was made
// before, by whoever it was.
func (c *CertifyResult) keepNote(note string) {
	lost := c.Outcome != nil && note != "" && !slices.ContainsFunc(c.Outcome.Summary, func(line string) bool {
		return strings.TrimSpace(line) == noteWord+note
	})
	if !lost {
		c.Note = note
		return
	}
	c.Outcome.Summary = append(c.Outcome.Summary,
		"YOUR NOTE IS NOT KEPT: the note of a certificate is that of whoever proposed it, and this one was proposed before")
}

// noteWord begins the line that shows a certificate's note.
const noteWord = "note: "

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
	lift, err := recallToLift(info, req)
	if err != nil {
		return nil, err
	}
	before := role.Targets[manifest.TargetPath(manifest.StageReady, r)]
	listed, err := list(name, role, r, target)
	if err != nil {
		return nil, err
	}
	done := listed && (info.Recalled == nil || lift != nil && lift.LiftedBy(before))
	if done && info.Yanked == "" && !req.DryRun {
		return nil, nil
	}
	if err := p.certifiable(ctx, d, r, reports, lift != nil, result); err != nil || done {
		return nil, err
	}
	result.Evidence = gatherEvidence(d, info, result.Sites, req.Note)
	return certificateDraft(ctx, d, r, role, target, result.Evidence, lift)
}

// certificateDraft lists the release with its evidence and, where there is one, the recall that it lifts.
func certificateDraft(ctx context.Context, d *desk, r manifest.Release, role *trust.Targets, target trust.Target, evidence *manifest.Evidence, lift *catalog.Recall) (*draft, error) {
	document, err := evidence.Encode()
	if err != nil {
		return nil, err
	}
	name, sha := manifest.RoleReady(r.Product), digest(document)
	target.Custom = map[string]string{customEvidence: sha, customRecalledVersion: strconv.FormatInt(evidence.RecalledVersion, 10)}
	if lift != nil {
		target.Custom[customLifts] = strconv.FormatInt(lift.Since, 10)
	}
	role.Targets[manifest.TargetPath(manifest.StageReady, r)] = target
	dr := newDraft("certify", name, certifySummary(r, evidence, lift)...).set(name, role)
	dr.objects = []object{{manifest.EvidenceObject(sha), document}}
	return dr, dr.copyManifest(ctx, d, manifest.StageReady, r)
}

// recallToLift is the recall that stands, when the request is to lift it; nil when it is not, and when it was lifted.
func recallToLift(info *catalog.ReleaseInfo, req CertifyRequest) (*catalog.Recall, error) {
	if req.LiftRecall && info.Recalled == nil && info.Lifted == nil {
		return nil, &Invalid{What: info.Release.String(), Reason: "there is no recall of it to lift; kitchen certify without --lift-recall certifies it"}
	}
	if !req.LiftRecall {
		return nil, nil
	}
	return info.Recalled, nil
}

// certifiable holds the release to the policy; *NotCertifiable with what is unmet in the result.
func (p *Publisher) certifiable(ctx context.Context, d *desk, r manifest.Release, reports *catalog.Reports, lift bool, result *CertifyResult) (err error) {
	policy := d.view.CertificationUnmet
	if lift {
		policy = d.view.LiftUnmet
	}
	if result.Unmet, err = policy(ctx, r, reports); err != nil {
		return err
	}
	if len(result.Unmet) > 0 {
		return &NotCertifiable{Release: r, Unmet: result.Unmet}
	}
	return nil
}

// gatherEvidence writes down the latest report of every site.
func gatherEvidence(d *desk, info *catalog.ReleaseInfo, sites []catalog.SiteStatus, note string) *manifest.Evidence {
	e := &manifest.Evidence{Schema: manifest.EvidenceSchema, Release: info.Release, ManifestSHA256: info.SHA256, Note: note,
		RegistryVersion: currentVersion(d.view, manifest.RoleRegistry),
		RecalledVersion: currentVersion(d.view, manifest.RoleRecalled(info.Product)),
		Created:         d.now}
	for _, s := range sites {
		if s.Report != nil && s.Lost == "" {
			e.Reports = append(e.Reports, manifest.EvidenceReport{Site: s.Site, Verdict: s.Verdict, SHA256: s.Report.SHA256, Sequence: s.Report.Sequence})
		}
	}
	return e
}

func certifySummary(r manifest.Release, e *manifest.Evidence, lift *catalog.Recall) []string {
	lines := []string{fmt.Sprintf("certify %s (sha256 %s) for every customer", r, e.ManifestSHA256)}
	if lift != nil {
		lines = append(lines, fmt.Sprintf("LIFTS recall %d: %s", lift.Since, lift.Reason))
	}
	for _, report := range e.Reports {
		lines = append(lines, fmt.Sprintf("rests on: %s reported %s", report.Site, report.Verdict))
	}
	if e.Note != "" {
		lines = append(lines, noteWord+e.Note)
	}
	return lines
}
