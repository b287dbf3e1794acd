// Package delta makes and applies the difference between two byte strings that resemble each other as two builds
// of the same software do: what moved is found again, and what changed a little in many places (addresses in
// programs) is stored as byte-wise differences (Percival, "Naive differences of executable code", 2003).
//
// A delta is made in windows, so that memory stays bounded: both strings are cut into the same number of parts.
//
//	"kitchen-delta\x01"
//	old length, new length     uint64 each, big endian
//	for each window            three lengths, uint32 each, big endian: operations, differences, literals
//	for each window            three zstd frames of these lengths
//
// With n = max(ceil(old/W), ceil(new/W)), W = 128 MiB, window i is old[old*i/n : old*(i+1)/n] and likewise of new.
// Operations are varints (encoding/binary): literals, length, and the signed distance of the old position from where
// the last operation ended. Each copies so many literal bytes, then adds so many differences to the bytes of old.
//
// Nothing writes or reads this format yet: it is the ground for transfer, and may change until a release has it.
package delta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// Window is the largest part that is worked on at a time, in bytes.
const Window = 128 << 20

const (
	magic     = "kitchen-delta\x01"
	header    = len(magic) + 16
	streams   = 3
	maxParts  = 1 << 16 // windows of one delta: 8 TiB
	zstdLimit = 8 << 20 // window of a stream, RFC 8878 §3.1.1.1.2
)

// parts gives the number of windows.
func parts(old, new int64) int64 {
	return max((old+Window-1)/Window, (new+Window-1)/Window)
}

func bounds(size, i, n int64) (from, to int64) {
	return size/n*i + size%n*i/n, size/n*(i+1) + size%n*(i+1)/n
}

// Error says what is wrong with a delta.
type Error struct{ Reason string }

func (e *Error) Error() string { return "delta: " + e.Reason }

func bad(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// encoder is one of the three streams.
type encoder struct {
	buf bytes.Buffer
	z   *zstd.Encoder
}

// Make writes the delta from old to new. It reads both window by window.
func Make(w io.Writer, old, new io.ReaderAt, oldSize, newSize int64) error {
	n := parts(oldSize, newSize)
	head := append([]byte(magic), make([]byte, 16)...)
	binary.BigEndian.PutUint64(head[len(magic):], uint64(oldSize))
	binary.BigEndian.PutUint64(head[len(magic)+8:], uint64(newSize))
	var bodies [][]byte
	for i := range n {
		body, err := makeWindow(old, new, oldSize, newSize, i, n)
		if err != nil {
			return err
		}
		for _, b := range body {
			head = binary.BigEndian.AppendUint32(head, uint32(len(b)))
		}
		bodies = append(bodies, body[:]...)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, b := range bodies {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func makeWindow(old, new io.ReaderAt, oldSize, newSize, i, n int64) (out [streams][]byte, err error) {
	o, err := readWindow(old, oldSize, i, n)
	if err != nil {
		return out, err
	}
	target, err := readWindow(new, newSize, i, n)
	if err != nil {
		return out, err
	}
	var s [streams]encoder
	for i := range s {
		s[i].z, err = zstd.NewWriter(&s[i].buf, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowFor(len(target))))
		if err != nil {
			return out, err
		}
	}
	m := newMatcher(o)
	last := 0
	var scratch []byte
	m.match(target, func(at int, step op) {
		scratch = binary.AppendUvarint(scratch[:0], uint64(step.literals))
		scratch = binary.AppendUvarint(scratch, uint64(step.length))
		scratch = binary.AppendVarint(scratch, int64(step.pos-last))
		s[0].z.Write(scratch)
		s[2].z.Write(target[at : at+step.literals])
		last = step.pos + step.length
		from, to := o[step.pos:last], target[at+step.literals:]
		scratch = scratch[:0]
		for i, b := range from {
			scratch = append(scratch, to[i]-b)
		}
		s[1].z.Write(scratch)
	})
	for i := range s {
		if err := s[i].z.Close(); err != nil {
			return out, err
		}
		out[i] = s[i].buf.Bytes()
	}
	return out, nil
}

// windowFor keeps small deltas from taking the memory of large ones.
func windowFor(n int) int { return min(zstdLimit, max(zstd.MinWindowSize, 1<<bits.Len(uint(n)))) }

func readWindow(r io.ReaderAt, size, i, n int64) ([]byte, error) {
	from, to := bounds(size, i, n)
	b := make([]byte, to-from)
	_, err := io.ReadFull(io.NewSectionReader(r, from, to-from), b)
	return b, err
}
