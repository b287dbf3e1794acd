package publisher_test

import (
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// One of three certifiers puts another's certificate into a larger proposal that waits for somebody else, too: who signs the role
// unasked completes the certificate.
func TestACertificateInAProposalThatWaitsForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	third := catalogtest.NewKey(t)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: readyRole, New: publics(third)}, nil, signers(w.root[:2]...)))
	w.validated(t, v1)
	honest := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certB)).Proposal
	payload, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(honest, manifest.PayloadName(readyRole))))
	check(t, err)
	w.now = w.now.Add(time.Minute)
	w.craft(t, crafted{readyRole, func(r *trust.Targets) { r.Targets = payload.Targets }, signers(w.certA)}, crafted{"registry", nil, nil})
	if p := w.pendingOne(t, honest); p.Within != "" {
		t.Errorf("it is said to be within %s", p.Within)
	}
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, nil, signers(third)))
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, "ready-to-deploy")
}
