package publisher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestACertifierInventsEvidence: one certifier's evidence states a report that nobody made, and hides one that failed. The
// other is not asked to sign it, and with both signatures no committer takes it.
func TestACertifierInventsEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.validate(t, v1, w.validator)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	commit(t, w.publisher(t, w.online))
	e := &manifest.Evidence{Schema: manifest.EvidenceSchema, Release: release(v1), ManifestSHA256: w.info(t, v1).SHA256, RegistryVersion: 1, RecalledVersion: 1, Created: w.now,
		Reports: []manifest.EvidenceReport{{Site: "enovance/ci", Verdict: manifest.Passed, SHA256: strings.Repeat("ab", 32), Sequence: 1}}}
	data, err := e.Encode()
	check(t, err)
	sha := catalogtest.Digest(data)
	w.put(t, manifest.EvidenceObject(sha), data)
	edit := w.stageCopy(t, manifest.StageReady, v1)
	invent := func(by ...key) {
		w.craft(t, crafted{readyRole, func(n *trust.Targets) {
			edit(n)
			changes(manifest.TargetPath(manifest.StageReady, release(v1)), func(t *trust.Target) { t.Custom["evidence"] = sha })(n)
		}, signers(by...)})
	}
	invent(w.certA)
	_, err = w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
	wantError[*publisher.Refused](t, err, "there is no such report")
	invent(w.certA, w.certB)
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
		t.Errorf("%+v", result)
	}
	w.wantStage(t, v1, manifest.StageValidated)
}

// TestAFailureBetweenTwoSignatures: the second certifier, and the committer, hold a certificate to what was reported since the
// first one signed.
func TestAFailureBetweenTwoSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	w.now = w.now.Add(time.Hour)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
	wantError[*publisher.Refused](t, err, "acme/staging", manifest.Failed)
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, manifest.StageValidated)
}

// TestAFailureOfAWaivedSite: a waiver covers what it was given against. What the site says afterwards, or said in truth, is
// not waived.
func TestAFailureOfAWaivedSite(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.setPolicy(t, "[default]\nrequire = [\"vendor-ci\", \"acme/staging\"]\n")
	start.validated(t, v1)

	w := start.copy(t)
	req := publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: "nobody is there over the holidays"}}}
	_, err := w.publisher(t, nil).Certify(ctx, release(v1), req, signers(w.certA))
	check(t, err)
	silent := w.copy(t) // as long as nothing else is reported, it holds
	must(t, publisher.Committed)(silent.publisher(t, silent.online).Sign(ctx, readyRole, nil, signers(w.certB)))
	w.now = w.now.Add(time.Hour)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	_, err = w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
	wantError[*publisher.Refused](t, err, "acme/staging", manifest.Failed, "what was waived is: it has not reported")
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, manifest.StageValidated)

	w = start.copy(t)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	passed := w.reports["acme/staging "+v1].digest
	w.now = w.now.Add(time.Hour)
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, nil)
	view := w.view(t)
	policy, err := view.Policy(ctx)
	check(t, err)
	result := w.certificateOf(t, func(e *manifest.Evidence) {
		e.PolicyVersion, e.PolicySHA256 = policy.Version, policy.SHA256
		e.Reports = append([]manifest.EvidenceReport{{Site: "acme/staging", Verdict: manifest.Passed, SHA256: passed, Sequence: 1}}, e.Reports...)
		e.Waivers = []manifest.Waiver{{Site: "acme/staging", Against: "its report is a day older than the policy wants", Reason: "holidays"}}
	}, map[string]string{"waived": "acme/staging"})
	if len(result.Committed) > 0 || len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, manifest.Failed) {
		t.Errorf("%+v", result)
	}
}

