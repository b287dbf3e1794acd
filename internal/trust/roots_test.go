package trust_test

import (
	"math"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/trust"
)

// rotation makes root n+1 from the world's root after change.
func (w *world) nextRoot(change func(*trust.Root), signers ...*signer) []byte {
	next := w.rootDoc.Clone()
	next.Version++
	change(next)
	return w.seal(next, signers...)
}

func TestRootRotation(t *testing.T) {
	w := newWorld(t)
	fresh := []*signer{newSigner(t), newSigner(t)}
	replace := func(r *trust.Root) { r.Roles["root"] = authority(2, fresh...) }
	for _, c := range []struct {
		name string
		kind trust.Kind
		file []byte
	}{
		{"by old and new keys", "", w.nextRoot(replace, w.root[0], w.root[1], fresh[0], fresh[1])},
		{"only by the old keys", trust.BadSignature, w.nextRoot(replace, w.root...)},
		{"only by the new keys", trust.BadSignature, w.nextRoot(replace, fresh...)},
		{"by too few of the old keys", trust.Threshold, w.nextRoot(replace, w.root[0], fresh[0], fresh[1])},
		{"by too few of the new keys", trust.Threshold, w.nextRoot(replace, w.root[0], w.root[1], fresh[0])},
		{"skipping a version", trust.Mismatch, w.nextRoot(func(r *trust.Root) { r.Version++ }, w.root...)},
		{"to the same version", trust.Rollback, w.nextRoot(func(r *trust.Root) { r.Version-- }, w.root...)},
		{"expired in between", "", w.nextRoot(func(r *trust.Root) { r.Expires = now.Add(-day) }, w.root...)},
		{"garbage", trust.Malformed, []byte("<html>404</html>")},
		{"empty", trust.Malformed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := trust.Start(w.rootFile, now)
			check(t, err)
			wantKind(t, s.UpdateRoot(c.file), c.kind)
			if want := map[bool]int64{true: 2, false: 1}[c.kind == ""]; s.Root().Version != want {
				t.Fatalf("root is %d, want %d", s.Root().Version, want)
			}
			if c.kind != "" {
				check(t, w.read(s, nil)) // a refused root changes nothing
			}
		})
	}
}

func TestExpiredIntermediateRootIsPassed(t *testing.T) {
	w := newWorld(t)
	first := w.rootFile
	w.rootDoc.Version, w.rootDoc.Expires = 2, now.Add(-day)
	second := w.seal(w.rootDoc, w.root...)
	w.rootDoc.Version, w.rootDoc.Expires = 3, now.Add(day)
	third := w.seal(w.rootDoc, w.root...)
	s, err := trust.Start(first, now)
	check(t, err)
	check(t, s.UpdateRoot(second))
	wantKind(t, s.FinishRoots(), trust.Expired)
	s, err = trust.Start(first, now)
	check(t, err)
	check(t, s.UpdateRoot(second))
	check(t, s.UpdateRoot(third))
	check(t, w.read(s, nil))
}

func TestFastForwardRecovery(t *testing.T) {
	w := newWorld(t)
	w.timestampNo, w.snapshotNo = trust.MaxInteger, trust.MaxInteger // the thief's last word
	w.sealOnline()
	poisoned := w.memory()
	first := w.rootFile
	w.online = newSigner(t)
	next := w.nextRoot(func(r *trust.Root) {
		r.Roles["timestamp"] = authority(1, w.online)
		r.Roles["snapshot"] = authority(1, w.online)
	}, w.root...)
	w.timestampNo, w.snapshotNo = 2, 2
	w.sealOnline()

	s, err := trust.Start(first, now)
	check(t, err)
	check(t, s.UpdateRoot(next))
	check(t, s.FinishRoots())
	if !s.OnlineKeysChanged(1) || s.OnlineKeysChanged(2) {
		t.Fatal("the change of the online keys between root 1 and 2 was not told")
	}
	wantKind(t, s.UpdateTimestamp(poisoned.timestamp), trust.BadSignature)
	check(t, s.UpdateTimestamp(w.timestamp))
	check(t, w.readBelow(s))
}

