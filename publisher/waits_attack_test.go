package publisher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A quiet round of the committer's service costs what it says: the next root, the timestamp, the list of proposals, and a
// list of each site's reports, however much waits.
func TestAQuietRoundOfTheCommitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	store := storagetest.NewLedger(t).Watch(w.store)
	rounds := &publisher.CommitRounds{Publisher: w.over(t, store, w.online)}
	round := func() *publisher.CommitResult {
		t.Helper()
		result, err := rounds.Round(ctx)
		check(t, err)
		return result
	}
	if first := round(); first == nil || len(first.Incomplete) != 1 {
		t.Fatalf("%+v", first)
	}
	const sites = 2
	for range 3 {
		before := store.Count("")
		if quiet := round(); quiet != nil {
			t.Fatalf("nothing is new, and yet: %+v", quiet)
		}
		if n := store.Count("") - before; n != 3+sites {
			t.Errorf("a quiet round took %d requests, not %d", n, 3+sites)
		}
	}
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, nil, signers(w.certB)))
	if result := round(); result == nil || len(result.Committed) != 1 {
		t.Fatalf("%+v", result)
	}
	w.report(t, "acme/staging", w.stagingCI, v1, "PASSED", nil)
	if result := round(); result == nil || result.Journaled != 1 {
		t.Fatalf("%+v", result)
	}
	for renewed, days := 0, 0; days < 40; days++ {
		w.now = w.now.Add(catalogtest.Day)
		if result := round(); result != nil && result.Renewed {
			renewed++
		}
		if v := w.view(t); v.Timestamp().Expires.Sub(w.now) < 3*catalogtest.Day || v.Snapshot().Expires.Sub(w.now) < 14*catalogtest.Day {
			t.Fatalf("day %d: timestamp until %s, snapshot until %s", days, v.Timestamp().Expires, v.Snapshot().Expires)
		}
	}
	journal, err := w.view(t).Role("journal")
	check(t, err)
	if journal.Expires.Sub(w.now) < 14*catalogtest.Day {
		t.Errorf("the journal's role is left until %s", journal.Expires)
	}
}

// Ten thousand proposals that are none, and signatures of strangers: the service does its work, and a quiet round does
// not read one of them.
func TestTenThousandGarbageProposalsBeforeTheCommitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 10_000 {
		dir := filepath.Join(w.dir, "pending", fmt.Sprintf("%s.9.%016x", productRole, i))
		check(t, os.MkdirAll(dir, 0o755))
		check(t, os.WriteFile(filepath.Join(dir, "proposal.json"), []byte("{}"), 0o644))
		if i%100 == 0 {
			write(t, filepath.Join(dir, "sig", productRole, fmt.Sprintf("%s-%064x.json", w.stranger.TUF.ID, i)), "{}")
		}
	}
	id := w.waits(t)
	store := storagetest.NewLedger(t).Watch(w.store)
	rounds := &publisher.CommitRounds{Publisher: w.over(t, store, w.online)}
	result, err := rounds.Round(ctx)
	check(t, err)
	if len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Fatalf("%+v", result)
	}
	if n := store.Count(""); n > 200 {
		t.Errorf("%d requests", n)
	}
	before := store.Count("")
	if quiet, err := rounds.Round(ctx); quiet != nil || err != nil {
		t.Errorf("%+v %v", quiet, err)
	}
	if n := store.Count("") - before; n > 8 {
		t.Errorf("a quiet round takes %d requests", n)
	}
}

// What proposal.json says of a stale proposal is not what is proposed again: its payload is.
func TestAgainBelievesThePayloadAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	yank := func(r *trust.Targets) {
		for path, target := range r.Targets {
			target.Custom = map[string]string{"seq": target.Custom["seq"], "yanked": "of another mind"}
			r.Targets[path] = target
		}
	}
	id := w.overtaken(t, func(w *world) error {
		w.craft(t, crafted{productRole, yank, signers(w.colleague)}) // "harmless, believe me"
		return nil
	}, func(w *world) error { w.publish(t, v2); return nil })
	out := must(t, publisher.Pending)(w.publisher(t, nil).Again(ctx, id, nil, signers(w.engineer)))
	if said := strings.Join(out.Summary, "\n"); !strings.Contains(said, "yank "+v1+": \"of another mind") || strings.Contains(said, "harmless") {
		t.Errorf("it is said to be %q", said)
	}
}

