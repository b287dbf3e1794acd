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
	Customer   string // certify for this customer alone, with that customer's certifiers; "" = for everybody
	// Waivers let pass, by name, what stands against certifying at one site: Site, Reason and Until of each. They are
	// signed into the evidence.
	Waivers []manifest.Waiver
	// Show is told, before anything is signed, what changed in registry and policy since the product's last
	// certificate; nil asks for nothing. It may be told again, after a lost race.
	Show func(since []string)
}

// role is who signs the certificate.
func (req *CertifyRequest) role(product string) string {
	if req.Customer != "" {
		return manifest.RoleReadyFor(product, req.Customer)
	}
	return manifest.RoleReady(product)
}

// CertifyResult is the evidence, and what became of the certificate.
type CertifyResult struct {
	Outcome   *Outcome             // nil with DryRun, and when requirements are unmet
	Evidence  *manifest.Evidence   // what the certificate rests on; nil when it is Unchanged
	Sites     []catalog.SiteStatus // the matrix of reports
	Unmet     []catalog.Unmet      // with *NotCertifiable
	Policy    *catalog.PolicyInEffect
	Required  []string // sites that the policy wants to have passed
	Waivers   []manifest.Waiver
	Since     []string  // what changed in registry and policy since the product's last certificate
	Notes     []string  // with DryRun: what else waits for the role
	Note      string    // the request's, where it is kept with the evidence; "" where it is not
	notWaived *[]string // of a release that is certified: what became of waivers, and that it would not be today

	// Today is what the release would not be certified for today, where it is Unchanged: what is certified stays so.
	Today []catalog.Unmet

	Waiting []string // with *NotCertifiable: proposals that certify it all the same, with waivers, and that take signatures
}

// Certify signs a release into ready-to-deploy.<product>, or the role of one customer, resting on the reports as they
// are now, if the certification policy is met but for what is waived. When it is not, the error is *NotCertifiable and the result holds the matrix all the
// same. The second certifier's signature joins the waiting proposal of the first, provided that the evidence is
// the same; the note that counts is then the first one's, and where another was given the outcome says so. A certified release is Unchanged,
// unless its certificate ends with a waiver and the new one lasts longer; recalled or yanked, it is *NotCertifiable. Errors besides: *catalog.UnknownRelease,
// *NotAuthorized, *catalog.UnknownCustomer, *BadWaiver, also where the release is certified and no waiver is added to that,
// *Invalid for a recall to lift that there is not, and for a waiver that nothing needs.
func (p *Publisher) Certify(ctx context.Context, r manifest.Release, req CertifyRequest, signers []keys.Signer) (*CertifyResult, error) {
	req.Note = strings.TrimSpace(manifest.CleanText(req.Note, maxReason))
	result := &CertifyResult{}
	var seen *catalog.View
	var aside []string // of the last attempt, which may have looked at the catalog without what waits in it, too
	certify := func(ctx context.Context, d *desk) (*draft, error) {
		if seen != d.view {
			seen, aside = d.view, nil
		}
		*result = CertifyResult{notWaived: &aside}
		name := req.role(r.Product)
		if err := certifiersOf(ctx, d.view, r.Product, req.Customer); err != nil {
			return nil, err
		}
		if len(signers) > 0 || !req.DryRun {
			if err := authorizeRole(d.view, name, signers); err != nil {
				return nil, err
			}
		}
		return p.certificate(ctx, d, r, req, result)
	}
	var err error
	if req.DryRun {
		result.Notes, err = p.rehearse(ctx, certify)
	} else {
		result.Outcome, err = p.write(ctx, certify, signers)
	}
	if err != nil && result.Unmet == nil {
		return nil, err
	}
	if err == nil {
		result.keepNote(req.Note)
		if result.Outcome != nil {
			result.Outcome.Summary = append(result.Outcome.Summary, aside...)
		}
		return result, nil
	}
	var waits error
	if result.Waiting, waits = p.certifiedIn(ctx, req.role(r.Product), r); storeFailure(waits) && !denied(waits) {
		return nil, waits
	}
	if waits = p.tellValidation(ctx, r, result.Unmet); storeFailure(waits) && !denied(waits) {
		return nil, waits
	}
	return result, err
}

