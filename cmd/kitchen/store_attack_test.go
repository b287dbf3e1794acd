package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// troubles are the doctor's problems with what somebody may do in the store, with what to do about them.
func (s scene) troubles(t *testing.T, config string) string {
	t.Helper()
	var doc doctorDocument
	decode(t, s.ask("--config ./"+config+" -o json doctor"), &doc)
	text := ""
	for _, line := range doc.Checks {
		if line.Area == "rights" && line.Status == healthProblem {
			text += line.Detail + " > " + line.Next + "\n"
		}
	}
	return text
}

// TestAPipeInTheStoreIsFoundByTheDoctor: a committer whose every write a pipe in place of the store's lock would stop is told
// by the doctor, by each command that writes, and of the way out.
func TestAPipeInTheStoreIsFoundByTheDoctor(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lock", "removed"} {
		s := chapter(t, "published")
		path := s.path("bucket/_store/" + name)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if got := s.troubles(t, "eng.toml"); got != "" {
			t.Errorf("before: %s", got)
		}
		if err := syscall.Mkfifo(path, 0o666); err != nil {
			t.Fatal(err)
		}
		for _, config := range []string{"eng.toml", "ci.toml"} { // both have the online key
			if got := s.troubles(t, config); !strings.Contains(got, path+" is a pipe, where the store needs a file of its own > nothing was changed: look at it, then move it away") {
				t.Errorf("%s %s: %q", name, config, got)
			}
		}
		if got := s.troubles(t, "staging.toml"); got != "" { // it replaces and deletes nothing
			t.Errorf("a site is told: %s", got)
		}
		const recall = "--config ./eng.toml recall openstack@1.0.0 --reason x --key ./keys/eng.key"
		if name == "lock" {
			s.ask(recall).want(t, exitFailed, path+" is a pipe", "hint: nothing was changed: look at it, then move it away")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.ask(recall).want(t, exitDone)
	}
}
