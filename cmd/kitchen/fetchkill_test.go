package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// withLargeRelease has openstack@9.0.0, whose image of 12 MiB is stored in chunks, published and validated.
func withLargeRelease(t *testing.T) scene {
	t.Helper()
	s := chapter(t, "ready")
	mustWrite(t, s, "r9/product.toml", "product = \"openstack\"\nversion = \"9.0.0\"\nkind = \"initial\"\nsummary = \"large\"\n"+
		"[marmite]\npath = \"marmite.yaml\"\n[[artifact]]\npath = \"disk.img\"\nkind = \"image\"\n")
	mustWrite(t, s, "r9/marmite.yaml", "roles: [large]\n")
	mustWrite(t, s, "r9/disk.img", string(madeImage(0)))
	s.ask("--config ./eng.toml publish ./r9").want(t, exitDone)
	s.ask("--config ./ci.toml run").want(t, exitDone, "openstack@9.0.0: PASSED")
	return s
}

// TestAKilledFetchGoesOn: wherever it is killed, or interrupted, nothing is visible, and the same command again moves
// only what is missing.
func TestAKilledFetchGoesOn(t *testing.T) {
	t.Parallel()
	const line = "--config ./laptop.toml fetch openstack@9.0.0 --into ./got --parallel 1"
	start := withLargeRelease(t)
	s := start.copy(t)
	s.start(t, line, callsVariable+"="+s.path("calls")).want(t, exitDone)
	last := lastBlob(t, s.path("calls"))
	var whole fetchDocument
	decode(t, start.copy(t).ask(line+" -o json"), &whole)
	most := int64(0)
	for _, place := range []storagetest.Place{
		{N: last - 1, Side: storagetest.Within, Signal: syscall.SIGKILL}, {N: last, Side: storagetest.Before, Signal: syscall.SIGKILL},
		{N: last, Side: storagetest.Within, Signal: syscall.SIGKILL}, {N: last, Side: storagetest.After, Signal: syscall.SIGKILL},
		{N: last, Side: storagetest.Within, Signal: syscall.SIGINT},
	} {
		s := start.copy(t)
		e := s.start(t, line, placeVariable+"="+place.String())
		switch {
		case place.Signal == syscall.SIGKILL && e.signal != syscall.SIGKILL:
			t.Fatalf("%s: it was to be killed: %v", place, e)
		case place.Signal == syscall.SIGINT:
			e.want(t, exitInterrupted, "error: interrupted; kept ", " of the 12.6 MB of openstack@9.0.0", "run the same command again")
		}
		if _, err := os.Lstat(s.path("got")); !os.IsNotExist(err) {
			t.Fatalf("%s: something is visible: %v", place, err)
		}
		again := s.ask(line + " -o json")
		again.want(t, exitDone)
		var d fetchDocument
		decode(t, again, &d)
		if d.Kept > 0 && d.Moved >= whole.Moved || d.Kept+d.Local+d.Moved == 0 {
			t.Errorf("%s: the second time %+v, without an interruption %+v", place, d, whole)
		}
		most = max(most, d.Kept)
		got, err := os.ReadFile(s.path("got/disk.img"))
		if err != nil || !bytes.Equal(got, madeImage(0)) {
			t.Errorf("%s: another image: %v", place, err)
		}
		if left, err := filepath.Glob(s.path(".got*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left beside it: %v, %v", place, left, err)
		}
	}
	if most < whole.Size/3 {
		t.Errorf("at most %d bytes were kept", most)
	}
}

// TestAKilledDeltaGoesOn: a fetch that is killed in the middle of a delta moves only the rest of it the next time.
func TestAKilledDeltaGoesOn(t *testing.T) {
	t.Parallel()
	const line = "--config ./laptop.toml fetch openstack@9.1.0 --into ./got --parallel 1"
	start := withLargeRelease(t)
	mustWrite(t, start, "r9/product.toml", "product = \"openstack\"\nversion = \"9.1.0\"\nkind = \"update\"\nfrom = [\"9.0.0\"]\nsummary = \"large\"\n"+
		"[marmite]\npath = \"marmite.yaml\"\n[[artifact]]\npath = \"disk.img\"\nkind = \"image\"\n")
	mustWrite(t, start, "r9/disk.img", string(madeImage(40)))
	start.ask("--config ./eng.toml publish ./r9").want(t, exitDone)
	start.ask("--config ./ci.toml run").want(t, exitDone, "openstack@9.1.0: PASSED")
	start.ask("--config ./laptop.toml fetch openstack@9.0.0 --into ./old").want(t, exitDone)
	s := start.copy(t)
	s.start(t, line+" -o json", callsVariable+"="+s.path("calls")).want(t, exitDone)
	place := storagetest.Place{N: lastBlob(t, s.path("calls")), Side: storagetest.Within, Signal: syscall.SIGKILL}
	s = start.copy(t)
	if e := s.start(t, line, placeVariable+"="+place.String()); e.signal != syscall.SIGKILL {
		t.Fatalf("%s: it was to be killed: %v", place, e)
	}
	kept, err := filepath.Glob(s.path(".got.kitchen-*/parts/delta-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	half, err := os.Stat(kept[0])
	if err != nil || half.Size() == 0 {
		t.Fatalf("nothing is kept: %v", err)
	}
	var whole, rest fetchDocument
	decode(t, start.copy(t).ask(line+" -o json"), &whole)
	decode(t, s.ask(line+" -o json"), &rest)
	if rest.Delta == 0 || rest.Delta != whole.Delta || rest.Moved != whole.Moved-half.Size() {
		t.Errorf("after %d bytes of the delta %+v, without an interruption %+v", half.Size(), rest, whole)
	}
	if got, err := os.ReadFile(s.path("got/disk.img")); err != nil || !bytes.Equal(got, madeImage(40)) {
		t.Errorf("another image: %v", err)
	}
	if left, err := filepath.Glob(s.path(".got*")); err != nil || len(left) > 0 {
		t.Errorf("left beside it: %v, %v", left, err)
	}
}

// lastBlob is the number of the last call that reads a blob.
func lastBlob(t *testing.T, calls string) (last int) {
	t.Helper()
	data, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var n int
		var side, op, key string
		if _, err := fmt.Sscan(line, &side, &n, &op, &key); err != nil {
			t.Fatal(err)
		}
		if op == "open" && strings.HasPrefix(key, "blobs/") {
			last = max(last, n)
		}
	}
	return last
}
