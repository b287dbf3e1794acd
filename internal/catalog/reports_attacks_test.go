package catalog_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

var (
	ci       = manifest.SiteID{Customer: "enovance", Site: "ci"}
	staging  = manifest.SiteID{Customer: "acme", Site: "staging"}
	staging2 = manifest.SiteID{Customer: "acme", Site: "staging-2"}
	on       = release("openstack@1.0.0")
)

// certifiable is a validated release with a PASSED report of the vendor's CI, beside the customer acme and a
// second release.
func certifiable(t *testing.T) *catalogtest.World {
	t.Helper()
	w := published(t)
	w.Validate(on.String())
	w.Publish("openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0"}})
	w.Report(ci.String(), on.String(), manifest.Passed, nil)
	return w
}

// reportsOn reads the reports on openstack@1.0.0 as status and certify do.
func reportsOn(t *testing.T, w *catalogtest.World) (*catalog.View, *catalog.Reports) {
	t.Helper()
	v := w.View()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	return v, r
}

// wantUnmet holds the certification policy to what it says of a site: words of the reason, "" for nothing.
func wantUnmet(t *testing.T, v *catalog.View, r *catalog.Reports, site manifest.SiteID, says string) {
	t.Helper()
	unmet, err := v.CertificationUnmet(ctx, on, r)
	check(t, err)
	have := ""
	for _, u := range unmet {
		if u.Requirement == site.String() {
			have = u.Detail
		}
	}
	if (have == "") != (says == "") || !strings.Contains(have, says) {
		t.Errorf("certification, of %s: %q, want %q", site, have, says)
	}
}

// wantRejected: exactly one object is told, by its key and with these words, and the site has no report of it.
func wantRejected(t *testing.T, r *catalog.Reports, key, says string) {
	t.Helper()
	if len(r.Rejected) != 1 || r.Rejected[0].Key != key || !strings.Contains(r.Rejected[0].Reason, says) {
		t.Errorf("rejected: %q, want %s: …%s…", r.Rejected, key, says)
	}
	for _, report := range r.All {
		if report.Key == key {
			t.Errorf("%s counts", key)
		}
	}
}

// draft is a PASSED first report of a site.
func draft(w *catalogtest.World, site manifest.SiteID) *manifest.Report {
	target := w.Roles[manifest.RoleProduct("openstack")].Targets[manifest.TargetPath(manifest.StageCatalog, on)]
	return &manifest.Report{Site: site, Release: on, ManifestSHA256: target.SHA256, Type: manifest.ReportTest, Result: manifest.Passed,
		Started: w.Now, Finished: w.Now.Add(time.Minute), Sequence: 1, TimestampVersion: w.TimestampNo}
}

// place puts a bundle where a report with this content belongs, and gives the key.
func place(t *testing.T, w *catalogtest.World, r *manifest.Report, bundle []byte) string {
	t.Helper()
	key := manifest.ReportObject(r.Site, r.Release, r.Finished, catalogtest.Digest(bundle))
	overwrite(t, w, key, bundle)
	return key
}

func TestAReportMovedElsewhereDoesNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		to   func(key string) string
		says string
	}{
		"to another customer":            {func(k string) string { return strings.Replace(k, "reports/enovance/ci/", "reports/acme/staging/", 1) }, "no key of site acme/staging signed it"},
		"re-dated":                       {func(k string) string { return strings.Replace(k, "20260301T", "20270301T", 1) }, "moved, re-dated or altered"},
		"replayed for another release":   {func(k string) string { return strings.Replace(k, "/1.0.0/", "/1.1.0/", 1) }, "moved, re-dated or altered"},
		"replayed under a second name":   {func(k string) string { return k[:len(k)-6] + "f.json" }, "moved, re-dated or altered"},
		"below a site that is not there": {func(k string) string { return strings.Replace(k, "reports/enovance/ci/", "reports/acme/nobody/", 1) }, ""},
		"below a release that is not":    {func(k string) string { return strings.Replace(k, "/1.0.0/", "/9.9.9/", 1) }, "openstack@9.9.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := certifiable(t)
			from := w.Report(ci.String(), on.String(), manifest.Passed, nil)
			to := c.to(from)
			overwrite(t, w, to, w.Object(from))
			r, err := w.View().Reports(ctx, catalog.ReportFilter{})
			check(t, err)
			if len(r.All) != 2 || r.Gap(ci, on) || r.Latest(ci, on).Key != from {
				t.Fatalf("the honest ones: %+v", r.All)
			}
			if c.says == "" {
				if len(r.Rejected) != 0 {
					t.Errorf("looked at: %q", r.Rejected)
				}
				return
			}
			wantRejected(t, r, to, c.says)
		})
	}
}

