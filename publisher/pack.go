package publisher

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// chunkedFrom is the raw size from which an artifact is stored in chunks, in bytes. Below, the request for an index costs
// more than chunks can save.
const chunkedFrom = 4 << 20

// Packing says how artifacts are stored. The zero value is what most want.
type Packing struct {
	// Level of compression.
	Level Level
	// DeltaFrom are the versions of the product from which deltas are made; nil: see predecessors.
	DeltaFrom []string
	// NoDeltas leaves deltas out.
	NoDeltas bool
	// TrustCache believes that a file with the size, times and inode of one that was published from here is that file: its
	// digest is signed without reading it. Whoever can set a file's times can then have other bytes signed for.
	TrustCache bool
	// ReadData holds what the store has already to its digests over a network, too, before it is shared or taken for published:
	// that downloads it. In a directory it is always done. What is damaged is restored.
	ReadData bool
}

// Level is an effort of compression.
type Level string

// Levels, the quickest first. The default is the quickest that keeps objects within 12 % of zstd -3.
const (
	LevelFastest Level = "fastest"
	LevelDefault Level = "default"
	LevelBetter  Level = "better"
	LevelBest    Level = "best"
)

// Levels are all of them.
var Levels = []Level{LevelFastest, LevelDefault, LevelBetter, LevelBest}

func (l Level) zstd() zstd.EncoderLevel {
	switch l {
	case LevelFastest:
		return zstd.SpeedFastest
	case LevelBetter:
		return zstd.SpeedBetterCompression
	case LevelBest:
		return zstd.SpeedBestCompression
	}
	return zstd.SpeedDefault
}

// packed is an item as it is to be stored.
type packed struct {
	body  io.ReaderAt // the stored object
	spool io.Closer   // that holds it; nil for a small one
	index chunk.Index // nil for one that is not in chunks
	bytes []byte      // of the index
	seals *seals      // of the frames; nil where there is no index
}

func (p *packed) Close() error {
	if p.spool == nil {
		return nil
	}
	return p.spool.Close()
}

// pack reads an item once: it learns its size and digests, and makes the object that is to be stored.
func (u *uploader) pack(ctx context.Context, it *item, options chunk.Options) (p *packed, err error) {
	task := u.sink().Start("packing "+it.path, it.artifact.Size)
	defer func() { task.Done(err) }()
	if err := it.readFiles(ctx); err != nil {
		return nil, err
	}
	src, err := it.stream(ctx, u.source)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	counted := io.TeeReader(src, progress.Writer{Task: task})
	head := make([]byte, chunkedFrom)
	n := 0
	for err == nil && n < len(head) {
		var m int
		m, err = counted.Read(head[n:])
		n += m
	}
	switch {
	case err == io.EOF: // and nothing that wraps it: that is a stream cut short
		return u.packSmall(it, head[:n])
	case err != nil:
		return nil, err
	}
	return u.packChunks(ctx, it, io.MultiReader(bytes.NewReader(head), counted), options)
}

// packSmall stores an artifact as one zstd frame, or as it is where that is not smaller.
func (u *uploader) packSmall(it *item, raw []byte) (*packed, error) {
	if err := it.is(int64(len(raw)), digest(raw)); err != nil {
		return nil, err
	}
	if u.small == nil {
		var err error
		if u.small, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(u.Packing.Level.zstd()), zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	}
	a := &it.artifact
	a.Index, a.Deltas = manifest.Object{}, nil
	if object := u.small.EncodeAll(raw, nil); len(object) < len(raw) {
		a.Stored = manifest.Stored{SHA256: digest(object), Size: int64(len(object)), Encoding: manifest.EncodingZstd}
		return &packed{body: bytes.NewReader(object)}, nil
	}
	a.Stored = manifest.Stored{SHA256: a.SHA256, Size: a.Size, Encoding: manifest.EncodingIdentity}
	return &packed{body: bytes.NewReader(raw)}, nil
}

// packChunks stores an artifact in chunks. What the last publication of the same path stored is not compressed again; what is
// new beside that may be packed harder: it is little, and all that those ask for who have the earlier release.
func (u *uploader) packChunks(ctx context.Context, it *item, from io.Reader, options chunk.Options) (p *packed, err error) {
	if err := u.openCodec(); err != nil {
		return nil, err
	}
	options.Workers = runtime.GOMAXPROCS(0)
	if earlier := u.earlierFor(ctx, it); earlier != nil {
		options.Known, options.Earlier = earlier.frame, earlier.index
	} else {
		options.Harder = false
	}
	spool, err := u.newSpool(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, spool.Close())
		}
	}()
	s, err := newSeals()
	if err != nil {
		return nil, err
	}
	options.Packed = s.add
	made, err := u.codec.Pack(ctx, from, spool, options)
	if err != nil {
		return nil, err
	}
	if err := it.is(made.Raw.Size, hex.EncodeToString(made.Raw.SHA256[:])); err != nil {
		return nil, err
	}
	p = &packed{spool: spool, body: spool, index: made.Index, seals: s}
	if p.bytes, err = made.Index.Encode(); err != nil {
		return nil, &Source{Path: it.path, Reason: fmt.Sprintf("with %d bytes is too large for one artifact", made.Raw.Size), Err: err}
	}
	a := &it.artifact
	a.Stored = manifest.Stored{SHA256: hex.EncodeToString(made.Stored.SHA256[:]), Size: made.Stored.Size, Encoding: manifest.EncodingZstd}
	a.Index, a.Deltas = manifest.Object{SHA256: digest(p.bytes), Size: int64(len(p.bytes))}, nil
	return p, nil
}

func (u *uploader) openCodec() (err error) {
	if u.codec == nil {
		u.codec, err = chunk.NewCodec(u.Packing.Level.zstd(), runtime.GOMAXPROCS(0))
	}
	return err
}

// spool holds an object on its way up: what goes up is what its name says, whatever happens to the source meanwhile.
type spool interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// newSpool is in the store where that is a directory. Elsewhere it is a private file.
func (u *uploader) newSpool(ctx context.Context) (spool, error) {
	if local, ok := u.Store.(storage.Local); ok {
		s, err := local.Spool(ctx)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return u.newFileSpool()
}

// fileSpool is a private file. With a cache it has a name, by which it may be kept; without, a process that is killed leaves
// nothing behind.
type fileSpool struct {
	*os.File
	named bool
}

func (u *uploader) newFileSpool() (spool, error) {
	dir, pattern := u.Scratch, "kitchen-spool-*"
	if u.cache != nil {
		dir, pattern = u.cache.dir, cacheTemp+"*"
	}
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	s := &fileSpool{File: f, named: u.cache != nil}
	if !s.named {
		if err := os.Remove(f.Name()); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return s, nil
}

// Close forgets the file, unless it was kept.
func (s *fileSpool) Close() error {
	var err error
	if s.named {
		err = os.Remove(s.Name())
	}
	return errors.Join(err, s.File.Close())
}
