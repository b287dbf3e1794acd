package publisher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// theFinding is the one finding about an object.
func theFinding(t *testing.T, r *publisher.CheckResult, object string) publisher.Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Object == object {
			return f
		}
	}
	t.Fatalf("nothing is said of %s: %s", object, bad(r))
	return publisher.Finding{}
}

// says holds what a finding says to what it has to say.
func says(t *testing.T, f publisher.Finding, all ...string) {
	t.Helper()
	for _, words := range all {
		if text := f.Why + "\n" + f.Next; !strings.Contains(text, words) {
			t.Errorf("of %s it does not say %q:\n%s", f.Object, words, text)
		}
	}
}

// untouched makes a call that has to fail, and to write nothing, not even an object to try the store.
func (w *world) untouched(t *testing.T, call func() error) error {
	t.Helper()
	before := w.objects(t)
	err := call()
	if err == nil || !slices.Equal(w.objects(t), before) {
		t.Errorf("%v; %d objects are now %d", err, len(before), len(w.objects(t)))
	}
	return err
}

// rotated is a catalog with so many roots more, each of other signers than the one before.
func rotated(t *testing.T, more int) *checked {
	t.Helper()
	c := newChecked(t)
	for n := range more {
		out, err := c.publisher(t, c.online).ChangeRole(ctx, publisher.RoleRequest{Role: trust.RoleRoot, Threshold: 3 - n%2}, nil, signers(c.root...))
		check(t, err)
		if out.Status != publisher.Committed {
			t.Fatalf("%+v", out)
		}
	}
	return c
}

// TestTimestampAndFirstRootAreGone: what is left is a damaged catalog. Readers are told so, and not to make a new one; a check
// names both, and where they are to be had; and init, whose new root every host would refuse, refuses.
func TestTimestampAndFirstRootAreGone(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.remove(t, manifest.TimestampObject)
	if e := wantError[*publisher.AlreadyInitialized](t, c.untouched(t, func() error { return c.initialize(c.store) })); e.Damaged == "" {
		t.Errorf("without the timestamp: %v", e)
	}
	c.remove(t, manifest.RootObject(1))
	e := wantError[*publisher.AlreadyInitialized](t, c.untouched(t, func() error { return c.initialize(c.store) }), "damaged catalog", "nothing was written")
	if !strings.Contains(e.Hint(), "kitchen check") {
		t.Errorf("%s", e.Hint())
	}
	r := c.check(t, publisher.CheckRequest{})
	if got, want := bad(r), "fault metadata-missing metadata/1.root.json\nfault metadata-missing timestamp"; got != want || !r.Lost || len(r.Unchecked) == 0 {
		t.Errorf("%s, want %s; not looked at: %q", got, want, r.Unchecked)
	}
	says(t, theFinding(t, r, "metadata/1.root.json"), "put metadata/1.root.json back", filepath.Join(c.host.Catalog.Dir(), "root/1.root.json"))
	says(t, theFinding(t, r, "timestamp"), "metadata/timestamp.json", "put metadata/timestamp.json, the newest that there is, back")
	_, err := c.host.Catalog.Refresh(ctx)
	gone := wantError[*catalog.NoCatalog](t, err, "damaged", "it has no metadata/timestamp.json", "metadata/1.")
	if hint := gone.Hint(); !strings.Contains(hint, "kitchen check") || strings.Contains(hint, "`kitchen init` makes") {
		t.Errorf("%s", hint)
	}
}

// TestInitOverARegistryThatWasInEffect: with the keys that the catalog was made with, too. An init that was interrupted left
// nothing that replaces anything, so that what does was in effect, and would be taken out of it.
func TestInitOverARegistryThatWasInEffect(t *testing.T) {
	t.Parallel()
	w := empty(t)
	w.found(t)
	for _, key := range w.objects(t) { // but for the registry, this could be an init that was interrupted
		if role := strings.TrimPrefix(key, "metadata/"); role != key && !strings.Contains(role, "1.root") && !strings.Contains(role, ".registry.") && !strings.Contains(role, ".snapshot.") && role != "1.targets.json" {
			w.remove(t, key)
		}
	}
	e := wantError[*publisher.AlreadyInitialized](t, w.untouched(t, func() error { return w.initialize(w.store) }), "damaged")
	if e.Damaged != "metadata/2.registry.json" {
		t.Errorf("%v", e)
	}
}

