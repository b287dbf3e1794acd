package delta

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Apply makes the new string out of the old one and writes it to w. The delta may be hostile: it takes no more
// memory than one window of old and the windows of three streams, writes no more than newSize bytes, and ends. What it
// writes is not verified; the caller checks every byte of it. Errors in the delta are *Error.
func Apply(w io.Writer, old io.ReaderAt, oldSize int64, delta io.ReaderAt, deltaSize, newSize int64) error {
	n := parts(oldSize, newSize)
	sections, err := open(delta, deltaSize, oldSize, newSize, n)
	if err != nil {
		return err
	}
	for i := range n {
		window, err := readWindow(old, oldSize, i, n)
		if err != nil {
			return err
		}
		from, to := bounds(newSize, i, n)
		if err := applyWindow(w, window, sections[i], to-from); err != nil {
			return err
		}
	}
	return nil
}

// open reads the header and finds the streams of n windows.
func open(delta io.ReaderAt, size, oldSize, newSize, n int64) ([][streams]*io.SectionReader, error) {
	offset := int64(header) + n*4*streams
	if n > maxParts || offset > size {
		return nil, bad("%d bytes are too short for %d windows", size, n)
	}
	head := make([]byte, offset)
	if _, err := io.ReadFull(io.NewSectionReader(delta, 0, size), head); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, bad("it does not begin as a delta of version 1 does")
	}
	if o, t := binary.BigEndian.Uint64(head[len(magic):]), binary.BigEndian.Uint64(head[len(magic)+8:]); o != uint64(oldSize) || t != uint64(newSize) {
		return nil, bad("it is from %d to %d bytes, asked for is %d to %d", o, t, oldSize, newSize)
	}
	sections := make([][streams]*io.SectionReader, n)
	for i := range sections {
		for j := range sections[i] {
			length := int64(binary.BigEndian.Uint32(head[header+(i*streams+j)*4:]))
			if length > size-offset {
				return nil, bad("stream %d of window %d reaches beyond its end", j, i)
			}
			sections[i][j] = io.NewSectionReader(delta, offset, length)
			offset += length
		}
	}
	if offset != size {
		return nil, bad("%d bytes follow its last stream", size-offset)
	}
	return sections, nil
}

func applyWindow(w io.Writer, old []byte, sections [streams]*io.SectionReader, left int64) error {
	var in [streams]*bufio.Reader
	for i := range in {
		z, err := zstd.NewReader(sections[i], zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdLimit), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer z.Close()
		in[i] = bufio.NewReaderSize(z, 64<<10)
	}
	buf := make([]byte, 64<<10)
	pos := int64(0)
	for left > 0 {
		literals, err := binary.ReadUvarint(in[0])
		length, err2 := binary.ReadUvarint(in[0])
		move, err3 := binary.ReadVarint(in[0])
		if err := errors.Join(err, err2, err3); err != nil {
			return bad("its operations end early: %v", err)
		}
		if literals > uint64(left) || length > uint64(left)-literals || literals+length == 0 {
			return bad("an operation of %d literals and %d bytes, where %d are left", literals, length, left)
		}
		pos += move
		if pos < 0 || pos > int64(len(old)) || length > uint64(int64(len(old))-pos) {
			return bad("an operation reaches outside of the old window")
		}
		if err := add(w, nil, int64(literals), in[2], buf); err != nil {
			return err
		}
		if err := add(w, old[pos:pos+int64(length)], int64(length), in[1], buf); err != nil {
			return err
		}
		pos += int64(length)
		left -= int64(literals + length)
	}
	for i, r := range in {
		if _, err := r.ReadByte(); err != io.EOF {
			return bad("stream %d goes on after the last operation (%v)", i, err)
		}
	}
	return nil
}

// add writes n bytes of a stream, each added to that of old; nil stands for zeros.
func add(w io.Writer, old []byte, n int64, stream io.Reader, buf []byte) error {
	for n > 0 {
		b := buf[:min(int64(len(buf)), n)]
		if _, err := io.ReadFull(stream, b); err != nil {
			return bad("a stream ends early: %v", err)
		}
		for i, o := range old[:min(len(b), len(old))] {
			b[i] += o
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		old, n = old[min(len(b), len(old)):], n-int64(len(b))
	}
	return nil
}
