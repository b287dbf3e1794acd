package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// What signers finish takes effect in the next round, and each event is one line, said once.
func TestACommittersServiceFinishesWhatIsComplete(t *testing.T) {
	t.Parallel()
	s := chapter(t, "half-certified")
	w := s.watch(t, "--config ./vendor.toml commit --watch 30s")
	said, pause := w.round()
	says(t, said, "ready-to-deploy.openstack.1.", ": waits for 1 more signature for ready-to-deploy.openstack")
	if pause < 27*time.Second || pause > 33*time.Second {
		t.Errorf("it waits %s", pause)
	}
	if said, _ := w.again(); said != "" {
		t.Errorf("said again: %q", said)
	}
	s.ask("--config ./laptop.toml sign ready-to-deploy.openstack --yes --key ./keys/ops-b.key").want(t, exitNotInEffect)
	said, _ = w.again()
	says(t, said, "in effect: ready-to-deploy.openstack.1.", "certify openstack@1.0.0")
	if strings.Count(said, "\n") != 1 {
		t.Errorf("more than one line: %q", said)
	}
	s.ask("--config ./staging.toml run --again openstack@1.0.0").want(t, exitDone)
	said, _ = w.again()
	says(t, said, "recorded in the journal: 1 report(s)\n")
	for range 2 {
		if said, _ := w.again(); said != "" {
			t.Errorf("nothing happened, and it says %q", said)
		}
	}
	if code := w.end(syscall.SIGTERM); code != exitDone {
		t.Errorf("SIGTERM between rounds: exit %d", code)
	}
}

func TestACommittersServiceInJSONIsOneDocumentALine(t *testing.T) {
	t.Parallel()
	s := chapter(t, "certified")
	w := s.watch(t, "--config ./vendor.toml commit --watch 30s -o json")
	said, _ := w.round()
	var d commitDocument
	if err := json.Unmarshal([]byte(said), &d); err != nil || strings.Count(said, "\n") != 1 || len(d.Committed) != 1 {
		t.Errorf("%v: %q", err, said)
	}
	if code := w.end(os.Interrupt); code != exitInterrupted {
		t.Errorf("Ctrl-C: exit %d", code)
	}
}

// A committer that lost its store asks less often, but never waits long: everybody waits for it.
func TestACommitterWhoseStoreIsAway(t *testing.T) {
	t.Parallel()
	s := chapter(t, "certified")
	if err := os.Rename(s.path("bucket"), s.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	w := s.watch(t, "--config ./vendor.toml commit --watch 30s")
	said, pause := w.round()
	says(t, said, "error: ", "trying again, less and less often")
	for range 6 {
		if said, pause = w.again(); said != "" || pause > longestCommitPause {
			t.Errorf("it says %q and waits %s", said, pause)
		}
	}
	if pause < longestCommitPause/2 {
		t.Errorf("it asks every %s still", pause)
	}
	if err := os.Rename(s.path("elsewhere"), s.path("bucket")); err != nil {
		t.Fatal(err)
	}
	said, _ = w.again()
	says(t, said, "the store is back", "in effect: ready-to-deploy.openstack.1.")
}

// What waiting will not mend ends the service: a wrong key, a wrong password, a wrong root.
func TestACommittersServiceEndsOnWhatWaitingDoesNotMend(t *testing.T) {
	t.Parallel()
	s := chapter(t, "certified")
	if err := os.WriteFile(s.path("broken.key"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		line string
		code int
	}{
		"another key":    {"--config ./laptop.toml commit --watch 30s --online-key ./keys/eng.key", exitNotTrusted},
		"no key at all":  {"--config ./laptop.toml commit --watch 30s --online-key ./broken.key", exitFailed},
		"none given":     {"--config ./laptop.toml commit --watch 30s", exitUsage},
		"too often":      {"--config ./vendor.toml commit --watch 1ms", exitUsage},
		"not a duration": {"--config ./vendor.toml commit --watch soon", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if code := s.copy(t).watch(t, c.line).ended(); code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
		})
	}
}

// TestSIGTERMAtEveryWriteOfACommittersRound: the service ends with 0, and whoever comes next completes what it began.
func TestSIGTERMAtEveryWriteOfACommittersRound(t *testing.T) {
	t.Parallel()
	start := chapter(t, "certified")
	whole := start.copy(t)
	whole.start(t, "--config ./vendor.toml commit", callsVariable+"="+whole.path("calls")).want(t, exitDone, "in effect: ready-to-deploy.openstack.1.")
	data, err := os.ReadFile(whole.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	writes := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line) // SIDE N OP KEY DIGEST
		if f[0] != "before" || f[2] != "create" && f[2] != "swap" {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		writes++
		for _, side := range []storagetest.Side{storagetest.Before, storagetest.After} {
			place := storagetest.Place{N: n + 1, Side: side, Signal: syscall.SIGTERM} // the service lists the proposals once more first
			t.Run(place.String(), func(t *testing.T) {
				t.Parallel()
				s := start.copy(t)
				s.start(t, "--config ./vendor.toml commit --watch 1h", placeVariable+"="+place.String()).want(t, exitDone)
				s.ask("--config ./vendor.toml commit").want(t, exitDone)
				if got := s.sees(t, "state-old"); !strings.Contains(got, "ready: true") {
					t.Errorf("a reader sees %s", got)
				}
			})
		}
	}
	if writes < 3 {
		t.Errorf("the commit makes %d writes: %s", writes, data)
	}
}

// TestTwoCommittersServices: each proposal takes effect once, whoever is first, and neither ends.
func TestTwoCommittersServices(t *testing.T) {
	t.Parallel()
	s := chapter(t, "certified")
	one, other := s.agent(t, "--config ./vendor.toml commit --watch 1s"), s.agent(t, "--config ./vendor.toml --state ./state-other commit --watch 1s")
	one.hears("READY=1")
	other.hears("READY=1")
	for range 2 {
		one.hears("STATUS=waiting")
		other.hears("STATUS=waiting")
	}
	for _, a := range []*agent{one, other} {
		if code := a.end(syscall.SIGTERM); code != exitDone {
			t.Errorf("exit %d: %s", code, a.output.take())
		}
		a.hears("STOPPING=1")
	}
	if said := one.output.take() + other.output.take(); strings.Count(said, "in effect: ready-to-deploy.openstack.1.") != 1 || strings.Contains(said, "error") {
		t.Errorf("they say %q", said)
	}
	if got := s.sees(t, "state-old"); !strings.Contains(got, "ready: true") {
		t.Errorf("a reader sees %s", got)
	}
}
