package publisher_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// absent is a new catalog none of whose holders is present.
func (w *world) absent() publisher.Init {
	return publisher.Init{Vendor: "enovance", VendorName: "eNovance", RootPublic: publics(w.root...), RegistryPublic: publics(w.admin)}
}

func (w *world) begin(t *testing.T) *publisher.Ceremony {
	t.Helper()
	c, err := publisher.BeginCeremony(w.now, w.absent(), w.online.Public())
	check(t, err)
	return c
}

// passOn is the ceremony as the next holder opens it, who signs.
func (w *world) passOn(t *testing.T, c *publisher.Ceremony, by ...key) *publisher.Ceremony {
	t.Helper()
	f, err := c.File()
	check(t, err)
	next, err := publisher.OpenCeremony(w.now, carried(t, f))
	check(t, err)
	check(t, next.Authorize(signers(by...)))
	check(t, next.Sign(ctx, signers(by...)))
	return next
}

// Three people on three days, each with one private key, the last two with a copy each; then the online key alone.
func TestCeremonyOfHoldersWhoNeverMeet(t *testing.T) {
	t.Parallel()
	w := empty(t)
	first := w.passOn(t, w.begin(t), w.root[0])
	w.now = w.now.Add(2 * catalogtest.Day)
	second, third := w.passOn(t, first, w.root[1]), w.passOn(t, first, w.admin)
	w.now = w.now.Add(3 * catalogtest.Day)
	_, err := publisher.InitializeFrom(ctx, w.store, w.now, second, w.online, "")
	wantError[*publisher.Invalid](t, err, "registry", short(w.admin))
	shown := second.Shown(w.now) // nobody can ask a catalog that is still to be made, nor commit there
	if waits := shown.WaitsFor(); !strings.Contains(waits, short(w.admin)) || strings.Contains(waits, "kitchen sign ") {
		t.Errorf("a signer is told %q", waits)
	}
	check(t, second.Merge(third))
	if !second.Complete() || second.ID() != first.ID() {
		t.Fatalf("%+v", second.Outcome())
	}
	result, err := publisher.InitializeFrom(ctx, w.store, w.now, second, w.online, "")
	check(t, err)
	if result.Fingerprint != catalog.Fingerprint(w.object(t, "metadata/1.root.json")) {
		t.Errorf("fingerprint %s", result.Fingerprint)
	}
	w.verifyNew(t)
	if expires := w.view(t).Root().Expires; !expires.Equal(catalogtest.Start.Add(365 * catalogtest.Day)) {
		t.Errorf("the root expires at %s", expires)
	}
	_, err = publisher.InitializeFrom(ctx, w.store, w.now, second, w.online, "")
	wantError[*publisher.AlreadyInitialized](t, err)
}

// What the one-machine init makes, and what a ceremony makes, is the same catalog.
func TestCeremonyMakesWhatInitMakes(t *testing.T) {
	t.Parallel()
	w := empty(t)
	alone := *w
	alone.dir = t.TempDir()
	alone.store = openDir(t, alone.dir)
	check(t, alone.initialize(alone.store))
	_, err := publisher.InitializeFrom(ctx, w.store, w.now, w.passOn(t, w.begin(t), w.root[0], w.root[1], w.admin), w.online, "")
	check(t, err)
	names := func(w *world) []string {
		return slices.DeleteFunc(w.objects(t), func(key string) bool { return strings.HasPrefix(key, "_") })
	}
	if a, b := names(w), names(&alone); !slices.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
	for _, key := range []string{"metadata/1.root.json", "metadata/1.targets.json", "metadata/1.registry.json"} {
		a, _, err := trust.ParseEnvelope(w.object(t, key))
		check(t, err)
		b, _, err := trust.ParseEnvelope(alone.object(t, key))
		check(t, err)
		if string(a) != string(b) {
			t.Errorf("%s: %s and %s", key, a, b)
		}
	}
}

func TestCeremonyThatIsBegunAgain(t *testing.T) {
	t.Parallel()
	w := empty(t)
	c := w.passOn(t, w.begin(t), w.root[0])
	w.now = w.now.Add(time.Hour)
	check(t, c.Resume(w.absent(), w.online.Public()))
	if c.Outcome().Roles[0].Have != 1 {
		t.Errorf("%+v", c.Outcome().Roles)
	}
	for what, change := range map[string]func(in *publisher.Init){
		"vendor: enovance (\"eNovance\") here, enovance (\"other\") there": func(in *publisher.Init) { in.VendorName = "other" },
		"root: 2 of": func(in *publisher.Init) { in.RootThreshold = 3 },
		"registry: ": func(in *publisher.Init) { in.RegistryPublic = publics(w.admin, w.stranger) },
		"policy: ":   func(in *publisher.Init) { in.Policy = publics(w.stranger) },
		"targets: ":  func(in *publisher.Init) { in.TargetsPublic = publics(w.certA) },
	} {
		in := w.absent()
		change(&in)
		wantError[*publisher.Invalid](t, c.Resume(in, w.online.Public()), what)
	}
	wantError[*publisher.Invalid](t, c.Resume(w.absent(), w.stranger.Public()), "timestamp: ")
	wantError[*publisher.Invalid](t, c.Merge(w.begin(t)), "begun: ") // an hour later: the same words, another catalog
}

