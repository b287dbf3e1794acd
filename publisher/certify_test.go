package publisher_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

const v1 = "openstack@1.0.0"

// certify is Certify without a note; only what became of it matters.
func certify(p *publisher.Publisher, r string, by ...key) (*publisher.Outcome, error) {
	result, err := p.Certify(ctx, release(r), publisher.CertifyRequest{}, signers(by...))
	if err != nil {
		return nil, err
	}
	return result.Outcome, nil
}

func (w *world) validate(t *testing.T, r string, by ...key) (*publisher.Outcome, error) {
	t.Helper()
	return w.publisher(t, w.online).Validate(ctx, release(r), signers(by...))
}

func (w *world) recall(t *testing.T, r string, by ...key) (*publisher.Outcome, error) {
	t.Helper()
	return w.publisher(t, w.online).Recall(ctx, release(r), "CVE-2026-1", signers(by...))
}

// notCertifiable wants the refusal, and the unmet requirement named.
func (w *world) notCertifiable(t *testing.T, says ...string) *publisher.CertifyResult {
	t.Helper()
	var result *publisher.CertifyResult
	faults := storagetest.NewFaults(t, w.store)
	err := w.refused(t, func() (err error) {
		result, err = w.over(t, faults, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{}, signers(w.certA, w.certB))
		return err
	})
	if e := wantError[*publisher.NotCertifiable](t, err, says...); len(e.Unmet) == 0 || faults.Writes() > 0 {
		t.Errorf("%+v, %d writes", e, faults.Writes())
	}
	if result == nil || len(result.Sites) != 2 || len(result.Unmet) == 0 || result.Outcome != nil || result.Evidence != nil {
		t.Errorf("the result does not hold the matrix: %+v", result)
	}
	return result
}

func TestValidate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	for _, by := range []key{w.engineer, w.certA, w.vendorCI, w.online, w.stranger} {
		err := w.refused(t, func() error { _, err := w.validate(t, v1, by); return err })
		wantError[*publisher.NotAuthorized](t, err, "validated.openstack")
	}
	err := w.refused(t, func() error { _, err := w.validate(t, "openstack@9.9.9", w.validator); return err })
	wantError[*catalog.UnknownRelease](t, err, "openstack@9.9.9")
	err = w.refused(t, func() error { _, err := w.validate(t, "swift@1.0.0", w.validator); return err })
	wantError[*catalog.UnknownProduct](t, err)
	mustCommit(t)(w.validate(t, v1, w.validator))
	w.wantStage(t, v1, "validated")
	must(t, publisher.Unchanged)(w.validate(t, v1, w.validator))
	w.wantStageCopy(t, manifest.StageValidated)
}

// wantStageCopy: a stock client finds the manifest under the name that the stage lists.
func (w *world) wantStageCopy(t *testing.T, stage string) {
	t.Helper()
	target, err := w.view(t).StageTarget(stage, release(v1))
	check(t, err)
	if target == nil {
		t.Fatalf("%s does not list it", stage)
	}
	data := w.object(t, manifest.TargetObject(manifest.TargetPath(stage, release(v1)), target.SHA256))
	check(t, target.CheckFile(stage, data))
}

func TestOneSignatureRecalls(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.validated(t, v1)
	for _, by := range []key{start.engineer, start.colleague, start.certA, start.certB} {
		w := start.copy(t)
		mustCommit(t)(w.recall(t, v1, by))
		info, err := w.view(t).Release(release(v1))
		check(t, err)
		if info.Recalled == nil || info.Recalled.Reason != "CVE-2026-1" || info.Recalled.SHA256 != info.SHA256 {
			t.Errorf("%+v", info)
		}
		w.wantStageCopy(t, manifest.StageRecalled)
		must(t, publisher.Unchanged)(w.recall(t, v1, w.certB))
	}
	for _, by := range []key{start.cephEngineer, start.cephCertifier, start.validator, start.admin, start.root[0], start.online, start.stranger} {
		err := start.refused(t, func() error { _, err := start.recall(t, v1, by); return err })
		wantError[*publisher.NotAuthorized](t, err, recalledRole, short(by))
	}
	err := start.refused(t, func() error { _, err := start.recall(t, "openstack@9.9.9", start.engineer); return err })
	wantError[*catalog.UnknownRelease](t, err)
	for _, reason := range []string{"", " \n\t"} {
		err := start.refused(t, func() error {
			_, err := start.publisher(t, start.online).Recall(ctx, release(v1), reason, signers(start.engineer))
			return err
		})
		wantError[*publisher.Invalid](t, err, "needs a reason")
	}
}

