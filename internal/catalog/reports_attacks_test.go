package catalog_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
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
	assessment, err := v.Certification(ctx, on, catalog.Question{}, r)
	check(t, err)
	unmet := assessment.All(nil)
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

// other is another hexadecimal digit.
func other(digit string) string {
	if digit == "f" {
		return "0"
	}
	return "f"
}

func TestAReportMovedElsewhereDoesNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		to   func(key string) string
		says string
	}{
		"to another customer":            {func(k string) string { return strings.Replace(k, "reports/enovance/ci/", "reports/acme/staging/", 1) }, "no key of site acme/staging signed it"},
		"re-dated":                       {func(k string) string { return strings.Replace(k, "20260301T", "20270301T", 1) }, "moved, re-dated or altered"},
		"replayed for another release":   {func(k string) string { return strings.Replace(k, "/1.0.0/", "/1.1.0/", 1) }, "moved, re-dated or altered"},
		"replayed under a second name":   {func(k string) string { return k[:len(k)-6] + other(k[len(k)-6:len(k)-5]) + ".json" }, "moved, re-dated or altered"},
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
		set  func(k *manifest.SiteKey, seen time.Time)
		says string
	}{
		"retired before":         {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at.Add(-time.Second) }, "was not valid on"},
		"retired that very":      {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at }, "was not valid on"},
		"not yet valid":          {func(k *manifest.SiteKey, at time.Time) { k.ValidFrom = at.Add(time.Second) }, "was not valid on"},
		"compromised that very":  {func(k *manifest.SiteKey, at time.Time) { k.CompromisedSince = at }, "counts as compromised since"},
		"compromised since then": {func(k *manifest.SiteKey, at time.Time) { k.CompromisedSince = at.Add(time.Second) }, ""},
		"retired after":          {func(k *manifest.SiteKey, at time.Time) { k.ValidTo = at.Add(time.Second) }, ""},
		"valid from then":        {func(k *manifest.SiteKey, at time.Time) { k.ValidFrom = at }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := published(t)
			w.Validate(on.String())
			key := w.Report(ci.String(), on.String(), manifest.Passed, nil)
			w.Now = w.Now.Add(time.Hour) // what the report says of its time does not matter
			w.Journal(key)
			c.set(&w.Registry["enovance"].Sites[0].Keys[0], w.Now)
			w.Now = w.Now.Add(catalogtest.Day)
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

// TestAReportThatFollowsAnotherOneIsAGap: the sequence is right, and the report before it is not the one it names.
func TestAReportThatFollowsAnotherOneIsAGap(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Passed, nil)
	w.Report(staging.String(), on.String(), manifest.Passed, func(r *manifest.Report) { r.Previous = catalogtest.Digest(nil) })
	v, r := reportsOn(t, w)
	wantUnmet(t, v, r, staging, "gap")
}

// TestAReportDatedInTheFuture: it is shown as of when the journal saw it.
func TestAReportDatedInTheFuture(t *testing.T) {
	t.Parallel()
	w := certifiable(t)
	key := w.Report(ci.String(), on.String(), manifest.Passed, func(r *manifest.Report) { r.Finished = w.Now.AddDate(100, 0, 0) })
	w.Journal(key)
	v := w.View()
	reports, err := v.Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	rows, err := v.ReleaseStatus(ctx, on, reports)
	check(t, err)
	for _, row := range rows {
		if row.Site == ci.String() && (row.Report == nil || row.Report.Key != key || row.When.After(v.Now())) {
			t.Errorf("%+v", row)
		}
	}
}
