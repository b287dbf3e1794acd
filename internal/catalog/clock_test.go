package catalog_test

import (
	"errors"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// TestHostClockFarAhead: everything has expired for such a host, on line and off. It refuses, and says that its clock
// may be the cause. Once the clock is right again nothing of it remains.
func TestHostClockFarAhead(t *testing.T) {
	t.Parallel()
	w, dir, fresh := certified(t), t.TempDir(), t.TempDir()
	refresh(t, w, dir)
	before := contents(t, dir)
	right := w.Now
	for _, ahead := range []time.Duration{catalogtest.TimestampLife, catalogtest.SnapshotLife, catalogtest.LongLife, 100 * catalogtest.LongLife} {
		w.Now = right.Add(ahead)
		for _, err := range []error{second(w.Open(dir).Refresh(ctx)), second(w.Open(dir).Offline(nil)), second(w.Open(fresh).Refresh(ctx))} {
			wantKind(t, err, trust.Expired)
			var hint interface{ Hint() string }
			if !asHint(err, &hint) || !containsAll(hint.Hint(), "host's clock", "kitchen refresh") || !containsAll(err.Error(), w.Now.Format(time.RFC3339)) {
				t.Errorf("%v: %v", err, hint)
			}
		}
	}
	w.Now = right
	v := refresh(t, w, dir)
	if v.Age() != 0 || v.ClockBehind() || !v.Now().Equal(right) {
		t.Errorf("age %s, behind %v", v.Age(), v.ClockBehind())
	}
	for name, data := range contents(t, dir) {
		if data != before[name] {
			t.Errorf("%s remembers the wrong time", name)
		}
	}
	refresh(t, w, fresh)
}

// TestHostClockALittleAhead only makes the knowledge older than it is: the strict side.
func TestHostClockALittleAhead(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	w.Now = w.Now.Add(catalogtest.Day)
	if v := refresh(t, w, dir); v.Age() != catalogtest.Day || v.ClockBehind() {
		t.Errorf("age %s, behind %v", v.Age(), v.ClockBehind())
	}
}

// TestHostClockBehindWhatItSaw: the age never becomes negative, and never less than it was by the newest timestamp.
func TestHostClockBehindWhatItSaw(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	store, _ := mirror(t, w) // an old copy, that is still right by itself
	w.Now = w.Now.Add(2 * catalogtest.Day)
	w.CommitOnline()
	issued := w.Now
	refresh(t, w, dir)
	for _, behind := range []time.Duration{time.Second, time.Hour, 40 * 365 * catalogtest.Day} {
		w.Now = issued.Add(-behind)
		v, err := w.Open(dir).Offline(nil)
		check(t, err)
		if v.Age() != 0 || !v.Now().Equal(issued) || v.ClockBehind() != (behind > time.Minute) {
			t.Errorf("%s behind: age %s, now %s, said %v", behind, v.Age(), v.Now(), v.ClockBehind())
		}
	}
	w.Now = issued.Add(-catalogtest.Day)
	o := w.Options(dir)
	o.Store = store
	c, err := catalog.Open(ctx, o)
	check(t, err)
	wantKind(t, second(c.Refresh(ctx)), trust.Rollback)
}

// issuedAhead is a committer whose clock is ahead.
func issuedAhead(w *catalogtest.World, ahead time.Duration) {
	right := w.Now
	w.Now = right.Add(ahead)
	w.CommitOnline()
	w.Now = right
}

// TestTimestampIssuedInTheFuture: nobody can tell a committer whose clock is ahead from a host whose clock is behind, and
// a host with a dead clock must not revive what has expired. So the time is believed, and said.
//
//   - As long as it is within the life of the next timestamps, the right ones that follow are taken.
//   - Beyond that they have expired by the time that was believed. Hosts that saw the wrong one refuse until that time
//     comes or the online key is replaced, which forgets it (TUF 5.3.11); hosts that did not see it notice nothing.
func TestTimestampIssuedInTheFuture(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead   time.Duration
		stuck   bool
		expired string // what no longer holds by that time, if anything
	}{
		{time.Hour, false, ""},
		{6 * catalogtest.Day, false, ""},
		{8 * catalogtest.Day, true, ""},
		{80 * catalogtest.Day, true, ""},
		{100 * catalogtest.Day, true, "recalled.openstack"},
		{400 * catalogtest.Day, true, "root"},
	} {
		t.Run(c.ahead.String(), func(t *testing.T) {
			t.Parallel()
			w, dir, spared := certified(t), t.TempDir(), t.TempDir()
			refresh(t, w, spared)
			issuedAhead(w, c.ahead)
			v, err := w.Open(dir).Refresh(ctx)
			switch c.expired {
			case "root":
				wantKind(t, err, trust.Expired)
				if !containsAll(err.Error(), "root", "newest timestamp", "this host's clock says", w.Now.Format(time.RFC3339)) {
					t.Errorf("the refusal does not say whose time it is: %v", err)
				}
			case "":
				check(t, err)
				if !v.ClockBehind() || v.Age() != 0 || len(v.Broken()) > 0 {
					t.Errorf("said: %v, age %s, broken %v", v.ClockBehind(), v.Age(), v.Broken())
				}
			default:
				check(t, err)
				_, err = v.Role(c.expired)
				if kindOf(err) != trust.Expired || !containsAll(err.Error(), "newest timestamp", "this host's clock says") {
					t.Errorf("%s: %v", c.expired, err)
				}
			}
			w.CommitOnline() // by a clock that is right
			refresh(t, w, spared)
			refresh(t, w, t.TempDir())
			_, err = w.Open(dir).Refresh(ctx)
			if (kindOf(err) == trust.Expired) != c.stuck || err != nil && !c.stuck {
				t.Fatalf("after the clock was put right: %v", err)
			}
			if c.stuck && !containsAll(err.Error(), "newest timestamp", "this host's clock says") {
				t.Errorf("the refusal does not say whose time it is: %v", err)
			}
			w.RotateOnline()
			w.CommitOnline()
			v = refresh(t, w, dir)
			if v.ClockBehind() || !v.Now().Equal(w.Now) || len(v.Broken()) > 0 {
				t.Errorf("after the rotation: behind %v, now %s, broken %v", v.ClockBehind(), v.Now(), v.Broken())
			}
		})
	}
}

