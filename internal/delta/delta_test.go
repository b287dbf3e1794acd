package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func build(t testing.TB, old, new []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Make(&out, bytes.NewReader(old), bytes.NewReader(new), int64(len(old)), int64(len(new))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func apply(old, delta []byte, size int) ([]byte, error) {
	var out bytes.Buffer
	err := Apply(&out, bytes.NewReader(old), int64(len(old)), bytes.NewReader(delta), int64(len(delta)), int64(size))
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
		"shorter than anchors": {[]byte("abc"), []byte("abcd"), 100},
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

// TestWindowsCoverEverything: every byte lies in one window of at most Window bytes.
func TestWindowsCoverEverything(t *testing.T) {
	for _, v := range [][2]int64{{0, 0}, {1, 0}, {0, 1}, {Window, Window + 1}, {5 * Window, 3}, {1<<43 - 1, 1 << 42}} {
		n := parts(v[0], v[1])
		for _, size := range v {
			next := int64(0)
			for i := range n {
				from, to := bounds(size, i, n)
				if from != next || to < from || to-from > Window {
					t.Fatalf("%d in %d: window %d is [%d, %d)", size, n, i, from, to)
				}
				next = to
			}
			if next != size && n > 0 {
				t.Fatalf("%d in %d windows ends at %d", size, n, next)
			}
		}
	}
}

// forge makes a delta of one window out of operations that nobody would make.
func forge(t testing.TB, old, new int, differences, literals []byte, ops ...int64) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var o []byte
	for i, n := range ops {
		if i%3 == 2 {
			o = binary.AppendVarint(o, n)
		} else {
			o = binary.AppendUvarint(o, uint64(n))
		}
	}
	d := append([]byte(magic), make([]byte, 16)...)
	binary.BigEndian.PutUint64(d[len(magic):], uint64(old))
	binary.BigEndian.PutUint64(d[len(magic)+8:], uint64(new))
	var body []byte
	for _, s := range [][]byte{o, differences, literals} {
		frame := z.EncodeAll(s, nil)
		d = binary.BigEndian.AppendUint32(d, uint32(len(frame)))
		body = append(body, frame...)
	}
	return append(d, body...)
}

func TestHostileDeltas(t *testing.T) {
	old := noise(1, 1000)
	good := forge(t, 1000, 10, []byte{0, 0, 0, 0}, []byte("abcdef"), 6, 4, 500)
	if got, err := apply(old, good, 10); err != nil || !bytes.Equal(got, append([]byte("abcdef"), old[500:504]...)) {
		t.Fatal(got, err)
	}
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	for name, d := range map[string][]byte{
		"empty":                         nil,
		"another version":               change(len(magic)-1, 2),
		"for another predecessor":       change(len(magic)+7, 1),
		"for another target":            change(len(magic)+15, 11),
		"cut short":                     good[:len(good)-1],
		"longer":                        append(slices.Clone(good), 0),
		"a stream beyond the end":       change(header, 0xff, 0xff, 0xff, 0xff),
		"streams of no length":          change(header, make([]byte, 12)...),
		"literals beyond the target":    forge(t, 1000, 10, nil, make([]byte, 11), 11, 0, 0),
		"2^63 literals":                 forge(t, 1000, 10, nil, nil, -1<<63, 0, 0),
		"a copy beyond the target":      forge(t, 1000, 10, make([]byte, 11), nil, 0, 11, 0),
		"lengths that add up to little": forge(t, 1000, 10, nil, nil, -1, 2, 0),
		"a copy before the beginning":   forge(t, 1000, 10, make([]byte, 10), nil, 0, 10, -1),
		"a copy beyond the end":         forge(t, 1000, 10, make([]byte, 10), nil, 0, 10, 991),
		"a move that overflows":         forge(t, 1000, 10, make([]byte, 10), nil, 0, 5, 990, 0, 5, 1<<63-1),
		"operations that do nothing":    forge(t, 1000, 10, make([]byte, 10), nil, 0, 0, 0, 0, 10, 0),
		"operations that end early":     forge(t, 1000, 10, make([]byte, 5), nil, 0, 5, 0),
		"differences that end early":    forge(t, 1000, 10, make([]byte, 5), nil, 0, 10, 0),
		"differences that are left":     forge(t, 1000, 10, make([]byte, 11), nil, 0, 10, 0),
		"literals that are left":        forge(t, 1000, 10, make([]byte, 10), []byte("x"), 0, 10, 0),
		"a bomb of literals":            forge(t, 1000, 10, nil, make([]byte, 1<<24), 1<<24, 0, 0),
	} {
		var e *Error
		if got, err := apply(old, d, 10); !errors.As(err, &e) || len(got) > 10 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestApplyGivesTheWritersError(t *testing.T) {
	old := noise(1, 1000)
	r, w := io.Pipe()
	r.CloseWithError(io.ErrShortWrite)
	d := build(t, old, old)
	if err := Apply(w, bytes.NewReader(old), 1000, bytes.NewReader(d), int64(len(d)), 1000); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

func FuzzApply(f *testing.F) {
	old := noise(1, 1000)
	f.Add(forge(f, 1000, 10, []byte{0, 0, 0, 0}, []byte("abcdef"), 6, 4, 500))
	f.Add(build(f, old, relinked(old)[:10]))
	f.Fuzz(func(t *testing.T, d []byte) {
		if got, err := apply(old, d, 10); len(got) > 10 || err == nil && len(got) != 10 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func FuzzMake(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz"), []byte("abcdefghijklmnopXqrstuvwxyzabc"))
	f.Fuzz(func(t *testing.T, old, new []byte) {
		if got, err := apply(old, build(t, old, new), len(new)); err != nil || !bytes.Equal(got, new) {
			t.Fatalf("%x from %x: %x, %v", new, old, got, err)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	old := noise(1, 16<<20)
	new := relinked(old)
	b.SetBytes(int64(len(new)))
	for b.Loop() {
		build(b, old, new)
	}
}

func BenchmarkApply(b *testing.B) {
	old := noise(1, 16<<20)
	new := relinked(old)
	d := build(b, old, new)
	b.SetBytes(int64(len(new)))
	for b.Loop() {
		if _, err := apply(old, d, len(new)); err != nil {
			b.Fatal(err)
		}
	}
}
