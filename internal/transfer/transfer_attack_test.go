package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// wantMismatch wants what is not what was signed to be refused as such.
func wantMismatch(t *testing.T, err error, parts ...string) {
	t.Helper()
	var m *Mismatch
	if !errors.As(err, &m) {
		t.Fatalf("error %v, want *Mismatch", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestStoredObjectThatIsNotWhatWasSigned(t *testing.T) {
	t.Parallel()
	var needed int64 // a byte of a chunk that has to be fetched
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		says   string
	}{
		"truncated":       {func(b []byte) []byte { return b[:len(b)-1] }, "stored size"},
		"longer":          {func(b []byte) []byte { return append(b, 0) }, "stored size"},
		"empty":           {func(b []byte) []byte { return nil }, "stored size"},
		"a bit flipped":   {func(b []byte) []byte { b[needed] ^= 1; return b }, "chunk"},
		"frames swapped":  {func(b []byte) []byte { return append(append([]byte{}, b[len(b)/2:]...), b[:len(b)/2]...) }, "chunk 1 at byte"},
		"other artifact":  {func(b []byte) []byte { return bytes.Repeat([]byte{7}, len(b)) }, "chunk 1 at byte"},
		"last byte wrong": {func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, "chunk"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.artifact(append(image(20, 8<<20), "an end that stands nowhere else"...))
			j := w.job(a)
			needed = w.fetched(j)
			w.overwrite(a.Stored.SHA256, c.change(w.read(a.Stored.SHA256)))
			_, err := j.Assemble(t.Context(), w.part())
			wantMismatch(t, err, c.says, manifestName(a, c.says))
		})
	}
}

// fetched is where in the stored object the bytes of a chunk are that stands in the artifact only once.
func (w *world) fetched(j *Job) int64 {
	w.t.Helper()
	_, stored := offsets(j.Index)
	for i, c := range j.Index {
		if i > len(j.Index)/2 && c.Stored > 1000 && slices.IndexFunc(j.Index, func(d chunk.Chunk) bool { return c.SHA256 == d.SHA256 }) == i {
			return stored[i] + int64(c.Stored)/2
		}
	}
	w.t.Fatal("no chunk stands only once")
	return 0
}

// manifestName is the object that an error about a chunk has to name.
func manifestName(a *manifest.Artifact, says string) string {
	if strings.HasPrefix(says, "chunk") {
		return a.Stored.SHA256
	}
	return ""
}

func TestStoredObjectThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.artifact(image(21, 8<<20))
	j := w.job(a)
	check(t, w.store.Delete(t.Context(), manifest.BlobObject(a.Stored.SHA256)))
	_, err := j.Assemble(t.Context(), w.part())
	wantMismatch(t, err, "stored object", "nothing")
	check(t, w.store.Delete(t.Context(), manifest.BlobObject(a.Index.SHA256)))
	_, err = ReadIndex(t.Context(), w.store, a)
	wantMismatch(t, err, "index", "nothing")
}

func TestIndexThatLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(22, 8<<20)
	a := w.artifact(raw)
	good := w.job(a).Index
	signed := func(change func(x chunk.Index) chunk.Index) *manifest.Artifact {
		b, err := change(append(chunk.Index{}, good...)).Encode()
		check(t, err)
		other := *a
		other.Index = w.blob(b)
		return &other
	}
	for name, bad := range map[string]*manifest.Artifact{
		"raw lengths":    signed(func(x chunk.Index) chunk.Index { x[0].Raw++; return x }),
		"stored lengths": signed(func(x chunk.Index) chunk.Index { x[0].Stored++; return x }),
		"a chunk less":   signed(func(x chunk.Index) chunk.Index { return x[1:] }),
		"a chunk twice":  signed(func(x chunk.Index) chunk.Index { return append(chunk.Index{x[0]}, x...) }),
	} {
		if _, err := ReadIndex(t.Context(), w.store, bad); err == nil {
			t.Errorf("%s: taken", name)
		} else {
			wantMismatch(t, err, "sizes in the index")
		}
	}
	// Sums that come out right: the chunks tell.
	for name, change := range map[string]func(x chunk.Index) chunk.Index{
		"lengths shifted": func(x chunk.Index) chunk.Index { x[0].Stored++; x[1].Stored--; return x },
		"order":           func(x chunk.Index) chunk.Index { x[0], x[1] = x[1], x[0]; return x },
		"digest":          func(x chunk.Index) chunk.Index { x[1].SHA256[0] ^= 1; return x },
	} {
		_, err := w.job(signed(change)).Assemble(t.Context(), w.part())
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		wantMismatch(t, err, "chunk")
	}
	// Other bytes than the manifest's digest says, consistent in themselves: the whole tells.
	other := *w.artifact(image(23, 8<<20))
	other.SHA256 = a.SHA256
	part := w.part()
	_, err := w.job(&other).Assemble(t.Context(), part)
	check(t, err)
	wantMismatch(t, Verify(t.Context(), part, &other), "sha256")
}

func TestIndexOfOtherBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.artifact(image(24, 8<<20))
	data := w.read(a.Index.SHA256)
	for name, b := range map[string][]byte{"cut": data[:len(data)-1], "endless": append(bytes.Clone(data), make([]byte, 1<<20)...), "garbage": []byte("{}"),
		"flipped": append(append([]byte{}, data[:20]...), append([]byte{data[20] ^ 1}, data[21:]...)...)} {
		w.overwrite(a.Index.SHA256, b)
		if _, err := ReadIndex(t.Context(), w.store, a); err == nil {
			t.Errorf("%s: taken", name)
		} else {
			wantMismatch(t, err, "index")
		}
	}
	huge := *a
	huge.Index.Size = 1 << 40
	_, err := ReadIndex(t.Context(), w.store, &huge)
	wantMismatch(t, err, "index size")
	huge.Index = w.blob(append([]byte("kitchen\x01"), 0xff, 0xff, 0xff, 0xff)) // as signed: four billion chunks, and none follows
	_, err = ReadIndex(t.Context(), w.store, &huge)
	wantMismatch(t, err, "index: want one of version 1")
}

// TestBadDeltas: whatever a delta is, the bytes come out right, from a lower rung.
func TestBadDeltas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(25, 20<<20)
	raw := edited(25, old, 10)
	good := w.artifact(raw)
	w.addDelta(good, old, raw)
	wrong := *good
	w.addDelta(&wrong, edited(26, old, 4), raw)
	with := func(o manifest.Object) *manifest.Artifact {
		a := *good
		a.Deltas = []manifest.Delta{{From: good.Deltas[0].From, Churn: good.Deltas[0].Churn, SHA256: o.SHA256, Size: o.Size}}
		return &a
	}
	body := w.read(good.Deltas[0].SHA256)
	diff := chunk.Compare(indexOf(t, old), indexOf(t, raw))
	gone, missing := pick(old, indexOf(t, old), diff.Gone), pick(raw, indexOf(t, raw), diff.Missing)
	zeros := func(n int) manifest.Object { return w.blob(deltaOf(t, gone, make([]byte, n))) }
	for name, a := range map[string]*manifest.Artifact{
		"for the wrong predecessor": with(manifest.Object{SHA256: wrong.Deltas[1].SHA256, Size: wrong.Deltas[1].Size}),
		"cut, as signed":            with(w.blob(body[:len(body)/2])),
		"garbage, as signed":        with(w.blob([]byte("garbage"))),
		"other bytes":               with(zeros(len(missing))),
		"a bomb":                    with(zeros(64 << 20)),
		"not there":                 with(manifest.Object{SHA256: strings.Repeat("ab", 32), Size: 10}),
		"another size":              with(manifest.Object{SHA256: good.Deltas[0].SHA256, Size: good.Deltas[0].Size - 1}),
		"a flipped bit, as signed":  with(w.blob(append(bytes.Clone(body[:len(body)-9]), append([]byte{body[len(body)-9] ^ 4}, body[len(body)-8:]...)...))),
	} {
		s := w.assembledLoosely(w.job(a, seed(old)), raw)
		if len(s.Problems) != 1 || s.Ranged == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// assembledLoosely is assembled, but for the count of requests that failed.
func (w *world) assembledLoosely(j *Job, raw []byte) *Sources {
	w.t.Helper()
	part := w.part()
	s, err := j.Assemble(context.Background(), part)
	check(w.t, err)
	w.holds(part, raw)
	return s
}

// changingSeed gives other bytes once it was read through.
type changingSeed struct {
	first, then *bytes.Reader
	end         int64
	done        *atomic.Bool
}

func (c changingSeed) ReadAt(p []byte, off int64) (int, error) {
	if c.done.Load() {
		return c.then.ReadAt(p, off)
	}
	n, err := c.first.ReadAt(p, off)
	if off+int64(n) >= c.end {
		c.done.Store(true)
	}
	return n, err
}
func (changingSeed) Close() error { return nil }

func TestSeedThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := image(27, 20<<20)
	raw := edited(27, old, 10)
	a := w.artifact(raw)
	w.addDelta(a, old, raw)
	for name, then := range map[string][]byte{"other bytes": image(28, 20<<20), "shorter": old[:1<<20], "empty": nil} {
		done := &atomic.Bool{}
		c := changingSeed{bytes.NewReader(old), bytes.NewReader(then), int64(len(old)), done}
		s := w.assembledLoosely(w.job(a, Seed{Name: name, Size: int64(len(old)), Open: func() (SeedReader, error) { return c, nil }}), raw)
		if len(s.Problems) == 0 || s.Seeded == 0 || s.Ranged == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	short := Seed{Name: "announced longer", Size: 1 << 40, Open: func() (SeedReader, error) { return bytesSeed{bytes.NewReader(old)}, nil }}
	if s := w.assembledLoosely(w.job(a, short), raw); s.Seeded == 0 {
		t.Errorf("%+v", s)
	}
}

func TestObjectReplacedHalfWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.artifact(image(29, 40<<20))
	j := w.job(a)
	var n atomic.Int64
	w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
		if n.Add(1) == 2 {
			w.overwrite(a.Stored.SHA256, bytes.Repeat([]byte("x"), int(a.Stored.Size)))
		}
		return body
	}
	_, err := j.Assemble(t.Context(), w.part())
	wantMismatch(t, err, "chunk")
}

