package catalog_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

// counted opens a host's catalog over a store that counts.
func counted(t *testing.T, w *catalogtest.World, dir string) (*catalog.View, *storagetest.Faults) {
	t.Helper()
	faults := storagetest.NewFaults(t, w.Store)
	o := w.Options(dir)
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	return v, faults
}

// opened are the keys below a prefix that were read.
func opened(faults *storagetest.Faults, prefix string) (keys []string) {
	for _, call := range faults.Calls() {
		if call.Op == "open" && strings.HasPrefix(call.Key, prefix) {
			keys = append(keys, call.Key)
		}
	}
	return keys
}

// TestReportsOfARotatedKeyStayValid: what the journal saw while the old key was valid counts for good; what it had not
// seen does not.
func TestReportsOfARotatedKeyStayValid(t *testing.T) {
	w := certifiable(t) // the PASSED of the vendor's CI is not in the journal
	seen := w.Report(staging.String(), on.String(), manifest.Passed, nil)
	w.Journal(seen)
	w.Now = w.Now.Add(catalogtest.Day)
	for _, c := range []string{"enovance", "acme"} {
		site := &w.Registry[c].Sites[0]
		site.Keys[0].ValidTo = w.Now
		site.Keys = append(site.Keys, manifest.SiteKey{Public: catalogtest.NewKey(t).Public().PEM(), ValidFrom: w.Now})
	}
	w.Register()
	v, r := reportsOn(t, w)
	if latest := r.Latest(staging, on); latest == nil || latest.Key != seen || latest.Seen.IsZero() || latest.Signer != w.SiteKeys[staging].TUF.ID {
		t.Errorf("%+v", latest)
	}
	wantUnmet(t, v, r, staging, "")
	wantUnmet(t, v, r, ci, "has not reported")
}

// TestAReportThatTheJournalHasNotSeenCounts, and shows as such.
func TestAReportThatTheJournalHasNotSeenCounts(t *testing.T) {
	w := certifiable(t)
	v, r := reportsOn(t, w)
	wantUnmet(t, v, r, ci, "")
	if latest := r.Latest(ci, on); !latest.Seen.IsZero() || latest.Lost != "" {
		t.Errorf("%+v", latest)
	}
	w.Journal(r.Latest(ci, on).Key)
	if _, r = reportsOn(t, w); !r.Latest(ci, on).Seen.Equal(w.Now) {
		t.Errorf("%+v", r.Latest(ci, on))
	}
}

// TestAGapAcrossTheJournal: a report that is missing between what the journal saw and what it has not seen yet shows.
func TestAGapAcrossTheJournal(t *testing.T) {
	w := certifiable(t)
	w.Journal(w.Report(staging.String(), on.String(), manifest.Passed, nil))
	hidden := w.Report(staging.String(), on.String(), manifest.Failed, nil)
	w.Report(staging.String(), on.String(), manifest.Passed, nil)
	data := w.Object(hidden)
	remove(t, w, hidden)
	v, r := reportsOn(t, w)
	if !r.Gap(staging, on) || r.Lost(staging, on) != "" {
		t.Error("no gap")
	}
	wantUnmet(t, v, r, staging, "gap")
	overwrite(t, w, hidden, data)
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "")
}

// TestAReportOnWhatTheCustomerDoesNotFollow does not count, unless it was seen while the customer did.
func TestAReportOnWhatTheCustomerDoesNotFollow(t *testing.T) {
	for says, change := range map[string]func(c *manifest.Customer){
		"acme does not follow openstack": func(c *manifest.Customer) { c.Subscribe = nil },
		"does not follow":                func(c *manifest.Customer) { c.Suspended = true },
		"site acme/staging is retired":   func(c *manifest.Customer) { c.Sites[0].Retired = true }, // its key has no end
	} {
		w := certifiable(t)
		seen := w.Report(staging.String(), on.String(), manifest.Passed, nil)
		w.Journal(seen)
		late := w.Report(staging.String(), on.String(), manifest.Failed, nil)
		change(w.Registry["acme"])
		w.Register()
		_, r := reportsOn(t, w)
		wantRejected(t, r, late, says)
		if r.Latest(staging, on).Key != seen {
			t.Errorf("%+v", r.All)
		}
	}
}

