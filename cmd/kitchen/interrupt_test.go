package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

// TestInterruptedAtEveryStorageCall: SIGTERM and SIGINT at the same places as SIGKILL. The command ends with 130, says
// that nothing is half done, and it is so; only what is in effect already may end as it would have.
func TestInterruptedAtEveryStorageCall(t *testing.T) {
	t.Parallel()
	d := doomedCommands[0]
	start := chapter(t, d.scene)
	seen, places := d.undisturbed(t, start)
	for i, place := range places {
		place.Signal = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[i%2]
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := start.copy(t)
			e := s.start(t, d.line, placeVariable+"="+place.String())
			fresh := seen.check(t, s)
			switch {
			case e.code == d.exit && fresh == seen.after:
			default:
				e.want(t, exitInterrupted, "error: interrupted", "run the same command again: it begins anew")
			}
			if left := entries(t, s, "state-*/scratch/*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			s.ask(d.line).want(t, d.exit)
			if end := seen.fresh(t, s); end != seen.after {
				t.Fatalf("in the end readers see\n%swithout the interrupt\n%s", end, seen.after)
			}
		})
	}
}

// TestKilledAtEveryWriteToS3 is TestKilledAtEveryStorageCall for a publication over the network.
func TestKilledAtEveryWriteToS3(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	d := doomedCommands[0]
	d.orphans = false // copies of a scene share its bucket here
	local := chapter(t, d.scene)
	env := map[string]string{}
	for _, kv := range server.Env() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	remote := func(t *testing.T, prefix string) scene {
		t.Helper()
		s := local.copy(t)
		objects := s.store(t)
		s.at, s.env = server.URL(bucket, prefix), env
		upload(t, objects, s.store(t))
		return s
	}
	s := remote(t, "undisturbed")
	seen := &readers{known: map[string]string{}, met: map[string]bool{}, before: s.sees(t, "state-before")}
	s.start(t, d.line, callsVariable+"="+s.path("calls")).want(t, d.exit)
	seen.after = s.sees(t, "state-after")
	data, err := os.ReadFile(s.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		place := storagetest.Place{Signal: syscall.SIGKILL}
		var op string
		if _, err := fmt.Sscan(line, &place.Side, &place.N, &op); err != nil {
			t.Fatal(err)
		}
		if op != "create" && op != "swap" {
			continue
		}
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			d.killed(t, remote(t, strings.ReplaceAll(place.String(), " ", "-")), place, seen)
		})
	}
}

// upload copies a catalog from one store into another.
func upload(t *testing.T, from, to storage.Store) {
	t.Helper()
	for info, err := range from.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := storage.ReadAll(t.Context(), from, info.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if info.Key == manifest.TimestampObject {
			_, err = to.Swap(t.Context(), info.Key, "", data, "application/json", "")
		} else {
			err = to.Create(t.Context(), info.Key, strings.NewReader(string(data)), int64(len(data)), "application/json", "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
