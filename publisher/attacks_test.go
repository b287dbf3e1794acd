package publisher_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

const productRole, readyRole, recalledRole = "product.openstack", "ready-to-deploy.openstack", "recalled.openstack"

// waits leaves the publication of openstack@1.0.0 as a proposal.
func (w *world) waits(t *testing.T) string {
	t.Helper()
	return must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer))).Proposal
}

// pendingFiles are the objects of a proposal.
func (w *world) pendingFiles(t *testing.T, id string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, key := range w.objects(t) {
		if strings.HasPrefix(key, manifest.PendingPrefix+id+"/") {
			all[key] = w.object(t, key)
		}
	}
	return all
}

// overwrite plays somebody who can write the bucket's disk.
func (w *world) overwrite(t *testing.T, key string, data []byte) {
	t.Helper()
	write(t, filepath.Join(w.dir, filepath.FromSlash(key)), string(data))
}

// onlyGood commits, and wants the good proposal to be all that takes effect.
func (w *world) onlyGood(t *testing.T, id string) {
	t.Helper()
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Fatalf("committed %+v, want %s alone", result.Committed, id)
	}
	check(t, w.published(t, "openstack@1.0.0", 1))
}

func TestReplayOfAProposalThatIsInEffect(t *testing.T) {
	w := newWorld(t)
	id := w.waits(t)
	files := w.pendingFiles(t, id)
	commit(t, w.publisher(t, w.online))
	w.publish(t, "openstack@2.0.0")
	for key, data := range files {
		w.overwrite(t, key, data) // with a new date
	}
	before := w.state(t)
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed)+len(result.Stale)+len(result.Refused) != 0 {
		t.Errorf("%+v", result)
	}
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Sign(ctx, productRole, nil, signers(w.colleague)))
	if !maps.Equal(before, w.state(t)) {
		t.Error("the catalog changed")
	}
}

func TestReplayOfAProposalThatAnotherSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Two certificates on the same state, with different evidence: only one of them can take effect.
	w.validated(t, "openstack@1.0.0")
	first := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA)).Proposal
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	second := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certB)).Proposal
	if first == second {
		t.Fatal("other evidence, same proposal")
	}
	asked := func(p publisher.PendingProposal) (bool, error) { return p.ID == second, nil }
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, asked, signers(w.certA)))
	before := w.state(t)
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB)))
	for role, payload := range map[string][]byte{readyRole: w.object(t, manifest.ProposalObject(first, manifest.PayloadName(readyRole)))} {
		sig, err := trust.Sign(ctx, payload, w.certB) // signed after all
		check(t, err)
		w.signature(t, first, role, sig.KeyID, sig)
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
		t.Errorf("a superseded proposal took effect: %+v", result.Committed)
	}
	if !maps.Equal(before, w.state(t)) {
		t.Error("the catalog changed")
	}
}