func TestARecalledReleaseIsNeitherValidatedNorCertified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, nil)
	other := w.copy(t)
	mustCommit(t)(w.recall(t, v1, w.engineer))
	err := w.refused(t, func() error { _, err := w.validate(t, v1, w.validator); return err })
	wantError[*publisher.Withdrawn](t, err, "recalled", "CVE-2026-1", "recalled.openstack")

	mustCommit(t)(other.validate(t, v1, other.validator))
	mustCommit(t)(other.recall(t, v1, other.engineer))
	other.notCertifiable(t, "not recalled", "CVE-2026-1")
}

func TestRecallsOnlyGrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{"openstack@1.0.0", "openstack@1.1.0", "openstack@1.2.0"} {
		w.publish(t, r)
	}
	seen := 0
	for _, r := range []string{"openstack@1.1.0", "openstack@1.0.0"} {
		mustCommit(t)(w.recall(t, r, w.engineer))
		role, err := w.view(t).Role(recalledRole)
		check(t, err)
		if len(role.Targets) != seen+1 {
			t.Errorf("%d recalls after %d", len(role.Targets), seen)
		}
		seen = len(role.Targets)
	}
	w.publish(t, "openstack@1.3.0")
	if role, err := w.view(t).Role(recalledRole); err != nil || len(role.Targets) != 2 {
		t.Errorf("a publication changed the recalls: %+v, %v", role, err)
	}
}

// A recall is possible while the product's manifest, or its role, cannot be had.
func TestADamagedStoreDoesNotKeepAnybodyFromRecalling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	path, target := manifestOf(w, t, v1)
	w.overwrite(t, manifest.TargetObject(path, target.SHA256), []byte("damaged"))
	mustCommit(t)(w.recall(t, v1, w.engineer))

	w = newWorld(t)
	w.validated(t, v1)
	w.overwrite(t, manifest.RoleObject(productRole, 1), []byte("damaged"))
	mustCommit(t)(w.recall(t, v1, w.certA))
	v, err := w.catalog(t, w.store).Refresh(ctx)
	check(t, err)
	if recall, err := v.Recall(release(v1)); err != nil || recall == nil {
		t.Errorf("%+v, %v", recall, err)
	}
}

func TestCertifyWantsTheVendorsCIToHavePassed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	mustCommit(t)(w.validate(t, v1, w.validator))
	w.notCertifiable(t, "enovance/ci", "not reported")
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	w.notCertifiable(t, "enovance/ci", "not reported")
	for _, verdict := range []string{manifest.Failed, manifest.Warned} {
		w.report(t, "enovance/ci", w.vendorCI, v1, verdict, nil)
		w.notCertifiable(t, "enovance/ci", verdict)
	}
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Failed, func(r *manifest.Report) { r.Refined, r.Reason = manifest.NotRun, "no hardware" })
	w.notCertifiable(t, "enovance/ci", manifest.NotRun, "no hardware")
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, nil)
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
}

func TestAReportOfTheWrongKeyDoesNotCount(t *testing.T) {
	w := newWorld(t)
	w.publish(t, v1)
	mustCommit(t)(w.validate(t, v1, w.validator))
	w.report(t, "enovance/ci", w.stagingCI, v1, manifest.Passed, nil) // acme's key, in the vendor's name
	w.notCertifiable(t, "enovance/ci", "not reported")
}

func TestCertifyWantsTheReleaseValidated(t *testing.T) {
	w := newWorld(t)
	w.publish(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, nil)
	w.notCertifiable(t, "validated")
}

func TestACustomersFailureBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, func(r *manifest.Report) { r.Failed = []string{"boot"} })
	result := w.notCertifiable(t, "acme/staging", manifest.Failed, "boot")
	if s := result.Sites[0]; s.Site != "acme/staging" || s.Verdict != manifest.Failed {
		t.Errorf("the matrix: %+v", result.Sites)
	}
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
}

