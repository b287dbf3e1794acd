package manifest

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// kindSamples has one key for every row of the table in kinds.go.
var kindSamples = func() map[string]string {
	sha := strings.Repeat("0", 64)
	release, site := Release{"p", "1"}, SiteID{"c", "s"}
	return map[string]string{
		"root": RootObject(1), "timestamp": TimestampObject, "snapshot": SnapshotObject(1), "role": RoleObject("targets", 1),
		"manifest": TargetObject(TargetPath(StageCatalog, release), sha),
		"registry": TargetObject(RegistryTarget("c"), sha), "policy": TargetObject(PolicyTarget, sha),
		"blob": BlobObject(sha), "evidence": EvidenceObject(sha), "journal": JournalObject(1), "probe": "_kitchen/probe-x/once", "prune": PruneObject,
		"report": ReportPrefix(site, release) + "20260131T120000Z-0000000000000000.json", "log": LogObject(site, sha),
		"proposal": ProposalObject("x", ProposalName), "signature": SignatureObject("x", "targets", "0", sha),
	}
}()

func readFormat(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kindNames are the names in the table of kinds.go, from its source: what has no sample cannot hide.
func kindNames(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s+kind[A-Z]\w*\s+= (?:fixed\(|Kind\{Name: )"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		names = append(names, m[1])
	}
	if len(names) < 15 {
		t.Fatalf("only %d kinds found in kinds.go: %v", len(names), names)
	}
	return names
}

func sizeWords(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{tib, "TiB"}, {1 << 30, "GiB"}, {mib, "MiB"}, {kib, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func TestFormatDocTableOfKinds(t *testing.T) {
	_, section, _ := strings.Cut(readFormat(t), "\n## 1 ")
	section, _, _ = strings.Cut(section, "\n## 2 ")
	rows := map[string][]string{}
	for line := range strings.SplitSeq(section, "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 8 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[strings.Trim(cells[1], "`")] = cells
		}
	}
	names := kindNames(t)
	for _, name := range names {
		k, err := KindOf(kindSamples[name])
		if err != nil || k.Name != name {
			t.Fatalf("the sample key %q of kind %q is of kind %q (%v)", kindSamples[name], name, k.Name, err)
		}
		cache := map[string]string{forever: "forever", never: "never"}[k.CacheControl]
		mutable := map[bool]string{true: "yes", false: "no"}[k.Mutable]
		row, ok := rows[name]
		if !ok {
			t.Errorf("docs/FORMAT.md has no row for objects of kind %q", name)
			continue
		}
		have := []string{row[3], row[4], row[5], row[6]}
		want := []string{"`" + k.ContentType + "`", cache, mutable, sizeWords(k.MaxSize)}
		if strings.Join(have, " | ") != strings.Join(want, " | ") {
			t.Errorf("kind %q: docs/FORMAT.md says %q, kinds.go %q", name, have, want)
		}
	}
	if want := len(names) + 2; len(rows) != want { // its head and the line below
		t.Errorf("the table of docs/FORMAT.md has %d lines, want %d: a kind in it is none of kinds.go", len(rows), want)
	}
	for _, header := range []string{forever, never} {
		if !strings.Contains(section, "`Cache-Control: "+header+"`") {
			t.Errorf("docs/FORMAT.md does not spell out Cache-Control: %s", header)
		}
	}
}

// TestFormatDocExamples reads the document's examples with the code they are about.
func TestFormatDocExamples(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```(?:toml|json)\n(.*?)```").FindAllStringSubmatch(readFormat(t), -1)
	found := map[string]bool{}
	for _, block := range blocks {
		text, what := block[1], ""
		var err error
		switch {
		case strings.HasPrefix(text, "format = "):
			what = "manifest.toml"
			_, err = ParseManifest([]byte(text))
		case strings.HasPrefix(text, "product = "):
			what = "product.toml"
			_, err = ParseSource(what, []byte(text))
		case strings.HasPrefix(text, "customer = "):
			what = "a registry entry"
			var c *Customer
			if c, err = ParseCustomer(what, []byte(text)); err == nil {
				var again []byte
				if again, err = c.Encode(); err == nil && string(again) != text {
					err = fmt.Errorf("it is written as\n%s", again)
				}
			}
		case strings.HasPrefix(text, "[default]\n"):
			what = "a policy"
			var p *Policy
			if p, err = ParsePolicy(what, []byte(text)); err == nil {
				var again []byte
				if again, err = p.Encode(); err == nil && string(again) != text {
					err = fmt.Errorf("it is written as\n%s", again)
				}
			}
		case strings.Contains(text, `"schema": "`+EvidenceSchema+`"`):
			what = "evidence"
			_, err = ParseEvidence([]byte(text))
		default:
			continue
		}
		found[what] = true
		if err != nil {
			t.Errorf("the example of %s in docs/FORMAT.md is none: %v", what, err)
		}
	}
	if len(found) != 5 {
		t.Errorf("docs/FORMAT.md has examples of %v only", found)
	}
}
