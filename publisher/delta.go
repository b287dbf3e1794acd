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
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// defaultPredecessors is how many of the releases published last are what deltas are made from.
const defaultPredecessors = 2

// predecessors tell which releases deltas are made from: those that Packing names, or else of each artifact the two last
// published that have it with other bytes, those that from names exactly, and the newest with it that is ready to deploy.
type predecessors struct {
	earlier []*manifest.Manifest // newest first, without the release itself
	named   map[string]bool      // versions
	last    int                  // of the releases published last
	ready   map[string]bool      // versions that are ready to deploy for everybody; nil: they count for nothing
}

func (p *Publisher) predecessors(v *catalog.View, spec *manifest.Source, earlier []*manifest.Manifest) (*predecessors, error) {
	from := &predecessors{named: map[string]bool{}}
	if p.Packing.NoDeltas {
		return from, nil
	}
	for _, m := range earlier {
		if m.Version != spec.Version {
			from.earlier = append(from.earlier, m)
		}
	}
	for _, version := range p.Packing.DeltaFrom {
		if !slices.ContainsFunc(from.earlier, func(m *manifest.Manifest) bool { return m.Version == version }) {
			return nil, &Invalid{What: "delta from " + spec.Product + "@" + version, Reason: "is not an earlier release that is published: kitchen list " + spec.Product + " shows which are"}
		}
		from.named[version] = true
	}
	if len(from.named) > 0 {
		return from, nil
	}
	from.last, from.ready = defaultPredecessors, map[string]bool{}
	for _, version := range spec.From {
		from.named[version] = true // a range is no version's name
	}
	for _, m := range from.earlier {
		if target, err := v.StageTarget(manifest.StageReady, m.Release()); err == nil && target != nil {
			from.ready[m.Version] = true
		}
	}
	return from, nil
}

// of are the releases for one artifact, newest first, each of its contents once.
func (p *predecessors) of(a *manifest.Artifact) (list []*manifest.Manifest) {
	met, last, ready := map[string]bool{a.SHA256: true}, p.last, p.ready != nil
	for _, m := range p.earlier {
		before := artifactOf(m, a.Path)
		if before == nil {
			continue
		}
		newestReady := ready && p.ready[m.Version]
		ready = ready && !newestReady
		if met[before.SHA256] || last == 0 && !p.named[m.Version] && !newestReady {
			continue
		}
		met[before.SHA256] = true
		last = max(0, last-1)
		if list = append(list, m); len(list) == manifest.MaxDeltas {
			break
		}
	}
	return list
}

// deltas makes and sends what leads from earlier releases to an item that is stored, beside the deltas that it has. What cannot be
// made is said, and left out: a delta only saves.
func (u *uploader) deltas(ctx context.Context, it *item, p *packed, from *predecessors) error {
	a := &it.artifact
	if !a.Chunked() {
		return nil
	}
	var all []manifest.Delta
	for _, m := range from.of(a) {
		before := artifactOf(m, a.Path)
		if slices.ContainsFunc(a.Deltas, func(d manifest.Delta) bool { return d.From == before.SHA256 }) {
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

// worthSaying is the share of its bytes, in percent, that a compressed artifact has to move for who has an earlier one, to be worth a word.
const worthSaying = 20

// sayCompressed tells what it costs that an artifact is compressed already: one byte changed, and all that follows is
// another. What unpacking would save is at most what moves now; how much less of the unpacked stream moves is known once it is stored.
func (u *uploader) sayCompressed(ctx context.Context, it *item, p *packed) {
	unpacked, ok := manifest.UnpackedPath(it.path)
	if !ok || it.unpack || p.index == nil {
		return
	}
	moves, who := u.movesFor(ctx, &it.artifact, p.index)
	if moves < it.artifact.Stored.Size/100*worthSaying {
		return
	}
	u.said = append(u.said, fmt.Sprintf("%s is compressed: %s moves %s of its %s; unpack = true in product.toml stores it as %s, of which only what changed moves, and saves up to %s each time",
		it.path, who, render.Size(moves), render.Size(it.artifact.Stored.Size), unpacked, render.Size(moves)))
}

// movesFor is how many bytes of an artifact move for whoever has the one before it: by the delta from that, or by ranges.
func (u *uploader) movesFor(ctx context.Context, a *manifest.Artifact, x chunk.Index) (bytes int64, who string) {
	for _, m := range u.past.all {
		before := artifactOf(m, a.Path)
		if before == nil {
			continue
		}
		old, err := transfer.ReadIndex(ctx, u.Store, before)
		if err != nil {
			break // it only costs the figure
		}
		diff := chunk.Compare(old, x)
		for _, i := range diff.Missing {
			bytes += int64(x[i].Stored)
		}
		for _, d := range a.Deltas {
			if d.Churn == hex.EncodeToString(diff.Churn[:]) {
				bytes = min(bytes, d.Size)
			}
		}
		return bytes, "whoever has " + m.Version
	}
	return a.Stored.Size, "whoever has an earlier one"
}

// maxDeltaShare is the share of the bytes it saves, in percent, from which a delta is not worth its place.
const maxDeltaShare = 80

// delta makes one; nil when it would save too little. p is the item as it was packed just now; nil: as it was stored before.
func (u *uploader) delta(ctx context.Context, it *item, p *packed, m *manifest.Manifest, before *manifest.Artifact) (made *manifest.Delta, err error) {
	if err := u.openCodec(); err != nil {
		return nil, err
	}
	if !ofLikeSize(before, it.artifact.Size) {
		return nil, fmt.Errorf("that is %s, and this %s", render.Size(before.Size), render.Size(it.artifact.Size))
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
	u.said = append(u.said, fmt.Sprintf("%s: a delta of %s from %s, instead of %s", it.artifact.Path, render.Size(size), m.Version, render.Size(saved)))
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
