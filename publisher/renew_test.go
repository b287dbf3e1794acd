package publisher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

func (w *world) renew(t *testing.T, p *publisher.Publisher, within time.Duration, by ...key) map[string]publisher.RoleExpiry {
	t.Helper()
	list, err := p.Renew(ctx, publisher.RenewRequest{Within: within}, signers(by...))
	check(t, err)
	byRole := map[string]publisher.RoleExpiry{}
	for _, e := range list {
		byRole[e.Role] = e
	}
	return byRole
}

// pass lets time pass, with a committer who does its work every few days.
func (w *world) pass(t *testing.T, days int) {
	t.Helper()
	for range days / 5 {
		w.now = w.now.Add(5 * catalogtest.Day)
		commit(t, w.publisher(t, w.online))
	}
}

func TestRenewTellsWhatExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	list := w.renew(t, w.publisher(t, nil), 0)
	for role, by := range map[string]string{"root": publisher.RenewedByHolders, "timestamp": publisher.RenewedByCommitter, "snapshot": publisher.RenewedByCommitter,
		"journal": publisher.RenewedByCommitter, "targets": publisher.RenewedByHolders, "registry": publisher.RenewedByHolders, readyRole: publisher.RenewedByHolders} {
		if e := list[role]; e.By != by || e.Due || e.Outcome != nil || e.Expires.IsZero() || e.Left <= 0 || len(e.Keys) < e.Threshold {
			t.Errorf("%s: %+v", role, e)
		}
	}
	w.pass(t, 65)
	list = w.renew(t, w.publisher(t, nil), 0)
	for role, e := range list {
		if due := role == readyRole || role == recalledRole; e.Due != due || e.Outcome != nil {
			t.Errorf("after 65 days, %s: %+v", role, e)
		}
	}
	for role, e := range w.renew(t, w.publisher(t, nil), 10*catalogtest.Day) {
		if e.Due {
			t.Errorf("within 10 days, %s: %+v", role, e)
		}
	}
}

// Of two certifiers each signs the renewal on a laptop; it changes nothing but the expiry, and a second time is once.
func TestRenewInTwoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	before := w.view(t)
	w.pass(t, 65)
	first := w.renew(t, w.publisher(t, nil), 0, w.certA)
	if out := first[readyRole].Outcome; out == nil || out.Status != publisher.Pending || first["product.openstack"].Yours || first["targets"].Outcome != nil {
		t.Fatalf("%+v", first)
	}
	if out := first[recalledRole].Outcome; out == nil || out.WaitsFor != "the committer (kitchen commit)" {
		t.Errorf("%+v", out)
	}
	again := w.renew(t, w.publisher(t, nil), 0, w.certA)
	if again[readyRole].Outcome.Proposal != first[readyRole].Outcome.Proposal || again[readyRole].Waiting != first[readyRole].Outcome.Proposal ||
		!slices.Equal(again[readyRole].Signed, []string{short(w.certA)}) {
		t.Errorf("%+v", again[readyRole])
	}
	second := w.renew(t, w.publisher(t, w.online), 0, w.certB)
	if out := second[readyRole].Outcome; out.Status != publisher.Committed || !strings.Contains(out.Summary[0], "signed again, valid until") {
		t.Errorf("%+v", out)
	}
	after := w.view(t)
	old, err := before.Role(readyRole)
	check(t, err)
	now, err := after.Role(readyRole)
	check(t, err)
	if now.Version != old.Version+1 || !now.Expires.After(old.Expires) || len(now.Targets) != len(old.Targets) {
		t.Errorf("was %+v, is %+v", old, now)
	}
	if e := w.renew(t, w.publisher(t, nil), 0)[readyRole]; e.Due {
		t.Errorf("still due: %+v", e)
	}
	w.wantStage(t, v1, manifest.StageReady)
	_, err = w.publisher(t, nil).Renew(ctx, publisher.RenewRequest{}, signers(w.stranger))
	wantError[*publisher.SignsNoRole](t, err)
}