// TestAReportOfASiblingSite: the key of one site of a customer says nothing for another one of the same customer,
// neither moved nor signed in its name.
func TestAReportOfASiblingSite(t *testing.T) {
	w := certifiable(t)
	moved := w.Report(staging.String(), on.String(), manifest.Passed, nil)
	to := strings.Replace(moved, "/staging/", "/staging-2/", 1)
	overwrite(t, w, to, w.Object(moved))
	_, r := reportsOn(t, w)
	wantRejected(t, r, to, "no key of site acme/staging-2 signed it")
	remove(t, w, to)

	forged := draft(w, staging2)
	key := place(t, w, forged, w.SignReport(forged, w.SiteKeys[staging]))
	_, r = reportsOn(t, w)
	wantRejected(t, r, key, "no key of site acme/staging-2 signed it")
	remove(t, w, key)

	// Signed by the right key for the prefix, in the name of the sibling.
	bundle := w.SignReport(forged, w.SiteKeys[staging])
	key = manifest.ReportObject(staging, on, forged.Finished, catalogtest.Digest(bundle))
	overwrite(t, w, key, bundle)
	_, r = reportsOn(t, w)
	wantRejected(t, r, key, "it is a report of site acme/staging-2, and lies under the prefix of acme/staging")
}

func TestAReportSignedByARolesKeyDoesNotCount(t *testing.T) {
	for _, role := range []string{"product.openstack", "validated.openstack", "ready-to-deploy.openstack", "registry"} {
		w := published(t)
		w.Validate(on.String())
		forged := draft(w, ci)
		key := place(t, w, forged, w.SignReport(forged, w.RoleKeys[role][0]))
		v, r := reportsOn(t, w)
		wantRejected(t, r, key, "no key of site enovance/ci signed it")
		wantUnmet(t, v, r, ci, "has not reported")
	}
}

func TestAReportOutsideTheValidityOfItsKeyDoesNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(k *manifest.SiteKey, finished time.Time)
		says string
	}{
		"retired before":    {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at.Add(-time.Second) }, "was not valid at"},
		"retired that very": {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at }, "was not valid at"},
		"not yet valid":     {func(k *manifest.SiteKey, at time.Time) { k.ValidFrom = at.Add(time.Second) }, "was not valid at"},
		"retired after":     {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at.Add(time.Second) }, ""},
		"valid from then":   {func(k *manifest.SiteKey, at time.Time) { k.ValidFrom = at }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := published(t)
			w.Validate(on.String())
			key := w.Report(ci.String(), on.String(), manifest.Passed, nil)
			c.set(&w.Registry["enovance"].Sites[0].Keys[0], w.Now)
			w.Register()
			v, r := reportsOn(t, w)
			if c.says == "" {
				wantUnmet(t, v, r, ci, "")
				return
			}
			wantRejected(t, r, key, c.says)
			wantUnmet(t, v, r, ci, "has not reported")
		})
	}
}

// TestATamperedReportDoesNotCount: bundles of the right key with other content than a report has, and altered ones.
func TestATamperedReportDoesNotCount(t *testing.T) {
	w := certifiable(t)
	honest := draft(w, staging)
	statement, err := honest.Statement()
	check(t, err)
	sign := func(old, new string) []byte {
		if !bytes.Contains(statement, []byte(old)) {
			t.Fatalf("no %s in the statement", old)
		}
		bundle, err := keys.SignStatement(ctx, w.SiteKeys[staging], bytes.Replace(statement, []byte(old), []byte(new), 1))
		check(t, err)
		return bundle
	}
	good := sign("PASSED", "PASSED")
	failed := base64.StdEncoding.EncodeToString(bytes.Replace(statement, []byte("PASSED"), []byte("WARNED"), 1))
	for name, c := range map[string]struct {
		bundle []byte
		says   string
	}{
		"payload":              {bytes.Replace(good, []byte(base64.StdEncoding.EncodeToString(statement)), []byte(failed), 1), "the signature does not verify"},
		"cut":                  {good[:len(good)-40], "not a Sigstore bundle"},
		"empty":                {nil, "not a Sigstore bundle"},
		"predicate type":       {sign(manifest.PredicateTest, "https://example.org/other"), "neither a test nor a deployment"},
		"deployment's type":    {sign(manifest.PredicateTest, manifest.PredicateDeployment), "run is missing"},
		"statement type":       {sign("Statement/v1", "Statement/v0.1"), "_type"},
		"two subjects":         {sign(`"subject":[{`, `"subject":[{"name":"x","digest":{"sha256":"00"}},{`), "more than 1 entries"},
		"no subject":           {sign(`"subject":[{`, `"subject":[],"x":[{`), "exactly one"},
		"subject of a stage":   {sign("catalog/openstack", "validated/openstack"), "stage"},
		"member twice":         {sign(`"result":`, `"result":"FAILED","result":`), "twice"},
		"another manifest":     {sign(honest.ManifestSHA256, catalogtest.Digest(nil)), "is published with"},
		"sequence below one":   {sign(`"sequence":1`, `"sequence":0`), "out of range"},
		"sequence of a float":  {sign(`"sequence":1`, `"sequence":1.5`), "whole number"},
		"passed despite fails": {sign(`"result":"PASSED"`, `"result":"PASSED","failedTests":["boot"]`), "listed as failed"},
	} {
		t.Run(name, func(t *testing.T) {
			key := place(t, w, honest, c.bundle)
			v, r := reportsOn(t, w)
			wantRejected(t, r, key, c.says)
			wantUnmet(t, v, r, staging, "")
			remove(t, w, key)
		})
	}
}

