package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func build(t testing.TB, old, new []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Make(t.Context(), &out, bytes.NewReader(old), bytes.NewReader(new), int64(len(old)), int64(len(new))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func apply(old, delta []byte, size int) ([]byte, error) {
	var out bytes.Buffer
	err := Apply(context.Background(), &out, bytes.NewReader(old), int64(len(old)), bytes.NewReader(delta), int64(len(delta)), int64(size))
	return out.Bytes(), err
}

// relinked is like a program built again: an address in every sixteen bytes grew by the same amount.
func relinked(old []byte) []byte {
	new := slices.Clone(old)
	for i := 8; i+4 <= len(new); i += 16 + i%3 {
		binary.LittleEndian.PutUint32(new[i:], binary.LittleEndian.Uint32(new[i:])+4096)
	}
	return new
}

func TestWhatIsMadeIsApplied(t *testing.T) {
	old := noise(1, 3<<20)
	text := bytes.Repeat([]byte("the quick brown fox "), 20000)
	for name, v := range map[string]struct {
		old, new []byte
		most     int // bytes of the delta
	}{
		"nothing from nothing": {nil, nil, 100},
		"nothing from much":    {old, nil, 100},
		"all new":              {nil, old, len(old) + 1000},
		"the same":             {old, old, 200},
		"moved":                {old, slices.Concat(old[1<<20:], old[:1<<20]), 300},
		"a byte here":          {old, slices.Concat(old[:100], []byte("x"), old[100:]), 300},
		"relinked":             {old, relinked(old), len(old) / 4},
		"repetitive":           {text, slices.Concat(text[:777], text[3:]), 500},
		"shorter than anchors": {[]byte("abc"), []byte("abcd"), 200},
		"unlike":               {noise(2, 1<<20), noise(3, 1<<20), 1<<20 + 1000},
	} {
		d := build(t, v.old, v.new)
		if len(d) > v.most {
			t.Errorf("%s: the delta has %d bytes, more than %d", name, len(d), v.most)
		}
		if got, err := apply(v.old, d, len(v.new)); err != nil || !bytes.Equal(got, v.new) {
			t.Errorf("%s: %d bytes instead of %d, %v", name, len(got), len(v.new), err)
		}
	}
}

// TestWindowsCoverEverything: every byte lies in one window, of at most Window bytes of old.
func TestWindowsCoverEverything(t *testing.T) {
	for _, v := range [][2]int64{{0, 0}, {1, 0}, {0, 1}, {Window, Window + 1}, {5 * Window, 3}, {1<<43 - 1, 1 << 42}} {
		n := layout{v[0], v[1], Window}.windows()
		for j, size := range v {
			next := int64(0)
			for i := range n {
				from, to := bounds(size, i, n)
				if from != next || to < from || j == 0 && to-from > (v[0]+n-1)/n {
					t.Fatalf("%d in %d: window %d is [%d, %d)", size, n, i, from, to)
				}
				next = to
			}
			if next != size || (v[0]+n-1)/n > Window {
				t.Fatalf("%d in %d windows ends at %d", size, n, next)
			}
		}
	}
}

func TestApplyGivesTheWritersError(t *testing.T) {
	old := noise(1, 1000)
	r, w := io.Pipe()
	r.CloseWithError(io.ErrShortWrite)
	d := build(t, old, old)
	if err := Apply(t.Context(), w, bytes.NewReader(old), 1000, bytes.NewReader(d), int64(len(d)), 1000); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

// TestWindowsAndBlocks: strings of many windows, blocks and segments, whose borders fall anywhere.
func TestWindowsAndBlocks(t *testing.T) {
	t.Parallel()
	old := noise(1, 3<<20)
	big := slices.Concat(noise(4, 5<<20), relinked(old), noise(5, 100), old[:99999], noise(6, 70000), old)
	for _, v := range []struct {
		old, new []byte
		window   int64
	}{{old, big, Window}, {old, big, 1 << 20}, {old, big, 77777}, {big, old, 1 << 20}, {old, old[:9], 1 << 16}, {old, nil, 1}, {nil, big, 5}} {
		l := layout{int64(len(v.old)), int64(len(v.new)), v.window}
		var d, got bytes.Buffer
		if err := l.make(t.Context(), &d, bytes.NewReader(v.old), bytes.NewReader(v.new)); err != nil {
			t.Fatal(err)
		}
		err := l.apply(t.Context(), &got, bytes.NewReader(v.old), bytes.NewReader(d.Bytes()), int64(d.Len()))
		if err != nil || !bytes.Equal(got.Bytes(), v.new) {
			t.Errorf("%+v: %d bytes, %v", l, got.Len(), err)
		}
	}
}

func TestTheSameInputGivesTheSameDelta(t *testing.T) {
	t.Parallel()
	old := noise(1, 1<<20)
	new := slices.Concat(relinked(old), noise(2, 200000), old)
	if !bytes.Equal(build(t, old, new), build(t, old, new)) {
		t.Error("two deltas of the same strings differ")
	}
}

// TestBranchesAreUndone: also where words hold the bytes of branches, and at the end.
func TestBranchesAreUndone(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, r.IntN(24))
		for i := range b {
			b[i] = []byte{0xe8, 0xe9, 0, 1, 0xff, 0xfe, byte(r.Uint32())}[r.IntN(7)]
		}
		pos, c := r.IntN(1<<30), slices.Clone(b)
		branches(c, pos, 1)
		branches(c, pos, -1)
		if !bytes.Equal(b, c) {
			t.Fatalf("%x at %d: %x", b, pos, c)
		}
	}
}

// ender ends its context when it has been read or written so often.
type ender struct {
	r     io.ReaderAt
	left  int
	since int // bytes after the end
	end   func()
}

func (e *ender) count(n int) {
	if e.left--; e.left == 0 {
		e.end()
	} else if e.left < 0 {
		e.since += n
	}
}

func (e *ender) ReadAt(b []byte, at int64) (int, error) {
	e.count(len(b))
	return e.r.ReadAt(b, at)
}

func (e *ender) Write(b []byte) (int, error) {
	e.count(len(b))
	return len(b), nil
}

// TestEndedContext: neither goes on for more than a block once its context has ended.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	old := noise(1, 10<<20)
	size, d := int64(len(old)), build(t, old, old)
	for left := 1; left < 6; left++ {
		ctx, end := context.WithCancel(t.Context())
		o := &ender{r: bytes.NewReader(old), left: left, end: end}
		if err := Make(ctx, io.Discard, o, o, size, size); !errors.Is(err, context.Canceled) || o.since > 0 {
			t.Errorf("made after %d reads: %v, %d bytes read", left, err, o.since)
		}
		ctx, end = context.WithCancel(t.Context())
		w := &ender{left: left, end: end}
		if err := Apply(ctx, w, bytes.NewReader(old), size, bytes.NewReader(d), int64(len(d)), size); !errors.Is(err, context.Canceled) || w.since > 0 {
			t.Errorf("applied for %d writes: %v, %d bytes written", left, err, w.since)
		}
	}
}

