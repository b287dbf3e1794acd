package publisher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A thief of one engineer's key leaves more changes than anybody looks at, under names that sort before a recall's and a rotation's:
// what others signed is shown, signed and committed as before, and the flood is said to be one.
func TestOneKeyFloodsWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	for i := range 60 {
		w.craft(t, crafted{productRole, func(r *trust.Targets) {
			for path, target := range r.Targets {
				target.Custom = map[string]string{"seq": target.Custom["seq"], "yanked": fmt.Sprint(i)}
				r.Targets[path] = target
			}
		}, signers(w.engineer)})
	}
	w.now = w.now.Add(time.Minute)
	laptop := w.publisher(t, nil)
	recall := must(t, publisher.Pending)(laptop.Recall(ctx, release(v1), "hole", signers(w.certA))).Proposal
	rotation := must(t, publisher.Pending)(laptop.ChangeRole(ctx, rotate(productRole, w.engineer, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	by := w.craft(t, crafted{productRole, nil, signers(w.colleague)})
	told := &listener{counted: map[string]int{}}
	laptop.Progress = told
	pending, err := laptop.Pending(ctx)
	check(t, err)
	shown := map[string]bool{}
	for _, p := range pending {
		shown[p.ID] = true
	}
	if !shown[recall] || !shown[rotation] || !shown[by] || len(pending) != 50+3 {
		t.Errorf("%d are shown, of others: recall %v, rotation %v, colleague %v", len(pending), shown[recall], shown[rotation], shown[by])
	}
	if text := fmt.Sprint(told.counted); !strings.Contains(text, "10 more proposals for "+productRole+" signed by key "+short(w.engineer)) {
		t.Errorf("of the flood it says %q", text)
	}
	for _, key := range w.objects(t) {
		id, _, _, _, err := manifest.ParsePendingObject(key)
		if err != nil || shown[id] {
			continue
		}
		_, _, err = laptop.ToSign(ctx, id)
		wantError[*publisher.NothingToSign](t, err, "so many others waiting")
		break
	}
	if ids, _ := w.offered(t, "targets", w.root[1]); len(ids) != 1 || ids[0] != rotation {
		t.Errorf("offered: %q", ids)
	}
	if result := commit(t, w.publisher(t, w.online)); w.info(t, v1).Recalled == nil {
		t.Errorf("the recall is not in effect: %+v", result.Committed)
	}
}

// A thief of one validator's key leaves more changes to lapse than anybody is shown, after a recall that lapsed, too, for want of a
// second signature: that it came to nothing is shown all the same.
func TestOneKeysLapsedProposalsHideNoOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	laptop := w.publisher(t, nil)
	honest := must(t, publisher.Pending)(laptop.Decertify(ctx, release(v1), publisher.DecertifyRequest{Reason: "hole"}, signers(w.certA))).Proposal
	for i := range 120 {
		w.craft(t, crafted{"validated.openstack", func(r *trust.Targets) {
			clear(r.Targets)
			r.Expires = r.Expires.Add(-time.Duration(i) * time.Minute)
		}, signers(w.validator)})
	}
	w.now = w.now.Add(15 * catalogtest.Day)
	commit(t, w.publisher(t, w.online))
	told := &listener{counted: map[string]int{}}
	laptop = w.publisher(t, nil)
	laptop.Progress = told
	pending, err := laptop.Pending(ctx)
	check(t, err)
	if !slices.ContainsFunc(pending, func(p publisher.PendingProposal) bool { return p.ID == honest && p.Stale != "" }) {
		t.Errorf("of %d that are shown none is %s", len(pending), honest)
	}
	if text := fmt.Sprint(told.counted); len(pending) > 51 || !strings.Contains(text, "of what went stale, at most the 50 newest") {
		t.Errorf("%d are shown, and it says %q", len(pending), text)
	}
}

// A stranger copies the payload and the signature of a holder of targets who exchanges an engineer's key, and puts beside it payloads of
// his own for that role, which nobody has signed, fifty-five times: the rotation is shown, and they are not.
func TestCopiesBesideOtherUnsignedPayloadsHideARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	fresh := catalogtest.NewKey(t)
	good := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, fresh), nil, signers(w.root[0]))).Proposal
	files := w.pendingFiles(t, good)
	parse := func(role string) *trust.Targets {
		t.Helper()
		payload, err := trust.ParseTargetsPayload(files[manifest.ProposalObject(good, manifest.PayloadName(role))])
		check(t, err)
		return payload
	}
	targets, product := parse("targets"), parse(productRole)
	for i := range 55 {
		id := w.craft(t, crafted{"targets", func(r *trust.Targets) { *r = *targets.Clone() }, nil},
			crafted{productRole, func(r *trust.Targets) {
				*r = *product.Clone()
				r.Expires = r.Expires.Add(-time.Duration(i+1) * time.Second)
			}, nil})
		for key, data := range files {
			if strings.Contains(key, "/sig/targets/") {
				w.put(t, strings.Replace(key, good, id, 1), data)
			}
		}
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].ID != good {
		t.Errorf("%d are shown, the first is %s, not %s", len(pending), pending[0].ID, good)
	}
	for _, by := range []key{w.root[1], fresh} {
		_, err := w.publisher(t, nil).Sign(ctx, map[bool]string{true: productRole, false: "targets"}[by == fresh], nil, signers(by))
		check(t, err)
	}
	commit(t, w.publisher(t, w.online))
	if authority, _ := w.view(t).Authority(productRole); authority.Has(w.engineer.TUF.ID) {
		t.Error("the key is there still")
	}
}
