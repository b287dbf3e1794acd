package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// TestASpoolIsNoObjectBeforeItHasAName: it is created whole, over nobody else's, and leaves nothing when it is not.
func TestASpoolIsNoObjectBeforeItHasAName(t *testing.T) {
	t.Parallel()
	ctx, root := t.Context(), t.TempDir()
	store := openURL(t, "file://"+root, storage.Options{})
	local, ok := store.(storage.Local)
	if !ok {
		t.Fatal("a directory is on this machine")
	}
	spool := func(text string) *storage.Spool {
		s, err := local.Spool(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := spool("one and two")
	for info, err := range store.List(ctx, "", "") {
		t.Fatalf("%+v is listed: %v", info, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Create(ended, "a/object"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if err := s.Create(ctx, "a/object"); err != nil {
		t.Fatal(err)
	}
	if got, _, err := storage.ReadAll(ctx, store, "a/object", 100); err != nil || string(got) != "one and two" {
		t.Errorf("%q: %v", got, err)
	}
	if err := spool("one and two").Create(ctx, "a/object"); err != nil {
		t.Errorf("the same bytes again: %v", err)
	}
	if err := spool("other bytes").Create(ctx, "a/object"); !errors.Is(err, storage.ErrExists) {
		t.Errorf("other bytes: %v", err)
	}
	given := spool("given up")
	given.Close()
	s.Close()
	f, err := local.File(ctx, "a/object")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := make([]byte, 11); true {
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != "one and two" {
			t.Errorf("%q: %v", got, err)
		}
	}
	if _, err := local.File(ctx, "not/there"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	if files, err := os.ReadDir(filepath.Join(root, "_store", "tmp")); err != nil || len(files) != 2 { // those that are open still
		t.Errorf("%v are left: %v", files, err)
	}
}

// TestALinkInThePlaceOfTheStoresOwnDirectory: what lies where it leads is nobody's leftover.
func TestALinkInThePlaceOfTheStoresOwnDirectory(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"_store", "_store/tmp"} {
		root, elsewhere := t.TempDir(), t.TempDir()
		precious := filepath.Join(elsewhere, "tmp", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
		link := filepath.Join(elsewhere, "tmp")
		if place == "_store" {
			link = elsewhere
		}
		for _, err := range []error{os.MkdirAll(filepath.Dir(precious), 0o700), os.WriteFile(precious, []byte("key"), 0o600),
			os.MkdirAll(filepath.Dir(filepath.Join(root, place)), 0o700), os.Symlink(link, filepath.Join(root, place))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		store := openURL(t, "file://"+root, storage.Options{})
		if err := store.Create(t.Context(), "a", strings.NewReader("x"), 1, "text/plain", ""); err == nil || !strings.Contains(err.Error(), "is a link") {
			t.Errorf("%s: %v", place, err)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}
