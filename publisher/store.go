package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// put creates a small immutable object with the headers of its kind. Nil when it is there already, byte for byte.
func put(ctx context.Context, w storage.Writer, key string, data []byte) error {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return err
	}
	if int64(len(data)) > kind.MaxSize {
		return fmt.Errorf("%s would be %d bytes, more than the %d that readers take", key, len(data), kind.MaxSize)
	}
	return w.Create(ctx, key, bytes.NewReader(data), int64(len(data)), kind.ContentType, kind.CacheControl)
}

// get reads an object, capped by its kind.
func get(ctx context.Context, r storage.Reader, key string) ([]byte, error) {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return nil, err
	}
	data, _, err := storage.ReadAll(ctx, r, key, kind.MaxSize)
	return data, err
}

// getTarget reads a target and holds it to what its role says.
func getTarget(ctx context.Context, r storage.Reader, role, path string, target trust.Target) ([]byte, error) {
	data, err := get(ctx, r, manifest.TargetObject(path, target.SHA256))
	if err != nil {
		return nil, err
	}
	if have := digest(data); have != target.SHA256 || int64(len(data)) != target.Length {
		return nil, &trust.Error{Kind: trust.Mismatch, Role: role,
			Have: fmt.Sprintf("%s with sha256 %s", path, have), Want: target.SHA256}
	}
	return data, nil
}

// getManifest reads the manifest that a role lists for a release.
func getManifest(ctx context.Context, r storage.Reader, role, path string, target trust.Target) (*manifest.Manifest, error) {
	data, err := getTarget(ctx, r, role, path, target)
	if err != nil {
		return nil, err
	}
	m, err := manifest.ParseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, rel, err := manifest.ParseTargetPath(path); err != nil || rel != m.Release() {
		return nil, &trust.Error{Kind: trust.Mismatch, Role: role, Have: "the manifest of " + m.Release().String(), Want: path}
	}
	return m, nil
}

// denied tells whether the caller lacks a right, or the store the ability, to list proposals.
func denied(err error) bool {
	return errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrUnsupported)
}

// storeFailure tells a store that did not answer from one that answered with something wrong or nothing.
func storeFailure(err error) bool {
	for _, failure := range []error{storage.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, failure) {
			return true
		}
	}
	return false
}
