package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// cache makes the next publication cheaper. It holds no secrets and nothing that cannot be made again; whatever is
// wrong with it costs time only.
//
//	lock                            held by the one publication that uses it
//	files.json                      digests of what was published from here, by name, with size, times and inode
//	<stored sha256>.<index sha256>  stored objects of the last publications: frames that need not be made again
//	<index sha256>.index            their indexes
//	tmp-*                           spools under way
//
// Objects are used only when a signed manifest names them and their bytes have the digest that it says.
type cache struct {
	dir   string
	lock  *flock.Flock
	files map[string]stamp
}

const (
	cacheTemp     = "tmp-"
	cacheStamps   = "files.json"
	maxStamps     = 10_000
	maxStampsFile = 16 << 20
	// maxCached bounds the stored objects that are kept, in bytes; the oldest go first.
	maxCached = 16 << 30
)

// stamp is what a file or a tree looked like when its raw bytes had this digest.
type stamp struct {
	Look   string `json:"look"` // digest of names, sizes, times and inodes
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// openCache gives nil where there is none to use: no directory is given, it cannot be made, or another publication
// uses it.
func openCache(dir string) *cache {
	if dir == "" || durable.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	c := &cache{dir: dir, lock: durable.LockFile(filepath.Join(dir, "lock"), 0o600), files: map[string]stamp{}}
	if free, err := c.lock.TryLock(); err != nil || !free {
		c.lock.Close()
		return nil
	}
	if left, err := filepath.Glob(filepath.Join(dir, cacheTemp+"*")); err == nil {
		for _, name := range left {
			os.Remove(name)
		}
	}
	if f, err := durable.Open(filepath.Join(dir, cacheStamps)); err == nil {
		data, err := io.ReadAll(io.LimitReader(f, maxStampsFile))
		f.Close()
		if err != nil || json.Unmarshal(data, &c.files) != nil {
			c.files = map[string]stamp{}
		}
	}
	return c
}

// close writes the stamps down and gives the cache free.
func (c *cache) close() {
	if c == nil {
		return
	}
	for name := range c.files {
		if len(c.files) <= maxStamps {
			break
		}
		delete(c.files, name)
	}
	if data, err := json.Marshal(c.files); err == nil {
		_ = durable.WriteFile(filepath.Join(c.dir, cacheStamps), data, 0o600) // a lost stamp costs one reading
	}
	c.lock.Close()
}

// look digests what an item looks like without reading it.
func (it *item) look() string {
	h := sha256.New()
	names := make([]string, 0, len(it.stamps))
	for name := range it.stamps {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(h, "unpack %t\n", it.unpack)
	for _, f := range it.artifact.Files {
		fmt.Fprintf(h, "%q %q %t\n", f.Path, f.Link, f.Executable)
	}
	for _, name := range names {
		info := it.stamps[name]
		fmt.Fprintf(h, "%q %d %d %v", name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(h, " %d %d %d.%09d", sys.Dev, sys.Ino, sys.Ctim.Sec, sys.Ctim.Nsec)
		}
		fmt.Fprintln(h)
	}
	return hexSum(h)
}

// presumed is the digest that an item had when it looked as it does now.
func (c *cache) presumed(dir string, it *item) (stamp, bool) {
	if c == nil {
		return stamp{}, false
	}
	s, ok := c.files[filepath.Join(dir, it.path)]
	return s, ok && s.Look == it.look() && len(s.SHA256) == sha256.Size*2
}

// remember notes an item that was read.
func (c *cache) remember(dir string, it *item) {
	if c != nil {
		c.files[filepath.Join(dir, it.path)] = stamp{it.look(), it.artifact.SHA256, it.artifact.Size}
	}
}

func (c *cache) objectPath(a *manifest.Artifact) string {
	return filepath.Join(c.dir, a.Stored.SHA256+"."+a.Index.SHA256)
}

func (c *cache) indexPath(a *manifest.Artifact) string {
	return filepath.Join(c.dir, a.Index.SHA256+".index")
}

// keep takes a stored object over from its spool.
func (c *cache) keep(a *manifest.Artifact, p *packed) {
	spool, ok := p.spool.(*fileSpool)
	if c == nil || !ok || !spool.named || a.Stored.Size > maxCached/2 {
		return
	}
	if durable.WriteFile(c.indexPath(a), p.bytes, 0o600) != nil {
		return
	}
	if os.Rename(spool.Name(), c.objectPath(a)) == nil {
		spool.named = false
		c.trim()
	}
}

// trim removes the oldest objects until the rest fits, and indexes without an object.
func (c *cache) trim() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var objects []os.FileInfo
	used := map[string]bool{}
	for _, e := range entries {
		if stored, index, ok := strings.Cut(e.Name(), "."); ok && len(stored) == len(index) && len(stored) == sha256.Size*2 {
			if info, err := e.Info(); err == nil {
				objects = append(objects, info)
			}
		}
	}
	slices.SortFunc(objects, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	left := int64(maxCached)
	for _, info := range objects {
		if left -= info.Size(); left < 0 {
			os.Remove(filepath.Join(c.dir, info.Name()))
			continue
		}
		used[info.Name()[sha256.Size*2+1:]+".index"] = true
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".index") && !used[e.Name()] {
			os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
}

// object opens a kept object and its index, both held to the manifest that names them. Nil when it is not here; what is
// damaged is removed.
func (c *cache) object(ctx context.Context, a *manifest.Artifact) *earlierObject {
	if c == nil || !a.Chunked() {
		return nil
	}
	x, err := readIndexFile(c.indexPath(a), a)
	if err != nil {
		return nil
	}
	f, err := durable.Open(c.objectPath(a))
	if err != nil {
		return nil
	}
	o, err := readEarlier(ctx, f, x, a.Stored)
	if errors.Is(err, errDamaged) {
		os.Remove(c.objectPath(a))
	}
	return o
}

func readIndexFile(name string, a *manifest.Artifact) (chunk.Index, error) {
	f, err := durable.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, a.Index.Size+1))
	if err != nil {
		return nil, err
	}
	if digest(data) != a.Index.SHA256 {
		os.Remove(name)
		return nil, errDamaged
	}
	return chunk.ParseIndex(data)
}
