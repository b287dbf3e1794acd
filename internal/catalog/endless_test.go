package catalog_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// hostile is a store that does not tell the size of the objects it is meant to spoil, and whose bodies never end: they
// come as fast as they are read, or they stop coming.
type hostile struct {
	storage.Store
	spoils func(key string) bool
	stalls bool
	read   atomic.Int64 // bytes of spoilt objects
}

func (h *hostile) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	if h.spoils(key) {
		return &endless{ctx, h}, storage.Info{Key: key, Size: -1}, nil
	}
	return h.Store.Open(ctx, key, offset, length)
}

func (h *hostile) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, storage.Info, error) {
	if h.spoils(key) {
		return &endless{ctx, h}, storage.Info{Key: key, Size: -1}, nil
	}
	return h.Store.OpenIfChanged(ctx, key, etag)
}

type endless struct {
	ctx  context.Context
	from *hostile
}

func (e *endless) Read(p []byte) (int, error) {
	if e.from.stalls {
		<-e.ctx.Done() // a test fails by a deadlock where there is no deadline
		return 0, context.Cause(e.ctx)
	}
	e.from.read.Add(int64(len(p)))
	return len(p), nil
}

func (e *endless) Close() error { return nil }

// reading is how one kind of object is read in production.
type reading struct {
	key  string // of the object that is spoilt
	cap  int64  // bytes that may be read of it, but for one
	read func(c *catalog.Catalog) error
	why  string // instead: which test of another package covers it, or why nothing reads it
}

// coveredBy names a test as package/TestName.
func coveredBy(test, why string) []reading { return []reading{{why: test + ": " + why}} }

// readings has an entry for every kind of manifest's table. Where a verified file lists the length, that is the cap.
func readings(t *testing.T, w *catalogtest.World) map[string][]reading {
	refreshes := func(c *catalog.Catalog) error { return second(c.Refresh(ctx)) }
	with := func(use func(*catalog.View) error) func(*catalog.Catalog) error {
		return func(c *catalog.Catalog) error {
			v, err := c.Refresh(ctx)
			if err != nil {
				return err
			}
			return use(v)
		}
	}
	listed := func(role string) int64 { return int64(len(w.Files[role])) }
	r := release("openstack@1.0.0")
	path := manifest.TargetPath(manifest.StageCatalog, r)
	target := w.Roles["product.openstack"].Targets[path]
	entry := w.Roles["registry"].Targets["registry/enovance.toml"]
	report := w.Report("enovance/ci", "openstack@1.0.0", manifest.Passed, func(r *manifest.Report) { r.Log = w.Log("enovance/ci", "a log") })
	reports, err := w.View().Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	logged := reports.All[0]
	w.Journal(w.Report("enovance/ci", "openstack@1.0.0", manifest.Passed, nil))
	setPolicy(w, "[default]\nmax_age = \"30d\"\n")
	return map[string][]reading{
		"timestamp": {{manifest.TimestampObject, limit(t, manifest.TimestampObject), refreshes, ""}},
		"root":      {{manifest.RootObject(2), limit(t, manifest.RootObject(2)), refreshes, ""}},
		"snapshot":  {{manifest.SnapshotObject(w.SnapshotNo), int64(len(w.SnapshotFile)), refreshes, ""}},
		"role": {
			{manifest.RoleObject("targets", w.Targets.Version), listed("targets"), refreshes, ""},
			{manifest.RoleObject("recalled.openstack", w.Roles["recalled.openstack"].Version), listed("recalled.openstack"),
				with(func(v *catalog.View) error { return second(v.Recall(r)) }), ""}},
		"manifest": {{manifest.TargetObject(path, target.SHA256), target.Length,
			with(func(v *catalog.View) error { return third(v.Manifest(ctx, r)) }), ""}},
		"registry": {{manifest.TargetObject("registry/enovance.toml", entry.SHA256), entry.Length,
			with(func(v *catalog.View) error { return second(v.Customers(ctx)) }), ""}},
		"report": {{report, limit(t, report), with(func(v *catalog.View) error { return rejected(v.Reports(ctx, catalog.ReportFilter{})) }), ""}},
		"log": {{manifest.LogObject(logged.Site, logged.Log.SHA256), limit(t, manifest.LogObject(logged.Site, logged.Log.SHA256)),
			with(func(v *catalog.View) error { return second(v.ReadLog(ctx, logged)) }), ""}},
		"blob":      coveredBy("fetcher/TestFetchAttacks", "the manifest tells the size, one byte more is refused"),
		"evidence":  coveredBy("internal/storage/TestHTTPEndlessData", "publisher reads it with storage.ReadAll, capped by its kind"),
		"proposal":  coveredBy("internal/storage/TestHTTPEndlessData", "publisher reads it with storage.ReadAll, capped by its kind"),
		"signature": coveredBy("internal/storage/TestHTTPEndlessData", "publisher reads it with storage.ReadAll, capped by its kind"),
		"prune":     coveredBy("internal/storage/TestHTTPEndlessData", "publisher reads it with storage.ReadAll, capped by its kind"),
		"probe":     coveredBy("internal/storage/TestProbeFindsStoresThatOverwrite", "init reads back a few bytes with storage.ReadAll"),
		"policy": {{manifest.TargetObject(manifest.PolicyTarget, w.Roles[manifest.RolePolicy].Targets[manifest.PolicyTarget].SHA256), w.Roles[manifest.RolePolicy].Targets[manifest.PolicyTarget].Length,
			with(func(v *catalog.View) error { return second(v.Policy(ctx)) }), ""}},
		"journal": {{manifest.JournalObject(1), w.Roles[manifest.RoleJournal].Targets[manifest.JournalObject(1)].Length,
			with(func(v *catalog.View) error { return second(v.Journal(ctx)) }), ""}},
	}
}

