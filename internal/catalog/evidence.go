package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// What the signed "custom" of ready-to-deploy.… says of the waivers that a certificate rests on, so that gates see it
// without the evidence.
const (
	CustomWaived      = "waived"       // the sites, by blanks apart; absent: none
	CustomWaivedUntil = "waived-until" // the last day of the first one that ends; absent: none does
)

// SetWaivers writes what the evidence's waivers are into the "custom" of the certificate that names it.
func SetWaivers(custom map[string]string, e *manifest.Evidence) {
	if len(e.Waivers) > 0 {
		custom[CustomWaived] = waivedSites(e)
	}
	if end := e.Ends(); !end.IsZero() {
		custom[CustomWaivedUntil] = lastDay(e)
	}
}

// Waived are the sites for which a certificate rests on waivers.
func Waived(certificate trust.Target) []string {
	return strings.Fields(certificate.Custom[CustomWaived])
}

func waivedSites(e *manifest.Evidence) string {
	var sites []string
	for _, w := range e.Waivers {
		sites = append(sites, w.Site)
	}
	return strings.Join(sites, " ")
}

// WaivedUntil is the last day of the waiver with which a certificate ends, and the moment after it. One that does not say it
// in a form that there is has ended. ok is false where none ends.
func WaivedUntil(certificate trust.Target) (until string, ends time.Time, ok bool) {
	until, ok = certificate.Custom[CustomWaivedUntil]
	w := manifest.Waiver{Until: until}
	if ends = w.Ends(); ok && ends.IsZero() {
		until = "a day that it does not say"
	}
	return until, ends, ok
}

// WaiverEnded says that a certificate rests on a waiver that has ended; "" when it does not.
func WaiverEnded(certificate trust.Target, now time.Time) string {
	until, ok := certificate.Custom[CustomWaivedUntil]
	if !ok {
		return ""
	}
	w := manifest.Waiver{Until: until}
	switch {
	case w.Ends().IsZero():
		return fmt.Sprintf("the certificate does not say until when its waivers hold (custom %q is %q)", CustomWaivedUntil, until)
	case now.Before(w.Ends()):
		return ""
	}
	return "the certificate rests on a waiver that ended with " + until
}

// Evidence is the document that a certificate of the role on the release names, held to the digest in the
// certificate. nil without an error where the role does not list the release.
func (v *View) Evidence(ctx context.Context, role string, r manifest.Release) (*manifest.Evidence, error) {
	target, err := v.RoleTarget(role, r)
	if err != nil || target == nil {
		return nil, err
	}
	if v.offline {
		return nil, &NotCached{What: "the evidence of " + r.String()}
	}
	sha := target.Custom[CustomEvidence]
	if len(sha) != 64 {
		return nil, &trust.Error{Kind: trust.Malformed, Role: role, Err: fmt.Errorf("%q is not the digest of an evidence document", sha)}
	}
	object := manifest.EvidenceObject(sha)
	kind, err := manifest.KindOf(object)
	if err != nil {
		return nil, &trust.Error{Kind: trust.Malformed, Role: role, Err: err}
	}
	data, err := readListed(ctx, v.catalog.store, object, kind.MaxSize)
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return nil, tooLarge(object, kind.MaxSize, err)
	case err != nil:
		return nil, fmt.Errorf("the evidence of %s: %w", r, err)
	case sha256Hex(data) != sha:
		return nil, &trust.Error{Kind: trust.Mismatch, Role: object, Have: "sha256 " + sha256Hex(data), Want: "sha256 " + sha,
			Err: errors.New("the evidence is not what the certifiers signed")}
	}
	e, err := manifest.ParseEvidence(data)
	if err != nil {
		return nil, &trust.Error{Kind: trust.Malformed, Role: object, Err: err}
	}
	return e, CheckEvidence(e, role, r, *target)
}

// CheckEvidence holds an evidence document to the certificate that names it: the same release, bytes and customer, and
// waivers that end as the certificate says.
func CheckEvidence(e *manifest.Evidence, role string, r manifest.Release, certificate trust.Target) error {
	_, _, customer := manifest.SplitRole(role)
	for _, c := range []struct{ what, have, want string }{
		{"release", e.Release.String(), r.String()},
		{"manifest with sha256", e.ManifestSHA256, certificate.SHA256},
		{"certificate for", forWhom(e.Customer), forWhom(customer)},
		{"recalls of version", fmt.Sprint(e.RecalledVersion), certificate.Custom[CustomRecalledVersion]},
		{"waivers for", waivedSites(e), certificate.Custom[CustomWaived]},
		{"waivers until", lastDay(e), certificate.Custom[CustomWaivedUntil]},
	} {
		if c.have != c.want {
			return &trust.Error{Kind: trust.Mismatch, Role: role, Have: strings.TrimSpace(c.what + " " + c.have), Want: strings.TrimSpace(c.what + " " + c.want),
				Err: fmt.Errorf("the evidence that the certificate of %s names is of something else", r)}
		}
	}
	return nil
}

