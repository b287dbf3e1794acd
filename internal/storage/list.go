package storage

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List walks the directories that can hold a matching key. Names that are no key (the store's own, and what
// other programs left) and everything but files is passed over; a symbolic link to a directory is not followed.
func (s *dirStore) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		w := &dirWalk{store: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		w.walk("")
	}
}

type dirWalk struct {
	store         *dirStore
	ctx           context.Context
	prefix, after string
	yield         func(Info, error) bool
}

// walk yields the objects below a directory ("" or "a/b/") and tells whether to go on.
func (w *dirWalk) walk(dir string) bool {
	if err := w.ctx.Err(); err != nil {
		return w.stop(err)
	}
	entries, err := os.ReadDir(filepath.Join(w.store.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return true // an empty store, or removed meanwhile
	}
	if err != nil {
		return w.stop(err)
	}
	for _, name := range walkOrder(dir, entries) {
		var more bool
		if strings.HasSuffix(name, "/") {
			more = !w.mayHold(name) || w.walk(name)
		} else {
			more = w.file(name)
		}
		if !more {
			return false
		}
	}
	return true
}

// walkOrder gives the keys of a directory's entries, directories with a trailing slash, in the order of whole
// keys: "a-b" comes before "a/b", which comes before "a0".
func walkOrder(dir string, entries []fs.DirEntry) []string {
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		key := dir + entry.Name()
		if checkKey(key) != nil {
			continue
		}
		if entry.IsDir() {
			key += "/"
		}
		names = append(names, key)
	}
	slices.Sort(names)
	return names
}

func (w *dirWalk) mayHold(dir string) bool {
	if !strings.HasPrefix(dir, w.prefix) && !strings.HasPrefix(w.prefix, dir) {
		return false
	}
	return dir > w.after || strings.HasPrefix(w.after, dir)
}

func (w *dirWalk) file(key string) bool {
	if !strings.HasPrefix(key, w.prefix) || key <= w.after {
		return true
	}
	fi, err := os.Stat(w.store.path(key))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular() {
		return true
	}
	if err != nil {
		return w.stop(err)
	}
	return w.yield(Info{Key: key, Size: fi.Size(), Modified: fi.ModTime()}, nil)
}

func (w *dirWalk) stop(err error) bool {
	w.yield(Info{}, w.store.fail("list", w.prefix, err))
	return false
}
