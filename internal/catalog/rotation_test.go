package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// contents are the bytes of every file of a state directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range files(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		all[name] = string(data)
	}
	return all
}

// TestWhatIsNoNextRoot: anything at N+1.root.json but the next root is refused aloud, and changes nothing: the state
// directory is byte for byte what it was, answers offline, and goes on once the garbage is gone.
func TestWhatIsNoNextRoot(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	strangers := []*catalogtest.Key{catalogtest.NewKey(t), catalogtest.NewKey(t)}
	root := func(version int64, change func(*trust.Root), signers ...*catalogtest.Key) []byte {
		r := w.Root.Clone()
		r.Version = version
		change(r)
		return w.Seal(r, signers...)
	}
	same := func(*trust.Root) {}
	before := contents(t, dir)
	for name, c := range map[string]struct {
		kind trust.Kind
		file []byte
	}{
		"web page with status 200": {trust.Malformed, []byte("<!DOCTYPE html><html><title>404 Not Found</title></html>")},
		"nothing":                  {trust.Malformed, nil},
		"JSON of something else":   {trust.Malformed, []byte(`{"error":"not found"}`)},
		"a timestamp":              {trust.Malformed, w.TimestampFile},
		"a snapshot":               {trust.Malformed, w.SnapshotFile},
		"the root before":          {trust.Rollback, w.Root1},
		"the root after the next":  {trust.Mismatch, root(3, same, w.RootKeys...)},
		"a root of strangers": {trust.BadSignature, root(2, func(r *trust.Root) {
			r.Roles[trust.RoleRoot] = catalogtest.Authority(2, strangers...)
		}, strangers...)},
		"a root without the new keys": {trust.BadSignature, root(2, func(r *trust.Root) {
			r.Roles[trust.RoleRoot] = catalogtest.Authority(2, strangers...)
		}, w.RootKeys...)},
		"a root by one of two":     {trust.Threshold, root(2, same, w.RootKeys[0])},
		"a root by the online key": {trust.BadSignature, root(2, same, w.Online)},
	} {
		overwrite(t, w, manifest.RootObject(2), c.file)
		_, err := w.Open(dir).Refresh(ctx)
		var hint interface{ Hint() string }
		if kindOf(err) != c.kind || !asHint(err, &hint) || hint.Hint() == "" {
			t.Errorf("%s: %v, want %q", name, err, c.kind)
		}
		if fmt.Sprint(contents(t, dir)) != fmt.Sprint(before) {
			t.Errorf("%s changed the state directory", name)
		}
		_, err = w.Open(dir).Offline(nil)
		check(t, err)
		remove(t, w, manifest.RootObject(2))
		refresh(t, w, dir)
	}
}

// hosts are those who follow a catalog through its rotations: one for every step at which it was seen first, and each
// once more as it was then.
type hosts struct {
	t    *testing.T
	w    *catalogtest.World
	dirs map[string]string
}

// step: every host that ever was refreshes, and answers offline; so does one that comes fresh. Each of them is kept as
// it is now besides, to be one that was away.
func (h *hosts) step(name string) {
	h.t.Helper()
	h.dirs[name] = h.t.TempDir()
	for first, dir := range h.dirs {
		v, err := h.w.Open(dir).Refresh(ctx)
		if err != nil {
			h.t.Fatalf("%s: a host of %q: %v", name, first, err)
		}
		if v.Root().Version != h.w.Root.Version || v.Timestamp().Version != h.w.TimestampNo || len(v.Broken()) > 0 {
			h.t.Fatalf("%s: a host of %q has root %d, timestamp %d, broken %v", name, first, v.Root().Version, v.Timestamp().Version, v.Broken())
		}
		wantStage(h.t, v, "1.0.0", "ready-to-deploy")
	}
	h.offline(name)
	h.dirs[name+", away since"] = copyOf(h.t, h.dirs[name])
}

// offline: every host answers from what it has.
func (h *hosts) offline(name string) {
	h.t.Helper()
	for first, dir := range h.dirs {
		if _, err := h.w.Open(dir).Offline(nil); err != nil {
			h.t.Fatalf("%s: a host of %q offline: %v", name, first, err)
		}
	}
}

