package chunk

import (
	"bytes"
	"slices"
	"testing"
)

func TestAnObjectTellsHowLongItsFramesAre(t *testing.T) {
	data := slices.Concat(noise(1, 3<<20), make([]byte, 3<<20), bytes.Repeat([]byte("a few words "), 1<<18))
	object, index := pack(t, codec(t), data)
	lengths, err := FrameLengths(bytes.NewReader(object), int64(len(index)))
	if err != nil || !slices.EqualFunc(lengths, index, func(a, b Chunk) bool { return a.Stored == b.Stored }) {
		t.Errorf("%d frames, want %d, %v", len(lengths), len(index), err)
	}
	for _, bad := range [][]byte{object[:len(object)-1], object[1:], bytes.Repeat(object[:9], 1000)} {
		if _, err := FrameLengths(bytes.NewReader(bad), int64(len(index))); err == nil {
			t.Error("taken")
		}
	}
}
