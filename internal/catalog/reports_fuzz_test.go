package catalog

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// fuzzSite is a registered site with one key, and a report that it signed.
var fuzzTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fuzzSite(t testing.TB) (site *registeredSite, key string, bundle []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keys.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	noon := fuzzTime
	id := manifest.SiteID{Customer: "acme", Site: "staging"}
	site = newRegisteredSite(&manifest.Customer{Customer: "acme", Subscribe: []string{"*"}}, &manifest.Site{Name: "staging", Kind: manifest.SiteCI,
		Keys: []manifest.SiteKey{{Public: signer.Public().PEM(), ValidFrom: noon.Add(-time.Hour)}}})
	report := &manifest.Report{Site: id, Release: manifest.Release{Product: "openstack", Version: "1.0.0"}, ManifestSHA256: strings.Repeat("ab", 32),
		Type: manifest.ReportTest, Result: manifest.Passed, Started: noon, Finished: noon, Sequence: 1}
	statement, err := report.Statement()
	if err != nil {
		t.Fatal(err)
	}
	if bundle, err = keys.SignStatement(context.Background(), signer, statement); err != nil {
		t.Fatal(err)
	}
	return site, manifest.ReportObject(id, report.Release, noon, sha256Hex(bundle)), bundle
}

// FuzzReport: an object under a site's prefix counts as it was signed and under its own name, or not at all.
func FuzzReport(f *testing.F) {
	site, key, good := fuzzSite(f)
	f.Add(key, good)
	f.Add(strings.Replace(key, "acme", "other", 1), good)
	f.Add(strings.Replace(key, "2026", "2027", 1), good)
	f.Add(key, bytes.Replace(good, []byte(`"payload":"`), []byte(`"payload":"AAAA`), 1))
	f.Add(key, good[:len(good)/2])
	f.Add(key, []byte("{}"))
	f.Fuzz(func(t *testing.T, name string, bundle []byte) {
		report, err := site.verify(candidate{key: name}, bundle, fuzzTime)
		if (report == nil) != (err != nil) {
			t.Fatalf("%v with %v", report, err)
		}
		// Blanks and unknown encodings of the same envelope are other bytes, and belong under another name.
		if report != nil && (report.Site != site.id || name != manifest.ReportObject(report.Site, report.Release, report.Finished, sha256Hex(bundle))) {
			t.Errorf("%s counts as %+v", name, report)
		}
	})
}

// FuzzLog: no log gives out more than its report announces, and none is endless.
func FuzzLog(f *testing.F) {
	for _, seed := range logSeeds(f) {
		f.Add(seed, int64(4000))
		f.Add(seed, int64(0))
	}
	f.Fuzz(func(t *testing.T, stored []byte, size int64) {
		size &= 1<<20 - 1
		log, err := openLog("a log", stored, size)
		if (log == nil) != (err != nil) {
			t.Fatalf("%v with %v", log, err)
		}
		if err != nil {
			return
		}
		defer log.Close()
		first, err := io.ReadAll(io.LimitReader(log, size+1))
		if int64(len(first)) > size || err == nil && int64(len(first)) != size {
			t.Fatalf("%d bytes of %d, %v", len(first), size, err)
		}
		if err := log.Rewind(); err != nil {
			t.Fatal(err)
		}
		if again, e := io.ReadAll(log); !bytes.Equal(first, again) || (e == nil) != (err == nil) {
			t.Fatalf("read again: %d bytes, %v; before: %d bytes, %v", len(again), e, len(first), err)
		}
	})
}

func logSeeds(t testing.TB) [][]byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	text := e.EncodeAll([]byte(strings.Repeat("text", 1000)), nil)
	return [][]byte{text, text[:len(text)/2], append(bytes.Clone(text), text...), e.EncodeAll(nil, nil), []byte("not zstd"),
		[]byte("\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00"), []byte("\x28\xb5\x2f\xfd\x03\x38\x07\x00\x00\x00\x01\x00\x00")}
}

// stateSeeds are files of a state directory, by name of the file they are read from.
func stateSeeds(t testing.TB) map[string][]byte {
	t.Helper()
	seal := func(body any) []byte {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		data, err := sealChecked(raw)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	m := newMemory()
	m.Generation, m.Root, m.Targets["catalog/p/1/manifest.toml"] = 3, 1, strings.Repeat("ab", 32)
	m.Recalled["p@1"] = recallMemory{SHA256: strings.Repeat("ab", 32), Reason: "why", Since: 1}
	return map[string][]byte{"memory": seal(m), "pin": seal(pin{1, strings.Repeat("ab", 32)}), "nulls": seal(nil), "list": seal([]int{1}), "empty": []byte("{}"),
		"nulls within": seal(map[string]any{"targets": nil, "recalled": nil, "floor": nil})}
}

// FuzzState: the small files of a state directory, damaged or not, are read as what was written or not at all, and
// what was read can be used.
func FuzzState(f *testing.F) {
	for _, seed := range stateSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, resealed(data)} {
			s := stateDir{t.TempDir()}
			for _, name := range []string{memoryA, pinFile} {
				if err := os.WriteFile(s.path(name), file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if p, problem := s.readPin(); (problem == "") == (p == pin{}) {
				t.Errorf("pin %v, problem %q", p, problem)
			}
			m := s.readMemoryCopy(memoryA)
			if m == nil {
				continue
			}
			m.clone().sawRole("recalled.p", seenRole)
			_ = m.checkRole("recalled.p", seenRole)
			if err := s.writeMemory(m); err != nil {
				t.Fatal(err)
			}
			if back := s.readMemoryCopy(memoryA); back == nil || back.Generation != m.Generation || len(back.Targets) != len(m.Targets) || !reflect.DeepEqual(back.Recalled, m.Recalled) {
				t.Errorf("%+v came back as %+v", m, back)
			}
		}
	})
}

// seenRole is a role as a refresh shows it to the memory.
var seenRole = &trust.Targets{Targets: map[string]trust.Target{"recalled/p/1/manifest.toml": {SHA256: strings.Repeat("ab", 32)}}}

// resealed gives any JSON a checksum that fits, so that what is behind it is reached.
func resealed(data []byte) []byte {
	var c checked
	if json.Unmarshal(data, &c) == nil && len(c.Body) > 0 {
		data = c.Body
	}
	file, err := sealChecked(data)
	if err != nil {
		return []byte("{}")
	}
	return file
}

// TestFuzzSeeds: the seeds are there, and the good ones are good.
func TestFuzzSeeds(t *testing.T) {
	site, key, bundle := fuzzSite(t)
	if report, err := site.verify(candidate{key: key}, bundle, fuzzTime); err != nil || report.Sequence != 1 {
		t.Errorf("the good report: %v", err)
	}
	if seeds := logSeeds(t); len(seeds) != 7 || len(seeds[0]) == 0 {
		t.Errorf("%d seeds of logs", len(seeds))
	}
	seeds := stateSeeds(t)
	s := stateDir{t.TempDir()}
	if err := os.WriteFile(s.path(memoryA), seeds["memory"], 0o600); err != nil {
		t.Fatal(err)
	}
	if m := s.readMemoryCopy(memoryA); m == nil || m.Generation != 3 || len(m.Recalled) != 1 {
		t.Errorf("the good memory: %+v", m)
	}
	if err := os.WriteFile(s.path(pinFile), seeds["pin"], 0o600); err != nil {
		t.Fatal(err)
	}
	if p, problem := s.readPin(); problem != "" || p.Version != 1 {
		t.Errorf("the good pin: %v, %s", p, problem)
	}
}
