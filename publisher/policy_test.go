package publisher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// certifiers makes these keys, all of them, who certifies openstack for acme.
func (w *world) certifiers(t *testing.T, ks ...key) {
	t.Helper()
	mustCommit(t)(w.publisher(t, w.online).SetCertifiers(ctx, publisher.CertifiersRequest{
		Customer: "acme", Product: "openstack", Certifiers: publics(ks...), Threshold: len(ks)}, signers(w.root[:2]...)))
}

func policy(t *testing.T, text string) *manifest.Policy {
	t.Helper()
	p, err := manifest.ParsePolicy("policy.toml", []byte(text))
	check(t, err)
	return p
}

func (w *world) setPolicy(t *testing.T, text string) *publisher.Outcome {
	t.Helper()
	return mustCommit(t)(w.publisher(t, w.online).SetPolicy(ctx, policy(t, text), signers(w.admin)))
}

// dry is what a dry run of certify leaves unmet.
func (w *world) dry(t *testing.T, r string, req publisher.CertifyRequest) string {
	t.Helper()
	req.DryRun = true
	result, err := w.publisher(t, nil).Certify(ctx, release(r), req, nil)
	if err == nil {
		return ""
	}
	wantError[*publisher.NotCertifiable](t, err)
	return unmetText(result.Unmet)
}

func unmetText(unmet []catalog.Unmet) string {
	var lines []string
	for _, u := range unmet {
		lines = append(lines, u.Requirement+": "+u.Detail)
	}
	return strings.Join(lines, "\n")
}

func wantWords(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

func TestSetPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for text, says := range map[string]string{
		"[default]\nrequire = [\"acme/none\"]\n":             "acme/none",
		"[default]\nrequire = [\"umbrella/ci\"]\n":           "umbrella",
		"[[rule]]\nproduct = \"swift\"\nsoak = \"1d\"\n":     "swift",
		"[[rule]]\ncustomer = \"umbrella\"\nsoak = \"1d\"\n": "umbrella",
	} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).SetPolicy(ctx, policy(t, text), signers(w.admin))
			return err
		})
		wantWords(t, err.Error(), says)
	}
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).SetPolicy(ctx, policy(t, "[default]\n"), signers(w.certA))
		return err
	})
	wantError[*publisher.NotAuthorized](t, err, "policy")
	out := w.setPolicy(t, "[default]\nmax_age = \"30d\"\n")
	wantWords(t, strings.Join(out.Summary, "\n"), "every certificate: max_age 30d")
	out = w.setPolicy(t, "[default]\nmax_age = \"10d\"\n[[rule]]\ncustomer = \"acme\"\nchain = \"last\"\n")
	wantWords(t, strings.Join(out.Summary, "\n"), "max_age 10d (was max_age 30d)", "certificates for acme: chain last")
	out = w.setPolicy(t, "[default]\n")
	wantWords(t, strings.Join(out.Summary, "\n"), "certificates for acme: nothing of their own any more")
	must(t, publisher.Unchanged)(w.publisher(t, w.online).SetPolicy(ctx, policy(t, ""), signers(w.admin)))
	if p, err := w.view(t).Policy(ctx); err != nil || p.Version != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}

