package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// target gives the content of one listed target: from the state directory if it is there and intact, else from
// the store, and then kept. TUF 1.0 §5.7. what names it for people.
func (v *View) target(ctx context.Context, what, path string, t trust.Target, file string) ([]byte, error) {
	key := manifest.TargetObject(path, t.SHA256)
	if data, ok := v.catalog.state.readKind(file, key); ok && t.CheckFile(path, data) == nil {
		return data, nil
	}
	if v.offline {
		return nil, &NotCached{What: what}
	}
	data, err := readListed(ctx, v.catalog.store, key, t.Length)
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return nil, tooLarge(path, t.Length, err)
	case errors.Is(err, storage.ErrNotFound):
		return nil, &trust.Error{Kind: trust.Missing, Role: path, Want: "the object " + key + ", which is listed", Err: err}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := t.CheckFile(path, data); err != nil {
		return nil, err
	}
	return data, v.catalog.state.write(file, data)
}

// Manifest is the manifest of a published release, with its bytes. Nothing is asked of the other stages here.
// Errors: *UnknownRelease, *NotCached (offline), a *trust.Error, or the store's.
func (v *View) Manifest(ctx context.Context, r manifest.Release) (*manifest.Manifest, []byte, error) {
	target, err := v.published(r)
	if err != nil {
		return nil, nil, err
	}
	path := manifest.TargetPath(manifest.StageCatalog, r)
	data, err := v.target(ctx, "the manifest of "+r.String(), path, *target, manifestFile(target.SHA256))
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.ParseManifest(data)
	if err == nil && m.Release() != r {
		err = fmt.Errorf("it describes %s", m.Release())
	}
	if err != nil {
		return nil, nil, &trust.Error{Kind: trust.Malformed, Role: path, Err: err}
	}
	return m, data, nil
}