// TestOnlineKeysThereAndBack: a key that was taken out and put back did change in between.
func TestOnlineKeysThereAndBack(t *testing.T) {
	w := newWorld(t)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	other := newSigner(t)
	for _, online := range []*signer{other, w.online} {
		file := w.nextRoot(func(r *trust.Root) { r.Roles["timestamp"] = authority(1, online) }, w.root...)
		check(t, s.UpdateRoot(file))
		w.rootDoc = s.Root()
	}
	if !s.OnlineKeysChanged(1) || !s.OnlineKeysChanged(2) || s.OnlineKeysChanged(3) || !s.OnlineKeysChanged(0) {
		t.Fatal("change told wrongly")
	}
}

func TestUnchangedOnlineKeys(t *testing.T) {
	w := newWorld(t)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	check(t, s.UpdateRoot(w.nextRoot(func(r *trust.Root) { r.Expires = r.Expires.Add(day) }, w.root...)))
	if s.OnlineKeysChanged(1) {
		t.Fatal("a renewed root did not change the online keys")
	}
}

func TestOnlineKeysSinceABoundlessVersion(t *testing.T) {
	w := newWorld(t)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	if !s.OnlineKeysChanged(math.MaxInt64) || !s.OnlineKeysChanged(math.MinInt64) {
		t.Fatal("a root that was never seen counts as changed")
	}
}

// TestAllowStale: the dangerous choice excuses timestamp and snapshot, within its age, and nothing else.
func TestAllowStale(t *testing.T) {
	for _, c := range []struct {
		name   string
		later  time.Duration // since the catalog was signed
		allow  time.Duration
		kind   trust.Kind
		change func(w *world)
	}{
		{"not yet expired", day, day, "", nil},
		{"timestamp expired, young enough", 10 * day, 10 * day, "", nil},
		{"timestamp expired, too old", 10*day + time.Second, 10 * day, trust.Expired, nil},
		{"snapshot expired too", 40 * day, 60 * day, "", nil},
		{"snapshot expired alone, too old", 40 * day, 30 * day, trust.Expired, func(w *world) { w.timestampLife = 90 * day; w.sealOnline() }},
		{"no age at all", 10 * day, 0, trust.Expired, nil},
		{"negative age", 10 * day, -day, trust.Expired, nil},
		{"root expired", 10 * day, 60 * day, trust.Expired, func(w *world) {
			w.rootDoc.Expires = now.Add(9 * day)
			w.rootFile = w.seal(w.rootDoc, w.root...)
		}},
		{"targets expired", 10 * day, 60 * day, trust.Expired, func(w *world) {
			w.targetsDoc.Expires = now.Add(9 * day)
			w.sealTargets()
			w.sealOnline()
		}},
		{"role expired", 10 * day, 60 * day, trust.Expired, func(w *world) {
			w.productDoc.Expires = now.Add(9 * day)
			w.sealProduct()
			w.sealOnline()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				c.change(w)
			}
			wantKind(t, w.read(trust.StartStale(w.rootFile, now.Add(c.later), trust.AllowStale{MaxAge: c.allow})), c.kind)
			if c.later > 7*day && c.name != "snapshot expired alone, too old" {
				wantKind(t, w.read(trust.Start(w.rootFile, now.Add(c.later))), trust.Expired)
			}
		})
	}
}

// TestClockBehind: a timestamp from the reader's future moves the session's time on.
func TestClockBehind(t *testing.T) {
	w := newWorld(t)
	slow := now.Add(-100 * day)
	s, err := trust.Start(w.rootFile, slow)
	check(t, err)
	check(t, w.read(s, nil))
	if !s.Now().Equal(now) {
		t.Fatalf("the session's time is %s, want %s", s.Now(), now)
	}
	w.productDoc.Expires = now.Add(-day) // not expired by the slow clock
	w.sealProduct()
	w.commit()
	wantKind(t, w.read(trust.Start(w.rootFile, slow)), trust.Expired)
}

// TestExpiredRememberedTimestampIsAFloor: it protects, and does not stand in the way.
func TestExpiredRememberedTimestampIsAFloor(t *testing.T) {
	w := newWorld(t)
	w.issued, w.timestampNo = now.Add(-20*day), 5
	w.sealOnline()
	old := w.memory()
	w.issued = now
	w.commit()
	check(t, w.after(old))
	w.timestampNo = 4
	w.sealTimestamp()
	wantKind(t, w.after(old), trust.Rollback)
}
