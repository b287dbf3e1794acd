package transfer

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
)

// assembly is an artifact on its way.
type assembly struct {
	*Job
	Sources
	part    *os.File
	codec   *chunk.Codec
	raw     []int64 // offset of each chunk in the artifact
	stored  []int64 // and in the stored object
	order   []int32 // positions by digest, those of one digest ascending
	seeds   []*cutSeed
	fresh   bool       // part had nothing in it
	mu      sync.Mutex // guards what follows, and Sources
	written int64      // bytes, since the disk was last set to work
	coming  int64      // bytes that the task still waits for
	have    []bool     // chunks that are in their place, verified
	missing int        // chunks that are not
	settled []bool     // digests that lack no place, by where they begin in order
}

func (j *Job) newAssembly(part *os.File) (*assembly, error) {
	a := &assembly{Job: j, part: part, have: make([]bool, len(j.Index)), settled: make([]bool, len(j.Index)), missing: len(j.Index), coming: j.Artifact.Stored.Size}
	if raw, stored := j.Index.Sizes(); raw != j.Artifact.Size || stored != j.Artifact.Stored.Size {
		return nil, &Mismatch{"index", fmt.Sprintf("%d bytes stored as %d", j.Artifact.Size, j.Artifact.Stored.Size), fmt.Sprintf("%d stored as %d", raw, stored)}
	}
	a.raw, a.stored = offsets(j.Index)
	a.order = j.Index.ByDigest()
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

func newCodec() (*chunk.Codec, error) { return chunk.NewCodec(zstd.SpeedDefault, workers()) }

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

// places are the positions of the digest that begins at from in order.
func (a *assembly) places(from int) []int32 {
	to := from + 1
	for to < len(a.order) && a.Index[a.order[to]].SHA256 == a.Index[a.order[from]].SHA256 {
		to++
	}
	return a.order[from:to]
}

// put writes the bytes of a chunk, which were held to its digest, to all places that lack them, and counts what that
// was worth. It may be called by many at once. Its errors are those of the part: *partError.
func (a *assembly) put(sha [sha256.Size]byte, raw []byte, counter *int64) error {
	from, found := a.Index.Find(a.order, sha)
	if !found || a.isSettled(from) {
		return nil
	}
	for _, i := range a.places(from) {
		if a.has(int(i)) {
			continue
		}
		if _, err := a.part.WriteAt(raw, a.raw[i]); err != nil {
			return &partError{err}
		}
		a.done(int(i), counter)
	}
	a.writeBack(int64(len(raw)))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled[from] = true
	return nil
}

// writeBackAfter so many bytes the disk is set to work: seldom enough to be given long stretches. Tests have few.
var writeBackAfter int64 = 32 << 20

// writeBack lets the disk write while more comes, of what will be flushed in the end.
func (a *assembly) writeBack(written int64) {
	a.mu.Lock()
	a.written += written
	due := a.Durably && a.written >= writeBackAfter
	if due {
		a.written = 0
	}
	a.mu.Unlock()
	if due {
		startWriting(a.part)
	}
}

// partError is a failure of the part file, not of what is read.
type partError struct{ err error }

func (e *partError) Error() string { return e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

func (a *assembly) isSettled(from int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settled[from]
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
	switch stored := int64(a.Index[i].Stored); counter {
	case &a.Ranged:
		a.coming -= stored
		a.Task.Add(stored)
	case &a.Delta: // the bytes of the delta counted
	default:
		a.coming -= stored
		progress.Skip(a.Task, stored)
	}
}

// expect tells the task how many bytes are still to come.
func (a *assembly) expect(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	progress.Skip(a.Task, a.coming-n)
	a.coming = n
}

// came counts bytes of a delta.
func (a *assembly) came(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.coming -= n
	a.Task.Add(n)
}

// left is how many stored bytes the chunks have that are missing.
func (a *assembly) left() (stored int64) {
	for i, c := range a.Index {
		if !a.have[i] {
			stored += int64(c.Stored)
		}
	}
	return stored
}

func (a *assembly) problem(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Problems = append(a.Problems, fmt.Sprintf(format, args...))
}

// lacking are the positions of chunks that are missing, each digest once, and the bytes that they take as stored.
func (a *assembly) lacking() (positions []int, stored int64) {
	for from := 0; from < len(a.order); {
		places := a.places(from)
		from += len(places)
		if at := slices.IndexFunc(places, func(i int32) bool { return !a.have[i] }); at >= 0 {
			positions = append(positions, int(places[at]))
			stored += int64(a.Index[places[at]].Stored)
		}
	}
	slices.Sort(positions)
	return positions, stored
}

// workers is how many cores are put to work; more than eight would wait for the disk.
func workers() int { return min(runtime.GOMAXPROCS(0), 8) }
