package publisher_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A policy takes two signatures where two holders agreed on that; one of them alone changes nothing.
func TestPolicySignedByOneOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := catalogtest.NewKey(t)
	w.craft(t, crafted{"targets", func(n *trust.Targets) {
		for i := range n.Delegations {
			if n.Delegations[i].Name == manifest.RolePolicy {
				n.Delegations[i].Authority = catalogtest.Authority(2, w.admin, second)
			}
		}
	}, signers(w.root[:2]...)})
	commit(t, w.publisher(t, w.online))
	lax := policy(t, "[default]\nwarned = \"pass\"\n")
	for range 2 {
		must(t, publisher.Pending)(w.publisher(t, w.online).SetPolicy(ctx, lax, signers(w.admin)))
	}
	commit(t, w.publisher(t, w.online))
	if p, err := w.view(t).Policy(ctx); err != nil || p.Version != 0 {
		t.Errorf("one signature of two: %+v, %v", p, err)
	}
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, manifest.RolePolicy, nil, signers(second)))
	if p, err := w.view(t).Policy(ctx); err != nil || p.Version != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// Whoever holds the policy cannot take it out, put a document beside it, or one that nobody can read.
func TestPolicyTakenOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setPolicy(t, "[default]\nmax_age = \"30d\"\n")
	broken := []byte("[default]\nrequire = [\"nobody\"]\n")
	w.put(t, manifest.TargetObject(manifest.PolicyTarget, catalogtest.Digest(broken)), broken)
	for says, edit := range map[string]func(*trust.Targets){
		"and nothing else": func(n *trust.Targets) { delete(n.Targets, manifest.PolicyTarget) },
		"no site":          lists(manifest.PolicyTarget, trust.Target{Length: int64(len(broken)), SHA256: catalogtest.Digest(broken)}),
	} {
		c := w.copy(t)
		c.craft(t, crafted{manifest.RolePolicy, edit, signers(c.admin)})
		result := commit(t, c.publisher(t, c.online))
		if len(result.Committed) != 0 || len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, says) {
			t.Errorf("%s: %+v", says, result)
		}
	}
}

// A certificate that waits was made on a policy that asked for less: neither the second certifier nor the committer takes it
// once a stricter one is in effect.
func TestPolicyReplayedByACertificateOfBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	complete := w.copy(t)
	must(t, publisher.Pending)(complete.publisher(t, nil).Sign(ctx, readyRole, nil, signers(w.certB)))
	w.setPolicy(t, "[default]\nrequire = [\"vendor-ci\", \"acme/staging\"]\n")
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, "default policy", "policy version 1 is in effect")

	must(t, publisher.Committed)(complete.publisher(t, complete.online).SetPolicy(ctx, policy(t, "[default]\nrequire = [\"acme/staging\"]\n"), signers(w.admin)))
	commit(t, complete.publisher(t, complete.online))
	complete.wantStage(t, v1, manifest.StageValidated)
}

// certificateOf crafts a certificate of v1 by both certifiers that names this evidence.
func (w *world) certificateOf(t *testing.T, change func(*manifest.Evidence), custom map[string]string) *publisher.CommitResult {
	t.Helper()
	info := w.info(t, v1)
	e := &manifest.Evidence{Schema: manifest.EvidenceSchema, Release: release(v1), ManifestSHA256: info.SHA256, RegistryVersion: 1, RecalledVersion: 1, Created: w.now,
		Reports: []manifest.EvidenceReport{{Site: "enovance/ci", Verdict: manifest.Passed, SHA256: w.reports["enovance/ci "+v1].digest, Sequence: 1}}}
	change(e)
	data, err := e.Encode()
	check(t, err)
	sha := catalogtest.Digest(data)
	w.put(t, manifest.EvidenceObject(sha), data)
	edit := w.stageCopy(t, manifest.StageReady, v1)
	w.craft(t, crafted{readyRole, func(n *trust.Targets) {
		edit(n)
		changes(manifest.TargetPath(manifest.StageReady, release(v1)), func(t *trust.Target) {
			t.Custom["evidence"] = sha
			for key, value := range custom {
				t.Custom[key] = value
			}
		})(n)
	}, signers(w.certA, w.certB)})
	return commit(t, w.publisher(t, w.online))
}

