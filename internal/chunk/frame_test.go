package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func codec(t testing.TB) *Codec {
	t.Helper()
	c, err := NewCodec(zstd.SpeedDefault, 2)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pack makes the object and the index of data.
func pack(t testing.TB, c *Codec, data []byte) ([]byte, Index) {
	t.Helper()
	var object []byte
	var index Index
	r := NewReader(bytes.NewReader(data))
	for raw, err := r.Next(); err == nil; raw, err = r.Next() {
		start := len(object)
		object = c.Encode(object, raw)
		index = append(index, Chunk{SHA256: sha256.Sum256(raw), Raw: len(raw), Stored: len(object) - start})
	}
	return object, index
}

func TestAnObjectIsAZstdFile(t *testing.T) {
	c := codec(t)
	data := slices.Concat(noise(1, 3<<20), make([]byte, 5<<20), bytes.Repeat([]byte("text "), 1<<20), []byte("x"))
	object, index := pack(t, c, data)
	d, err := zstd.NewReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(d); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("a stock decoder gives %d bytes, %v", out.Len(), err)
	}
	raw, stored := index.Sizes()
	if raw != int64(len(data)) || stored != int64(len(object)) {
		t.Errorf("sizes %d, %d", raw, stored)
	}
	var again []byte
	for _, want := range index {
		if again, err = c.Decode(again, object[:want.Stored], want); err != nil {
			t.Fatal(err)
		}
		object = object[want.Stored:]
	}
	if !bytes.Equal(again, data) {
		t.Error("chunk by chunk it is something else")
	}
}

func TestZeroChunksCostNothing(t *testing.T) {
	object, index := pack(t, codec(t), make([]byte, 64<<20))
	if len(object) > 64*64 || len(index) != 64 {
		t.Errorf("64 MiB of zeros take %d bytes in %d chunks", len(object), len(index))
	}
}

func TestNoiseGrowsByItsHeadersOnly(t *testing.T) {
	c := codec(t)
	object, index := pack(t, c, noise(2, 8<<20))
	if more := len(object) - 8<<20; more > 64*len(index) {
		t.Errorf("%d bytes more for %d chunks", more, len(index))
	}
	raw := noise(3, Max)
	frame := appendFrame(nil, raw, blockRaw)
	if _, err := c.Decode(nil, frame, Chunk{sha256.Sum256(raw), len(raw), len(frame)}); err != nil || len(frame) > MaxFrame {
		t.Error(len(frame), err)
	}
}

