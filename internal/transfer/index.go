package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// ReadIndex fetches an artifact's index and holds it to the manifest: its digest and size, and the sums of its lengths.
// Errors: *Mismatch, and those of the store.
func ReadIndex(ctx context.Context, store storage.Reader, a *manifest.Artifact) (chunk.Index, error) {
	key := manifest.BlobObject(a.Index.SHA256)
	if a.Index.Size > chunk.MaxIndex {
		return nil, &Mismatch{"index size", fmt.Sprintf("at most %d bytes", chunk.MaxIndex), fmt.Sprintf("%d", a.Index.Size)}
	}
	data, _, err := storage.ReadAll(ctx, store, key, a.Index.Size)
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return nil, &Mismatch{"index size", fmt.Sprintf("%d bytes", a.Index.Size), "more than that"}
	case errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", &Mismatch{"index", key, "nothing"}, err)
	case err != nil:
		return nil, err
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != a.Index.SHA256 || int64(len(data)) != a.Index.Size {
		return nil, &Mismatch{"index sha256", a.Index.SHA256, got}
	}
	x, err := chunk.ParseIndex(data)
	if err != nil {
		return nil, &Mismatch{"index", "one of version 1", err.Error()}
	}
	if raw, stored := x.Sizes(); raw != a.Size || stored != a.Stored.Size {
		return nil, &Mismatch{"sizes in the index", fmt.Sprintf("%d bytes stored as %d", a.Size, a.Stored.Size), fmt.Sprintf("%d stored as %d", raw, stored)}
	}
	return x, nil
}
