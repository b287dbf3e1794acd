package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// parallelArtifacts is how many artifacts of a release move at a time.
const parallelArtifacts = 3

// Transfer says how releases are moved.
type Transfer struct {
	Parallel int      // ranges of one artifact at a time; 0 is transfer.DefaultParallel
	Seeds    []string // files and release directories that may share bytes with what is fetched
	NoSeeds  bool     // what runs and deployments fetched is not kept for the next one
	// After is how to wait for a store that is away; nil is time.After.
	After func(time.Duration) <-chan time.Time
}

// assembly is a release on its way onto a disk.
type assembly struct {
	view    *catalog.View
	m       *manifest.Manifest
	sha     string // of the manifest
	place   string // beside which it is put together; "" is target
	target  string // final name
	durably bool   // every byte is on the disk before the name appears
	// whole holds chunked artifacts to the digest of their raw bytes, too. Those who test do: so an index that leads to
	// other bytes than the manifest names passes no CI, and whoever deploys has the index verified chunk by chunk.
	whole bool

	f       *Fetcher
	staging *staging
	seeds   []seedDir
	task    progress.Task
	waiting *transfer.Patience
	patched sync.Mutex // held by the one artifact at a time that may apply a delta: that takes memory
	mu      sync.Mutex // guards Moves
	Moves
}

// materialize puts the release together beside its target and renames it into place.
// It is how every file of a release gets onto a disk; what may be fetched is the
// caller's business.
func (f *Fetcher) materialize(ctx context.Context, a *assembly) (Moves, error) {
	if a.place == "" {
		a.place = a.target
	}
	s, err := newStaging(a.place, a.target, a.sha)
	if err != nil {
		return Moves{}, noSpace(a.m, a.target, err)
	}
	defer s.discard()
	a.f, a.staging, a.waiting = f, s, f.patience()
	artifacts := append([]manifest.Artifact{a.m.Marmite}, a.m.Artifacts...)
	total := int64(0)
	for i := range artifacts {
		total += artifacts[i].Stored.Size
		if artifacts[i].Chunked() && !artifacts[i].IsTree() {
			s.reclaim(strconv.Itoa(i), artifacts[i].Path)
		}
	}
	a.seeds = append([]seedDir{{filepath.Join(s.dir, stagedBefore), a.m}}, f.seedDirs(ctx, a.view, a.m)...)
	a.task = f.sink().Start("fetch "+a.m.Release().String(), total)
	if err = a.bring(ctx, artifacts); err == nil {
		err = s.publish(a.durably)
	}
	err = a.interrupted(ctx, noSpace(a.m, a.target, err))
	a.task.Done(err)
	return a.Moves, err
}

