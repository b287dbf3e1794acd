package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Public keys nobody holds the private half of.
const (
	keyA    = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpKXCt35QOGbsSbEsmNjwZcvwN3Jz\nU4kh3zCOtVKOykC/WSA49d5wn0YoJS+4KliWgzFDtVfy+jcRwqCJdB2elA==\n-----END PUBLIC KEY-----\n"
	keyB    = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEs0Ne1jqEkO2VeztsfVWEhz/AWt4p\nXtlb6dioaw50Y0Wa2gXsnZRtKGUkQzr8faDU0PjYlJNyulD1MXXvpsb0bA==\n-----END PUBLIC KEY-----\n"
	keyEd   = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA5ZL8Wbp3Ng+8vOYqF1JfN8xBDL83EFZ8Jwoe296zpmc=\n-----END PUBLIC KEY-----\n"
	keyP384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEFPJ5GTSXz6ebIL1uzh9HCTLe4hZbrDlO\nB9INpzcVdbwJLw4BJOXiVw4IYYMFmtAigsm6QkNhLUjYFrtDK0r6/uuMG2W2IBCY\nvpUI2YgjTYJMvDtF7xHOMaZ51yXq8PJc\n-----END PUBLIC KEY-----\n"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// golden compares with testdata/name, or writes it with -update.
func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s differs; run go test -update and look at the change\nhave:\n%s", name, have)
	}
}

// wantError wants an error whose text has every one of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, wanted one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

// sampleContents are the files of the sample tree.
var sampleContents = map[string]string{
	"apply":                         "#!/bin/sh\n",
	"site.pp":                       "node default { include openstack }\n",
	"modules/ünïcode/" + longName(): "long and not ASCII\n",
	"zero":                          "",
}

func longName() string { return strings.Repeat("n", 120) + ".pp" }

func sampleTree() []TreeFile {
	file := func(path string) TreeFile {
		c := sampleContents[path]
		return TreeFile{Path: path, Size: int64(len(c)), SHA256: digest(c)}
	}
	apply := file("apply")
	apply.Executable = true
	return []TreeFile{
		apply,
		{Path: "current", Link: "modules/ünïcode"},
		{Path: "empty/"},
		{Path: "modules/up", Link: "../site.pp"},
		file("modules/ünïcode/" + longName()),
		file("site.pp"),
		file("zero"),
	}
}

func openSample(path string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(sampleContents[path])), nil
}

func sampleTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteTree(&b, sampleTree(), openSample); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sampleManifest(t testing.TB) *Manifest {
	t.Helper()
	tree := string(sampleTar(t))
	return &Manifest{
		Format: 1, Product: "openstack", Version: "2.1.0", Kind: KindUpdate,
		From: []string{"2.0.0", ">=2.0.3 <2.1"}, Summary: `Kilo, the "second" one \ maintenance`,
		Requires: Requires{Arch: []string{"amd64"}, CPUs: 4, MemoryGiB: 16, Labels: []string{"ipmi"}},
		Marmite: Artifact{Path: "marmite.yaml", Kind: KindMarmite, Size: 5, SHA256: digest("roles"),
			Stored: Stored{SHA256: digest("roles"), Size: 5, Encoding: EncodingIdentity}},
		Artifacts: []Artifact{
			{Path: "images/controller.img", Kind: "image", Size: 6, SHA256: digest("image!"),
				Stored: Stored{SHA256: digest("zstd of image!"), Size: 19, Encoding: EncodingZstd},
				Index:  Object{SHA256: digest("index"), Size: 52},
				Deltas: []Delta{
					{From: digest("image?"), Churn: digest("? to !"), SHA256: digest("delta"), Size: 77},
					{From: digest("image"), Churn: digest(" to !"), SHA256: digest("other delta"), Size: 78},
				}},
			{Path: "puppet/", Kind: "configuration", Size: int64(len(tree)), SHA256: digest(tree),
				Stored: Stored{SHA256: digest("zstd of tree"), Size: 300, Encoding: EncodingZstd}, Files: sampleTree()},
		},
	}
}

func sampleReport() *Report {
	return &Report{
		Site: SiteID{"acme", "staging"}, Release: Release{"openstack", "2.1.0"}, ManifestSHA256: digest("manifest"),
		Type: ReportTest, Result: Failed, Reason: "api answered 500\nsee the log", Started: noon, Finished: noon.Add(3 * time.Minute),
		Sequence: 2, Previous: digest("first"), TimestampVersion: 41,
		Passed: []string{"boot", "naïve <b>"}, Warned: []string{"slow"}, Failed: []string{"api"},
		Log: &LogRef{SHA256: digest("log"), Size: 1234, RawSize: 5678},
		Attachments: []Attachment{{"screens/boot.png", LogRef{SHA256: digest("boot.png"), Size: 99, RawSize: 98}},
			{"über.txt", LogRef{SHA256: digest("über.txt"), Size: 13, RawSize: 0}}},
	}
}

func sampleEvidence() *Evidence {
	return &Evidence{
		Schema: EvidenceSchema, Release: Release{"openstack", "2.1.0"}, ManifestSHA256: digest("manifest"),
		Reports: []EvidenceReport{
			{Site: "acme/staging", Verdict: Passed, SHA256: digest("r1"), Sequence: 1},
			{Site: "enovance/ci", Verdict: NotRun, SHA256: digest("r2"), Sequence: 3},
		},
		RegistryVersion: 7, RecalledVersion: 1, Note: "looked at both", Created: noon,
	}
}

func samplePolicy() *Policy {
	return &Policy{
		Default: PolicyRule{MaxAge: "30d"},
		Rules: []PolicyRule{
			{Customer: "acme", Chain: ChainLast, Warned: WarnedPass},
			{Product: "openstack", Require: []string{VendorCI, "acme/staging"}, Soak: "72h"},
			{Product: "openstack", Customer: "acme", MaxAge: SpanNone, Soak: SpanNone},
		},
	}
}

func sampleCustomer() *Customer {
	return &Customer{
		Customer: "acme", Name: "ACME \"Corp\"", Subscribe: []string{"openstack", "ceph"},
		Sites: []Site{
			{Name: "staging", Kind: SiteCI, Keys: []SiteKey{
				{Public: keyA, ValidFrom: noon, ValidTo: noon.AddDate(1, 0, 0)},
				{Public: keyEd, ValidFrom: noon.AddDate(0, 11, 0)},
			}},
			{Name: "staging-2", Kind: SiteCI, After: []string{"acme/staging", "enovance/ci"}, Retired: true,
				Keys: []SiteKey{{Public: keyB, ValidFrom: noon}}},
		},
	}
}