// TestOnlineKeyRotationBreaksNobody: DESIGN §6. Snapshot and timestamp are signed by the old and the new key first, then
// the root that names the new one is written, then the new key signs alone. Nobody fails at any step: hosts with any
// older state, those that come fresh, those that are off line meanwhile.
func TestOnlineKeyRotationBreaksNobody(t *testing.T) {
	t.Parallel()
	w := certified(t)
	h := &hosts{t, w, map[string]string{}}
	for range 2 { // twice: the second time over what the first has left
		h.step(fmt.Sprintf("old key alone, root %d", w.Root.Version))
		old, fresh := w.Online, catalogtest.NewKey(t)
		w.CoSigners = []*catalogtest.Key{fresh}
		w.CommitOnline()
		h.step(fmt.Sprintf("both keys under root %d", w.Root.Version))
		h.offline("before the root")
		w.SetOnline(fresh)
		h.offline("root written")
		h.step(fmt.Sprintf("both keys under root %d, the new one", w.Root.Version))
		w.CoSigners = []*catalogtest.Key{old}
		w.CommitOnline()
		h.step(fmt.Sprintf("a commit in between under root %d", w.Root.Version))
		w.CoSigners = nil
		w.CommitOnline()
		h.step(fmt.Sprintf("new key alone, root %d", w.Root.Version))
	}
}

// TestStolenOnlineKeyRotation: root first. The thief is locked out at once, and so is every reader until the new key has
// signed; what was verified before still answers off line where the new root has not arrived.
func TestStolenOnlineKeyRotation(t *testing.T) {
	t.Parallel()
	w, away, there := certified(t), t.TempDir(), t.TempDir()
	refresh(t, w, away)
	refresh(t, w, there)
	stolen := w.TimestampFile
	w.RotateOnline()
	for _, dir := range []string{there, t.TempDir()} {
		wantRefusal(t, w, dir, trust.BadSignature) // the outage
	}
	if _, err := w.Open(away).Offline(nil); err != nil {
		t.Errorf("who has not heard of the new root: %v", err)
	}
	if _, err := w.Open(there).Offline(nil); kindOf(err) != trust.BadSignature {
		t.Errorf("who has: %v", err)
	}
	w.CommitOnline() // the outage ends, for everybody
	for _, dir := range []string{there, away, t.TempDir()} {
		refresh(t, w, dir)
		_, err := w.Open(dir).Offline(nil)
		check(t, err)
	}
	w.SwapTimestamp(stolen)
	for _, dir := range []string{there, t.TempDir()} {
		wantRefusal(t, w, dir, trust.BadSignature)
	}
}

// mirror opens a copy of the bucket as it is now, as a store of its own.
func mirror(t *testing.T, w *catalogtest.World) (storage.Store, string) {
	t.Helper()
	dir := copyOf(t, bucketPath(w, ""))
	store, err := storage.Open(ctx, "file://"+dir, storage.Options{})
	check(t, err)
	return store, dir
}

// rotateAll replaces the root holders' keys and the online key, and lets root expire at that time.
func rotateAll(w *catalogtest.World, expires time.Time) {
	old := w.RootKeys
	w.RootKeys = []*catalogtest.Key{catalogtest.NewKey(w.T), catalogtest.NewKey(w.T), catalogtest.NewKey(w.T)}
	w.Online = catalogtest.NewKey(w.T)
	w.Root = w.Root.Clone()
	w.Root.Version++
	w.Root.Expires = expires
	w.Root.Roles = map[string]trust.Authority{
		trust.RoleRoot: catalogtest.Authority(2, w.RootKeys...), trust.RoleTargets: catalogtest.Authority(2, w.RootKeys...),
		trust.RoleSnapshot: catalogtest.Authority(1, w.Online), trust.RoleTimestamp: catalogtest.Authority(1, w.Online)}
	w.RootFile = w.Seal(w.Root, old[0], old[1], w.RootKeys[0], w.RootKeys[1])
	w.Put(manifest.RootObject(w.Root.Version), w.RootFile)
	w.Delegate(manifest.RoleRegistry, 1, w.RoleKeys[manifest.RoleRegistry]...) // targets is signed anew
	w.Commit()
}

// TestAwayForThreeRootRotations: all keys of the top were replaced three times, and the root in the middle has expired
// since. The host catches up from its pinned root: from the bucket, and from a copy of it that it never saw before.
func TestAwayForThreeRootRotations(t *testing.T) {
	t.Parallel()
	w, bucket, copied, fingerprint := certified(t), t.TempDir(), t.TempDir(), t.TempDir()
	refresh(t, w, bucket)
	refresh(t, w, copied)
	for _, life := range []time.Duration{catalogtest.LongLife, time.Hour, catalogtest.LongLife} {
		w.Now = w.Now.Add(catalogtest.Day)
		rotateAll(w, w.Now.Add(life))
	}
	v := refresh(t, w, bucket)
	store, _ := mirror(t, w)
	for dir, change := range map[string]func(*catalog.Options){
		copied:      func(o *catalog.Options) { o.Root = nil },
		fingerprint: func(o *catalog.Options) { o.Root, o.RootFingerprint = nil, catalog.Fingerprint(w.Root1) },
	} {
		o := w.Options(dir)
		o.Store = store
		change(&o)
		c, err := catalog.Open(ctx, o)
		check(t, err)
		got, err := c.Refresh(ctx)
		check(t, err)
		if got.Root().Version != 4 || v.Root().Version != 4 || string(got.RawTimestamp()) != string(v.RawTimestamp()) {
			t.Fatalf("root %d and %d", got.Root().Version, v.Root().Version)
		}
		_, err = c.Offline(nil)
		check(t, err)
	}
}