// rejected is why the one report there is does not count.
func rejected(reports *catalog.Reports, err error) error {
	if err != nil || len(reports.Rejected) == 0 {
		return err
	}
	return errors.New(reports.Rejected[0].Reason)
}

func limit(t *testing.T, key string) int64 {
	t.Helper()
	kind, err := manifest.KindOf(key)
	check(t, err)
	return kind.MaxSize
}

// kindNames are the rows of the table in manifest/kinds.go.
func kindNames(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "manifest", "kinds.go"), nil, 0)
	check(t, err)
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "kind") {
			return true
		}
		first := ""
		ast.Inspect(spec.Values[0], func(n ast.Node) bool { // the first text in a row is its name
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && first == "" {
				first = text.Value
			}
			return first == ""
		})
		name, err := strconv.Unquote(first)
		check(t, err)
		names = append(names, name)
		return false
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// TestEveryKindOfObjectHasItsReading: a new kind of object comes with a test of what bounds its reading.
func TestEveryKindOfObjectHasItsReading(t *testing.T) {
	t.Parallel()
	known, names := readings(t, certified(t)), kindNames(t)
	if len(names) < 15 {
		t.Fatalf("the table of kinds has become %q: this test does not read it any more", names)
	}
	for _, name := range names {
		if len(known[name]) == 0 {
			t.Errorf("nothing says how reading an object of kind %q is bounded", name)
		}
	}
	named := regexp.MustCompile(`^([a-z/]+)/(Test\w+): `)
	for name, all := range known {
		for _, r := range all {
			if r.key != "" {
				kind, err := manifest.KindOf(r.key)
				if err != nil || kind.Name != name {
					t.Errorf("%s is of kind %q, not %q: %v", r.key, kind.Name, name, err)
				}
			}
			if m := named.FindStringSubmatch(r.why); m != nil && !testExists(t, m[1], m[2]) {
				t.Errorf("kind %s: there is no %s in %s", name, m[2], m[1])
			}
		}
	}
}

func testExists(t *testing.T, room, test string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(room), "*_test.go"))
	check(t, err)
	return slices.ContainsFunc(paths, func(path string) bool {
		data, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(data), "\nfunc "+test+"(t *testing.T)")
	})
}

// spoilt opens a fresh host's catalog at a store that spoils one object.
func spoilt(t *testing.T, w *catalogtest.World, key string, stalls bool) (*catalog.Catalog, *hostile) {
	t.Helper()
	store := &hostile{Store: w.Store, stalls: stalls, spoils: func(k string) bool { return k == key }}
	o := w.Options(t.TempDir())
	o.Store = store
	c, err := catalog.Open(ctx, o)
	check(t, err)
	return c, store
}

// TestEndlessData: of an object that never ends not a byte is read beyond what it may have, and one to tell.
func TestEndlessData(t *testing.T) {
	t.Parallel()
	w := certified(t)
	for kind, all := range readings(t, w) {
		for _, r := range all {
			if r.why != "" {
				t.Logf("%s: %s", kind, r.why)
				continue
			}
			c, store := spoilt(t, w, r.key, false)
			err := r.read(c)
			trusted := kindOf(err) == trust.Mismatch
			if slices.Contains([]string{"root", "timestamp", "log"}, kind) { // nothing announces their length
				trusted = errors.Is(err, storage.ErrTooLarge)
			} else if kind == "report" {
				trusted = err != nil
			}
			if got := store.read.Load(); !trusted || got < r.cap || got > r.cap+1 {
				t.Errorf("%s: %d bytes of %s were read, at most %d and one were to be: %v", kind, got, r.key, r.cap, err)
			}
		}
	}
}

// TestSlowBodies: an object that stops coming is given up after two minutes at the latest. The time is that of a clock
// that jumps when everybody waits.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	w := certified(t)
	for kind, all := range readings(t, w) {
		for _, r := range all {
			if r.why != "" {
				continue
			}
			c, _ := spoilt(t, w, r.key, true)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := r.read(c)
				if took := time.Since(start); err == nil || took > 2*time.Minute || took < time.Second {
					t.Errorf("%s: given up after %s: %v", kind, took, err)
				}
				if kindOf(err) != "" {
					t.Errorf("%s: a slow store is called a forger: %v", kind, err)
				}
			})
		}
	}
}
