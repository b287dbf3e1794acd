package publisher_test

import (
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

// craftRoot leaves a proposal of a root that no command of Kitchen would make, and returns its id.
func (w *world) craftRoot(t *testing.T, edit func(*trust.Root), by ...key) string {
	t.Helper()
	v := w.view(t)
	next := v.Root().Clone()
	next.Version++
	next.Replaces = catalogtest.Digest(v.RawRoot())
	next.Expires, next.ProposalExpires = w.now.Add(365*catalogtest.Day), w.now.Add(14*catalogtest.Day)
	edit(next)
	payload, err := next.Payload()
	check(t, err)
	return w.raw(t, trust.RoleRoot, next.Version, payload, signers(by...)...)
}

// nothing: a committer with every online key at hand puts none of it into effect, whatever says so, and no root is
// written.
func (w *world) nothing(t *testing.T, online ...key) *publisher.CommitResult {
	t.Helper()
	before, roots := w.state(t), w.view(t).Root().Version
	p := w.publisher(t, w.online)
	p.OnlineToo = signers(online...)
	result := commit(t, p)
	if len(result.Committed) != 0 || !maps.Equal(before, w.state(t)) || exists(filepath.Join(w.dir, manifest.RootObject(roots+1))) {
		t.Fatalf("it took effect: %+v", result)
	}
	return result
}

// Whoever signs: a root that may not be is refused by committers, and no signer is asked for it.
func TestRootsThatMayNotBe(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	fresh := catalogtest.NewKey(t)
	everybody := append([]key{fresh}, start.root...)
	for name, c := range map[string]struct {
		says string
		edit func(w *world, r *trust.Root)
	}{
		"skips a number": {"none is ever skipped", func(_ *world, r *trust.Root) { r.Version++ }},
		"lives for ever": {"longer than the 365 days", func(w *world, r *trust.Root) { r.Expires = w.now.Add(3650 * catalogtest.Day) }},
		"has expired":    {"", func(w *world, r *trust.Root) { r.Expires = w.now }}, // stale at once
		"never lapses":   {"would never lapse", func(w *world, r *trust.Root) { r.ProposalExpires = w.now.Add(400 * catalogtest.Day) }},
		"has a site's key": {"a site needs a key of its own", func(w *world, r *trust.Root) {
			r.Roles[trust.RoleRoot] = catalogtest.Authority(2, append(w.root, w.stagingCI)...)
		}},
		"leaves targets unsigned": {"targets, as it is in effect, is not signed", func(_ *world, r *trust.Root) {
			r.Roles[trust.RoleTargets] = catalogtest.Authority(1, fresh)
		}},
		"leaves targets one signature short": {"targets, as it is in effect, is not signed", func(w *world, r *trust.Root) {
			r.Roles[trust.RoleTargets] = catalogtest.Authority(3, w.root...)
		}},
		"replaces another root": {"", func(_ *world, r *trust.Root) { r.Replaces = strings.Repeat("0", 64) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start.copy(t)
			w.craftRoot(t, func(r *trust.Root) { c.edit(w, r) }, everybody...)
			result := w.nothing(t)
			if c.says != "" && (len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, c.says)) {
				t.Errorf("%+v", result)
			}
			asked := func(publisher.PendingProposal) (bool, error) { t.Error("asked to sign it"); return false, nil }
			out, err := w.publisher(t, w.online).Sign(ctx, trust.RoleRoot, asked, signers(w.root[0]))
			if err == nil && out.Status != publisher.Unchanged {
				t.Errorf("%+v", out)
			}
		})
	}
}

// A root needs the old threshold and the new one. With either short it waits, and no committer finishes it.
func TestARootSignedByTooFew(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	fresh := []key{catalogtest.NewKey(t), catalogtest.NewKey(t)}
	taken := func(r *trust.Root) { r.Roles[trust.RoleRoot] = catalogtest.Authority(2, fresh...) }
	for name, c := range map[string]struct {
		edit func(*trust.Root)
		by   []key
	}{
		"by the new keys only":                      {taken, fresh},
		"by the new keys and one old":               {taken, []key{fresh[0], fresh[1], start.root[0]}},
		"by the old keys only":                      {taken, start.root},
		"a lower threshold by fewer than the old":   {func(r *trust.Root) { r.Roles[trust.RoleRoot] = catalogtest.Authority(1, start.root...) }, start.root[:1]},
		"a higher threshold by fewer than the next": {func(r *trust.Root) { r.Roles[trust.RoleRoot] = catalogtest.Authority(3, start.root...) }, start.root[:2]},
		"an online key by the online key": {func(r *trust.Root) {
			r.Roles[trust.RoleTimestamp] = catalogtest.Authority(1, fresh[0])
		}, []key{start.online, fresh[0]}},
		"targets keys by the old holders of targets alone": {func(r *trust.Root) { r.Roles[trust.RoleTargets] = catalogtest.Authority(1, start.root[0]) }, start.root[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start.copy(t)
			w.craftRoot(t, c.edit, c.by...)
			if result := w.nothing(t, fresh...); len(result.Refused) != 0 {
				t.Errorf("%+v", result)
			}
		})
	}
}

