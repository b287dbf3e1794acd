package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// describeCertificate says what a new certificate rests on, to those who are to sign it, and what changed in registry and
// policy since the last one.
func (p *Publisher) describeCertificate(ctx context.Context, v *catalog.View, role, path string, t trust.Target) []string {
	lines := p.describeEvidence(ctx, v, role, path, t)
	_, r, err := manifest.ParseTargetPath(path)
	if len(lines) == 0 || err != nil {
		return lines
	}
	for _, line := range p.sinceLast(ctx, v, role, r) {
		lines = append(lines, "  "+line)
	}
	return lines
}

// describeListed shows what a role goes on listing, each with what it rests on: whoever signs the role for its new keys
// stands for all of it.
func (p *Publisher) describeListed(ctx context.Context, v *catalog.View, r *roleDraft, current *trust.Targets) []string {
	var lines, shas []string
	for path, target := range r.next.Targets {
		if sha := target.Custom[customEvidence]; sha != "" && sameTarget(current.Targets[path], target) {
			shas = append(shas, sha)
		}
	}
	p.evidenceAhead(ctx, shas)
	for _, path := range slices.Sorted(maps.Keys(r.next.Targets)) {
		_, release, err := manifest.ParseTargetPath(path)
		target := r.next.Targets[path]
		if err != nil || !sameTarget(current.Targets[path], target) {
			continue
		}
		lines = append(lines, fmt.Sprintf("  %s (sha256 %s)%s", release, target.SHA256, customText(target.Custom)))
		lines = append(lines, p.describeEvidence(ctx, v, r.name, path, target)...)
	}
	return lines
}

// describeEvidence says what a certificate rests on: reports, waivers, and what of the policy is not met by them.
func (p *Publisher) describeEvidence(ctx context.Context, v *catalog.View, role, path string, t trust.Target) []string {
	sha := t.Custom[customEvidence]
	if sha == "" {
		return nil
	}
	e, err := p.evidenceOnce(ctx, sha)
	if err != nil {
		return []string{fmt.Sprintf("  its evidence cannot be read: %v", err)}
	}
	_, r, err := manifest.ParseTargetPath(path)
	if err == nil {
		err = catalog.CheckEvidence(e, role, r, t)
	}
	if err != nil {
		return []string{fmt.Sprintf("  its evidence is about something else: %v", err)}
	}
	lines := []string{fmt.Sprintf("  evidence of %s: registry version %d, recalls version %d, %s", e.Created.Format(time.RFC3339), e.RegistryVersion, e.RecalledVersion, policyName(e.PolicyVersion))}
	for _, report := range e.Reports {
		lines = append(lines, fmt.Sprintf("  %s reported %s (report %d, sha256 %s)", report.Site, report.Verdict, report.Sequence, ShortID(report.SHA256)))
	}
	for _, w := range e.Waivers {
		lines = append(lines, "  WAIVED: "+catalog.WaiverWords(w))
	}
	unmet, err := v.EvidenceUnmet(ctx, e)
	if err != nil {
		lines = append(lines, fmt.Sprintf("  whether the certification policy is met cannot be said: %v", err))
	}
	for _, u := range unmet {
		lines = append(lines, fmt.Sprintf("  NOT MET: %s: %s", u.Requirement, u.Detail))
	}
	if e.Note != "" {
		lines = append(lines, "  "+noteLine(e.Note))
	}
	return lines
}

func policyName(version int64) string {
	if version == 0 {
		return "default policy"
	}
	return fmt.Sprintf("policy version %d", version)
}

// maxLastCertificates bounds the certificates that are looked at for the last one.
const maxLastCertificates = 10

// lastCertificate is the evidence of the newest certificate in the role, of those that the releases published last
// have; where there is none, of those that its latest version with any had. Nil when there never was one.
func (p *Publisher) lastCertificate(ctx context.Context, v *catalog.View, name, product string) (last *manifest.Evidence, err error) {
	if _, err := currentRole(v, name); err != nil {
		return nil, err
	}
	releases, err := v.Releases(product)
	if err != nil {
		return nil, err
	}
	walked := p.walkBack(ctx, v, name, func(t *trust.Targets, _ []byte) bool {
		last, err = p.newestCertificate(ctx, name, t, releases)
		return last == nil && err == nil
	})
	return last, cmp.Or(walked, err)
}

func (p *Publisher) newestCertificate(ctx context.Context, name string, role *trust.Targets, releases []catalog.ReleaseInfo) (last *manifest.Evidence, err error) {
	looked := 0
	for _, info := range slices.Backward(releases) {
		target, ok := role.Targets[manifest.TargetPath(manifest.RoleStage(name), info.Release)]
		if !ok || looked == maxLastCertificates {
			continue
		}
		looked++
		e, readErr := p.evidenceOnce(ctx, target.Custom[customEvidence])
		if readErr != nil {
			err = readErr
		} else if last == nil || e.Created.After(last.Created) {
			last = e
		}
	}
	if last != nil {
		err = nil
	}
	return last, err
}

