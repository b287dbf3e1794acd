package publisher_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

const v2 = "openstack@1.1.0"

func (w *world) certified(t *testing.T, r string) {
	t.Helper()
	w.validated(t, r)
	mustCommit(t)(certify(w.publisher(t, w.online), r, w.certA, w.certB))
}

func (w *world) info(t *testing.T, r string) *catalog.ReleaseInfo {
	t.Helper()
	info, err := w.view(t).Release(release(r))
	check(t, err)
	return info
}

// liftRecall is Certify of v1 that lifts its recall.
func liftRecall(p *publisher.Publisher, by ...key) (*publisher.Outcome, error) {
	result, err := p.Certify(ctx, release(v1), publisher.CertifyRequest{LiftRecall: true}, signers(by...))
	if err != nil {
		return nil, err
	}
	return result.Outcome, nil
}

func (w *world) recallFor(t *testing.T, reason string, by ...key) (*publisher.Outcome, error) {
	t.Helper()
	return w.publisher(t, w.online).Recall(ctx, release(v1), reason, signers(by...))
}

func decertify(p *publisher.Publisher, r string, by ...key) (*publisher.Outcome, error) {
	return p.Decertify(ctx, release(r), publisher.DecertifyRequest{Reason: "wrong evidence"}, signers(by...))
}

func TestAYankChangesNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	before := w.info(t, v1)
	p := w.publisher(t, w.online)
	mustCommit(t)(p.Yank(ctx, release(v1), " slow\x1b[31m disks\n", signers(w.engineer)))
	after := w.info(t, v1)
	if !strings.HasPrefix(after.Yanked, "slow") || strings.ContainsAny(after.Yanked, "\x1b\n") {
		t.Errorf("yanked for %q", after.Yanked)
	}
	if before.Yanked = after.Yanked; !reflect.DeepEqual(before, after) {
		t.Errorf("was %+v, is %+v", before, after)
	}
	must(t, publisher.Unchanged)(p.Yank(ctx, release(v1), after.Yanked, signers(w.colleague)))
	out := mustCommit(t)(p.Yank(ctx, release(v1), "worse", signers(w.colleague)))
	if !strings.Contains(out.Summary[0], "worse") || w.info(t, v1).Yanked != "worse" {
		t.Errorf("%+v", out)
	}
	mustCommit(t)(p.Unyank(ctx, release(v1), signers(w.engineer)))
	if got := w.info(t, v1); got.Yanked != "" || got.Stage != manifest.StageReady {
		t.Errorf("%+v", got)
	}
	must(t, publisher.Unchanged)(p.Unyank(ctx, release(v1), signers(w.engineer)))
}

func TestOnlyEngineersYank(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	p := w.publisher(t, w.online)
	for _, by := range []key{w.certA, w.validator, w.cephEngineer, w.admin, w.online, w.stranger} {
		err := w.refused(t, func() error { _, err := p.Yank(ctx, release(v1), "x", signers(by)); return err })
		wantError[*publisher.NotAuthorized](t, err, productRole, short(by))
	}
	err := w.refused(t, func() error { _, err := p.Yank(ctx, release(v1), " \n", signers(w.engineer)); return err })
	wantError[*publisher.Invalid](t, err, "needs a reason")
	err = w.refused(t, func() error { _, err := p.Yank(ctx, release(v2), "x", signers(w.engineer)); return err })
	wantError[*catalog.UnknownRelease](t, err, v2)
	err = w.refused(t, func() error {
		_, err := p.Yank(ctx, release("swift@1.0.0"), "x", signers(w.engineer))
		return err
	})
	wantError[*catalog.UnknownProduct](t, err, "swift")
}

// What is yanked enters no further stage, not by a certificate that waited either; and an undo lets it.
func TestAYankedReleaseIsNeitherValidatedNorCertified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, nil)
	yank := func() { mustCommit(t)(w.publisher(t, w.online).Yank(ctx, release(v1), "slow", signers(w.engineer))) }
	undo := func() { mustCommit(t)(w.publisher(t, w.online).Unyank(ctx, release(v1), signers(w.engineer))) }
	yank()
	err := w.refused(t, func() error { _, err := w.validate(t, v1, w.validator); return err })
	if e := wantError[*publisher.Withdrawn](t, err, "yanked", "slow", productRole); !strings.Contains(e.Hint(), "--undo") {
		t.Error(e.Hint())
	}
	undo()
	mustCommit(t)(w.validate(t, v1, w.validator))
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	yank()
	w.notCertifiable(t, "not yanked", "slow", "--undo")
	err = w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, readyRole, "yanked", "slow")
	undo()
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB)))
	w.wantStage(t, v1, manifest.StageReady)
	yank()
	w.notCertifiable(t, "not yanked") // "it is so already" would sound like yes
}

