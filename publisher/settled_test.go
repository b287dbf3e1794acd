package publisher_test

import (
	"testing"
	"time"

	"github.com/enovance/kitchen/publisher"
)

// settledWorld has a decertification, of one signature, that went stale when another release was certified.
func settledWorld(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	id = w.overtaken(t, func(w *world) error {
		_, err := w.publisher(t, nil).Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "bad driver"}, signers(w.certA))
		return err
	}, func(w *world) error {
		_, err := certify(w.publisher(t, w.online), v2, w.certA, w.certB)
		return err
	})
	return w, id
}

// wantPending holds what pending lists to its ids, in order.
func (w *world) wantPending(t *testing.T, ids ...string) []publisher.PendingProposal {
	t.Helper()
	list, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(list) != len(ids) {
		t.Fatalf("pending lists %+v, want %v", list, ids)
	}
	for i := range list {
		if list[i].ID != ids[i] {
			t.Fatalf("pending lists %+v, want %v", list, ids)
		}
	}
	return list
}

// What was proposed again is told of by the later proposal alone, and by none once that took effect, whatever came after it.
func TestWhatIsSettledIsNotAdvisedAgain(t *testing.T) {
	t.Parallel()
	w, id := settledWorld(t)
	w.wantPending(t, id)
	again := must(t, publisher.Pending)(w.publisher(t, nil).Again(ctx, id, nil, signers(w.certA))).Proposal
	w.wantPending(t, again)

	t.Run("it came into effect, and was undone", func(t *testing.T) {
		w := w.copy(t)
		mustCommit(t)(w.publisher(t, w.online).Sign(ctx, again, nil, signers(w.certB)))
		w.wantPending(t)
		w.now = w.now.Add(time.Minute)
		mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
		w.wantPending(t)
	})
	t.Run("it was dropped", func(t *testing.T) {
		w := w.copy(t)
		w.now = w.now.Add(time.Minute)
		_, err := w.publisher(t, w.online).Drop(ctx, again, publisher.DropRequest{Supersede: true}, signers(w.certA, w.certB))
		check(t, err)
		list := w.wantPending(t, again)
		if !list[0].Dropped || list[0].Stale == "" {
			t.Errorf("%+v", list[0])
		}
		if result := commit(t, w.publisher(t, w.online)); len(result.Stale) != 1 {
			t.Errorf("%+v", result.Stale)
		}
	})
}
