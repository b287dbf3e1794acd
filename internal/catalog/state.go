package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/durable"
)

// Names below the state directory.
const (
	lockFile      = "lock"
	pinFile       = "pin.json"
	timestampFile = "timestamp.json"
	etagFile      = "timestamp.etag"
	snapshotFile  = "snapshot.json"
	memoryA       = "memory.a.json"
	memoryB       = "memory.b.json"
)

const (
	maxSmall  = 64 << 10 // bytes of pin.json and timestamp.etag
	maxMemory = 64 << 20 // bytes of one copy of the memory

	lockPoll    = 50 * time.Millisecond // how often a taken lock is tried again
	offlineWait = 5 * time.Second       // how long an offline reader waits for a refresh under way
)

func rootFile(version int64) string {
	return filepath.Join("root", strconv.FormatInt(version, 10)+".root.json")
}

// roleFile percent-encodes the name, so that it stays one file whatever a foreign role is called.
func roleFile(role string) string { return filepath.Join("roles", url.PathEscape(role)+".json") }

func manifestFile(sha string) string { return filepath.Join("manifests", sha+".toml") }
func registryFile(sha string) string { return filepath.Join("registry", sha+".toml") }
func policyFile(sha string) string   { return filepath.Join("policy", sha+".toml") }

// stateDir reads and writes the files of a state directory. Nothing in it is trusted when read.
type stateDir struct{ dir string }

func (s stateDir) path(name string) string { return filepath.Join(s.dir, name) }

// read gives the bytes of a file; anything but a readable file of at most max bytes counts as absent.
func (s stateDir) read(name string, max int64) ([]byte, bool) {
	f, err := durable.Open(s.path(name))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil || int64(len(data)) > max || len(data) == 0 {
		return nil, false
	}
	return data, true
}

// write replaces a file durably. Callers have verified the bytes.
func (s stateDir) write(name string, data []byte) error {
	path := s.path(name)
	if err := s.makeRoom(path); err != nil {
		return err
	}
	var err error
	for range 3 { // a view writes without the lock, so that a sweep may take its unfinished file
		if err = durable.WriteFile(path, data, 0o644); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// makeRoom makes the directory of a file, and takes an empty directory out of the file's place.
func (s stateDir) makeRoom(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return &StateDamaged{Path: dir, Reason: "should be a directory"}
	}
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() && os.Remove(path) != nil {
		return &StateDamaged{Path: path, Reason: "should be a file, and is a directory that is not empty"}
	}
	return nil
}

// sweep removes the unfinished files of writers that were killed. The caller holds the exclusive lock: nobody else
// is refreshing, and a view that writes a manifest or registry entry just now tries again (see write). Failing to
// remove something is no harm.
func (s stateDir) sweep() {
	for _, name := range []string{".", "root", "roles", "manifests", "registry", journalStateDir, reportStateDir} {
		dir := s.path(name)
		if info, err := os.Lstat(dir); name != "." && (err != nil || !info.IsDir()) {
			continue // not ours to clean, whatever a link leads to
		}
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if entry.Type().IsRegular() && strings.HasPrefix(entry.Name(), durable.TempPrefix) {
				os.Remove(filepath.Join(dir, entry.Name()))
			}
		}
	}
}

// names are the names in a directory of the state; none where it cannot be read, or is none of its own.
func (s stateDir) names(dir string) []string {
	path := s.path(dir)
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return nil
	}
	entries, _ := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

// remove takes the files of a directory away. Failing to remove something is no harm.
func (s stateDir) remove(dir string) {
	for _, name := range s.names(dir) {
		os.Remove(filepath.Join(s.path(dir), name))
	}
}

// used tells that a refresh got as far as a timestamp here before.
func (s stateDir) used() bool {
	return slices.ContainsFunc([]string{pinFile, timestampFile, snapshotFile}, func(name string) bool {
		_, err := os.Lstat(s.path(name))
		return err == nil
	})
}

// flock is the lock, not taken yet, which has to be a file.
func (s stateDir) flock() (*flock.Flock, error) {
	path := s.path(lockFile)
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &StateDamaged{Path: path, Reason: "should be a plain file, it is the lock"}
	}
	return durable.LockFile(path, 0o644), nil
}

// lock takes the exclusive lock, and waits for it as long as ctx lets it.
func (s stateDir) lock(ctx context.Context) (unlock func(), err error) {
	if err := durable.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	l, err := s.flock()
	if err != nil {
		return nil, err
	}
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		l.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for another process to leave state directory %s: %w", s.dir, ctx.Err())
		}
		return nil, fmt.Errorf("lock state directory %s: %w", s.dir, err)
	}
	return func() { l.Close() }, nil
}

// lockShared keeps refreshes out while an offline reader reads. It is a courtesy: files are replaced atomically
// and verified together, so that a reader without the lock (read-only directory, a refresh that hangs) may have
// to refuse, but is never misled.
func (s stateDir) lockShared(ctx context.Context) (unlock func()) {
	if _, err := os.Stat(s.dir); err != nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, offlineWait)
	defer cancel()
	l, err := s.flock()
	if err != nil {
		return func() {}
	}
	if _, err := l.TryRLockContext(ctx, lockPoll); err != nil {
		l.Close()
		return func() {}
	}
	return func() { l.Close() }
}

// checked is a body with its own digest, against bit rot and half-finished copies, not against people.
type checked struct {
	Checksum string          `json:"checksum"` // sha256 of Body's bytes, hex
	Body     json.RawMessage `json:"body"`
}

func sealChecked(body []byte) ([]byte, error) {
	return json.Marshal(checked{Checksum: sha256Hex(body), Body: body})
}

func openChecked(data []byte) ([]byte, error) {
	var c checked
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if sha256Hex(c.Body) != c.Checksum {
		return nil, errors.New("checksum differs")
	}
	return c.Body, nil
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
