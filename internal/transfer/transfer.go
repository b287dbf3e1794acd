// Package transfer puts an artifact together on a disk, moving as few bytes as it can.
//
// What an artifact consists of, the signed index of its chunks says (package chunk). Every chunk is held to that index
// before it counts, wherever it came from; so no source has to be believed. The sources are asked from the cheapest to
// the dearest, and what one cannot give, or gives wrong, the next one gives:
//
//  1. what the part file holds already, from an attempt that was interrupted
//  2. zeros, which are left as holes
//  3. local seeds: files that resemble the artifact, cut into chunks as it was
//  4. a delta, where the manifest names one for exactly what a seed lacks
//  5. ranges of the stored object, for what is still missing; neighbours in one request
//
// Memory does not grow with the artifact but for its index (about 100 bytes a chunk): some 3 MiB for each range under
// way and each core, and what package delta needs while one is applied.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// DefaultParallel is how many ranges are on their way at a time, and MaxParallel the most that may be.
const (
	DefaultParallel = 4
	MaxParallel     = 32
)

// Mismatch is something that is not what was signed.
type Mismatch struct{ What, Want, Got string }

func (e *Mismatch) Error() string { return fmt.Sprintf("%s: want %s, got %s", e.What, e.Want, e.Got) }

// Seed is local content that may share chunks with an artifact. It need not be trusted, and may change while it is read.
type Seed struct {
	Name string // for messages
	Size int64
	Open func() (SeedReader, error)
}

// SeedReader reads a seed.
type SeedReader interface {
	io.ReaderAt
	io.Closer
}

// Job is one artifact to be put together.
type Job struct {
	Store    storage.Reader
	Artifact *manifest.Artifact // with an index
	Index    chunk.Index        // as ReadIndex gave it
	Seeds    []Seed             // in the order in which they are tried
	Parallel int                // ranges at a time; 0 is DefaultParallel
	Scratch  string             // directory for nameless files, up to the size of what is missing
	Task     progress.Task      // counts the stored object's bytes that need not or no longer come; never nil
}

// Sources tells where the raw bytes of an artifact came from.
type Sources struct {
	Kept     int64    // from the part file
	Zero     int64    // holes
	Seeded   int64    // from seeds
	Delta    int64    // made by a delta
	Ranged   int64    // from ranges
	Moved    int64    // bytes that came from the store, index not counted
	Requests int      // of them
	Problems []string // sources that gave nothing, or something wrong
}

// Assemble makes part, a file opened for reading and writing, exactly the artifact's raw content. On an error part
// holds what could be verified, and the next Assemble goes on from there. Sources are told with an error, too. Errors:
// *Mismatch for a stored object that is not what was signed, those of the store, of the file, and of the context.
func (j *Job) Assemble(ctx context.Context, part *os.File) (*Sources, error) {
	a, err := j.newAssembly(part)
	if err != nil {
		return &Sources{}, err
	}
	for _, source := range []func(context.Context) error{a.keep, a.zeros, a.seed, a.delta, a.ranges} {
		if a.missing == 0 {
			break
		}
		if err := source(ctx); err != nil {
			return &a.Sources, err
		}
	}
	return &a.Sources, nil
}

// assembly is an artifact on its way.
type assembly struct {
	*Job
	Sources
	part    *os.File
	codec   *chunk.Codec
	raw     []int64                     // offset of each chunk in the artifact
	stored  []int64                     // and in the stored object
	places  map[[sha256.Size]byte][]int // positions of each digest
	seeds   []*cutSeed
	mu      sync.Mutex // guards what follows, and Sources
	have    []bool     // chunks that are in their place, verified
	missing int        // chunks that are not
	fresh   bool       // part had nothing in it
}

func (j *Job) newAssembly(part *os.File) (*assembly, error) {
	a := &assembly{Job: j, part: part, places: make(map[[sha256.Size]byte][]int, len(j.Index)), have: make([]bool, len(j.Index)), missing: len(j.Index)}
	if raw, stored := j.Index.Sizes(); raw != j.Artifact.Size || stored != j.Artifact.Stored.Size {
		return nil, &Mismatch{"index", fmt.Sprintf("%d bytes stored as %d", j.Artifact.Size, j.Artifact.Stored.Size), fmt.Sprintf("%d stored as %d", raw, stored)}
	}
	a.raw, a.stored = offsets(j.Index)
	for i, c := range j.Index {
		a.places[c.SHA256] = append(a.places[c.SHA256], i)
	}
	info, err := part.Stat()
	if err != nil {
		return nil, err
	}
	a.fresh = info.Size() == 0
	if err := part.Truncate(j.Artifact.Size); err != nil {
		return nil, err
	}
	a.codec, err = newCodec()
	return a, err
}

func newCodec() (*chunk.Codec, error) { return chunk.NewCodec(zstd.SpeedDefault, MaxParallel) }

// offsets are where each chunk begins in the artifact and in the stored object.
func offsets(x chunk.Index) (raw, stored []int64) {
	raw, stored = make([]int64, len(x)), make([]int64, len(x))
	var r, s int64
	for i, c := range x {
		raw[i], stored[i] = r, s
		r, s = r+int64(c.Raw), s+int64(c.Stored)
	}
	return raw, stored
}

// put writes the bytes of a chunk, which were held to its digest, to all places that lack them, and counts what that
// was worth. It may be called by many at once.
func (a *assembly) put(sha [sha256.Size]byte, raw []byte, counter *int64) error {
	for _, i := range a.places[sha] {
		if a.has(i) {
			continue
		}
		if _, err := a.part.WriteAt(raw, a.raw[i]); err != nil {
			return err
		}
		a.done(i, counter)
	}
	return nil
}

func (a *assembly) has(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have[i]
}

// done notes that a chunk is in its place.
func (a *assembly) done(i int, counter *int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.have[i] {
		return
	}
	a.have[i] = true
	a.missing--
	*counter += int64(a.Index[i].Raw)
	a.Task.Add(int64(a.Index[i].Stored))
}

func (a *assembly) problem(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Problems = append(a.Problems, fmt.Sprintf(format, args...))
}

// lacking are the positions of chunks that are missing, each digest once, and the bytes that they take as stored.
func (a *assembly) lacking() (positions []int, stored int64) {
	seen := map[[sha256.Size]byte]bool{}
	for i, c := range a.Index {
		if !a.have[i] && !seen[c.SHA256] {
			seen[c.SHA256] = true
			positions = append(positions, i)
			stored += int64(c.Stored)
		}
	}
	return positions, stored
}

// workers is how many cores are put to work.
func workers() int { return runtime.GOMAXPROCS(0) }

// Verify holds the whole of an artifact's raw bytes to the digest that its manifest names. Whoever assembled it from
// a signed index knows every chunk; this shows in addition that index and manifest speak of the same bytes.
func Verify(ctx context.Context, part io.ReaderAt, a *manifest.Artifact) error {
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < a.Size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(int64(len(buf)), a.Size-off)
		if m, err := part.ReadAt(buf[:n], off); int64(m) < n {
			return fmt.Errorf("read %s: %w", a.Path, noEOF(err))
		}
		sum.Write(buf[:n])
		off += n
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.SHA256 {
		return &Mismatch{"sha256", a.SHA256, got + " of what its index leads to"}
	}
	return nil
}

func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