// Both certifiers sign, by a tool of their own or deceived, what rests on nothing: committers refuse.
func TestEvidenceOfOtherBytes(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.validated(t, v1)
	if result := start.copy(t).certificateOf(t, func(*manifest.Evidence) {}, nil); len(result.Committed) != 1 {
		t.Fatalf("the good one: %+v", result)
	}
	waiver := []manifest.Waiver{{Site: "enovance/ci", Against: "it has not reported", Reason: "x", Until: "2020-01-01"}}
	for name, c := range map[string]struct {
		change func(*manifest.Evidence)
		custom map[string]string
		says   string
	}{
		"another release":        {func(e *manifest.Evidence) { e.Release = release(v2) }, nil, "of something else"},
		"another manifest":       {func(e *manifest.Evidence) { e.ManifestSHA256 = strings.Repeat("a", 64) }, nil, "of something else"},
		"another customer":       {func(e *manifest.Evidence) { e.Customer = "acme" }, nil, "of something else"},
		"other recalls":          {func(e *manifest.Evidence) { e.RecalledVersion = 7 }, nil, "of something else"},
		"no reports":             {func(e *manifest.Evidence) { e.Reports = nil }, nil, "has not reported"},
		"a failure":              {func(e *manifest.Evidence) { e.Reports[0].Verdict = manifest.Failed }, nil, "FAILED"},
		"waivers unsaid":         {func(e *manifest.Evidence) { e.Waivers = waiver }, nil, "of something else"},
		"a waiver past its date": {func(e *manifest.Evidence) { e.Reports, e.Waivers = nil, waiver }, map[string]string{"waived": "enovance/ci", "waived-until": "2020-01-01"}, "ended with 2020-01-01"},
		"a longer waiver":        {func(e *manifest.Evidence) { e.Reports, e.Waivers = nil, waiver }, map[string]string{"waived": "enovance/ci", "waived-until": "2099-01-01"}, "of something else"},
		"no such policy":         {func(e *manifest.Evidence) { e.PolicyVersion, e.PolicySHA256 = 1, strings.Repeat("a", 64) }, nil, "policy"},
		"of last year":           {func(e *manifest.Evidence) { e.Created = e.Created.AddDate(-1, 0, 0) }, nil, "not of late"},
		"of next year":           {func(e *manifest.Evidence) { e.Created = e.Created.AddDate(1, 0, 0) }, nil, "not of late"},
		"that does not exist":    {func(*manifest.Evidence) {}, map[string]string{"evidence": strings.Repeat("b", 64)}, "the evidence of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := start.copy(t).certificateOf(t, c.change, c.custom)
			if len(result.Committed) != 0 || len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, c.says) {
				t.Errorf("%+v", result)
			}
		})
	}
}

