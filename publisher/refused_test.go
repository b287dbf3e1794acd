package publisher_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// forbidden is a change that the rightful keys signed and that no number of signatures makes good.
type forbidden struct {
	name string
	role string
	says string
	make func(t *testing.T, w *world) []crafted // on openstack@1.0.0, recalled, and ceph@1.0.0
}

func manifestOf(w *world, t *testing.T, r string) (path string, target trust.Target) {
	t.Helper()
	path = manifest.TargetPath(manifest.StageCatalog, release(r))
	role, err := w.view(t).Role("product." + release(r).Product)
	check(t, err)
	return path, role.Targets[path]
}

var forbiddenChanges = []forbidden{
	{name: "signed as another role's content", role: recalledRole, says: "content is that of role", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { n.Role = readyRole }, signers(w.certA)}}
	}},
	{name: "drops a recall", role: recalledRole, says: "would be dropped", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { clear(n.Targets) }, signers(w.engineer, w.certA, w.certB)}}
	}},
	{name: "recalls other bytes instead", role: recalledRole, says: "other bytes", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, lists("recalled/openstack/1.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}), signers(w.engineer)}}
	}},
	{name: "changes a release's digest", role: productRole, says: "other bytes", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) {
			path := "catalog/openstack/1.0.0/manifest.toml"
			target := n.Targets[path]
			target.SHA256 = strings.Repeat("a", 64)
			n.Targets[path] = target
		}, signers(w.engineer, w.colleague)}}
	}},
	{name: "changes a release's length", role: productRole, says: "other bytes", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) {
			path := "catalog/openstack/1.0.0/manifest.toml"
			target := n.Targets[path]
			target.Length++
			n.Targets[path] = target
		}, signers(w.engineer)}}
	}},
	{name: "changes a release's place in the order", role: productRole, says: "another place", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) { n.Targets["catalog/openstack/1.0.0/manifest.toml"].Custom["seq"] = "7" }, signers(w.engineer)}}
	}},
	{name: "takes a release out", role: productRole, says: "would be taken out", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) { clear(n.Targets) }, signers(w.engineer)}}
	}},
	{name: "a release without a place in the order", role: productRole, says: "no place in the order", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) {
			n.Targets["catalog/openstack/2.0.0/manifest.toml"] = trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}
		}, signers(w.engineer)}}
	}},
	{name: "a release whose manifest is not there", role: productRole, says: "no such object", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{productRole, lists("catalog/openstack/2.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "2"}}), signers(w.engineer)}}
	}},
	{name: "a release with the manifest of another", role: productRole, says: "the manifest of openstack@1.0.0", make: func(t *testing.T, w *world) []crafted {
		path, target := manifestOf(w, t, "openstack@1.0.0")
		data := w.object(t, manifest.TargetObject(path, target.SHA256))
		other := "catalog/openstack/2.0.0/manifest.toml"
		w.put(t, manifest.TargetObject(other, target.SHA256), data)
		target.Custom = map[string]string{"seq": "2"}
		return []crafted{{productRole, lists(other, target), signers(w.engineer)}}
	}},
	{name: "lists a path of another product", role: productRole, says: "outside its scope", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, lists("catalog/ceph/1.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "2"}}), signers(w.engineer)}}
	}},
	{name: "lists a path of another stage", role: productRole, says: "outside its scope", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, lists("ready-to-deploy/openstack/1.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "2"}}), signers(w.engineer)}}
	}},
	{name: "delegates further", role: productRole, says: "delegation of its own", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, func(n *trust.Targets) {
			n.Delegations = []trust.Delegation{{Name: "product.evil", Authority: catalogtest.Authority(1, w.stranger), Paths: []string{"catalog/openstack/*/*"}}}
		}, signers(w.engineer)}}
	}},
	{name: "drops a delegation", role: "targets", says: "product.ceph would be dropped", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"targets", func(n *trust.Targets) {
			n.Delegations = deleteDelegation(n.Delegations, "product.ceph")
		}, signers(w.root...)}}
	}},
	{name: "widens a delegation", role: "targets", says: "would be trusted for", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"targets", func(n *trust.Targets) {
			for i := range n.Delegations {
				if n.Delegations[i].Name == "product.ceph" {
					n.Delegations[i].Paths = []string{"catalog/*/*/*"}
				}
			}
		}, signers(w.root...)}}
	}},
	{name: "delegates to a role that is none", role: "targets", says: "no role of Kitchen", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"targets", func(n *trust.Targets) {
			n.Delegations = append(n.Delegations, trust.Delegation{Name: "backdoor", Authority: catalogtest.Authority(1, w.stranger), Paths: []string{"catalog/*/*/*"}})
		}, signers(w.root...)}}
	}},
	{name: "targets lists a file", role: "targets", says: "lists files itself", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"targets", lists("catalog/openstack/6.6.6/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}), signers(w.root...)}}
	}},
	{name: "takes a role's keys away and leaves the role unsigned", role: "targets", says: productRole, make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"targets", func(n *trust.Targets) {
			for i := range n.Delegations {
				if n.Delegations[i].Name == productRole {
					n.Delegations[i].Authority = catalogtest.Authority(1, w.stranger)
				}
			}
		}, signers(w.root...)}}
	}},
	{name: "jumps version numbers", role: recalledRole, says: "jumps over", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { n.Version += 3 }, signers(w.engineer)}}
	}},
	{name: "jumps to the last version number there is", role: recalledRole, says: "does not follow", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { n.Version = trust.MaxInteger }, signers(w.engineer)}}
	}},
	{name: "would be valid for decades", role: recalledRole, says: "longer than", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { n.Expires = w.now.AddDate(20, 0, 0) }, signers(w.engineer)}}
	}},
	{name: "would never lapse", role: recalledRole, says: "never lapse", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, func(n *trust.Targets) { n.ProposalExpires = w.now.AddDate(1, 0, 0) }, signers(w.engineer)}}
	}},
	{name: "validates a recalled release", role: "validated.openstack", says: "recalled", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{"validated.openstack", w.stageCopy(t, manifest.StageValidated, "openstack@1.0.0"), signers(w.validator)}}
	}},
	{name: "certifies a recalled release", role: readyRole, says: "recalled", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{readyRole, w.stageCopy(t, manifest.StageReady, "openstack@1.0.0"), signers(w.certA, w.certB)}}
	}},
	{name: "certifies other bytes than are published", role: "ready-to-deploy.ceph", says: "is published as", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{"ready-to-deploy.ceph", lists("ready-to-deploy/ceph/1.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}), signers(w.cephCertifier)}}
	}},
	{name: "validates what is not published", role: "validated.openstack", says: "is not published", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"validated.openstack", lists("validated/openstack/6.6.6/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}), signers(w.validator)}}
	}},
	{name: "a yank with other bytes", role: productRole, says: "other bytes", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, changes(v1Path, func(n *trust.Target) {
			n.Custom["yanked"], n.SHA256 = "why not", strings.Repeat("a", 64)
		}), signers(w.engineer)}}
	}},
	{name: "a yank that moves the release in the order", role: productRole, says: "another place", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, changes(v1Path, func(n *trust.Target) { n.Custom["yanked"], n.Custom["seq"] = "why not", "9" }), signers(w.engineer)}}
	}},
	{name: "a yank that says more", role: productRole, says: "more than whether it is yanked", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, changes(v1Path, func(n *trust.Target) { n.Custom["yanked"], n.Custom["evidence"] = "why not", "x" }), signers(w.engineer)}}
	}},
	{name: "a yank without a reason", role: productRole, says: "more than whether it is yanked", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, changes(v1Path, func(n *trust.Target) { n.Custom["yanked"] = " " }), signers(w.engineer)}}
	}},
	{name: "a recall whose reason changes in place", role: recalledRole, says: "the next is 3", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, changes(v1Recall, func(n *trust.Target) { n.Custom["reason"] = "nothing serious" }), signers(w.engineer)}}
	}},
	{name: "a recall without a number", role: recalledRole, says: "the next is 3", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, changes(v1Recall, func(n *trust.Target) { delete(n.Custom, "since") }), signers(w.engineer)}}
	}},
	{name: "a recall with the number of an earlier one", role: recalledRole, says: "the next is 3", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, changes(v1Recall, func(n *trust.Target) { n.Custom["since"] = "1" }), signers(w.engineer)}}
	}},
	{name: "a recall with a number far ahead", role: recalledRole, says: "the next is 3", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{recalledRole, changes(v1Recall, func(n *trust.Target) { n.Custom["since"] = "999" }), signers(w.engineer)}}
	}},
	{name: "a certificate that lifts an earlier recall", role: readyRole, says: "the one that stands is another: recall 2", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{readyRole, w.lift(t, v1, "1", "2"), signers(w.certA, w.certB)}}
	}},
	{name: "a certificate that lifts a recall to come", role: readyRole, says: "the one that stands is another: recall 2", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{readyRole, w.lift(t, v1, "3", "3"), signers(w.certA, w.certB)}}
	}},
	{name: "a certificate that lifts what its signers had not seen", role: readyRole, says: "the one that stands is another: recall 2", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{readyRole, w.lift(t, v1, "2", "1"), signers(w.certA, w.certB)}}
	}},
	{name: "a certificate that lifts a recall that there is not", role: "ready-to-deploy.ceph", says: "there is none", make: func(t *testing.T, w *world) []crafted {
		return []crafted{{"ready-to-deploy.ceph", w.lift(t, "ceph@1.0.0", "2", "2"), signers(w.cephCertifier)}}
	}},
	{name: "validated lifts a recall", role: "validated.openstack", says: "recalled", make: func(t *testing.T, w *world) []crafted {
		edit := w.stageCopy(t, manifest.StageValidated, v1)
		return []crafted{{"validated.openstack", func(n *trust.Targets) {
			edit(n)
			changes("validated/openstack/1.0.0/manifest.toml", func(n *trust.Target) { n.Custom["lifts-recall"], n.Custom["recalled-version"] = "2", "2" })(n)
		}, signers(w.validator)}}
	}},
	{name: "a registry entry that is not there", role: "registry", says: "no such object", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"registry", lists("registry/evil.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64)}), signers(w.admin)}}
	}},
	{name: "a registry entry with another length", role: "registry", says: "registry/acme.toml", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{"registry", func(n *trust.Targets) {
			target := n.Targets["registry/acme.toml"]
			target.Length++
			n.Targets["registry/acme.toml"] = target
		}, signers(w.admin)}}
	}},
	{name: "one role of two is refused", role: recalledRole, says: "would be dropped", make: func(_ *testing.T, w *world) []crafted {
		return []crafted{{productRole, nil, signers(w.engineer)}, {recalledRole, func(n *trust.Targets) { clear(n.Targets) }, signers(w.engineer)}}
	}},
}

