package publisher_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// raw leaves a proposal of one role with any payload.
func (w *world) raw(t *testing.T, role string, version int64, payload []byte, by ...keys.Signer) (id string) {
	t.Helper()
	sha := catalogtest.Digest(payload)
	id = manifest.ProposalID(role, version, catalogtest.Digest(fmt.Appendf(nil, "%s %d %s\n", role, version, sha)))
	w.put(t, manifest.ProposalObject(id, manifest.PayloadName(role)), payload)
	for _, s := range by {
		sig, err := trust.Sign(ctx, payload, s)
		check(t, err)
		w.signature(t, id, role, sig.KeyID, sig)
	}
	w.put(t, manifest.ProposalObject(id, manifest.ProposalName), fmt.Appendf(nil,
		`{"schema":"kitchen.proposal/v1","kind":"test","summary":[],"roles":[{"role":%q,"version":%d,"sha256":%q}]}`, role, version, sha))
	return id
}

// Root holders, or thieves of their keys, delegate in a way that would let everybody sign.
func TestThresholdsThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	targets, err := w.view(t).Role(trust.RoleTargets)
	check(t, err)
	next := targets.Clone()
	next.Version++
	next.Replaces = catalogtest.Digest(w.view(t).RawRole(trust.RoleTargets))
	next.Expires, next.ProposalExpires = w.now.Add(60*catalogtest.Day), w.now.Add(catalogtest.Day)
	payload, err := next.Payload()
	check(t, err)
	for _, threshold := range []string{"0", "-1", "3", "9007199254740991", "1e0", `"1"`, "null", "2.0"} {
		bad := strings.Replace(string(payload), `"threshold":2`, `"threshold":`+threshold, 1)
		if bad == string(payload) {
			t.Fatal("nothing was changed")
		}
		var by []keys.Signer
		if _, err := trust.Sign(ctx, []byte(bad), w.root[0]); err == nil { // Kitchen itself signs some of it
			by = signers(w.root...)
		}
		w.raw(t, trust.RoleTargets, next.Version, []byte(bad), by...)
	}
	before := w.state(t)
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 || len(result.Incomplete) != 0 {
		t.Errorf("%+v", result)
	}
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Sign(ctx, trust.RoleTargets, nil, signers(w.root[2])))
	if !maps.Equal(before, w.state(t)) {
		t.Error("the catalog changed")
	}
}

// Everybody but the certifiers signs a certificate: it is not even shown.
func TestAProposalSignedByHoldersOfOtherRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.craft(t, crafted{readyRole, w.stageCopy(t, manifest.StageReady, v1),
		signers(w.engineer, w.colleague, w.validator, w.admin, w.online, w.cephCertifier, w.vendorCI, w.root[0], w.root[1], w.root[2])})
	before := w.state(t)
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed)+len(result.Incomplete)+len(result.Refused) != 0 {
		t.Errorf("%+v", result)
	}
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, signers(w.certA)))
	if !maps.Equal(before, w.state(t)) {
		t.Error("the catalog changed")
	}
}

// The store shows two signers different payloads under one proposal's name. Each signs what was shown; what takes
// effect has signatures over one payload only.
func TestTwoSignersAreShownDifferentPayloadsUnderOneName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	good := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA)).Proposal
	evil := w.craft(t, crafted{readyRole, w.stageCopy(t, manifest.StageReady, v1), signers(w.certA)})
	goodDir, evilDir := filepath.Join(w.dir, "pending", good), filepath.Join(w.dir, "pending", evil)
	shown := w.pendingFiles(t, evil)
	check(t, os.RemoveAll(evilDir))
	for key, data := range shown { // under the good one's name
		w.overwrite(t, strings.Replace(key, evil, good, 1), data)
	}
	b := w.publisher(t, w.online)
	must(t, publisher.Unchanged)(b.Sign(ctx, readyRole, nil, signers(w.certB)))
	if entries, err := os.ReadDir(filepath.Join(goodDir, "sig", readyRole)); err != nil || len(entries) == 0 {
		t.Fatalf("no signatures there: %v", err)
	}
	// Even with B's signature over the other payload beside A's over this one, there is one of two.
	sig, err := trust.Sign(ctx, shown[manifest.ProposalObject(evil, manifest.PayloadName(readyRole))], w.certB)
	check(t, err)
	w.signature(t, good, readyRole, sig.KeyID, sig)
	if result := commit(t, b); len(result.Committed) != 0 {
		t.Errorf("committed %+v", result.Committed)
	}
	w.wantStage(t, v1, "validated")
}

// frozen shows the committer an old timestamp, and lets it write for real.
type frozen struct {
	storage.Store
	data []byte
	info storage.Info
}

func (f *frozen) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, storage.Info, error) {
	if key != manifest.TimestampObject {
		return f.Store.OpenIfChanged(ctx, key, etag)
	}
	if etag == f.info.ETag {
		return nil, f.info, &storage.Error{Op: "open", Key: key, Err: storage.ErrNotModified}
	}
	return io.NopCloser(bytes.NewReader(f.data)), f.info, nil
}

func (f *frozen) Stat(ctx context.Context, key string) (storage.Info, error) {
	if key == manifest.TimestampObject {
		return f.info, nil
	}
	return f.Store.Stat(ctx, key)
}

