package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// disk makes an image that is stored in chunks; edits change it here and there.
func disk(edits int) string {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 12<<20)
	for i := range b {
		b[i] = "abcdefghijklmnop"[r.IntN(16)]
	}
	for i := range edits {
		copy(b[(i+1)*(len(b)/(edits+1)):], fmt.Sprintf("edited in place %d", i))
	}
	return string(b)
}

// blobCounter counts the bytes of blobs that are read, and cuts the store off after some.
type blobCounter struct {
	storage.Store
	mu    sync.Mutex
	bytes int64
	after int64 // bytes until cut; 0: never
	cut   func() error
}

func (s *blobCounter) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	body, info, err := s.Store.Open(ctx, key, offset, length)
	if err != nil || !strings.HasPrefix(key, "blobs/") {
		return body, info, err
	}
	return &countedBlob{body, s}, info, nil
}

type countedBlob struct {
	io.ReadCloser
	s *blobCounter
}

func (b *countedBlob) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.bytes += int64(n)
	if b.s.after > 0 && b.s.bytes > b.s.after {
		return 0, b.s.cut()
	}
	return n, err
}

func TestAnInterruptedFetchGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"images/disk.img": disk(0), "notes": "small"}, Trees: map[string]map[string]string{
		"puppet/": {"big": disk(3), "site.pp": "node {}\n"}}})
	for _, c := range []string{"the store goes away", "Ctrl-C"} {
		t.Run(c, func(t *testing.T) {
			f := at(t, w, "acme/prod", "")
			v := f.view(t)
			counter := &blobCounter{Store: f.Fetcher.Store, after: 6 << 20}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			counter.cut = func() error { return fmt.Errorf("%w: gone", storage.ErrUnavailable) }
			if c == "Ctrl-C" {
				counter.cut = func() error { cancel(); return context.Canceled }
			}
			f.Fetcher.Store = counter
			f.Fetcher.Transfer.Parallel = 1
			into := filepath.Join(t.TempDir(), "live")
			_, err := f.Fetch(ctx, v, m.Release(), into)
			var kept *Interrupted
			if !errors.As(err, &kept) || kept.Kept == 0 || kept.Hint() == "" {
				t.Fatalf("error %v, want *Interrupted", err)
			}
			if _, err := os.Lstat(into); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("something is visible: %v", err)
			}
			first := counter.bytes
			counter.after, counter.bytes = 0, 0
			result, err := f.Fetch(t.Context(), v, m.Release(), into)
			if err != nil {
				t.Fatal(err)
			}
			var stored int64
			for _, o := range m.Objects() {
				stored += o.Size
			}
			if result.Kept == 0 || result.Moved != counter.bytes || first+counter.bytes > stored+4<<20 {
				t.Errorf("%d bytes moved, then %+v (%d), of %d", first, result.Moves, counter.bytes, stored)
			}
			if err := f.VerifyFiles(t.Context(), m, into); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(into), ".*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestAnInterruptedRunGoesOn: the store lets nobody in any more; later it does. The next run has another private folder, and goes on all the same; another release that
// fails meanwhile takes nothing away.
func TestAnInterruptedRunGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, "openstack@1.0.0", oneImage(disk(0)))
	ready(w, "openstack@1.0.1", oneImage(disk(1)))
	f := at(t, w, "acme/staging", say)
	v, counter := f.view(t), f.counted()
	counter.after, counter.cut = 3<<20, func() error { return fmt.Errorf("%w: the key expired", storage.ErrForbidden) }
	f.Fetcher.Transfer.Parallel = 1
	_, err := f.Run(t.Context(), v, RunOptions{})
	var kept *Interrupted
	if !errors.As(err, &kept) || kept.Release.Version != "1.0.0" {
		t.Fatalf("error %v, want *Interrupted", err)
	}
	f.assertRan(t)
	first := counter.bytes
	counter.after, counter.bytes = 0, 0
	r := release(t, "openstack@1.0.0")
	if _, err := f.Run(t.Context(), v, RunOptions{Only: &r}); err != nil {
		t.Fatal(err)
	}
	f.assertRan(t, r.String())
	if stored := w.Store; first+counter.bytes > 8<<20 || counter.bytes > first+1<<20 {
		t.Errorf("%d bytes moved, then %d, from %s", first, counter.bytes, stored.URL())
	}
	if left := names(t, filepath.Join(string(f.siteDir(f.Site.ID)), "incoming")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestKilledAfterItsFilesHadTheirPlaces: nothing moves again but the indexes and what is small.
func TestKilledAfterItsFilesHadTheirPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"images/disk.img": disk(0), "notes": "small"},
		Trees: map[string]map[string]string{"puppet/": {"big": disk(3), "site.pp": "node {}"}}})
	f := at(t, w, "acme/prod", "")
	v, target := f.view(t), filepath.Join(t.TempDir(), "live")
	result, err := f.Fetch(t.Context(), v, m.Release(), target)
	if err != nil {
		t.Fatal(err)
	}
	sha := result.SHA256
	killed, err := newStaging(target+"2", target+"2", sha)
	if err != nil {
		t.Fatal(err)
	}
	// As a process leaves it that is killed while it flushes what it is about to rename.
	if err := errors.Join(os.Remove(filepath.Join(killed.dir, stagedRelease)), os.Rename(target, filepath.Join(killed.dir, stagedRelease))); err != nil {
		t.Fatal(err)
	}
	killed.release()
	again, err := f.Fetch(t.Context(), v, m.Release(), target+"2")
	if err != nil {
		t.Fatal(err)
	}
	var indexes int64
	for _, a := range m.Artifacts {
		indexes += a.Index.Size
	}
	if again.Moved != indexes || again.Kept != int64(len(disk(0))) {
		t.Errorf("moves %+v, the indexes have %d", again.Moves, indexes)
	}
	if err := f.VerifyFiles(t.Context(), m, target+"2"); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(target), ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLeftoversOfAnotherReleaseAreNotTaken(t *testing.T) {
	t.Parallel()
	target := filepath.Join(t.TempDir(), "live")
	s, err := newStaging(target, target, "one")
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.part("0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.WriteString("bytes"); err != nil {
		t.Fatal(err)
	}
	part.Close()
	if s.leave() == 0 {
		t.Fatal("nothing kept")
	}
	other, err := newStaging(target, target, "two")
	if err != nil {
		t.Fatal(err)
	}
	defer other.discard()
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(target), ".*")); len(left) != 1 || left[0] != other.dir {
		t.Errorf("left: %v", left)
	}
	if parts, err := os.ReadDir(filepath.Join(other.dir, stagedParts)); err != nil || len(parts) > 0 {
		t.Errorf("parts of another release: %v, %v", parts, err)
	}
}

