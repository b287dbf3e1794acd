package publisher_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
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