// Who hands a role to keys that did not sign it would make readers refuse it, and every recall with it.
func TestARotationThatLeavesARoleUnsigned(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	fresh := catalogtest.NewKey(t)
	for _, role := range []string{productRole, readyRole, recalledRole, manifest.RoleRegistry} {
		w := w.copy(t)
		w.craft(t, crafted{trust.RoleTargets, handTo(role, fresh), signers(w.root...)})
		if result := w.nothing(t); len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, role+", as it is in effect, is not signed") {
			t.Errorf("%s: %+v", role, result)
		}
	}
	w.craft(t, crafted{trust.RoleTargets, handTo(manifest.RoleJournal, fresh), signers(w.root...)})
	if result := w.nothing(t, fresh); len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, "other keys than the online key") {
		t.Errorf("the journal: %+v", result)
	}
}

func handTo(role string, to ...key) func(*trust.Targets) {
	return func(n *trust.Targets) {
		for i := range n.Delegations {
			if n.Delegations[i].Name == role {
				n.Delegations[i].Authority = catalogtest.Authority(1, to...)
			}
		}
	}
}

// The files of a rotation that took effect once are put back after the next one: the keys that went do not come back.
func TestReplayOfAnOldRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh, later := catalogtest.NewKey(t), catalogtest.NewKey(t)
	files := map[string][]byte{}
	for _, role := range []string{trust.RoleRoot, productRole} {
		id := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(role, map[string]key{trust.RoleRoot: w.root[0], productRole: w.engineer}[role], fresh), nil, signers(w.root[1], w.root[2]))).Proposal
		maps.Copy(files, w.pendingFiles(t, id))
		if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
			t.Fatalf("%+v", result)
		}
		mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, rotate(role, fresh, later), nil, signers(w.root[1], w.root[2], fresh)))
	}
	check(t, os.RemoveAll(filepath.Join(w.dir, "pending")))
	for key, data := range files {
		w.overwrite(t, key, data)
	}
	if result := w.nothing(t); len(result.Incomplete)+len(result.Refused) != 0 {
		t.Errorf("%+v", result)
	}
	if a, _ := w.view(t).Authority(trust.RoleRoot); a.Has(fresh.TUF.ID) || !a.Has(later.TUF.ID) {
		t.Errorf("root is signed by %v", a.KeyIDs())
	}
}

// The proposer's words are not what is shown: what a root changes is said from its payload, role by role.
func TestARotationWhoseWordsSayAnotherThing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh := catalogtest.NewKey(t)
	id := w.craftRoot(t, func(r *trust.Root) {
		r.Roles[trust.RoleRoot] = catalogtest.Authority(1, w.root[0], fresh)
		r.Roles[trust.RoleTimestamp] = catalogtest.Authority(1, fresh)
	}, w.root[0])
	name := manifest.ProposalObject(id, manifest.ProposalName)
	w.overwrite(t, name, []byte(strings.Replace(string(w.object(t, name)), `"summary":[]`, `"summary":["root: signed again, nothing changes"]`, 1)))
	asked := false
	must(t, publisher.Declined)(w.publisher(t, nil).Sign(ctx, trust.RoleRoot, func(p publisher.PendingProposal) (bool, error) {
		asked = true
		text := strings.Join(p.Change, "\n")
		for _, word := range []string{"role root: key " + short(fresh) + " in", "key " + short(w.root[1]) + " out", "key " + short(w.root[2]) + " out", "threshold 1 instead of 2",
			"role timestamp: key " + short(fresh) + " in, key " + short(w.online) + " out", "root: version 2, valid until "} {
			if !strings.Contains(text, word) {
				t.Errorf("it does not say %q:\n%s", word, text)
			}
		}
		return false, nil
	}, signers(w.root[1])))
	if !asked {
		t.Error("not asked")
	}
}

// A key that went signs on: nobody takes it, not for the role, not for its successor, not in the store.
func TestAKeyThatWentSignsAfterwards(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	thief, fresh := w.engineer, catalogtest.NewKey(t)
	gone, root := w.root[0], catalogtest.NewKey(t)
	p := w.publisher(t, w.online)
	mustCommit(t)(p.ChangeRole(ctx, rotate(productRole, thief, fresh), nil, signers(w.root[0], w.root[1], fresh)))
	mustCommit(t)(p.ChangeRole(ctx, rotate(trust.RoleRoot, gone, root), nil, signers(w.root[1:]...)))
	wantError[*publisher.NotAuthorized](t, w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Publish(ctx, source(t, "openstack@6.6.6", nil), signers(thief))
		return err
	}), short(thief))
	wantError[*publisher.NotAuthorized](t, w.refused(t, func() error {
		_, err := w.publisher(t, w.online).ChangeRole(ctx, rotate(trust.RoleRoot, root, w.stranger), nil, []keys.Signer{gone})
		return err
	}), short(gone))
	w.craft(t, crafted{productRole, nil, signers(thief)})
	w.craftRoot(t, func(r *trust.Root) { r.Roles[trust.RoleRoot] = catalogtest.Authority(1, gone) }, gone, w.root[1])
	if result := w.nothing(t); len(result.Refused) != 0 {
		t.Errorf("%+v", result)
	}
}

