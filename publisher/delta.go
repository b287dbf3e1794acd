package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/delta"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// defaultPredecessors is how many of the releases published last are what deltas are made from.
const defaultPredecessors = 2

// predecessors are the releases that deltas are made from, newest first: those that Packing names, or else the two that
// were published last, those that from names exactly, and the newest that is ready to deploy.
func (p *Publisher) predecessors(v *catalog.View, spec *manifest.Source, earlier []*manifest.Manifest) ([]*manifest.Manifest, error) {
	if p.Packing.NoDeltas {
		return nil, nil
	}
	wanted := map[string]bool{}
	for _, version := range p.Packing.DeltaFrom {
		if !slices.ContainsFunc(earlier, func(m *manifest.Manifest) bool { return m.Version == version }) {
			return nil, &Invalid{What: "delta from " + spec.Product + "@" + version, Reason: "is not a published release: kitchen list " + spec.Product + " shows which are"}
		}
		wanted[version] = true
	}
	if len(wanted) == 0 {
		for _, m := range earlier[:min(defaultPredecessors, len(earlier))] {
			wanted[m.Version] = true
		}
		for _, from := range spec.From {
			wanted[from] = true // a range is no version's name
		}
		if m := newestReady(v, earlier); m != nil {
			wanted[m.Version] = true
		}
	}
	var list []*manifest.Manifest
	for _, m := range earlier {
		if wanted[m.Version] && m.Version != spec.Version && len(list) < manifest.MaxDeltas {
			list = append(list, m)
		}
	}
	return list, nil
}

// newestReady is the newest release that is ready to deploy for everybody.
func newestReady(v *catalog.View, earlier []*manifest.Manifest) *manifest.Manifest {
	for _, m := range earlier {
		if target, err := v.StageTarget(manifest.StageReady, m.Release()); err == nil && target != nil {
			return m
		}
	}
	return nil
}

// artifactOf is the chunked artifact of a release that has the path.
func artifactOf(m *manifest.Manifest, path string) *manifest.Artifact {
	for i := range m.Artifacts {
		if a := &m.Artifacts[i]; a.Path == path && a.Chunked() {
			return a
		}
	}
	return nil
}

// deltas makes and sends what leads from earlier releases to an item. What cannot be made is said, and left out: a
// delta only saves.
func (u *uploader) deltas(ctx context.Context, it *item, p *packed, from []*manifest.Manifest) error {
	if p.index == nil {
		return nil
	}
	for _, m := range from {
		before := artifactOf(m, it.artifact.Path)
		if before == nil || before.SHA256 == it.artifact.SHA256 {
			continue
		}
		made, err := u.delta(ctx, it, p, m, before)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case storeFailure(err):
			return err
		case err != nil:
			u.sink().Note(fmt.Sprintf("no delta of %s from %s: %v", it.path, m.Version, err))
		case made != nil && !slices.ContainsFunc(it.artifact.Deltas, func(d manifest.Delta) bool { return d.Churn == made.Churn }):
			it.artifact.Deltas = append(it.artifact.Deltas, *made)
		}
	}
	return nil
}

// goneRanges is how many ranges of an earlier object are read at a time.
const goneRanges = 4

// sayCompressed tells what it costs that an artifact is compressed already: one byte changed, and all that follows is
// another.
func (u *uploader) sayCompressed(ctx context.Context, it *item, p *packed) {
	unpacked, ok := manifest.UnpackedPath(it.path)
	if !ok || it.unpack || p.index == nil {
		return
	}
	moves, who := it.artifact.Stored.Size, "whoever has another release"
	for _, m := range u.earlier {
		before := artifactOf(m, it.artifact.Path)
		if before == nil {
			continue
		}
		x, err := transfer.ReadIndex(ctx, u.Store, before)
		if err != nil {
			break // it only costs the figure
		}
		moves, who = 0, "whoever has "+m.Version
		for _, i := range chunk.Compare(x, p.index).Missing {
			moves += int64(p.index[i].Stored)
		}
		break
	}
	u.said = append(u.said, fmt.Sprintf("%s is compressed: %s moves %d of its %d bytes; with unpack = true in product.toml it is stored as %s, of which only what changed moves",
		it.path, who, moves, it.artifact.Stored.Size, unpacked))
}

// maxDeltaShare is the share of the bytes it saves, in percent, from which a delta is not worth its place.
const maxDeltaShare = 80