// What the policy can ask for, one thing each.
func TestThePolicyDecides(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	second := catalogtest.NewKey(t)
	mustCommit(t)(start.publisher(t, start.online).AddSite(ctx, start.site("acme/staging-2", second, "acme/staging"), signers(start.admin)))
	start.validated(t, v1)
	for name, c := range map[string]struct {
		policy string
		step   func(w *world)
		says   string // "" = can be certified
	}{
		"a site that was not heard of": {policy: `require = ["vendor-ci", "acme/staging"]`, says: "acme/staging: it has not reported"},
		"a site that passed": {policy: `require = ["vendor-ci", "acme/staging"]`, step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
		}},
		"a site that is retired by now": {policy: `require = ["vendor-ci", "acme/staging"]`, step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
			mustCommit(t)(w.publisher(t, w.online).RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/staging")}, signers(w.admin)))
		}, says: "acme/staging: it is retired"},
		"WARNED": {policy: `require = ["vendor-ci", "acme/staging"]`, step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Warned, nil)
		}, says: "acme/staging: its latest report is WARNED"},
		"WARNED that passes": {policy: "require = [\"vendor-ci\", \"acme/staging\"]\nwarned = \"pass\"", step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Warned, nil)
		}},
		"every site of a chain": {policy: `require = ["acme/staging", "acme/staging-2"]`, step: func(w *world) {
			w.report(t, "acme/staging-2", second, v1, manifest.Passed, nil)
		}, says: "acme/staging: it has not reported"},
		"the last site of a chain": {policy: "require = [\"acme/staging\", \"acme/staging-2\"]\nchain = \"last\"", step: func(w *world) {
			w.report(t, "acme/staging-2", second, v1, manifest.Passed, nil)
		}},
		"the first site of a chain": {policy: "require = [\"acme/staging\", \"acme/staging-2\"]\nchain = \"last\"", step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
		}, says: "acme/staging-2: it has not reported"},
		"an old report":          {policy: `max_age = "1h"`, step: func(w *world) { w.now = w.now.Add(2 * time.Hour) }, says: "enovance/ci: its latest report is of"},
		"a young report":         {policy: `max_age = "3h"`, step: func(w *world) { w.now = w.now.Add(2 * time.Hour) }},
		"soak time to come":      {policy: `soak = "3h"`, step: func(w *world) { w.now = w.now.Add(2 * time.Hour) }, says: "soak time: it ends on"},
		"soak time over":         {policy: `soak = "1h"`, step: func(w *world) { w.now = w.now.Add(2 * time.Hour) }},
		"another product's rule": {policy: "[[rule]]\nproduct = \"ceph\"\nrequire = [\"acme/staging\"]"},
		"a failure all the same": {policy: `require = ["vendor-ci"]`, step: func(w *world) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
		}, says: "acme/staging: its latest report is FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start.copy(t)
			w.setPolicy(t, "[default]\n"+c.policy+"\n")
			if c.step != nil {
				c.step(w)
			}
			have := w.dry(t, v1, publisher.CertifyRequest{})
			if wantWords(t, have, c.says); (have == "") != (c.says == "") || strings.Count(have, "\n") > 0 {
				t.Errorf("unmet: %q", have)
			}
		})
	}
}

// A soak time begins when the journal sees the first PASSED, whatever the site says of its time.
func TestSoakTimeNeedsTheJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setPolicy(t, "[default]\nsoak = \"1h\"\n")
	w.validated(t, v1)
	w.publish(t, v2)
	mustCommit(t)(w.validate(t, v2, w.validator))
	w.report(t, "enovance/ci", w.vendorCI, v2, manifest.Passed, func(r *manifest.Report) {
		r.Started, r.Finished = r.Started.AddDate(0, 0, -9), r.Finished.AddDate(0, 0, -9)
	})
	wantWords(t, w.dry(t, v2, publisher.CertifyRequest{}), "soak time", "it has seen none")
	commit(t, w.publisher(t, w.online))
	wantWords(t, w.dry(t, v2, publisher.CertifyRequest{}), "soak time", "it ends on")
}

func TestWaivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, func(r *manifest.Report) { r.Reason = "does not boot" })
	until := w.now.AddDate(0, 0, 5).Format(time.DateOnly)
	good := manifest.Waiver{Site: "acme/staging", Reason: "broken\nhardware", Until: until}
	request := func(ws ...manifest.Waiver) publisher.CertifyRequest { return publisher.CertifyRequest{Waivers: ws} }
	for says, bad := range map[string][]manifest.Waiver{
		"nothing stands against": {good, {Site: "enovance/ci", Reason: "x"}},
		"given twice":            {good, good},
		"needs a reason":         {{Site: "acme/staging", Reason: " \n"}},
		"acme/none":              {good, {Site: "acme/none", Reason: "x"}},
		"it ended with":          {{Site: "acme/staging", Reason: "x", Until: w.now.AddDate(0, 0, -1).Format(time.DateOnly)}},
	} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).Certify(ctx, release(v1), request(bad...), signers(w.certA, w.certB))
			return err
		})
		wantWords(t, err.Error(), says)
	}
	first, err := w.publisher(t, nil).Certify(ctx, release(v1), request(good), signers(w.certA))
	check(t, err)
	wantWords(t, strings.Join(first.Outcome.Summary, "\n"), "WAIVED: acme/staging", "FAILED: does not boot", "until "+until, "broken hardware")
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 {
		t.Fatalf("%+v", pending)
	}
	wantWords(t, strings.Join(pending[0].Change, "\n"), "WAIVED: acme/staging", "FAILED: does not boot", "broken hardware", "default policy")

	other := good
	other.Reason = "another one"
	apart, err := w.copy(t).publisher(t, w.online).Certify(ctx, release(v1), request(other), signers(w.certB))
	check(t, err)
	must(t, publisher.Pending)(apart.Outcome, nil)

	second, err := w.publisher(t, w.online).Certify(ctx, release(v1), request(good), signers(w.certB))
	check(t, err)
	mustCommit(t)(second.Outcome, nil)
	v := w.view(t)
	e, err := v.Evidence(ctx, readyRole, release(v1))
	check(t, err)
	if len(e.Waivers) != 1 || e.Waivers[0].Reason != "broken hardware" || e.Waivers[0].Until != until || !strings.Contains(e.Waivers[0].Against, "FAILED") {
		t.Errorf("%+v", e.Waivers)
	}
	target, err := v.RoleTarget(readyRole, release(v1))
	check(t, err)
	if !slices.Equal(catalog.Waived(*target), []string{"acme/staging"}) || catalog.WaiverEnded(*target, w.now) != "" || catalog.WaiverEnded(*target, w.now.AddDate(0, 0, 6)) == "" {
		t.Errorf("%+v", target.Custom)
	}
	if _, findings, err := v.Review(ctx, readyRole, release(v1)); err != nil || slices.ContainsFunc(findings, func(f catalog.Finding) bool { return f.Unmet+f.Unknown != "" }) {
		t.Errorf("%+v, %v", findings, err)
	}
	// Once it has ended, the release can be certified anew.
	w.now = w.now.AddDate(0, 0, 6)
	commit(t, w.publisher(t, w.online))
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{}), "acme/staging: its latest report is FAILED")
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
}

// A gap is waived by the name of its site, like a failure.
func TestAGapIsWaivedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, func(r *manifest.Report) { r.Sequence, r.Previous = 2, strings.Repeat("a", 64) })
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{}), "acme/staging: its reports have a gap")
	result, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: "report 1 was never sent"}}}, signers(w.certA, w.certB))
	check(t, err)
	wantWords(t, strings.Join(result.Outcome.Summary, "\n"), "gap", "without an end")
}

func TestWhatChangedSinceTheLastCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	since := func() string {
		var lines []string
		w2 := w.copy(t)
		_, err := w2.publisher(t, w2.online).Certify(ctx, release(v2), publisher.CertifyRequest{Show: func(l []string) { lines = l }}, signers(w.certA, w.certB))
		check(t, err)
		return strings.Join(lines, "\n")
	}
	if words := since(); words != "" {
		t.Errorf("nothing changed, and it says %q", words)
	}
	mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, w.site("acme/staging-2", catalogtest.NewKey(t)), signers(w.admin)))
	mustCommit(t)(w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: catalogtest.NewKey(t).Public()}, signers(w.admin)))
	w.setPolicy(t, "[default]\nmax_age = \"30d\"\n")
	wantWords(t, since(), "since openstack@1.0.0 was certified: ", "acme: new site staging-2", "acme: site staging: ci, key", "every certificate: max_age 30d")
	refused := w.copy(t)
	refused.setPolicy(t, "[default]\nrequire = [\"acme/staging-2\"]\n")
	result, err := refused.publisher(t, nil).Certify(ctx, release(v2), publisher.CertifyRequest{DryRun: true}, nil)
	wantError[*publisher.NotCertifiable](t, err)
	wantWords(t, strings.Join(result.Since, "\n"), "acme: new site staging-2")
	pendingWorld := w.copy(t)
	must(t, publisher.Pending)(certify(pendingWorld.publisher(t, nil), v2, w.certA))
	pending, err := pendingWorld.publisher(t, nil).Pending(ctx)
	check(t, err)
	wantWords(t, strings.Join(pending[0].Change, "\n"), "acme: new site staging-2", "max_age 30d")
	decertified := w.copy(t)
	mustCommit(t)(decertified.publisher(t, w.online).Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "x"}, signers(w.certA, w.certB)))
	for _, r := range []string{v1, v2} {
		result, err := decertified.publisher(t, nil).Certify(ctx, release(r), publisher.CertifyRequest{DryRun: true}, nil)
		check(t, err)
		wantWords(t, strings.Join(result.Since, "\n"), "since openstack@1.0.0 was certified: ", "acme: new site staging-2", "max_age 30d")
	}
	e, err := w.view(t).Evidence(ctx, readyRole, release(v1))
	check(t, err)
	w.overwrite(t, manifest.RoleObject("registry", e.RegistryVersion), []byte("pruned"))
	wantWords(t, since(), "the registry changed; in what cannot be told")
}

func TestCertifiersOfOneCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := catalogtest.NewKey(t)
	role := manifest.RoleReadyFor("openstack", "acme")
	req := publisher.CertifiersRequest{Customer: "acme", Product: "openstack", Certifiers: publics(own)}
	w.validated(t, v1)
	_, err := w.publisher(t, nil).Certify(ctx, release(v1), publisher.CertifyRequest{Customer: "acme"}, signers(own))
	wantError[*publisher.NoCertifiers](t, err, role)
	for says, bad := range map[string]publisher.CertifiersRequest{
		"umbrella":           {Customer: "umbrella", Product: "openstack", Certifiers: publics(own)},
		"swift":              {Customer: "acme", Product: "swift", Certifiers: publics(own)},
		"threshold 2":        {Customer: "acme", Product: "openstack", Certifiers: publics(own), Threshold: 2},
		"a site needs a key": {Customer: "acme", Product: "openstack", Certifiers: publics(w.stagingCI)},
		"is none":            {Product: "openstack", Certifiers: publics(own)},
	} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).SetCertifiers(ctx, bad, signers(w.root[:2]...))
			return err
		})
		wantWords(t, err.Error(), says)
	}
	must(t, publisher.Pending)(w.publisher(t, w.online).SetCertifiers(ctx, req, signers(w.root[0])))
	mustCommit(t)(w.publisher(t, w.online).SetCertifiers(ctx, req, signers(w.root[1])))
	must(t, publisher.Unchanged)(w.publisher(t, w.online).SetCertifiers(ctx, req, signers(w.root[1])))
	req.Certifiers = publics(w.certA)
	_, err = w.publisher(t, w.online).SetCertifiers(ctx, req, signers(w.root[:2]...))
	wantError[*publisher.Exists](t, err, "kitchen role rotate")

	// Every CI site of acme has to have passed.
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{Customer: "acme"}), "acme/staging: it has not reported")
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	result, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Customer: "acme"}, signers(own))
	check(t, err)
	mustCommit(t)(result.Outcome, nil)
	if info := w.info(t, v1); info.Stage != manifest.StageValidated || !slices.Equal(info.CertifiedFor, []string{"acme"}) {
		t.Errorf("%+v", info)
	}
	e, err := w.view(t).Evidence(ctx, role, release(v1))
	if check(t, err); e.Customer != "acme" {
		t.Errorf("%+v", e)
	}
	w.wantStageCopy(t, manifest.StageReadyFor("acme"))
	again, err := w.publisher(t, w.online).Certify(ctx, release(v1), publisher.CertifyRequest{Customer: "acme"}, signers(own))
	check(t, err)
	must(t, publisher.Unchanged)(again.Outcome, nil)
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB)) // for everybody, as before
	mustCommit(t)(w.publisher(t, w.online).Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "x", Customer: "acme"}, signers(own)))
	if info := w.info(t, v1); info.Stage != manifest.StageReady || len(info.CertifiedFor) > 0 {
		t.Errorf("%+v", info)
	}
	mustCommit(t)(w.publisher(t, w.online).SuspendCustomer(ctx, "acme", true, signers(w.admin)))
	wantWords(t, w.dry(t, v1, publisher.CertifyRequest{Customer: "acme"}), "customer acme: it is suspended")
}
