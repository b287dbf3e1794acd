package storage_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// odd are the things that may stand where a directory store keeps a file of its own.
var odd = map[string]func(path string) error{
	"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o666) },
	"a directory": func(path string) error { return os.Mkdir(path, 0o777) },
	"a socket": func(path string) error {
		l, err := net.Listen("unix", path)
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			err = l.Close()
		}
		return err
	},
	"a link": func(path string) error { return os.Symlink("elsewhere", path) },
}

// inTime is what a call of a store comes to; one that waits for the other end of a pipe hangs for ever.
func inTime(t *testing.T, do func(context.Context) error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- do(context.Background()) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
		return nil
	}
}

// TestAPipeInPlaceOfTheStoresLock, or of another file of a directory store's own: nobody waits for its other end, follows a
// link there, or takes it for the file. It is named, and moved away it stops nobody.
func TestAPipeInPlaceOfTheStoresLock(t *testing.T) {
	t.Parallel()
	calls := map[string]func(s storage.Store) func(context.Context) error{
		"lock": func(s storage.Store) func(context.Context) error {
			return func(ctx context.Context) error { return second(s.Swap(ctx, "m", "", []byte("x"), "", "")) }
		},
		"removed": func(s storage.Store) func(context.Context) error {
			return func(ctx context.Context) error { return s.Delete(ctx, "a/b") }
		},
		"tmp": func(s storage.Store) func(context.Context) error {
			return func(ctx context.Context) error { return put(ctx, s, "c", "x") }
		},
		"": func(s storage.Store) func(context.Context) error { // _store itself
			return func(ctx context.Context) error { return put(ctx, s, "c", "x") }
		},
	}
	for name, call := range calls {
		for what, plant := range odd {
			if what == "a directory" && name != "lock" && name != "removed" {
				continue
			}
			t.Run(name+" is "+what, func(t *testing.T) {
				t.Parallel()
				root, err := os.MkdirTemp("", "own") // the name of a socket is short
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(root) })
				path := filepath.Join(root, "_store", name)
				s := openURL(t, "file://"+root, storage.Options{})
				storagetest.Put(t, s, "a/b", []byte("x"))
				if err := storage.CheckOwn(s, true); err != nil {
					t.Errorf("before: %v", err)
				}
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := plant(path); err != nil {
					t.Fatal(err)
				}
				for _, err := range []error{inTime(t, call(s)), inTime(t, func(context.Context) error { return storage.CheckOwn(s, true) })} {
					var wrong *storage.Misplaced
					var e *storage.Error
					if !errors.As(err, &wrong) || wrong.Path != filepath.Clean(path) || !strings.Contains(err.Error(), " is "+what+", where the store needs") {
						t.Fatalf("got %v, want that it names %s as %s", err, path, what)
					}
					if !errors.As(err, &e) || !strings.Contains(e.Hint(), "move it away") {
						t.Errorf("no way out in %v", e)
					}
				}
				if err := os.Rename(path, path+".away"); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Lstat(filepath.Join(filepath.Dir(path), "elsewhere")); err == nil {
					t.Error("a link was followed")
				}
				if name == "" || name == "tmp" {
					storagetest.Put(t, s, "a/b", []byte("x"))
				}
				if err := inTime(t, call(s)); err != nil {
					t.Errorf("moved away, it still stops: %v", err)
				}
			})
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestAFolderThatMayNotBeWritten: what is missing is named, the folder's permission where a name is to be made in it.
func TestAFolderThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	if !storagetest.Ordinary(t) {
		return
	}
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	storagetest.Put(t, s, "a/b/c", []byte("x"))
	tag, err := s.Swap(t.Context(), "m/t", "", []byte("x"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		mode  os.FileMode
		right string
		do    func() error
	}{
		{"a/b", 0o555, "write permission on " + root + "/a/b)", func() error { return put(t.Context(), s, "a/b/d", "x") }},
		{"a/b", 0o555, "write permission on " + root + "/a/b)", func() error { return put(t.Context(), s, "a/b/d/e", "x") }},
		{"a/b", 0o555, "write permission on " + root + "/a/b)", func() error { return s.Delete(t.Context(), "a/b/c") }},
		{"m", 0o555, "write permission on " + root + "/m)", func() error { return second(s.Swap(t.Context(), "m/t", tag, []byte("y"), "", "")) }},
		{"_store/tmp", 0o555, "write permission on " + root + "/_store/tmp)", func() error { return put(t.Context(), s, "d", "x") }},
		{"_store/lock", 0, "read and write permission on " + root + "/_store/lock)", func() error { return second(s.Swap(t.Context(), "m/t", tag, []byte("y"), "", "")) }},
		{"_store/lock", 0, "read and write permission on " + root + "/_store/lock)", func() error { return storage.CheckOwn(s, true) }},
		{"a/b", 0, "read permission on " + root + "/a/b)", func() error { return second(s.Stat(t.Context(), "a/b/c")) }},
	} {
		if err := os.Chmod(filepath.Join(root, c.path), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := c.do(); !errors.Is(err, storage.ErrForbidden) || !strings.Contains(err.Error(), "(needs "+c.right) {
			t.Errorf("%s with the mode %o: got %v, want %q", c.path, c.mode, err, c.right)
		}
		if err := os.Chmod(filepath.Join(root, c.path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALinkThatLeadsNowhere is no object: it stops no listing, reads as what is not there, and is named where an object
// belongs.
func TestALinkThatLeadsNowhere(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]string{"to nothing": "nothing", "to itself": "loop", "below a file": "file/x", "to a name that is too long": strings.Repeat("x", 300), "to a pipe": "pipe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s := openURL(t, "file://"+root, storage.Options{})
			storagetest.Put(t, s, "a/file", []byte("x"))
			storagetest.Put(t, s, "a/z", []byte("x"))
			loop := filepath.Join(root, "a/loop")
			for _, err := range []error{syscall.Mkfifo(filepath.Join(root, "a/pipe"), 0o666), os.Symlink(to, loop)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if keys := storagetest.Keys(t, s, "a/", ""); len(keys) != 2 {
				t.Errorf("listed: %q", keys)
			}
			if _, err := s.Stat(t.Context(), "a/loop"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("stat: %v", err)
			}
			for key, err := range map[string]error{"a/loop": put(t.Context(), s, "a/loop", "x"), "a/loop/b": put(t.Context(), s, "a/loop/b", "x")} {
				if !errors.Is(err, storage.ErrExists) || !strings.Contains(err.Error(), ": "+loop) || !strings.Contains(err.Error(), "move it out of the way") {
					t.Errorf("create %s: %v", key, err)
				}
			}
			if err := s.Delete(t.Context(), "a/loop"); err != nil {
				t.Errorf("delete: %v", err)
			}
		})
	}
}

// TestAFolderThatMayNotBeRead ends a listing: nobody can tell what it holds. It is named, with the way out.
func TestAFolderThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	if !storagetest.Ordinary(t) {
		return
	}
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	storagetest.Put(t, s, "a/b/c", []byte("x"))
	for _, mode := range []os.FileMode{0, 0o400} { // 0400: its names may be read, and nothing of what they name
		if err := os.Chmod(filepath.Join(root, "a/b"), mode); err != nil {
			t.Fatal(err)
		}
		var err error
		for _, err = range s.List(t.Context(), "a/", "") {
		}
		var e *storage.Error
		if !errors.Is(err, storage.ErrForbidden) || !errors.As(err, &e) || e.Right != "read permission on "+root+"/a/b" || !strings.Contains(e.Hint(), "remove it") {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err := os.Chmod(filepath.Join(root, "a/b"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
