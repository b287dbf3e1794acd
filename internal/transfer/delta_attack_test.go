package transfer

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/manifest"
)

// withDelta is an artifact with a delta from old, the seed that it is for.
func (w *world) withDelta(n uint64) (a *manifest.Artifact, old, raw []byte) {
	w.t.Helper()
	old = image(n, 12<<20)
	raw = edited(n, old, 12)
	a = w.artifact(raw)
	w.addDelta(a, old, raw)
	return a, old, raw
}

// TestAKeptDeltaThatWasTamperedWith: what an interrupted fetch seems to have left of a delta costs at most that the delta
// moves again, and never a wrong byte; nothing else on the disk is written.
func TestAKeptDeltaThatWasTamperedWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, old, raw := w.withDelta(60)
	d := a.Deltas[0]
	whole := w.read(d.SHA256)
	half := bytes.Clone(whole[:len(whole)/2])
	flipped := bytes.Clone(half)
	flipped[len(flipped)/3] ^= 1
	victim := filepath.Join(t.TempDir(), "victim")
	mustWrite := func(name string, b []byte) { check(t, os.WriteFile(name, b, 0o600)) }
	for name, plant := range map[string]func(name string){
		"a bit flipped":    func(name string) { mustWrite(name, flipped) },
		"whole, and wrong": func(name string) { mustWrite(name, noise(1, len(whole))) },
		"torn: zeros":      func(name string) { mustWrite(name, make([]byte, len(half))) },
		"longer":           func(name string) { mustWrite(name, append(bytes.Clone(whole), 0)) },
		"a link":           func(name string) { check(t, os.Symlink(victim, name)) },
		"a directory":      func(name string) { check(t, os.Mkdir(name, 0o700)) },
		"a pipe":           func(name string) { check(t, syscall.Mkfifo(name, 0o600)) },
	} {
		mustWrite(victim, half)
		j := w.job(a, seed(old))
		plant(j.deltaName(d))
		s := w.assembledLoosely(j, raw)
		if s.Delta == 0 || s.Ranged != 0 || s.Moved > 2*d.Size || len(s.Problems) != 0 {
			t.Errorf("%s: %+v for a delta of %d", name, s, d.Size)
		}
		if left, err := os.ReadDir(j.Scratch); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
		if b, err := os.ReadFile(victim); err != nil || !bytes.Equal(b, half) {
			t.Errorf("%s: the file that the link leads to was written: %v", name, err)
		}
	}
}

// TestAKeptDeltaWhoseRestIsTamperedWith: the digest is that of the whole, and nothing is parsed before it is known.
func TestAKeptDeltaWhoseRestIsTamperedWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, old, raw := w.withDelta(61)
	d := a.Deltas[0]
	whole := w.read(d.SHA256)
	j := w.job(a, seed(old))
	check(t, os.WriteFile(j.deltaName(d), whole[:len(whole)/2], 0o600))
	wrong := bytes.Clone(whole)
	wrong[len(wrong)-1] ^= 1
	w.overwrite(d.SHA256, wrong)
	s := w.assembledLoosely(j, raw)
	if s.Delta != 0 || s.Ranged == 0 || len(s.Problems) != 1 {
		t.Errorf("%+v", s)
	}
	if left, err := os.ReadDir(j.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestADeltaThatDrips: a server that gives one byte of it and hangs up, every time, is asked for it a few times, and then for the chunks.
func TestADeltaThatDrips(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, old, raw := w.withDelta(63)
	d, asked := a.Deltas[0], 0
	j := w.job(a, seed(old))
	w.store.body = func(key string, _ int64, body io.ReadCloser) io.ReadCloser {
		if key != manifest.BlobObject(d.SHA256) {
			return body
		}
		asked++
		left := int64(1)
		return &dyingBody{body, &left, func() error { return io.ErrUnexpectedEOF }}
	}
	s := w.assembledLoosely(j, raw)
	if asked > maxTries || s.Delta != 0 || s.Ranged == 0 || len(s.Problems) != 1 {
		t.Errorf("asked %d times: %+v", asked, s)
	}
}
