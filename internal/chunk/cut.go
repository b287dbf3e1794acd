package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// Sizes of chunks, in bytes.
const (
	Min     = 64 << 10
	Average = 256 << 10
	Max     = 1 << 20
)

const (
	window    = 64 // bytes that the hash depends on
	maskEarly = 0xfffff00000000000
	maskLate  = 0xffff000000000000
)

// gear gives every byte value its part of the hash; see the package comment.
var gear = func() (table [256]uint64) {
	for i := range table {
		sum := sha256.Sum256(append([]byte("kitchen gear "), byte(i)))
		table[i] = binary.BigEndian.Uint64(sum[:])
	}
	return table
}()

// Cut gives the length of the first chunk of data: at most Max, and all of it when it has no more than Min bytes.
// The answer is final if data holds at least Max bytes, or all that is left.
func Cut(data []byte) int {
	n := min(len(data), Max)
	if n <= Min {
		return n
	}
	early := min(n, Average)
	hash, i := scan(data, Min-window, Min, early, 0, maskEarly)
	if i > 0 {
		return i
	}
	if _, i = scan(data, early, early, n, hash, maskLate); i > 0 {
		return i
	}
	return n
}

// scan hashes data[from:to] and gives the end of the first chunk at or after first+1, 0 for none.
func scan(data []byte, from, first, to int, hash, mask uint64) (uint64, int) {
	for _, b := range data[from:first] {
		hash = hash<<1 + gear[b]
	}
	for i, b := range data[first:to] {
		hash = hash<<1 + gear[b]
		if hash&mask == 0 {
			return hash, first + i + 1
		}
	}
	return hash, 0
}

// Reader cuts a stream.
type Reader struct {
	src   io.Reader
	buf   []byte
	start int // of what is not given out yet
	end   int // of what is read
	err   error
}

// NewReader begins to cut src. It holds 4 MiB.
func NewReader(src io.Reader) *Reader { return &Reader{src: src, buf: make([]byte, 4*Max)} }

// Next gives the next chunk, valid until the next call, or io.EOF after the last one.
func (r *Reader) Next() ([]byte, error) {
	if r.end-r.start < Max && r.err == nil {
		r.fill()
	}
	if r.err != nil && r.err != io.EOF {
		return nil, r.err
	}
	if r.start == r.end {
		return nil, io.EOF
	}
	n := Cut(r.buf[r.start:r.end])
	chunk := r.buf[r.start : r.start+n : r.start+n]
	r.start += n
	return chunk, nil
}

// fill reads until the buffer is full or the stream has ended. Only io.EOF itself is an end: a stream that says
// io.ErrUnexpectedEOF was cut short.
func (r *Reader) fill() {
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
	for r.err == nil && r.end < len(r.buf) {
		var n int
		n, r.err = r.src.Read(r.buf[r.end:])
		r.end += n
	}
}