// A signature that was given holds until the proposal lapses; whoever signs its role again as it is ends it, and the
// committer prefers that, even if the dropped proposal is complete by then.
func TestADroppedProposalIsSuperseded(t *testing.T) {
	t.Parallel()
	for _, complete := range []bool{false, true} {
		t.Run(fmt.Sprint(complete), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.certified(t, v1)
			w.validated(t, v2)
			out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certA))
			files := w.pendingFiles(t, out.Proposal)
			told, err := w.publisher(t, nil).Drop(ctx, out.Proposal, publisher.DropRequest{}, nil)
			check(t, err)
			if told.Harmless != "" || told.Supersedes != readyRole || !told.Until.Equal(w.now.UTC().Add(14*catalogtest.Day)) {
				t.Errorf("%+v", told)
			}
			wantError[*publisher.NotAuthorized](t, w.refused(t, func() error {
				_, err := w.publisher(t, w.online).Drop(ctx, out.Proposal, publisher.DropRequest{Supersede: true}, signers(w.engineer))
				return err
			}))
			drop, err := w.publisher(t, nil).Drop(ctx, out.Proposal, publisher.DropRequest{Supersede: true}, signers(w.certA))
			check(t, err)
			if drop.Outcome.Status != publisher.Pending || drop.Outcome.Proposal == out.Proposal {
				t.Fatalf("%+v", drop.Outcome)
			}
			offered := []string{}
			note := func(p publisher.PendingProposal) (bool, error) { offered = append(offered, p.ID); return true, nil }
			signed := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, note, signers(w.certB)))
			if !slices.Equal(offered, []string{drop.Outcome.Proposal}) || len(signed.Notes) != 1 || !strings.Contains(signed.Notes[0], "kitchen sign "+out.Proposal) {
				t.Errorf("offered %q, told %q", offered, signed.Notes)
			}
			if complete {
				must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, out.Proposal, nil, signers(w.certB)))
			}
			result := commit(t, w.publisher(t, w.online))
			if len(result.Committed) != 1 || result.Committed[0].ID != drop.Outcome.Proposal || w.stage(t, v2) != "validated" || w.stage(t, v1) != "ready-to-deploy" {
				t.Fatalf("%+v", result)
			}
			ended, err := w.publisher(t, nil).Drop(ctx, out.Proposal, publisher.DropRequest{}, nil)
			check(t, err)
			if !strings.Contains(ended.Harmless, "can never take effect") {
				t.Errorf("%+v", ended)
			}
			// Deleted, and put back by whoever kept it: it stays what it was.
			_, err = w.publisher(t, nil).Drop(ctx, out.Proposal, publisher.DropRequest{Delete: true}, nil)
			wantError[*publisher.NoOnlineKey](t, err)
			gone, err := w.publisher(t, w.online).Drop(ctx, out.Proposal, publisher.DropRequest{Delete: true}, nil)
			check(t, err)
			if gone.Deleted < len(files) {
				t.Errorf("deleted %d of %d objects", gone.Deleted, len(files))
			}
			_, err = w.publisher(t, nil).PendingOne(ctx, out.Proposal)
			wantError[*publisher.UnknownProposal](t, err)
			for key, data := range files {
				w.overwrite(t, key, data)
			}
			if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
				t.Errorf("%+v", result)
			}
		})
	}
}

// On an expired targets role nothing takes effect but its renewal, whoever signs and whatever the committer is given.
func TestNothingTakesEffectOnExpiredTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.force(t, "targets", func(r *trust.Targets) { r.Expires = w.now.Add(catalogtest.Day) }, signers(w.root[:2]...)...)
	w.now = w.now.Add(catalogtest.Day / 2)
	must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "broken", signers(w.engineer)))
	w.now = w.now.Add(catalogtest.Day)
	wantError[*trust.Error](t, w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Commit(ctx)
		return err
	}), "targets: expired", "kitchen renew --key FILE")
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || !strings.Contains(pending[0].Refused, "its holders renew that first (kitchen renew --key FILE)") {
		t.Errorf("%+v", pending)
	}
	err = w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Sign(ctx, recalledRole, nil, signers(w.certA))
		return err
	})
	wantError[*publisher.Refused](t, err, "targets")
	w.renew(t, w.publisher(t, w.online), 0, w.root[:2]...)
	commit(t, w.publisher(t, w.online))
	if w.info(t, v1).Recalled == nil {
		t.Error("the recall is lost")
	}
}

// Somebody who holds another role names the role of a waiting change in a proposal of his own, as it is, later, and unsigned by
// any of that role's holders: the change is not said to be superseded, and is offered to its signers as before. One of the
// holders can say so.
func TestAStrangerSupersedesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certA))
	shown := func() *publisher.PendingProposal {
		t.Helper()
		p, err := w.publisher(t, nil).PendingOne(ctx, out.Proposal)
		check(t, err)
		return p
	}
	w.now = w.now.Add(time.Minute)
	w.craft(t, crafted{recalledRole, nil, signers(w.engineer)}, crafted{readyRole, nil, signers(w.engineer)})
	if p := shown(); p.SupersededBy != "" || !strings.Contains(p.WaitsFor(), "1 more signature") {
		t.Errorf("superseded by a stranger: %+v", p)
	}
	offered := []string{}
	note := func(p publisher.PendingProposal) (bool, error) { offered = append(offered, p.ID); return false, nil }
	must(t, publisher.Declined)(w.publisher(t, nil).Sign(ctx, readyRole, note, signers(w.certB)))
	if !slices.Contains(offered, out.Proposal) {
		t.Errorf("offered: %q", offered)
	}
	by := w.craft(t, crafted{readyRole, nil, signers(w.certB)})
	if p := shown(); p.SupersededBy != by || !strings.Contains(p.WaitsFor(), "kitchen sign "+by) {
		t.Errorf("a holder cannot supersede it: %+v", p)
	}
}

// Somebody who holds another role puts all of a waiting change, and more, into a proposal of his own, which none of the
// role's holders has signed: the change is offered to its signers as before.
func TestAStrangerContainsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certA))
	change, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(out.Proposal, manifest.PayloadName(readyRole))))
	check(t, err)
	w.now = w.now.Add(time.Minute)
	more := func(next *trust.Targets) {
		next.Targets = change.Targets
		delete(next.Targets, "ready-to-deploy/openstack/1.0.0/manifest.toml")
	}
	w.craft(t, crafted{recalledRole, nil, signers(w.engineer)}, crafted{readyRole, more, nil})
	shown, err := w.publisher(t, nil).PendingOne(ctx, out.Proposal)
	check(t, err)
	if shown.Within != "" {
		t.Errorf("contained in a stranger's: %+v", shown)
	}
	by := w.craft(t, crafted{readyRole, more, signers(w.certB)})
	if shown, err = w.publisher(t, nil).PendingOne(ctx, out.Proposal); err != nil || shown.Within != by {
		t.Errorf("not contained in a holder's: %v %+v", err, shown)
	}
}