func TestAWithheldReportIsAGap(t *testing.T) {
	w := certifiable(t)
	var sent []string
	for _, verdict := range []string{manifest.Passed, manifest.Failed, manifest.Passed} {
		sent = append(sent, w.Report(staging.String(), on.String(), verdict, nil))
	}
	v, r := reportsOn(t, w)
	wantUnmet(t, v, r, staging, "")
	for i, key := range sent {
		data := w.Object(key)
		remove(t, w, key)
		v, r := reportsOn(t, w)
		if i == len(sent)-1 {
			// What the last one said cannot be known to be missing: its predecessor decides.
			wantUnmet(t, v, r, staging, "FAILED")
		} else {
			wantUnmet(t, v, r, staging, "gap")
		}
		overwrite(t, w, key, data)
	}
}

// TestADoubledReportIsAGap: a site that says two things as its second report is not believed.
func TestADoubledReportIsAGap(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Passed, nil)
	second := w.Report(staging.String(), on.String(), manifest.Failed, nil)
	v, r := reportsOn(t, w)
	wantUnmet(t, v, r, staging, "FAILED")
	other := *r.Latest(staging, on)
	other.Result, other.Finished = manifest.Passed, other.Finished.Add(time.Minute)
	place(t, w, &other.Report, w.SignReport(&other.Report, w.SiteKeys[staging]))
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "gap")
	remove(t, w, second)
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "") // the store withholds one of the two: that nobody can see
}

// inventive is a store that invents names under one prefix.
type inventive struct {
	storage.Store
	invent  string // prefix
	invents int
}

func (c *inventive) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if prefix == c.invent {
			for i := range c.invents {
				if !yield(storage.Info{Key: fmt.Sprintf("%s20260301T120000Z-%016x.json", prefix, i)}, nil) {
					return
				}
			}
			return
		}
		for info, err := range c.Store.List(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
	}
}

// through is a view by way of another store.
func through(t *testing.T, w *catalogtest.World, s storage.Store) *catalog.View {
	t.Helper()
	o := w.Options(t.TempDir())
	o.Store = s
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	return v
}

// TestGarbageUnderASitesPrefixIsNotRead: names that are no report on a release cost no request, and are told in
// few words.
func TestGarbageUnderASitesPrefixIsNotRead(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Passed, nil)
	prefix := manifest.ReportsPrefix(staging)
	for i := range 300 {
		overwrite(t, w, fmt.Sprintf("%sopenstack/9.9.%d/20260301T120000Z-%016x.json", prefix, i, i), []byte("garbage"))
		overwrite(t, w, fmt.Sprintf("%sgarbage/%d", prefix, i), []byte("garbage"))
	}
	faults := storagetest.NewFaults(t, w.Store)
	v := through(t, w, faults)
	before := faults.Count("open")
	r, err := v.Reports(ctx, catalog.ReportFilter{Site: &staging})
	check(t, err)
	if read := faults.Count("open") - before; read > 2 {
		t.Errorf("%d objects were read for one report", read)
	}
	if len(r.All) != 1 || len(r.Rejected) != 101 || !strings.Contains(r.Rejected[0].Reason, "500 more objects") || r.Rejected[0].Key != prefix {
		t.Errorf("%d reports, %d rejected, first %q", len(r.All), len(r.Rejected), r.Rejected[0])
	}
	if r.Gap(staging, on) {
		t.Error("garbage elsewhere makes a gap")
	}
}