// stageCopy lists a published release in a stage, with the copy of its manifest that stock clients read.
func (w *world) stageCopy(t *testing.T, stage, r string) func(*trust.Targets) {
	t.Helper()
	from, target := manifestOf(w, t, r)
	path := manifest.TargetPath(stage, release(r))
	w.put(t, manifest.TargetObject(path, target.SHA256), w.object(t, manifest.TargetObject(from, target.SHA256)))
	target.Custom = map[string]string{"recalled-version": "1"}
	return lists(path, target)
}

const (
	v1Path   = "catalog/openstack/1.0.0/manifest.toml"
	v1Recall = "recalled/openstack/1.0.0/manifest.toml"
)

// changes alters one entry of a role's content.
func changes(path string, change func(*trust.Target)) func(*trust.Targets) {
	return func(t *trust.Targets) {
		target := t.Targets[path]
		target.Custom = maps.Clone(target.Custom)
		change(&target)
		t.Targets[path] = target
	}
}

// lift is a certificate that names a recall, by signers who saw that version of the recalls.
func (w *world) lift(t *testing.T, r, recall, saw string) func(*trust.Targets) {
	t.Helper()
	edit := w.stageCopy(t, manifest.StageReady, r)
	return func(n *trust.Targets) {
		edit(n)
		changes(manifest.TargetPath(manifest.StageReady, release(r)), func(n *trust.Target) {
			n.Custom = map[string]string{"lifts-recall": recall, "recalled-version": saw}
		})(n)
	}
}

