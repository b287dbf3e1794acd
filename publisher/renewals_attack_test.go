package publisher_test

import (
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
)

// A thief of one of several keys leaves "renewals" that renew nothing, before and after those of the others: a role lives about as long as one
// that was signed now, or is refused. The others' renewals do not join it, are offered as before, and what is due stays due. So for the very
// holder whose key was stolen.
func TestARenewalThatRenewsNothing(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"root", "targets", readyRole} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			by, thief := w.root[:2], w.root[2]
			if role == readyRole {
				w.certified(t, v1)
				by, thief = []key{w.certA, w.certB}, w.certB
			}
			expires := w.expiryOf(t, role)
			w.now = expires.Add(-5 * catalogtest.Day)
			commit(t, w.publisher(t, w.online))
			renewsNothing := func() string {
				if role == "root" {
					return w.craftRoot(t, func(r *trust.Root) { r.Expires = expires.Add(-47 * time.Hour) }, thief)
				}
				return w.craft(t, crafted{role, func(r *trust.Targets) { r.Expires = expires.Add(-47 * time.Hour) }, signers(thief)})
			}
			ids := []string{renewsNothing()}
			if e := w.renew(t, w.publisher(t, nil), 0)[role]; !e.Due || e.Waiting != "" {
				t.Errorf("the thief's stands for a renewal: %+v", e)
			}
			w.now = w.now.Add(time.Minute)
			first := w.renew(t, w.publisher(t, nil), 0, by[0])[role].Outcome
			w.now = w.now.Add(time.Minute)
			ids = append(ids, renewsNothing())
			if first == nil || first.Proposal == ids[0] {
				t.Fatalf("it joins the thief's: %+v", first)
			}
			if offered, _ := w.offered(t, role, by[1]); len(offered) != 1 || offered[0] != first.Proposal {
				t.Errorf("offered: %q, and the good one is %s", offered, first.Proposal)
			}
			for _, id := range ids {
				if p := w.pendingOne(t, id); p.Refused == "" {
					t.Errorf("%s renews nothing, and is not refused", id)
				}
			}
			if out := w.renew(t, w.publisher(t, w.online), 0, by[1])[role].Outcome; out == nil || out.Status == publisher.Unchanged {
				t.Errorf("%+v", out)
			}
			commit(t, w.publisher(t, w.online))
			if now := w.expiryOf(t, role); now.Sub(expires) < 30*catalogtest.Day {
				t.Errorf("%s expires %s, as before", role, now)
			}
		})
	}
}

// The same of a role that is not due for long, and by little: whoever renews it all the same does not join what ends earlier.
func TestARenewalThatEndsEarlier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expires := w.expiryOf(t, "targets")
	id := w.craft(t, crafted{"targets", func(r *trust.Targets) { r.Expires = expires.Add(-20 * time.Hour) }, signers(w.root[2])})
	within := 400 * catalogtest.Day
	if e := w.renew(t, w.publisher(t, nil), within)["targets"]; !e.Due || e.Waiting != "" {
		t.Errorf("it stands for a renewal: %+v", e)
	}
	first := w.renew(t, w.publisher(t, nil), within, w.root[0])["targets"].Outcome
	if first == nil || first.Status != publisher.Pending || first.Proposal == id {
		t.Fatalf("it is joined: %+v", first)
	}
	if out := w.renew(t, w.publisher(t, w.online), within, w.root[1])["targets"].Outcome; out == nil || out.Status != publisher.Committed {
		t.Errorf("%+v", out)
	}
	if now := w.expiryOf(t, "targets"); now.Before(expires) {
		t.Errorf("targets expires %s, and did %s", now, expires)
	}
}

// A thief of a key that is enough for a role shortens its life with one change after the other: it lives as long as
// its kind may less 18 days, at the least.
func TestOneKeyShortensALifeBitByBit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	start := w.now
	for range 12 {
		expires := w.expiryOf(t, recalledRole)
		w.craft(t, crafted{recalledRole, func(r *trust.Targets) { r.Expires = expires.Add(-47 * time.Hour) }, signers(w.engineer)})
		commit(t, w.publisher(t, w.online))
	}
	if left := w.expiryOf(t, recalledRole).Sub(start); left < 71*catalogtest.Day || left > 75*catalogtest.Day {
		t.Errorf("%s left", left)
	}
}

func (w *world) expiryOf(t *testing.T, role string) time.Time {
	t.Helper()
	v := w.view(t)
	if role == "root" {
		return v.Root().Expires
	}
	r, err := v.Role(role)
	check(t, err)
	return r.Expires
}
