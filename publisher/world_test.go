package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

var ctx = context.Background()

type key = *catalogtest.Key

// world is a catalog in a directory: vendor enovance with its site enovance/ci; products openstack (engineers
// engineer and colleague, two of two certifiers) and ceph; customer acme, who follows openstack, with acme/staging.
type world struct {
	dir         string
	store       storage.Store
	fingerprint string
	now         time.Time
	root        []key // 3, threshold 2; targets too
	online, admin,
	engineer, colleague, cephEngineer,
	validator, certA, certB, cephCertifier,
	vendorCI, stagingCI, stranger key
	reports map[string]chainEnd
}

type chainEnd struct {
	sequence int64
	digest   string
}

// The world that all others are copies of: making it takes a dozen commits.
var base struct {
	once sync.Once
	dir  string
	*world
}

func TestMain(m *testing.M) {
	code := storagetest.InMemory(m.Run)
	if base.dir != "" {
		os.RemoveAll(base.dir)
	}
	os.Exit(code)
}

// newWorld is a catalog of the test's own, in which nothing is published yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	base.once.Do(func() {
		dir, err := os.MkdirTemp("", "kitchen-publisher-")
		check(t, err)
		base.dir, base.world = dir, people(t, filepath.Join(dir, "bucket"))
		base.found(t)
	})
	if base.world == nil || base.fingerprint == "" {
		t.Fatal("the world could not be made: see the first test that failed")
	}
	return base.copy(t)
}

// people are everybody's keys, beside an empty store in dir.
func people(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{dir: dir, now: catalogtest.Start, reports: map[string]chainEnd{}}
	check(t, os.MkdirAll(dir, 0o755))
	w.store = openDir(t, dir)
	w.root = []key{catalogtest.NewKey(t), catalogtest.NewKey(t), catalogtest.NewKey(t)}
	for _, k := range []*key{&w.online, &w.admin, &w.engineer, &w.colleague, &w.cephEngineer, &w.validator, &w.certA, &w.certB,
		&w.cephCertifier, &w.vendorCI, &w.stagingCI, &w.stranger} {
		*k = catalogtest.NewKey(t)
	}
	return w
}

func (w *world) found(t *testing.T) {
	t.Helper()
	result, err := publisher.Initialize(ctx, w.store, w.now, w.init(), w.online)
	check(t, err)
	w.fingerprint = result.Fingerprint
	p := w.publisher(t, w.online)
	mustCommit(t)(p.AddProduct(ctx, w.openstack(), signers(w.root[:2]...)))
	mustCommit(t)(p.AddProduct(ctx, publisher.ProductRequest{Name: "ceph", Engineers: publics(w.cephEngineer),
		Validators: publics(w.validator), Certifiers: publics(w.cephCertifier)}, signers(w.root[:2]...)))
	mustCommit(t)(p.AddSite(ctx, w.site("enovance/ci", w.vendorCI), signers(w.admin)))
	mustCommit(t)(p.AddCustomer(ctx, publisher.CustomerRequest{Name: "acme", DisplayName: "ACME", Subscribe: []string{"openstack"}}, signers(w.admin)))
	mustCommit(t)(p.AddSite(ctx, w.site("acme/staging", w.stagingCI), signers(w.admin)))
}

func (w *world) init() publisher.Init {
	return publisher.Init{Vendor: "enovance", VendorName: "eNovance", RootKeys: signers(w.root[:2]...), RootPublic: publics(w.root[2]), Registry: signers(w.admin)}
}

func (w *world) openstack() publisher.ProductRequest {
	return publisher.ProductRequest{Name: "openstack", Engineers: publics(w.engineer, w.colleague), Validators: publics(w.validator), Certifiers: publics(w.certA, w.certB)}
}

func (w *world) site(id string, k key, after ...string) publisher.SiteRequest {
	req := publisher.SiteRequest{Site: siteID(id), Kind: manifest.SiteCI, Key: k.Public()}
	for _, name := range after {
		req.After = append(req.After, siteID(name))
	}
	return req
}

