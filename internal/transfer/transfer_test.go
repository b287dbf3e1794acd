package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/delta"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// world is a store with artifacts in it.
type world struct {
	t     testing.TB
	dir   string
	store *countingStore
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	store, err := storage.Open(t.Context(), "file://"+dir, storage.Options{})
	check(t, err)
	return &world{t, dir, &countingStore{Store: store}}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// countingStore counts what is read, and lets a test stand in the way.
type countingStore struct {
	storage.Store
	mu    sync.Mutex
	opens int
	bytes int64
	body  func(key string, offset int64, body io.ReadCloser) io.ReadCloser
}

func (s *countingStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	body, info, err := s.Store.Open(ctx, key, offset, length)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	if err == nil && s.body != nil {
		body = s.body(key, offset, body)
	}
	return &countedBody{body, s}, info, err
}

type countedBody struct {
	io.ReadCloser
	s *countingStore
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.s.mu.Lock()
	b.s.bytes += int64(n)
	b.s.mu.Unlock()
	return n, err
}

func (s *countingStore) reset() { s.opens, s.bytes = 0, 0 }

// blob stores bytes under their digest.
func (w *world) blob(b []byte) manifest.Object {
	w.t.Helper()
	sum := sha256.Sum256(b)
	o := manifest.Object{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
	check(w.t, w.store.Create(context.Background(), manifest.BlobObject(o.SHA256), bytes.NewReader(b), o.Size, "", ""))
	return o
}

// overwrite replaces a blob behind the store's back, in place: whoever reads at that moment sees the one or the other
// bytes, and never an empty file.
func (w *world) overwrite(sha string, b []byte) {
	w.t.Helper()
	name := filepath.Join(w.dir, filepath.FromSlash(manifest.BlobObject(sha)))
	check(w.t, os.Chmod(name, 0o644))
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	check(w.t, err)
	defer f.Close()
	_, err = f.Write(b)
	check(w.t, err)
	check(w.t, f.Truncate(int64(len(b))))
}

func (w *world) read(sha string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(manifest.BlobObject(sha))))
	check(w.t, err)
	return b
}

func hexOf(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }

// artifact publishes raw bytes in chunks.
func (w *world) artifact(raw []byte) *manifest.Artifact {
	w.t.Helper()
	codec, err := newCodec()
	check(w.t, err)
	var object bytes.Buffer
	p, err := codec.Pack(context.Background(), bytes.NewReader(raw), &object, chunk.Options{Workers: 2})
	check(w.t, err)
	index, err := p.Index.Encode()
	check(w.t, err)
	stored := w.blob(object.Bytes())
	return &manifest.Artifact{Path: "disk.img", Kind: "image", Size: int64(len(raw)), SHA256: hexOf(raw),
		Stored: manifest.Stored{SHA256: stored.SHA256, Size: stored.Size, Encoding: manifest.EncodingZstd}, Index: w.blob(index)}
}

func indexOf(t testing.TB, raw []byte) (x chunk.Index) {
	r := chunk.NewReader(bytes.NewReader(raw))
	for {
		c, err := r.Next()
		if err == io.EOF {
			return x
		}
		check(t, err)
		x = append(x, chunk.Chunk{SHA256: sha256.Sum256(c), Raw: len(c), Stored: 1})
	}
}

func pick(raw []byte, x chunk.Index, positions []int) []byte {
	at, _ := offsets(x)
	var b []byte
	for _, i := range positions {
		b = append(b, raw[at[i]:at[i]+int64(x[i].Raw)]...)
	}
	return b
}

// addDelta names a delta from old in a, the artifact of raw.
func (w *world) addDelta(a *manifest.Artifact, old, raw []byte) {
	w.t.Helper()
	before, after := indexOf(w.t, old), indexOf(w.t, raw)
	d := chunk.Compare(before, after)
	gone, missing := pick(old, before, d.Gone), pick(raw, after, d.Missing)
	o := w.blob(deltaOf(w.t, gone, missing))
	a.Deltas = append(a.Deltas, manifest.Delta{From: hexOf(old), Churn: hex.EncodeToString(d.Churn[:]), SHA256: o.SHA256, Size: o.Size})
}

