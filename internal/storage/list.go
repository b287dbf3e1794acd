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
	"syscall"
)

// List walks the directories that can hold a matching key. Names that are no key (the store's own, and what
// other programs left) and everything but files is passed over, links that lead nowhere included; a symbolic link to a
// directory is not followed. A directory that may not be read ends it: what it holds may be needed.
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
	if errors.Is(err, fs.ErrNotExist) || dir != "" && noObject(err) {
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
	if noObject(err) || err == nil && !fi.Mode().IsRegular() {
		return true
	}
	if err != nil {
		return w.stop(err)
	}
	return w.yield(Info{Key: key, Size: fi.Size(), Modified: fi.ModTime()}, nil)
}

// noObject tells by an error of the file system that a name leads to nothing: it is not there, or a link that ends nowhere,
// in itself, below a file, or in a name that is too long.
func noObject(err error) bool {
	for _, nothing := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, nothing) {
			return true
		}
	}
	return false
}

func (w *dirWalk) stop(err error) bool {
	w.yield(Info{}, w.store.fail("list", w.prefix, err))
	return false
}
