package publisher

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// Pruning removes blobs that nothing reaches. Reached is what a manifest names that a role lists, that a proposal may
// bring in, or that is younger than the grace period: its publisher may be about to propose it. Published releases stay
// listed for ever, so the current roles reach whatever an older, unexpired version of them does.
//
// Somebody may be about to publish a release that shares a blob which nothing reaches yet. So a prune
//
//  1. writes the names of what it means to delete into manifest.PruneObject,
//  2. signs a new timestamp,
//  3. looks once more what is reached, and spares that,
//  4. deletes the rest, and empties the list.
//
// Whoever commits a release reads the timestamp, then the list, then looks for every blob of the release in the store, and
// then swaps the timestamp. If the swap succeeds, the new timestamp of step 2 came before that commit's reading, which then
// saw the list and took what is on it for gone, or saw what was gone; or it comes after the commit, whose manifest step 3
// sees. Clocks play no part in it.
//
// One prune runs at a time: a list that is not empty is somebody's. One that was killed leaves its list; a person who knows
// that takes it over. A prune looks before each deletion whether the list is its own still. What remains: a prune that was
// taken over although it lived, stopped between that look and its deletion.

// DefaultGrace is how old a blob has to be before it is pruned.
const DefaultGrace = 7 * day

// maxPendingText bounds the payloads of proposals that a prune looks through, in bytes.
const maxPendingText = 256 << 20

const pruneSchema = "kitchen.prune-list/v1"

// maxPruned is how many blobs one prune deletes: their names fill a list of its largest size.
const maxPruned = 10_000

// PruneRequest says what to prune.
type PruneRequest struct {
	Grace    time.Duration // blobs and manifests younger than this stay; 0 is DefaultGrace
	Delete   bool          // false: only tell
	TakeOver bool          // complete what a prune left that does not run any more
}

// PruneResult tells what is, or was, not needed.
type PruneResult struct {
	Objects []storage.Info // in the order of their keys
	Bytes   int64
	Kept    int       // blobs that stay
	Young   int       // those of them that nothing reaches, and that the grace period keeps
	From    time.Time // when the first of those may go; zero where the store tells no times
	Deleted bool      // they are gone
	More    bool      // there are more than one prune deletes: run it again

	Unfinished int // uploads in parts that a bucket keeps: the next publication of the same goes on with them, a lifecycle rule ends them
}

// pruneList is the document manifest.PruneObject.
type pruneList struct {
	Schema  string   `json:"schema"`
	Owner   string   `json:"owner"`   // a random word: no two prunes write the same list
	Objects []string `json:"objects"` // SHA-256 of blobs
}

