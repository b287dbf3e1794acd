//go:build !race

// The race detector takes memory of its own.

package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// memoryChild names the environment variable that makes the test binary assemble what it says, and tell its memory.
const memoryChild = "KITCHEN_TEST_TRANSFER_CHILD"

func init() { child = assembleAsChild }

// childJob is what a child assembles.
type childJob struct {
	Dir, Part, Seed string
	Artifact        *manifest.Artifact
}

// assembleAsChild tells whether this process is a child. Its last line: the peak of resident memory in KiB, and where the bytes came from.
func assembleAsChild() bool {
	job := os.Getenv(memoryChild)
	if job == "" {
		return false
	}
	var c childJob
	err := json.Unmarshal([]byte(job), &c)
	store, err2 := storage.Open(context.Background(), "file://"+c.Dir, storage.Options{})
	part, err3 := os.OpenFile(c.Part, os.O_CREATE|os.O_RDWR, 0o600)
	if err := errors.Join(err, err2, err3); err != nil {
		fmt.Println(err)
		return true
	}
	index, err := ReadIndex(context.Background(), store, c.Artifact)
	j := &Job{Store: store, Artifact: c.Artifact, Index: index, Scratch: c.Dir, Parallel: 8, Task: progress.Silent{}.Start("", 0)}
	if info, err := os.Stat(c.Seed); err == nil {
		j.Seeds = []Seed{{Name: c.Seed, Size: info.Size(), Open: func() (SeedReader, error) { return os.Open(c.Seed) }}}
	}
	s, err2 := j.Assemble(context.Background(), part)
	if err := errors.Join(err, err2); err != nil {
		fmt.Println(err)
		return true
	}
	status, _ := os.ReadFile("/proc/self/status")
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	fmt.Sscan(peak, &kib)
	fmt.Printf("peak %d %+v\n", kib, *s)
	return true
}

// peak assembles in a process of its own, and wants it to have taken less than so many MiB.
func (w *world) peak(name string, a *manifest.Artifact, part, seed string, most int64) {
	w.t.Helper()
	job, err := json.Marshal(childJob{w.dir, part, seed, a})
	check(w.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memoryChild+"="+string(job))
	out, err := cmd.CombinedOutput()
	var kib int64
	if _, scan := fmt.Sscanf(string(out), "peak %d", &kib); err != nil || scan != nil {
		w.t.Fatalf("%s: %v: %s", name, err, out)
	}
	w.t.Logf("%s: %d MiB: %s", name, kib>>10, out)
	if kib>>10 >= most {
		w.t.Errorf("%s took %d MiB, want less than %d", name, kib>>10, most)
	}
}

// sparse stores an artifact of so many GiB of zeros with raw, which does not compress, at their end.
func (w *world) sparse(gib int, raw []byte) *manifest.Artifact {
	w.t.Helper()
	codec, err := newCodec()
	check(w.t, err)
	hole := codec.Encode(nil, nothing[:])
	var object bytes.Buffer
	x := make(chunk.Index, 0, gib<<10+len(raw)>>16)
	for range gib << 10 {
		object.Write(hole)
		x = append(x, chunk.Chunk{SHA256: chunk.Sum(nothing[:]), Raw: chunk.Max, Stored: len(hole)})
	}
	for off := 0; off < len(raw); {
		c := raw[off : off+chunk.Cut(raw[off:])]
		frame := codec.Encode(nil, c)
		object.Write(frame)
		x = append(x, chunk.Chunk{SHA256: chunk.Sum(c), Raw: len(c), Stored: len(frame)})
		off += len(c)
	}
	b, err := x.Encode()
	check(w.t, err)
	stored := w.blob(object.Bytes())
	size, _ := x.Sizes()
	return &manifest.Artifact{Path: "disk.img", Size: size, SHA256: strings.Repeat("0", 64),
		Stored: manifest.Stored{SHA256: stored.SHA256, Size: stored.Size, Encoding: manifest.EncodingZstd}, Index: w.blob(b)}
}

// TestMemoryOfTheProcess: what the package comment says of memory holds for a large artifact on every rung. How much a
// delta with more than one window takes, package delta tests.
func TestMemoryOfTheProcess(t *testing.T) {
	w := newWorld(t)
	old := noise(5, 48<<20)
	raw := bytes.Clone(old)
	for at := 0; at < len(raw); at += 100_000 {
		raw[at] ^= 1
	}
	a := w.sparse(64, raw)
	const flat, withDelta = 200, 600
	part := filepath.Join(t.TempDir(), "part")
	w.peak("from nothing", a, part, "", flat)
	w.peak("what is there", a, part, "", flat)
	seed := filepath.Join(t.TempDir(), "seed")
	check(t, os.WriteFile(seed, old, 0o600))
	w.peak("from a seed", a, part+"2", seed, flat)
	w.addDelta(a, old, append(bytes.Clone(nothing[:]), raw...))
	w.peak("from a delta", a, part+"3", seed, withDelta)
}
