package publisher

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// shareElsewhere lets an item that was packed just now be the object that another product stores for the same raw bytes. Other
// engineers signed for that one: its index has to name the very chunks of the item, and each of its frames is unpacked and held
// to it. So it has to be at hand, in a store on this machine or in the cache; elsewhere it would have to be downloaded, and the
// item is stored once more instead.
func (u *uploader) shareElsewhere(ctx context.Context, it *item, p *packed) (bool, error) {
	if _, local := u.Store.(storage.Local); p.index == nil || !local && !u.cache.published(it.artifact.SHA256) {
		return false, nil
	}
	if err := u.readOthers(ctx); err != nil {
		return false, err
	}
	for _, before := range u.others[it.artifact.SHA256] {
		if before.Stored.Size > it.artifact.Stored.Size/4*5 || !u.unpacks(ctx, &before, p.index) {
			continue // all who fetch would pay for how badly another packed it
		}
		if shared, err := u.share(ctx, it, before); err != nil || shared {
			return shared, err
		}
	}
	return false, nil
}

// readOthers notes, once, what the other products store in chunks, but for what they took back. A product whose role cannot be read
// costs what it would have saved.
func (u *uploader) readOthers(ctx context.Context) error {
	if u.others != nil {
		return nil
	}
	u.others = map[string][]manifest.Artifact{}
	for _, product := range u.view.Products() {
		if product == u.source.spec.Product {
			continue
		}
		past, err := u.pastOf(ctx, u.view, product, u.cache)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			continue
		}
		for _, m := range past.sound {
			for _, a := range m.Artifacts {
				if a.Chunked() && !past.taken[a.Stored.SHA256] {
					a.Deltas = nil // they lead from the other product's
					u.others[a.SHA256] = append(u.others[a.SHA256], a)
				}
			}
		}
	}
	return nil
}

// unpacks tells whether the object of an artifact is at hand and unpacks, frame by frame, to the chunks of an index. Nothing of
// the object is read before its own index names these very chunks.
func (u *uploader) unpacks(ctx context.Context, a *manifest.Artifact, chunks chunk.Index) bool {
	if raw, _ := chunks.Sizes(); a.Size != raw || a.Index.Size > chunk.MaxIndex {
		return false
	}
	x, err := transfer.ReadIndex(ctx, u.Store, a)
	if err != nil || !slices.EqualFunc(x, chunks, func(a, b chunk.Chunk) bool { return a.SHA256 == b.SHA256 && a.Raw == b.Raw }) {
		return false
	}
	o := u.object(ctx, a)
	if o == nil {
		return false
	}
	var frame, raw []byte
	for i, c := range o.index {
		var err error
		var ok bool
		if frame, ok = o.read(frame[:0], i); !ok || ctx.Err() != nil {
			return false
		}
		if raw, err = u.codec.Decode(raw[:0], frame, c); err != nil {
			return false
		}
	}
	return true
}
