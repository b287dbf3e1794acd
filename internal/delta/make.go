package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// flushAt bounds what a segment's streams hold before the segment is written, segmentMost the bytes of new it makes.
const (
	flushAt     = 32 << 20
	segmentMost = 1 << 30
)

// Make writes the delta from old to new. It reads both once, in order.
func Make(ctx context.Context, w io.Writer, old, new io.ReaderAt, oldSize, newSize int64) error {
	return layout{oldSize, newSize, Window}.make(ctx, w, old, new)
}

func (l layout) make(ctx context.Context, w io.Writer, old, new io.ReaderAt) error {
	head := binary.BigEndian.AppendUint64([]byte(magic), uint64(l.old))
	if _, err := w.Write(binary.BigEndian.AppendUint64(head, uint64(l.new))); err != nil {
		return err
	}
	m := &maker{w: w}
	defer m.close()
	n := l.windows()
	window := make([]byte, (l.old+n-1)/n)
	buf := make([]byte, min(block, l.new))
	for i := range n {
		from, to := bounds(l.old, i, n)
		at, end := bounds(l.new, i, n)
		if at == end {
			continue
		}
		m.reset(window[:to-from])
		if err := read(ctx, old, m.old, from, m.add); err != nil {
			return err
		}
		if err := m.window(ctx, new, at, end, buf); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// maker holds what making needs from window to window.
type maker struct {
	matcher
	w       io.Writer
	streams [streams]*stream
	model   model
	made    int // bytes of new in the segment, before the block at hand
	last    int // where the last operation ended in old
	gap     int // bytes of pieces since the last field
}

func (m *maker) close() {
	for _, s := range m.streams {
		if s != nil {
			s.z.Close()
		}
	}
}

// window makes the segments of new from at to end.
func (m *maker) window(ctx context.Context, new io.ReaderAt, at, end int64, buf []byte) error {
	on := 0
	for at < end {
		if err := m.begin(end - at); err != nil {
			return err
		}
		for at < end && m.size() < flushAt && m.made < segmentMost {
			b := buf[:min(int64(len(buf)), end-at)]
			if err := read(ctx, new, b, at, func(int) {}); err != nil {
				return err
			}
			on = m.match(b, on, func(at int, o op) { m.step(b, at, o) })
			at += int64(len(b))
			m.made += len(b)
		}
		if err := m.end(); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) begin(left int64) error {
	for i := range m.streams {
		if m.streams[i] == nil {
			s, err := newStream(i, left)
			if err != nil {
				return err
			}
			m.streams[i] = s
		}
		m.streams[i].reset()
	}
	m.model, m.made, m.last, m.gap = model{}, 0, 0, 0
	return nil
}

// end writes the segment.
func (m *maker) end() error {
	m.put(gaps, uint64(m.gap))
	head := binary.BigEndian.AppendUint32(nil, uint32(m.made))
	for _, s := range m.streams {
		if err := s.flush(); err != nil {
			return err
		}
		if err := s.z.Close(); err != nil {
			return err
		}
		head = binary.BigEndian.AppendUint32(head, uint32(s.out.Len()))
	}
	if _, err := m.w.Write(head); err != nil {
		return err
	}
	for _, s := range m.streams {
		if _, err := m.w.Write(s.out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) size() (n int) {
	for _, s := range m.streams {
		n += s.size
	}
	return n
}

// put appends a varint to a stream.
func (m *maker) put(stream int, v uint64) {
	m.streams[stream].raw = binary.AppendUvarint(m.streams[stream].raw, v)
}

// step stores one operation on the block new.
func (m *maker) step(new []byte, at int, o op) {
	for ; o.literals > maxLiterals; o.literals -= maxLiterals {
		m.operation(new[at:at+maxLiterals], at, 0, m.last)
		at += maxLiterals
	}
	m.operation(new[at:at+o.literals], at, o.length, o.pos)
	at += o.literals
	m.piece(m.old[o.pos:o.pos+o.length], new[at:at+o.length], uint32(m.made+at-o.pos), o.pos)
	m.last = o.pos + o.length
	for _, s := range m.streams {
		if len(s.raw) >= maxLiterals {
			s.flush() // its error is kept until Close
		}
	}
}

func (m *maker) operation(lit []byte, at, length, pos int) {
	m.put(operations, uint64(len(lit)))
	m.put(operations, uint64(length))
	s := m.streams[operations]
	s.raw = binary.AppendVarint(s.raw, int64(pos-m.last))
	s = m.streams[literals]
	s.raw = append(s.raw, lit...)
	branches(s.raw[len(s.raw)-len(lit):], m.made+at, 1)
	m.last = pos
}

// piece stores the fields in which new differs from old.
func (m *maker) piece(old, new []byte, distance uint32, pos int) {
	new = new[:len(old)]
	from := 0 // where the last field ended
	for i := 0; i < len(old); {
		if i+8 <= len(old) {
			diff := binary.LittleEndian.Uint64(old[i:]) ^ binary.LittleEndian.Uint64(new[i:])
			if diff == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(diff) / 8
		} else if old[i] == new[i] {
			i++
			continue
		}
		m.put(gaps, uint64(m.gap+i-from))
		m.gap = 0
		m.field(word(old[i:]), word(new[i:]), distance, pos+i)
		i = min(i+4, len(old))
		from = i
	}
	m.gap += len(old) - from
}

func (m *maker) field(old, new, distance uint32, pos int) {
	add := new - old
	guess, shift := m.model.predict(old, pos, distance)
	*shift = add + distance
	kind := byte(stated)
	switch {
	case add == guess:
		kind = predicted
	case add == m.model.last:
		kind = repeated
	default:
		for i := range 4 {
			s := m.streams[differences+i]
			s.raw = append(s.raw, byte(add>>(8*i)))
		}
		m.model.last = add
	}
	m.streams[kinds].raw = append(m.streams[kinds].raw, kind)
}

// stream is one of a segment, compressed as it grows.
type stream struct {
	raw  []byte // not yet compressed
	out  bytes.Buffer
	z    *zstd.Encoder
	size int // bytes compressed
}

// newStream makes the stream of a number, for up to left bytes of new.
func newStream(i int, left int64) (*stream, error) {
	level, most, atOnce := zstd.SpeedBetterCompression, streamWindow, 1
	if i == literals { // worth the effort, beside the search
		level, most, atOnce = zstd.SpeedBetterCompression, literalsWindow, 2
	}
	if left < streamWindow {
		level = zstd.SpeedDefault // the tables of the others would cost more than all else
	}
	window := zstd.MinWindowSize
	for int64(window) < left && window < most {
		window *= 2
	}
	s := &stream{}
	z, err := zstd.NewWriter(&s.out, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(atOnce), zstd.WithWindowSize(window))
	s.z = z
	return s, err
}

func (s *stream) reset() {
	s.out.Reset()
	s.z.Reset(&s.out)
	s.raw, s.size = s.raw[:0], 0
}

func (s *stream) flush() error {
	_, err := s.z.Write(s.raw)
	s.size += len(s.raw)
	s.raw = s.raw[:0]
	return err
}
