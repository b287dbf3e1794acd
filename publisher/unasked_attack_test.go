package publisher_test

import (
	"testing"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// The thief of an engineer's key signs the list of recalls again, which is his to sign, and puts a certificate beside it that no certifier has
// signed: certifiers who sign the list of recalls unasked do not certify by that.
func TestACertificateBesideAListOfRecallsSignedUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Failed, nil)
	made, err := w.publisher(t, nil).Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "enovance/ci", Reason: "never mind"}}}, signers(w.certA))
	check(t, err)
	out := made.Outcome
	payload, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(out.Proposal, manifest.PayloadName(readyRole))))
	check(t, err)
	for key := range w.pendingFiles(t, out.Proposal) { // nobody has proposed it: what is used of it is its evidence alone
		check(t, w.store.Delete(ctx, key))
	}
	evil := w.craft(t, crafted{recalledRole, nil, signers(w.engineer)}, crafted{readyRole, func(r *trust.Targets) { r.Targets = payload.Targets }, nil})
	for _, by := range []key{w.certA, w.certB} {
		out, err := w.publisher(t, nil).Sign(ctx, recalledRole, nil, signers(by))
		if err != nil {
			t.Logf("refused: %v", err)
			continue
		}
		t.Logf("%s %s: %q, %q", out.Status, out.Proposal, out.Summary, out.Notes)
	}
	if p, err := w.publisher(t, nil).PendingOne(ctx, evil); err != nil || p.Complete() {
		t.Errorf("%+v %v", p, err)
	}
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, "validated")
}
