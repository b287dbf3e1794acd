package manifest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// fuzzSeeds are the seeds of every fuzz target, by the name of the file that
// holds them under testdata/fuzz; go test -update writes them.
func fuzzSeeds(t testing.TB) map[string]map[string]string {
	text := func(data []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	manifest := text(sampleManifest(t).Encode())
	customer := text(sampleCustomer().Encode())
	statement := text(sampleReport().Statement())
	evidence := text(sampleEvidence().Encode())
	policy := text(samplePolicy().Encode())
	excepted := sampleEvidence()
	excepted.PolicyVersion, excepted.PolicySHA256, excepted.Customer = 3, digest("policy"), "acme"
	excepted.Waivers = []Waiver{{Site: "acme/staging", Against: "its latest report is FAILED", Reason: "broken hardware", Until: "2026-02-28"}}
	first := sampleSegment()
	first.Previous, first.Reports = nil, first.Reports[:1]
	journal := text(first.Encode())
	return map[string]map[string]string{
		"FuzzParseSource": {
			"good": goodSource, "unknown-key": "product = \"a\"\nx = 1\n", "inline": "marmite = { path = 'm' }\nartifact = [{path = \"a/\"}]\n",
			"strings": "a = \"\"\"\n\\\n \"\"\"\"\"\nb = '''x''''\n\"c\\u0041\" = 1\n", "nested": "a = [[[[{b.c = [1,2]}]]]]\n[[x]]\n[[x.y]]\nz = 1\n",
		},
		"FuzzParseManifest":       {"good": manifest, "not-canonical": strings.Replace(manifest, "format = 1", "format=1", 1), "link-out": strings.Replace(manifest, "../site.pp", "../../site.pp", 1)},
		"FuzzParseCustomer":       {"good": customer, "cycle": strings.Replace(customer, "acme/staging", "acme/staging-2", 1), "vendor": "customer = \"enovance\"\nvendor = true\nsubscribe = [\"*\"]\n"},
		"FuzzParseStatement":      {"good": statement, "two-subjects": strings.Replace(statement, `[{"name"`, `[{},{"name"`, 1), "duplicate": `{"_type":1,"_type":2}`},
		"FuzzParseJournalSegment": {"good": journal, "spaced": strings.Replace(journal, ": 3", ":3", 1), "link": strings.Replace(journal, `"seen"`, `"previous": null, "seen"`, 1)},
		"FuzzParseEvidence":       {"good": evidence, "schema": `{"schema": "kitchen.evidence/v2"}`, "waived": text(excepted.Encode())},
		"FuzzParsePolicy":         {"good": policy, "twice": policy + policy, "span": strings.Replace(policy, "30d", "30y", 1), "named": "[default]\nrequire = [\"customer-ci\", \"a/b\"]\n"},
		"FuzzParseReportObject": {
			"good": ReportObject(SiteID{"acme", "staging"}, Release{"openstack", "2.1.0"}, noon, digest("x")), "log": LogObject(SiteID{"acme", "staging"}, digest("x")),
			"climbing": "reports/../staging/openstack/2.1.0/20260131T120000Z-0123456789abcdef.json",
		},
		"FuzzKindOf":   {"timestamp": TimestampObject, "manifest": TargetObject(TargetPath(StageReady, Release{"o", "1"}), digest("x")), "short": "targets"},
		"FuzzReadTree": {"good": string(sampleTar(t)), "cut": string(sampleTar(t)[:700])},
		"FuzzParsePending": {
			"document": ProposalObject(ProposalID("recalled.openstack", 3, digest("x")), ProposalName), "payload": ProposalObject(ProposalID("targets", 3, digest("x")), PayloadName("targets")),
			"signature": SignatureObject(ProposalID("policy", 1, digest("x")), "policy", digest("k"), digest("s")), "climbing": "pending/../x.json", "short": "pending/x/sig/role/.json",
		},
		"FuzzCheckJSON": {"object": `{"a": [1, "\u0000", null], "b": {}}`, "twice": `{"a":1,"\u0061":2}`, "deep": strings.Repeat("[", 40), "after": "{} {}", "UTF-8": "\"\xff\"", "surrogate": `"\ud800"`},
		"FuzzDecodeTOML": {
			"good": "name = \"a\"\nlist = [\"b\", 'c']\nn = 7\n[table]\n\"x.y\" = \"z\"\n", "unknown": "other = 1\n", "case": "Name = \"a\"\n", "twice": "n = 1\nn = 2\n",
			"type": "n = \"7\"\n", "deep": "list = " + strings.Repeat("[", 500), "float": "n = 1.5\n", "huge": "n = 99999999999999999999\n", "control": "name = \"\\u001b\"\n",
		},
		"FuzzParseNames": {"release": "openstack@2.1.0", "site": "acme/staging", "target": "ready-to-deploy.acme/openstack/2.1.0/manifest.toml"},
	}
}

// TestFuzzSeeds: the corpus on disk is the table above, so that no seed goes
// missing unnoticed. Findings of a fuzz run may lie beside them.
func TestFuzzSeeds(t *testing.T) {
	for target, seeds := range fuzzSeeds(t) {
		for name, seed := range seeds {
			want := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", seed)
			path := filepath.Join("testdata", "fuzz", target, name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if have, err := os.ReadFile(path); err != nil || string(have) != want {
				t.Errorf("seed %s is missing or differs (go test -update): %v", path, err)
			}
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSource("product.toml", data)
		if (s == nil) != (err != nil) {
			t.Fatalf("%v with %v", s, err)
		}
		// The scan before the library may refuse only what the library refuses, or its own limits.
		line, reason := scanTOML(data, nil)
		if strings.HasPrefix(reason, "not valid") {
			var doc map[string]any
			if _, err := toml.Decode(string(data), &doc); err == nil {
				t.Fatalf("line %d: %s, says the scan; the library reads %v", line, reason, doc)
			}
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if (m == nil) != (err != nil) {
			t.Fatalf("%v with %v", m, err)
		}
		if m == nil {
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encodes to %q, %v", again, err)
		}
	})
}

func FuzzParseCustomer(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCustomer("x.toml", data)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v with %v", c, err)
		}
		if c == nil {
			return
		}
		canonical, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseCustomer("x.toml", canonical)
		if err != nil {
			t.Fatalf("%v of %q", err, canonical)
		}
		if again, err := back.Encode(); err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("%q, then %q, %v", canonical, again, err)
		}
	})
}

