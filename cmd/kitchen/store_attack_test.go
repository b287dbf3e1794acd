package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
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

// TestALinkToItselfInTheStoreStopsNobody: whoever may write anywhere in a directory store could end every command of everybody
// with one link that leads nowhere.
func TestALinkToItselfInTheStoreStopsNobody(t *testing.T) {
	t.Parallel()
	s := chapter(t, "half-certified")
	dirs := []string{"pending", "reports/acme/staging", "blobs", "blobs/sha256", "metadata", "targets", "journal", "evidence"}
	proposals, err := filepath.Glob(s.path("bucket/pending/*"))
	if err != nil || len(proposals) == 0 {
		t.Fatal(proposals, err)
	}
	for _, dir := range append(dirs, "pending/"+filepath.Base(proposals[0])) {
		if err := os.MkdirAll(s.path("bucket/"+dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("loop", s.path("bucket/"+dir+"/loop")); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"laptop.toml status openstack", "laptop.toml check", "laptop.toml pending", "vendor.toml prune", "vendor.toml commit",
		"eng.toml recall openstack@1.0.0 --reason x --key ./keys/eng.key", "laptop.toml --state ./new refresh"} {
		s.ask("--config ./"+line).want(t, exitDone)
	}
	if got := s.troubles(t, "eng.toml"); got != "" {
		t.Errorf("the doctor: %s", got)
	}
}

// TestAFolderOfTheStoreThatMayNotBeRead: what it holds may be needed, so that nothing is committed or pruned while it is there;
// the folder is named, with the way out, by the doctor, too, whatever else lies before it.
func TestAFolderOfTheStoreThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	if !storagetest.Ordinary(t) {
		return
	}
	s := chapter(t, "half-certified")
	folder := s.path("bucket/pending/zz")
	if err := os.Mkdir(folder, 0); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"laptop.toml pending", "vendor.toml commit", "vendor.toml prune", "vendor.toml prune --yes"} {
		s.ask("--config ./"+line).want(t, exitUnavailable, "(needs read permission on "+folder+")", "hint: give this user read permission on "+folder+"; or, if it is nothing of the catalog's, remove it")
	}
	s.ask("--config ./laptop.toml check").want(t, exitDone, "below pending/: it may not be listed (that needs read permission on "+folder+")")
	if got := s.troubles(t, "eng.toml"); !strings.Contains(got, "(needs read permission on "+folder+") > give this user read permission on ") {
		t.Errorf("the doctor: %q", got)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	s.ask("--config ./vendor.toml commit").want(t, exitDone)
	if got := s.troubles(t, "eng.toml"); got != "" {
		t.Errorf("the doctor: %s", got)
	}
}

// TestAFolderOfBlobsThatMayNotBeWritten: the doctor finds it where blobs/ itself may be written, as a publication would.
func TestAFolderOfBlobsThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	if !storagetest.Ordinary(t) {
		return
	}
	s := chapter(t, "published")
	inside, err := filepath.Glob(s.path("bucket/blobs/sha256/*"))
	if err != nil || len(inside) == 0 {
		t.Fatal(inside, err)
	}
	for _, folder := range []string{s.path("bucket/blobs"), s.path("bucket/blobs/sha256"), inside[len(inside)-1]} {
		if err := os.Chmod(folder, 0o555); err != nil {
			t.Fatal(err)
		}
		if got := s.troubles(t, "eng.toml"); !strings.Contains(got, "may not create below blobs/: "+folder+" may not be written > give this user the right to write it") {
			t.Errorf("%s: %q", folder, got)
		}
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.troubles(t, "eng.toml"); got != "" {
		t.Error(got)
	}
}
