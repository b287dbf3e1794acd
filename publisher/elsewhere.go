package publisher

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
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
	for _, product := range u.view.Products() {
		if product == u.source.spec.Product {
			continue
		}
		releases, err := u.earlierReleases(ctx, u.view, product)
		if err != nil {
			return false, err
		}
		for _, m := range releases {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			at := slices.IndexFunc(m.Artifacts, func(a manifest.Artifact) bool { return a.SHA256 == it.artifact.SHA256 && a.Chunked() })
			if at < 0 || !u.unpacks(ctx, &m.Artifacts[at], p.index) {
				continue
			}
			before := m.Artifacts[at]
			before.Deltas = nil // they lead from the other product's
			if shared, err := u.share(ctx, it, before); err != nil || shared {
				return shared, err
			}
		}
	}
	return false, nil
}

// unpacks tells whether the object of an artifact is at hand and unpacks, frame by frame, to the chunks of an index.
func (u *uploader) unpacks(ctx context.Context, a *manifest.Artifact, chunks chunk.Index) bool {
	o := u.object(ctx, a)
	if o == nil || len(o.index) != len(chunks) {
		return false
	}
	var frame, raw []byte
	for i, c := range o.index {
		if c.SHA256 != chunks[i].SHA256 || c.Raw != chunks[i].Raw || ctx.Err() != nil {
			return false
		}
		var err error
		var ok bool
		if frame, ok = o.read(frame[:0], i); !ok {
			return false
		}
		if raw, err = u.codec.Decode(raw[:0], frame, c); err != nil {
			return false
		}
	}
	return true
}