func TestFramesThatAreNotWhatTheIndexSays(t *testing.T) {
	c := codec(t)
	raw := bytes.Repeat([]byte("abc"), 1000)
	frame := c.Encode(nil, raw)
	good := Chunk{sha256.Sum256(raw), len(raw), len(frame)}
	padded := func(parts ...[]byte) struct {
		frame []byte
		want  Chunk
	} {
		all := slices.Concat(parts...)
		return struct {
			frame []byte
			want  Chunk
		}{all, Chunk{good.SHA256, good.Raw, len(all)}}
	}
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 'x', 'x', 'x', 'x', 'x'}
	var head zstd.Header
	if err := head.Decode(frame); err != nil {
		t.Fatal(err)
	}
	long := slices.Concat(appendFrame(nil, []byte("seven b"), blockRaw), nil)
	long = slices.Concat(long[:9], []byte{3 << 3, 0, 0}, long[12:15], []byte{4<<3 | 1, 0, 0}, long[15:]) // in two blocks
	bomb := c.Encode(nil, make([]byte, Max))
	bomb = append(bomb, bomb...)
	for name, v := range map[string]struct {
		frame []byte
		want  Chunk
	}{
		"too short":         {frame[:len(frame)-1], good},
		"cut short":         {frame[:len(frame)-1], Chunk{good.SHA256, good.Raw, len(frame) - 1}},
		"too long":          {append(slices.Clone(frame), 0), good},
		"another digest":    {frame, Chunk{sha256.Sum256(nil), good.Raw, good.Stored}},
		"another length":    {frame, Chunk{good.SHA256, good.Raw + 1, good.Stored}},
		"not zstd":          {make([]byte, 40), Chunk{good.SHA256, good.Raw, 40}},
		"empty":             {nil, Chunk{good.SHA256, good.Raw, 0}},
		"two frames, a lot": {bomb, Chunk{good.SHA256, good.Raw, len(bomb)}},
		"skippable before":  padded(skippable, frame),
		"skippable behind":  padded(frame, skippable),
		"two frames":        padded(c.Encode(nil, raw[:1000]), c.Encode(nil, raw[1000:])),
		"empty blocks":      padded(frame[:head.HeaderSize], make([]byte, 30), frame[head.HeaderSize:]),
		"longer than raw":   {long, Chunk{sha256.Sum256([]byte("seven b")), 7, len(long)}},
	} {
		var e *Error
		if out, err := c.Decode(nil, v.frame, v.want); !errors.As(err, &e) || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

func TestIndexThatLies(t *testing.T) {
	good, err := Index{{sha256.Sum256(nil), Max, 6}, {sha256.Sum256([]byte("x")), 5, 7}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	const first = len(magic) + 4 + sha256.Size
	for name, b := range map[string][]byte{
		"empty":                  nil,
		"another version":        change(7, 2),
		"fewer entries":          good[:len(good)-entry],
		"half an entry":          good[:len(good)-1],
		"more bytes":             append(slices.Clone(good), 0),
		"four billion chunks":    change(8, 0xff, 0xff, 0xff, 0xff),
		"an empty chunk":         change(first, 0, 0, 0, 0),
		"a chunk beyond Max":     change(first, 0, 16, 0, 1),
		"a negative chunk":       change(first, 0xff, 0xff, 0xff, 0xff),
		"an empty frame":         change(first+4, 0, 0, 0, 0),
		"a frame beyond its max": change(first+4, 0x7f, 0xff, 0xff, 0xff),
	} {
		var e *Error
		if x, err := ParseIndex(b); !errors.As(err, &e) || x != nil {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	good, err := Index{{sha256.Sum256(nil), 5, 6}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(magic + "\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseIndex(b)
		if err != nil {
			return
		}
		if again, err := x.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x, %v", b, again, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	c := codec(f)
	raw := []byte("some content")
	frame := c.Encode(nil, raw)
	f.Add(frame)
	f.Add(appendFrame(nil, raw, blockRaw))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if out, err := c.Decode(nil, frame, Chunk{sha256.Sum256(raw), len(raw), len(frame)}); err == nil && !bytes.Equal(out, raw) {
			t.Fatalf("%q", out)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for name, level := range map[string]zstd.EncoderLevel{"fastest": zstd.SpeedFastest, "default": zstd.SpeedDefault} {
		b.Run(name, func(b *testing.B) {
			c, err := NewCodec(level, 1)
			if err != nil {
				b.Fatal(err)
			}
			data := bytes.Repeat(noise(1, 1<<12), Average>>12)
			var dst []byte
			b.SetBytes(Average)
			for b.Loop() {
				dst = c.Encode(dst[:0], data)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	c := codec(b)
	raw := bytes.Repeat([]byte("some text that compresses, number "), Average/34)
	frame := c.Encode(nil, raw)
	want := Chunk{SHA256: sha256.Sum256(raw), Raw: len(raw), Stored: len(frame)}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		var err error
		if out, err = c.Decode(out[:0], frame, want); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAnIndexOfTinyChunks: it is refused, as none that was cut has them.
func TestAnIndexOfTinyChunks(t *testing.T) {
	x := Index{{Raw: Min + 1, Stored: 1}, {Raw: Min, Stored: 1}}
	b, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseIndex(b); err != nil {
		t.Error(err)
	}
	binary.BigEndian.PutUint32(b[len(magic)+4+sha256.Size:], Min)
	if _, err := ParseIndex(b); err == nil || !strings.Contains(err.Error(), "only the last one") {
		t.Errorf("%v", err)
	}
	x[0].Raw = 1
	if _, err := x.Encode(); err == nil {
		t.Error("it is written")
	}
}

func BenchmarkParseIndex(b *testing.B) {
	x := make(Index, 40000)
	for i := range x {
		x[i] = Chunk{Raw: Average, Stored: Average / 2}
	}
	data, err := x.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIndex(data); err != nil {
			b.Fatal(err)
		}
	}
}
