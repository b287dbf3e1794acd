package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Limits of an index and of what it describes.
const (
	MaxIndex   = 64 << 20           // bytes of an index
	MaxFrame   = Max + frameSlack   // bytes of one chunk as stored
	MaxChunks  = MaxIndex/entry - 1 // chunks of one artifact: 400 GiB at the average size
	entry      = sha256.Size + 8
	frameSlack = 64 << 10
)

const magic = "kitchen\x01"

// Chunk is one piece of an artifact.
type Chunk struct {
	SHA256 [sha256.Size]byte // of its raw bytes
	Raw    int               // bytes, 1 to Max; more than Min, but for the last one
	Stored int               // bytes of its frame, 1 to MaxFrame
}

// Index describes an object: its chunks in their order.
type Index []Chunk

// Error says what is wrong with an index or a frame.
type Error struct{ What, Reason string }

func (e *Error) Error() string { return e.What + ": " + e.Reason }

// Sizes adds up the raw and the stored bytes.
func (x Index) Sizes() (raw, stored int64) {
	for _, c := range x {
		raw += int64(c.Raw)
		stored += int64(c.Stored)
	}
	return raw, stored
}

// Encode gives the bytes of the index.
func (x Index) Encode() ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(magic)+4+len(x)*entry)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(x)))
	for _, c := range x {
		b = append(b, c.SHA256[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(c.Raw))
		b = binary.BigEndian.AppendUint32(b, uint32(c.Stored))
	}
	return b, nil
}

// ParseIndex reads an index of at most MaxIndex bytes. It takes no memory before the length of b has shown that
// the entries are there. The error is an *Error.
func ParseIndex(b []byte) (Index, error) {
	const head = len(magic) + 4
	switch {
	case len(b) > MaxIndex:
		return nil, bad("%d bytes, more than the %d that are taken", len(b), MaxIndex)
	case len(b) < head || !bytes.HasPrefix(b, []byte(magic)):
		return nil, bad("it does not begin as an index of version 1 does")
	}
	n := binary.BigEndian.Uint32(b[len(magic):])
	if n > math.MaxInt32 || int(n)*entry != len(b)-head {
		return nil, bad("%d chunks are announced, %d bytes follow, %d a chunk", n, len(b)-head, entry)
	}
	x := make(Index, n)
	for i := range x {
		e := b[head+i*entry:]
		copy(x[i].SHA256[:], e)
		x[i].Raw = int(binary.BigEndian.Uint32(e[sha256.Size:]))
		x[i].Stored = int(binary.BigEndian.Uint32(e[sha256.Size+4:]))
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	return x, nil
}

// ByDigest gives the positions of the chunks in the order of their digests, those of one digest ascending. A map would take ten
// times the memory.
func (x Index) ByDigest() []int32 {
	order := make([]int32, len(x))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		if c := bytes.Compare(x[i].SHA256[:], x[j].SHA256[:]); c != 0 {
			return c
		}
		return int(i - j)
	})
	return order
}

// Find tells where in the order by digest the positions of one digest begin, and whether there are any.
func (x Index) Find(order []int32, sha [sha256.Size]byte) (from int, found bool) {
	return slices.BinarySearchFunc(order, sha, func(i int32, sha [sha256.Size]byte) int {
		return bytes.Compare(x[i].SHA256[:], sha[:])
	})
}

func (x Index) check() error {
	if len(x) > MaxChunks {
		return bad("%d chunks, more than the %d that one artifact may have", len(x), MaxChunks)
	}
	for i, c := range x {
		if c.Raw < 1 || c.Raw > Max || c.Stored < 1 || c.Stored > MaxFrame {
			return bad("chunk %d has %d bytes, stored as %d", i, c.Raw, c.Stored)
		}
		if c.Raw <= Min && i < len(x)-1 { // millions of tiny ones would cost all who read them time and memory
			return bad("chunk %d has %d bytes, and only the last one may have %d or fewer", i, c.Raw, Min)
		}
	}
	return nil
}

func bad(format string, args ...any) error {
	return &Error{What: "chunk index", Reason: fmt.Sprintf(format, args...)}
}