// TestAllowStaleExcusesNothingElse: each role in turn expires before the others while the dangerous choice is made;
// only the timestamp and the snapshot are excused.
func TestAllowStaleExcusesNothingElse(t *testing.T) {
	t.Parallel()
	for _, role := range append([]string{trust.RoleRoot, trust.RoleTargets, trust.RoleSnapshot, trust.RoleTimestamp}, delegated...) {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w, dir := certified(t), t.TempDir()
			soon := w.Now.Add(10 * catalogtest.Day)
			switch role {
			case trust.RoleRoot:
				w.Root = w.Root.Clone()
				w.Root.Version, w.Root.Expires = w.Root.Version+1, soon
				w.Put(manifest.RootObject(w.Root.Version), w.Seal(w.Root, w.RootKeys...))
			case trust.RoleTargets:
				w.Targets = w.Targets.Clone()
				w.Targets.Version, w.Targets.Expires = w.Targets.Version+1, soon
				w.PutRole(role, w.Targets.Version, w.Seal(w.Targets, w.RootKeys...))
			case trust.RoleSnapshot, trust.RoleTimestamp: // both have expired by then
				w.Now = w.Now.Add(-catalogtest.SnapshotLife + 10*catalogtest.Day)
			default:
				next(w, role, func(all *trust.Targets) { all.Expires = soon }, w.RoleKeys[role]...)
			}
			w.CommitOnline()
			refresh(t, w, dir)
			w.Now = soon.Add(catalogtest.Day)
			wantKind(t, second(w.Open(dir).Offline(nil)), trust.Expired) // the timestamp, if nothing else
			allow := &trust.AllowStale{MaxAge: catalogtest.LongLife}
			for name, open := range map[string]func() (*catalog.View, error){
				"offline": func() (*catalog.View, error) { return w.Open(dir).Offline(allow) },
				"refresh": func() (*catalog.View, error) { return w.Open(dir).RefreshStale(ctx, *allow) },
			} {
				v, err := open()
				switch role {
				case trust.RoleSnapshot, trust.RoleTimestamp:
					check(t, err)
					if len(v.Broken()) > 0 || v.Age() < 10*catalogtest.Day {
						t.Errorf("%s: age %s, broken %v", name, v.Age(), v.Broken())
					}
				case trust.RoleRoot, trust.RoleTargets:
					var expired *trust.Error
					if !errors.As(err, &expired) || expired.Kind != trust.Expired || expired.Role != role {
						t.Errorf("%s: %v", name, err)
					}
				default:
					check(t, err)
					onlyThisRole(t, v, role, name, trust.Expired)
				}
			}
		})
	}
}

// TestOfflineIsAsStrictAsRefresh: whatever time it is, the state directory, the bucket and a copy of the bucket give the
// same answer, role by role.
func TestOfflineIsAsStrictAsRefresh(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	store, _ := mirror(t, w)
	start := w.Now
	for _, later := range []time.Duration{-catalogtest.LongLife, 0, catalogtest.TimestampLife - time.Second, catalogtest.TimestampLife,
		catalogtest.SnapshotLife, catalogtest.ShortLife, catalogtest.LongLife} {
		for _, allow := range []*trust.AllowStale{nil, {MaxAge: 8 * catalogtest.Day}, {MaxAge: 10 * catalogtest.LongLife}} {
			w.Now = start.Add(later)
			o := w.Options(t.TempDir())
			o.Store = store
			copied, err := catalog.Open(ctx, o)
			check(t, err)
			refreshed := func(c *catalog.Catalog) (*catalog.View, error) {
				if allow == nil {
					return c.Refresh(ctx)
				}
				return c.RefreshStale(ctx, *allow)
			}
			v, want := refreshed(w.Open(copyOf(t, dir)))
			for name, open := range map[string]func() (*catalog.View, error){
				"offline": func() (*catalog.View, error) { return w.Open(dir).Offline(allow) },
				"a copy":  func() (*catalog.View, error) { return refreshed(copied) },
			} {
				got, err := open()
				if kindOf(err) != kindOf(want) || (err == nil) != (want == nil) {
					t.Errorf("%s later, %v: %s says %v, a refresh %v", later, allow, name, err, want)
				}
				for _, role := range delegated {
					if err != nil {
						break
					}
					if got, want := second(got.Role(role)), second(v.Role(role)); kindOf(got) != kindOf(want) {
						t.Errorf("%s later, %v: %s says %v, a refresh %v", later, allow, name, got, want)
					}
				}
			}
		}
	}
}
