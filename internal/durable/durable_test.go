package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// list gives the names in a directory.
func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func assertFile(t *testing.T, path, want string, perm fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != want {
		t.Errorf("%s holds %q, want %q: %v", path, data, want, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != perm {
		t.Errorf("%s has mode %v, want %v: %v", path, info.Mode(), perm, err)
	}
}

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	for _, c := range []struct {
		data string
		perm fs.FileMode
	}{{"a long first version", 0o600}, {"short", 0o644}, {"", 0o400}, {"over a read-only file", 0o666}} {
		if err := WriteFile(path, []byte(c.data), c.perm); err != nil {
			t.Fatal(err)
		}
		assertFile(t, path, c.data, c.perm)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"state"}) {
		t.Errorf("the directory holds %v", names)
	}
}

func TestASymbolicLinkIsReplacedNotFollowed(t *testing.T) {
	for name, target := range map[string]string{"to a file": "victim", "to nothing": "nowhere", "to a directory": "."} {
		dir := t.TempDir()
		victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "state")
		if err := errors.Join(os.WriteFile(victim, []byte("untouched"), 0o644), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
		if err := CreateExclusive(path, []byte("new"), 0o600); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: created over it: %v", name, err)
		}
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("%s: the link now points to %q, %v", name, got, err)
		}
		if err := WriteFile(path, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		assertFile(t, path, "new", 0o600)
		assertFile(t, victim, "untouched", 0o644)
		if names := list(t, dir); !slices.Equal(names, []string{"state", "victim"}) {
			t.Errorf("%s: the directory holds %v", name, names)
		}
	}
}

func TestCreateExclusiveNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "object")
	if err := CreateExclusive(path, []byte("first"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"second", "first"} {
		err := CreateExclusive(path, []byte(data), 0o600)
		var named *fs.PathError
		if !errors.Is(err, os.ErrExist) || !errors.As(err, &named) || named.Path != path {
			t.Errorf("got %v", err)
		}
	}
	assertFile(t, path, "first", 0o640)
	if names := list(t, dir); !slices.Equal(names, []string{"object"}) {
		t.Errorf("the directory holds %v", names)
	}
}

func TestOfManyCreatorsExactlyOneWins(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "object")
	const creators = 20
	var wg sync.WaitGroup
	start, errs := make(chan struct{}), make([]error, creators)
	for i := range creators {
		wg.Go(func() {
			<-start
			errs[i] = CreateExclusive(path, []byte(strings.Repeat(fmt.Sprint(i), 10_000)), 0o600)
		})
	}
	close(start)
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("both %d and %d won", winner, i)
		case !errors.Is(err, os.ErrExist):
			t.Errorf("creator %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	assertFile(t, path, strings.Repeat(fmt.Sprint(winner), 10_000), 0o600)
	if names := list(t, dir); !slices.Equal(names, []string{"object"}) {
		t.Errorf("the directory holds %v", names)
	}
}

func TestOfManyWritersOneIsThereWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := WriteFile(path, []byte(strings.Repeat(string(rune('a'+i)), 10_000)), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 10_000 || strings.Trim(string(data), string(data[:1])) != "" {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"state"}) {
		t.Errorf("the directory holds %v", names)
	}
}

// TestErrorsLeaveNothingBehind: no temporary file, the old contents, and an error with the name that was meant.
func TestErrorsLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := errors.Join(os.Mkdir(taken, 0o755), os.WriteFile(filepath.Join(taken, "in"), nil, 0o644), os.WriteFile(filepath.Join(dir, "file"), []byte("old"), 0o644)); err != nil {
		t.Fatal(err)
	}
	before := list(t, dir)
	for name, write := range map[string]func(string, []byte, os.FileMode) error{"WriteFile": WriteFile, "CreateExclusive": CreateExclusive} {
		for _, path := range []string{taken, filepath.Join(dir, "none", "x"), filepath.Join(dir, "file", "x"), filepath.Join(dir, strings.Repeat("n", 300))} {
			err := write(path, []byte("new"), 0o600)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s %s: %v", name, path, err)
			}
			if after := list(t, dir); !slices.Equal(after, before) {
				t.Errorf("%s %s left %v", name, path, after)
			}
		}
	}
	assertFile(t, filepath.Join(dir, "file"), "old", 0o644)
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := MkdirAll(deep, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, made := range []string{deep, filepath.Dir(deep)} {
		if info, err := os.Stat(made); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "file"), filepath.Join(dir, "file", "x")} {
		if err := MkdirAll(path, 0o700); err == nil {
			t.Errorf("made %s", path)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "link", "b", "d"), 0o700); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "b", "d")); err != nil {
		t.Error(err)
	}
}

func TestMkdirAllByMany(t *testing.T) {
	deep := filepath.Join(t.TempDir(), "a", "b", "c", "d")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := MkdirAll(deep, 0o755); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestTemporaryNames(t *testing.T) {
	f, err := CreateTemp(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 || !strings.HasPrefix(info.Name(), TempPrefix) {
		t.Errorf("%s, %v", f.Name(), err)
	}
}

func TestOpenTakesRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("NOT tested against a pipe: %v", err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, filepath.Join(dir, "absent")} {
		if f, err := Open(path); err == nil {
			f.Close()
			t.Errorf("%s was opened", path)
		}
		if _, err := ReadOwn(path, 1); !errors.Is(err, ErrNotRegular) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was read: %v", path, err)
		}
	}
	if root, err := OpenRoot(pipe); err == nil {
		root.Close()
		t.Error("a pipe was opened as a directory")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOwn(link, 1); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a link was followed: %v", err)
	}
	if _, err := ReadOwn(file, 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that is too large: %v", err)
	}
	if data, err := ReadOwn(file, 1); err != nil || string(data) != "x" {
		t.Errorf("read %q, %v", data, err)
	}
	f, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
