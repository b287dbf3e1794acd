package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
)

// noise is the same on every machine and in every year: the cuts of it are test vectors.
func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func lengths(t testing.TB, src io.Reader) []int {
	t.Helper()
	var list []int
	for r := NewReader(src); ; {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, len(c))
	}
}

// TestGearTable pins the table: it is part of the format.
func TestGearTable(t *testing.T) {
	var all []byte
	for _, g := range gear {
		all = append(all, byte(g>>56), byte(g>>48), byte(g>>40), byte(g>>32), byte(g>>24), byte(g>>16), byte(g>>8), byte(g))
	}
	sum := sha256.Sum256(all)
	if got := hex.EncodeToString(sum[:]); got != gearDigest || gear[0] != gearFirst {
		t.Errorf("gear[0] %#x, table %s", gear[0], got)
	}
}

// TestCutVectors pins the cuts.
func TestCutVectors(t *testing.T) {
	text := bytes.Repeat([]byte("Kitchen cuts where the content says so. "), 40000)
	for name, v := range map[string]struct {
		data []byte
		want []int
	}{
		"nothing":    {nil, nil},
		"one byte":   {[]byte("x"), []int{1}},
		"just Min":   {noise(1, Min), []int{Min}},
		"noise":      {noise(1, 2<<20), vectorNoise},
		"zeros":      {make([]byte, 5*Max/2), []int{Max, Max, Max / 2}},
		"repetition": {text, vectorText},
	} {
		got := lengths(t, bytes.NewReader(v.data))
		if !slices.Equal(got, v.want) {
			t.Errorf("%s: %v, want %v", name, got, v.want)
		}
		if again := lengths(t, iotest.HalfReader(bytes.NewReader(v.data))); !slices.Equal(got, again) {
			t.Errorf("%s: in small reads %v", name, again)
		}
	}
}

// TestScanIsTheHashOfTheFormat holds the quick loop to the definition, wherever in it a hash falls below the limit.
func TestScanIsTheHashOfTheFormat(t *testing.T) {
	data := noise(5, 4096)
	for _, limit := range []uint64{0, 1 << 50, 1 << 56, 1 << 60, 1 << 63} { // never, and every 16 kB to 2 bytes
		for from := range 64 {
			for to := from; to <= len(data); to += 1 + to/8 {
				wantHash, want := uint64(from), 0
				for i, b := range data[from:to] {
					if wantHash = wantHash<<1 + gear[b]; wantHash < limit {
						want = i + 1
						break
					}
				}
				if hash, n := scan(data[from:to], uint64(from), limit); hash != wantHash || n != want {
					t.Fatalf("limit %#x, bytes %d to %d: hash %#x after %d, want %#x after %d", limit, from, to, hash, n, wantHash, want)
				}
			}
		}
	}
}

// TestCutsFollowContent: after an insertion the cuts fall into step again, and sizes keep to their limits.
func TestCutsFollowContent(t *testing.T) {
	old := noise(7, 64<<20)
	changed := slices.Concat(old[:30<<20], []byte("a few bytes more"), old[30<<20:])
	have := map[[32]byte]bool{}
	r := NewReader(bytes.NewReader(old))
	count := 0
	for c, err := r.Next(); err == nil; c, err = r.Next() {
		have[sha256.Sum256(c)] = true
		count++
	}
	if mean := len(old) / count; mean < 200<<10 || mean > 320<<10 {
		t.Errorf("chunks have %d bytes on average", mean)
	}
	missing := 0
	r = NewReader(bytes.NewReader(changed))
	for c, err := r.Next(); err == nil; c, err = r.Next() {
		if len(c) > Max {
			t.Fatalf("a chunk of %d bytes", len(c))
		}
		if !have[sha256.Sum256(c)] {
			missing += len(c)
		}
	}
	if missing == 0 || missing > 3*Max {
		t.Errorf("one insertion changed chunks of %d bytes", missing)
	}
}

func TestReaderGivesTheError(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(bytes.NewReader(noise(1, 3*Max)), iotest.ErrReader(broken)))
	for range 100 {
		if _, err := r.Next(); err != nil {
			if !errors.Is(err, broken) {
				t.Fatalf("%v", err)
			}
			return
		}
	}
	t.Fatal("no error")
}

// TestCutStreamsAreNoEnd: a stream that ends before its end must not pass for a shorter one.
func TestCutStreamsAreNoEnd(t *testing.T) {
	for _, broken := range []error{io.ErrUnexpectedEOF, fmt.Errorf("cut: %w", io.ErrUnexpectedEOF), fmt.Errorf("cut: %w", io.EOF)} {
		r := NewReader(io.MultiReader(bytes.NewReader(noise(1, 3*Max)), iotest.ErrReader(broken)))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err != broken {
			t.Errorf("%v after %v", err, broken)
		}
	}
}

func BenchmarkCut(b *testing.B) {
	data := noise(3, 64<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[Cut(rest):]
		}
	}
}
