package publisher

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// TestAPipeInPlaceOfTheLockOfTheCache: it is locked as a file is, and nobody waits for its other end.
func TestAPipeInPlaceOfTheLockOfTheCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "lock"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *cache, 1)
	go func() { opened <- openCache(dir) }()
	select {
	case c := <-opened:
		if c == nil {
			t.Fatal("it was not opened")
		}
		defer c.lock.Close()
		if other := openCache(dir); other != nil {
			t.Error("two publications use it at once")
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

// TestCacheFilesThatSayNothing: whatever JSON stands where the cache keeps something, nothing is taken from it, and nothing panics.
func TestCacheFilesThatSayNothing(t *testing.T) {
	t.Parallel()
	sha, r := strings.Repeat("a", 64), manifest.Release{Product: "openstack", Version: "1.0.0"}
	for _, text := range []string{"null", "{}", "[]", "1", `{"x":null}`, `{"Product":"openstack","Version":"1.0.0"}`,
		`{"Product":"openstack","Version":"1.0.0","Marmite":{"Stored":{"SHA256":"short"}}}`, `{"Product":"ceph","Version":"1.0.0"}`} {
		dir := t.TempDir()
		for _, name := range []string{"files.json", sha + ".artifacts"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := openCache(dir)
		if m := c.manifest(sha, r); m != nil {
			t.Errorf("%s: %+v", text, m)
		}
		c.remember("/release", &item{path: "disk"})
		c.close()
	}
}