// copy is the same catalog, people and time, in a directory of its own.
func (w *world) copy(t *testing.T) *world {
	t.Helper()
	c := *w
	c.dir = filepath.Join(t.TempDir(), "bucket")
	check(t, os.CopyFS(c.dir, os.DirFS(w.dir)))
	c.store, c.reports = openDir(t, c.dir), maps.Clone(w.reports)
	return &c
}

func openDir(t *testing.T, dir string) storage.Store {
	t.Helper()
	s, err := storage.Open(ctx, "file://"+filepath.ToSlash(dir), storage.Options{})
	check(t, err)
	return s
}

// publisher works on the world's store, with a state directory of its own. online may be nil.
func (w *world) publisher(t *testing.T, online keys.Signer) *publisher.Publisher {
	t.Helper()
	return w.over(t, w.store, online)
}

// over is publisher on top of another way to the same store.
func (w *world) over(t *testing.T, store storage.Store, online keys.Signer) *publisher.Publisher {
	t.Helper()
	return &publisher.Publisher{Catalog: w.catalog(t, store), Store: store, Now: w.clock, Online: online, Scratch: t.TempDir()}
}

func (w *world) clock() time.Time { return w.now }

func (w *world) catalog(t *testing.T, store storage.Store) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(ctx, catalog.Options{Store: store, Dir: t.TempDir(), RootFingerprint: w.fingerprint, Now: w.clock})
	check(t, err)
	return c
}

// view is what a reader sees who knows nothing but the root's fingerprint. No role may be broken.
func (w *world) view(t *testing.T) *catalog.View {
	t.Helper()
	v, err := w.catalog(t, w.store).Refresh(ctx)
	check(t, err)
	for _, broken := range v.Broken() {
		t.Fatalf("role %s is broken: %v", broken.Role, broken.Err)
	}
	return v
}

// stage of a release as a fresh reader sees it; "" when there is no such release.
func (w *world) stage(t *testing.T, r string) string {
	t.Helper()
	info, err := w.view(t).Release(release(r))
	var unknown *catalog.UnknownRelease
	if errors.As(err, &unknown) {
		return ""
	}
	check(t, err)
	return info.Stage
}

func (w *world) wantStage(t *testing.T, r, stage string) {
	t.Helper()
	if got := w.stage(t, r); got != stage {
		t.Fatalf("%s is %q to a reader, want %q", r, got, stage)
	}
}

func (w *world) object(t *testing.T, key string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(key)))
	check(t, err)
	return data
}

// put plays anybody who may create objects.
func (w *world) put(t *testing.T, key string, data []byte) {
	t.Helper()
	check(t, w.store.Create(ctx, key, bytes.NewReader(data), int64(len(data)), "", ""))
}

// objects are the keys of everything in the store.
func (w *world) objects(t *testing.T) []string {
	t.Helper()
	var all []string
	for info, err := range w.store.List(ctx, "", "") {
		check(t, err)
		all = append(all, info.Key)
	}
	return all
}

// refused makes a call that has to fail, and holds the timestamp to what it was.
func (w *world) refused(t *testing.T, call func() error) error {
	t.Helper()
	before := w.object(t, manifest.TimestampObject)
	err := call()
	if err == nil {
		t.Fatal("not refused")
	}
	if !bytes.Equal(before, w.object(t, manifest.TimestampObject)) {
		t.Fatalf("refused (%v), and the timestamp changed", err)
	}
	return err
}

// source writes the directory of a release. Files below "puppet/" are a tree, "marmite.yaml" the marmite, all
// others images.
func source(t *testing.T, r string, files map[string]string) string {
	t.Helper()
	dir, rel := t.TempDir(), release(r)
	all := map[string]string{"marmite.yaml": "roles: []\n"}
	maps.Copy(all, files)
	if len(files) == 0 {
		all["images/disk.img"] = strings.Repeat("disk of "+r+"\n", 1000)
	}
	text := fmt.Sprintf("product = %q\nversion = %q\nkind = \"initial\"\nsummary = \"release %s\"\n\n[marmite]\npath = \"marmite.yaml\"\n", rel.Product, rel.Version, r)
	tree := false
	for _, name := range slices.Sorted(maps.Keys(all)) {
		write(t, filepath.Join(dir, name), all[name])
		switch {
		case name == "marmite.yaml":
		case strings.HasPrefix(name, "puppet/"):
			tree = true
		default:
			text += artifact(name, "image")
		}
	}
	if tree {
		text += artifact("puppet/", "configuration")
	}
	write(t, filepath.Join(dir, "product.toml"), text)
	return dir
}