// TestASuspendedCustomerDecidesNothing: its FAILED of before stands against nobody while it is suspended.
func TestASuspendedCustomerDecidesNothing(t *testing.T) {
	w := certifiable(t)
	w.Journal(w.Report(staging.String(), on.String(), manifest.Failed, nil))
	v, r := reportsOn(t, w)
	wantUnmet(t, v, r, staging, "FAILED")
	w.Registry["acme"].Suspended = true
	w.Register()
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "")
	wantVerdict(t, v, r, staging, manifest.Failed, "")
	w.Registry["acme"].Suspended = false
	w.Register()
	v, r = reportsOn(t, w)
	wantUnmet(t, v, r, staging, "FAILED")
}

// TestOnlyNewSegmentsAreFetched, numbers that a crashed commit used up or not.
func TestOnlyNewSegmentsAreFetched(t *testing.T) {
	w := certifiable(t)
	dir := t.TempDir()
	for i := range 40 {
		s := w.Journal(w.Report(staging.String(), on.String(), manifest.Passed, nil))
		if i%7 == 3 {
			w.Put(manifest.JournalObject(s.Number+1), []byte("an orphan"))
			orphan := *s
			orphan.Previous = &manifest.JournalLink{Number: s.Number, SHA256: catalogtest.Digest(w.Object(manifest.JournalObject(s.Number)))}
			orphan.Number, orphan.Seen = s.Number+2, w.Now
			orphan.Reports = w.Journaled(w.Report(staging.String(), on.String(), manifest.Passed, nil))
			w.PutSegment(&orphan)
		}
	}
	v, faults := counted(t, w, dir)
	j, err := v.Journal(ctx)
	check(t, err)
	if read := opened(faults, "journal/"); j.Len() != 46 || len(read) > 70 {
		t.Errorf("%d reports by %d reads", j.Len(), len(read))
	}
	if v, faults = counted(t, w, dir); true {
		_, err = v.Journal(ctx)
		check(t, err)
	}
	if read := opened(faults, "journal/"); len(read) != 0 {
		t.Errorf("read again: %q", read)
	}
	newest := w.Journal(w.Report(staging.String(), on.String(), manifest.Passed, nil))
	v, faults = counted(t, w, dir)
	j, err = v.Journal(ctx)
	check(t, err)
	if read := opened(faults, "journal/"); len(read) != 1 || j.Number != newest.Number || j.Len() != 47 {
		t.Errorf("%d, %d reports, read %q", j.Number, j.Len(), read)
	}
}

// TestADamagedCopyOfTheJournalHeals, as everything of the state directory does.
func TestADamagedCopyOfTheJournalHeals(t *testing.T) {
	w, paths := journaledWorld(t)
	dir := t.TempDir()
	_, err := refresh(t, w, dir).Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	for _, name := range files(t, dir) {
		if strings.HasPrefix(name, "journal") || strings.HasPrefix(name, "reports") {
			for _, spoil := range []func(string) error{
				func(path string) error { return os.WriteFile(path, []byte("2 2\ngarbage"), 0o644) },
				func(path string) error { return os.Truncate(path, 3) },
				os.Remove,
			} {
				check(t, spoil(filepath.Join(dir, name)))
				r, err := refresh(t, w, dir).Reports(ctx, catalog.ReportFilter{})
				if err != nil || len(r.All) != len(paths) || len(r.Rejected) != 0 {
					t.Fatalf("%s: %v, %+v", name, err, r)
				}
			}
		}
	}
}

