package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// everyPlaceVariable asks for every place (`make crash`). Without it a command is killed where something on disk, in the catalog or
// in any state directory, is not as it was at the place before, and in the middle of every body that it stores or
// fetches: all that a killed process leaves is on disk, so that places with the same disk are one place.
const everyPlaceVariable = "KITCHEN_TEST_EVERY_PLACE"

// doomed is a command that is killed, with SIGKILL and as a process of its own, at every call that it makes to its
// store: before, within and after it.
type doomed struct {
	name  string
	scene string
	line  string
	exit  int
	// orphans: what is left of it meets the publication of a colleague.
	orphans bool
	// dead looks at what the killed command left; done at what the same command, given again, made of it.
	dead func(t *testing.T, s scene)
	done func(t *testing.T, s scene)
}

var doomedCommands = []doomed{
	{name: "publish", scene: "empty", line: "--config ./eng.toml publish ./r1", orphans: true},
	{name: "propose", scene: "empty", line: "--config ./laptop.toml publish ./r1 --key ./keys/eng.key", exit: exitNotInEffect,
		orphans: true, done: thenCommitted("published")},
	{name: "certify", scene: "tested", line: "--config ./laptop.toml certify openstack@1.0.0 --key ./keys/ops-a.key", exit: exitNotInEffect},
	{name: "sign", scene: "half-certified", line: "--config ./vendor.toml sign ready-to-deploy.openstack --yes --key ./keys/ops-b.key"},
	{name: "last-signature", scene: "half-certified", line: "--config ./laptop.toml sign ready-to-deploy.openstack --yes --key ./keys/ops-b.key",
		exit: exitNotInEffect, done: thenCommitted("ready-to-deploy")},
	{name: "commit", scene: "certified", line: "--config ./vendor.toml commit"},
	{name: "first-refresh", scene: "ready", line: "--config ./vendor.toml --state ./state-new refresh", dead: offlineIsNeverMisled("state-new")},
	{name: "later-refresh", scene: "ready", line: "--config ./vendor.toml --state ./state-old refresh", dead: offlineIsNeverMisled("state-old")},
	{name: "fetch", scene: "ready", line: "--config ./laptop.toml fetch openstack@1.0.0 --into ./got", dead: absentOrWhole, done: wholeAndAlone},
	{name: "run-ci", scene: "published", line: "--config ./ci.toml run", dead: atMost("tested.txt", 1, 1), done: reported(1, "tested.txt", 2)},
	{name: "run-production", scene: "ready", line: "--config ./prod.toml run", dead: atMost("deployed.txt", 1, 3), done: reported(3, "deployed.txt", 1)},
}

// TestKilledAtEveryStorageCall: while the command is dead, new readers and old ones see all of it or nothing; given
// again it completes; and in the end everything is as if nothing had happened.
func TestKilledAtEveryStorageCall(t *testing.T) {
	t.Parallel()
	for _, d := range doomedCommands {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			start := chapter(t, d.scene)
			seen, places := d.undisturbed(t, start)
			for _, place := range places {
				t.Run(place.String(), func(t *testing.T) {
					t.Parallel()
					d.killed(t, start.copy(t), place, seen)
				})
			}
		})
	}
}

// undisturbed gives what readers see before and after the command, and the places to kill it at.
func (d doomed) undisturbed(t *testing.T, start scene) (*readers, []storagetest.Place) {
	t.Helper()
	s := start.copy(t)
	seen := &readers{known: map[string]string{}, met: map[string]bool{}}
	seen.before = seen.fresh(t, s)
	s.start(t, d.line, callsVariable+"="+s.path("calls")).want(t, d.exit)
	seen.after = seen.fresh(t, s)
	if d.done != nil {
		d.done(t, s)
	}
	return seen, places(t, s.path("calls"), syscall.SIGKILL)
}

// places reads what recordCalls wrote.
func places(t *testing.T, file string, signal syscall.Signal) (list []storagetest.Place) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	every, disk := os.Getenv(everyPlaceVariable) != "", ""
	for line := range strings.Lines(string(data)) {
		place := storagetest.Place{Signal: signal}
		var c storagetest.Call
		var digest string
		if _, err := fmt.Sscan(line, &place.Side, &place.N, &c.Op, &c.Key, &digest); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if every || digest != disk {
			list = append(list, place)
		}
		disk = digest
		if place.Side == storagetest.Before && c.HasWithin() {
			place.Side = storagetest.Within
			list = append(list, place)
		}
	}
	return list
}

func (d doomed) killed(t *testing.T, s scene, place storagetest.Place, seen *readers) {
	e := s.start(t, d.line, placeVariable+"="+place.String())
	if e.signal != syscall.SIGKILL {
		t.Fatalf("it was to be killed: %v", e)
	}
	fresh := seen.check(t, s)
	if d.dead != nil {
		d.dead(t, s)
	}
	if d.orphans && seen.first(t, s, "a colleague") {
		orphansStayOrphans(t, s.copy(t), strings.Contains(fresh, "openstack@1.0.0 "))
	}
	s.ask(d.line).want(t, d.exit)
	if end := seen.fresh(t, s); end != seen.after {
		t.Fatalf("in the end readers see\n%swithout the crash\n%s", end, seen.after)
	}
	if d.done != nil {
		d.done(t, s)
	}
}

// readers know what may be seen. A catalog that was looked at, byte for byte, need not be looked at again.
type readers struct {
	before, after string
	mu            sync.Mutex // guards what follows
	known         map[string]string
	met           map[string]bool
}

