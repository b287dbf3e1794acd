package chunk

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestPackIsOneAfterTheOther(t *testing.T) {
	c := codec(t)
	data := append(noise(4, 5<<20), bytes.Repeat([]byte("again and again "), 1<<18)...)
	want, index := pack(t, c, data)
	var out bytes.Buffer
	got, err := c.Pack(t.Context(), bytes.NewReader(data), &out, Options{Workers: 3})
	if err != nil || !bytes.Equal(out.Bytes(), want) || len(got.Index) != len(index) || got.Raw.Size != int64(len(data)) {
		t.Fatalf("%d bytes, want %d; %v", out.Len(), len(want), err)
	}
	for i := range index {
		if got.Index[i] != index[i] {
			t.Fatalf("chunk %d: %v, want %v", i, got.Index[i], index[i])
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestPackGivesTheErrors(t *testing.T) {
	c := codec(t)
	broken := errors.New("broken")
	src := func() io.Reader { return bytes.NewReader(noise(5, 20<<20)) }
	if _, err := c.Pack(t.Context(), io.MultiReader(src(), iotest.ErrReader(broken)), io.Discard, Options{Workers: 2}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := c.Pack(t.Context(), src(), &failing{3}, Options{Workers: 2}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
