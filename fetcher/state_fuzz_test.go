package fetcher

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// spoolSeed is the statement of a report that waits.
func spoolSeed(t testing.TB) []byte {
	t.Helper()
	r := &manifest.Report{Site: manifest.SiteID{Customer: "acme", Site: "staging"}, Release: manifest.Release{Product: "p", Version: "1"},
		ManifestSHA256: catalogtest.Digest(nil), Type: manifest.ReportDeployment, Result: manifest.Passed, Sequence: 2, Previous: catalogtest.Digest(nil),
		Started: catalogtest.Start, Finished: catalogtest.Start.Add(time.Second), Log: &manifest.LogRef{SHA256: catalogtest.Digest(nil), Size: 1, RawSize: 2}}
	data, err := r.Statement()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzSpool: an entry of the spool is read as a whole report or said to be damaged, and its name in the store is one.
func FuzzSpool(f *testing.F) {
	good := spoolSeed(f)
	f.Add(good, []byte{}, false)
	f.Add(good, []byte("a bundle"), true)
	f.Add(good[:len(good)/2], []byte("{}"), true)
	f.Add([]byte("null"), []byte("null"), true)
	f.Fuzz(func(t *testing.T, statement, bundle []byte, signed bool) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, spoolStatement), statement)
		if signed {
			write(t, filepath.Join(dir, spoolReport), bundle)
		}
		s, err := readSpooled(dir, nil)
		if (s == nil) != (err != nil) {
			t.Fatalf("%v with %v", s, err)
		}
		if s == nil {
			return
		}
		if again, err := s.report.Statement(); err != nil {
			t.Errorf("read, but cannot be written: %v", err)
		} else if back, err := manifest.ParseStatement(again); err != nil || !reflect.DeepEqual(back, s.report) {
			t.Errorf("%+v came back as %+v, %v", s.report, back, err)
		}
		if signed && (s.broken == nil || s.bundle != nil) {
			t.Errorf("a bundle that no key signed would be sent as %s", s.key)
		}
	})
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// recordSeeds are bodies of records.
func recordSeeds(t testing.TB) map[string][]byte {
	t.Helper()
	deploy := newDeployRecord("openstack")
	deploy.begin("1.0.0", attempt{Manifest: catalogtest.Digest(nil), Sequence: 1, Started: catalogtest.Start})
	seeds := map[string][]byte{"null": []byte("null"), "null attempt": []byte(`{"product":"openstack","attempts":{"1.0.0":null}}`),
		"null attempts": []byte(`{"product":"openstack","attempts":null}`), "no attempt": []byte(`{"product":"openstack","current":"1.0.0"}`)}
	for name, body := range map[string]any{"deploy": deploy, "report": reportRecord{Verdict: "PASSED", Sequence: 3, Report: catalogtest.Digest(nil), Finished: catalogtest.Start}} {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		seeds[name] = raw
	}
	return seeds
}

// FuzzRecord: a site's records, with the checksum right or not, are believed as they were written or not at all, and
// what is believed can be worked with.
func FuzzRecord(f *testing.F) {
	for _, body := range recordSeeds(f) {
		f.Add(body)
		sum := sha256.Sum256(body)
		whole, err := json.Marshal(recordFile{recordSchema, hex.EncodeToString(sum[:]), body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		useRecords(t, siteDir(t.TempDir()), data)
		sum := sha256.Sum256(data)
		if sealed, err := json.Marshal(recordFile{recordSchema, hex.EncodeToString(sum[:]), data}); err == nil && bytes.Contains(sealed, data) {
			useRecords(t, siteDir(t.TempDir()), sealed)
		}
	})
}

// useRecords puts a file where each record is, and goes on from there.
func useRecords(t *testing.T, d siteDir, file []byte) {
	t.Helper()
	r := manifest.Release{Product: "openstack", Version: "1.0.0"}
	for _, path := range []string{d.reportPath(r), d.deployPath("openstack")} {
		if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, file)
	}
	rec, err := d.report(r)
	if err != nil {
		t.Errorf("a damaged record of a report stops the site: %v", err)
	}
	if rec != nil {
		if err := d.keepReport(r, *rec); err != nil {
			t.Error(err)
		}
	}
	deployed, err := d.deploy("openstack")
	var damaged *Damaged
	if (deployed == nil) != (err != nil) || err != nil && !errors.As(err, &damaged) {
		t.Fatalf("%+v, %v", deployed, err)
	}
	if deployed == nil {
		return
	}
	deployed.interrupted()
	if err := d.keepDeploy(deployed); err != nil {
		// Times that JSON cannot hold do not come from JSON.
		t.Fatal(err)
	}
	if back, err := d.deploy("openstack"); err != nil || back.Current != deployed.Current || len(back.Attempts) != len(deployed.Attempts) {
		t.Errorf("%+v came back as %+v, %v", deployed, back, err)
	}
}

// TestStateSeeds: the seeds are there, and the good ones are read.
func TestStateSeeds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, spoolStatement), spoolSeed(t))
	if s, err := readSpooled(dir, nil); err != nil || s.report.Sequence != 2 {
		t.Errorf("the good entry of the spool: %v", err)
	}
	seeds := recordSeeds(t)
	if len(seeds) != 6 || !strings.Contains(string(seeds["deploy"]), `"1.0.0"`) {
		t.Errorf("%d seeds of records", len(seeds))
	}
	d := siteDir(t.TempDir())
	if err := writeRecord(d.deployPath("openstack"), json.RawMessage(seeds["deploy"])); err != nil {
		t.Fatal(err)
	}
	if rec, err := d.deploy("openstack"); err != nil || rec.interrupted() != "1.0.0" {
		t.Errorf("the good record: %+v, %v", rec, err)
	}
}