func FuzzParseStatement(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseStatement(data)
		if (r == nil) != (err != nil) {
			t.Fatalf("%v with %v", r, err)
		}
		if r == nil {
			return
		}
		ours, err := r.Statement()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseStatement(ours); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvidence(data)
		if (e == nil) != (err != nil) {
			t.Fatalf("%v with %v", e, err)
		}
		if e == nil {
			return
		}
		if again, err := e.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encodes to %q, %v", again, err)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("policy.toml", data)
		if (p == nil) != (err != nil) {
			t.Fatalf("%v with %v", p, err)
		}
		if p == nil {
			return
		}
		canonical, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePolicy("policy.toml", canonical)
		if err != nil {
			t.Fatalf("%v of %q", err, canonical)
		}
		if again, err := back.Encode(); err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("%q, then %q, %v", canonical, again, err)
		}
	})
}

func FuzzParseJournalSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseJournalSegment(data)
		if (s == nil) != (err != nil) {
			t.Fatalf("%v with %v", s, err)
		}
		if s == nil {
			return
		}
		if again, err := s.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encodes to %q, %v", again, err)
		}
	})
}

func FuzzParseReportObject(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		key := string(data)
		s, r, at, sha, err := ParseReportObject(key)
		if err == nil && ReportObject(s, r, at, sha) != key {
			t.Fatalf("%q became %q", key, ReportObject(s, r, at, sha))
		}
		if k, kerr := KindOf(key); err == nil && (kerr != nil || k.Name != "report") {
			t.Fatalf("%q is a report and of kind %+v, %v", key, k, kerr)
		}
	})
}

func FuzzKindOf(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := KindOf(string(data)); err == nil && (k.MaxSize <= 0 || CheckRelativePath(string(data)) != nil) {
			t.Fatalf("%q: %+v", data, k)
		}
	})
}

func FuzzReadTree(f *testing.F) {
	files := sampleTree()
	good := sampleTar(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		err := ReadTree(bytes.NewReader(data), files, func(TreeFile, io.Reader) error { return nil })
		if (err == nil) != bytes.Equal(data, good) {
			t.Fatalf("%d bytes: %v", len(data), err)
		}
	})
}

func FuzzParseNames(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		text := string(data)
		if r, err := ParseRelease(text); err == nil && r.String() != text {
			t.Fatal(r)
		}
		if s, err := ParseSite(text); err == nil && s.String() != text {
			t.Fatal(s)
		}
		if stage, r, err := ParseTargetPath(text); err == nil && TargetPath(stage, r) != text {
			t.Fatal(stage, r)
		}
		if FoldPath(FoldPath(text)) != FoldPath(text) && CheckRelativePath(text) == nil {
			t.Fatalf("folding %q twice differs", text)
		}
		if have := CleanText(text, 100); checkText("it", have, 100, false) != nil {
			t.Fatalf("%q is not clean", have)
		}
	})
}

func FuzzParsePending(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		key := string(data)
		id, name, role, keyid, err := ParsePendingObject(key)
		if err != nil {
			if id+name+role+keyid != "" {
				t.Fatalf("%q %q %q %q with %v", id, name, role, keyid, err)
			}
			return
		}
		again := ProposalObject(id, name)
		if name == "" {
			again = SignatureObject(id, role, keyid, strings.TrimSuffix(key[strings.LastIndex(key, "-")+1:], ".json"))
		}
		if again != key {
			t.Errorf("%q became %q", key, again)
		}
		first, version, sha, err := ParseProposalID(id)
		if err != nil || ProposalID(first, version, sha) != id {
			t.Errorf("%q: %q %d %q, %v", id, first, version, sha, err)
		}
	})
}

func FuzzCheckJSON(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseJSON(data)
		if err != nil {
			if v != nil {
				t.Fatalf("%v with %v", v, err)
			}
			return
		}
		again, err := plainJSON(v, "")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseJSON(again); err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("%v became %v, %v", v, back, err)
		}
	})
}

// FuzzDecodeTOML: what configuration files go through. What is read without complaint the library reads, too.
func FuzzDecodeTOML(f *testing.F) {
	type table struct {
		Name  string            `toml:"name"`
		List  []string          `toml:"list"`
		N     int               `toml:"n"`
		Table map[string]string `toml:"table"`
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var have, want table
		if err := DecodeTOML("x.toml", data, &have); err != nil {
			return
		}
		if _, err := toml.Decode(string(data), &want); err != nil || !reflect.DeepEqual(have, want) {
			t.Errorf("%+v; the library reads %+v, %v", have, want, err)
		}
	})
}
