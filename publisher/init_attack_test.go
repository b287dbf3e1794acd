package publisher_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// beheaded takes from a catalog all metadata but its first files, and, of the snapshots, those that do not stay.
func (w *world) beheaded(t *testing.T, stay func(key string) bool) {
	t.Helper()
	first := []string{manifest.RootObject(1), "metadata/1.targets.json", "metadata/1.registry.json"}
	for _, key := range w.objects(t) {
		if strings.HasPrefix(key, "metadata/") && !slices.Contains(first, key) && !stay(key) {
			check(t, w.store.Delete(ctx, key))
		}
	}
}

// Whoever may delete takes the timestamp and all that does not look like a beginning: an init with the same keys must not
// begin the catalog again over what is left.
func TestInitDoesNotCompleteABeheadedCatalog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.beheaded(t, func(key string) bool { return strings.HasSuffix(key, ".snapshot.json") })
	if e := wantError[*publisher.AlreadyInitialized](t, w.initialize(w.store)); e.Damaged == "" {
		t.Errorf("%+v", e)
	}
}

// With the snapshots gone as well nothing in the store tells; the host that ran the catalog knows.
func TestInitDoesNotCompleteACatalogThatThisHostHasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.beheaded(t, func(string) bool { return false })
	in := w.init()
	in.Seen = catalog.Fingerprint(w.object(t, manifest.RootObject(1)))
	_, err := publisher.Initialize(ctx, w.store, w.now, in, w.online)
	if e := wantError[*publisher.AlreadyInitialized](t, err); e.Damaged == "" {
		t.Errorf("%+v", e)
	}
}

// The same with the file of a ceremony, on the committer's host.
func TestACeremonyDoesNotCompleteACatalogThatThisHostHasSeen(t *testing.T) {
	t.Parallel()
	w := empty(t)
	c := w.passOn(t, w.begin(t), w.root[0], w.root[1], w.admin)
	made, err := publisher.InitializeFrom(ctx, w.store, w.now, c, w.online, "")
	check(t, err)
	w.beheaded(t, func(string) bool { return false })
	_, err = publisher.InitializeFrom(ctx, w.store, w.now, c, w.online, made.Fingerprint)
	if e := wantError[*publisher.AlreadyInitialized](t, err); e.Damaged == "" {
		t.Errorf("%+v", e)
	}
	if slices.Contains(w.objects(t), manifest.TimestampObject) {
		t.Error("it began the catalog again")
	}
}

// What a killed init leaves is called unfinished, and the hint names the command that completes it.
func TestAKilledInitIsNotCalledDamaged(t *testing.T) {
	t.Parallel()
	w := empty(t)
	check(t, w.initialize(w.store))
	w.fingerprint = catalog.Fingerprint(w.object(t, manifest.RootObject(1)))
	check(t, w.store.Delete(ctx, manifest.TimestampObject))
	_, err := w.publisher(t, nil).Pending(ctx)
	if e := wantError[*catalog.NoCatalog](t, err, "not finished"); !e.Begun || !strings.Contains(e.Hint(), "completes it") {
		t.Errorf("%+v", e)
	}
	check(t, w.initialize(w.store))
	w.verifyNew(t)
}

// TestInitFindsAgainOnlyWhatItMade: an init that was killed once the catalog was made gives its root when it is run again, and
// writes nothing. No other catalog is taken for its own: not one of other keys, thresholds or people, not one that has been used
// since, not one that this host knows otherwise.
func TestInitFindsAgainOnlyWhatItMade(t *testing.T) {
	t.Parallel()
	w := empty(t)
	check(t, w.initialize(w.store))
	w.now = w.now.Add(30 * catalogtest.Day) // its timestamp has expired
	objects := w.objects(t)
	again := func(change func(*publisher.Init), online key) (*publisher.InitResult, error) {
		in := w.init()
		change(&in)
		return publisher.Initialize(ctx, w.store, w.now, in, online)
	}
	root := w.object(t, manifest.RootObject(1))
	for name, seen := range map[string]string{"a host that never saw it": "", "one that has": catalog.Fingerprint(root)} {
		result, err := again(func(in *publisher.Init) { in.Seen = seen }, w.online)
		if err != nil || !result.MadeBefore || result.Resumed || !slices.Equal(result.RootBytes, root) || result.Fingerprint != catalog.Fingerprint(root) || len(result.Summary) < 5 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	stranger := w.stranger
	for name, change := range map[string]func(*publisher.Init){
		"another vendor":             func(in *publisher.Init) { in.Vendor = "other" },
		"another name of the vendor": func(in *publisher.Init) { in.VendorName = "Other" },
		"a root holder less":         func(in *publisher.Init) { in.RootPublic = nil },
		"a root holder more":         func(in *publisher.Init) { in.RootPublic = append(in.RootPublic, stranger.Public()) },
		"another root threshold":     func(in *publisher.Init) { in.RootKeys, in.RootPublic, in.RootThreshold = signers(w.root...), nil, 3 },
		"another targets holder":     func(in *publisher.Init) { in.TargetsKeys = signers(stranger); in.TargetsThreshold = 1 },
		"another administrator":      func(in *publisher.Init) { in.Registry = signers(stranger) },
		"another administrator more": func(in *publisher.Init) { in.RegistryPublic = append(in.RegistryPublic, stranger.Public()) },
		"another policy key":         func(in *publisher.Init) { in.Policy = []*keys.Public{stranger.Public()} },
		"another catalog seen":       func(in *publisher.Init) { in.Seen = catalog.Fingerprint([]byte("another")) },
	} {
		result, err := again(change, w.online)
		var e *publisher.AlreadyInitialized
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), "metadata/1.root.json") {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	_, err := again(func(*publisher.Init) {}, stranger)
	wantError[*publisher.AlreadyInitialized](t, err)
	if !slices.Equal(w.objects(t), objects) {
		t.Errorf("%d objects are now %d", len(objects), len(w.objects(t)))
	}
	for name, use := range map[string]func(w *world){
		"a new timestamp": func(w *world) { _, err := w.publisher(t, w.online).Commit(ctx); check(t, err) },
		"a product": func(w *world) {
			w.now = catalogtest.Start
			mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, w.openstack(), signers(w.root[:2]...)))
		},
		"a cut root":      func(w *world) { w.cut(t, manifest.RootObject(1)) },
		"a cut timestamp": func(w *world) { w.cut(t, manifest.TimestampObject) },
		"a lost registry": func(w *world) { w.remove(t, manifest.RoleObject(manifest.RoleRegistry, 1)) },
	} {
		other := w.copy(t)
		other.fingerprint = catalog.Fingerprint(root)
		use(other)
		if err := other.untouched(t, func() error { return other.initialize(other.store) }); !errors.As(err, new(*publisher.AlreadyInitialized)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