func deltaOf(t testing.TB, gone, missing []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	check(t, delta.Make(context.Background(), &b, bytes.NewReader(gone), bytes.NewReader(missing), int64(len(gone)), int64(len(missing))))
	return b.Bytes()
}

// bytesSeed is a seed in memory.
type bytesSeed struct{ *bytes.Reader }

func (bytesSeed) Close() error { return nil }

func seed(b []byte) Seed {
	return Seed{Name: "seed", Size: int64(len(b)), Open: func() (SeedReader, error) { return bytesSeed{bytes.NewReader(b)}, nil }}
}

func (w *world) job(a *manifest.Artifact, seeds ...Seed) *Job {
	w.t.Helper()
	x, err := ReadIndex(context.Background(), w.store, a)
	check(w.t, err)
	w.store.reset()
	return &Job{Store: w.store, Artifact: a, Index: x, Seeds: seeds, Durably: true, Patience: &Patience{After: noTime}, Scratch: w.t.TempDir(), Task: progress.Silent{}.Start("", 0)}
}

// noTime is how tests wait.
func noTime(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

func (w *world) part() *os.File {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.t.TempDir(), "part"), os.O_CREATE|os.O_RDWR, 0o600)
	check(w.t, err)
	w.t.Cleanup(func() { f.Close() })
	return f
}

// assembled wants the job to give exactly raw.
func (w *world) assembled(j *Job, part *os.File, raw []byte) *Sources {
	w.t.Helper()
	s, err := j.Assemble(context.Background(), part)
	check(w.t, err)
	w.holds(part, raw)
	check(w.t, Verify(context.Background(), part, j.Artifact))
	if sum := s.Kept + s.Zero + s.Seeded + s.Delta + s.Ranged; sum != int64(len(raw)) {
		w.t.Errorf("%+v account for %d bytes of %d", s, sum, len(raw))
	}
	if s.Moved != w.store.bytes || s.Requests != w.store.opens {
		w.t.Errorf("says %d bytes in %d requests, were %d in %d", s.Moved, s.Requests, w.store.bytes, w.store.opens)
	}
	return s
}

func (w *world) holds(part *os.File, raw []byte) {
	w.t.Helper()
	got, err := os.ReadFile(part.Name())
	check(w.t, err)
	if !bytes.Equal(got, raw) {
		w.t.Fatalf("the part holds other bytes")
	}
}

func dice(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// noise does not compress: so many bytes are as many stored ones.
func noise(seed uint64, size int) []byte {
	b := make([]byte, size)
	dice(seed).Read(b)
	return b
}

// image makes bytes like those of an image: pieces that compress, noise, zeros, and something twice.
func image(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	noise := dice(seed)
	b := make([]byte, size)
	for at := 0; at < size; {
		piece := b[at:min(size, at+100_000+r.IntN(900_000))]
		switch r.IntN(5) {
		case 0: // zeros, and more of them than of anything else
			piece = b[at:min(size, at+3*len(piece))]
		case 1:
			copy(piece, b[:at])
		case 2:
			noise.Read(piece)
		default:
			noise.Read(piece)
			for i := range piece {
				piece[i] = 'a' + piece[i]&7
			}
		}
		at += len(piece)
	}
	return b
}

// edited changes, inserts and removes bytes in some places.
func edited(seed uint64, raw []byte, places int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	b := bytes.Clone(raw)
	for range places {
		at := r.IntN(len(b) - 1000)
		switch r.IntN(3) {
		case 0:
			for i := range 100 {
				b[at+i*7] ^= byte(1 + r.IntN(255))
			}
		case 1:
			b = append(b[:at:at], append([]byte("inserted here, and not there"), b[at:]...)...)
		default:
			b = append(b[:at:at], b[at+r.IntN(900):]...)
		}
	}
	return b
}

func TestFromNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(1, 40<<20)
	s := w.assembled(w.job(w.artifact(raw)), w.part(), raw)
	if s.Zero == 0 || s.Ranged == 0 || s.Seeded+s.Delta+s.Kept != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(2, 20<<20)
	s := w.assembled(w.job(w.artifact(raw), seed(raw)), w.part(), raw)
	if s.Moved != 0 || s.Requests != 0 {
		t.Errorf("something moved: %+v", s)
	}
}

func TestADeltaForAKnownPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(3, 30<<20)
	raw := edited(3, old, 20)
	a := w.artifact(raw)
	w.addDelta(a, edited(9, old, 1), raw) // another's
	w.addDelta(a, old, raw)
	s := w.assembled(w.job(a, seed(old)), w.part(), raw)
	if s.Requests != 1 || s.Moved != a.Deltas[1].Size || s.Ranged != 0 || s.Delta == 0 {
		t.Errorf("%+v", s)
	}
	// A seed with the same difference elsewhere is served by it, too.
	other := append(bytes.Clone(old), old[:3<<20]...)
	if s := w.assembled(w.job(a, seed(other)), w.part(), raw); s.Delta == 0 && s.Ranged == 0 {
		t.Errorf("%+v", s)
	}
}

func TestRangesForAnUnknownSeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(4, 60<<20)
	raw := edited(4, old, 5)
	a := w.artifact(raw)
	s := w.assembled(w.job(a, seed([]byte("nothing like it")), seed(old)), w.part(), raw)
	if s.Requests == 0 || s.Requests > 6 || s.Moved > a.Stored.Size/3 || s.Ranged == 0 {
		t.Errorf("%+v of %d", s, a.Stored.Size)
	}
}

func TestSeedsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(5, 10<<20)
	missing := Seed{Name: "missing", Size: 10, Open: func() (SeedReader, error) { return nil, os.ErrNotExist }}
	s := w.assembled(w.job(w.artifact(raw), missing, seed(raw)), w.part(), raw)
	if len(s.Problems) != 1 || s.Moved != 0 {
		t.Errorf("%+v", s)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(6, 40<<20)
	a := w.artifact(raw)
	for _, after := range []int{10, 30, 60} {
		part := w.part()
		j := w.job(a)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop here")
		n := 0
		j.Task = taskFunc(func(int64) {
			if n++; n == after {
				cancel(stop)
			}
		})
		if _, err := j.Assemble(ctx, part); !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d chunks: %v", after, err)
		}
		// A torn write is as good as none.
		if after == 30 {
			_, err := part.WriteAt([]byte("torn"), 1000)
			check(t, err)
		}
		first := w.store.bytes
		s := w.assembled(w.job(a), part, raw)
		if s.Kept == 0 || first+s.Moved > a.Stored.Size+DefaultParallel*(chunk.MaxFrame+64<<10) {
			t.Errorf("after %d chunks: %d bytes moved, then %+v, of %d", after, first, s, a.Stored.Size)
		}
	}
}

type taskFunc func(int64)

func (f taskFunc) Add(n int64)  { f(n) }
func (taskFunc) Done(err error) {}

// TestAnyLossEndsInTheSameBytes assembles edited artifacts over what is left of earlier attempts.
func TestAnyLossEndsInTheSameBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range uint64(6) {
		r := rand.New(rand.NewPCG(n, 7))
		old := image(100+n, 12<<20)
		raw := edited(100+n, old, 1+r.IntN(12))
		a := w.artifact(raw)
		if n%2 == 0 {
			w.addDelta(a, old, raw)
		}
		part := w.part()
		left := edited(200+n, raw, r.IntN(20))
		_, err := part.Write(left)
		check(t, err)
		for range r.IntN(5) {
			_, err := part.WriteAt(make([]byte, 2<<20), int64(r.IntN(len(raw))))
			check(t, err)
		}
		w.assembled(w.job(a, seed(edited(300+n, old, r.IntN(2)))), part, raw)
	}
}

func TestChunksOfAnEarlierObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(8, 20<<20)
	a := w.artifact(raw)
	x := w.job(a).Index
	positions := []int{0, 3, 4, len(x) - 1}
	part := w.part()
	moved, err := Chunks(t.Context(), w.store, a.Stored.SHA256, x, positions, 2, part, progress.Silent{}.Start("", 0))
	check(t, err)
	w.holds(part, pick(raw, x, positions))
	if moved != w.store.bytes {
		t.Errorf("says %d bytes, were %d", moved, w.store.bytes)
	}
}