// sinceLast says in words what changed in registry and policy since the last certificate in the role. What cannot be
// read any more is said.
func (p *Publisher) sinceLast(ctx context.Context, v *catalog.View, name string, r manifest.Release) []string {
	last, err := p.lastCertificate(ctx, v, name, r.Product)
	if err != nil {
		return []string{fmt.Sprintf("what changed since the last certificate cannot be told: %v", err)}
	}
	if last == nil {
		return nil
	}
	since := "since " + last.Release.String() + " was certified: "
	lines := p.sincePolicy(ctx, v, last)
	if now := currentVersion(v, manifest.RoleRegistry); now != last.RegistryVersion {
		lines = append(lines, p.sinceRegistry(ctx, v, last.RegistryVersion)...)
	}
	for i := range lines {
		lines[i] = since + lines[i]
	}
	return lines
}

func (p *Publisher) sinceRegistry(ctx context.Context, v *catalog.View, version int64) []string {
	was, err := v.Past(ctx, manifest.RoleRegistry, version)
	if err != nil {
		return []string{fmt.Sprintf("the registry changed; in what cannot be told: %v", err)}
	}
	is, err := currentRole(v, manifest.RoleRegistry)
	if err != nil {
		return []string{fmt.Sprintf("the registry cannot be read: %v", err)}
	}
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(diffTargets(&trust.Targets{Targets: was.Targets}, &trust.Targets{Targets: is.Targets}))) {
		lines = append(lines, p.describeCustomer(ctx, path, was.Targets[path], is.Targets[path])...)
	}
	return lines
}

func (p *Publisher) sincePolicy(ctx context.Context, v *catalog.View, last *manifest.Evidence) []string {
	is, err := v.Policy(ctx)
	if err != nil || is.Version == last.PolicyVersion {
		return nil // certifying says so
	}
	was, err := v.PastPolicy(ctx, last.PolicyVersion, last.PolicySHA256)
	if err != nil {
		return []string{fmt.Sprintf("the certification policy changed; in what cannot be told: %v", err)}
	}
	return policyDifferences(was.Policy, is.Policy)
}

// vetCertificate holds a certificate that is new, or made anew, to its evidence: readable, about this very certificate,
// resting on the certification policy in effect and meeting it, with waivers that have not ended.
func (p *Publisher) vetCertificate(ctx context.Context, v *catalog.View, role, path string, target trust.Target) error {
	_, r, err := manifest.ParseTargetPath(path)
	if err != nil {
		return err
	}
	e, err := p.evidence(ctx, target.Custom[customEvidence])
	if err != nil {
		return fmt.Errorf("the evidence of %s: %w", r, err)
	}
	if err := catalog.CheckEvidence(e, role, r, target); err != nil {
		return err
	}
	policy, err := v.Policy(ctx)
	if err != nil {
		return err
	}
	age := v.Now().Sub(e.Created)
	switch {
	case e.PolicyVersion != policy.Version || e.PolicySHA256 != policy.SHA256:
		return fmt.Errorf("the certificate of %s rests on the %s, and the %s is in effect; certify it again", r, policyName(e.PolicyVersion), policyName(policy.Version))
	case age > lifeProposal+clockSlack, age < -clockSlack:
		return fmt.Errorf("the evidence of %s is of %s, which is not of late", r, e.Created.Format(time.RFC3339))
	}
	if ended := catalog.WaiverEnded(target, v.Now()); ended != "" {
		return errors.New(ended)
	}
	unmet, err := v.EvidenceUnmet(ctx, e)
	if err != nil {
		return err
	}
	if len(unmet) > 0 {
		return &NotCertifiable{Release: r, Unmet: unmet}
	}
	return p.vetReports(ctx, v, r, e, target)
}

// vetReports holds a certificate to the reports themselves, as they are now: each that its evidence states is there, and with all that was
// reported since, the policy is met. Whoever may not list the reports cannot; the committer always can.
func (p *Publisher) vetReports(ctx context.Context, v *catalog.View, r manifest.Release, e *manifest.Evidence, target trust.Target) error {
	reports, err := v.Reports(ctx, catalog.ReportFilter{Release: &r})
	if denied(err) {
		p.sink().Note(fmt.Sprintf("the reports that the certificate of %s rests on may not be read here: they are NOT checked", r))
		return nil
	}
	if err != nil {
		return err
	}
	for _, stated := range e.Reports {
		if !slices.ContainsFunc(reports.All, func(have catalog.VerifiedReport) bool {
			return have.SHA256 == stated.SHA256 && have.Site.String() == stated.Site && have.Verdict() == stated.Verdict && have.Sequence == stated.Sequence
		}) {
			return fmt.Errorf("the evidence of %s states that %s reported %s (report %d, sha256 %s), and there is no such report", r, stated.Site, stated.Verdict, stated.Sequence, ShortID(stated.SHA256))
		}
	}
	a, err := v.Certification(ctx, r, catalog.Question{Customer: e.Customer, Lift: target.Custom[customLifts] != ""}, reports)
	if err != nil {
		return err
	}
	if unmet := a.Since(e.Waivers); len(unmet) > 0 {
		return &NotCertifiable{Release: r, Unmet: unmet}
	}
	return nil
}
