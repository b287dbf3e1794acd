package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Codec makes frames out of chunks, and chunks out of frames. It may be used by many at once.
type Codec struct {
	first   *zstd.Encoder
	second  *zstd.Encoder // for what the first compressed, but poorly; nil: the first has the last word
	decoder *zstd.Decoder
}

// NewCodec makes a codec that compresses at a level of the library. At zstd.SpeedDefault the fastest level goes first,
// and the default one over what that leaves between 62 and 70 %, where it gains most for its work (on images of
// operating systems: together somewhat less than 12 % more than zstd -3); see EncodeHarder for the whole of it.
func NewCodec(level zstd.EncoderLevel, parallel int) (*Codec, error) {
	c := &Codec{}
	var err error
	if c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(parallel), zstd.WithDecoderMaxMemory(Max), zstd.WithDecoderMaxWindow(Max)); err != nil {
		return nil, err
	}
	if level != zstd.SpeedDefault {
		c.first, err = newEncoder(level, parallel)
		return c, err
	}
	if c.first, err = newEncoder(zstd.SpeedFastest, parallel); err != nil {
		return nil, err
	}
	c.second, err = newEncoder(zstd.SpeedDefault, parallel)
	return c, err
}

func newEncoder(level zstd.EncoderLevel, parallel int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithEncoderConcurrency(parallel), zstd.WithWindowSize(Max))
}

// Encode appends the frame of a chunk to dst. What compression does not make smaller becomes a raw frame; the fastest
// level finds that out at about 2 GB a CPU second, so that nothing else need probe.
func (c *Codec) Encode(dst, raw []byte) []byte {
	if isZero(raw) {
		return appendFrame(dst, raw, blockRLE)
	}
	start := len(dst)
	dst = c.first.EncodeAll(raw, dst)
	if n := len(dst) - start; c.second != nil && n > len(raw)/50*31 && n < len(raw)/50*35 {
		dst = c.second.EncodeAll(raw, dst[:start])
	}
	return orRaw(dst, start, raw)
}

// EncodeHarder is Encode with the second level for all that compresses, where the codec has one.
func (c *Codec) EncodeHarder(dst, raw []byte) []byte {
	if c.second == nil || isZero(raw) {
		return c.Encode(dst, raw)
	}
	return orRaw(c.second.EncodeAll(raw, dst), len(dst), raw)
}

// orRaw is dst, or a raw frame in the place of what begins at start and is not smaller than the raw bytes.
func orRaw(dst []byte, start int, raw []byte) []byte {
	if len(dst)-start >= len(raw) {
		return appendFrame(dst[:start], raw, blockRaw)
	}
	return dst
}

// DecodeRoom is the capacity that a buffer for one chunk takes: the chunk, and behind its last block the room with which
// the decoder takes its quicker way.
const (
	DecodeRoom  = Max + decodeSlack
	decodeSlack = maxBlock + 64
)

// Decode appends the raw bytes of a chunk to dst once they are what the index says of them; the error is an *Error.
func (c *Codec) Decode(dst, frame []byte, want Chunk) ([]byte, error) {
	if len(frame) != want.Stored {
		return nil, &Error{"chunk", fmt.Sprintf("a frame of %d bytes, the index says %d", len(frame), want.Stored)}
	}
	if len(frame) > rawFrame(want.Raw) || !isOneFrame(frame) { // zstd passes over what says nothing, and joins what follows each other
		return nil, &Error{"chunk", "it is not stored as one zstd frame, no longer than it need be"}
	}
	start := len(dst)
	dst = slices.Grow(dst, want.Raw+decodeSlack)
	out, err := c.decoder.DecodeAll(frame, dst[start:start:cap(dst)])
	if err != nil {
		return nil, &Error{"chunk", "its frame is no zstd: " + err.Error()}
	}
	if err := want.Check(out); err != nil {
		return nil, err
	}
	return dst[:start+len(out)], nil // what has the right length had room: it lies there already
}

// rawFrame is the length of the frame of raw blocks of so many bytes: no other that Encode makes is longer.
func rawFrame(raw int) int { return 9 + raw + 3*((raw+maxBlock-1)/maxBlock) }

// isOneFrame tells whether bytes are one zstd frame and nothing else (RFC 8878 §3.1.1).
func isOneFrame(b []byte) bool {
	var h zstd.Header
	if h.Decode(b[:min(len(b), zstd.HeaderMaxSize)]) != nil || h.Skippable {
		return false
	}
	at := h.HeaderSize
	for last := false; !last; {
		if at+3 > len(b) {
			return false
		}
		var length int
		if length, last = blockHeader(b[at:]); length == 0 {
			return false // a block of nothing
		}
		at += 3 + length
	}
	if h.HasCheckSum {
		at += 4
	}
	return at == len(b)
}

// blockHeader reads the three bytes before a block: how many follow, and whether the block is its frame's last.
func blockHeader(b []byte) (length int, last bool) {
	header := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	length = header >> 3
	if header>>1&3 == blockRLE {
		length = 1
	}
	return length, header&1 == 1
}

// Check compares raw bytes with what the index says of them. The error is an *Error.
func (c Chunk) Check(raw []byte) error {
	if len(raw) != c.Raw {
		return &Error{"chunk", fmt.Sprintf("%d bytes, the index says %d", len(raw), c.Raw)}
	}
	if got := sha256.Sum256(raw); got != c.SHA256 {
		return &Error{"chunk", fmt.Sprintf("sha256 %x, the index says %x", got, c.SHA256)}
	}
	return nil
}

// The types of a block, RFC 8878 §3.1.1.2.2.
const (
	blockRaw = 0
	blockRLE = 1
	maxBlock = 128 << 10
)

// appendFrame writes a frame of raw blocks, or of blocks that repeat the first byte: a single segment whose
// content size has four bytes (RFC 8878 §3.1.1.1).
func appendFrame(dst, raw []byte, blocks uint32) []byte {
	const singleSegment4 = 2<<6 | 1<<5
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd, singleSegment4)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(raw)))
	for first := true; first || len(raw) > 0; first = false {
		n := min(len(raw), maxBlock)
		header := uint32(n)<<3 | blocks<<1
		if n == len(raw) {
			header |= 1
		}
		dst = append(dst, byte(header), byte(header>>8), byte(header>>16))
		if blocks == blockRLE {
			dst = append(dst, raw[0])
		} else {
			dst = append(dst, raw[:n]...)
		}
		raw = raw[n:]
	}
	return dst
}

// Sum is SHA-256, at once for what images with holes have most of.
func Sum(raw []byte) [sha256.Size]byte {
	if len(raw) == Max && isZero(raw) {
		return longestZeros()
	}
	return sha256.Sum256(raw)
}

// longestZeros is the digest of the chunk that a long hole is cut into.
var longestZeros = sync.OnceValue(func() [sha256.Size]byte { return sha256.Sum256(zeros[:]) })

var zeros [Max]byte

func isZero(b []byte) bool {
	return len(b) > 0 && len(b) <= Max && b[0] == 0 && bytes.Equal(b, zeros[:len(b)])
}