func deleteDelegation(all []trust.Delegation, name string) (left []trust.Delegation) {
	for _, d := range all {
		if d.Name != name {
			left = append(left, d)
		}
	}
	return left
}

// toForbid is the catalog that the forbidden changes rest on.
func (w *world) toForbid(t *testing.T) {
	t.Helper()
	w.publish(t, "openstack@1.0.0")
	w.publish(t, "ceph@1.0.0")
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release("openstack@1.0.0"), "broken", signers(w.engineer)))
}

func TestChangesThatNoSignaturesMakeGood(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.toForbid(t)
	for _, c := range forbiddenChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := start.copy(t)
			roles := c.make(t, w)
			id := w.craft(t, roles...)
			before := w.state(t)
			result := commit(t, w.publisher(t, w.online))
			if len(result.Committed) != 0 || len(result.Refused) != 1 || result.Refused[0].ID != id {
				t.Fatalf("committed %+v, refused %+v", result.Committed, result.Refused)
			}
			if refused := result.Refused[0]; !strings.Contains(refused.Refused, c.says) || refused.Complete() || !strings.Contains(refused.WaitsFor(), "nothing") {
				t.Errorf("refused because %q, want %q", refused.Refused, c.says)
			}
			err := w.refused(t, func() error {
				_, err := w.publisher(t, w.online).Sign(ctx, c.role, nil, roles[len(roles)-1].signers)
				return err
			})
			wantError[*publisher.Refused](t, err, c.role, c.says)
			if !maps.Equal(before, w.state(t)) {
				t.Error("the catalog changed")
			}
		})
	}
}

