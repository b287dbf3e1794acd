package catalog_test

import (
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
)

// TestAcceptedClockForgetsNothingButTheTime: a host that saw a timestamp of a committer whose clock was far ahead goes
// on once its own clock is accepted. Older versions are still refused, recalls still stand, and the time that was
// accepted is a floor again.
func TestAcceptedClockForgetsNothingButTheTime(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	old, _ := mirror(t, w)
	w.Recall("openstack@1.0.0", "it burns")
	refresh(t, w, dir)
	issuedAhead(w, 80*catalogtest.Day)
	refresh(t, w, dir)
	w.CommitOnline() // by a clock that is right
	wantKind(t, second(w.Open(dir).Refresh(ctx)), trust.Expired)
	if h := catalog.InspectState(dir); !h.Issued.After(w.Now) || h.Memories != 2 || !h.Used || h.Pin == "" || h.Busy {
		t.Errorf("%+v", h)
	}

	check(t, w.Open(dir).AcceptClock(ctx))
	o := w.Options(dir)
	o.Store = old
	back, err := catalog.Open(ctx, o)
	check(t, err)
	wantKind(t, second(back.Refresh(ctx)), trust.Rollback)
	v := refresh(t, w, dir)
	if v.ClockBehind() || !v.Now().Equal(w.Now) || v.MemoryLost() || len(v.Broken()) > 0 {
		t.Errorf("behind %v, now %s, memory lost %v, broken %v", v.ClockBehind(), v.Now(), v.MemoryLost(), v.Broken())
	}
	recall, err := v.Recall(release("openstack@1.0.0"))
	check(t, err)
	if recall == nil {
		t.Error("the recall is forgotten")
	}
	w.Now = w.Now.Add(-time.Hour)
	if v := refresh(t, w, dir); !v.ClockBehind() {
		t.Error("the accepted time is no floor")
	}
}

// TestAcceptClockOfAClockThatIsRight changes nothing, and without a memory there is nothing to accept on.
func TestAcceptClockOfAClockThatIsRight(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	if w.Open(dir).AcceptClock(ctx) == nil {
		t.Error("accepted without a state")
	}
	refresh(t, w, dir)
	before := contents(t, dir)
	check(t, w.Open(dir).AcceptClock(ctx))
	for name, data := range contents(t, dir) {
		if data != before[name] {
			t.Errorf("%s changed", name)
		}
	}
}