// bring moves all artifacts, those last that have the bytes of another, and then gives the large ones their places: until then
// an interrupted fetch finds them among its parts.
func (a *assembly) bring(ctx context.Context, artifacts []manifest.Artifact) error {
	parts := make([]*os.File, len(artifacts))
	defer func() {
		for _, part := range parts {
			if part != nil {
				part.Close()
			}
		}
	}()
	like := firstLike(artifacts)
	for _, again := range []bool{false, true} {
		group, inner := errgroup.WithContext(ctx)
		group.SetLimit(parallelArtifacts)
		for i := range artifacts {
			if again != (like[i] != i) {
				continue
			}
			group.Go(func() (err error) {
				if artifacts[i].Chunked() {
					parts[i], err = a.assemble(inner, &artifacts[i], i, parts[like[i]])
					return err
				}
				return a.stream(inner, &artifacts[i])
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	for i, part := range parts {
		if part == nil {
			continue
		}
		if err := a.placePart(ctx, &artifacts[i], part); err != nil {
			return err
		}
	}
	return nil
}

// firstLike is, for each artifact, the position of the first in chunks that has its bytes, or its own.
func firstLike(artifacts []manifest.Artifact) []int {
	like, first := make([]int, len(artifacts)), map[string]int{}
	for i, a := range artifacts {
		like[i] = i
		if at, known := first[a.SHA256]; known && a.Chunked() {
			like[i] = at
		} else if a.Chunked() {
			first[a.SHA256] = i
		}
	}
	return like
}

// patience outlasts a store that is away, and says so.
func (f *Fetcher) patience() *transfer.Patience {
	return &transfer.Patience{After: f.Transfer.After, Now: f.Now, Away: func(err error, next time.Duration) {
		next = max(time.Second, next.Round(time.Second))
		f.sink().Note(fmt.Sprintf("cannot read from the store (%v): trying again in %s", err, render.Duration(next)))
	}}
}

// stream writes an artifact that is one stream into the release.
func (a *assembly) stream(ctx context.Context, artifact *manifest.Artifact) error {
	if a.copyLocal(ctx, artifact) {
		progress.Skip(a.task, artifact.Stored.Size)
		return nil
	}
	return a.waiting.Try(ctx, func() error { return a.streamOnce(ctx, artifact) })
}

// streamOnce is one try at a stream. Of one that fails nothing is left: the next begins anew.
func (a *assembly) streamOnce(ctx context.Context, artifact *manifest.Artifact) (err error) {
	moved := &progress.Counter{Task: a.task}
	defer func() {
		if err != nil {
			a.task.Add(-moved.N)
			err = errors.Join(err, a.staging.root.RemoveAll(path.Clean(artifact.Path)))
		}
	}()
	content, err := transfer.Open(ctx, a.f.Store, artifact, moved)
	if err != nil {
		return a.refused(artifact, err)
	}
	defer content.Close()
	if artifact.IsTree() {
		err = placeTree(a.m.Release(), artifact, a.staging, content)
	} else {
		err = a.staging.write(artifact.Path, false, content)
	}
	a.mu.Lock()
	a.Moved += moved.N
	a.Requests++
	a.mu.Unlock()
	if wrong := new(transfer.Mismatch); errors.As(err, &wrong) {
		return a.refused(artifact, err)
	}
	return err
}

// assemble puts a chunked artifact together in a part. like is that of another artifact with the same bytes, or nil.
func (a *assembly) assemble(ctx context.Context, artifact *manifest.Artifact, n int, like *os.File) (part *os.File, err error) {
	var index chunk.Index
	if err := a.waiting.Try(ctx, func() (err error) { index, err = transfer.ReadIndex(ctx, a.f.Store, artifact); return err }); err != nil {
		return nil, a.refused(artifact, err)
	}
	if part, err = a.staging.part(strconv.Itoa(n)); err != nil {
		return nil, err
	}
	if len(artifact.Deltas) > 0 {
		a.patched.Lock()
		defer a.patched.Unlock()
	}
	seeds := a.seedsFor(artifact)
	defer closeSeeds(seeds)
	job := &transfer.Job{Store: a.f.Store, Artifact: artifact, Index: index, Parallel: a.f.Transfer.Parallel, Durably: a.durably,
		Patience: a.waiting, Scratch: filepath.Join(a.staging.dir, stagedParts), Task: a.task}
	if like != nil {
		job.Seeds = append(job.Seeds, transfer.Seed{Name: like.Name(), Size: artifact.Size, Open: func() (transfer.SeedReader, error) { return unclosed{like}, nil }})
	}
	for _, s := range seeds {
		job.Seeds = append(job.Seeds, s.Seed)
	}
	sources, err := job.Assemble(ctx, part)
	a.mu.Lock()
	a.Moved += sources.Moved + artifact.Index.Size
	a.Requests += sources.Requests + 1
	a.Kept += sources.Kept
	a.Local += sources.Seeded + sources.Zero
	a.Zeros += sources.Zero
	a.Delta += sources.Delta
	a.mu.Unlock()
	for _, problem := range sources.Problems {
		a.f.sink().Note(artifact.Path + ": " + problem)
	}
	if err == nil && a.whole {
		err = transfer.Verify(ctx, part, artifact)
	}
	if err != nil {
		part.Close()
		return nil, a.refused(artifact, err)
	}
	return part, nil
}

// refused puts the release's names to what package transfer refused.
func (a *assembly) refused(artifact *manifest.Artifact, err error) error {
	var wrong *transfer.Mismatch
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s of %s: %w", artifact.Path, a.m.Release(), err)
	}
	return &Mismatch{Release: a.m.Release(), Path: artifact.Path, What: wrong.What, Want: wrong.Want, Got: wrong.Got}
}

// placePart gives a part its place in the release: as the file that it is, or unpacked as the tree.
func (a *assembly) placePart(ctx context.Context, artifact *manifest.Artifact, part *os.File) error {
	if !artifact.IsTree() {
		return a.staging.place(part, artifact.Path)
	}
	content := transfer.WithContext(ctx, io.NewSectionReader(part, 0, artifact.Size))
	if err := placeTree(a.m.Release(), artifact, a.staging, content); err != nil {
		return err
	}
	return os.Remove(part.Name())
}

// Interrupted is a fetch that ended before its end, and left what the next one goes on from.
type Interrupted struct {
	Release manifest.Release
	Kept    int64 // bytes
	Size    int64 // bytes of the whole release
	Err     error
}

func (e *Interrupted) Error() string {
	return fmt.Sprintf("%v; %s", e.Err, e.Words())
}

// Words tell what is kept.
func (e *Interrupted) Words() string {
	return fmt.Sprintf("kept %s of the %s of %s", render.Size(e.Kept), render.Size(e.Size), e.Release)
}

// Unwrap gives what ended it.
func (e *Interrupted) Unwrap() error { return e.Err }

// Hint says how to go on.
func (e *Interrupted) Hint() string {
	return "run the same command again: it goes on from what is kept"
}

// interrupted leaves the parts where they are when the same fetch may succeed another time: when the store went away,
// or does not know the reader any more, and when somebody stopped it.
func (a *assembly) interrupted(ctx context.Context, err error) error {
	var refused *Mismatch
	var full *NoSpace
	if err == nil || a.staging.dir == "" || errors.As(err, &refused) || errors.As(err, &full) {
		return err
	}
	again := []error{storage.ErrUnavailable, storage.ErrForbidden, io.ErrUnexpectedEOF}
	if ctx.Err() == nil && !slices.ContainsFunc(again, func(e error) bool { return errors.Is(err, e) }) {
		return err
	}
	kept := a.staging.leave()
	if kept == 0 {
		return err
	}
	return &Interrupted{Release: a.m.Release(), Kept: kept, Size: releaseSize(a.m), Err: err}
}