// lastDay is what CustomWaivedUntil holds.
func lastDay(e *manifest.Evidence) string {
	if end := e.Ends(); !end.IsZero() {
		return end.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return ""
}

func forWhom(customer string) string {
	if customer == "" {
		return "everybody"
	}
	return customer
}

// Finding is one thing that was found of a certificate's evidence.
type Finding struct {
	What    string // "enovance/ci: report 1 is PASSED, as stated"
	Unknown string // why it cannot be said; "" = it can
	Unmet   string // why it does not hold; "" = it does
}

// Review checks the evidence of a certificate again, from the documents themselves: that it is what was signed, that
// each report in it is there, signed by a key of its site, of that digest and with the verdict stated, and that the
// policy it names was met by the sites of then, with its waivers. Neither what was reported since nor a policy or registry
// that asks for more by now is held against it. The error is a *trust.Error for what was altered; what cannot be checked is a Finding.
func (v *View) Review(ctx context.Context, role string, r manifest.Release) (*manifest.Evidence, []Finding, error) {
	e, err := v.Evidence(ctx, role, r)
	var broken *trust.Error
	switch {
	case errors.As(err, &broken):
		return nil, nil, err
	case err != nil:
		unknown := err.Error()
		if v.offline {
			unknown += "; `kitchen ready --evidence` without --offline reads it, where the catalog can be reached"
		}
		return nil, []Finding{{What: role, Unknown: unknown}}, nil
	case e == nil:
		return nil, []Finding{{What: role, Unmet: role + " does not certify " + r.String()}}, nil
	}
	findings := []Finding{{What: fmt.Sprintf("the evidence of %s is what %s names", stampOf(e.Created), role)}}
	reports, err := v.Reports(ctx, ReportFilter{Release: &r, Known: true})
	if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnavailable)) {
		return nil, nil, err
	}
	if err != nil {
		return e, append(findings, Finding{What: "the reports", Unknown: err.Error()}), nil
	}
	words := evidenceWords{evidence: e, reports: reports}
	for _, stated := range e.Reports {
		f, err := v.findStated(ctx, words, stated)
		if err != nil {
			return nil, nil, err
		}
		findings = append(findings, f)
	}
	policy, err := v.reviewPolicy(ctx, r, e, words)
	return e, append(findings, policy...), err
}

// reviewPolicy holds the evidence to the policy that it names.
func (v *View) reviewPolicy(ctx context.Context, r manifest.Release, e *manifest.Evidence, w words) ([]Finding, error) {
	what := "the default certification policy"
	if e.PolicyVersion > 0 {
		what = fmt.Sprintf("version %d of the certification policy", e.PolicyVersion)
	}
	policy, err := v.PastPolicy(ctx, e.PolicyVersion, e.PolicySHA256)
	var broken *trust.Error
	if errors.As(err, &broken) && broken.Kind == trust.Mismatch {
		return nil, err
	}
	if err != nil {
		return []Finding{{What: what, Unknown: err.Error()}}, nil
	}
	a, err := v.assessPast(ctx, policy, r, e, w)
	if err != nil {
		return []Finding{{What: what, Unknown: err.Error()}}, nil
	}
	var findings []Finding
	for _, waiver := range e.Waivers {
		f := Finding{What: "waived: " + WaiverWords(waiver)}
		if end := waiver.Ends(); !end.IsZero() && !v.Now().Before(end) {
			f.Unmet = "the waiver has ended"
		}
		findings = append(findings, f)
	}
	for _, u := range a.All(e.Waivers) {
		findings = append(findings, Finding{What: what + ": " + u.Requirement, Unmet: u.Detail})
	}
	if len(a.All(e.Waivers)) == 0 {
		findings = append(findings, Finding{What: what + " is met"})
	}
	return findings, nil
}

