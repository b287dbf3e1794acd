package catalog

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// noCatalog says that the store does not hold what every catalog does.
func (w *walk) noCatalog(ctx context.Context, err error) error {
	known := slices.ContainsFunc(w.copies, func(m *memory) bool { return m.Root > 0 })
	left, begun := w.remains(ctx)
	if begun && !known {
		return &NoCatalog{Store: w.c.store.URL(), Begun: true, Err: err}
	}
	return &NoCatalog{Store: w.c.store.URL(), Known: known, Left: left, Err: err}
}

// remains names metadata that is there where the timestamp, or the first root, is not; begun, where that is no more than an
// interrupted init leaves. Without the right to list, the names that every catalog begins with are tried.
func (w *walk) remains(ctx context.Context) (left string, begun bool) {
	first := []string{manifest.RootObject(1), manifest.RoleObject(trust.RoleTargets, 1), manifest.RoleObject(manifest.RoleRegistry, 1), manifest.SnapshotObject(1)}
	rooted := false
	for o, err := range w.c.store.List(ctx, "metadata/", "") {
		if err != nil {
			left = ""
			break
		}
		if _, err := manifest.KindOf(o.Key); err != nil || o.Key == manifest.TimestampObject {
			continue
		}
		if left = o.Key; !slices.Contains(first, left) {
			return left, false
		}
		rooted = rooted || left == first[0]
	}
	if left != "" {
		return left, rooted
	}
	for _, key := range first {
		if _, err := w.c.store.Stat(ctx, key); err == nil {
			return key, false
		}
	}
	return "", false
}
