//go:build !race

// The race detector takes memory of its own.

package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// endless is noise without memory: every eight bytes follow from their position and the seed. All but every 2^sparse-th
// eight are those of seed 0.
type endless struct{ seed, sparse uint64 }

func (e endless) ReadAt(b []byte, at int64) (int, error) {
	var w [8]byte
	for i := 0; i < len(b); {
		k := (uint64(at) + uint64(i)) / 8
		x := k
		if k&(1<<e.sparse-1) == 0 {
			x ^= e.seed << 40
		}
		high, low := bits.Mul64(x*hashPrime+1, 0xd6e8feb86659fd93)
		binary.LittleEndian.PutUint64(w[:], high^low)
		i += copy(b[i:], w[(at+int64(i))%8:])
	}
	return len(b), nil
}

const memoryVariable = "DELTA_TEST_MEMORY"

// memoryTasks are done in a process each; most is what it may take, in MiB.
var memoryTasks = map[string]struct {
	most int64
	do   func() error
}{
	"nothing": {64, func() error { return nil }},
	// The bounds of the package comment, with windows as large as they get.
	"make":  {416, func() error { return memoryMake(layout{2 * Window, 40 << 20, Window}, 6) }},
	"noise": {200, func() error { return memoryMake(layout{8 << 20, 90 << 20, Window}, 0) }},
	"apply": {192, memoryApply},
}

func memoryMake(l layout, sparse uint64) error {
	return l.make(context.Background(), io.Discard, endless{}, endless{1, sparse})
}

// memoryApply applies a bomb: 512 MiB of literals in streams of RLE blocks, from two windows as large as they get.
func memoryApply() error {
	const made = 1 << 28
	l := layout{2 * Window, 2 * made, Window}
	z, err := zstd.NewWriter(nil, zstd.WithWindowSize(literalsWindow))
	if err != nil {
		return err
	}
	var ops []byte
	for range made / maxLiterals {
		ops = append(binary.AppendUvarint(ops, maxLiterals), 0, 0)
	}
	var lit bytes.Buffer
	z.Reset(&lit)
	for range made >> 20 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	small, _ := zstd.NewWriter(nil, zstd.WithWindowSize(streamWindow))
	empty := small.EncodeAll([]byte{}, nil)
	d := binary.BigEndian.AppendUint64([]byte(magic), uint64(l.old))
	d = binary.BigEndian.AppendUint64(d, uint64(l.new))
	for range 2 {
		d = binary.BigEndian.AppendUint32(d, made)
		var body []byte
		for _, s := range [streams][]byte{operations: small.EncodeAll(ops, nil), gaps: small.EncodeAll([]byte{0}, nil), literals: lit.Bytes()} {
			if s == nil {
				s = empty
			}
			d = binary.BigEndian.AppendUint32(d, uint32(len(s)))
			body = append(body, s...)
		}
		d = append(d, body...)
	}
	return l.apply(context.Background(), io.Discard, endless{}, bytes.NewReader(d), int64(len(d)))
}

// TestMemory: making and applying keep to the bounds of the package comment, however large the strings are and
// whatever the delta says.
func TestMemory(t *testing.T) {
	if name := os.Getenv(memoryVariable); name != "" {
		if err := memoryTasks[name].do(); err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, peak, _ := strings.Cut(string(status), "VmHWM:") // rusage would count what the parent had when it forked
		fmt.Println("peak", strings.Fields(peak)[0])
		return
	}
	for name, task := range memoryTasks {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$")
			cmd.Env = append(os.Environ(), memoryVariable+"="+name)
			out, err := cmd.CombinedOutput()
			var peak int64
			if _, scan := fmt.Sscanf(string(out), "peak %d", &peak); err != nil || scan != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			peak >>= 10
			t.Logf("%d MiB", peak)
			if peak > task.most {
				t.Errorf("it took %d MiB, more than %d", peak, task.most)
			}
		})
	}
}