// TestAShortLifeHiddenInAChange: a role that would expire within the hour is refused, whatever else it says and whoever
// renews, and so is what no words tell of.
func TestAShortLifeHiddenInAChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.craft(t, crafted{"targets", func(n *trust.Targets) { n.Expires = w.now.Add(time.Hour) }, signers(w.root...)})
	w.craft(t, crafted{"registry", func(n *trust.Targets) { n.Expires = w.now.Add(time.Hour) }, signers(w.admin)})
	w.craftRoot(t, func(r *trust.Root) { r.Expires = w.now.Add(time.Hour) }, w.root...)
	result := w.nothing(t)
	if len(result.Refused) != 3 || !strings.Contains(result.Refused[0].Refused, "earlier than") {
		t.Errorf("%+v", result.Refused)
	}
	for _, role := range []string{"targets", "root"} { // nobody adopts it who only renews
		w.renew(t, w.publisher(t, nil), 400*catalogtest.Day, w.root[0])
		_, err := w.publisher(t, w.online).Sign(ctx, role, nil, signers(w.root[1]))
		check(t, err)
	}
	if v := w.view(t); v.Root().Expires.Before(w.now.Add(300 * catalogtest.Day)) {
		t.Errorf("root expires %s", v.Root().Expires)
	}
}

func TestAFieldThatNoWordsTellOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.view(t)
	role, err := v.Role(trust.RoleTargets)
	check(t, err)
	next := role.Clone()
	next.Version, next.Replaces = next.Version+1, catalogtest.Digest(v.RawRole(trust.RoleTargets))
	next.Expires, next.ProposalExpires = w.now.Add(365*catalogtest.Day), w.now.Add(13*catalogtest.Day)
	payload, err := next.Payload()
	check(t, err)
	for _, hidden := range []string{
		strings.TrimSuffix(string(payload), "}") + `,"x-grant":{"k":"everything"}}`,
		strings.Replace(string(payload), `"threshold":1}`, `"threshold":1,"x-also":"mallory"}`, 1),
	} {
		w.raw(t, trust.RoleTargets, next.Version, []byte(hidden), signers(w.root...)...)
	}
	if result := w.nothing(t); len(result.Refused) != 2 || !strings.Contains(result.Refused[0].Refused, "does not know") {
		t.Errorf("%+v", result.Refused)
	}
}

// TestStrangersNameThemselves: of proposals by which somebody without a key gives himself a role a few are among those that wait,
// however many there are; a recall beside them takes effect.
func TestStrangersNameThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	v := w.view(t)
	role, err := v.Role(trust.RoleTargets)
	check(t, err)
	for i := range 510 {
		targets := role.Clone()
		targets.Version, targets.Replaces = targets.Version+1, catalogtest.Digest(v.RawRole(trust.RoleTargets))
		targets.Expires, targets.ProposalExpires = w.now.Add(365*catalogtest.Day-time.Duration(i)*time.Second), w.now.Add(13*catalogtest.Day)
		for k, d := range targets.Delegations {
			if d.Name == manifest.RolePolicy {
				targets.Delegations[k].Keys, targets.Delegations[k].Threshold = []trust.Key{w.stranger.TUF}, 1
			}
		}
		policy := &trust.Targets{Version: 1, Role: manifest.RolePolicy, Targets: map[string]trust.Target{}, Expires: targets.Expires, ProposalExpires: targets.ProposalExpires}
		policy.ProposalRoles, targets.ProposalRoles = "policy targets", "policy targets"
		first, err := policy.Payload()
		check(t, err)
		second, err := targets.Payload()
		check(t, err)
		one, two := catalogtest.Digest(first), catalogtest.Digest(second)
		id := manifest.ProposalID(trust.RoleTargets, targets.Version, catalogtest.Digest(fmt.Appendf(nil, "targets %d %s\npolicy 1 %s\n", targets.Version, two, one)))
		w.put(t, manifest.ProposalObject(id, manifest.PayloadName(manifest.RolePolicy)), first)
		w.put(t, manifest.ProposalObject(id, manifest.PayloadName(trust.RoleTargets)), second)
		sig, err := trust.Sign(ctx, first, w.stranger)
		check(t, err)
		w.signature(t, id, manifest.RolePolicy, sig.KeyID, sig)
		w.signature(t, id, trust.RoleTargets, sig.KeyID, sig)
		w.put(t, manifest.ProposalObject(id, manifest.ProposalName), fmt.Appendf(nil,
			`{"schema":"kitchen.proposal/v1","kind":"test","summary":[],"roles":[{"role":"targets","version":%d,"sha256":%q},{"role":"policy","version":1,"sha256":%q}]}`, targets.Version, two, one))
	}
	must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "a hole", signers(w.certA)))
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || len(result.Incomplete)+len(result.Refused) != 20 {
		t.Errorf("%d committed, %d incomplete, %d refused", len(result.Committed), len(result.Incomplete), len(result.Refused))
	}
}
