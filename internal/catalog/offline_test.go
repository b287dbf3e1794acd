package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
)

// offlineOnly opens a state directory without any store and without a configured pin.
func offlineOnly(t *testing.T, w *catalogtest.World, dir string) *catalog.Catalog {
	t.Helper()
	o := w.Options(dir)
	o.Store, o.Root = nil, nil
	c, err := catalog.Open(ctx, o)
	check(t, err)
	return c
}

func TestOfflineSaysWhatRefreshSaid(t *testing.T) {
	w, dir := published(t), t.TempDir()
	w.Validate("openstack@1.0.0")
	w.Recall("openstack@1.0.0", "CVE")
	v := refresh(t, w, dir)
	_, want, err := v.Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	before := files(t, dir)
	check(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o755)
	c := offlineOnly(t, w, dir)
	w.Now = w.Now.Add(time.Hour)
	v, err = c.Offline(nil)
	check(t, err)
	wantStage(t, v, "1.0.0", "validated")
	if v.Age() != time.Hour || !v.Offline() || v.TimestampETag() != "" {
		t.Fatalf("age %s", v.Age())
	}
	recall, err := v.Recall(release("openstack@1.0.0"))
	check(t, err)
	if recall == nil || recall.Reason != "CVE" {
		t.Fatalf("recall %v", recall)
	}
	_, got, err := v.Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	if string(got) != string(want) {
		t.Fatal("another manifest")
	}
	if len(files(t, dir)) != len(before) {
		t.Fatal("an offline view wrote")
	}
	for _, err := range []error{second(v.Customers(ctx)), second(v.Reports(ctx, catalog.ReportFilter{})), second(c.Refresh(ctx))} {
		if !errors.Is(err, catalog.ErrOffline) {
			t.Errorf("got %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestOfflineWithoutState(t *testing.T) {
	w := published(t)
	_, err := w.Open(filepath.Join(t.TempDir(), "none")).Offline(nil)
	var missing *catalog.NotRefreshed
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
}

func TestOfflineAfterAnInterruptedRefresh(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	w.Recall("openstack@1.0.0", "CVE")
	remove(t, w, "metadata/2.recalled.openstack.json")
	v := refresh(t, w, dir) // the role is withheld
	wantRoleKind(t, v, "recalled.openstack", trust.Missing)
	v, err := w.Open(dir).Offline(nil)
	check(t, err)
	if _, err := v.Recall(release("openstack@1.0.0")); kindOf(err) == "" {
		t.Fatal("the older role is not to be relied on once a newer one is known")
	}
}

func TestOfflineIsStrict(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	c := offlineOnly(t, w, dir)
	start := w.Now
	for _, at := range []struct {
		age, allow time.Duration
		kind       trust.Kind
	}{
		{catalogtest.TimestampLife - time.Second, 0, ""},
		{catalogtest.TimestampLife, 0, trust.Expired},
		{catalogtest.TimestampLife, catalogtest.TimestampLife, ""},
		{catalogtest.TimestampLife + time.Second, catalogtest.TimestampLife, trust.Expired},
		{catalogtest.SnapshotLife + catalogtest.Day, 60 * catalogtest.Day, ""},
		{catalogtest.LongLife, 10 * catalogtest.LongLife, trust.Expired}, // the root
	} {
		w.Now = start.Add(at.age)
		var allow *trust.AllowStale
		if at.allow > 0 {
			allow = &trust.AllowStale{MaxAge: at.allow}
		}
		if _, err := c.Offline(allow); kindOf(err) != at.kind || (err == nil) != (at.kind == "") {
			t.Errorf("age %s, allowed %s: %v", at.age, at.allow, err)
		}
	}
	w.Now = start.Add(catalogtest.ShortLife)
	v, err := c.Offline(&trust.AllowStale{MaxAge: catalogtest.LongLife})
	check(t, err)
	wantRoleKind(t, v, "recalled.openstack", trust.Expired) // never excused
}

func TestClockBehind(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	issued := w.Now
	w.Now = issued.Add(-30 * time.Second)
	if refresh(t, w, dir).ClockBehind() {
		t.Fatal("half a minute is not worth saying")
	}
	w.Now = issued.Add(-400 * catalogtest.Day)
	for _, open := range []func() (*catalog.View, error){
		func() (*catalog.View, error) { return w.Open(dir).Refresh(ctx) },
		func() (*catalog.View, error) { return w.Open(dir).Offline(nil) },
		func() (*catalog.View, error) { return w.Open(t.TempDir()).Refresh(ctx) },
	} {
		v, err := open()
		check(t, err)
		if !v.ClockBehind() || !v.Now().Equal(issued) || v.Age() != 0 || !v.HostTime().Equal(w.Now) {
			t.Fatalf("behind %v, now %s, age %s", v.ClockBehind(), v.Now(), v.Age())
		}
	}
}

func TestClockSetBackRevivesNothing(t *testing.T) {
	w, dir := published(t), t.TempDir()
	w.Now = w.Now.Add(catalogtest.ShortLife)
	w.CommitOnline() // recalled.openstack has expired by now
	v := refresh(t, w, dir)
	wantRoleKind(t, v, "recalled.openstack", trust.Expired)
	w.Now = catalogtest.Start
	wantRoleKind(t, refresh(t, w, dir), "recalled.openstack", trust.Expired)
	wantRoleKind(t, w.View(), "recalled.openstack", trust.Expired)
	v, err := w.Open(dir).Offline(nil)
	check(t, err)
	if _, err := v.Recall(release("openstack@1.0.0")); err == nil {
		t.Fatal("relied on")
	}
	for _, name := range []string{"timestamp.json"} { // the memory has the time, too
		check(t, os.Remove(filepath.Join(dir, name)))
	}
	wantRoleKind(t, refresh(t, w, dir), "recalled.openstack", trust.Expired)
}
