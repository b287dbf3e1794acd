package delta

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Apply makes the new string out of the old one and writes it to w. The delta may be hostile: it takes no more
// memory than one window of old and the windows of the streams, writes no more than newSize bytes, and ends. What it
// writes is not verified; the caller checks every byte of it. Errors in the delta are *Error.
func Apply(ctx context.Context, w io.Writer, old io.ReaderAt, oldSize int64, delta io.ReaderAt, deltaSize, newSize int64) error {
	return layout{oldSize, newSize, Window}.apply(ctx, w, old, delta, deltaSize)
}

func (l layout) apply(ctx context.Context, w io.Writer, old, delta io.ReaderAt, size int64) error {
	head := make([]byte, header)
	d := &sections{delta, 0, size}
	if err := d.read(head); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic {
		return bad("it does not begin as a delta of version 1 does")
	}
	if o, t := binary.BigEndian.Uint64(head[len(magic):]), binary.BigEndian.Uint64(head[len(magic)+8:]); o != uint64(l.old) || t != uint64(l.new) {
		return bad("it is from %d to %d bytes, asked for is %d to %d", o, t, l.old, l.new)
	}
	a, err := newApplier(ctx, w)
	if err != nil {
		return err
	}
	defer a.close()
	n := l.windows()
	var window []byte
	for i := range n {
		at, end := bounds(l.new, i, n)
		if at == end {
			continue
		}
		if window == nil {
			window = make([]byte, (l.old+n-1)/n)
		}
		from, to := bounds(l.old, i, n)
		a.old = window[:to-from]
		if err := read(ctx, old, a.old, from, func(int) {}); err != nil {
			return err
		}
		for at < end {
			made, err := a.segment(d, end-at)
			if err != nil {
				return err
			}
			at += made
		}
	}
	if d.offset != size {
		return bad("%d bytes follow its last segment", size-d.offset)
	}
	return ctx.Err()
}

// sections cuts the delta, from its beginning to its end.
type sections struct {
	r            io.ReaderAt
	offset, size int64
}

func (s *sections) next(n int64) (*io.SectionReader, error) {
	if n > s.size-s.offset {
		return nil, bad("%d bytes are wanted at %d, it has %d", n, s.offset, s.size)
	}
	s.offset += n
	return io.NewSectionReader(s.r, s.offset-n, n), nil
}

func (s *sections) read(b []byte) error {
	r, err := s.next(int64(len(b)))
	if err == nil {
		_, err = io.ReadFull(r, b)
	}
	return err
}

// applier holds what applying needs from segment to segment.
type applier struct {
	ctx   context.Context
	w     io.Writer
	old   []byte
	z     [streams]*zstd.Decoder
	in    [streams]*bufio.Reader
	model model
	out   []byte // not yet written
	made  int64  // bytes of the segment
	gap   uint64 // bytes of pieces before the next field
}

func newApplier(ctx context.Context, w io.Writer) (*applier, error) {
	a := &applier{ctx: ctx, w: w, out: make([]byte, 0, 2*maxLiterals)}
	for i := range a.z {
		window := uint64(streamWindow)
		if i == literals {
			window = literalsWindow
		}
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
		if err != nil {
			a.close()
			return nil, err
		}
		a.z[i], a.in[i] = z, bufio.NewReaderSize(z, 32<<10)
	}
	return a, nil
}

func (a *applier) close() {
	for _, z := range a.z {
		if z != nil {
			z.Close()
		}
	}
}

// segment applies the next one, which may make up to left bytes, and says how many it made.
func (a *applier) segment(d *sections, left int64) (int64, error) {
	head := make([]byte, segmentHead)
	if err := d.read(head); err != nil {
		return 0, err
	}
	size := int64(binary.BigEndian.Uint32(head))
	if size == 0 || size > left {
		return 0, bad("a segment of %d bytes, where %d are left in its window", size, left)
	}
	for i := range a.in {
		r, err := d.next(int64(binary.BigEndian.Uint32(head[4+4*i:])))
		if err != nil {
			return 0, err
		}
		if err := a.z[i].Reset(r); err != nil {
			return 0, bad("stream %d: %v", i, err)
		}
		a.in[i].Reset(a.z[i])
	}
	a.model, a.made = model{}, 0
	if err := a.nextGap(); err != nil {
		return 0, err
	}
	if err := a.operations(size); err != nil {
		return 0, err
	}
	if a.gap != 0 {
		return 0, bad("a field lies beyond the last operation")
	}
	for i, r := range a.in {
		if _, err := r.ReadByte(); err != io.EOF {
			return 0, bad("stream %d goes on after the last operation (%v)", i, err)
		}
	}
	return size, a.flush()
}