// TestALinkAmongThePartsIsNotFollowed: whoever may write beside the target cannot have another file written over.
func TestALinkAmongThePartsIsNotFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "live")
	s, err := newStaging(target, target, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.discard()
	if err := os.Symlink(victim, filepath.Join(s.dir, stagedParts, "0")); err != nil {
		t.Fatal(err)
	}
	part, err := s.part("0")
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	if err := part.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the victim holds %q, %v", data, err)
	}
}

func TestTheNextReleaseComesFromTheLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"images/disk.img": disk(0), "notes": "same"}})
	second := ready(w, "openstack@2.0.0", catalogtest.Content{Files: map[string]string{"images/disk.img": disk(2), "notes": "same"}})
	f := at(t, w, "acme/prod", "")
	v := f.view(t)
	dir := t.TempDir()
	fetch := func(m *manifest.Manifest, name string) *FetchResult {
		t.Helper()
		result, err := f.Fetch(t.Context(), v, m.Release(), filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.VerifyFiles(t.Context(), m, filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		return result
	}
	whole := fetch(first, "one")
	next := fetch(second, "two")
	if next.Moved > whole.Moved/3 || next.Local == 0 {
		t.Errorf("moved %+v after %+v", next.Moves, whole.Moves)
	}
	if same := fetch(second, "two-again"); same.Local != same.Size-second.Marmite.Size && same.Local != same.Size {
		t.Errorf("the same again: %+v", same.Moves)
	}
	// What was changed, damaged or made a pipe meanwhile changes nothing but the cost.
	for _, name := range []string{"one", "two", "two-again"} {
		path := filepath.Join(dir, name, "images/disk.img")
		if err := os.WriteFile(path, []byte(strings.ToUpper(disk(1))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if tampered := fetch(second, "three"); tampered.Moved < next.Moved {
		t.Errorf("bytes of a tampered seed were taken: %+v", tampered.Moves)
	}
}
