package fetcher

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
)

// awayStore is out of reach when any of its blobs is asked for the first few times, and when it is in the middle of one.
type awayStore struct {
	storage.Store
	mu    sync.Mutex
	times int
	asked map[string]int
}

func (s *awayStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	s.mu.Lock()
	s.asked[key]++
	n := s.asked[key]
	s.mu.Unlock()
	gone := fmt.Errorf("%w: connection refused", storage.ErrUnavailable)
	if strings.HasPrefix(key, "blobs/") && n < s.times {
		return nil, storage.Info{}, gone
	}
	body, info, err := s.Store.Open(ctx, key, offset, length)
	if err == nil && strings.HasPrefix(key, "blobs/") && n == s.times {
		body = &brokenBody{body, info.Size / 2, gone}
	}
	return body, info, err
}

// brokenBody gives so many bytes, and then an error.
type brokenBody struct {
	io.ReadCloser
	left int64
	err  error
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// TestAnOutageDoesNotEndAFetch: whatever moves when the store goes away, an image's index or ranges, a file or a tree in
// one stream, it waits, says so, and begins again what was half there.
func TestAnOutageDoesNotEndAFetch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"images/disk.img": disk(0), "notes": strings.Repeat("small\n", 50_000)},
		Trees: map[string]map[string]string{"puppet/": {"site.pp": strings.Repeat("node {}\n", 50_000), "more.pp": "node {}\n"}}})
	f := at(t, w, "acme/prod", "")
	v, said := f.view(t), &notes{}
	f.Fetcher.Store, f.Fetcher.Progress = &awayStore{Store: f.Fetcher.Store, times: 7, asked: map[string]int{}}, said
	into := filepath.Join(t.TempDir(), "live")
	if _, err := f.Fetch(t.Context(), v, m.Release(), into); err != nil {
		t.Fatal(err)
	}
	if err := f.VerifyFiles(t.Context(), m, into); err != nil {
		t.Error(err)
	}
	if len(said.lines) == 0 || len(said.lines) > len(m.Objects()) {
		t.Errorf("said %q", said.lines)
	}
	for _, line := range said.lines {
		if !strings.HasPrefix(line, "cannot read from the store (") || !strings.Contains(line, "connection refused") || !strings.Contains(line, "): trying again in ") {
			t.Errorf("said %q", line)
		}
	}
}