// assessPast holds the evidence to a policy as its certifiers did: with the registry of then.
func (v *View) assessPast(ctx context.Context, policy *PolicyInEffect, r manifest.Release, e *manifest.Evidence, w words) (*Assessment, error) {
	registry, err := v.Past(ctx, manifest.RoleRegistry, e.RegistryVersion)
	if err != nil {
		return nil, err
	}
	customers, err := v.customersOf(ctx, registry.Targets)
	if err != nil {
		return nil, err
	}
	return assessUnder(policy, customers, r, Question{Customer: e.Customer}, w, e.Created)
}

// WaiverWords are a waiver in words. What a report and a sysadmin wrote stands between quotation marks.
func WaiverWords(w manifest.Waiver) string {
	until := "without an end"
	if w.Until != "" {
		until = "until " + w.Until
	}
	return fmt.Sprintf("%s (%q), %s: %q", w.Site, w.Against, until, w.Reason)
}

// EvidenceUnmet holds an evidence document by itself to the policy in effect, with its waivers: what can be said
// without a look at the reports. Ages and soak times are left out.
func (v *View) EvidenceUnmet(ctx context.Context, e *manifest.Evidence) ([]Unmet, error) {
	a, err := v.assess(ctx, e.Release, Question{Customer: e.Customer}, evidenceWords{evidence: e}, e.Created)
	if err != nil {
		return nil, err
	}
	return a.All(e.Waivers), nil
}

// evidenceWords are the words of the reports that a certificate's evidence names.
type evidenceWords struct {
	evidence *manifest.Evidence
	reports  *Reports // nil: they are not looked at
}

func (w evidenceWords) of(site manifest.SiteID) siteWord {
	for _, stated := range w.evidence.Reports {
		if stated.Site == site.String() {
			word := siteWord{verdict: stated.Verdict}
			if found := w.report(stated); found != nil {
				word.ran = found.ran()
			}
			return word
		}
	}
	return siteWord{}
}

func (w evidenceWords) soaked(sites map[string]bool, warnedPass bool) (first time.Time, known bool) {
	if w.reports == nil {
		return time.Time{}, false
	}
	return reportWords{w.reports, w.evidence.Release}.soaked(sites, warnedPass)
}

// report is the report that the evidence names, of the digest that it names; nil where it is not at hand.
func (w evidenceWords) report(stated manifest.EvidenceReport) *VerifiedReport {
	id, err := manifest.ParseSite(stated.Site)
	if err != nil || w.reports == nil {
		return nil
	}
	chain := w.reports.of(chain{id, w.evidence.Release})
	i := slices.IndexFunc(chain, func(r VerifiedReport) bool { return r.SHA256 == stated.SHA256 })
	if i < 0 {
		return nil
	}
	return &chain[i]
}

// findStated looks for a report that the evidence names. A report's name has its digest: what lies there instead was
// altered.
func (v *View) findStated(ctx context.Context, w evidenceWords, stated manifest.EvidenceReport) (Finding, error) {
	f := Finding{What: fmt.Sprintf("%s: report %d is %s and signed by the site, as stated", stated.Site, stated.Sequence, stated.Verdict)}
	altered := func(have string) error {
		return &trust.Error{Kind: trust.Mismatch, Role: "evidence", Have: have, Want: fmt.Sprintf("report %d, %s, sha256 %s", stated.Sequence, stated.Verdict, stated.SHA256),
			Err: fmt.Errorf("the report of %s on %s is not what the certifiers saw", stated.Site, w.evidence.Release)}
	}
	found := w.report(stated)
	switch {
	case found != nil && (found.Verdict() != stated.Verdict || found.Sequence != stated.Sequence):
		return f, altered(fmt.Sprintf("report %d, %s", found.Sequence, found.Verdict()))
	case found != nil && found.Lost == "":
		return f, nil
	}
	f.Unknown = "the report is not at hand"
	prefix := "reports/" + stated.Site + "/" + w.evidence.Release.Product + "/" + w.evidence.Release.Version + "/"
	for _, r := range w.reports.Rejected {
		if !strings.HasPrefix(r.Key, prefix) || !strings.HasSuffix(r.Key, "-"+stated.SHA256[:16]+".json") {
			continue
		}
		data, err := readListed(ctx, v.catalog.store, r.Key, manifest.MaxObjectSize)
		switch {
		case err == nil && sha256Hex(data) == stated.SHA256:
			f.Unknown, f.Unmet = "", "it does not count: "+r.Reason
			return f, nil
		case err == nil, errors.Is(err, storage.ErrTooLarge):
			return f, altered("another object, " + r.Key)
		}
		f.Unknown = r.Reason
	}
	return f, nil
}