func FuzzMake(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz"), []byte("abcdefghijklmnopXqrstuvwxyzabc"), uint16(1000))
	f.Add(noise(1, 3000), relinked(noise(1, 3000)), uint16(1000))
	f.Add([]byte{}, bytes.Repeat([]byte{0xe8, 1, 0, 0, 0}, 99), uint16(1))
	f.Fuzz(func(t *testing.T, old, new []byte, window uint16) {
		l := layout{int64(len(old)), int64(len(new)), max(int64(window), int64(len(old)/4)+1)}
		var d, got bytes.Buffer
		if err := l.make(t.Context(), &d, bytes.NewReader(old), bytes.NewReader(new)); err != nil {
			t.Fatal(err)
		}
		err := l.apply(t.Context(), &got, bytes.NewReader(old), bytes.NewReader(d.Bytes()), int64(d.Len()))
		if err != nil || !bytes.Equal(got.Bytes(), new) {
			t.Fatalf("%x from %x: %x, %v", new, old, got.Bytes(), err)
		}
	})
}

// release is a string like a program, and another like its next build: some is new, some moved, addresses changed.
func release() (old, new []byte) {
	old = noise(1, 16<<20)
	text := bytes.Repeat([]byte("what a new function says; "), 4000)
	return old, slices.Concat(relinked(old[4<<20:]), noise(2, 100<<10), text, old[:3<<20], relinked(old[3<<20:4<<20]))
}

func report(b *testing.B, delta, new []byte) {
	b.SetBytes(int64(len(new)))
	b.ReportMetric(float64(len(delta)), "delta-bytes")
	b.ReportMetric(float64(len(delta))/float64(len(new)), "ratio")
}

func BenchmarkMake(b *testing.B) {
	old, new := release()
	var d []byte
	for b.Loop() {
		d = build(b, old, new)
	}
	report(b, d, new)
}

func BenchmarkApply(b *testing.B) {
	old, new := release()
	d := build(b, old, new)
	for b.Loop() {
		if _, err := apply(old, d, len(new)); err != nil {
			b.Fatal(err)
		}
	}
	report(b, d, new)
}