// Somebody who may write in the store puts a waiver, or a better verdict, into the evidence of a certificate that is signed.
func TestWaiverForgedIntoEvidenceAfterSigning(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.validated(t, v1)
	must(t, publisher.Pending)(certify(start.publisher(t, nil), v1, start.certA))
	signed := start.copy(t)
	mustCommit(t)(signed.publisher(t, signed.online).Sign(ctx, readyRole, nil, signers(signed.certB)))
	target, err := signed.view(t).RoleTarget(readyRole, release(v1))
	check(t, err)
	object := manifest.EvidenceObject(target.Custom["evidence"])
	e, err := manifest.ParseEvidence(signed.object(t, object))
	check(t, err)
	e.Waivers = []manifest.Waiver{{Site: "acme/staging", Against: "it FAILED", Reason: "never mind"}}
	forged, err := e.Encode()
	check(t, err)

	signed.overwrite(t, object, forged)
	v := signed.view(t)
	_, _, err = v.Review(ctx, readyRole, release(v1))
	if broken := wantError[*trust.Error](t, err, "not what the certifiers signed"); broken.Kind != trust.Mismatch {
		t.Errorf("%v", broken)
	}
	start.overwrite(t, object, forged) // before the second certifier looks
	err = start.refused(t, func() error {
		_, err := start.publisher(t, start.online).Sign(ctx, readyRole, nil, signers(start.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, "evidence")
}

// The reports that a certificate rests on are checked again: what is gone is not checkable, what was altered is told.
func TestReportsAlteredAfterACertificate(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.certified(t, v1)
	report := ""
	for _, key := range start.objects(t) {
		if strings.HasPrefix(key, "reports/enovance/ci/openstack/") {
			report = key
		}
	}
	review := func(w *world) ([]catalog.Finding, error) {
		_, findings, err := w.view(t).Review(ctx, readyRole, release(v1))
		return findings, err
	}
	if findings, err := review(start); err != nil || len(findings) != 3 || findings[1].Unknown+findings[1].Unmet != "" || !strings.Contains(findings[1].What, "enovance/ci: report 1 is PASSED") {
		t.Fatalf("%+v, %v", findings, err)
	}
	gone := start.copy(t)
	gone.overwrite(t, report, nil)
	if _, err := review(gone); err == nil {
		t.Error("an empty report passes")
	}
	gone = start.copy(t)
	check(t, os.Remove(filepath.Join(gone.dir, filepath.FromSlash(report))))
	if findings, err := review(gone); err != nil || findings[1].Unknown == "" {
		t.Errorf("gone: %+v, %v", findings, err)
	}
	altered := start.copy(t)
	altered.overwrite(t, report, []byte("{}"))
	_, err := review(altered)
	wantError[*trust.Error](t, err, "enovance/ci", "not what the certifiers saw")

	// A key that was somebody else's by then: its report does not count any more.
	stolen := start.copy(t)
	mustCommit(t)(stolen.publisher(t, stolen.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("enovance/ci"), Key: catalogtest.NewKey(t).Public(),
		CompromisedSince: stolen.now.Add(-time.Hour)}, signers(stolen.admin)))
	if findings, err := review(stolen); err != nil || !strings.Contains(findings[1].Unmet, "does not count") {
		t.Errorf("stolen: %+v, %v", findings, err)
	}
	// What is reported later, and a site that is asked for later, is not held against what was known then.
	mustCommit(t)(start.publisher(t, start.online).AddSite(ctx, start.site("enovance/ci-2", catalogtest.NewKey(t)), signers(start.admin)))
	start.setPolicy(t, "[default]\nrequire = [\"acme/staging\"]\n")
	start.report(t, "enovance/ci", start.vendorCI, v1, manifest.Failed, nil)
	if findings, err := review(start); err != nil || findings[2].Unmet != "" {
		t.Errorf("%+v, %v", findings, err)
	}
}

// A waiver ends between the two signatures.
func TestWaiverPastItsDate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	waiver := manifest.Waiver{Site: "acme/staging", Reason: "x", Until: w.now.Format(time.DateOnly)}
	req := publisher.CertifyRequest{Waivers: []manifest.Waiver{waiver}}
	_, err := w.publisher(t, nil).Certify(ctx, release(v1), req, signers(w.certA))
	check(t, err)
	w.now = w.now.AddDate(0, 0, 1)
	err = w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, "a waiver that ended")
	_, err = w.publisher(t, w.online).Certify(ctx, release(v1), req, signers(w.certB))
	wantError[*publisher.Invalid](t, err, "it ended with")
}

// acme's certifiers hold one role: with their key nobody is certified for but acme.
func TestACustomersCertifierSignsForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	acme := catalogtest.NewKey(t)
	w.certifiers(t, acme)
	mustCommit(t)(w.publisher(t, w.online).AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella", Subscribe: []string{"openstack"}}, signers(w.admin)))
	other := catalogtest.NewKey(t)
	mustCommit(t)(w.publisher(t, w.online).SetCertifiers(ctx, publisher.CertifiersRequest{Customer: "umbrella", Product: "openstack", Certifiers: publics(other)}, signers(w.root[:2]...)))
	w.validated(t, v1)
	for _, customer := range []string{"", "umbrella"} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Customer: customer}, signers(acme))
			return err
		})
		wantError[*publisher.NotAuthorized](t, err, short(acme))
	}
	for _, role := range []string{readyRole, manifest.RoleReadyFor("openstack", "umbrella")} {
		c := w.copy(t)
		c.craft(t, crafted{role, c.stageCopy(t, manifest.RoleStage(role), v1), signers(acme)})
		if result := commit(t, c.publisher(t, c.online)); len(result.Committed) != 0 {
			t.Errorf("%s: %+v", role, result)
		}
	}
	// Nor does acme's role list what is under another's path.
	c := w.copy(t)
	c.craft(t, crafted{manifest.RoleReadyFor("openstack", "acme"), c.stageCopy(t, manifest.StageReady, v1), signers(acme)})
	if result := commit(t, c.publisher(t, c.online)); len(result.Committed) != 0 || len(result.Refused) != 1 {
		t.Errorf("%+v", result)
	}
}
