// Package transfer puts an artifact together on a disk, moving as few bytes as it can.
//
// What an artifact consists of, the signed index of its chunks says (package chunk). Every chunk is held to that index
// before it counts, wherever it came from; so no source has to be believed. The sources are asked from the cheapest to
// the dearest, and what one cannot give, or gives wrong, the next one gives:
//
//  1. what the part file holds already, from an attempt that was interrupted
//  2. zeros, which are left as holes
//  3. local seeds: files that resemble the artifact, cut into chunks as it was
//  4. a delta, where the manifest names one for exactly what a seed lacks; what came of an interrupted one is kept
//  5. ranges of the stored object, for what is still missing; neighbours in one request
//
// A source that breaks is asked again for what it did not give yet, after a pause, for about a minute; one that gives
// wrong bytes, once.
//
// Memory does not grow with the artifact but for its index (some 70 bytes a chunk, up to three times that while the index
// is read and while deltas are looked for): about 2 MiB for each range under way, 3 MiB for each core up to eight, and
// what package delta needs while one is applied. That is less than 200 MiB for artifacts of up to 100 GiB, and less than
// 600 MiB while a delta is applied.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

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
	Patience *Patience          // with a store that is away; jobs at work together share one; may be nil
	Durably  bool               // part will be flushed: the disk begins with it while more comes
	Scratch  string             // directory in which a delta is kept until it was used, for the next attempt too
	Task     progress.Task      // counts what comes of the stored object or a delta, and is told what need not; never nil
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
// holds what could be verified, and Scratch what came of a delta: the next Assemble goes on from there. Sources are told
// with an error, too. Errors:
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
	j.dropDeltas()
	return &a.Sources, nil
}

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