func TestDecertifyTakesAsManyAsCertifying(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.certified(t, v2)
	for _, by := range []key{w.engineer, w.validator, w.cephCertifier, w.root[0], w.online} {
		err := w.refused(t, func() error { _, err := decertify(w.publisher(t, w.online), v1, by); return err })
		wantError[*publisher.NotAuthorized](t, err, readyRole, short(by))
	}
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Decertify(ctx, release(v1), publisher.DecertifyRequest{}, signers(w.certA))
		return err
	})
	wantError[*publisher.Invalid](t, err, "needs a reason")
	err = w.refused(t, func() error { _, err := decertify(w.publisher(t, w.online), "openstack@9.9.9", w.certA); return err })
	wantError[*catalog.UnknownRelease](t, err)

	must(t, publisher.Pending)(decertify(w.publisher(t, w.online), v1, w.certA)) // with the online key at hand, too
	w.wantStage(t, v1, manifest.StageReady)
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || !strings.Contains(pending[0].Stated[0], "wrong evidence") || !strings.Contains(pending[0].Change[0], "decertify "+v1) {
		t.Fatalf("%+v", pending)
	}
	mustCommit(t)(decertify(w.publisher(t, w.online), v1, w.certB))
	w.wantStage(t, v1, manifest.StageValidated)
	w.wantStage(t, v2, manifest.StageReady)
	must(t, publisher.Unchanged)(decertify(w.publisher(t, w.online), v1, w.certB))
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
	w.wantStage(t, v1, manifest.StageReady)
}

// A proposer whose words name one release and whose payload drops two: whoever signs sees both.
func TestADecertificationThatDropsAnotherReleaseTooIsSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.certified(t, v2)
	w.craft(t, crafted{readyRole, func(n *trust.Targets) { clear(n.Targets) }, signers(w.certA)})
	out, err := w.publisher(t, w.online).Sign(ctx, readyRole, func(p publisher.PendingProposal) (bool, error) {
		for _, r := range []string{v1, v2} {
			if words := strings.Join(p.Change, "\n"); !strings.Contains(words, "decertify "+r) {
				t.Errorf("%s is not in the words: %s", r, words)
			}
		}
		return false, nil
	}, signers(w.certB))
	must(t, publisher.Declined)(out, err)
	w.wantStage(t, v2, manifest.StageReady)
}

// Who has signed a certificate that waits is told that decertifying does not stop it.
func TestACertificateThatWaitsIsNotDecertified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Unchanged)(decertify(w.publisher(t, nil), v1, w.certA))
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	err := w.refused(t, func() error { _, err := decertify(w.publisher(t, nil), v1, w.certA); return err })
	wantError[*publisher.Invalid](t, err, "waits in proposal", "kitchen recall")
}

func TestALiftTakesTheCertifiersThreshold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	err := w.refused(t, func() error { _, err := liftRecall(w.publisher(t, w.online), w.certA, w.certB); return err })
	wantError[*publisher.Invalid](t, err, "no recall of it to lift")
	mustCommit(t)(w.recallFor(t, "CVE", w.engineer))
	w.notCertifiable(t, "not recalled", "CVE", recalledRole, "--lift-recall")
	for _, by := range []key{w.engineer, w.validator, w.online} {
		err := w.refused(t, func() error { _, err := liftRecall(w.publisher(t, w.online), by); return err })
		wantError[*publisher.NotAuthorized](t, err, readyRole)
	}
	must(t, publisher.Pending)(liftRecall(w.publisher(t, w.online), w.certA))
	if info := w.info(t, v1); info.Recalled == nil || info.Lifted != nil {
		t.Errorf("one of two lifted it: %+v", info)
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if words := strings.Join(pending[0].Change, "\n"); !strings.Contains(words, "LIFTS recall 2 of "+v1) || !strings.Contains(words, "CVE") {
		t.Errorf("the words do not say what is lifted: %s", words)
	}
	mustCommit(t)(liftRecall(w.publisher(t, w.online), w.certB))
	info := w.info(t, v1)
	if info.Recalled != nil || info.Lifted == nil || info.Lifted.Reason != "CVE" || len(info.Lifted.Certificate) != 64 || info.Stage != manifest.StageReady {
		t.Errorf("%+v", info)
	}
	must(t, publisher.Unchanged)(liftRecall(w.publisher(t, w.online), w.certA))
	must(t, publisher.Unchanged)(certify(w.publisher(t, w.online), v1, w.certA))
	mustCommit(t)(decertify(w.publisher(t, w.online), v1, w.certA, w.certB))
	if w.info(t, v1).Recalled == nil {
		t.Error("the recall does not stand again once its lift is taken back")
	}
}

func TestARecallAfterALiftStandsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	last := int64(0)
	for range 2 {
		mustCommit(t)(w.recallFor(t, "CVE", w.engineer))
		recall := w.info(t, v1).Recalled
		if recall == nil || recall.Since <= last {
			t.Fatalf("recall %+v after %d", recall, last)
		}
		last = recall.Since
		must(t, publisher.Unchanged)(w.recallFor(t, "CVE", w.certB))
		mustCommit(t)(liftRecall(w.publisher(t, w.online), w.certA, w.certB))
		if w.info(t, v1).Recalled != nil {
			t.Fatal("not lifted")
		}
	}
}

// A certifier signed a lift; the recall is made anew for another reason; the second signature lifts nothing.
func TestALiftThatWaitsDoesNotOutliveAnotherRecall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	mustCommit(t)(w.recallFor(t, "CVE-1", w.engineer))
	must(t, publisher.Pending)(liftRecall(w.publisher(t, nil), w.certA))
	must(t, publisher.Unchanged)(w.recallFor(t, "CVE-1", w.engineer))
	mustCommit(t)(w.recallFor(t, "CVE-2", w.engineer))
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, readyRole, "recall 3", "CVE-2")
	if recall := w.info(t, v1).Recalled; recall == nil || recall.Reason != "CVE-2; recalled before: CVE-1" {
		t.Errorf("%+v", recall)
	}
	must(t, publisher.Unchanged)(w.recallFor(t, "CVE-1", w.engineer))
	mustCommit(t)(liftRecall(w.publisher(t, w.online), w.certA, w.certB))
}

// ready-to-deploy.openstack.acme exists: its own certificates, its own decertification, and its own lift, which is
// nobody else's.
func TestOneCustomersCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	acme := catalogtest.NewKey(t)
	role := manifest.RoleReadyFor("openstack", "acme")
	w.certifiers(t, acme)
	mustCommit(t)(w.recallFor(t, "CVE", w.engineer))
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	lift, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Customer: "acme", LiftRecall: true}, signers(acme))
	check(t, err)
	mustCommit(t)(lift.Outcome, nil)
	standing, lifted, err := w.view(t).RecallFor(release(v1), role)
	if standing != nil || lifted == nil || err != nil {
		t.Errorf("acme's lift: %+v, %+v, %v", standing, lifted, err)
	}
	if w.info(t, v1).Recalled == nil {
		t.Error("acme's certificate lifts the recall for everybody")
	}
	mustCommit(t)(w.recallFor(t, "CVE", w.engineer)) // not "so already": it does not stand for acme
	if standing, _, _ := w.view(t).RecallFor(release(v1), role); standing == nil {
		t.Error("the next recall is lifted by acme's certificate of before")
	}
	mustCommit(t)(w.publisher(t, w.online).Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "x", Customer: "acme"}, signers(acme)))
	if target, err := w.view(t).RoleTarget(role, release(v1)); target != nil || err != nil {
		t.Errorf("%+v, %v", target, err)
	}
	err = w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "x", Customer: "umbrella"}, signers(acme))
		return err
	})
	wantError[*publisher.UnknownRole](t, err, "ready-to-deploy.openstack.umbrella")
}

// TestTwoWhoRecallAtTheSameTime: an engineer and a certifier, neither with the online key, recall one release each. Both
// recalls take effect, whichever the committer takes first.
func TestTwoWhoRecallAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	w.publish(t, "openstack@1.1.0")
	recall := func(r string, by key) *publisher.Outcome {
		t.Helper()
		out, err := w.publisher(t, nil).Recall(ctx, release(r), "a hole in "+r, signers(by))
		check(t, err)
		return out
	}
	recall("openstack@1.0.0", w.engineer)
	if out := recall("openstack@1.1.0", w.certA); out.Status != publisher.Pending || !strings.Contains(strings.Join(out.Summary, "\n"), "openstack@1.1.0") {
		t.Errorf("the second: %+v", out)
	}
	result, err := w.publisher(t, w.online).Commit(ctx)
	check(t, err)
	if len(result.Stale)+len(result.Refused) > 0 {
		t.Errorf("left over: %+v", result)
	}
	v := w.view(t)
	for _, r := range []string{"openstack@1.0.0", "openstack@1.1.0"} {
		if recall, err := v.Recall(release(r)); err != nil || recall == nil {
			t.Errorf("%s is not recalled: %v", r, err)
		}
	}
}
