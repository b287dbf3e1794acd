package publisher_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/publisher"
)

// offered signs a role, says no to all, and gives what was asked about.
func (w *world) offered(t *testing.T, role string, by ...key) (ids []string, out *publisher.Outcome) {
	t.Helper()
	out, err := w.publisher(t, nil).Sign(ctx, role, func(p publisher.PendingProposal) (bool, error) {
		ids = append(ids, p.ID)
		return false, nil
	}, signers(by...))
	check(t, err)
	return ids, out
}

func (w *world) pendingOne(t *testing.T, id string) *publisher.PendingProposal {
	t.Helper()
	p, err := w.publisher(t, nil).PendingOne(ctx, id)
	check(t, err)
	return p
}

// A key that is to go signs its role again as it is, and says that this ends its own rotation: nobody is told so, and whoever
// holds either role is asked about the rotation. Kitchen does not make such a renewal; a holder of targets may.
func TestAKeyThatIsToGoSupersedesItsRotation(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: productRole, Threshold: 2}, nil,
		signers(w.root[0], w.root[1], w.engineer, w.colleague)))
	thief := w.engineer
	laptop := w.publisher(t, nil)
	rotation := must(t, publisher.Pending)(laptop.ChangeRole(ctx, rotate(productRole, thief, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	w.now = w.now.Add(time.Minute)
	wantError[*publisher.Refused](t, w.refused(t, func() error {
		_, err := laptop.Drop(ctx, rotation, publisher.DropRequest{Supersede: true}, signers(thief))
		return err
	}), "holders of targets")
	for _, by := range []key{thief, w.colleague} { // the rotation is for targets to drop, whoever else stays
		w.craft(t, crafted{productRole, nil, signers(by)})
		w.now = w.now.Add(time.Minute)
	}
	if p := w.pendingOne(t, rotation); p.SupersededBy != "" {
		t.Errorf("superseded by %s", p.SupersededBy)
	}
	for role, by := range map[string]key{"targets": w.root[1], productRole: w.colleague} {
		if ids, out := w.offered(t, role, by); !slices.Contains(ids, rotation) {
			t.Errorf("%s: offered %q, %s", role, ids, out.Status)
		}
	}
	drop, err := laptop.Drop(ctx, rotation, publisher.DropRequest{Supersede: true}, signers(w.root[1]))
	check(t, err)
	if p := w.pendingOne(t, rotation); p.SupersededBy != drop.Outcome.Proposal || drop.Supersedes != "targets" {
		t.Errorf("targets cannot drop it: %+v", p)
	}
	// What is superseded in another role than the one that is signed is offered there: nothing is left aside unsaid.
	if ids, _ := w.offered(t, productRole, w.colleague); !slices.Contains(ids, rotation) {
		t.Errorf("offered %q", ids)
	}
}

// The rotation of a key whose own role has begun it, and not yet who hands it out: that key does not count either.
func TestAKeyThatIsToGoDropsWhatItsOwnRoleBegan(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	rotation := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, nil), nil, signers(w.root[0]))).Proposal
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, rotation, nil, signers(w.colleague)))
	for key := range w.pendingFiles(t, rotation) {
		if strings.Contains(key, "/sig/targets/") {
			check(t, w.store.Delete(ctx, key))
		}
	}
	w.now = w.now.Add(time.Minute)
	w.craft(t, crafted{productRole, nil, signers(w.engineer)})
	if p := w.pendingOne(t, rotation); p.SupersededBy != "" {
		t.Errorf("superseded by %s", p.SupersededBy)
	}
	by := w.craft(t, crafted{productRole, nil, signers(w.colleague)})
	if p := w.pendingOne(t, rotation); p.SupersededBy != by {
		t.Errorf("a colleague cannot drop it: %+v", p)
	}
}

