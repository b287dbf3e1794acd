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

// deltas makes and sends what leads from earlier releases to an item that is stored, beside the deltas that it has. What cannot be
// made is said, and left out: a delta only saves.
func (u *uploader) deltas(ctx context.Context, it *item, p *packed, from []*manifest.Manifest) error {
	a := &it.artifact
	if !a.Chunked() {
		return nil
	}
	var all []manifest.Delta
	for _, m := range from {
		before := artifactOf(m, a.Path)
		if before == nil || before.SHA256 == a.SHA256 || slices.ContainsFunc(a.Deltas, func(d manifest.Delta) bool { return d.From == before.SHA256 }) {
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
		case made != nil:
			all = append(all, *made)
		}
	}
	a.Deltas = mergeDeltas(all, a.Deltas)
	return nil
}

// mergeDeltas gives those of both lists, each churn once, as many as an artifact may name: the first ones go before.
func mergeDeltas(first, then []manifest.Delta) (all []manifest.Delta) {
	for _, d := range append(first, then...) {
		if len(all) < manifest.MaxDeltas && !slices.ContainsFunc(all, func(have manifest.Delta) bool { return have.Churn == d.Churn }) {
			all = append(all, d)
		}
	}
	return all
}

// someRanges is how many ranges of a stored object are read at a time.
const someRanges = 4

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

// delta makes one; nil when it would save too little. p is the item as it was packed just now; nil: as it was stored before.
func (u *uploader) delta(ctx context.Context, it *item, p *packed, m *manifest.Manifest, before *manifest.Artifact) (made *manifest.Delta, err error) {
	if err := u.openCodec(); err != nil {
		return nil, err
	}
	old, err := u.chunked(ctx, before, nil)
	if err != nil {
		return nil, err
	}
	now, err := u.chunked(ctx, &it.artifact, p)
	if err != nil {
		return nil, err
	}
	diff := chunk.Compare(old.index, now.index)
	if len(diff.Gone) == 0 || len(diff.Missing) == 0 {
		return nil, nil
	}
	var saved int64
	for _, i := range diff.Missing {
		saved += int64(now.index[i].Stored)
	}
	gone, err := u.some(ctx, old, diff.Gone)
	if err != nil {
		return nil, err
	}
	defer gone.Close()
	missing, err := u.some(ctx, now, diff.Missing)
	if err != nil {
		return nil, err
	}
	defer missing.Close()
	task := u.sink().Start(fmt.Sprintf("delta of %s from %s", it.path, m.Version), missing.size)
	defer func() { task.Done(err) }()
	out, err := u.scratchFile()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	sum := sha256.New()
	if err := delta.Make(ctx, io.MultiWriter(out, sum), gone, &countedReaderAt{r: missing, task: task}, gone.size, missing.size); err != nil {
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

// chunked is a stored artifact of which chunks can be read.
type chunked struct {
	artifact *manifest.Artifact
	index    chunk.Index
	packed   *packed        // made just now
	earlier  *earlierObject // or at hand; nil, too: in the store
}

func (u *uploader) chunked(ctx context.Context, a *manifest.Artifact, p *packed) (c *chunked, err error) {
	c = &chunked{artifact: a, packed: p}
	if p != nil {
		c.index = p.index
	} else if c.earlier = u.object(ctx, a); c.earlier != nil {
		c.index = c.earlier.index
	} else {
		c.index, err = transfer.ReadIndex(ctx, u.Store, a)
	}
	return c, err
}

// someChunks are the chunks at some positions, one after the other.
type someChunks struct {
	io.ReaderAt
	io.Closer
	size int64
}

// some reads chunks from the object at hand if it has them undamaged, or from the store.
func (u *uploader) some(ctx context.Context, c *chunked, positions []int) (*someChunks, error) {
	var size int64
	for _, i := range positions {
		size += int64(c.index[i].Raw)
	}
	switch {
	case c.packed != nil:
		return &someChunks{newChunkReader(u.codec, c.packed.body, c.index, positions), io.NopCloser(nil), size}, nil
	case c.earlier != nil && c.earlier.sound(positions):
		return &someChunks{newChunkReader(u.codec, c.earlier.file, c.index, positions), io.NopCloser(nil), size}, nil
	}
	f, err := u.scratchFile()
	if err != nil {
		return nil, err
	}
	task := u.sink().Start("reading what changed of "+c.artifact.Path, -1)
	_, err = transfer.Chunks(ctx, u.Store, c.artifact.Stored.SHA256, c.index, positions, someRanges, f, task)
	task.Done(err)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &someChunks{f, f, size}, nil
}

// chunkReader reads chunks of a stored object as if they were one file. It is for one reader at a time that goes forward.
type chunkReader struct {
	codec  *chunk.Codec
	object io.ReaderAt
	index  chunk.Index
	size   int64
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
	return nil
}