func TestTamperedProposals(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(t *testing.T, w *world, id string){
		"payload changed": func(t *testing.T, w *world, id string) {
			key := manifest.ProposalObject(id, manifest.PayloadName(productRole))
			w.overwrite(t, key, []byte(strings.Replace(string(w.object(t, key)), "1.0.0", "6.6.6", 1)))
		},
		"payload and proposal.json changed": func(t *testing.T, w *world, id string) {
			key, doc := manifest.ProposalObject(id, manifest.PayloadName(productRole)), manifest.ProposalObject(id, manifest.ProposalName)
			old := w.object(t, key)
			changed := []byte(strings.Replace(string(old), "1.0.0", "6.6.6", 1))
			w.overwrite(t, key, changed)
			w.overwrite(t, doc, []byte(strings.Replace(string(w.object(t, doc)), catalogtest.Digest(old), catalogtest.Digest(changed), 1)))
		},
		"payload of another proposal": func(t *testing.T, w *world, id string) {
			other := w.craft(t, crafted{role: productRole, edit: lists("catalog/openstack/6.6.6/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64)})})
			w.overwrite(t, manifest.ProposalObject(id, manifest.PayloadName(productRole)), w.object(t, manifest.ProposalObject(other, manifest.PayloadName(productRole))))
		},
		"a role taken out": func(t *testing.T, w *world, id string) {
			doc := manifest.ProposalObject(id, manifest.ProposalName)
			var d map[string]any
			check(t, json.Unmarshal(w.object(t, doc), &d))
			d["roles"] = d["roles"].([]any)[:1]
			data, err := json.Marshal(d)
			check(t, err)
			w.overwrite(t, doc, data)
		},
		"payload withheld": func(t *testing.T, w *world, id string) {
			check(t, os.Remove(filepath.Join(w.dir, manifest.ProposalObject(id, manifest.PayloadName(recalledRole)))))
		},
		"signatures withheld": func(t *testing.T, w *world, id string) {
			check(t, os.RemoveAll(filepath.Join(w.dir, "pending", id, "sig")))
		},
		"payload emptied": func(t *testing.T, w *world, id string) {
			w.overwrite(t, manifest.ProposalObject(id, manifest.PayloadName(productRole)), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tamper(t, w, w.waits(t))
			before := w.state(t)
			if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
				t.Errorf("took effect: %+v", result.Committed)
			}
			if !maps.Equal(before, w.state(t)) {
				t.Error("the catalog changed")
			}
			mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", nil), signers(w.engineer)))
			check(t, w.published(t, "openstack@1.0.0", 1))
		})
	}
}

func TestGarbageInPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	for key, data := range map[string]string{
		"pending/readme.txt":                                                                                         "hello",
		"pending/not-a-proposal/proposal.json":                                                                       "{}",
		"pending/product.openstack.1/proposal.json":                                                                  "{}",
		"pending/product.openstack.1.00000000000000aa/proposal.json":                                                 "not json",
		"pending/product.openstack.1.00000000000000ab/proposal.json":                                                 `{"schema":"kitchen.proposal/v1","roles":[]}`,
		"pending/product.openstack.1.00000000000000ac/proposal.json":                                                 `{"schema":"kitchen.proposal/v2","roles":[{"role":"product.openstack","version":1,"sha256":"x"}]}`,
		"pending/product.openstack.1.00000000000000ad/proposal.json":                                                 strings.Repeat("[", 1<<20),
		"pending/root.2.00000000000000ae/proposal.json":                                                              `{"schema":"kitchen.proposal/v1","roles":[{"role":"root","version":2,"sha256":"x"}]}`,
		"pending/product.openstack.99999999999999999999.00000000000000ae":                                            "x",
		"pending/" + id + "/notes.json":                                                                              "{}",
		"pending/" + id + "/sig/" + productRole + "/junk":                                                            "x",
		"pending/" + id + "/sig/" + productRole + "/junk.json":                                                       "x",
		"pending/" + id + "/sig/deeper/down/there.json":                                                              "x",
		"pending/" + id + "/sig/" + productRole + "/" + w.engineer.TUF.ID + "-" + strings.Repeat("0", 64) + ".json":  "{",
		"pending/" + id + "/sig/" + productRole + "/" + w.colleague.TUF.ID + "-" + strings.Repeat("0", 64) + ".json": strings.Repeat("x", 1<<20),
	} {
		w.put(t, key, []byte(data))
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].ID != id {
		t.Errorf("garbage is shown: %+v", pending)
	}
	w.onlyGood(t, id)
}

func TestSignaturesThatDoNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	id := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA)).Proposal
	payload := w.object(t, manifest.ProposalObject(id, manifest.PayloadName(readyRole)))
	sign := func(data []byte, k keys.Signer) trust.Signature {
		sig, err := trust.Sign(ctx, data, k)
		check(t, err)
		return sig
	}
	other := &trust.Targets{Role: readyRole, Version: 9, Expires: w.now.Add(time.Hour)}
	otherPayload, err := other.Payload()
	check(t, err)
	b := w.certB.TUF.ID
	wrong := map[string]trust.Signature{
		"of another role's key, under its own name": sign(payload, w.engineer),
		"of another role's key, under B's name":     {KeyID: b, Sig: sign(payload, w.engineer).Sig},
		"by A, under B's name":                      {KeyID: b, Sig: sign(payload, w.certA).Sig},
		"by B, over another payload":                sign(otherPayload, w.certB),
		"by B, damaged":                             {KeyID: b, Sig: append(sign(payload, w.certB).Sig, 0)},
		"by A, again":                               sign(payload, w.certA),
		"empty":                                     {KeyID: b, Sig: nil},
	}
	for _, sig := range wrong {
		w.signature(t, id, readyRole, sig.KeyID, sig)
		w.signature(t, id, readyRole, b, sig)
	}
	w.signature(t, id, productRole, b, sign(payload, w.certB)) // for a role that is not in the proposal
	w.signature(t, id, readyRole, w.engineer.TUF.ID, sign(payload, w.certB))
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 0 || len(result.Incomplete) != 1 || result.Incomplete[0].Roles[0].Have != 1 {
		t.Fatalf("%+v", result)
	}
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB)))
}

func TestAThousandBogusSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	id := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA)).Proposal
	dir := filepath.Join(w.dir, "pending", id, "sig")
	for i := range 1000 {
		for _, k := range []key{w.certA, w.certB} { // under the holders' own names, before theirs in any order
			data, err := trust.EncodeSignature(trust.Signature{KeyID: k.TUF.ID, Sig: fmt.Appendf(nil, "bogus %d", i)})
			check(t, err)
			write(t, filepath.Join(dir, readyRole, fmt.Sprintf("%s-%064x.json", k.TUF.ID, i)), string(data))
		}
		write(t, filepath.Join(dir, fmt.Sprintf("product.a%d", i), fmt.Sprintf("%064x-%064x.json", i, i)), "{}") // for a thousand roles
		write(t, filepath.Join(dir, readyRole, fmt.Sprintf("%064x-%064x.json", i, i)), "{}")                     // by a thousand strangers
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Incomplete) != 1 || result.Incomplete[0].Roles[0].Have != 1 {
		t.Fatalf("A's signature is not seen: %+v", result)
	}
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, nil, signers(w.certB)))
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
		t.Fatalf("a good proposal is stopped: %+v", result)
	}
	w.wantStage(t, "openstack@1.0.0", manifest.StageReady)
}

// Anybody who may write below pending/ can make well-formed proposals; nobody has to look at what no rightful key signed.
func TestHundredsOfProposalsThatNobodySigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	role, err := w.view(t).Role("registry")
	check(t, err)
	id := must(t, publisher.Pending)(w.publisher(t, nil).AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella"}, signers(w.admin))).Proposal
	for i := range 520 {
		next := role.Clone()
		next.Replaces = catalogtest.Digest(w.object(t, manifest.RoleObject("registry", role.Version)))
		next.Version, next.Expires = next.Version+1, w.now.Add(time.Hour+time.Duration(i)*time.Second)
		next.ProposalExpires = w.now.Add(time.Hour) // made "before" all others
		payload, err := next.Payload()
		check(t, err)
		sha := catalogtest.Digest(payload)
		bogus := manifest.ProposalID("registry", next.Version, catalogtest.Digest(fmt.Appendf(nil, "registry %d %s\n", next.Version, sha)))
		write(t, filepath.Join(w.dir, "pending", bogus, "registry.payload.json"), string(payload))
		write(t, filepath.Join(w.dir, "pending", bogus, "proposal.json"), fmt.Sprintf(
			`{"schema":"kitchen.proposal/v1","kind":"registry","summary":[],"roles":[{"role":"registry","version":%d,"sha256":%q}]}`, next.Version, sha))
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].ID != id {
		t.Errorf("%d proposals are shown, the good one should be", len(pending))
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Errorf("committed %+v", result.Committed)
	}
}

// A proposal that may not take effect must not hide a good one that it contains from its signers.
func TestARefusedProposalDoesNotHideTheGoodOneItContains(t *testing.T) {
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	id := must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA)).Proposal
	good, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(id, manifest.PayloadName(readyRole))))
	check(t, err)
	w.craft(t, crafted{readyRole, func(next *trust.Targets) {
		maps.Copy(next.Targets, good.Targets)
		next.Targets["ready-to-deploy/openstack/6.6.6/manifest.toml"] = trust.Target{Length: 1, SHA256: strings.Repeat("a", 64)}
	}, signers(w.certA)})
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB)))
	w.wantStage(t, "openstack@1.0.0", manifest.StageReady)
}