// One renewal that is dated ahead is to end whatever is proposed for that role in two days.
func TestARenewalDatedAheadSupersedesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.validated(t, v2)
	w.now = w.now.Add(47 * time.Hour)
	by := w.craft(t, crafted{readyRole, nil, signers(w.certA)})
	w.now = w.now.Add(-46 * time.Hour)
	out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certB))
	left := func() {
		t.Helper()
		if p := w.pendingOne(t, out.Proposal); p.SupersededBy != "" {
			t.Errorf("superseded by %s, which was there before", p.SupersededBy)
		}
		if ids, _ := w.offered(t, readyRole, w.certA); !slices.Contains(ids, out.Proposal) {
			t.Errorf("offered %q", ids)
		}
	}
	left()
	// Nor once its day has come: it was there before that, by the store's clock.
	w.seen(t, by, w.now.Add(-time.Hour))
	w.seen(t, out.Proposal, w.now)
	w.now = w.now.Add(47 * time.Hour)
	left()
	drop, err := w.publisher(t, nil).Drop(ctx, out.Proposal, publisher.DropRequest{Supersede: true}, signers(w.certA))
	check(t, err)
	if p := w.pendingOne(t, out.Proposal); drop.Outcome.Proposal == by || p.SupersededBy != drop.Outcome.Proposal {
		t.Errorf("it cannot be dropped: %+v", p)
	}
}

// seen dates the files of a proposal.
func (w *world) seen(t *testing.T, id string, at time.Time) {
	t.Helper()
	for key := range w.pendingFiles(t, id) {
		check(t, os.Chtimes(filepath.Join(w.dir, filepath.FromSlash(key)), at, at))
	}
}

// One certifier signs the list of recalls again as it is, later than an engineer's recall that waits for the committer.
func TestARenewalOutrunsARecall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	recall := must(t, publisher.Pending)(w.publisher(t, nil).Recall(ctx, release(v1), "hole", signers(w.engineer))).Proposal
	w.now = w.now.Add(time.Minute)
	wantError[*publisher.Refused](t, w.refused(t, func() error {
		_, err := w.publisher(t, nil).Drop(ctx, recall, publisher.DropRequest{Supersede: true}, signers(w.certA))
		return err
	}), "nobody drops")
	empty := w.craft(t, crafted{recalledRole, nil, signers(w.certA)})
	product := w.craft(t, crafted{recalledRole, nil, signers(w.certA)}, crafted{productRole, nil, signers(w.colleague)})
	if p := w.pendingOne(t, recall); p.SupersededBy != "" {
		t.Errorf("superseded by %s", p.SupersededBy)
	}
	for _, id := range []string{empty, product} {
		if out := must(t, publisher.Pending)(w.publisher(t, w.online).Sign(ctx, id, nil, signers(w.certA))); !strings.Contains(out.WaitsFor, recall) {
			t.Errorf("%+v", out)
		}
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != recall || w.info(t, v1).Recalled == nil {
		t.Errorf("%+v", result.Committed)
	}
}

// Somebody puts a good change into a larger one, which nobody wants: whoever says no to that is asked about the good one, too.
func TestAContainerThatIsDeclinedHidesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(product string, by key) string {
		t.Helper()
		req := w.openstack()
		req.Name = product
		w.now = w.now.Add(time.Minute)
		return must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(by))).Proposal
	}
	good := add("nova", w.root[0])
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, good, nil, signers(w.root[2])))
	larger := add("evil", w.root[2])
	if p := w.pendingOne(t, good); p.Within != larger {
		t.Fatalf("%+v", p)
	}
	if ids, out := w.offered(t, "targets", w.root[1]); !slices.Equal(ids, []string{larger, good}) || out.Status != publisher.Declined {
		t.Errorf("offered %q, %+v", ids, out)
	}
	note := func(p publisher.PendingProposal) (bool, error) { return p.ID == good, nil }
	if out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", note, signers(w.root[1]))); out.Proposal != good {
		t.Errorf("%+v", out)
	}
	// Whoever has signed the larger one before is told of the other.
	out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[2])))
	if len(out.Notes) != 1 || !strings.Contains(out.Notes[0], larger+" contains it; to sign it alone: kitchen sign "+good) {
		t.Errorf("%q", out.Notes)
	}
}

// Two holders change one role, each in a way of his own: whoever signs both unasked is told that only one can take effect.
func TestTwoRivalsSignedUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for i, product := range []string{"nova", "swift"} {
		req := w.openstack()
		req.Name = product
		ids = append(ids, must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(w.root[i]))).Proposal)
	}
	slices.Sort(ids)
	for i, id := range ids {
		if p := w.pendingOne(t, id); !slices.Equal(p.Rivals, []string{ids[1-i]}) || !strings.Contains(p.Excludes(), "only one of them can take effect") {
			t.Errorf("%+v", p)
		}
	}
	out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[2])))
	if len(out.Others) != 1 || len(out.Notes) != 1 || !strings.Contains(out.Notes[0], ids[0]+" excludes "+ids[1]) {
		t.Errorf("%q", out.Notes)
	}
}
