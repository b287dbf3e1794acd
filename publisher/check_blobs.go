package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// hashParallel is how many stored objects are hashed at once.
const hashParallel = 4

// blobs holds the stored objects to what the manifests say of them: by the store's listing, which tells their sizes, or
// one by one where it cannot be listed or only one product is looked at.
func (c *checker) blobs(ctx context.Context) error {
	if c.req.Product == "" {
		if err := c.unlistedTargets(ctx); err != nil {
			return err
		}
	}
	c.sortNeeds()
	whole := c.req.Product == ""
	if whole {
		err := c.compareBlobs(ctx)
		if whole = !denied(err); whole && err != nil {
			return err
		}
		if !whole {
			if err := c.unlisted("blobs/", err); err != nil {
				return err
			}
		}
	}
	if !whole {
		if err := c.askBlobs(ctx); err != nil {
			return err
		}
	}
	if !c.req.ReadData {
		return nil
	}
	return c.hashBlobs(ctx)
}

// sortNeeds leaves each blob once, with the releases that need it.
func (c *checker) sortNeeds() {
	unlisted := func(n need) int {
		if n.listed {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(c.needs, func(a, b need) int {
		return cmp.Or(bytes.Compare(a.sha[:], b.sha[:]), cmp.Compare(a.size, b.size), unlisted(a)-unlisted(b), strings.Compare(a.by, b.by))
	})
	kept := c.needs[:0]
	for _, n := range c.needs {
		if last := len(kept) - 1; last >= 0 && kept[last].sha == n.sha && kept[last].size == n.size {
			kept[last].share(n)
		} else {
			kept = append(kept, n)
		}
	}
	c.needs = kept
	for _, n := range c.needs {
		if n.listed {
			c.result.Checked.Blobs++
			c.result.Checked.BlobBytes += n.size
		}
	}
}

// unlistedTargets looks at the stored targets that no role lists now. The blobs of those that may come into effect are
// no orphans.
func (c *checker) unlistedTargets(ctx context.Context) error {
	young := c.view.Now().Add(-DefaultGrace)
	reach, err := c.reachable(ctx, c.view, func(o storage.Info) bool { return !o.Modified.IsZero() && o.Modified.Before(young) })
	if storeFailure(err) {
		return err
	}
	if err != nil {
		c.unknown = true
		c.unchecked("which stored objects proposals may bring in: " + err.Error())
		return nil
	}
	for o, err := range c.Store.List(ctx, "targets/", "") {
		if err != nil {
			return c.unlisted("targets/", err)
		}
		c.result.Checked.Objects++
		kind, err := manifest.KindOf(o.Key)
		if err != nil {
			c.foreign(o)
			continue
		}
		listed, held, err := reach.target(o)
		c.unknown = c.unknown || err != nil && kind.Name == "manifest"
		switch {
		case err != nil || listed || c.past.reached[hashOf(targetDigest(o.Key))]:
		case !held || kind.Name != "manifest":
			c.gather(Note, CodeOrphanTargets, "targets/", c.past.orphans("manifests and entries that no role lists or ever listed, left by publications that came to nothing",
				"manifests and entries that no role that can be read lists or listed"),
				"nothing removes them: they are small; kitchen prune removes their blobs", o)
		default:
			if m, err := c.anyManifest(ctx, o.Key); err == nil {
				c.need(needsOf(m, false))
			} else if storeFailure(err) {
				return err
			} else {
				c.unknown = true
			}
		}
	}
	return nil
}

// compareBlobs walks the listing of blobs and what is needed side by side: both are in the order of digests.
func (c *checker) compareBlobs(ctx context.Context) error {
	next := 0
	missing := func(until func(need) bool) {
		for ; next < len(c.needs) && until(c.needs[next]); next++ {
			c.missing(&c.needs[next])
		}
	}
	for o, err := range c.Store.List(ctx, "blobs/", "") {
		if err != nil {
			return err
		}
		c.result.Checked.Objects++
		if kind, err := manifest.KindOf(o.Key); err != nil || kind.Name != "blob" {
			c.foreign(o)
			continue
		}
		sha := hashOf(blobDigest(o.Key))
		missing(func(n need) bool { return bytes.Compare(n.sha[:], sha[:]) < 0 })
		if next == len(c.needs) || c.needs[next].sha != sha {
			c.orphanBlob(o)
		}
		for ; next < len(c.needs) && c.needs[next].sha == sha; next++ {
			c.sized(&c.needs[next], o.Size)
		}
	}
	missing(func(need) bool { return true })
	return nil
}

// orphanBlob is one that nothing needs, as far as what names them can be read.
func (c *checker) orphanBlob(o storage.Info) {
	why, next := "stored objects that no release and no proposal needs", "kitchen prune shows those that are old enough; --yes deletes them"
	if c.unknown {
		why = "stored objects that are needed by nothing that can be read, while a manifest or a role that is lost, damaged or refused may need them"
		next = "keep them: put back what the other findings name, then check again"
	}
	c.gather(Note, CodeOrphanBlobs, "blobs/", why, next, o)
}

func (c *checker) missing(n *need) {
	n.absent = true
	if !n.listed {
		return
	}
	f := Finding{Severity: Fault, Code: CodeBlobMissing, Object: manifest.BlobObject(n.sha.String()), Why: n.words(), Next: restoreBlobHint}
	if there := storage.InTheWay(c.Store, f.Object); there != "" {
		f.Why, f.Next = f.Why+"; "+there, "look at what is there, and move it out of the way; then "+f.Next
	}
	c.find(f)
}

func (c *checker) sized(n *need, size int64) {
	if size == n.size || !n.listed {
		return
	}
	n.absent = true
	c.find(Finding{Severity: Fault, Code: CodeBlobAltered, Object: manifest.BlobObject(n.sha.String()),
		Why: fmt.Sprintf("%s; it has %d bytes, and should have %d", n.words(), size, n.size), Next: restoreBlobHint})
}

// askBlobs asks for each blob on its own.
func (c *checker) askBlobs(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(checkParallel)
	for i := range c.needs {
		n := &c.needs[i]
		group.Go(func() error {
			key := manifest.BlobObject(n.sha.String())
			info, err := c.Store.Stat(ctx, key)
			switch {
			case errors.Is(err, storage.ErrNotFound):
				c.missing(n)
			case err != nil:
				n.absent = true
				return c.unreadable(key, err)
			default:
				c.sized(n, info.Size)
			}
			return nil
		})
	}
	return group.Wait()
}

// hashBlobs reads every blob that has the right size.
func (c *checker) hashBlobs(ctx context.Context) (err error) {
	codec, err := chunk.NewCodec(zstd.SpeedDefault, hashParallel)
	if err != nil {
		return err
	}
	task := c.sink().Start("hashing artifacts", c.result.Checked.BlobBytes)
	defer func() { task.Done(err) }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hashParallel)
	for _, n := range c.needs {
		if n.absent || !n.listed {
			continue
		}
		group.Go(func() error {
			o := stored{manifest.BlobObject(n.sha.String()), n.sha, n.size, n.words(), restoreBlobHint, CodeBlobMissing, CodeBlobAltered}
			if claims := c.claims[objectID{n.sha, n.size}]; len(claims) > 0 {
				return c.unpackObject(ctx, codec, o, claims, task)
			}
			return c.hashObject(ctx, o, task)
		})
	}
	return group.Wait()
}

// stored is an object that is named by its digest.
type stored struct {
	key              string
	sha              blobHash
	size             int64
	why, next        string
	missing, altered string // codes
}

// hashObject reads one object, and not a byte more than it should have.
func (c *checker) hashObject(ctx context.Context, o stored, task progress.Task) error {
	n, sum, err := hashStored(ctx, c.Store, o.key, o.size, task)
	c.mu.Lock()
	c.result.Checked.ReadBytes += n
	c.mu.Unlock()
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.find(Finding{Severity: Fault, Code: o.missing, Object: o.key, Why: o.why, Next: o.next})
	case err != nil:
		return c.unreadable(o.key, err)
	case sum != o.sha || n != o.size:
		c.find(Finding{Severity: Fault, Code: o.altered, Object: o.key, Why: o.why + "; it has other bytes than its name says (sha256 " + sum.String() + ")", Next: o.next})
	}
	return nil
}
