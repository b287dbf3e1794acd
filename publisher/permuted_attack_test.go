package publisher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// permuted leaves a proposal of the very payloads and signatures of another, with its roles in another order.
func (w *world) permuted(t *testing.T, id string, order ...int) string {
	t.Helper()
	doc, files := w.taken(t, id)
	roles, all := []map[string]any{}, ""
	for _, i := range order {
		r := doc.Roles[i]
		roles, all = append(roles, r), all+fmt.Sprintf("%s %v %s\n", r["role"], r["version"], r["sha256"])
	}
	made := manifest.ProposalID(roles[0]["role"].(string), int64(roles[0]["version"].(float64)), "") + catalogtest.Digest([]byte(all))[:16]
	if made == id {
		return id
	}
	doc.Roles = roles
	w.pasted(t, id, made, files, doc)
	return made
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, rest := range permutations(n - 1) {
		for at := 0; at <= len(rest); at++ {
			p := append(append(append([]int{}, rest[:at]...), n-1), rest[at:]...)
			all = append(all, p)
		}
	}
	return all
}

// A stranger puts the payloads and signatures of a waiting change of two roles there again, in the other order: it is the same
// change, and there is one proposal of it.
func TestAProposalCopiedWithItsRolesInAnotherOrder(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	out := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: recalledRole, Threshold: 2}, nil, signers(w.root[0], w.engineer)))
	if len(out.Roles) != 2 {
		t.Fatalf("%+v", out.Roles)
	}
	twin := w.permuted(t, out.Proposal, 1, 0)
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	for _, p := range pending {
		t.Logf("%s within %q", p.ID, p.Within)
	}
	if len(pending) != 1 || pending[0].ID != out.Proposal {
		t.Errorf("%d are shown", len(pending))
	}
	// One signer goes by the role, another by the id that he was told: the signatures do not meet.
	signed := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[1])))
	t.Logf("sign targets signs %s (twin %v)", signed.Proposal, signed.Proposal == twin)
	_, err = w.publisher(t, nil).Sign(ctx, out.Proposal, nil, signers(w.certA))
	check(t, err)
	result := commit(t, w.publisher(t, w.online))
	t.Logf("committed %d, waiting %d", len(result.Committed), len(result.Incomplete))
	for _, p := range result.Incomplete {
		t.Logf("%s waits for %s", p.ID, p.WaitsFor())
	}
	if len(result.Committed) != 1 {
		t.Error("all have signed, and it is not in effect")
	}
}

// A stranger without any key hides what a root holder signs, behind copies of one of that holder's own changes.
func TestCopiesInAnyOrderHideTheirSigner(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	w.publish(t, "ceph@1.0.0")
	var base string
	laptop := w.publisher(t, nil)
	for _, role := range []string{productRole, recalledRole, readyRole, "validated.openstack", "registry", "product.ceph"} {
		w.now = w.now.Add(time.Second)
		base = must(t, publisher.Pending)(laptop.ChangeRole(ctx, publisher.RoleRequest{Role: role, New: publics(catalogtest.NewKey(t)), Threshold: 2}, nil, signers(w.root[0]))).Proposal
	}
	n := len(w.pendingOne(t, base).Roles)
	t.Logf("%s has %d roles", base, n)
	w.now = w.now.Add(time.Minute)
	urgent := must(t, publisher.Pending)(laptop.ChangeRole(ctx, rotate("targets", w.root[2], catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	stolen := must(t, publisher.Pending)(laptop.ChangeRole(ctx, rotate(productRole, w.engineer, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	copies := 0
	for _, order := range permutations(n) {
		if order[0] == 0 && copies < 60 && w.permuted(t, base, order...) != base {
			copies++
		}
	}
	told := &listener{counted: map[string]int{}}
	laptop.Progress = told
	pending, err := laptop.Pending(ctx)
	check(t, err)
	shown := map[string]bool{}
	for _, p := range pending {
		shown[p.ID] = true
	}
	t.Logf("%d copies, %d shown; %v", copies, len(pending), told.counted)
	if !shown[stolen] || !shown[base] {
		t.Errorf("shown: exchange of the stolen key %s %v, its base %v, urgent %v", stolen, shown[stolen], shown[base], shown[urgent])
	}
	if out, err := w.publisher(t, nil).Sign(ctx, stolen, nil, signers(w.root[1])); err != nil {
		t.Errorf("sign %s: %v", stolen, err)
	} else {
		t.Logf("%+v", out)
	}
}