// Whoever has the file between two holders changes it. What it says follows from its words, or it is refused; and
// other words have another digest, and no signatures.
func TestCeremonyAlteredOnItsWay(t *testing.T) {
	t.Parallel()
	w := empty(t)
	honest := w.passOn(t, w.begin(t), w.root[0])
	role := func(name string, edit func(*trust.Targets)) func(f *publisher.SigningFile) {
		return func(f *publisher.SigningFile) {
			key := manifest.RoleObject(name, 1)
			payload, sigs, err := trust.ParseEnvelope(f.Objects[key])
			check(t, err)
			next, err := trust.ParseTargetsPayload(payload)
			check(t, err)
			edit(next)
			payload, err = next.Payload()
			check(t, err)
			f.Objects[key], err = trust.Envelope(payload, sigs)
			check(t, err)
		}
	}
	for name, change := range map[string]func(f *publisher.SigningFile){
		"a product delegated to a stranger": role("targets", func(next *trust.Targets) {
			next.Delegations = append(next.Delegations, trust.Delegation{Name: "product.openstack", Paths: manifest.RolePaths("product.openstack"),
				Authority: trust.Authority{Keys: []trust.Key{w.stranger.TUF}, Threshold: 1}})
		}),
		"a registry for other paths": role("targets", func(next *trust.Targets) { next.Delegations[0].Paths = []string{"catalog/*/*/*"} }),
		"a journal of another key": role("targets", func(next *trust.Targets) {
			next.Delegations[2].Authority = trust.Authority{Keys: []trust.Key{w.stranger.TUF}, Threshold: 1}
		}),
		"targets that hold for longer": role("targets", func(next *trust.Targets) { next.Expires = next.Expires.Add(365 * catalogtest.Day) }),
		"a later version":              role("targets", func(next *trust.Targets) { next.Version = 7 }),
		"no vendor":                    role("registry", func(next *trust.Targets) { clear(next.Targets) }),
		"a second customer": role("registry", func(next *trust.Targets) {
			next.Targets["registry/mallory.toml"] = trust.Target{Length: 1, SHA256: strings.Repeat("a", 64)}
		}),
		"an entry of other bytes": func(f *publisher.SigningFile) {
			for key := range f.Objects {
				if strings.HasPrefix(key, "targets/") {
					f.Objects[key] = append(f.Objects[key], '\n')
				}
			}
		},
		"one object more": func(f *publisher.SigningFile) { f.Objects["metadata/2.root.json"] = []byte("{}") },
		"one object less": func(f *publisher.SigningFile) { delete(f.Objects, "metadata/1.registry.json") },
		"a snapshot's key of its own": func(f *publisher.SigningFile) {
			payload, sigs, err := trust.ParseEnvelope(f.Objects["metadata/1.root.json"])
			check(t, err)
			root, err := trust.ParseRootPayload(payload)
			check(t, err)
			root.Roles["snapshot"] = trust.Authority{Keys: []trust.Key{w.stranger.TUF}, Threshold: 1}
			payload, err = root.Payload()
			check(t, err)
			f.Objects["metadata/1.root.json"], err = trust.Envelope(payload, sigs)
			check(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := honest.File()
			check(t, err)
			change(f)
			c, err := publisher.OpenCeremony(w.now, carried(t, f))
			if c != nil {
				t.Fatalf("it is opened as %q", c.Words())
			}
			wantError[*publisher.NotASigningFile](t, err)
		})
	}
	t.Run("other holders throughout", func(t *testing.T) {
		in := w.absent()
		in.RootPublic[2] = w.stranger.Public()
		c, err := publisher.BeginCeremony(w.now, in, w.online.Public())
		check(t, err)
		evil, err := c.File()
		check(t, err)
		good, err := honest.File()
		check(t, err)
		for key := range evil.Objects { // the words of the one, the signatures of the other
			payload, _, err := trust.ParseEnvelope(evil.Objects[key])
			_, sigs, goodErr := trust.ParseEnvelope(good.Objects[key])
			if err == nil && goodErr == nil {
				evil.Objects[key], err = trust.Envelope(payload, sigs)
				check(t, err)
			}
		}
		opened, err := publisher.OpenCeremony(w.now, carried(t, evil))
		check(t, err)
		if opened.ID() == honest.ID() || opened.Outcome().Roles[0].Have != 0 || !strings.Contains(strings.Join(opened.Words(), "\n"), w.stranger.TUF.ID) {
			t.Errorf("%+v says %q", opened.Outcome().Roles, opened.Words())
		}
		wantError[*publisher.Invalid](t, honest.Merge(opened), "root: ", short(w.stranger))
	})
}

