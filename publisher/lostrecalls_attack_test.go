package publisher_test

import (
	"slices"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// lostRecall leaves a recall of v2 that was built on one of v1 which took effect alone: the committer read the store a moment before.
func lostRecall(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t)
	w.publish(t, v1)
	w.publish(t, v2)
	must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "hole", signers(w.engineer)))
	id = must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v2), "worse", signers(w.certA))).Proposal
	late := w.pendingFiles(t, id)
	for key := range late {
		check(t, w.store.Delete(ctx, key))
	}
	commit(t, w.publisher(t, w.online))
	for key, data := range late {
		w.put(t, key, data)
	}
	return w, id
}

// A recall that is lost in a race is no leftover like others: the committer and a check say what is not recalled, and what recalls it. Once it is
// recalled, however, or the same is asked for again, nobody says so any more.
func TestARecallIsLostInARace(t *testing.T) {
	t.Parallel()
	w, id := lostRecall(t)
	stale := commit(t, w.publisher(t, w.online)).Stale
	if len(stale) != 1 || !slices.Equal(stale[0].NotRecalled, []string{v2}) || stale[0].NotRecalledWords() != v2+" is NOT RECALLED: this never took effect" ||
		!slices.Equal(stale[0].Again, []string{"kitchen pending again " + id + " --key FILE"}) {
		t.Errorf("the committer is told %+v", stale)
	}
	if p := w.pendingOne(t, id); !slices.Equal(p.NotRecalled, []string{v2}) {
		t.Errorf("%+v", p)
	}
	found := func() publisher.Finding {
		t.Helper()
		r, err := w.publisher(t, nil).Check(ctx, publisher.CheckRequest{})
		check(t, err)
		return theFinding(t, r, manifest.PendingPrefix+id+"/")
	}
	f := found()
	says(t, f, v2+" is NOT RECALLED", "kitchen pending again "+id+" --key FILE")
	if f.Severity != publisher.Warning {
		t.Errorf("%+v", f)
	}
	w.now = w.now.Add(catalogtest.Day)
	mustCommit(t)(w.publisher(t, w.online).Again(ctx, id, nil, signers(w.certA)))
	if stale := commit(t, w.publisher(t, w.online)).Stale; len(stale) != 0 {
		t.Errorf("once it was made again: %+v", stale)
	}

	w, _ = lostRecall(t)
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release(v2), "of another mind", signers(w.engineer)))
	for _, p := range commit(t, w.publisher(t, w.online)).Stale {
		if len(p.NotRecalled) > 0 {
			t.Errorf("another recall stops it: %+v", p)
		}
	}
}

// A recall that lapses for want of signatures came to nothing, too.
func TestARecallThatLapses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: recalledRole, Threshold: 2}, nil, signers(w.root[0], w.root[1], w.engineer, w.colleague)))
	must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "hole", signers(w.certA)))
	w.now = w.now.Add(15 * catalogtest.Day)
	stale := commit(t, w.publisher(t, w.online)).Stale
	if len(stale) != 1 || !slices.Equal(stale[0].NotRecalled, []string{v1}) {
		t.Errorf("%+v", stale)
	}
}