// delta makes one; nil when it would save too little.
func (u *uploader) delta(ctx context.Context, it *item, p *packed, m *manifest.Manifest, before *manifest.Artifact) (made *manifest.Delta, err error) {
	var x chunk.Index
	earlier := u.object(ctx, before)
	if earlier != nil {
		x = earlier.index
	} else if x, err = transfer.ReadIndex(ctx, u.Store, before); err != nil {
		return nil, err
	}
	diff := chunk.Compare(x, p.index)
	if len(diff.Gone) == 0 || len(diff.Missing) == 0 {
		return nil, nil
	}
	var saved int64
	for _, i := range diff.Missing {
		saved += int64(p.index[i].Stored)
	}
	gone, err := u.gone(ctx, it, before, earlier, x, diff.Gone)
	if err != nil {
		return nil, err
	}
	defer gone.Close()
	missing := newChunkReader(u.codec, p.body, p.index, diff.Missing)
	task := u.sink().Start(fmt.Sprintf("delta of %s from %s", it.path, m.Version), missing.size)
	defer func() { task.Done(err) }()
	missing.task = task
	out, err := u.scratchFile()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	sum := sha256.New()
	if err := delta.Make(ctx, io.MultiWriter(out, sum), gone, missing, gone.size, missing.size); err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if size >= saved/100*maxDeltaShare {
		return nil, nil
	}
	d := manifest.Object{SHA256: hexSum(sum), Size: size}
	if err := u.send(ctx, fmt.Sprintf("the delta of %s from %s", it.path, m.Version), out, d); err != nil {
		return nil, err
	}
	u.said = append(u.said, fmt.Sprintf("%s: a delta of %d bytes from %s, instead of %d", it.artifact.Path, size, m.Version, saved))
	return &manifest.Delta{From: before.SHA256, Churn: hex.EncodeToString(diff.Churn[:]), SHA256: d.SHA256, Size: d.Size}, nil
}

// scratchFile is a file without a name.
func (p *Publisher) scratchFile() (*os.File, error) {
	f, err := os.CreateTemp(p.Scratch, "kitchen-delta-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// goneReader gives the chunks that only the earlier artifact has.
type goneReader struct {
	io.ReaderAt
	io.Closer
	size int64
}

// gone takes them from the object at hand if it has them undamaged, or from the store.
func (u *uploader) gone(ctx context.Context, it *item, before *manifest.Artifact, earlier *earlierObject, x chunk.Index, positions []int) (*goneReader, error) {
	var size int64
	for _, i := range positions {
		size += int64(x[i].Raw)
	}
	if earlier != nil && earlier.sound(positions) {
		return &goneReader{newChunkReader(u.codec, earlier.file, x, positions), io.NopCloser(nil), size}, nil
	}
	f, err := u.scratchFile()
	if err != nil {
		return nil, err
	}
	task := u.sink().Start("reading what changed of the earlier "+it.path, -1)
	_, err = transfer.Chunks(ctx, u.Store, before.Stored.SHA256, x, positions, goneRanges, f, task)
	task.Done(err)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &goneReader{f, f, size}, nil
}

// chunkReader reads chunks of a stored object as if they were one file. It is for one reader at a time that goes forward.
type chunkReader struct {
	codec  *chunk.Codec
	object io.ReaderAt
	index  chunk.Index
	size   int64
	task   progress.Task // counts what is read; may be nil
	pieces []chunkPiece
	at     int    // the piece that is held
	raw    []byte // its bytes
	frame  []byte
}

// chunkPiece is one chunk: where it lies in the object, and where what is read begins.
type chunkPiece struct {
	index  int
	offset int64
	start  int64
}

func newChunkReader(codec *chunk.Codec, object io.ReaderAt, x chunk.Index, positions []int) *chunkReader {
	r := &chunkReader{codec: codec, object: object, index: x, at: -1}
	offset, next := int64(0), 0
	for i, c := range x {
		if next < len(positions) && positions[next] == i {
			r.pieces = append(r.pieces, chunkPiece{i, offset, r.size})
			r.size += int64(c.Raw)
			next++
		}
		offset += int64(c.Stored)
	}
	return r
}

// ReadAt implements io.ReaderAt.
func (r *chunkReader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		i, found := slices.BinarySearchFunc(r.pieces, off, func(p chunkPiece, off int64) int { return int(p.start - off) })
		if !found {
			i--
		}
		if err := r.load(i); err != nil {
			return n, err
		}
		m := copy(p[n:], r.raw[off-r.pieces[i].start:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

func (r *chunkReader) load(i int) (err error) {
	if i == r.at {
		return nil
	}
	r.at = -1
	c := r.index[r.pieces[i].index]
	r.frame = slices.Grow(r.frame[:0], c.Stored)[:c.Stored]
	if n, err := r.object.ReadAt(r.frame, r.pieces[i].offset); n < c.Stored {
		return err
	}
	if r.raw, err = r.codec.Decode(r.raw[:0], r.frame, c); err != nil {
		return err
	}
	r.at = i
	if r.task != nil {
		r.task.Add(int64(c.Raw))
	}
	return nil
}