// tellValidation says of a release that is not validated what comes next: it may be signed, and wait.
func (p *Publisher) tellValidation(ctx context.Context, r manifest.Release, unmet []catalog.Unmet) error {
	role := manifest.RoleValidated(r.Product)
	not := &catalog.NotListed{Release: r, Role: role}
	i := slices.IndexFunc(unmet, func(u catalog.Unmet) bool { return u.Requirement == "validated" && u.Detail == not.Error() })
	if i < 0 || slices.ContainsFunc(unmet, func(u catalog.Unmet) bool { return u.Requirement == "not recalled" || u.Requirement == "not yanked" }) {
		return nil // what is withdrawn is not validated
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return err
	}
	next := "its CI validates it: kitchen run there, or kitchen validate " + r.String() + " --key FILE"
	for _, w := range live {
		if draft := w.role(role); draft == nil || !draft.byHolder || draft.next.Targets[manifest.TargetPath(manifest.StageValidated, r)].SHA256 == "" {
			continue
		}
		if reason, err := verdict(p.vet(ctx, view, w.roles)); err != nil || reason != "" {
			continue
		}
		next = "it is signed, in " + w.id + ", and waits for " + waitsFor(countSignatures(w.roles))
	}
	unmet[i].Detail += "; " + next
	return nil
}

// rehearse works a change out and says what waits for the same roles.
func (p *Publisher) rehearse(ctx context.Context, change change) (notes []string, err error) {
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	d := &desk{view: view, store: p.Store, now: view.Now()}
	dr, err := change(ctx, d)
	if dr == nil || err != nil {
		return nil, err
	}
	if d.live, err = p.live(ctx, view); err != nil && !denied(err) {
		return nil, err
	}
	same := p.sameChange(ctx, d, dr, d.live)
	beside, err := p.beside(ctx, d, dr)
	for _, w := range beside {
		if w == same {
			notes = append(notes, "It waits already, in proposal "+w.id+"; to sign it: "+signCommand(w.id))
		} else {
			notes = append(notes, w.named()+" waits for the same role; the first of the two to take effect makes the other stale. To look at it: kitchen pending "+w.id)
		}
	}
	return notes, err
}

// certifiedIn are the waiting proposals by which the role would list a release with a waiver.
func (p *Publisher) certifiedIn(ctx context.Context, role string, r manifest.Release) (ids []string, err error) {
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return nil, err
	}
	_, shown, err := p.changing(ctx, view, slices.DeleteFunc(live, func(w *waiting) bool {
		draft := w.role(role)
		return draft == nil || !draft.byHolder || len(catalog.Waived(draft.next.Targets[manifest.TargetPath(manifest.RoleStage(role), r)])) == 0
	}), role)
	for _, w := range shown {
		if w.Refused == "" && !w.Complete() && w.Within == "" {
			ids = append(ids, w.ID)
		}
	}
	return ids, err
}

// keepNote says, by the words of what was signed, whether a note is part of it: not where the certificate was made
// before, by whoever it was.
func (c *CertifyResult) keepNote(note string) {
	lost := c.Outcome != nil && note != "" && !slices.ContainsFunc(c.Outcome.Summary, func(line string) bool {
		return strings.TrimSpace(line) == noteLine(note)
	})
	if !lost {
		c.Note = note
		return
	}
	c.Outcome.Summary = append(c.Outcome.Summary,
		"YOUR NOTE IS NOT KEPT: the note of a certificate is that of whoever proposed it, and this one was proposed before")
}

// noteLine is the line that shows a certificate's note.
func noteLine(note string) string { return fmt.Sprintf("note: %q", note) }

// certificate works the certificate out and fills the result. It is nil when there is one.
func (p *Publisher) certificate(ctx context.Context, d *desk, r manifest.Release, req CertifyRequest, result *CertifyResult) (*draft, error) {
	name := req.role(r.Product)
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
	standing, lift, err := req.recalls(d.view, r, name)
	if err != nil {
		return nil, err
	}
	before := role.Targets[manifest.TargetPath(manifest.RoleStage(name), r)]
	listed, err := list(name, role, r, target)
	if err != nil {
		return nil, err
	}
	done := listed && catalog.WaiverEnded(before, d.now) == "" && (standing == nil || lift != nil && lift.LiftedBy(before))
	certified := *result
	err = p.certifiable(ctx, d, r, req, reports, lift != nil, result)
	done = done && (err != nil || !p.prolongs(ctx, d, name, r, before, result.Waivers))
	if done && info.Yanked == "" && !req.DryRun {
		if storeFailure(err) {
			return nil, err
		}
		*result, *result.notWaived = certified, nil
		if err := p.notToday(ctx, d, r, req, reports, before, result); err != nil {
			return nil, err
		}
		return nil, p.notWaived(ctx, d, r, req, reports, before, result)
	}
	if done && err == nil || err != nil && result.Unmet == nil {
		return nil, err
	}
	if result.Since = p.sinceLast(ctx, d.view, name, r); err != nil {
		return nil, err
	}
	if req.Show != nil {
		req.Show(result.Since)
	}
	result.Evidence = gatherEvidence(d, info, req, result)
	return certificateDraft(ctx, d, r, role, target, result.Evidence, lift)
}

