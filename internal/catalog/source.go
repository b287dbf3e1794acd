package catalog

import (
	"context"
	"fmt"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// source is where a walk reads what the state directory does not hold: the store when refreshing, nothing more
// than the state directory when offline. Absent things are storage.ErrNotFound.
type source interface {
	root(ctx context.Context, version int64) ([]byte, error)
	// timestamp gives the current one with its entity tag, or storage.ErrNotModified while its tag is etag.
	timestamp(ctx context.Context, etag string) (data []byte, newETag string, err error)
	snapshot(ctx context.Context, m trust.Meta) ([]byte, error)
	role(ctx context.Context, name string, m trust.Meta) ([]byte, error)
}

// storeSource reads the bucket. Every read is capped by its object's kind.
type storeSource struct{ storage.Reader }

func (s storeSource) root(ctx context.Context, version int64) ([]byte, error) {
	return readObject(ctx, s, manifest.RootObject(version))
}

func (s storeSource) timestamp(ctx context.Context, etag string) ([]byte, string, error) {
	kind, err := manifest.KindOf(manifest.TimestampObject)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := storage.Small(ctx)
	defer cancel()
	body, info, err := s.OpenIfChanged(ctx, manifest.TimestampObject, etag)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	data, err := storage.ReadBody(body, info, kind.MaxSize)
	return data, info.ETag, err
}

func (s storeSource) snapshot(ctx context.Context, m trust.Meta) ([]byte, error) {
	return readListed(ctx, s, manifest.SnapshotObject(m.Version), m.Length)
}

func (s storeSource) role(ctx context.Context, name string, m trust.Meta) ([]byte, error) {
	return readListed(ctx, s, manifest.RoleObject(name, m.Version), m.Length)
}

// readObject reads a whole object, capped by its kind.
func readObject(ctx context.Context, r storage.Reader, key string) ([]byte, error) {
	return readListed(ctx, r, key, manifest.MaxObjectSize)
}

// readListed is readObject for an object whose length a verified file lists: not a byte more is taken.
func readListed(ctx context.Context, r storage.Reader, key string, length int64) ([]byte, error) {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return nil, err
	}
	data, _, err := storage.ReadAll(ctx, r, key, min(kind.MaxSize, length))
	return data, err
}

// stateSource is the state directory as the only source. A walk has looked there before it asks, so that what it
// asks for is absent or of no use, except for the timestamp.
type stateSource struct{ stateDir }

func (s stateSource) root(_ context.Context, version int64) ([]byte, error) {
	return s.get(rootFile(version), manifest.RootObject(version))
}

func (s stateSource) timestamp(context.Context, string) ([]byte, string, error) {
	data, err := s.get(timestampFile, manifest.TimestampObject)
	return data, "", err
}

func (s stateSource) snapshot(_ context.Context, m trust.Meta) ([]byte, error) {
	return s.get(snapshotFile, manifest.SnapshotObject(m.Version))
}

func (s stateSource) role(_ context.Context, name string, m trust.Meta) ([]byte, error) {
	return s.get(roleFile(name), manifest.RoleObject(name, m.Version))
}

func (s stateSource) get(file, key string) ([]byte, error) {
	data, ok := s.readKind(file, key)
	if !ok {
		return nil, fmt.Errorf("%s: %w", s.path(file), storage.ErrNotFound)
	}
	return data, nil
}

// readKind reads a file that holds the object key, capped by the object's kind.
func (s stateDir) readKind(file, key string) ([]byte, bool) {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return nil, false
	}
	return s.read(file, kind.MaxSize)
}