// TestAFloodOfNamesIsNotFollowed: a site under whose prefix there are more names than anybody reads has no reports,
// blocks what rests on it, and disturbs nobody else.
func TestAFloodOfNamesIsNotFollowed(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Passed, nil)
	store := &inventive{Store: w.Store, invent: manifest.ReportPrefix(staging, on), invents: 100_001}
	v := through(t, w, store)
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	if len(r.Rejected) != 1 || !strings.Contains(r.Rejected[0].Reason, "more than 100000 objects") || r.Rejected[0].Key != store.invent {
		t.Errorf("rejected %q", r.Rejected)
	}
	wantUnmet(t, v, r, staging, "gap")
	wantUnmet(t, v, r, ci, "")
	_, err = v.Reports(ctx, catalog.ReportFilter{Release: &on, Site: &staging})
	var flooded *catalog.Flooded
	if !errors.As(err, &flooded) || flooded.Site != staging || flooded.Hint() == "" {
		t.Errorf("of that site alone: %v", err)
	}
}

// TestGarbageInAChainCostsABoundedNumberOfReads, and does not push honest reports out of sight unnoticed.
func TestGarbageInAChainCostsABoundedNumberOfReads(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Failed, nil)
	for i := range 2000 {
		overwrite(t, w, fmt.Sprintf("%s20990101T120000Z-%016x.json", manifest.ReportPrefix(staging, on), i), []byte("garbage"))
	}
	faults := storagetest.NewFaults(t, w.Store)
	v := through(t, w, faults)
	before := faults.Count("open")
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	if read := faults.Count("open") - before; read > 110 {
		t.Errorf("%d objects were read", read)
	}
	if r.Latest(staging, on) != nil || len(r.Rejected) != 101 {
		t.Errorf("%d rejected", len(r.Rejected))
	}
	wantUnmet(t, v, r, staging, "gap") // its FAILED lies below the garbage
}

// TestManyReportsOfOneSite: the newest are read, the rest is said, and the chain is held to its sequence from where
// the reading begins.
func TestManyReportsOfOneSite(t *testing.T) {
	w := certifiable(t)
	var sent []string
	for range 150 {
		sent = append(sent, w.Report(staging.String(), on.String(), manifest.Passed, nil))
	}
	v, r := reportsOn(t, w)
	if latest := r.Latest(staging, on); latest == nil || latest.Sequence != 150 || r.Gap(staging, on) || len(r.All) != 101 {
		t.Fatalf("%d reports, latest %+v", len(r.All), latest)
	}
	if len(r.Rejected) != 1 || r.Rejected[0].Key != manifest.ReportPrefix(staging, on) || !strings.Contains(r.Rejected[0].Reason, "50 older ones") {
		t.Errorf("rejected %q", r.Rejected)
	}
	wantUnmet(t, v, r, staging, "")
	// Missing among those that are read.
	data := w.Object(sent[120])
	remove(t, w, sent[120])
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "gap")
	// Spoilt: it could stand for anything.
	overwrite(t, w, sent[120], []byte("garbage"))
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "gap")
	// Missing among those that are not: nothing that decides.
	overwrite(t, w, sent[120], data)
	remove(t, w, sent[10])
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "")
}

// TestNamesOfTestsOfOldReportsAreNotKept bounds the memory of a reader: a report may list two megabytes of names.
func TestNamesOfTestsOfOldReportsAreNotKept(t *testing.T) {
	w := certifiable(t)
	names := make([]string, 8_000)
	for i := range names {
		names[i] = fmt.Sprintf("%06d%s", i, strings.Repeat("x", 90))
	}
	const sent = 12
	for range sent {
		w.Report(staging.String(), on.String(), manifest.Passed, func(r *manifest.Report) { r.Passed = names })
	}
	v := w.View()
	before := heap()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	held := heap() - before
	if held > 3<<20 {
		t.Errorf("%d bytes are held by %d reports", held, sent)
	}
	latest := r.Latest(staging, on)
	if latest.Sequence != sent || len(latest.Passed) != len(names) {
		t.Errorf("the latest is %d with %d names", latest.Sequence, len(latest.Passed))
	}
	for i := range r.All {
		if report := &r.All[i]; report.Site == staging && report != latest && report.Passed != nil {
			t.Errorf("report %d keeps its names", report.Sequence)
		}
	}
	runtime.KeepAlive(r)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnEndlessReportIsNotRead(t *testing.T) {
	w := certifiable(t)
	key := place(t, w, draft(w, staging), nil)
	check(t, os.Truncate(bucketPath(w, key), 1<<40))
	v, r := reportsOn(t, w)
	wantRejected(t, r, key, "at most 4194304 expected")
	wantUnmet(t, v, r, staging, "")
}
