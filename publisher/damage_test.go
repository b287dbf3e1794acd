package publisher_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// checked is a catalog with everything in it: a certified release, reports with logs, a journal, and a host that
// checked it before.
type checked struct {
	*world
	host *publisher.Publisher
}

func newChecked(t *testing.T) *checked {
	t.Helper()
	w := newWorld(t)
	w.publish(t, v1)
	logs := w.logOf(t, "enovance/ci", "all is well\n")
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Passed, func(r *manifest.Report) { r.Log = logs })
	p := w.publisher(t, w.online)
	mustCommit(t)(p.Validate(ctx, release(v1), signers(w.validator)))
	w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
	_, err := p.Commit(ctx)
	check(t, err)
	mustCommit(t)(certify(p, v1, w.certA, w.certB))
	c := &checked{world: w, host: w.publisher(t, nil)}
	if r := c.check(t, publisher.CheckRequest{ReadData: true}); !r.Sound() || bad(r) != "" {
		t.Fatalf("the catalog is not sound before anything was done to it: %s", bad(r))
	}
	return c
}

// logOf stores a log of a site.
func (w *world) logOf(t *testing.T, site, text string) *manifest.LogRef {
	t.Helper()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	check(t, err)
	stored := encoder.EncodeAll([]byte(text), nil)
	w.put(t, manifest.LogObject(siteID(site), catalogtest.Digest(stored)), stored)
	return &manifest.LogRef{SHA256: catalogtest.Digest(stored), Size: int64(len(stored)), RawSize: int64(len(text))}
}

func (c *checked) check(t *testing.T, req publisher.CheckRequest) *publisher.CheckResult {
	t.Helper()
	r, err := c.host.Check(ctx, req)
	check(t, err)
	return r
}

// bad is every finding but the notes, a line each: severity, code, object.
func bad(r *publisher.CheckResult) string {
	var lines []string
	for _, f := range r.Findings {
		if f.Severity != publisher.Note {
			lines = append(lines, fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Object))
		}
	}
	return strings.Join(lines, "\n")
}

// notes are the codes of the notes, with their counts.
func notes(r *publisher.CheckResult) map[string]int {
	all := map[string]int{}
	for _, f := range r.Findings {
		if f.Severity == publisher.Note {
			all[f.Code] = f.Count
		}
	}
	return all
}

// the is the one object below a prefix whose name has a part.
func (w *world) the(t *testing.T, prefix, part string) string {
	t.Helper()
	var found []string
	for _, key := range w.objects(t) {
		if strings.HasPrefix(key, prefix) && strings.Contains(key, part) {
			found = append(found, key)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no object %s…%s", prefix, part)
	}
	return found[len(found)-1]
}

func (w *world) remove(t *testing.T, key string) string {
	t.Helper()
	check(t, os.Remove(filepath.Join(w.dir, filepath.FromSlash(key))))
	return key
}

// flip changes one bit of an object.
func (w *world) flip(t *testing.T, key string) string {
	t.Helper()
	data := w.object(t, key)
	data[len(data)/2] ^= 1
	check(t, os.WriteFile(filepath.Join(w.dir, filepath.FromSlash(key)), data, 0o644))
	return key
}

// cut takes the last byte of an object.
func (w *world) cut(t *testing.T, key string) string {
	t.Helper()
	data := w.object(t, key)
	check(t, os.WriteFile(filepath.Join(w.dir, filepath.FromSlash(key)), data[:len(data)-1], 0o644))
	return key
}

// resign gives a role's file another signature, which is wrong.
func (w *world) resign(t *testing.T, key string) string {
	t.Helper()
	w.overwrite(t, key, bytes.Replace(w.object(t, key), []byte(`"sig":"`), []byte(`"sig":"00`), 1))
	return key
}

// current is the key of a role's file in effect.
func (w *world) current(t *testing.T, role string) string {
	t.Helper()
	return manifest.RoleObject(role, w.view(t).Snapshot().Roles[role].Version)
}