// What expired comes back by the signatures of its holders, and by nobody else's.
func TestExpiredRolesComeBack(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	start.certified(t, v1)
	for role, by := range map[string][]key{"registry": {start.admin}, productRole: {start.engineer}, readyRole: {start.certA, start.certB}, "validated.openstack": {start.validator},
		recalledRole: {start.certA}, "targets": start.root[:2]} {
		start.force(t, role, func(r *trust.Targets) { r.Expires = start.now.Add(60 * catalogtest.Day) }, signers(by...)...)
	}
	start.pass(t, 55)
	start.now = start.now.Add(6 * catalogtest.Day)
	for name, catalogExpired := range map[string]bool{"with a committer at work": false, "abandoned for a month": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start.copy(t)
			if catalogExpired {
				w.now = w.now.Add(31 * catalogtest.Day)
			}
			if _, err := w.catalog(t, w.store).Refresh(ctx); err == nil {
				t.Fatal("a reader takes an expired targets role")
			}
			early, err := w.publisher(t, nil).Renew(ctx, publisher.RenewRequest{}, signers(w.admin))
			check(t, err)
			for _, e := range early {
				if e.Outcome != nil {
					t.Errorf("signed before targets was: %+v", e)
				}
			}
			_, err = w.publisher(t, nil).Publish(ctx, source(t, v2, nil), signers(w.engineer))
			wantError[*trust.Error](t, err, "expired")
			w.refused(t, func() error {
				_, err := w.publisher(t, w.online).Commit(ctx)
				return err
			})
			w.renew(t, w.publisher(t, nil), 0, w.root[0])
			must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[1])))
			if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
				t.Fatalf("%+v", result)
			}
			for _, by := range []key{w.admin, w.engineer, w.cephEngineer, w.validator, w.certA, w.certB} {
				w.renew(t, w.publisher(t, w.online), 0, by)
			}
			w.wantStage(t, v1, manifest.StageReady)
			for role, e := range w.renew(t, w.publisher(t, nil), 0) {
				if e.Due && !(role == "recalled.ceph" && catalogExpired) {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// TestAnExpiredRootComesBack: a catalog of which everybody but the committer forgot the roles, by the signatures of their holders,
// root first.
func TestAnExpiredRootComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	w.pass(t, 360)
	w.now = w.now.Add(10 * catalogtest.Day)
	if _, err := w.catalog(t, w.store).Refresh(ctx); err == nil || !strings.Contains(err.Error(), "root") {
		t.Fatalf("a reader takes an expired root: %v", err)
	}
	_, err := w.publisher(t, w.online).Commit(ctx)
	wantError[*trust.Error](t, err, "expired", "kitchen renew")
	_, err = w.publisher(t, nil).Publish(ctx, source(t, v2, nil), signers(w.engineer))
	wantError[*trust.Error](t, err, "expired")
	for _, role := range []string{"root", "targets"} {
		for name, e := range w.renew(t, w.publisher(t, nil), 0, w.root[0]) {
			if (e.Outcome != nil) != (name == role) {
				t.Errorf("%s is next, and %s: %+v", role, name, e.Outcome)
			}
		}
		must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, role, nil, signers(w.root[1])))
		_, err := w.publisher(t, w.online).Commit(ctx)
		if (err != nil) != (role == "root") { // targets has expired still
			t.Fatalf("%s: %v", role, err)
		}
	}
	for _, by := range []key{w.admin, w.engineer, w.cephEngineer, w.validator, w.certA, w.certB} {
		w.renew(t, w.publisher(t, w.online), 0, by)
	}
	w.wantStage(t, v1, manifest.StageReady)
	if n := w.view(t).Root().Version; n != 2 {
		t.Errorf("root %d", n)
	}
}

// TestAnExpiredRootIsRenewedByFile: the holders of an expired root sign without a network, too.
func TestAnExpiredRootIsRenewedByFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass(t, 360)
	w.now = w.now.Add(10 * catalogtest.Day)
	for _, role := range []string{"root", "targets"} {
		if e := w.renew(t, w.publisher(t, nil), 0, w.root[0])[role]; e.Outcome == nil || e.Outcome.Status != publisher.Pending {
			t.Fatalf("%s: %+v", role, e)
		}
		signed := w.signFile(t, w.export(t, role), w.root[1])
		must(t, publisher.Pending)(w.publisher(t, nil).TakeSignatures(ctx, signed))
		_, err := w.publisher(t, w.online).Commit(ctx)
		if (err != nil) != (role == "root") { // targets has expired still
			t.Fatalf("%s: %v", role, err)
		}
	}
	v, err := w.catalog(t, w.store).Refresh(ctx)
	check(t, err)
	if v.Root().Version != 2 || !v.Root().Expires.After(w.now) {
		t.Errorf("root %d, until %s", v.Root().Version, v.Root().Expires)
	}
}

