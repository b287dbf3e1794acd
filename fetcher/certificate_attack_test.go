package fetcher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// The vendor, or a thief of its root keys, gives the customer's role other certifiers, or makes one of them enough: a host
// that pins them says who signed.
func TestPinnedRoleWithSwappedKeys(t *testing.T) {
	role := manifest.RoleReadyFor("openstack", "acme")
	own, second, thief := catalogtest.NewKey(t), catalogtest.NewKey(t), catalogtest.NewKey(t)
	pin := GatePin{Keys: []string{own.TUF.ID, second.TUF.ID}, Threshold: 2}
	for name, c := range map[string]struct {
		threshold int
		keys      []*catalogtest.Key
		trusted   bool
	}{
		"as pinned":       {2, []*catalogtest.Key{own, second}, true},
		"another beside":  {2, []*catalogtest.Key{own, second, thief}, true},
		"swapped keys":    {2, []*catalogtest.Key{own, thief}, false},
		"all swapped":     {1, []*catalogtest.Key{thief}, false},
		"lower threshold": {1, []*catalogtest.Key{own}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			w.Delegate(role, c.threshold, c.keys...)
			w.Promote(role, r1, map[string]string{catalog.CustomRecalledVersion: "1"})
			f := at(t, w, "acme/prod", "")
			f.Gate = Gate{Require: []string{"product", "validated", "ready-to-deploy.acme"}, Pins: map[string]GatePin{"ready-to-deploy.acme": pin}}
			verdict, err := f.Ready(context.Background(), f.view(t), release(t, r1), ReadyOptions{})
			var swapped *PinnedKeys
			switch {
			case c.trusted && (err != nil || !verdict.Ready):
				t.Errorf("%+v, %v", verdict, err)
			case !c.trusted && (!errors.As(err, &swapped) || swapped.Role != role || swapped.Want != 2 || swapped.Have > 1 || len(swapped.Signers) == 0):
				t.Errorf("%+v, %v", verdict, err)
			}
		})
	}
}

// A certificate that rests on a waiver ends with it, offline too.
func TestACertificateWhoseWaiverEnded(t *testing.T) {
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	until := w.Now.AddDate(0, 0, 3).Format("2006-01-02")
	w.Edit(manifest.RoleReady("openstack"), func(role *trust.Targets) {
		for path, target := range role.Targets {
			target.Custom[catalog.CustomWaived], target.Custom[catalog.CustomWaivedUntil] = "acme/staging enovance/ci", until
			role.Targets[path] = target
		}
	})
	w.Commit()
	f := at(t, w, "acme/prod", "")
	f.view(t)
	for _, days := range []int{0, 3, 1} { // the day itself, and the day after
		w.Now = w.Now.AddDate(0, 0, days)
		v, err := w.Open(f.State).Offline(nil)
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := f.Ready(context.Background(), v, release(t, r1), ReadyOptions{})
		if err != nil || verdict.Ready != (days != 1) || verdict.WaivedUntil != until || !slices.Equal(verdict.Waived, []string{"acme/staging", "enovance/ci"}) {
			t.Errorf("%+v, %v", verdict, err)
		}
		if days == 1 && (len(verdict.Unmet) != 1 || !strings.Contains(verdict.Unmet[0].Detail, "ended with "+until)) {
			t.Errorf("%+v", verdict.Unmet)
		}
	}
}

// Evidence that is not at hand is no evidence: asked for, it makes a no of a yes.
func TestReadyWantsEvidenceThatIsNotAtHand(t *testing.T) {
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "")
	f.view(t)
	v, err := w.Open(f.State).Offline(nil)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := f.Ready(context.Background(), v, release(t, r1), ReadyOptions{Evidence: true})
	if err != nil || verdict.Ready || len(verdict.Unmet) != 1 || !strings.Contains(verdict.Unmet[0].Detail, "not checkable") {
		t.Errorf("%+v, %v", verdict, err)
	}
}
