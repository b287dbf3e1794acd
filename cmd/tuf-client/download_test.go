package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDownloadOnce: several targets of any name, in the order given; what is there already is not fetched again.
func TestDownloadOnce(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	names := []string{"file", "path/to/a/file", "a b+c%2F?#&", "../../up", "/absolute", `back\slash`, "ünï/cødé", "_tmp-1"}
	for _, name := range names {
		r.addTarget("targets", name, "content of "+name)
	}
	r.publishAll()
	r.takes(r.refresh())
	r.holds()
	var want []string
	for range 2 {
		r.takes(r.download(names...))
	}
	for _, name := range names {
		want = append(want, "content of "+name)
	}
	r.holds(want...)
	if len(r.targetsAsked()) != len(names) {
		t.Errorf("fetched %q", r.targetsAsked())
	}
	above, err := filepath.Glob(filepath.Join(filepath.Dir(r.targets), "*"))
	if err != nil || len(above) != 2 {
		t.Errorf("something else than MDIR and TDIR: %q, %v", above, err)
	}
	for i, name := range []string{"file", "path/to/a/"} {
		if !strings.HasPrefix(r.targetsAsked()[i], strings.TrimSuffix(name, "file")) || strings.Contains(r.targetsAsked()[i], "%2F") {
			t.Errorf("%s was fetched as %s", name, r.targetsAsked()[i])
		}
	}
}

func TestTargetsThatAreNoFileNames(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, name := range []string{"", ".", ".."} {
		r.addTarget("targets", name, "x")
	}
	r.publishAll()
	for _, name := range []string{"", ".", ".."} {
		r.refuses(r.download(name), "no name for a file")
	}
	r.holds()
}

// TestSubstitutedTarget, by something of the same length or not: what was good stays, and nothing else is left behind.
func TestSubstitutedTarget(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.addTarget("targets", "file", "old content")
	r.publishAll()
	r.takes(r.download("file"))
	for _, bad := range []string{"bad content", "bad", "a content that is longer", ""} {
		r.addTarget("targets", "file", "new content")
		r.publishAll()
		r.serveTarget("file", bad)
		r.refuses(r.download("file"), "not the file that was announced")
		r.holds("old content")
	}
	r.answering(func(w http.ResponseWriter, name string) bool {
		for strings.HasSuffix(name, ".file") {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return true
			}
		}
		return false
	})
	r.refuses(r.download("file"), "got more, want 11 bytes") // endless
	r.answering(nil)
	r.withhold("file")
	r.refuses(r.download("file"), "404")
	r.holds("old content")
	r.serveTarget("file", "new content")
	r.takes(r.download("file"))
	r.holds("new content")
}

// TestTargetThatChangesOften: each listed content replaces the one before, under the same name; none that is not listed.
func TestTargetThatChangesOften(t *testing.T) {
	t.Parallel()
	r := newRow(t)
	others := []string{}
	for _, round := range []string{"1", "2", "3"} {
		for range 3 { // versions that this client never sees
			r.publishAll()
		}
		r.addTarget("targets", "file", "content "+round)
		r.addTarget("targets", "other "+round, "other content "+round)
		r.publishAll()
		others = append(others, "other content "+round)
		r.takes(r.download("file", "other "+round))
		r.holds(append([]string{"content " + round}, others...)...)
		r.serveTarget("file", "malign "+round)
		r.publishAll()
		r.takes(r.download("file")) // from TDIR
		r.holds(append([]string{"content " + round}, others...)...)
	}
}

func TestDigestsOfTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		algorithms []string
		digits     int
		refusal    string
	}{
		{[]string{"sha256"}, 64, ""},
		{[]string{"sha512"}, 128, ""},
		{[]string{"sha256", "sha512"}, 64, ""},
		{[]string{"sha256", "unheard-of"}, 64, ""},
		{[]string{"unheard-of"}, 0, "neither a sha256 nor a sha512 digest"},
		{[]string{}, 0, "hashes must not be empty"},
	} {
		r := newRow(t)
		r.addTarget("targets", "file", "content", c.algorithms...)
		r.publishAll()
		if c.refusal != "" {
			r.refuses(r.download("file"), c.refusal)
			r.holds()
			continue
		}
		r.takes(r.download("file"))
		r.holds("content")
		if digest, _, _ := strings.Cut(r.targetsAsked()[0], "."); len(digest) != c.digits {
			t.Errorf("fetched %q", r.targetsAsked())
		}
		check(t, os.Remove(filepath.Join(r.targets, "file")))
		r.serveTarget("file", "Content")
		r.refuses(r.download("file"), "not the file that was announced")
	}
}

// TestDownloadStopsAtTheFirstFailure, and keeps what came before it.
func TestDownloadStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.addTarget("targets", "first", "1")
	r.addTarget("targets", "last", "3")
	r.publishAll()
	r.refuses(r.download("first", "missing", "last"), `target "missing"`)
	r.holds("1")
	if len(r.targetsAsked()) != 1 {
		t.Errorf("fetched %q", r.targetsAsked())
	}
}

func TestDamagedTargetIsFetchedAgain(t *testing.T) {
	t.Parallel()
	r := newRow(t)
	r.addTarget("targets", "file", "content")
	r.publishAll()
	r.takes(r.download("file"))
	for _, damaged := range []string{"", "conten", "Content", "contents"} {
		check(t, os.WriteFile(filepath.Join(r.targets, "file"), []byte(damaged), 0o600))
		r.takes(r.download("file"))
		r.holds("content")
	}
}
