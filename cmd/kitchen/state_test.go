package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// rounds is how often two processes race.
func rounds() int {
	if os.Getenv(everyPlaceVariable) != "" {
		return 50
	}
	return 8
}

// both starts two processes at once, and waits for them.
func (s scene) both(t *testing.T, a, b string) (one, other ended) {
	t.Helper()
	var group sync.WaitGroup
	group.Go(func() { one = s.start(t, a) })
	group.Go(func() { other = s.start(t, b) })
	group.Wait()
	return one, other
}

// noLeftovers: what processes wrote beside each other is whole, and nothing else is there.
func noLeftovers(t *testing.T, s scene) {
	t.Helper()
	for _, pattern := range []string{"state-*/_tmp-*", "state-*/*/_tmp-*", ".got*", "state-*/site/*/*/work/*", "state-*/site/*/*/spool/*"} {
		if left := entries(t, s, pattern); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// Two refreshes take turns: neither is refused, and the state serves offline.
func TestTwoRefreshesOfOneState(t *testing.T) {
	t.Parallel()
	start := chapter(t, "ready")
	for range rounds() {
		s := start.copy(t)
		a, b := s.both(t, "--config ./laptop.toml --state ./state-new refresh", "--config ./laptop.toml --state ./state-new refresh")
		a.want(t, exitDone)
		b.want(t, exitDone)
		s.ask("--config ./laptop.toml --state ./state-new ready openstack@1.0.0 --offline").want(t, exitDone)
		noLeftovers(t, s)
	}
}

// A refresh does not wait for a run's hook, nor spoil the run.
func TestRefreshDuringARun(t *testing.T) {
	t.Parallel()
	start := chapter(t, "published")
	for range rounds() {
		s := start.copy(t)
		a, b := s.both(t, "--config ./ci.toml run", "--config ./ci.toml refresh")
		a.want(t, exitDone, "openstack@1.0.0: PASSED")
		b.want(t, exitDone)
		reported(1, "tested.txt", 1)(t, s)
		noLeftovers(t, s)
	}
	s := start.copy(t)
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\nwhile ! test -e go.txt; do sleep 0.05; done\n")
	run := s.inHook(t, "--config ./ci.toml run", "tested.txt")
	s.start(t, "--config ./ci.toml refresh").want(t, exitDone)
	run().want(t, exitDone, "openstack@1.0.0: PASSED")
	reported(1, "tested.txt", 1)(t, s)
}

// Two fetches into one directory: one makes it, the other finds it made, and neither fails.
func TestTwoFetchesIntoOneDirectory(t *testing.T) {
	t.Parallel()
	start := chapter(t, "ready")
	for range rounds() {
		s := start.copy(t)
		const line = "--config ./laptop.toml fetch openstack@1.0.0 --into ./got"
		a, b := s.both(t, line, line)
		a.want(t, exitDone)
		b.want(t, exitDone)
		wholeAndAlone(t, s)
		noLeftovers(t, s)
	}
}

// Two runs of one site: one is refused while the other works, or finds nothing to do after it. The hook runs once and
// there is one report, whoever won.
func TestTwoRunsOfOneSite(t *testing.T) {
	t.Parallel()
	for _, site := range []struct {
		name, scene, line, hook string
		reports                 int
	}{
		{"ci", "published", "--config ./ci.toml run", "tested.txt", 1},
		{"production", "ready", "--config ./prod.toml run", "deployed.txt", 3},
	} {
		t.Run(site.name, func(t *testing.T) {
			t.Parallel()
			start := chapter(t, site.scene)
			for range rounds() {
				s := start.copy(t)
				a, b := s.both(t, site.line, site.line)
				if a.code != exitDone {
					a, b = b, a
				}
				a.want(t, exitDone)
				if b.code != exitDone {
					b.want(t, exitFailed, "is under way with this state directory", "wait for it to end")
				}
				reported(site.reports, site.hook, 1)(t, s)
				noLeftovers(t, s)
			}
			s := start.copy(t)
			script := strings.TrimSuffix(site.hook, "ed.txt") + ".sh"
			mustWrite(t, s, script, "echo ran >> "+site.hook+"\nwhile ! test -e go.txt; do sleep 0.05; done\n")
			run := s.inHook(t, site.line, site.hook)
			s.start(t, site.line).want(t, exitFailed, "another run of", "is under way with this state directory", "wait for it to end")
			run().want(t, exitDone, "openstack@1.0.0: PASSED")
			reported(site.reports, site.hook, 1)(t, s)
		})
	}
}

// inHook starts a run whose hook waits for go.txt, and comes back once the hook has written its line. What it gives
// lets the hook go on, and waits for the run.
func (s scene) inHook(t *testing.T, line, hook string) (end func() ended) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := s.command(line)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		mustWrite(t, s, "go.txt", "")
		wait()
	})
	for start := time.Now(); s.lines(t, hook) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the hook was not started")
		}
	}
	return func() ended {
		mustWrite(t, s, "go.txt", "")
		wait()
		return ended{line: line, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	}
}