func artifact(path, kind string) string {
	return fmt.Sprintf("\n[[artifact]]\npath = %q\nkind = %q\n", path, kind)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

func (w *world) publish(t *testing.T, r string) {
	t.Helper()
	by := w.engineer
	if release(r).Product == "ceph" {
		by = w.cephEngineer
	}
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, r, nil), signers(by)))
}

// report uploads a site's next report on a release, a minute later.
func (w *world) report(t *testing.T, site string, k key, r, verdict string, change func(*manifest.Report)) {
	t.Helper()
	w.now = w.now.Add(time.Minute)
	published, err := w.view(t).Release(release(r))
	check(t, err)
	end := w.reports[site+" "+r]
	report := &manifest.Report{Site: siteID(site), Release: release(r), ManifestSHA256: published.SHA256, Type: manifest.ReportTest, Result: verdict,
		Started: w.now.Add(-time.Minute), Finished: w.now, Sequence: end.sequence + 1, Previous: end.digest, TimestampVersion: 1}
	if change != nil {
		change(report)
	}
	statement, err := report.Statement()
	check(t, err)
	bundle, err := keys.SignStatement(ctx, k, statement)
	check(t, err)
	w.put(t, manifest.ReportObject(report.Site, report.Release, report.Finished, catalogtest.Digest(bundle)), bundle)
	w.reports[site+" "+r] = chainEnd{report.Sequence, catalogtest.Digest(bundle)}
}

// validated is a release that may be certified.
func (w *world) validated(t *testing.T, r string) {
	t.Helper()
	w.publish(t, r)
	w.report(t, "enovance/ci", w.vendorCI, r, manifest.Passed, nil)
	mustCommit(t)(w.publisher(t, w.online).Validate(ctx, release(r), signers(w.validator)))
}

func signers(ks ...key) []keys.Signer {
	var all []keys.Signer
	for _, k := range ks {
		all = append(all, k)
	}
	return all
}

func publics(ks ...key) []*keys.Public {
	var all []*keys.Public
	for _, k := range ks {
		all = append(all, k.Public())
	}
	return all
}

func short(k key) string { return publisher.ShortID(k.TUF.ID) }

func release(s string) manifest.Release {
	r, err := manifest.ParseRelease(s)
	if err != nil {
		panic(err)
	}
	return r
}

func siteID(s string) manifest.SiteID {
	id, err := manifest.ParseSite(s)
	if err != nil {
		panic(err)
	}
	return id
}

// must gives a function that takes what a change returned, and wants that status.
func must(t *testing.T, status string) func(*publisher.Outcome, error) *publisher.Outcome {
	return func(out *publisher.Outcome, err error) *publisher.Outcome {
		t.Helper()
		check(t, err)
		if out.Status != status {
			t.Fatalf("the outcome is %+v, want %s", out, status)
		}
		return out
	}
}

func mustCommit(t *testing.T) func(*publisher.Outcome, error) *publisher.Outcome {
	return must(t, publisher.Committed)
}

func commit(t *testing.T, p *publisher.Publisher) *publisher.CommitResult {
	t.Helper()
	result, err := p.Commit(ctx)
	check(t, err)
	return result
}

// wantError finds an error of type E whose text holds all parts.
func wantError[E error](t *testing.T, err error, parts ...string) E {
	t.Helper()
	var want E
	if !errors.As(err, &want) {
		t.Fatalf("got %T %v, want a %T", err, err, want)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("%q does not say %q", err, part)
		}
	}
	return want
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lifeOf is how long a signature on a role holds.
func lifeOf(role string) time.Duration {
	if kind, _, _ := manifest.SplitRole(role); kind == manifest.StageReady || kind == manifest.StageRecalled {
		return 90 * catalogtest.Day
	}
	return 365 * catalogtest.Day
}