// fresh is what a new reader sees.
func (r *readers) fresh(t *testing.T, s scene) string {
	t.Helper()
	digest := s.digest(t)
	r.mu.Lock()
	sees, known := r.known[digest]
	r.mu.Unlock()
	if known {
		return sees
	}
	sees = s.sees(t, "state-"+digest[:8])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[digest] = sees
	return sees
}

// check lets somebody new and somebody who knows the past read the catalog that a killed command left.
func (r *readers) check(t *testing.T, s scene) string {
	t.Helper()
	fresh := r.fresh(t, s)
	if fresh != r.before && fresh != r.after {
		t.Fatalf("a new reader sees\n%sneither\n%snor\n%s", fresh, r.before, r.after)
	}
	if !r.first(t, s, "a reader who knows the past") {
		return fresh
	}
	if old := s.copy(t).sees(t, "state-old"); old != fresh {
		t.Fatalf("a reader who knows the past sees\n%sa new one\n%s", old, fresh)
	}
	return fresh
}

// first tells whether nobody like that met this very catalog before.
func (r *readers) first(t *testing.T, s scene, who string) bool {
	t.Helper()
	what := who + s.digest(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	met := r.met[what]
	r.met[what] = true
	return !met
}

// orphansStayOrphans lets a colleague publish 2.0.0 over what a killed publication of 1.0.0 left. 1.0.0 goes along
// only if it was in effect, or its proposal was left complete, signed by its own engineer; the rest of it stays where
// it is. Published again, it is there as well.
func orphansStayOrphans(t *testing.T, s scene, inEffect bool) {
	proposals, err := filepath.Glob(s.path("bucket/pending/*/proposal.json"))
	if err != nil {
		t.Fatal(err)
	}
	goesAlong := inEffect || len(proposals) > 0
	s.ask("--config ./vendor.toml --state ./state-colleague publish ./r2 --key ./keys/eng2.key").want(t, exitDone)
	sees := s.sees(t, "state-fresh2")
	if strings.Contains(sees, "openstack@1.0.0 ") != goesAlong || !strings.Contains(sees, "openstack@2.0.0 ") {
		t.Fatalf("a colleague published 2.0.0; readers see\n%s1.0.0 was to go along: %t", sees, goesAlong)
	}
	s.ask("--config ./eng.toml publish ./r1").want(t, exitDone)
	if sees := s.sees(t, "state-fresh3"); !strings.Contains(sees, "openstack@1.0.0 published") || !strings.Contains(sees, "openstack@2.0.0 published") {
		t.Fatalf("1.0.0 was published again; readers see\n%s", sees)
	}
}

// thenCommitted lets the committer complete what was proposed.
func thenCommitted(stage string) func(*testing.T, scene) {
	return func(t *testing.T, s scene) {
		s.ask("--config ./vendor.toml commit").want(t, exitDone)
		if sees := s.sees(t, "state-fresh2"); !strings.Contains(sees, "openstack@1.0.0 "+stage) {
			t.Fatalf("committed, and readers see\n%s", sees)
		}
	}
}

// offlineIsNeverMisled asks the gate on a state directory whose refresh was killed: it may not know, which is exit 4
// and says what helps, but it says yes only to what is ready in the catalog.
func offlineIsNeverMisled(state string) func(*testing.T, scene) {
	return func(t *testing.T, s scene) {
		answer := s.ask("--config ./laptop.toml --state ./" + state + " -o json ready openstack@1.0.0 --offline")
		switch answer.code {
		case exitDone, exitNo:
		case exitNotTrusted:
			answer.want(t, exitNotTrusted, "kitchen refresh")
		default:
			t.Fatal(answer)
		}
	}
}

// absentOrWhole is what may be under the name that a killed fetch was to make.
func absentOrWhole(t *testing.T, s scene) {
	if _, err := os.Lstat(s.path("got")); os.IsNotExist(err) {
		return
	}
	s.ask("--config ./laptop.toml ready openstack@1.0.0 --files ./got").want(t, exitDone, "holds exactly its files")
}

// wholeAndAlone: the release is there, and no leftovers of a killed fetch beside it.
func wholeAndAlone(t *testing.T, s scene) {
	s.ask("--config ./laptop.toml ready openstack@1.0.0 --files ./got").want(t, exitDone, "holds exactly its files")
	left, err := filepath.Glob(s.path(".got*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left beside it: %v, %v", left, err)
	}
}

// atMost: the hook did not run more often than that, and no more reports were sent.
func atMost(hook string, runs, reports int) func(*testing.T, scene) {
	return func(t *testing.T, s scene) {
		if n := s.lines(t, hook); n > runs {
			t.Fatalf("the hook ran %d times", n)
		}
		if all := s.reports(t); len(all) > reports {
			t.Fatalf("%d reports: %+v", len(all), all)
		}
	}
}

// reported: so many reports are in the store in the end, and the hook ran at least once and at most so often. Once
// more, there is nothing to do.
func reported(reports int, hook string, atMost int) func(*testing.T, scene) {
	return func(t *testing.T, s scene) {
		if all := s.reports(t); len(all) != reports {
			t.Fatalf("%d reports, want %d: %+v", len(all), reports, all)
		}
		if n := s.lines(t, hook); n < 1 || n > atMost {
			t.Fatalf("the hook ran %d times", n)
		}
		for _, dir := range []string{"spool", "work"} {
			if left := entries(t, s, "state-*/site/*/*/"+dir+"/*"); len(left) > 0 {
				t.Fatalf("left behind: %v", left)
			}
		}
	}
}

func entries(t *testing.T, s scene, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(s.path(pattern))
	if err != nil {
		t.Fatal(err)
	}
	return list
}
