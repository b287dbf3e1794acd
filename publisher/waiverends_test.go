package publisher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A certificate that ends with its waiver is certified again before it does, so that there is no day without one.
func TestACertificateIsProlongedBeforeItsWaiverEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	waived := func(w *world, days int) (*publisher.Outcome, error) {
		until := w.now.AddDate(0, 0, days).Format(time.DateOnly)
		result, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: "x", Until: until}}}, signers(w.certA, w.certB))
		if err != nil {
			return nil, err
		}
		return result.Outcome, nil
	}
	until := func(w *world) string {
		target, err := w.view(t).RoleTarget(readyRole, release(v1))
		check(t, err)
		return target.Custom[catalog.CustomWaivedUntil]
	}
	mustCommit(t)(waived(w, 5))
	first := until(w)
	must(t, publisher.Unchanged)(waived(w, 3)) // not a shorter one
	later := w.copy(t)
	mustCommit(t)(waived(later, 9)) // a longer one at any time
	if until(later) <= first {
		t.Errorf("until %s", until(later))
	}

	// Without any waiver, the site having passed: only when it is due.
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	must(t, publisher.Unchanged)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
	w.now = w.now.AddDate(0, 0, 5)
	due, err := w.publisher(t, nil).WaiverExpiries(ctx, 0, nil)
	check(t, err)
	if len(due) != 1 || !due[0].Due || due[0].Left <= 0 {
		t.Fatalf("%+v", due)
	}
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	if due, err = w.publisher(t, nil).WaiverExpiries(ctx, 0, nil); err != nil || len(due) != 1 || due[0].Waiting == "" {
		t.Fatalf("%+v, %v", due, err)
	}
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certB))
	if got := until(w); got != "" {
		t.Errorf("until %s", got)
	}
}

// What is certified stays so; but whoever certifies it again is told that reports, or the policy, are against it by now.
func TestACertifiedReleaseThatCouldNotBeCertifiedToday(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *world)
		says   string
	}{
		"a failure since": {func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, func(r *manifest.Report) { r.Reason = "does not boot" })
		}, "acme/staging: its latest report is FAILED"},
		"a stricter policy": {func(w *world) { w.setPolicy(t, "[default]\nrequire = [\"acme/staging\"]\n") }, "acme/staging"},
	} {
		w := newWorld(t)
		w.certified(t, v1)
		again := func(w *world) *publisher.CertifyResult {
			result, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{}, signers(w.certA, w.certB))
			check(t, err)
			must(t, publisher.Unchanged)(result.Outcome, nil)
			return result
		}
		if r := again(w); len(r.Today)+len(r.Outcome.Summary) > 0 {
			t.Errorf("%s, before: %+v", name, r)
		}
		c.change(w)
		r := again(w)
		if len(r.Today) != 1 || len(r.Outcome.Summary) != 2 || len(r.Unmet) > 0 {
			t.Errorf("%s: %+v, %+v", name, r.Today, r.Outcome)
		}
		wantWords(t, strings.Join(r.Outcome.Summary, "\n"), "is certified already; IT COULD NOT BE TODAY: ", c.says, "kitchen decertify "+v1+" --reason TEXT --key FILE")
	}
}

// What changed since the last certificate is told from the release's own, where that is the last, and not from the one before.
func TestWhatChangedIsToldFromTheReleasesOwnCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	p := w.publisher(t, w.online)
	mustCommit(t)(p.AddSite(ctx, w.site("acme/lab", w.stranger), signers(w.admin)))
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	mustCommit(t)(p.Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "fails"}, signers(w.certA, w.certB)))
	waived := func(days int) *publisher.CertifyResult {
		w.now = w.now.Add(time.Minute)
		result, err := p.Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: "x", Until: w.now.AddDate(0, 0, days).Format(time.DateOnly)}}}, signers(w.certA, w.certB))
		check(t, err)
		mustCommit(t)(result.Outcome, nil)
		return result
	}
	if since := waived(5).Since; len(since) == 0 || !strings.Contains(strings.Join(since, "\n"), "new site lab") {
		t.Errorf("before the first after it: %q", since)
	}
	if since := waived(9).Since; len(since) > 0 {
		t.Errorf("nothing changed since its own: %q", since)
	}
}