func (a *applier) nextGap() (err error) {
	if a.gap, err = binary.ReadUvarint(a.in[gaps]); err != nil {
		return bad("its gaps end early: %v", err)
	}
	return nil
}

func (a *applier) operations(size int64) error {
	pos := int64(0)
	for a.made < size {
		lit, err := binary.ReadUvarint(a.in[operations])
		length, err2 := binary.ReadUvarint(a.in[operations])
		move, err3 := binary.ReadVarint(a.in[operations])
		if err := errors.Join(err, err2, err3); err != nil {
			return bad("its operations end early: %v", err)
		}
		if left := uint64(size - a.made); lit > min(left, maxLiterals) || length > left-lit || lit+length == 0 {
			return bad("an operation of %d literals and %d bytes, where %d are left", lit, length, left)
		}
		pos += move
		if pos < 0 || pos > int64(len(a.old)) || length > uint64(int64(len(a.old))-pos) {
			return bad("an operation reaches outside of the old window")
		}
		if err := a.literals(int(lit)); err != nil {
			return err
		}
		if err := a.piece(int(pos), int(length)); err != nil {
			return err
		}
		pos += int64(length)
	}
	return nil
}

func (a *applier) literals(n int) error {
	if err := a.room(n); err != nil {
		return err
	}
	b := a.out[len(a.out) : len(a.out)+n]
	if _, err := io.ReadFull(a.in[literals], b); err != nil {
		return bad("its literals end early: %v", err)
	}
	branches(b, int(a.made), -1)
	a.out = a.out[:len(a.out)+n]
	a.made += int64(n)
	return nil
}

// piece takes n bytes of old at pos, and changes the fields in them.
func (a *applier) piece(pos, n int) error {
	for n > 0 {
		same := int(min(uint64(n), a.gap))
		if err := a.copy(a.old[pos : pos+same]); err != nil {
			return err
		}
		a.gap -= uint64(same)
		pos, n = pos+same, n-same
		if n == 0 {
			break
		}
		size := min(4, n)
		if err := a.field(a.old[pos:pos+size], pos); err != nil {
			return err
		}
		pos, n = pos+size, n-size
	}
	return nil
}

func (a *applier) field(b []byte, pos int) error {
	old, distance := word(b), uint32(a.made)-uint32(pos)
	add, shift := a.model.predict(old, pos, distance)
	kind, err := a.in[kinds].ReadByte()
	if err != nil || kind > stated {
		return bad("kind %d of a field, or none (%v)", kind, err)
	}
	switch kind {
	case repeated:
		add = a.model.last
	case stated:
		add = 0
		for i := range 4 {
			c, err := a.in[differences+i].ReadByte()
			if err != nil {
				return bad("its differences end early: %v", err)
			}
			add |= uint32(c) << (8 * i)
		}
		a.model.last = add
	}
	*shift = add + distance
	var field [4]byte
	binary.LittleEndian.PutUint32(field[:], old+add)
	if err := a.copy(field[:len(b)]); err != nil {
		return err
	}
	return a.nextGap()
}

// copy makes so many bytes of the segment.
func (a *applier) copy(b []byte) error {
	a.made += int64(len(b))
	for len(b) > 0 {
		n := min(len(b), maxLiterals)
		if err := a.room(n); err != nil {
			return err
		}
		a.out = append(a.out, b[:n]...)
		b = b[n:]
	}
	return nil
}

// room makes room for up to maxLiterals bytes.
func (a *applier) room(n int) error {
	if len(a.out)+n <= cap(a.out) {
		return nil
	}
	return a.flush()
}

func (a *applier) flush() error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	_, err := a.w.Write(a.out)
	a.out = a.out[:0]
	return err
}
