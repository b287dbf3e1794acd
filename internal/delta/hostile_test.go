package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// forged is a delta that nobody would make, of one segment.
type forged struct {
	made       uint32
	ops        []int64 // literals, length, move
	gaps       []uint64
	kinds, lit []byte
	diffs      [4][]byte
}

func (f forged) bytes(t testing.TB, old, new int) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithWindowSize(streamWindow))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var o, g []byte
	for i, n := range f.ops {
		if i%3 == 2 {
			o = binary.AppendVarint(o, n)
		} else {
			o = binary.AppendUvarint(o, uint64(n))
		}
	}
	for _, n := range f.gaps {
		g = binary.AppendUvarint(g, n)
	}
	d := binary.BigEndian.AppendUint64([]byte(magic), uint64(old))
	d = binary.BigEndian.AppendUint64(d, uint64(new))
	d = binary.BigEndian.AppendUint32(d, f.made)
	var body []byte
	for _, s := range [][]byte{o, g, f.kinds, f.diffs[0], f.diffs[1], f.diffs[2], f.diffs[3], f.lit} {
		frame := z.EncodeAll(s, nil)
		d = binary.BigEndian.AppendUint32(d, uint32(len(frame)))
		body = append(body, frame...)
	}
	return append(d, body...)
}

// one is a delta to 10 bytes: six literals, and four bytes of old from 500 on to which 0x04030201 is added.
func one() forged {
	return forged{10, []int64{6, 4, 500}, []uint64{0, 0}, []byte{stated}, []byte("abcdef"), [4][]byte{{1}, {2}, {3}, {4}}}
}

func TestHostileDeltas(t *testing.T) {
	t.Parallel()
	old := noise(1, 1000)
	good := one().bytes(t, 1000, 10)
	want := binary.LittleEndian.AppendUint32([]byte("abcdef"), binary.LittleEndian.Uint32(old[500:])+0x04030201)
	if got, err := apply(old, good, 10); err != nil || !bytes.Equal(got, want) {
		t.Fatal(got, err)
	}
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	with := func(edit func(f *forged)) []byte {
		f := one()
		edit(&f)
		return f.bytes(t, 1000, 10)
	}
	ops := func(gap uint64, lit int, ops ...int64) []byte {
		return forged{made: 10, ops: ops, gaps: []uint64{gap}, lit: make([]byte, lit)}.bytes(t, 1000, 10)
	}
	for name, d := range map[string][]byte{
		"empty":                         nil,
		"another version":               change(len(magic)-1, 2),
		"for another predecessor":       change(len(magic)+7, 1),
		"for another target":            change(len(magic)+15, 11),
		"no segment":                    good[:header],
		"half of a segment's head":      good[:header+20],
		"cut short":                     good[:len(good)-1],
		"longer":                        append(slices.Clone(good), 0),
		"a segment of nothing":          with(func(f *forged) { f.made = 0 }),
		"a segment of too much":         with(func(f *forged) { f.made = 11 }),
		"a segment of less":             with(func(f *forged) { f.made = 9 }),
		"a stream beyond the end":       change(header+4, 0xff, 0xff, 0xff, 0xff),
		"streams of no length":          change(header+4, make([]byte, 32)...),
		"literals beyond the target":    ops(0, 11, 11, 0, 0),
		"2^63 literals":                 ops(0, 0, -1<<63, 0, 0),
		"a copy beyond the target":      ops(11, 0, 0, 11, 0),
		"lengths that add up to little": ops(10, 0, -1, 11, 0),
		"a copy before the beginning":   ops(10, 0, 0, 10, -1),
		"a copy beyond the end":         ops(10, 0, 0, 10, 991),
		"a move that overflows":         ops(10, 0, 0, 5, 990, 0, 5, 1<<63-1),
		"operations that do nothing":    ops(10, 0, 0, 0, 0, 0, 10, 0),
		"operations that end early":     ops(5, 0, 0, 5, 0),
		"operations that are left":      ops(10, 0, 0, 10, 0, 0, 10, 0),
		"literals that end early":       ops(0, 9, 10, 0, 0),
		"literals that are left":        ops(10, 1, 0, 10, 0),
		"a bomb of literals":            ops(0, 1<<24, 1<<24, 0, 0),
		"no gap":                        with(func(f *forged) { f.gaps = nil }),
		"no gap after a field":          with(func(f *forged) { f.gaps = f.gaps[:1] }),
		"a gap beyond the end":          with(func(f *forged) { f.gaps[1] = 1 }),
		"a gap of 2^64-1":               with(func(f *forged) { f.gaps[0] = 1<<64 - 1 }),
		"gaps that are left":            with(func(f *forged) { f.gaps = append(f.gaps, 0) }),
		"a kind that is not":            with(func(f *forged) { f.kinds[0] = stated + 1 }),
		"no kind":                       with(func(f *forged) { f.kinds = nil }),
		"kinds that are left":           with(func(f *forged) { f.kinds = append(f.kinds, 0) }),
		"half of a difference":          with(func(f *forged) { f.diffs[3] = nil }),
		"differences that are left":     with(func(f *forged) { f.diffs[0] = []byte{1, 1} }),
	} {
		var e *Error
		if got, err := apply(old, d, 10); !errors.As(err, &e) || len(got) > 10 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestHungryStreams: a frame that asks for a larger window than the format has is refused.
func TestHungryStreams(t *testing.T) {
	t.Parallel()
	// A frame's head says a window of 2 GiB; one empty block follows.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}
	for i := range streams {
		d := one().bytes(t, 1000, 10)
		at := header + segmentHead
		for j := range i {
			at += int(binary.BigEndian.Uint32(d[header+4+4*j:]))
		}
		size := d[header+4+4*i:]
		d = slices.Concat(d[:at], frame, d[at+int(binary.BigEndian.Uint32(size)):])
		binary.BigEndian.PutUint32(d[header+4+4*i:], uint32(len(frame)))
		if _, err := apply(noise(1, 1000), d, 10); err == nil || !bytes.Contains([]byte(err.Error()), []byte("window size exceeded")) {
			t.Errorf("stream %d: %v", i, err)
		}
	}
}

// FuzzApply: whatever the delta, no more is written than asked for, and all of it unless there is an error, of the delta.
func FuzzApply(f *testing.F) {
	old := noise(1, 1000)
	asserted := func(d []byte) {
		if _, err := apply(old, d, 10); err != nil {
			f.Fatalf("a seed is not a delta: %v", err)
		}
		f.Add(d)
	}
	asserted(one().bytes(f, 1000, 10))
	asserted(build(f, old, relinked(old)[:10]))
	asserted(build(f, old, old[900:910]))
	f.Fuzz(func(t *testing.T, d []byte) {
		got, err := apply(old, d, 10)
		var e *Error
		if len(got) > 10 || err == nil && len(got) != 10 || err != nil && !errors.As(err, &e) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}
