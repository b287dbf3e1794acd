package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// cache makes the next publication cheaper. It holds nothing that cannot be made again; whatever is wrong with it by accident
// costs time only. It is for its owner alone: who writes seals of his own can have frames stored that readers refuse.
//
//	lock                                  held by the one publication that uses it
//	files.json                            digests of what was published from here, by name, with size, times and inode
//	<stored sha256>.<index sha256>        stored objects of the last publications: frames that need not be made again
//	<the same>.<raw sha256>.seals         seals of the frames of an object, here or in a store that is a directory
//	<index sha256>.index                  indexes of the objects here
//	<manifest sha256>.artifacts           what manifests say of their artifacts, without the files of trees: quicker to read
//	tmp-*                                 spools under way
//
// Objects are used only when a signed manifest names them, and their bytes have the digest that it says or a frame its seal.
type cache struct {
	dir   string
	lock  *flock.Flock
	files map[string]stamp
}

const (
	cacheTemp     = "tmp-"
	cacheStamps   = "files.json"
	cacheIndex    = ".index"
	cacheSeals    = ".seals"
	cacheManifest = ".artifacts"
	maxStamps     = 10_000
	maxStampsFile = 16 << 20
	// maxCached bounds the stored objects that are kept, in bytes; the oldest go first.
	maxCached = 16 << 30
	// maxSeals bounds the seals, in bytes: those of some 400 GiB of stored objects.
	maxSeals = 64 << 20
	// maxManifests bounds what is kept of manifests, in bytes.
	maxManifests = 64 << 20
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
	c.trim() // what one that was killed kept
	if f, err := durable.Open(filepath.Join(dir, cacheStamps)); err == nil {
		data, err := io.ReadAll(io.LimitReader(f, maxStampsFile))
		f.Close()
		if err != nil || json.Unmarshal(data, &c.files) != nil || c.files == nil { // null is no error
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
	c.trim()
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

// published tells whether something with this digest was published from here.
func (c *cache) published(sha string) bool {
	if c == nil {
		return false
	}
	for _, s := range c.files {
		if s.SHA256 == sha {
			return true
		}
	}
	return false
}

// remember notes an item that was read.
func (c *cache) remember(dir string, it *item) {
	if c != nil {
		c.files[filepath.Join(dir, it.path)] = stamp{it.look(), it.artifact.SHA256, it.artifact.Size}
	}
}

// sealsPath names the raw digest, too: seals say that an object is that artifact.
func (c *cache) sealsPath(a *manifest.Artifact) string {
	return c.objectPath(a) + "." + a.SHA256 + cacheSeals
}

func (c *cache) objectPath(a *manifest.Artifact) string {
	return filepath.Join(c.dir, a.Stored.SHA256+"."+a.Index.SHA256)
}

func (c *cache) indexPath(a *manifest.Artifact) string {
	return filepath.Join(c.dir, a.Index.SHA256+".index")
}

// keep takes a stored object over from its spool, and the seals of its frames.
func (c *cache) keep(a *manifest.Artifact, p *packed) {
	if c == nil || p.seals == nil {
		return
	}
	c.keepSeals(a, p.seals)
	if spool, ok := p.spool.(*fileSpool); ok && spool.named && a.Stored.Size <= maxCached/2 {
		if durable.WriteFile(c.indexPath(a), p.bytes, 0o600) == nil && os.Rename(spool.Name(), c.objectPath(a)) == nil {
			spool.named = false
		}
	}
	c.trim()
}

// trim removes the oldest objects and seals until the rest fits, and indexes without an object.
func (c *cache) trim() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var objects, sealed, manifests []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		stored, index, _ := strings.Cut(e.Name(), ".")
		switch {
		case err != nil || len(stored) != sha256.Size*2:
		case len(index) == sha256.Size*2:
			objects = append(objects, info)
		case strings.HasSuffix(index, cacheSeals):
			sealed = append(sealed, info)
		case "."+index == cacheManifest:
			manifests = append(manifests, info)
		}
	}
	c.removeOldest(sealed, maxSeals)
	c.removeOldest(manifests, maxManifests)
	used := map[string]bool{}
	for _, info := range c.removeOldest(objects, maxCached) {
		used[info.Name()[sha256.Size*2+1:]+cacheIndex] = true
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), cacheIndex) && !used[e.Name()] {
			os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
}

// removeOldest removes files until the rest has at most so many bytes, and gives the rest.
func (c *cache) removeOldest(files []os.FileInfo, most int64) (rest []os.FileInfo) {
	slices.SortFunc(files, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for i, info := range files {
		if most -= info.Size(); most < 0 {
			for _, old := range files[i:] {
				os.Remove(filepath.Join(c.dir, old.Name()))
			}
			return files[:i]
		}
	}
	return files
}

// object opens a kept object, and reads its index, which is held to the manifest that names both; the object's bytes are not.
// Nil when it is not here.
func (c *cache) object(a *manifest.Artifact) (*os.File, chunk.Index) {
	if c == nil || !a.Chunked() {
		return nil, nil
	}
	x, err := readIndexFile(c.indexPath(a), a)
	if err != nil {
		return nil, nil
	}
	f, err := durable.Open(c.objectPath(a))
	if err != nil {
		return nil, nil
	}
	return f, x
}

// whole is object, read and held to its digest. What is damaged is removed.
func (c *cache) whole(ctx context.Context, a *manifest.Artifact) (*os.File, chunk.Index) {
	f, x := c.object(a)
	if f == nil {
		return nil, nil
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(&itemReader{ctx: ctx, Reader: f}, a.Stored.Size+1))
	if err == nil && n == a.Stored.Size && hexSum(sum) == a.Stored.SHA256 {
		return f, x
	}
	f.Close()
	if err == nil {
		c.forget(a)
	}
	return nil, nil
}

// forget removes an object that turned out to be damaged.
func (c *cache) forget(a *manifest.Artifact) {
	if c != nil {
		os.Remove(c.objectPath(a))
	}
}

// seals are those of an artifact's object, if it was sealed from here.
func (c *cache) seals(a *manifest.Artifact, frames int) *seals {
	if c == nil {
		return nil
	}
	data, err := readCached(c.sealsPath(a), int64(sealKey+frames*sealSize))
	if err != nil {
		return nil
	}
	s, err := parseSeals(data, frames)
	if err != nil {
		return nil
	}
	return s
}

func (c *cache) keepSeals(a *manifest.Artifact, s *seals) {
	if c != nil {
		_ = durable.WriteFile(c.sealsPath(a), s.encode(), 0o600) // lost, they cost one reading
	}
}

// manifest is what the manifest with a digest, of a release, says of its artifacts; nil where that is not kept.
func (c *cache) manifest(sha string, r manifest.Release) *manifest.Manifest {
	if c == nil {
		return nil
	}
	data, err := readCached(filepath.Join(c.dir, sha+cacheManifest), maxManifests)
	if err != nil {
		return nil
	}
	var m manifest.Manifest
	if json.Unmarshal(data, &m) != nil || m.Release() != r {
		return nil
	}
	for _, o := range m.Objects() {
		if !isSHA256(o.SHA256) {
			return nil
		}
	}
	return &m
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

func (c *cache) keepManifest(sha string, m *manifest.Manifest) {
	if c == nil {
		return
	}
	if data, err := json.Marshal(m); err == nil {
		_ = durable.WriteFile(filepath.Join(c.dir, sha+cacheManifest), data, 0o600) // lost, it costs parsing it again
	}
}

func readIndexFile(name string, a *manifest.Artifact) (chunk.Index, error) {
	data, err := readCached(name, a.Index.Size)
	if err != nil {
		return nil, err
	}
	if digest(data) != a.Index.SHA256 {
		os.Remove(name)
		return nil, errDamaged
	}
	return chunk.ParseIndex(data)
}

// readCached reads a file that should have so many bytes, and not many more.
func readCached(name string, size int64) ([]byte, error) {
	f, err := durable.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, size+1))
}