func (w *world) freeze(t *testing.T) *frozen {
	t.Helper()
	info, err := w.store.Stat(ctx, manifest.TimestampObject)
	check(t, err)
	return &frozen{Store: w.store, data: w.object(t, manifest.TimestampObject), info: info}
}

// A committer that is shown the past cannot bring it back: its swap is held to what the store really has.
func TestACommitterWhoseViewIsFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	id := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "ceph@1.0.0", nil), signers(w.cephEngineer))).Proposal
	past := w.freeze(t)
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v1), "broken", signers(w.engineer)))
	before := w.state(t)
	delete(before, "timestamp")
	synctest.Test(t, func(t *testing.T) { // whose pauses take no time
		committer := w.over(t, past, w.online)
		_, err := committer.Commit(ctx)
		wantError[*publisher.LostRace](t, err)
	})
	after := w.state(t)
	delete(after, "timestamp")
	if !maps.Equal(before, after) {
		t.Error("the catalog changed")
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Errorf("the numbers that were used up are in the way: %+v", result)
	}
}

// A committer that saw more is not fooled at all.
func TestACommitterThatIsShownAnOlderTimestamp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	past := w.freeze(t)
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v1), "broken", signers(w.engineer)))
	shown := &switched{w.store}
	committer := w.over(t, shown, w.online)
	commit(t, committer)
	shown.Store = past
	err := w.refused(t, func() error { _, err := committer.Commit(ctx); return err })
	if e := wantError[*trust.Error](t, err, "timestamp"); e.Kind != trust.Rollback {
		t.Errorf("%+v", e)
	}
}

// switched is a store that can become another.
type switched struct{ storage.Store }

// The list of recalls is withheld from a committer, or an older one shown: the certificate of what was recalled stays out, and all else goes on.
func TestARecallHiddenFromTheCommitter(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string]func(t *testing.T, w *world, file, older string){
		"withheld":     func(t *testing.T, _ *world, file, _ string) { check(t, os.Remove(file)) },
		"an older one": func(t *testing.T, _ *world, file, older string) { check(t, os.Rename(older, file)) },
		"damaged":      func(t *testing.T, _ *world, file, _ string) { check(t, os.Truncate(file, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.validated(t, v1)
			mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v1), "broken", signers(w.engineer)))
			id := w.craft(t, crafted{readyRole, w.stageCopy(t, manifest.StageReady, v1), signers(w.certA, w.certB)})
			other := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "ceph@1.0.0", nil), signers(w.cephEngineer))).Proposal
			at := func(n int64) string {
				return filepath.Join(w.dir, filepath.FromSlash(manifest.RoleObject(recalledRole, n)))
			}
			n := w.view(t).Snapshot().Roles[recalledRole].Version
			hide(t, w, at(n), at(n-1))
			result := commit(t, w.publisher(t, w.online))
			if len(result.Committed) != 1 || result.Committed[0].ID != other || len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, recalledRole) {
				t.Errorf("%+v", result)
			}
		})
	}
}

// TestACommitterOfNoMemoryIsShownARobbedRoot: last year's catalog, whose root has expired, with its renewal by thieves of the keys of
// that time. A new state directory cannot know better, so that this one would be committed; with the newest root in its
// configuration (root_fingerprint, root_version), or its old state directory, it is not.
func TestACommitterOfNoMemoryIsShownARobbedRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass(t, 355)
	past := w.copy(t)
	seen := w.publisher(t, w.online)
	fresh := catalogtest.NewKey(t)
	mustCommit(t)(seen.ChangeRole(ctx, rotate(trust.RoleRoot, w.root[0], fresh), nil, signers(w.root[0], w.root[1], fresh)))
	past.now = w.now.Add(15 * catalogtest.Day)
	_, err := past.publisher(t, nil).Renew(ctx, publisher.RenewRequest{}, signers(w.root[0], w.root[1]))
	check(t, err)
	committer := func(o catalog.Options) *publisher.Publisher {
		t.Helper()
		o.Store, o.Now = past.store, past.clock
		c, err := catalog.Open(ctx, o)
		check(t, err)
		return &publisher.Publisher{Catalog: c, Store: past.store, Now: past.clock, Online: w.online, Scratch: t.TempDir()}
	}
	for name, p := range map[string]*publisher.Publisher{
		"the newest root is pinned": committer(catalog.Options{Dir: t.TempDir(), RootFingerprint: catalog.Fingerprint(w.object(t, "metadata/2.root.json")), RootVersion: 2}),
		"its old state":             committer(catalog.Options{Dir: seen.Catalog.Dir(), RootFingerprint: w.fingerprint}),
	} {
		before := past.object(t, manifest.TimestampObject)
		if _, err := p.Commit(ctx); err == nil || !bytes.Equal(past.object(t, manifest.TimestampObject), before) || slices.Contains(past.objects(t), "metadata/2.root.json") {
			t.Errorf("%s: %v; %q", name, err, past.objects(t))
		}
	}
	_, err = committer(catalog.Options{Dir: t.TempDir(), RootFingerprint: w.fingerprint}).Commit(ctx)
	if !slices.Contains(past.objects(t), "metadata/2.root.json") {
		t.Errorf("nothing was there to be refused: %v", err)
	}
}
