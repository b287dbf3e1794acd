package publisher_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// copied leaves a proposal that is put together of the payloads and signatures of another: some of its roles, and more.
func (w *world) copied(t *testing.T, id string, keep func(role string) bool, more ...string) string {
	t.Helper()
	doc, files := w.taken(t, id)
	roles, all, first := []map[string]any{}, "", ""
	list := func(role string, version any, sha string) {
		roles = append(roles, map[string]any{"role": role, "version": version, "sha256": sha})
		all += fmt.Sprintf("%s %v %s\n", role, version, sha)
		if first == "" {
			first = manifest.ProposalID(role, int64(version.(float64)), "")
		}
	}
	for _, r := range doc.Roles {
		if role := r["role"].(string); keep(role) {
			list(role, r["version"], r["sha256"].(string))
		}
	}
	payloads := map[string][]byte{}
	for _, role := range more {
		other := w.craft(t, crafted{role, nil, nil})
		payloads[role] = w.object(t, manifest.ProposalObject(other, manifest.PayloadName(role)))
		_, version, _, err := manifest.ParseProposalID(other)
		check(t, err)
		list(role, float64(version), catalogtest.Digest(payloads[role]))
	}
	made := first + catalogtest.Digest([]byte(all))[:16]
	for role, payload := range payloads {
		w.put(t, manifest.ProposalObject(made, manifest.PayloadName(role)), payload)
	}
	doc.Roles = roles
	w.pasted(t, id, made, files, doc)
	return made
}

// stated is what a proposal says of itself.
type stated struct {
	Schema  string           `json:"schema"`
	Kind    string           `json:"kind"`
	Summary []string         `json:"summary"`
	Roles   []map[string]any `json:"roles"`
}

// taken are the objects of a proposal, as anybody may copy them who reads the store.
func (w *world) taken(t *testing.T, id string) (doc stated, files map[string][]byte) {
	t.Helper()
	files = w.pendingFiles(t, id)
	check(t, json.Unmarshal(files[manifest.ProposalObject(id, manifest.ProposalName)], &doc))
	return doc, files
}

// pasted leaves the payloads and signatures of a proposal under another id, which says something else of itself.
func (w *world) pasted(t *testing.T, id, made string, files map[string][]byte, doc stated) {
	t.Helper()
	for key, data := range files {
		if !strings.HasSuffix(key, "/"+manifest.ProposalName) {
			w.put(t, strings.Replace(key, id, made, 1), data)
		}
	}
	data, err := json.Marshal(doc)
	check(t, err)
	w.put(t, manifest.ProposalObject(made, manifest.ProposalName), data)
}

func everyRole(string) bool { return true }

// Whoever may write below pending/ puts the payloads and the signatures of a waiting change into a larger proposal: nobody is
// offered that, and nothing is joined to it or built on it.
func TestSignaturesCopiedIntoALargerProposal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	certificate := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certA)).Proposal
	exchange := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	recall := must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "hole", signers(w.certA))).Proposal
	copies := map[string]bool{}
	w.now = w.now.Add(time.Minute)
	for _, id := range []string{certificate, exchange, recall} {
		copies[w.copied(t, id, everyRole, "registry")] = true
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 3 {
		t.Errorf("%d are shown", len(pending))
	}
	for _, p := range pending {
		if copies[p.ID] || p.Within != "" || p.SupersededBy != "" || len(p.Rivals) > 0 {
			t.Errorf("%+v", p)
		}
	}
	if out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certB)); out.Proposal != certificate {
		t.Errorf("the second certifier's joins %s", out.Proposal)
	}
	more := w.openstack()
	more.Name = "nova"
	if out := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, more, signers(w.root[0]))); strings.Contains(out.WaitsFor, "registry") {
		t.Errorf("it is built on a copy: %s", out.WaitsFor)
	}
	commit(t, w.publisher(t, w.online))
	if w.stage(t, v2) != "ready-to-deploy" || w.info(t, v1).Recalled == nil {
		t.Errorf("%s is %s, and the recall is %v", v2, w.stage(t, v2), w.info(t, v1).Recalled)
	}
}

// A role is taken out of a proposal of two, with its signature: by itself it is nobody's change.
func TestARoleTakenOutOfAProposal(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	out := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: recalledRole, Threshold: 2}, nil, signers(w.root[0], w.engineer)))
	if len(out.Roles) != 2 {
		t.Fatalf("%+v", out.Roles)
	}
	w.copied(t, out.Proposal, func(role string) bool { return role == recalledRole })
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].ID != out.Proposal {
		t.Errorf("%+v", pending)
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
		t.Errorf("%+v", result.Committed)
	}
}

// A stranger names himself for a role, in a proposal that he signs: whoever signs a role unasked does not sign that.
func TestAStrangersProposalSignedUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := catalogtest.NewKey(t)
	name := func(r *trust.Targets) {
		for i, d := range r.Delegations {
			if d.Name == "registry" {
				key, err := trust.NewKey(mallory.Public())
				check(t, err)
				r.Delegations[i].Keys = append(r.Delegations[i].Keys, key)
			}
		}
	}
	theirs := w.craft(t, crafted{"targets", name, nil}, crafted{"registry", nil, signers(mallory)})
	for _, role := range []string{"targets", "registry"} {
		by := map[string]key{"targets": w.root[1], "registry": w.admin}[role]
		_, err := w.publisher(t, nil).Sign(ctx, role, nil, signers(by))
		wantError[*publisher.Refused](t, err, "nobody who holds "+role, "kitchen sign "+theirs)
	}
	more := w.openstack()
	more.Name = "nova"
	ours := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, more, signers(w.root[0])))
	out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[1])))
	if out.Proposal != ours.Proposal || !strings.Contains(strings.Join(out.Notes, "\n"), theirs+" was not signed") {
		t.Errorf("%+v", out)
	}
	list, err := w.publisher(t, nil).Renew(ctx, publisher.RenewRequest{Within: 400 * catalogtest.Day}, nil)
	check(t, err)
	for _, r := range list {
		if r.Role == "registry" && r.Waiting != "" {
			t.Errorf("a stranger renews the registry: %+v", r)
		}
	}
	_, err = w.publisher(t, nil).Again(ctx, theirs, nil, signers(w.root[1]))
	wantError[*publisher.NotAgain](t, err, "none of those who hold its roles")
}

// One certifier leaves the certificate that is to be made, in a proposal that lapses in a moment: the others' signatures are not
// led there.
func TestAChangeLedIntoAProposalThatLapses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	payload, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(out.Proposal, manifest.PayloadName(readyRole))))
	check(t, err)
	for key := range w.pendingFiles(t, out.Proposal) {
		check(t, w.store.Delete(ctx, key))
	}
	short := w.craft(t, crafted{readyRole, func(r *trust.Targets) {
		r.Targets, r.ProposalExpires = payload.Targets, w.now.Add(time.Minute)
	}, signers(w.certA)})
	if out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certB)); out.Proposal == short {
		t.Error("it joins what lapses in a minute")
	}
}