// All of them at once stop nobody, their own signers included.
func TestRefusedProposalsStopNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.toForbid(t)
	for _, c := range forbiddenChanges {
		w.craft(t, c.make(t, w)...)
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Refused) != len(forbiddenChanges) || len(result.Committed) != 0 {
		t.Fatalf("%d of %d are refused; committed %+v", len(result.Refused), len(forbiddenChanges), result.Committed)
	}
	p := w.publisher(t, w.online)
	mustCommit(t)(p.Publish(ctx, source(t, "openstack@3.0.0", nil), signers(w.engineer)))
	mustCommit(t)(p.Recall(ctx, release("openstack@3.0.0"), "worse", signers(w.engineer)))
	mustCommit(t)(p.AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella", Subscribe: []string{"ceph"}}, signers(w.admin)))
	mustCommit(t)(p.AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.root[:2]...)))
	mustCommit(t)(p.Validate(ctx, release("ceph@1.0.0"), signers(w.validator)))
	w.view(t)
}

// A certificate that waited while its release was recalled must not take effect.
func TestACertificateThatWaitsDoesNotOutliveARecall(t *testing.T) {
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	must(t, publisher.Pending)(certify(w.publisher(t, nil), "openstack@1.0.0", w.certA))
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release("openstack@1.0.0"), "CVE", signers(w.engineer)))
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certB))
		return err
	})
	wantError[*publisher.Refused](t, err, "recalled")
	w.wantStage(t, "openstack@1.0.0", "validated")
}

// The proposer's words are not believed: a harmless summary over a recall that is dropped.
func TestTheProposersWordsAreNotBelieved(t *testing.T) {
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	w.craft(t, crafted{recalledRole, lists("recalled/openstack/1.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"reason": "x"}}), signers(w.engineer)})
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].Stated[0] != "harmless, believe me" || strings.Contains(strings.Join(pending[0].Change, ""), "harmless") || pending[0].Refused == "" {
		t.Fatalf("%+v", pending)
	}
}