// TestACatalogNeglectedForAYearComesBack: nobody did anything since the day it was founded, and everything has expired, the
// timestamp more than a year ago. Its holders and the committer bring it back, with their old state or with none.
func TestACatalogNeglectedForAYearComesBack(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	kept := t.TempDir()
	open := func(t *testing.T, w *world, o catalog.Options) *publisher.Publisher {
		t.Helper()
		o.Store, o.Now, o.RootFingerprint = w.store, w.clock, w.fingerprint
		c, err := catalog.Open(ctx, o)
		check(t, err)
		return &publisher.Publisher{Catalog: c, Store: w.store, Now: w.clock, Online: w.online, Scratch: t.TempDir()}
	}
	_, err := open(t, start, catalog.Options{Dir: kept}).Catalog.Refresh(ctx)
	check(t, err)
	start.now = start.now.Add(370 * catalogtest.Day)
	for name, dir := range map[string]string{"the committer's own state": kept, "an empty one, and the newest root's number": t.TempDir()} {
		w := start.copy(t)
		committer := open(t, w, catalog.Options{Dir: dir, RootVersion: 1})
		_, err := committer.Commit(ctx)
		wantError[*publisher.Lapsed](t, err, "expired", "kitchen renew")
		_, err = w.publisher(t, nil).Pending(ctx)
		check(t, err)
		for _, role := range []string{"root", "targets"} {
			for _, e := range w.renew(t, w.publisher(t, nil), 0, w.root[:2]...) {
				after := map[string]string{"root": "", "targets": map[string]string{"root": "root"}[role]}
				if want, ok := after[e.Role]; ok && e.After != want || !ok && e.By == publisher.RenewedByHolders && e.After != "targets" {
					t.Errorf("%s: %s comes after %q", name, e.Role, e.After)
				}
				if (e.Outcome != nil) != (e.Role == role) {
					t.Errorf("%s: %s is next, and %s: %+v", name, role, e.Role, e.Outcome)
				}
			}
			result, err := committer.Commit(ctx)
			if (err != nil) != (role == "root") || result == nil || len(result.Committed) != 1 {
				t.Fatalf("%s, %s: %+v, %v", name, role, result, err)
			}
		}
		for _, by := range []key{w.admin, w.engineer, w.cephEngineer, w.validator, w.certA, w.certB} {
			w.renew(t, w.publisher(t, w.online), 0, by)
		}
		if v := w.view(t); v.Root().Version != 2 || v.Lapsed() != "" {
			t.Errorf("%s: root %d, %q", name, v.Root().Version, v.Lapsed())
		}
	}
}

// TestWhatTookEffectIsToldBesideAnError: root is in effect again, targets is not: both are said, and each thing once.
func TestWhatTookEffectIsToldBesideAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = w.now.Add(370 * catalogtest.Day)
	w.renew(t, w.publisher(t, nil), 0, w.root[:2]...)
	p := w.publisher(t, w.online)
	heard := &listener{counted: map[string]int{}}
	p.Progress = heard
	result, err := p.Commit(ctx)
	wantError[*publisher.Lapsed](t, err, "targets")
	if result == nil || len(result.Committed) != 1 || result.Committed[0].Roles[0].Role != "root" || result.Version == 0 {
		t.Errorf("%+v", result)
	}
	for text, n := range heard.counted {
		if n > 1 {
			t.Errorf("%d times: %s", n, text)
		}
	}
	if len(heard.counted) == 0 {
		t.Error("the journal's note is not said")
	}
}

// listener counts the notes that it hears.
type listener struct {
	progress.Silent
	counted map[string]int
}

func (l *listener) Note(text string) { l.counted[text]++ }
