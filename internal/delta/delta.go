// Package delta makes and applies the difference between two byte strings that resemble each other as two builds
// of the same software do: what moved is found again, and what changed a little in many places (addresses in
// programs) is stored as differences (after Percival, "Naive differences of executable code", 2003).
//
// # Format
//
// Integers are big endian unless a varint (encoding/binary) is named; "word" is the little-endian value of the next
// four bytes of a piece, fewer at its end (the missing ones count as zero), modulo 2^32.
//
//	"kitchen-delta\x01"
//	old length, new length     uint64 each
//	segments, until the new string is complete:
//	  bytes of new it makes    uint32, at least 1
//	  eight lengths            uint32 each
//	  eight zstd frames of these lengths: operations, gaps, kinds, four of differences, literals
//
// Windows: with n = max(1, ceil(old/W)), W = 128 MiB, window i is size/n*i + size%n*i/n of the old length up to the same
// for i+1, and likewise of the new length. A segment lies in one window of new and copies from that of old only.
//
// Operations: each is three varints: literals (at most 64 KiB), length, and the signed distance of the position in the
// old window from where the last operation of the segment ended (at first: 0). It takes so many bytes of the literals,
// branches undone, then a piece of so many bytes of old, in which fields of four bytes (fewer at the piece's end) are
// changed. One that does neither is not allowed.
//
// Gaps: uvarints, the number of bytes of pieces between one field and the next, across pieces; the last one tells how many
// follow the last field. Kinds: one byte for each field, saying what is added to its word:
//
//	0  what its target predicts
//	1  what the last field of kind 1 or 2 added (at first: 0)
//	2  the next byte of each of the four streams of differences, the lowest first
//
// The target of a field is its position in the old window plus its word: what it refers to if it is a relative address.
// For each 4 KiB of targets (bits 12 to 27 of it) the shift that the last field there had is remembered, at first 0: what was
// added to it, plus its position in the segment, less that in the old window. What a target predicts is this shift, less
// the field's own distance. All is modulo 2^32.
//
// Branches: relative addresses in machine code are stored as absolute ones, which recur. In the literals of an operation,
// from the first byte on, a byte 0xe8 or 0xe9 that four more follow is looked for, and the search goes on behind these. If
// their word is a signed number of 25 bits, the position of the first byte in the segment has been added to it, modulo
// 2^25, extended to 32 bits by its sign.
//
// # Limits
//
// Frames of literals have windows of at most 8 MiB, others of 1 MiB (RFC 8878 §3.1.1.1.2). Whatever the sizes of its
// input, making takes at most 416 MiB of memory: one window of old, a quarter of that for the table of its anchors, and
// 256 MiB for what the segment holds. Applying takes at most 192 MiB, whatever the delta says: one window of old, 64 MiB for
// the rest. The same input gives the same delta, by the same version of this package and of its zstd.
package delta

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// Window is the largest part of the old string that is worked on at a time, in bytes.
const Window = 128 << 20

const (
	magic       = "kitchen-delta\x01"
	header      = len(magic) + 16
	segmentHead = 4 + 4*streams
	maxLiterals = 64 << 10 // of one operation
	block       = 4 << 20  // bytes read between two looks at the context

	literalsWindow = 8 << 20
	streamWindow   = 1 << 20
)

// The streams of a segment.
const (
	operations = iota
	gaps
	kinds
	differences // and the three that follow
	literals    = differences + 4
	streams     = literals + 1
)

// Kinds of fields.
const (
	predicted = iota
	repeated
	stated
)

// layout is how two strings are cut into windows; window is Window outside of tests.
type layout struct{ old, new, window int64 }

func (l layout) windows() int64 { return max(1, (l.old+l.window-1)/l.window) }

// bounds gives where window i of n begins and ends in a string.
func bounds(size, i, n int64) (from, to int64) {
	return size/n*i + size%n*i/n, size/n*(i+1) + size%n*(i+1)/n
}

// Error says what is wrong with a delta.
type Error struct{ Reason string }

func (e *Error) Error() string { return "delta: " + e.Reason }

func bad(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// read fills b from r at an offset, and lets seen look at each block.
func read(ctx context.Context, r io.ReaderAt, b []byte, offset int64, seen func(upTo int)) error {
	for done := 0; done < len(b); {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(len(b), done+block)
		if _, err := io.ReadFull(io.NewSectionReader(r, offset+int64(done), int64(to-done)), b[done:to]); err != nil {
			return err
		}
		done = to
		seen(done)
	}
	return ctx.Err()
}

// word reads up to four bytes.
func word(b []byte) uint32 {
	if len(b) >= 4 {
		return binary.LittleEndian.Uint32(b)
	}
	var w uint32
	for i, c := range b {
		w |= uint32(c) << (8 * i)
	}
	return w
}

// model predicts what is added to a field. Maker and applier keep the same.
type model struct {
	shifts [1 << 16]uint32
	last   uint32
}

// predict gives what the target of a field suggests, and where to remember what turned out, less distance.
func (m *model) predict(old uint32, pos int, distance uint32) (add uint32, shift *uint32) {
	shift = &m.shifts[uint16((old+uint32(pos))>>12)]
	return *shift - distance, shift
}

// branches makes the relative addresses of calls and jumps in machine code absolute (sign 1), or undoes it (-1).
func branches(b []byte, pos int, sign int32) {
	for i := 0; i+5 <= len(b); i++ {
		if b[i]&0xfe != 0xe8 {
			continue
		}
		if v := int32(word(b[i+1:])); v<<7>>7 == v {
			v += sign * int32(pos+i)
			binary.LittleEndian.PutUint32(b[i+1:], uint32(v<<7>>7))
		}
		i += 4 // whatever it holds: what follows may change, and has to leave this word alone
	}
}
