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
	window = 64      // bytes that the hash depends on
	early  = 1 << 44 // a hash below ends a chunk of up to Average bytes: its 20 leading bits are zero
	late   = 1 << 48 // and of a longer one, 16
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
	var hash uint64
	for _, b := range data[Min-window : Min] {
		hash = hash<<1 + gear[b]
	}
	average := min(n, Average)
	hash, i := scan(data[Min:average], hash, early)
	if i > 0 {
		return Min + i
	}
	if _, i = scan(data[average:n], hash, late); i > 0 {
		return average + i
	}
	return n
}

// scan goes on with a hash, and gives how many bytes it takes to bring it below the limit, 0 if all of data does not. What
// four bytes add is summed up before the hash is: a processor then waits for the hash once in four bytes, and not for each.
func scan(data []byte, hash, limit uint64) (uint64, int) {
	i := 0
	for ; i < len(data)-3; i += 4 {
		one := gear[data[i]]
		two := one<<1 + gear[data[i+1]]
		three := two<<1 + gear[data[i+2]]
		four := three<<1 + gear[data[i+3]]
		if hash<<1+one < limit || hash<<2+two < limit || hash<<3+three < limit || hash<<4+four < limit {
			break
		}
		hash = hash<<4 + four
	}
	for ; i < len(data); i++ {
		hash = hash<<1 + gear[data[i]]
		if hash < limit {
			return hash, i + 1
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
	move  func(rest []byte) ([]byte, error) // gives the buffer to go on in, which begins with the rest
}

const readerBuffer = 4 * Max

// NewReader begins to cut src. It holds 4 MiB.
func NewReader(src io.Reader) *Reader {
	buf := make([]byte, readerBuffer)
	return &Reader{src: src, move: func(rest []byte) ([]byte, error) {
		copy(buf, rest)
		return buf, nil
	}}
}

// Next gives the next chunk, valid until the next call, or io.EOF after the last one.
func (r *Reader) Next() ([]byte, error) {
	data, err := r.window()
	if err != nil {
		return nil, err
	}
	return r.take(Cut(data)), nil
}

// window gives what the next chunk is cut from: Max bytes, or all that is left, or io.EOF.
func (r *Reader) window() ([]byte, error) {
	if r.end-r.start < Max && r.err == nil {
		r.fill()
	}
	if r.err != nil && r.err != io.EOF {
		return nil, r.err
	}
	if r.start == r.end {
		return nil, io.EOF
	}
	return r.buf[r.start:r.end], nil
}

// take gives the first n bytes of the window as a chunk.
func (r *Reader) take(n int) []byte {
	chunk := r.buf[r.start : r.start+n : r.start+n]
	r.start += n
	return chunk
}

// fill reads what the next cut needs, or until the stream has ended; no more, for what was just read is in a core's cache.
// Only io.EOF itself is an end: a stream that says io.ErrUnexpectedEOF was cut short.
func (r *Reader) fill() {
	if len(r.buf)-r.start < Max {
		rest := r.buf[r.start:r.end]
		if r.buf, r.err = r.move(rest); r.err != nil {
			return
		}
		r.start, r.end = 0, len(rest)
	}
	for r.err == nil && r.end-r.start < Max {
		var n int
		n, r.err = r.src.Read(r.buf[r.end : r.start+Max])
		r.end += n
	}
}