// Prune removes blobs that no release, no proposal and no publication under way needs, or tells which they are. Deleting
// takes the online key. Errors: *NoOnlineKey, *Pruning, *LostRace, those of the catalog and the store; a manifest that
// is listed and cannot be read ends it before anything is deleted.
func (p *Publisher) Prune(ctx context.Context, req PruneRequest) (*PruneResult, error) {
	if req.Grace <= 0 {
		req.Grace = DefaultGrace
	}
	if req.Delete && p.Online == nil {
		return nil, &NoOnlineKey{}
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	result, err := p.unreached(ctx, view, req.Grace)
	if err != nil {
		return nil, err
	}
	for _, err := range storage.Uploads(ctx, p.Store) {
		if err != nil {
			break // who may not list them is not told
		}
		result.Unfinished++
	}
	if !req.Delete {
		return result, nil
	}
	list, etag, err := p.readPruneList(ctx)
	switch {
	case err != nil || len(result.Objects)+len(list) == 0:
		return result, err
	case len(list) > 0 && !req.TakeOver:
		return nil, &Pruning{}
	case len(list) > 0:
		result.More = true // what was left is completed first
	}
	if len(list) == 0 {
		for _, o := range result.Objects {
			list[blobDigest(o.Key)] = true
		}
	}
	if etag, err = p.writePruneList(ctx, etag, list); err != nil {
		return nil, err
	}
	if view, err = p.fence(ctx); err != nil {
		return nil, err
	}
	again, err := p.unreached(ctx, view, req.Grace)
	if err != nil {
		return nil, err
	}
	again.Objects = slices.DeleteFunc(again.Objects, func(o storage.Info) bool { return !list[blobDigest(o.Key)] })
	again.Bytes = 0
	for _, o := range again.Objects {
		if _, now, err := p.readPruneList(ctx); err != nil || now != etag {
			return nil, errors.Join(&Pruning{Err: err}, err)
		}
		if err := p.Store.Delete(ctx, o.Key); err != nil {
			return nil, err
		}
		again.Bytes += o.Size
	}
	again.Deleted, again.More, again.Unfinished = true, result.More, result.Unfinished
	_, err = p.writePruneList(ctx, etag, nil)
	return again, err
}

// fence puts a new timestamp into effect, and gives the view that rests on it or on a later one.
func (p *Publisher) fence(ctx context.Context) (view *catalog.View, err error) {
	err = p.race(ctx, func() error {
		if view, err = p.refreshToCommit(ctx); err != nil {
			return err
		}
		return p.install(ctx, view, nil)
	})
	if err != nil {
		return nil, err
	}
	return p.refresh(ctx)
}

// unreached finds the blobs that nothing reaches and that are old enough.
func (p *Publisher) unreached(ctx context.Context, v *catalog.View, grace time.Duration) (*PruneResult, error) {
	young := v.Now().Add(-grace)
	old := func(o storage.Info) bool { return !o.Modified.IsZero() && o.Modified.Before(young) }
	reached, err := p.reached(ctx, v, old)
	if err != nil {
		return nil, err
	}
	result := &PruneResult{}
	for o, err := range p.Store.List(ctx, "blobs/", "") {
		if err != nil {
			return nil, err
		}
		kind, err := manifest.KindOf(o.Key)
		if err != nil || kind.Name != "blob" || reached[blobDigest(o.Key)] {
			result.Kept++
			continue
		}
		if !old(o) {
			result.keepYoung(o, grace)
			continue
		}
		if len(result.Objects) == maxPruned {
			result.More = true
			continue
		}
		result.Objects = append(result.Objects, o)
		result.Bytes += o.Size
	}
	return result, nil
}

func (r *PruneResult) keepYoung(o storage.Info, grace time.Duration) {
	r.Kept++
	r.Young++
	if from := o.Modified.Add(grace); !o.Modified.IsZero() && (r.From.IsZero() || from.Before(r.From)) {
		r.From = from
	}
}

func blobDigest(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// reached are the digests of all blobs that some manifest names which may be, or come, into effect.
func (p *Publisher) reached(ctx context.Context, v *catalog.View, old func(storage.Info) bool) (map[string]bool, error) {
	reach, err := p.reachable(ctx, v, old)
	if err != nil {
		return nil, fmt.Errorf("nothing is pruned: %w", err)
	}
	reached, read := map[string]bool{}, map[string]bool{}
	for o, err := range p.Store.List(ctx, "targets/", "") {
		if err != nil {
			return nil, err
		}
		if kind, err := manifest.KindOf(o.Key); err != nil || kind.Name != "manifest" {
			continue
		}
		_, held, err := reach.target(o)
		if err != nil {
			return nil, err
		}
		if !held {
			continue // left by a publication that came to nothing
		}
		m, err := p.anyManifest(ctx, o.Key)
		if err != nil {
			return nil, fmt.Errorf("%s may name blobs that are needed, and cannot be read: nothing is pruned: %w", o.Key, err)
		}
		read[targetDigest(o.Key)] = true
		for _, blob := range m.Objects() {
			reached[blob.SHA256] = true
		}
	}
	return reached, reach.allRead(read)
}

// allRead refuses a catalog that lists a manifest of which no copy was read: what it names cannot be told any more.
func (r *reachable) allRead(read map[string]bool) error {
	for name := range r.view.Snapshot().Roles {
		content, err := r.role(name)
		if err != nil || content == nil {
			return err
		}
		for path, target := range content.Targets {
			if _, _, err := manifest.ParseTargetPath(path); err == nil && !read[target.SHA256] {
				return fmt.Errorf("%s is lost, and may name blobs that are needed: nothing is pruned; kitchen check says how it comes back", manifest.TargetObject(path, target.SHA256))
			}
		}
	}
	return nil
}

// Pruning is a prune that another one is in the way of (exit 1).
type Pruning struct{ Err error }

func (e *Pruning) Error() string {
	return "another prune of this catalog is under way, or was interrupted"
}

// Unwrap gives the store's error.
func (e *Pruning) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *Pruning) Hint() string {
	return "wait until it is done; if you know that none runs any more, kitchen prune --yes --take-over completes it"
}

// readPruneList gives the digests that a prune is about to delete, and the list's entity tag.
func (p *Publisher) readPruneList(ctx context.Context) (map[string]bool, string, error) {
	kind, err := manifest.KindOf(manifest.PruneObject)
	if err != nil {
		return nil, "", err
	}
	data, info, err := storage.ReadAll(ctx, p.Store, manifest.PruneObject, kind.MaxSize)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return map[string]bool{}, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var list pruneList
	if err := json.Unmarshal(data, &list); err != nil || list.Schema != pruneSchema {
		return nil, "", fmt.Errorf("%s is no list of what is pruned: remove it if no prune is under way", manifest.PruneObject)
	}
	doomed := make(map[string]bool, len(list.Objects))
	for _, sha := range list.Objects {
		doomed[sha] = true
	}
	return doomed, info.ETag, nil
}

func (p *Publisher) writePruneList(ctx context.Context, etag string, doomed map[string]bool) (string, error) {
	list := pruneList{Schema: pruneSchema, Owner: rand.Text(), Objects: make([]string, 0, len(doomed))}
	for sha := range doomed {
		list.Objects = append(list.Objects, sha)
	}
	slices.Sort(list.Objects)
	data, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	kind, err := manifest.KindOf(manifest.PruneObject)
	if err != nil {
		return "", err
	}
	etag, err = p.Store.Swap(ctx, manifest.PruneObject, etag, data, kind.ContentType, kind.CacheControl)
	if errors.Is(err, storage.ErrConflict) {
		err = &Pruning{err}
	}
	return etag, err
}
