package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

const mebibyte = 1 << 20

// memoryLimit is what one process may take at its peak, whatever the size of an artifact, in MiB (resident set).
const memoryLimit = 200

// TestMemoryIsFlat publishes and fetches an artifact that is larger than the memory a process may take. The
// benchmark beside it does the same with 2 GiB.
func TestMemoryIsFlat(t *testing.T) {
	for _, store := range benchStores {
		t.Run(store.name, func(t *testing.T) {
			m := newMover(t, store.open(t), 384*mebibyte)
			for _, u := range []usage{m.publish(), m.fetch()} {
				if u.peak > memoryLimit {
					t.Errorf("%s took %d MiB, more than %d", u.what, u.peak, memoryLimit)
				}
			}
		})
	}
}

// BenchmarkTwoGiB publishes and fetches an artifact of 2 GiB that does not compress, once each a run. It reports
// the peak of the resident set in MiB and CPU seconds, and the ratio of these to hashing the same bytes once
// (SHA-256), in the same run: no way of moving verified bytes takes less than 1.
func BenchmarkTwoGiB(b *testing.B) {
	const size = 2048 * mebibyte
	for _, store := range benchStores {
		b.Run(store.name, func(b *testing.B) {
			for b.Loop() {
				m := newMover(b, store.open(b), size)
				hashed := m.hashOnce()
				for _, u := range []usage{m.publish(), m.fetch()} {
					b.ReportMetric(float64(u.peak), u.what+"-MiB-peak")
					b.ReportMetric(u.cpu.Seconds(), u.what+"-cpu-s")
					b.ReportMetric(u.cpu.Seconds()/hashed.Seconds(), u.what+"-x-sha256")
				}
			}
		})
	}
}

var benchStores = []struct {
	name string
	open func(testing.TB) storeOf
}{
	{"directory", func(testing.TB) storeOf { return storeOf{url: "bucket"} }},
	{"s3", func(t testing.TB) storeOf {
		server := storagetest.StartS3(t)
		return storeOf{url: server.URL(server.Bucket(t), "large"), env: server.Env()}
	}},
}

// storeOf is a store and what reaching it takes.
type storeOf struct {
	url string
	env []string
}

// mover is a small catalog, and a release with one large artifact.
type mover struct {
	t    testing.TB
	dir  string
	env  []string
	size int64
}

// usage is what one call of the program took.
type usage struct {
	what string
	peak int64 // resident set, MiB
	cpu  time.Duration
}

func newMover(t testing.TB, store storeOf, size int64) *mover {
	t.Helper()
	m := &mover{t: t, dir: t.TempDir(), size: size}
	m.env = append(append(os.Environ(), "COSIGN_PASSWORD=large", "HOME="+m.dir, "TMPDIR="+m.dir), store.env...)
	if err := os.MkdirAll(m.path("release"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"release/product.toml": "product = \"large\"\nversion = \"1\"\nkind = \"initial\"\n[marmite]\npath = \"m\"\n[[artifact]]\npath = \"image\"\nkind = \"image\"\n",
		"release/m":            "m\n",
	}
	for name, text := range files {
		if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := os.Create(m.path("release/image"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(image, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"key generate key", "key generate online", "key generate validator",
		"init --catalog " + store.url + " --vendor v --root-key key.key --online-key online.key --registry-key key.key --write-config v.toml --write-root root.json",
		"--config v.toml product add large --engineer key.pub --validator validator.pub --certifier key.pub --key key.key",
	} {
		m.kitchen("", strings.Fields(line)...)
	}
	return m
}

func (m *mover) path(name string) string { return filepath.Join(m.dir, filepath.FromSlash(name)) }

func (m *mover) kitchen(what string, args ...string) usage {
	m.t.Helper()
	cmd := exec.Command("kitchen", args...)
	cmd.Dir, cmd.Env = m.dir, m.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("kitchen %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		m.t.Fatal("this system does not tell what a process used")
	}
	return usage{what: what, peak: used.Maxrss / 1024, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

func (m *mover) publish() usage {
	m.t.Helper()
	u := m.kitchen("publish", "--config", "v.toml", "publish", "release", "--key", "key.key")
	m.kitchen("", "--config", "v.toml", "validate", "large@1", "--key", "validator.key")
	return u
}

func (m *mover) fetch() usage {
	m.t.Helper()
	u := m.kitchen("fetch", "--config", "v.toml", "fetch", "large@1", "--into", "got")
	if a, b := m.digest("release/image"), m.digest("got/image"); !bytes.Equal(a, b) {
		m.t.Fatalf("fetched %x, published %x", b, a)
	}
	return u
}

func (m *mover) digest(name string) []byte {
	m.t.Helper()
	f, err := os.Open(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if n, err := io.Copy(sum, f); err != nil || n != m.size {
		m.t.Fatal(fmt.Errorf("%s: %d bytes: %w", name, n, err))
	}
	return sum.Sum(nil)
}

// hashOnce is the CPU time of reading and hashing the artifact in this process.
func (m *mover) hashOnce() time.Duration {
	m.t.Helper()
	before := processTime(m.t)
	m.digest("release/image")
	return processTime(m.t) - before
}

func processTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