// TestAReplacedOnlineKeyMayBeginAnotherJournal: what a thief of the old one wrote is no measure.
func TestAReplacedOnlineKeyMayBeginAnotherJournal(t *testing.T) {
	w, paths := journaledWorld(t)
	dir := t.TempDir()
	_, err := journalOf(t, w, dir)
	check(t, err)
	w.SetOnline(catalogtest.NewKey(t))
	w.Delegate(manifest.RoleJournal, 1, w.Online)
	w.PutSegment(&manifest.JournalSegment{Number: 9, Seen: w.Now, Reports: w.Journaled(paths[0])})
	if j, err := journalOf(t, w, dir); err != nil || j.Number != 9 || j.Len() != 1 {
		t.Errorf("%+v, %v", j, err)
	}
}

// TestTheJournalAloneWhereNobodyMayList: over http what the journal saw is known, and that it is no more than that.
func TestTheJournalAloneWhereNobodyMayList(t *testing.T) {
	w, paths := journaledWorld(t)
	fresh := w.Report("acme/staging-2", on.String(), manifest.Failed, nil)
	server := httptest.NewServer(http.FileServer(http.Dir(strings.TrimPrefix(w.Store.URL(), "file://"))))
	t.Cleanup(server.Close)
	web, err := storage.Open(ctx, server.URL, storage.Options{})
	check(t, err)
	v := through(t, w, web)
	if _, err := v.Reports(ctx, catalog.ReportFilter{}); !errors.Is(err, storage.ErrUnsupported) {
		t.Errorf("a decision on a part: %v", err)
	}
	r, err := v.Reports(ctx, catalog.ReportFilter{Known: true})
	check(t, err)
	if len(r.All) != len(paths) || len(r.Unlisted) != 4 || r.Latest(staging, on).Verdict() != manifest.Failed {
		t.Errorf("%d reports, unlisted %v", len(r.All), r.Unlisted)
	}
	for _, report := range r.All {
		if report.Key == fresh {
			t.Error("it knows what it cannot")
		}
	}
}

// TestASecondLookReadsOnlyWhatIsNew: 2,000 reports of 50 sites (docs/PERFORMANCE.md).
func TestASecondLookReadsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	for i := range 40 {
		w.Publish(fmt.Sprintf("openstack@1.%d.0", i), catalogtest.Content{Files: map[string]string{"x": "x"}})
	}
	var sites []string
	for i := range 49 {
		customer := fmt.Sprintf("customer-%d", i)
		w.AddCustomer(customer, "openstack")
		sites = append(sites, w.AddSite(customer+"/ci", manifest.SiteCI).String())
	}
	sites = append(sites, ci.String())
	var paths []string
	for i := range 40 {
		for _, site := range sites {
			w.Now = w.Now.Add(-time.Minute + time.Second)
			paths = append(paths, w.Report(site, fmt.Sprintf("openstack@1.%d.0", i), manifest.Passed, nil))
		}
	}
	w.Journal(paths...)
	dir := t.TempDir()
	look := func() (lists, reads int) {
		v, faults := counted(t, w, dir)
		before := faults.Count("list")
		r, err := v.Reports(ctx, catalog.ReportFilter{})
		check(t, err)
		if len(r.All) < 2000 || len(r.Rejected) != 0 {
			t.Fatalf("%d reports, %d rejected", len(r.All), len(r.Rejected))
		}
		return faults.Count("list") - before, len(opened(faults, ""))
	}
	if lists, reads := look(); lists != 50 || reads < 2000 {
		t.Errorf("the first look: %d listings, %d reads", lists, reads)
	}
	if lists, reads := look(); lists != 50 || reads > 1 { // the next root, which is not there
		t.Errorf("the second look: %d listings, %d reads", lists, reads)
	}
	for i := range 3 {
		w.Report(sites[i], "openstack@1.39.0", manifest.Passed, nil)
	}
	if lists, reads := look(); lists != 50 || reads > 1+3 {
		t.Errorf("after three more: %d listings, %d reads", lists, reads)
	}
}