func TestCeremonySignedByAStranger(t *testing.T) {
	t.Parallel()
	w := empty(t)
	c := w.begin(t)
	wantError[*publisher.NotAuthorized](t, c.Authorize(signers(w.root[0], w.stranger)), short(w.stranger))
	w.passOn(t, c, w.root[0])
	f, err := w.passOn(t, c, w.root[0]).File()
	check(t, err)
	for key, data := range f.Objects { // a stranger adds signatures, under the name of a holder
		payload, sigs, err := trust.ParseEnvelope(data)
		if err != nil {
			continue
		}
		forged, err := trust.Sign(ctx, payload, w.stranger)
		check(t, err)
		sigs = append(sigs, forged, trust.Signature{KeyID: w.root[1].TUF.ID, Sig: forged.Sig}, trust.Signature{KeyID: w.admin.TUF.ID, Sig: forged.Sig})
		f.Objects[key], err = trust.Envelope(payload, sigs)
		check(t, err)
	}
	opened, err := publisher.OpenCeremony(w.now, carried(t, f))
	check(t, err)
	for _, r := range opened.Outcome().Roles {
		if r.Complete() {
			t.Errorf("%+v", r)
		}
	}
	_, err = publisher.InitializeFrom(ctx, w.store, w.now, opened, w.online, "")
	wantError[*publisher.Invalid](t, err)
	if left := w.objects(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCeremonyWithAnotherOnlineKey(t *testing.T) {
	t.Parallel()
	w := empty(t)
	_, err := publisher.InitializeFrom(ctx, w.store, w.now, w.passOn(t, w.begin(t), w.root[0], w.root[1], w.admin), w.stranger, "")
	wantError[*publisher.NotAuthorized](t, err, short(w.stranger), short(w.online))
	if left := w.objects(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCeremonyOfAnotherTime(t *testing.T) {
	t.Parallel()
	w := empty(t)
	f, err := w.begin(t).File()
	check(t, err)
	_, err = publisher.OpenCeremony(w.now.Add(-3*catalogtest.Day), f)
	wantError[*publisher.NotASigningFile](t, err, "still to come")
	_, err = publisher.OpenCeremony(w.now.Add(91*catalogtest.Day), f)
	old := wantError[*publisher.CeremonyTooOld](t, err, "more than 90 days ago")
	if strings.Contains(err.Error()+old.Hint(), "altered") || !strings.Contains(old.Hint(), "begin anew") {
		t.Errorf("%v; %s", err, old.Hint())
	}
}

// The last step is killed at every write, and run again; or run again with one signature more.
func TestCeremonyWhoseLastStepCrashes(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := empty(t)
		c := w.passOn(t, w.begin(t), w.root[0], w.root[1], w.admin)
		faults := storagetest.NewFaults(t, w.store)
		faults.CrashAtWrite(n, n%2 == 0)
		_, err := publisher.InitializeFrom(ctx, faults, w.now, c, w.online, "")
		if err == nil {
			if n < 6 {
				t.Fatalf("only %d writes", n)
			}
			break
		}
		if !errors.Is(err, storagetest.ErrCrashed) {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
		_, err = publisher.InitializeFrom(ctx, w.store, w.now, w.passOn(t, c, w.root[2]), w.online, "")
		if err != nil {
			wantError[*publisher.AlreadyInitialized](t, err)
		}
		w.verifyNew(t)
	}
}

func TestCeremonyWhereAnotherCatalogWasBegun(t *testing.T) {
	t.Parallel()
	w := empty(t)
	begun := *w
	begun.dir = t.TempDir()
	begun.store = openDir(t, begun.dir)
	check(t, begun.initialize(begun.store))
	w.put(t, "metadata/1.root.json", begun.object(t, "metadata/1.root.json"))
	w.now = w.now.Add(time.Minute)
	_, err := publisher.InitializeFrom(ctx, w.store, w.now, w.passOn(t, w.begin(t), w.root[0], w.root[1], w.admin), w.online, "")
	if gone := wantError[*publisher.AlreadyInitialized](t, err); !gone.Other {
		t.Errorf("%+v", gone)
	}
}
