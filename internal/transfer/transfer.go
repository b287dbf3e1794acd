// Package transfer puts an artifact together on a disk, moving as few bytes as it can.
//
// What an artifact consists of, the signed index of its chunks says (package chunk). Every chunk is held to that index
// before it counts, wherever it came from; so no source has to be believed. The sources are asked from the cheapest to
// the dearest, and what one cannot give, or gives wrong, the next one gives:
//
//  1. what the part file holds already, from an attempt that was interrupted
//  2. zeros, which are left as holes
//  3. local seeds: files that resemble the artifact, cut into chunks as it was
//  4. a delta, where the manifest names one for exactly what the seeds lack
//  5. ranges of the stored object, for what is still missing; neighbours in one request
package transfer

import (
	"context"
	"io"
	"os"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

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
	Kept     int64 // from the part file
	Zero     int64 // holes
	Seeded   int64 // from seeds
	Delta    int64 // made by a delta
	Ranged   int64 // from ranges
	Moved    int64 // bytes that came from the store, index not counted
	Requests int   // of them
}

// ReadIndex fetches an artifact's index and holds it to the manifest: its digest and size, and the sums of its lengths.
func ReadIndex(ctx context.Context, store storage.Reader, a *manifest.Artifact) (chunk.Index, error) {
	panic("to be written")
}

// Assemble makes part, a file opened for reading and writing, exactly the artifact's raw content. On an error part
// holds what could be verified, and the next Assemble goes on from there.
func (j *Job) Assemble(ctx context.Context, part *os.File) (*Sources, error) {
	panic("to be written")
}

// Chunks fetches the chunks at these positions of a stored object and writes their raw bytes, one after the other, to w:
// neighbours in one request, each held to the index. It tells how many bytes came from the store.
func Chunks(ctx context.Context, store storage.Reader, object string, x chunk.Index, positions []int, parallel int, w io.WriterAt, task progress.Task) (moved int64, err error) {
	panic("to be written")
}
