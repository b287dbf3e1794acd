package chunk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPackIsOneAfterTheOther(t *testing.T) {
	c := codec(t)
	data := append(noise(4, 5<<20), bytes.Repeat([]byte("again and again "), 1<<18)...)
	want, index := pack(t, c, data)
	var out bytes.Buffer
	got, err := c.Pack(t.Context(), bytes.NewReader(data), &out, Options{Workers: 3})
	if err != nil || !bytes.Equal(out.Bytes(), want) || len(got.Index) != len(index) || got.Raw.Size != int64(len(data)) {
		t.Fatalf("%d bytes, want %d; %v", out.Len(), len(want), err)
	}
	for i := range index {
		if got.Index[i] != index[i] {
			t.Fatalf("chunk %d: %v, want %v", i, got.Index[i], index[i])
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestPackGivesTheErrors(t *testing.T) {
	c := codec(t)
	broken := errors.New("broken")
	src := func() io.Reader { return bytes.NewReader(noise(5, 20<<20)) }
	if _, err := c.Pack(t.Context(), io.MultiReader(src(), iotest.ErrReader(broken)), io.Discard, Options{Workers: 2}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := c.Pack(t.Context(), src(), &failing{3}, Options{Workers: 2}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// prose compresses, and the harder the better: words at random, with their neighbours.
func prose(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, seed))
	words := make([]string, 4000)
	for i := range words {
		words[i] = fmt.Sprintf("w%x ", r.Uint64()>>(8*r.IntN(7)))
	}
	var b []byte
	for len(b) < size {
		at := r.IntN(len(words) - 3)
		b = append(b, strings.Join(words[at:at+1+r.IntN(3)], "")...)
	}
	return b[:size]
}

func TestPackHarderAndOnceMore(t *testing.T) {
	c := codec(t)
	data := append(prose(1, 4<<20), noise(6, 1<<20)...)
	packed := func(o Options) (*Packed, []byte) {
		t.Helper()
		var out bytes.Buffer
		got, err := c.Pack(t.Context(), bytes.NewReader(data), &out, o)
		if err != nil {
			t.Fatal(err)
		}
		return got, out.Bytes()
	}
	quick, object := packed(Options{Workers: 2})
	hard, smaller := packed(Options{Workers: 2, Harder: true})
	if len(smaller) > len(object)*98/100 {
		t.Errorf("%d bytes, harder %d", len(object), len(smaller))
	}
	if noise := hard.Index[len(hard.Index)-2]; noise.Stored > noise.Raw+64 {
		t.Errorf("what does not compress: %d bytes as %d", noise.Raw, noise.Stored)
	}
	mixed, both := packed(Options{Workers: 2, Harder: true, Known: func(dst []byte, sha [sha256.Size]byte) ([]byte, bool) {
		for at, c := range quick.Index {
			if c.SHA256 == sha && sha[0] < 128 {
				start := 0
				for _, before := range quick.Index[:at] {
					start += before.Stored
				}
				return append(dst, object[start:start+c.Stored]...), true
			}
		}
		return dst, false
	}})
	if len(both) <= len(smaller) || len(both) >= len(object) {
		t.Errorf("%d bytes of %d and %d", len(both), len(object), len(smaller))
	}
	stale := func(dst []byte, _ [sha256.Size]byte) ([]byte, bool) { return append(dst, "of another length"...), true }
	for name, like := range map[string]*Packed{"quick": quick, "hard": hard, "mixed": mixed} {
		for _, o := range []Options{{Like: like.Index}, {Like: like.Index, Harder: true}, {Like: like.Index, Known: stale}} {
			if again, _ := packed(o); again.Stored != like.Stored {
				t.Errorf("%s: made once more it is another object", name)
			}
		}
	}
	if other, _ := packed(Options{Like: quick.Index[:1]}); len(other.Index) != len(quick.Index) {
		t.Error("an index of something else cuts it short")
	}
}

// TestAFullDiskIsSaidOnce: what the writer failed on ends the cutter, too, and is not said for both.
func TestAFullDiskIsSaidOnce(t *testing.T) {
	c := codec(t)
	full := errors.New("the disk is full")
	_, err := c.Pack(t.Context(), bytes.NewReader(noise(5, 20<<20)), writerFunc(func([]byte) (int, error) { return 0, full }), Options{Workers: 2})
	if err == nil || err.Error() != full.Error() {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := c.Pack(ctx, bytes.NewReader(noise(5, 20<<20)), io.Discard, Options{Workers: 2}); err == nil || err.Error() != interrupted.Error() {
		t.Errorf("interrupted: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestZerosAreNeverTakenFromElsewhere: a frame of zeros costs nothing to make, and whoever stored it as a MiB of raw zeros is not followed.
func TestZerosAreNeverTakenFromElsewhere(t *testing.T) {
	raw := make([]byte, 3*Max)
	var object bytes.Buffer
	_, err := codec(t).Pack(t.Context(), bytes.NewReader(raw), &object, Options{Known: func(dst []byte, _ [sha256.Size]byte) ([]byte, bool) {
		return appendFrame(dst, raw[:Max], blockRaw), true
	}})
	if err != nil || object.Len() > 200 {
		t.Errorf("%d bytes, %v", object.Len(), err)
	}
}