func TestAGapInAChainOfReportsBlocks(t *testing.T) {
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, func(r *manifest.Report) {
		r.Sequence, r.Previous = 2, strings.Repeat("a", 64) // the first, a failure perhaps, was withheld
	})
	w.notCertifiable(t, "acme/staging", "gap")
}

func TestACertificateRestsOnEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.publish(t, "openstack@0.9.0")
	mustCommit(t)(w.recall(t, "openstack@0.9.0", w.engineer)) // recalled.openstack is version 2 now
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	dry, err := w.publisher(t, nil).Certify(ctx, release(v1), publisher.CertifyRequest{DryRun: true}, nil)
	check(t, err)
	if dry.Outcome != nil || dry.Evidence == nil || len(dry.Sites) != 2 || len(dry.Unmet) != 0 {
		t.Errorf("dry run: %+v", dry)
	}
	result, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Note: "seen\x1b[31m by\x00 me"}, signers(w.certA, w.certB))
	check(t, err)
	v := w.view(t)
	target, err := v.StageTarget(manifest.StageReady, release(v1))
	check(t, err)
	if target.Custom["recalled-version"] != "2" {
		t.Errorf("custom is %v", target.Custom)
	}
	data := w.object(t, manifest.EvidenceObject(target.Custom["evidence"]))
	if catalogtest.Digest(data) != target.Custom["evidence"] {
		t.Error("the evidence is not what the certificate names")
	}
	e, err := manifest.ParseEvidence(data)
	check(t, err)
	if e.Release != release(v1) || e.ManifestSHA256 != target.SHA256 || e.RecalledVersion != 2 || e.RegistryVersion != v.Snapshot().Roles["registry"].Version ||
		len(e.Reports) != 2 || e.Reports[1].Site != "enovance/ci" || e.Reports[1].Verdict != manifest.Passed || e.Reports[1].SHA256 != w.reports["enovance/ci "+v1].digest {
		t.Errorf("evidence: %+v", e)
	}
	if strings.ContainsAny(e.Note, "\x1b\x00") || !strings.HasPrefix(e.Note, "seen") || result.Evidence.Note != e.Note {
		t.Errorf("note: %q", e.Note)
	}
	w.wantStageCopy(t, manifest.StageReady)
	must(t, publisher.Unchanged)(certify(w.publisher(t, w.online), v1, w.certA))
}

func TestADryRunOfCertifyWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.validated(t, v1)
	faults := storagetest.NewFaults(t, w.store)
	for _, by := range [][]keys.Signer{nil, signers(w.certA)} {
		if _, err := w.over(t, faults, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{DryRun: true}, by); err != nil {
			t.Error(err)
		}
	}
	if faults.Writes() > 0 {
		t.Errorf("%d writes", faults.Writes())
	}
	_, err := w.publisher(t, nil).Certify(ctx, release(v1), publisher.CertifyRequest{DryRun: true}, signers(w.engineer))
	wantError[*publisher.NotAuthorized](t, err, readyRole)
}

func TestOnlyCertifiersCertify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	for _, by := range []key{w.engineer, w.validator, w.cephCertifier, w.admin, w.root[0], w.vendorCI, w.stranger} {
		err := w.refused(t, func() error { _, err := certify(w.publisher(t, w.online), v1, by); return err })
		wantError[*publisher.NotAuthorized](t, err, readyRole, short(by))
	}
	err := w.refused(t, func() error { _, err := certify(w.publisher(t, w.online), v1, w.certA, w.engineer); return err })
	wantError[*publisher.NotAuthorized](t, err, short(w.engineer))
}

// Whose reports came in between the two certificates: each certifier is shown the other's proposal, and either
// signature puts one into effect.
func TestCertificatesOnDifferentEvidenceDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certB))
	for _, by := range []key{w.certA, w.certB} {
		c := w.copy(t)
		mustCommit(t)(c.publisher(t, c.online).Sign(ctx, readyRole, nil, signers(by)))
		c.wantStage(t, v1, manifest.StageReady)
		if pending, err := c.publisher(t, nil).Pending(ctx); err != nil || len(pending) != 0 {
			t.Errorf("what is in effect still waits: %+v, %v", pending, err)
		}
	}
}