// TestGarbageAsTheNextRootIsNamedForRemoval: it stops every host, and nothing but taking it away helps. A check says so, with
// its name; of a root that the host has seen it says that it is damaged, and has to come back.
func TestGarbageAsTheNextRootIsNamedForRemoval(t *testing.T) {
	t.Parallel()
	for name, planted := range map[string]func(c *checked) []byte{
		"garbage":                 func(*checked) []byte { return []byte("<html>404</html>\n") },
		"the root before":         func(c *checked) []byte { return c.object(t, manifest.RootObject(1)) },
		"another catalog's":       func(*checked) []byte { other := newWorld(t); return other.object(t, manifest.RootObject(1)) },
		"a role's file":           func(c *checked) []byte { return c.object(t, manifest.RoleObject("targets", 1)) },
		"more than any root's is": func(*checked) []byte { return make([]byte, 2<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecked(t)
			c.put(t, "metadata/2.root.json", planted(c))
			r := c.check(t, publisher.CheckRequest{})
			if got := bad(r); got != "fault metadata-refused metadata/2.root.json" || !r.Untrusted {
				t.Fatalf("%s", got)
			}
			says(t, theFinding(t, r, "metadata/2.root.json"), "remove metadata/2.root.json", "what the threshold of root 1 signed", "never in effect")
			_, err := c.catalog(t, c.store).Refresh(ctx)
			wantError[*catalog.NotNextRoot](t, err, "metadata/2.root.json")
			c.remove(t, "metadata/2.root.json")
			if r := c.check(t, publisher.CheckRequest{}); bad(r) != "" {
				t.Errorf("once it is removed: %s", bad(r))
			}
		})
	}
	c := rotated(t, 1)
	c.check(t, publisher.CheckRequest{}) // this host sees the second root
	c.flip(t, "metadata/2.root.json")
	f := theFinding(t, c.check(t, publisher.CheckRequest{}), "metadata/2.root.json")
	says(t, f, "put metadata/2.root.json back")
	if strings.Contains(f.Next, "remove") {
		t.Errorf("a root that was in effect is to be removed: %s", f.Next)
	}
}

// TestARootBetweenIsLost: a host that saw a later one names it, and that it is what has to come back, and from where, whether
// or not a new host can have a view without it.
func TestARootBetweenIsLost(t *testing.T) {
	t.Parallel()
	for n := int64(2); n <= 3; n++ {
		c := rotated(t, 2)
		c.check(t, publisher.CheckRequest{})
		lost := c.object(t, manifest.RootObject(n))
		c.remove(t, manifest.RootObject(n))
		r := c.check(t, publisher.CheckRequest{})
		if got, want := bad(r), "fault metadata-missing "+manifest.RootObject(n); got != want || !r.Lost || r.Untrusted {
			t.Errorf("%s, want %s", got, want)
		}
		file := filepath.Join(c.host.Catalog.Dir(), fmt.Sprintf("root/%d.root.json", n))
		says(t, theFinding(t, r, manifest.RootObject(n)), "this host has seen root 3", fmt.Sprintf("get no further than root %d", n-1), "put "+manifest.RootObject(n)+" back", file)
		if data, err := os.ReadFile(file); err != nil || string(data) != string(lost) {
			t.Errorf("%s is not what is lost: %v", file, err)
		}
		c.put(t, manifest.RootObject(n), lost)
		if r := c.check(t, publisher.CheckRequest{}); bad(r) != "" {
			t.Errorf("once it is back: %s", bad(r))
		}
	}
}

