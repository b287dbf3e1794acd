package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// ErrOffline says that something needs the store and there is none.
var ErrOffline = errors.New("this needs the catalog's store, and the command works offline")

// FetchResult says what Fetch did.
type FetchResult struct {
	Release   manifest.Release
	SHA256    string // of the manifest
	Dir       string // the final directory
	Unchanged bool   // it was there already, with exactly these bytes
	Files     int    // files and links
	Size      int64  // bytes as a host has them
	Moves
}

// Moves tells where a release's bytes came from.
type Moves struct {
	Moved    int64 // bytes that came from the store
	Requests int   // for blobs
	Kept     int64 // raw bytes that an interrupted fetch had left
	Local    int64 // raw bytes found in earlier releases and other seeds, and zeros
	Zeros    int64 // those of them that are zeros
	Delta    int64 // raw bytes made by deltas
}

// Fetch brings a visible release into the directory into: the release engineer's
// files under their own paths with modes 0644 and 0755, and nothing else. A missing
// directory is made, an empty one is filled (unless it is a mount point), one that holds exactly this release is
// left as it is; any other is *Occupied. On every error the name is as it was before.
// What was interrupted goes on from the verified chunks that it left in a hidden
// directory beside into.
//
// Errors: *NotVisible, *Occupied, *Mismatch, *NoSpace, *Interrupted, ErrOffline, and
// those of the catalog and the store.
func (f *Fetcher) Fetch(ctx context.Context, v *catalog.View, r manifest.Release, into string) (*FetchResult, error) {
	if f.Store == nil {
		return nil, ErrOffline
	}
	if _, err := f.visible(ctx, v, r); err != nil {
		return nil, err
	}
	m, raw, err := v.Manifest(ctx, r)
	if err != nil {
		return nil, err
	}
	target, err := resolveTarget(into)
	if err != nil {
		return nil, err
	}
	result := newFetchResult(m, raw, into)
	if state, err := f.occupancy(ctx, m, target); err != nil || state == holdsRelease {
		result.Unchanged = true
		if err == nil {
			err = f.hold(r, result.SHA256, target)
		}
		return result, err
	}
	moves, err := f.materialize(ctx, &assembly{view: v, m: m, sha: result.SHA256, target: target, durably: true})
	result.Moves = moves
	if errors.Is(err, errTaken) {
		// Another fetch of the same release was quicker, or somebody put something there: never replaced.
		if state, again := f.occupancy(ctx, m, target); again == nil && state == holdsRelease {
			result.Unchanged, err = true, nil
		} else if again != nil {
			err = again
		}
	}
	if err != nil {
		return nil, err
	}
	return result, f.hold(r, result.SHA256, target)
}

func newFetchResult(m *manifest.Manifest, raw []byte, into string) *FetchResult {
	sum := sha256.Sum256(raw)
	result := &FetchResult{Release: m.Release(), SHA256: hex.EncodeToString(sum[:]), Dir: into}
	for _, e := range contents(m) {
		if e.kind != dirEntry {
			result.Files++
			result.Size += e.size
		}
	}
	return result
}

// resolveTarget gives the absolute name to work on. A symbolic link to a directory
// stands for that directory.
func resolveTarget(into string) (string, error) {
	if strings.TrimSpace(into) == "" {
		return "", errors.New("fetch needs the name of a directory")
	}
	target, err := filepath.Abs(into)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real
	}
	return target, nil
}

type occupancy int

const (
	free         occupancy = iota // absent, or an empty directory
	holdsRelease                  // exactly the release
)

// occupancy tells what is under the final name. Anything else is *Occupied.
func (f *Fetcher) occupancy(ctx context.Context, m *manifest.Manifest, target string) (occupancy, error) {
	info, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return free, nil
	}
	if err != nil {
		return free, err
	}
	if !info.IsDir() {
		return free, &Occupied{Dir: target, Release: m.Release(), Reason: "not a directory"}
	}
	dir, err := os.Open(target)
	if err != nil {
		return free, err
	}
	_, err = dir.Readdirnames(1)
	dir.Close()
	switch {
	case err == io.EOF && isMountPoint(target):
		return free, &Occupied{Dir: target, Release: m.Release(), Reason: "a mount point, and a release gets its name in one step", Within: true}
	case err == io.EOF:
		return free, nil
	case err != nil:
		return free, err
	}
	err = f.VerifyFiles(ctx, m, target)
	var differs *FilesDiffer
	if errors.As(err, &differs) {
		return free, &Occupied{Dir: target, Release: m.Release(), Reason: differs.Differences[0]}
	}
	return holdsRelease, err
}

// placeTree unpacks a tree's canonical tar. Paths come from the manifest, never from the archive.
func placeTree(r manifest.Release, a *manifest.Artifact, s *staging, content io.Reader) error {
	if err := s.mkdirs(path.Clean(a.Path)); err != nil {
		return err
	}
	err := manifest.ReadTree(content, a.Files, func(file manifest.TreeFile, data io.Reader) error {
		name := a.Path + file.Path
		switch {
		case file.Link != "":
			return s.symlink(name, file.Link)
		case strings.HasSuffix(file.Path, "/"):
			return s.mkdirs(path.Clean(name))
		}
		return s.write(name, file.Executable, data)
	})
	if err == nil {
		// The archive's own digest covers what follows its last entry.
		_, err = io.Copy(io.Discard, content)
	}
	return treeError(r, a, content, err)
}

// treeError prefers what the artifact's own digests say to what the archive's reader noticed.
func treeError(r manifest.Release, a *manifest.Artifact, content io.Reader, err error) error {
	var known *Mismatch
	var local *fs.PathError
	if err == nil || errors.As(err, &known) || errors.As(err, &local) || errors.Is(err, context.Canceled) {
		return err
	}
	if _, cause := io.Copy(io.Discard, content); cause != nil {
		return cause
	}
	return &Mismatch{Release: r, Path: a.Path, What: "tree", Want: "the files its manifest lists", Got: err.Error()}
}

// NoSpace says that a release does not fit on a disk (exit 1). Nothing is left behind.
type NoSpace struct {
	Release manifest.Release
	Dir     string
	Need    int64 // bytes of the whole release
	Err     error
}

func (e *NoSpace) Error() string {
	return fmt.Sprintf("no space for %s below %s: it needs %d bytes; nothing was left behind (%v)", e.Release, e.Dir, e.Need, e.Err)
}

// Unwrap gives the system's error.
func (e *NoSpace) Unwrap() error { return e.Err }

// Hint says what helps.
func (e *NoSpace) Hint() string { return "free space on that disk, or fetch into another one" }

func noSpace(m *manifest.Manifest, target string, err error) error {
	if !isFull(err) {
		return err
	}
	return &NoSpace{Release: m.Release(), Dir: filepath.Dir(target), Need: releaseSize(m), Err: err}
}

// isFull tells whether an error is that of a disk, or a share of it, that takes no more.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// releaseSize is how many bytes the artifacts of a release have.
func releaseSize(m *manifest.Manifest) int64 {
	size := m.Marmite.Size
	for _, a := range m.Artifacts {
		size += a.Size
	}
	return size
}