// TestCopyWithoutOneRoot: the walk ends at the gap, and what lies behind it is signed by keys nobody vouches for. The
// refusal says what to do; the original helps.
func TestCopyWithoutOneRoot(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	for range 3 {
		rotateAll(w, w.Now.Add(catalogtest.LongLife))
	}
	store, path := mirror(t, w)
	check(t, os.Remove(filepath.Join(path, "metadata", "3.root.json")))
	o := w.Options(dir)
	o.Store = store
	for range 2 {
		c, err := catalog.Open(ctx, o)
		check(t, err)
		_, err = c.Refresh(ctx)
		wantKind(t, err, trust.BadSignature)
		var hint interface{ Hint() string }
		if !asHint(err, &hint) || !containsAll(hint.Hint(), "the online key is being replaced", "a mirror that lags") {
			t.Errorf("hint: %v", hint)
		}
	}
	if v := refresh(t, w, dir); v.Root().Version != 4 {
		t.Fatalf("root %d", v.Root().Version)
	}
}

// TestACopyIsHeldToTheSameRules: from a copy of the bucket a host takes nothing that it would not take from the bucket.
func TestACopyIsHeldToTheSameRules(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	old, _ := mirror(t, w) // a copy that lags
	w.CommitOnline()
	refresh(t, w, dir)
	for name, c := range map[string]struct {
		kind  trust.Kind
		spoil func(path string) error
	}{
		"lagging": {trust.Rollback, nil},
		"incomplete": {trust.Missing, func(path string) error {
			return os.Remove(filepath.Join(path, manifest.SnapshotObject(w.SnapshotNo)))
		}},
		"damaged": {trust.Malformed, func(path string) error {
			return os.Truncate(filepath.Join(path, manifest.TimestampObject), 100)
		}},
	} {
		store := old
		if c.spoil != nil {
			w.CommitOnline()
			var path string
			store, path = mirror(t, w)
			check(t, c.spoil(path))
		}
		o := w.Options(dir)
		o.Store = store
		host, err := catalog.Open(ctx, o)
		check(t, err)
		_, err = host.Refresh(ctx)
		if kindOf(err) != c.kind {
			t.Errorf("%s: got %v, want %q", name, err, c.kind)
		}
	}
	w.Now = w.Now.Add(catalogtest.TimestampLife)
	store, _ := mirror(t, w)
	o := w.Options(t.TempDir())
	o.Store = store
	host, err := catalog.Open(ctx, o)
	check(t, err)
	_, err = host.Refresh(ctx)
	wantKind(t, err, trust.Expired)
}

// TestVersionOfADelegatedRolePushedToTheMaximum: a thief of a role's key and of the online key leaves no number for the
// next version. New keys of the role alone do not help those who saw it: to them every smaller number is a rollback, of
// the whole catalog. A new online key does: hosts forget the numbers with it (TUF 5.3.11), and nothing else.
func TestVersionOfADelegatedRolePushedToTheMaximum(t *testing.T) {
	t.Parallel()
	for _, role := range delegated {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w, dir, away := certified(t), t.TempDir(), t.TempDir()
			honest := w.Roles[role].Clone()
			w.Roles[role].Version = trust.MaxInteger - 1
			next(w, role, nothing, w.RoleKeys[role]...)
			w.CommitOnline()
			refresh(t, w, dir)
			refresh(t, w, away)
			beyond := w.Roles[role].Clone()
			beyond.Version++
			if _, err := beyond.Payload(); err == nil {
				t.Fatal("there is a next version")
			}
			w.Roles[role] = honest
			w.Delegate(role, 1, catalogtest.NewKey(t))
			w.Edit(role, nil)
			w.Commit()
			wantRefusal(t, w, dir, trust.Rollback)

			w.RotateOnline()
			w.CommitOnline()
			for _, dir := range []string{dir, away, t.TempDir()} {
				v := refresh(t, w, dir)
				if got, err := v.Role(role); err != nil || got.Version != w.Roles[role].Version || len(v.Broken()) > 0 {
					t.Fatalf("%v, broken %v", err, v.Broken())
				}
			}
			if recall, err := w.View().Recall(release("openstack@1.1.0")); err != nil || recall == nil {
				t.Fatal(err)
			}
		})
	}
}