// recalls gives the recall that stands, and the one that is to be lifted.
func (req *CertifyRequest) recalls(v *catalog.View, r manifest.Release, name string) (standing, lift *catalog.Recall, err error) {
	standing, lifted, _ := v.RecallFor(r, name) // where that is unknown, it is unmet
	if !req.LiftRecall {
		return standing, nil, nil
	}
	if standing == nil && lifted == nil {
		return nil, nil, &Invalid{What: r.String(), Reason: "there is no recall of it to lift; kitchen certify without --lift-recall certifies it"}
	}
	return standing, standing, nil
}

// certificateDraft lists the release with its evidence and, where there is one, the recall that it lifts.
func certificateDraft(ctx context.Context, d *desk, r manifest.Release, role *trust.Targets, target trust.Target, evidence *manifest.Evidence, lift *catalog.Recall) (*draft, error) {
	document, err := evidence.Encode()
	if err != nil {
		return nil, err
	}
	name, sha := manifest.RoleReady(r.Product), digest(document)
	if evidence.Customer != "" {
		name = manifest.RoleReadyFor(r.Product, evidence.Customer)
	}
	stage := manifest.RoleStage(name)
	target.Custom = map[string]string{customEvidence: sha, customRecalledVersion: strconv.FormatInt(evidence.RecalledVersion, 10)}
	catalog.SetWaivers(target.Custom, evidence)
	if lift != nil {
		target.Custom[customLifts] = strconv.FormatInt(lift.Since, 10)
	}
	role.Targets[manifest.TargetPath(stage, r)] = target
	dr := newDraft("certify", name, certifySummary(r, evidence, lift)...).set(name, role)
	dr.objects = []object{{manifest.EvidenceObject(sha), document}}
	return dr, dr.copyManifest(ctx, d, stage, r)
}

// certifiable holds the release to the policy; *NotCertifiable with what is unmet in the result.
func (p *Publisher) certifiable(ctx context.Context, d *desk, r manifest.Release, req CertifyRequest, reports *catalog.Reports, lift bool, result *CertifyResult) error {
	a, err := d.view.Certification(ctx, r, catalog.Question{Customer: req.Customer, Lift: lift}, reports)
	if err != nil {
		return err
	}
	result.Policy, result.Required = a.Policy, a.Required
	if result.Waivers, err = waive(ctx, d, a, req.Waivers); err != nil {
		return err
	}
	if result.Unmet = a.All(result.Waivers); len(result.Unmet) > 0 {
		return &NotCertifiable{Release: r, Unmet: result.Unmet}
	}
	return nil
}

// gatherEvidence writes down the latest report of every site, and the policy it was held to.
func gatherEvidence(d *desk, info *catalog.ReleaseInfo, req CertifyRequest, result *CertifyResult) *manifest.Evidence {
	e := &manifest.Evidence{Schema: manifest.EvidenceSchema, Release: info.Release, ManifestSHA256: info.SHA256, Note: req.Note,
		RegistryVersion: currentVersion(d.view, manifest.RoleRegistry),
		RecalledVersion: currentVersion(d.view, manifest.RoleRecalled(info.Product)),
		PolicyVersion:   result.Policy.Version, PolicySHA256: result.Policy.SHA256,
		Customer: req.Customer, Waivers: result.Waivers,
		Created: d.now}
	for _, s := range result.Sites {
		if s.Report != nil && s.Lost == "" {
			e.Reports = append(e.Reports, manifest.EvidenceReport{Site: s.Site, Verdict: s.Verdict, SHA256: s.Report.SHA256, Sequence: s.Report.Sequence})
		}
	}
	return e
}

func certifySummary(r manifest.Release, e *manifest.Evidence, lift *catalog.Recall) []string {
	whom := "every customer"
	if e.Customer != "" {
		whom = e.Customer + " alone"
	}
	lines := []string{fmt.Sprintf("certify %s (sha256 %s) for %s", r, e.ManifestSHA256, whom)}
	if lift != nil {
		lines = append(lines, fmt.Sprintf("LIFTS recall %d: %q", lift.Since, lift.Reason))
	}
	for _, report := range e.Reports {
		lines = append(lines, fmt.Sprintf("rests on: %s reported %s", report.Site, report.Verdict))
	}
	for _, w := range e.Waivers {
		lines = append(lines, "WAIVED: "+catalog.WaiverWords(w))
	}
	if e.Note != "" {
		lines = append(lines, noteLine(e.Note))
	}
	return lines
}
