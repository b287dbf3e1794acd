package chunk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
)

func indexOf(t testing.TB, data []byte) (x Index) {
	t.Helper()
	for r := NewReader(bytes.NewReader(data)); ; {
		c, err := r.Next()
		if err == io.EOF {
			return x
		}
		if err != nil {
			t.Fatal(err)
		}
		x = append(x, Chunk{SHA256: sha256.Sum256(c), Raw: len(c), Stored: 1})
	}
}

// edited is data with edits of all kinds.
func edited(data []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	for range 1 + r.IntN(6) {
		at, n := r.IntN(len(data)), 1+r.IntN(3*Max)
		rest := data[min(at+n, len(data)):]
		switch r.IntN(5) {
		case 0: // in place
			data = slices.Concat(data[:at], noise(byte(seed), min(n, len(data)-at)), rest)
		case 1: // put in
			data = slices.Concat(data[:at], noise(byte(seed), n), data[at:])
		case 2: // left out
			data = slices.Concat(data[:at], rest)
		case 3: // a hole
			data = slices.Concat(data[:at], make([]byte, n), data[at:])
		case 4: // moved to the front
			data = slices.Concat(data[at:min(at+n, len(data))], data[:at], rest)
		}
	}
	return data
}

// follow cuts data by an earlier index, and holds what comes to the data.
func follow(t *testing.T, data []byte, earlier Index) (x Index) {
	t.Helper()
	f := NewFollower(NewReader(iotest.HalfReader(bytes.NewReader(data))), earlier)
	for rest := data; ; {
		raw, sha, err := f.Next()
		if err == io.EOF && len(rest) == 0 {
			return x
		}
		if err != nil || len(raw) > Max || !bytes.HasPrefix(rest, raw) || sha != sha256.Sum256(raw) {
			t.Fatalf("chunk %d of %d bytes, %d are left, sha256 %x, %v", len(x), len(raw), len(rest), sha, err)
		}
		rest = rest[len(raw):]
		x = append(x, Chunk{SHA256: sha, Raw: len(raw), Stored: 1})
	}
}

// TestFollowerCutsWhereTheReaderDoes, whatever was edited, and by whatever index of what a reader cut.
func TestFollowerCutsWhereTheReaderDoes(t *testing.T) {
	t.Parallel()
	old := slices.Concat(noise(1, 2<<20), make([]byte, 5<<19), noise(2, 1<<20), bytes.Repeat(noise(3, 300<<10), 6))
	for name, x := range map[string]Index{"its own": indexOf(t, old), "another's": indexOf(t, noise(9, 2<<20)), "none": nil} {
		if !slices.Equal(follow(t, old, x), indexOf(t, old)) {
			t.Errorf("%s: other chunks than the reader's", name)
		}
		for seed := range uint64(30) {
			if data := edited(old, seed); !slices.Equal(follow(t, data, x), indexOf(t, data)) {
				t.Errorf("%s, edit %d: other chunks than the reader's", name, seed)
			}
		}
	}
}

// TestFollowerByAnIndexThatLies: of what could not be a chunk of this format nothing is taken over, and of the rest nothing but
// where two chunks are said to be one. Digests are those of the bytes all the same.
func TestFollowerByAnIndexThatLies(t *testing.T) {
	t.Parallel()
	data := noise(1, 3<<20)
	honest := indexOf(t, data)
	two := honest[0].Raw + honest[1].Raw
	for name, lie := range map[string]Chunk{
		"short":                {SHA256: sha256.Sum256(data[:100]), Raw: 100},
		"without an end":       {SHA256: sha256.Sum256(data[:honest[0].Raw-1]), Raw: honest[0].Raw - 1},
		"all of it":            {SHA256: sha256.Sum256(data[:Max]), Raw: Max + 1},
		"of another":           {SHA256: sha256.Sum256(nil), Raw: honest[0].Raw},
		"longer than the data": {SHA256: sha256.Sum256(data), Raw: len(data) + 1},
	} {
		if got := follow(t, data, Index{lie, lie}); !slices.Equal(got, honest) {
			t.Errorf("%s: other chunks than the reader's", name)
		}
	}
	if got := follow(t, data, Index{{SHA256: sha256.Sum256(data[:two]), Raw: two}}); got[0].Raw != two || !slices.Equal(got[1:], honest[2:]) {
		t.Errorf("two for one: %d chunks, the first of %d bytes", len(got), got[0].Raw)
	}
}

// TestFollowerSearchesOnlyWhatChanged counts the chunks that were searched for, by what is expected: nothing is after a search.
func TestFollowerSearchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	old := noise(4, 32<<20)
	x := indexOf(t, old)
	data := bytes.Clone(old)
	copy(data[16<<20:], "an edit in place")
	data = slices.Concat(data[:8<<20], []byte("and one that moves all that follows"), data[8<<20:])
	f := NewFollower(NewReader(bytes.NewReader(data)), x)
	followed := 0
	for {
		before := f.next
		_, sha, err := f.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if before < len(x) && x[before].SHA256 == sha {
			followed++
		}
	}
	if searched := len(x) - followed; searched > 6 { // the edited ones, one after each, and the last
		t.Errorf("%d of %d chunks were searched for", searched, len(x))
	}
}

func TestFollowerGivesTheError(t *testing.T) {
	broken := errors.New("broken")
	data := noise(1, 3*Max)
	f := NewFollower(NewReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))), indexOf(t, data))
	var err error
	for err == nil {
		_, _, err = f.Next()
	}
	if err != broken {
		t.Errorf("%v", err)
	}
}