// TestANewHostIsToldOfLostRoots: it never saw them. A root between is named by what lies ahead of it, whether or not the online
// key has been replaced since; the newest one where it named other keys than those that are known, by what they signed.
func TestANewHostIsToldOfLostRoots(t *testing.T) {
	t.Parallel()
	c := rotated(t, 2)
	lost := c.object(t, "metadata/2.root.json")
	c.remove(t, "metadata/2.root.json")
	fresh := func() *publisher.CheckResult {
		c.host = c.publisher(t, nil)
		return c.check(t, publisher.CheckRequest{})
	}
	f := theFinding(t, fresh(), "metadata/2.root.json")
	says(t, f, "root 3 is there", "stay on root 1", "put metadata/2.root.json back")
	c.put(t, "metadata/2.root.json", lost)

	online := catalogtest.NewKey(t)
	must(t, publisher.Committed)(c.withBoth(t, c.store, online).ChangeRole(ctx, rotate(trust.RoleTimestamp, c.online, online), nil, signers(c.root...)))
	c.online = online
	c.publish(t, "openstack@1.1.0")
	if r := fresh(); bad(r) != "" {
		t.Fatalf("before anything is lost: %s", bad(r))
	}
	c.remove(t, "metadata/2.root.json")
	r := fresh()
	if got, want := bad(r), "fault metadata-missing metadata/2.root.json"; got != want || !r.Lost || r.Untrusted {
		t.Errorf("%s, want %s", got, want)
	}
	c.put(t, "metadata/2.root.json", lost)
	c.remove(t, "metadata/4.root.json")
	r = fresh()
	if got, want := bad(r), "fault metadata-refused timestamp"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	f = theFinding(t, r, "timestamp")
	says(t, f, publisher.ShortID(online.TUF.ID), "no root up to 3 names", "root 4", "put metadata/4.root.json back")
	if strings.Contains(f.Next, "--stolen") || strings.Contains(f.Next, "timestamp.json") {
		t.Errorf("the timestamp is right: %s", f.Next)
	}
}

// TestARootLiesInWait: of one that no host gets to yet it is said what it is, and what to do before root is changed.
func TestARootLiesInWait(t *testing.T) {
	t.Parallel()
	c := rotated(t, 1)
	c.put(t, "metadata/4.root.json", c.object(t, "metadata/1.root.json"))
	r := c.check(t, publisher.CheckRequest{})
	if got, want := bad(r), "fault root-ahead metadata/4.root.json"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	says(t, theFinding(t, r, "metadata/4.root.json"), "no host gets to it", "the newest root that they reach is 2", "root 3 is not there", "every host will refuse the catalog once root 3 comes",
		"has root 3, put it back", "remove this one before root is changed", "docs/ACCESS.md")
}

// TestBytesAddedToARoot: no signature covers a newline at its end, and every new host that was given the root's fingerprint
// refuses the catalog for it. A check names the root and who has it as it was; where nobody here can know what it was, that it is
// not written as Kitchen writes one.
func TestBytesAddedToARoot(t *testing.T) {
	t.Parallel()
	c := rotated(t, 2)
	c.check(t, publisher.CheckRequest{}) // this host sees all roots
	pinned := func(n int64, file bool) *publisher.Publisher {
		root := c.object(t, manifest.RootObject(n))
		o := catalog.Options{Store: c.store, Dir: t.TempDir(), Root: root, Now: c.clock}
		if !file {
			o.Root, o.RootFingerprint, o.RootVersion = nil, catalog.Fingerprint(root), n
		}
		host, err := catalog.Open(ctx, o)
		check(t, err)
		return &publisher.Publisher{Catalog: host, Store: c.store, Now: c.clock, Scratch: t.TempDir()}
	}
	for n := int64(1); n <= 3; n++ {
		key := manifest.RootObject(n)
		was := c.object(t, key)
		byFile, byFingerprint := pinned(n, true), pinned(n, false)
		for how, now := range map[string][]byte{"a newline at its end": append(slices.Clone(was), '\n'), "a space": append([]byte(" "), was...)} {
			c.overwrite(t, key, now)
			for who, p := range map[string]*publisher.Publisher{"the host that saw it": c.host, "one that has its file": byFile, "one that has its fingerprint": byFingerprint} {
				r, err := p.Check(ctx, publisher.CheckRequest{})
				check(t, err)
				if got, want := bad(r), "fault metadata-refused "+key; got != want || r.Sound() {
					t.Errorf("%s of root %d, %s: %q, want %q", how, n, who, got, want)
					continue
				}
				says(t, theFinding(t, r, key), "put "+key+" back", "that ", " refuse")
			}
			r, err := pinned(n%3+1, false).Check(ctx, publisher.CheckRequest{})
			check(t, err)
			if got, want := bad(r), "warning metadata-refused "+key; got != want || !r.Sound() {
				t.Errorf("%s of root %d, one that knows neither: %q, want %q", how, n, got, want)
			} else {
				says(t, theFinding(t, r, key), "not written as Kitchen writes", "put "+key+" back")
			}
		}
		c.overwrite(t, key, was)
		if got := bad(c.check(t, publisher.CheckRequest{})); got != "" {
			t.Errorf("put back: %s", got)
		}
	}
}
