package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestInitKilledBeforeItsFilesAreWritten: the same command again writes what is missing of them; it never overwrites one, and
// takes no other root for its own.
func TestInitKilledBeforeItsFilesAreWritten(t *testing.T) {
	t.Parallel()
	s := chapter(t, "empty")
	line := "--catalog ./new init --vendor enovance --root-key ./keys/root-a.key --root-key ./keys/root-b.key --online-key ./keys/online.key --registry-key ./keys/admin.key --write-root ./new.json --write-config ./new.toml"
	s.ask(line).want(t, exitDone, "the catalog is made", "wrote "+s.path("new.json"))
	s.ask("--config ./new.toml check").want(t, exitDone)
	files := map[string]string{"new.json": "", "new.toml": ""}
	for name := range files {
		data, err := os.ReadFile(s.path(name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	holds := func(name, want string) {
		t.Helper()
		if data, err := os.ReadFile(s.path(name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, lost := range [][]string{{"new.json", "new.toml"}, {"new.toml"}, {"new.json"}, {}} {
		for _, name := range lost {
			if err := os.Remove(s.path(name)); err != nil {
				t.Fatal(err)
			}
		}
		e := s.ask("-o json " + line)
		e.want(t, exitDone)
		var d initDocument
		decode(t, e, &d)
		var wrote []string
		for _, name := range lost {
			wrote = append(wrote, s.path(name))
		}
		if !d.MadeBefore || d.Resumed || !slices.Equal(d.Wrote, wrote) || d.Fingerprint == "" {
			t.Errorf("%v was lost: %+v", lost, d)
		}
		holds("new.json", files["new.json"])
		holds("new.toml", files["new.toml"])
	}
	s.ask(line).want(t, exitDone, "it was made already, by an earlier run of this command")
	for name, other := range map[string]string{"new.json": files["new.json"] + "\n", "new.toml": files["new.toml"] + "# mine\n"} {
		for _, there := range []string{other, "", "short"} {
			if err := s.write(name, there); err != nil {
				t.Fatal(err)
			}
			s.ask(line).want(t, exitFailed, "error: "+s.path(name)+" exists", "hint: nothing was done")
			holds(name, there)
		}
		if err := os.Remove(s.path(name)); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(s.path(name), 0o666); err != nil {
			t.Fatal(err)
		}
		s.ask(line).want(t, exitFailed, "error: "+s.path(name)+" exists", "hint: nothing was done")
		if err := errors.Join(os.Remove(s.path(name)), s.write(name, files[name])); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"new.json", "new.toml"} {
		if err := os.Remove(s.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	s.ask(strings.Replace(line, "root-a.key", "eng.key", 1)).want(t, exitFailed, "there is a catalog at", "copy metadata/1.root.json out of it, have a root holder confirm")
	for _, name := range []string{"new.json", "new.toml"} {
		if _, err := os.Lstat(s.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was written by who did not make the catalog: %v", name, err)
		}
	}
}