// flipped gives a body with one wrong bit in its middle.
type flipped struct {
	io.ReadCloser
	at int
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= 0 && f.at < n {
		p[f.at] ^= 1
	}
	f.at -= n
	return n, err
}

func TestOneWrongAnswerIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(30, 20<<20)
	j := w.job(w.artifact(raw))
	var n atomic.Int64
	w.store.body = func(_ string, _ int64, body io.ReadCloser) io.ReadCloser {
		if n.Add(1) == 1 {
			return &flipped{body, 100_000}
		}
		return body
	}
	w.assembled(j, w.part(), raw)
}

// served gives a store over HTTP.
func served(t *testing.T, h http.Handler) storage.Reader {
	t.Helper()
	return servedWith(t, h, storage.Options{})
}

func servedWith(t *testing.T, h http.Handler, o storage.Options) storage.Reader {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	store, err := storage.Open(t.Context(), server.URL, o)
	check(t, err)
	return store
}

func TestServersThatMishandleRanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(31, 60<<20)
	old := edited(31, raw, 6)
	a := w.artifact(raw)
	files := http.FileServer(http.Dir(w.dir))
	var sent atomic.Int64
	ignoring := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		files.ServeHTTP(&countingWriter{rw, &sent}, r)
	})
	j := w.job(a, seed(old))
	j.Store = served(t, ignoring)
	if s := w.assembledLoosely(j, raw); s.Ranged == 0 {
		t.Errorf("%+v", s)
	}
	if most := a.Stored.Size * (DefaultParallel + 2); sent.Load() > most {
		t.Errorf("a server that ignores ranges sent %d bytes for an object of %d", sent.Load(), a.Stored.Size)
	}

	// 206 with the bytes of another place; 416.
	j = w.job(a)
	j.Store = served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(&shiftingWriter{ResponseWriter: rw}, r)
	}))
	_, err := j.Assemble(t.Context(), w.part())
	wantMismatch(t, err, "chunk", a.Stored.SHA256)
	j.Store = served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	}))
	s, err := j.Assemble(t.Context(), w.part())
	if err == nil || s.Ranged != 0 || !strings.Contains(err.Error(), a.Stored.SHA256) {
		t.Errorf("416: error %v, and %+v", err, s)
	}
}

type countingWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// shiftingWriter rotates what it sends by a byte.
type shiftingWriter struct{ http.ResponseWriter }

func (s *shiftingWriter) Write(p []byte) (int, error) {
	return s.ResponseWriter.Write(append(bytes.Clone(p[1:]), p[0]))
}

func TestConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := image(32, 20<<20)
	a := w.artifact(raw)
	files := http.FileServer(http.Dir(w.dir))
	var n atomic.Int64
	j := w.job(a)
	j.Store = served(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if n.Add(1)%2 == 1 {
			files.ServeHTTP(&breakingWriter{rw, 700_000}, r)
			return
		}
		files.ServeHTTP(rw, r)
	}))
	w.assembledLoosely(j, raw)
}

// breakingWriter ends the connection after so many bytes.
type breakingWriter struct {
	http.ResponseWriter
	left int
}

func (b *breakingWriter) Write(p []byte) (int, error) {
	if len(p) >= b.left {
		b.ResponseWriter.Write(p[:b.left])
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

// TestMemoryIsFlat: what is held does not grow with the artifact, but for its index.
func TestMemoryIsFlat(t *testing.T) {
	w := newWorld(t)
	j := w.job(w.artifact(image(33, 64<<20)))
	allocated := testing.AllocsPerRun(1, func() {
		_, err := j.Assemble(t.Context(), w.part())
		check(t, err)
	})
	if perChunk := allocated / float64(len(j.Index)); perChunk > 20 {
		t.Errorf("%.0f allocations a chunk", perChunk)
	}
}

// TestAStreamThatUnpacksToMuchMoreThanItShould: its reader stops at once, and what is left of the object is still held to its digest. The
// decoder does nothing on its own meanwhile, which would end the process.
func TestAStreamThatUnpacksToMuchMoreThanItShould(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := noise(70, 3<<20)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	check(t, err)
	o := w.blob(encoder.EncodeAll(raw, nil))
	a := &manifest.Artifact{Path: "x", Size: 600_000, SHA256: hexOf(raw[:600_000]), Stored: manifest.Stored{SHA256: o.SHA256, Size: o.Size, Encoding: manifest.EncodingZstd}}
	for range 300 {
		s, err := Open(t.Context(), w.store, a, progress.Silent{}.Start("", 0))
		check(t, err)
		_, err = io.Copy(io.Discard, s)
		wantMismatch(t, err, "size", "more than that")
		s.Close()
	}
}
