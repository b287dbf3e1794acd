package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// storedBlobs are how artifacts of earlier releases are stored, by the digest of their raw bytes.
type storedBlobs map[string]manifest.Artifact

func (b storedBlobs) add(m *manifest.Manifest) {
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		if _, known := b[a.SHA256]; !known {
			b[a.SHA256] = a
		}
	}
}

// has tells whether the store holds the object, at its size.
func (p *Publisher) has(ctx context.Context, o manifest.Object) (bool, error) {
	info, err := p.Store.Stat(ctx, manifest.BlobObject(o.SHA256))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return false, nil
	}
	return err == nil && info.Size == o.Size, err
}

// hasAll tells whether the store holds all objects that readers of an artifact may ask for, at their sizes.
func (p *Publisher) hasAll(ctx context.Context, a *manifest.Artifact) (bool, error) {
	for _, o := range a.Objects() {
		if there, err := p.has(ctx, o); err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// vetRelease holds a release that is new to what its readers will ask for: its manifest, and every object that this
// names, at its size, asked for now: a prune may have taken what was there a moment ago (see Prune). What is in them only
// a reader can tell, and does.
func (p *Publisher) vetRelease(ctx context.Context, role, path string, target trust.Target) error {
	m, err := getManifest(ctx, p.Store, role, path, target)
	if err != nil {
		return err
	}
	doomed, _, err := p.readPruneList(ctx)
	if err != nil {
		return err
	}
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		for _, o := range a.Objects() {
			if doomed[o.SHA256] {
				return fmt.Errorf("%s, of which %s is made, is being pruned: publish again once that is done (kitchen prune --yes --take-over completes one that was interrupted)", manifest.BlobObject(o.SHA256), m.Release())
			}
			there, err := p.has(ctx, o)
			if err != nil {
				return err
			}
			if !there {
				return fmt.Errorf("%s of %s is not in the store whole, as %s: publish it again from its directory (kitchen publish DIR), which restores it", a.Path, m.Release(), manifest.BlobObject(o.SHA256))
			}
		}
	}
	return nil
}

// uploader stores the artifacts of one release, one after the other.
type uploader struct {
	*Publisher
	source   *source
	view     *catalog.View // as it was when the release was prepared
	dir      string        // the release's, absolute
	past     *pastReleases
	others   map[string][]manifest.Artifact // by raw digest, chunked ones of other products; nil: not read yet
	cache    *cache                         // nil: none
	opened   map[string]*earlierObject      // see object
	codec    *chunk.Codec
	small    *zstd.Encoder
	whole    map[string]bool   // by digest, objects that the store is known to hold
	damaged  map[string]string // and those that it was seen to have damaged, and how
	restored int               // of these
	mended   []string          // what was restored, for the outcome
	sent     int64             // bytes that went up
	said     []string          // about deltas, for the summary
}

// upload stores what is not stored yet, and completes the artifacts.
func (u *uploader) upload(ctx context.Context, deltaFrom *predecessors) error {
	defer u.closeEarlier()
	for _, it := range u.source.items {
		shared, err := u.reuse(ctx, it)
		if err == nil && shared {
			err = u.deltas(ctx, it, nil, deltaFrom)
		} else if err == nil {
			err = u.store(ctx, it, deltaFrom)
		}
		if err != nil {
			return err
		}
		u.cache.remember(u.dir, it)
		u.past.known[it.artifact.SHA256] = it.artifact
	}
	return nil
}

// reuse looks whether an item that looks as it did when it was published is the same still, and stored: then it is
// neither compressed nor sent. What the cache says is verified by reading the item, unless it is to be trusted.
func (u *uploader) reuse(ctx context.Context, it *item) (bool, error) {
	seen, ok := u.cache.presumed(u.dir, it)
	if it.known() { // it was read already
		seen.SHA256, ok = it.artifact.SHA256, true
	}
	if !ok {
		return false, nil
	}
	before, ok := u.past.known[seen.SHA256]
	if !ok {
		return false, nil
	}
	if !u.trusted(it) {
		if err := it.read(ctx, u.source, u.sink()); err != nil {
			return false, err
		}
	}
	if it.artifact.SHA256 != seen.SHA256 {
		return false, nil
	}
	return u.share(ctx, it, before)
}

// trusted takes an item that looks as it did when it was published for what it was then, where the cache is to be trusted.
func (u *uploader) trusted(it *item) bool {
	seen, ok := u.cache.presumed(u.dir, it)
	if !ok || !u.Packing.TrustCache || it.known() || it.artifact.IsTree() {
		return false
	}
	it.artifact.Size, it.artifact.SHA256 = seen.Size, seen.SHA256
	return true
}

// share lets an item be the object that an earlier release stored for the same raw bytes, if that is all there, and undamaged. One
// that is at hand has to be seen to be those bytes, too; over a network the engineers of the product are believed, but for what is
// named by a release that they took back. What is not in chunks is packed anew: it is little, and comes out as the same object.
func (u *uploader) share(ctx context.Context, it *item, before manifest.Artifact) (bool, error) {
	if !before.Chunked() || before.Size != it.artifact.Size || before.Size < chunkedFrom {
		return false, nil
	}
	before.Deltas = slices.Clone(before.Deltas)
	there, err := u.holdsAll(ctx, &before)
	if err != nil || !there {
		return false, err
	}
	if u.object(ctx, &before) == nil && (u.isAtHand(&before) || u.past.taken[before.Stored.SHA256]) {
		return false, nil
	}
	it.artifact.Stored, it.artifact.Index, it.artifact.Deltas = before.Stored, before.Index, before.Deltas
	if u.Packing.Level != "" {
		u.said = append(u.said, it.path+": stored before with these bytes, which --level does not change")
	}
	return true, nil
}

// store packs an item and sends it, with the deltas that lead to it.
func (u *uploader) store(ctx context.Context, it *item, deltaFrom *predecessors) (err error) {
	p, err := u.pack(ctx, it, chunk.Options{Harder: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	shared := false
	if before, ok := u.past.known[it.artifact.SHA256]; ok {
		shared, err = u.share(ctx, it, before)
	}
	if !shared && err == nil {
		shared, err = u.shareElsewhere(ctx, it, p)
	}
	switch {
	case err != nil:
		return err
	case shared:
		return u.deltas(ctx, it, nil, deltaFrom)
	}
	if err := u.sendPacked(ctx, it, p); err != nil {
		return err
	}
	if err := u.deltas(ctx, it, p, deltaFrom); err != nil {
		return err
	}
	u.sayCompressed(ctx, it, p)
	u.cache.keep(&it.artifact, p)
	return nil
}

// sendPacked sends an object and its index.
func (u *uploader) sendPacked(ctx context.Context, it *item, p *packed) error {
	a := &it.artifact
	if a.Stored.Size > storage.MaxObject {
		return &Source{Path: it.path, Reason: fmt.Sprintf("takes %d bytes as stored, more than the %d that one object may have", a.Stored.Size, int64(storage.MaxObject))}
	}
	if err := u.send(ctx, it.path, p.body, manifest.Object{SHA256: a.Stored.SHA256, Size: a.Stored.Size}); err != nil {
		return err
	}
	if p.index == nil {
		return nil
	}
	return u.send(ctx, "the index of "+it.path, bytes.NewReader(p.bytes), a.Index)
}

// send stores one object, unless it is there, in the place of a damaged one, too.
func (u *uploader) send(ctx context.Context, what string, body io.ReaderAt, o manifest.Object) error {
	switch is, why, err := u.holding(ctx, o); {
	case err != nil || is == intact:
		return err
	case is == damaged:
		return u.replace(ctx, what, body, o, why)
	}
	key := manifest.BlobObject(o.SHA256)
	kind, err := manifest.KindOf(key)
	if err != nil {
		return err
	}
	task := u.sink().Start("uploading "+what, o.Size)
	counted := &countedReaderAt{r: body, sha256: o.SHA256, task: task}
	if spool, ok := body.(*storage.Spool); ok { // there already, but for the name
		err = spool.Create(ctx, key)
	} else {
		err = u.Store.Create(ctx, key, counted, o.Size, kind.ContentType, kind.CacheControl)
	}
	task.Done(err)
	if err == nil {
		u.sent += o.Size - counted.resumed
		u.whole[o.SHA256] = true
	}
	return err
}

// countedReaderAt tells a task how far a body was read. Stores may read it more than once, to try again; only new
// ground counts.
type countedReaderAt struct {
	r      io.ReaderAt
	sha256 string
	task   progress.Task
	mu     sync.Mutex // guards seen
	seen   int64

	resumed int64 // bytes that an interrupted upload had sent
}

// Resumed implements storage.Resumed.
func (c *countedReaderAt) Resumed(bytes int64) { c.resumed = bytes }

// SHA256 implements storage.Digested.
func (c *countedReaderAt) SHA256() string { return c.sha256 }

func (c *countedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.mu.Lock()
	if end := off + int64(n); end > c.seen {
		c.task.Add(end - c.seen)
		c.seen = end
	}
	c.mu.Unlock()
	return n, err
}
