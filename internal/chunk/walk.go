package chunk

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/zstd"
)

// FrameLengths reads an object of at most that many frames and gives, for Options.Like, an index of nothing but how long its
// frames are: what is left to know once the index is lost. The error is an *Error, or that of the reader.
func FrameLengths(object io.Reader, most int64) (x Index, err error) {
	in := bufio.NewReaderSize(object, maxBlock)
	for {
		head, err := in.Peek(zstd.HeaderMaxSize)
		if len(head) == 0 && err == io.EOF {
			return x, nil
		}
		var h zstd.Header
		if err := h.Decode(head); err != nil || h.Skippable || int64(len(x)) >= most {
			return nil, &Error{"object", "it is not made of the frames of chunks"}
		}
		n, err := in.Discard(h.HeaderSize)
		for last := false; !last && err == nil; {
			block := make([]byte, 3)
			if _, err = io.ReadFull(in, block); err != nil {
				break
			}
			var length int
			length, last = blockHeader(block)
			_, err = in.Discard(length)
			n += len(block) + length
		}
		if err != nil {
			return nil, err
		}
		if h.HasCheckSum {
			n += 4
			if _, err := in.Discard(4); err != nil {
				return nil, err
			}
		}
		x = append(x, Chunk{Stored: n})
	}
}