// Two rotations wait at the same time: one takes effect, and the other goes stale instead of undoing it.
func TestTwoRotationsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := catalogtest.NewKey(t), catalogtest.NewKey(t)
	first := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(trust.RoleRoot, w.root[0], one), nil, signers(w.root[1]))).Proposal
	second := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(trust.RoleRoot, w.root[0], two), nil, signers(w.root[2]))).Proposal
	if first == second {
		t.Fatal("they are one proposal")
	}
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, trust.RoleRoot, func(p publisher.PendingProposal) (bool, error) { return p.ID == first, nil }, signers(w.root[2])))
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, trust.RoleRoot, func(p publisher.PendingProposal) (bool, error) { return p.ID == second, nil }, signers(w.root[1])))
	result := commit(t, w.publisher(t, w.online))
	if len(result.Committed) != 1 || len(result.Stale) != 1 || w.view(t).Root().Version != 2 {
		t.Fatalf("%+v", result)
	}
	if again := result.Stale[0].Again; len(again) != 1 || !strings.HasPrefix(again[0], "kitchen role rotate root --new FILE (of ") {
		t.Errorf("to propose it again: %q", again)
	}
	w.nothing(t)
}

// A thief of the online key, who saw a rotation from the first key to another: with the old key he shows an old view to
// the committer, and has it signed anew with the new key. Whoever saw the new key's timestamp once refuses that.
func TestAnOutageThatIsPlayed(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	old, before := w.online, w.object(t, manifest.TimestampObject)
	fresh := catalogtest.NewKey(t)
	mustCommit(t)(w.withBoth(t, w.store, fresh).ChangeRole(ctx, rotate(trust.RoleSnapshot, old, fresh), nil, signers(w.root[:2]...)))
	w.online = fresh
	committer := w.publisher(t, fresh)
	commit(t, committer)
	committer.Stolen = true
	w.overwrite(t, manifest.TimestampObject, before)
	err := w.refused(t, func() error { _, err := committer.Commit(ctx); return err })
	if refused := wantError[*trust.Error](t, err); refused.Kind != trust.Rollback {
		t.Errorf("%v", err)
	}
}

// TestAKeyThatIsToGoOutrunsItsRotation: what it signs meanwhile, later than the rotation, waits as soon as those who hand
// the role out have spoken, whatever online key is at hand, and is nothing once the rotation has taken effect. Only a
// recall is not held up.
func TestAKeyThatIsToGoOutrunsItsRotation(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	thief, fresh := w.engineer, catalogtest.NewKey(t)
	laptop, committer := func() *publisher.Publisher { return w.publisher(t, nil) }, func() *publisher.Publisher { return w.publisher(t, w.online) }
	rotation := must(t, publisher.Pending)(laptop().ChangeRole(ctx, rotate(productRole, thief, fresh), nil, signers(w.root[:2]...))).Proposal
	w.now = w.now.Add(time.Minute)
	must(t, publisher.Pending)(laptop().Publish(ctx, source(t, "openstack@6.6.6", nil), signers(thief)))
	out := must(t, publisher.Pending)(committer().Publish(ctx, source(t, "openstack@6.6.6", nil), signers(thief)))
	if !strings.Contains(out.WaitsFor, rotation) {
		t.Errorf("%+v", out)
	}
	if out := must(t, publisher.Pending)(committer().Sign(ctx, productRole, nil, signers(thief))); !strings.Contains(out.WaitsFor, rotation) {
		t.Errorf("%+v", out)
	}
	result := w.nothing(t)
	if len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, rotation) {
		t.Errorf("%+v", result.Refused)
	}
	mustCommit(t)(committer().Recall(ctx, release(v1), "to be looked at", signers(thief)))
	must(t, publisher.Pending)(laptop().Sign(ctx, productRole, nil, signers(fresh)))
	if result := commit(t, committer()); len(result.Committed) != 1 || result.Committed[0].ID != rotation {
		t.Errorf("%+v", result)
	}
	listed, err := w.view(t).Role(productRole)
	check(t, err)
	if _, ok := listed.Targets[manifest.TargetPath(manifest.StageCatalog, release("openstack@6.6.6"))]; ok {
		t.Error("the thief's release is published")
	}
	_, err = laptop().Sign(ctx, productRole, nil, signers(thief))
	wantError[*publisher.NotAuthorized](t, err, short(thief))
}

// TestTheOutgoingKeySignsItsRotation: it is told that its signature counts for nothing, instead of being thanked for it.
func TestTheOutgoingKeySignsItsRotation(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	fresh := catalogtest.NewKey(t)
	must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, fresh), nil, signers(w.root[:2]...)))
	_, err := w.publisher(t, nil).Sign(ctx, productRole, nil, signers(w.engineer))
	wantError[*publisher.NotAuthorized](t, err, short(w.engineer), short(fresh))
}
