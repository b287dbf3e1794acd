package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

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
	w.Journal(w.Report(staging.String(), on.String(), manifest.Failed, nil))
	v = through(t, w, store)
	r, err = v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	if latest := r.Latest(staging, on); latest == nil || latest.Verdict() != manifest.Failed || !r.Gap(staging, on) {
		t.Errorf("what the journal saw: %+v", latest)
	}
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

// TestWhatWasDeployedAfter: a site's newest deployment replaces those before it, one that failed does not.
func TestWhatWasDeployedAfter(t *testing.T) {
	t.Parallel()
	w := certifiable(t)
	w.Publish("openstack@1.1.0", catalogtest.Content{})
	later := manifest.Release{Product: "openstack", Version: "1.1.0"}
	prod := manifest.SiteID{Customer: "acme", Site: "prod"}
	deployed := func(r *manifest.Report) { r.Type = manifest.ReportDeployment }
	replaced := func(r manifest.Release) *manifest.Release {
		t.Helper()
		reports, err := w.View().Reports(ctx, catalog.ReportFilter{})
		check(t, err)
		return reports.Replaced(prod, r)
	}
	w.Report(prod.String(), on.String(), manifest.Passed, deployed)
	w.Report(prod.String(), later.String(), manifest.Failed, deployed)
	if by := replaced(on); by != nil {
		t.Errorf("replaced by %s, which failed", by)
	}
	w.Report(prod.String(), later.String(), manifest.Passed, deployed)
	if by := replaced(on); by == nil || *by != later {
		t.Errorf("replaced by %v", by)
	}
	if by := replaced(later); by != nil {
		t.Errorf("the newest is replaced by %s", by)
	}
	w.Report(prod.String(), on.String(), manifest.Passed, deployed)
	if by := replaced(later); by == nil || *by != on {
		t.Errorf("went back, and it is replaced by %v", by)
	}
}
