package fetcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// manyTests is a suite of n passed tests and one with the given inner element, last.
func manyTests(n int, last string) string {
	var b strings.Builder
	b.WriteString(`<testsuite name="s">`)
	for i := range n {
		fmt.Fprintf(&b, `<testcase name="%06d"/>`, i)
	}
	if last != "" {
		fmt.Fprintf(&b, `<testcase name="last">%s</testcase>`, last)
	}
	b.WriteString(`</testsuite>`)
	return b.String()
}

// nested is a suite in a suite, depth elements deep.
func nested(depth int) string {
	return strings.Repeat(`<testsuite name="d">`, depth-1) + `<testcase name="t"/>` + strings.Repeat(`</testsuite>`, depth-1)
}

const bomb = `<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>` +
	`<testsuite name="s"><testcase name="&c;"/></testsuite>`

func TestJUnit(t *testing.T) {
	for _, c := range []struct {
		name, xml              string
		passed, warned, failed []string
	}{
		{name: "one suite", xml: `<testsuite name="api"><testcase name="ping"/></testsuite>`, passed: []string{"api/ping"}},
		{name: "suites", xml: `<?xml version="1.0" encoding="UTF-8"?><testsuites name="all"><testsuite name="a"><testcase name="x"/></testsuite><testsuite name="b"><testcase name="x"/></testsuite></testsuites>`,
			passed: []string{"a/x", "b/x"}},
		{name: "nested suites", xml: `<testsuites><testsuite name="a"><testcase name="x"/><testsuite name="b"><testsuite name="c"><testcase name="y"><failure/></testcase></testsuite></testsuite></testsuite></testsuites>`,
			passed: []string{"a/x"}, failed: []string{"a/b/c/y"}},
		{name: "class names", xml: `<testsuite name="s"><testcase classname="s" name="x"/><testcase classname="pkg.T" name="y"/></testsuite>`, passed: []string{"s/pkg.T/y", "s/x"}},
		{name: "failure and error", xml: `<testsuite name="s"><testcase name="f"><failure message="m">text</failure></testcase><testcase name="e"><error/></testcase></testsuite>`, failed: []string{"s/e", "s/f"}},
		{name: "skipped is a warning", xml: `<testsuite name="s"><testcase name="x"><skipped message="no ipmi"/></testcase></testsuite>`, warned: []string{"s/x"}},
		{name: "failed and then skipped", xml: `<testsuite name="s"><testcase name="x"><failure/><skipped/></testcase><testcase name="y"><error/><skipped/></testcase></testsuite>`, failed: []string{"s/x", "s/y"}},
		{name: "same name, worst wins", xml: `<testsuite name="s"><testcase name="x"/><testcase name="x"><failure/></testcase><testcase name="x"/><testcase name="y"><skipped/></testcase><testcase name="y"/></testsuite>`,
			warned: []string{"s/y"}, failed: []string{"s/x"}},
		{name: "no name", xml: `<testsuite><testcase/><testcase name=" "><failure/></testcase></testsuite>`, failed: []string{"unnamed"}},
		{name: "names are cleaned", xml: "<testsuite name=\"s\"><testcase name=\"a&#10;b&#9;c\u202ed\u200be\"/></testsuite>", passed: []string{"s/a b c?d?e"}},
		{name: "bad UTF-8", xml: "<testsuite name=\"s\"><testcase name=\"a\xff\xfeb\"/><system-out>\xe9</system-out></testsuite>", passed: []string{"s/a?b"}},
		{name: "long name", xml: `<testsuite name="s"><testcase name="` + strings.Repeat("é", 2000) + `"/></testsuite>`, passed: []string{"s/" + strings.Repeat("é", 511)}},
		{name: "byte order mark", xml: "\ufeff" + `<testsuite name="s"><testcase name="x"/></testsuite>`, passed: []string{"s/x"}},
		{name: "output and CDATA", xml: `<testsuite name="s"><system-out><![CDATA[<testcase name="no"><failure/></testcase>]]></system-out><testcase name="x"><system-err>&lt;boom&gt;</system-err></testcase></testsuite>`, passed: []string{"s/x"}},
		{name: "tests right in the outermost element", xml: `<testsuites name="all"><testcase name="x"><failure/></testcase><testcase name="y" classname="test"/><testsuite name="a"><testcase name="z"/></testsuite></testsuites>`,
			passed: []string{"a/z", "test/y"}, failed: []string{"x"}},
		{name: "Latin-1", xml: "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><testsuite><testcase name=\"\xfcber\"/></testsuite>", passed: []string{"über"}},
		{name: "other case", xml: `<testsuite><testcase name="x"><Failure/></testcase></testsuite>`, failed: []string{"x"}},
		{name: "no tests", xml: `<testsuites/>`},
		{name: "as deep as allowed", xml: nested(maxJUnitDepth), passed: []string{strings.Repeat("d/", maxJUnitDepth-1) + "t"}},
		{name: "unused entities", xml: strings.Replace(bomb, "&c;", "x", 1), passed: []string{"s/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			results := newTests()
			if err := results.parseJUnit(context.Background(), []byte(c.xml)); err != nil {
				t.Fatal(err)
			}
			passed, warned, failed := results.lists()
			if !slices.Equal(passed, c.passed) || !slices.Equal(warned, c.warned) || !slices.Equal(failed, c.failed) {
				t.Errorf("passed %q, warned %q, failed %q", passed, warned, failed)
			}
			assertReportable(t, results)
		})
	}
}

// TestJUnitRefused has what must not pass for "no failed tests".
func TestJUnitRefused(t *testing.T) {
	for name, c := range map[string]struct{ xml, says string }{
		"empty":                    {"", "no elements"},
		"text":                     {"all tests passed", "no elements"},
		"JSON":                     {`{"tests": []}`, "no elements"},
		"another document":         {`<html><body/></html>`, "<html>"},
		"name that drives a tty":   {"<a\u0300\u202e/>", "XML"},
		"cut":                      {oneFailed[:60], "XML"},
		"not closed":               {`<testsuite name="s"><testcase name="x">`, "XML"},
		"closed twice":             {onePassed + `</testsuite>`, "XML"},
		"closes the reader's own":  {onePassed + `</fake-root><fake-root>`, "XML"},
		"tests after the suites":   {onePassed + `<testcase name="x"><failure/></testcase>`, "does not belong into <>"},
		"failures in totals alone": {`<testsuite name="s" tests="3" failures="3" errors="2"></testsuite>`, "its totals say that tests failed"},
		"suites in a suite":        {`<testsuite name="s"><testsuites><testsuite name="t"><testcase name="x"><failure/></testcase></testsuite></testsuites></testsuite>`, "does not belong into <testsuite>"},
		"error of a suite":         {`<testsuite name="s"><error message="set-up"/></testsuite>`, "<error> does not belong into <testsuite>"},
		"hidden failure":           {`<testsuite name="s"><testcase name="x"><details><failure/></details></testcase></testsuite>`, "<failure> does not belong into <details>"},
		"another encoding":         {`<?xml version="1.0" encoding="KOI8-R"?>` + onePassed, "KOI8-R; write it as UTF-8"},
		"UTF-16":                   {"\xff\xfe<\x00a\x00", "UTF-16; write it as UTF-8"},
		"control character":        {"<testsuite name=\"s\"><testcase name=\"a&#27;[2Jb\"/></testsuite>", "XML"},
		"nested too deep":          {nested(maxJUnitDepth + 1), "deeper than 32"},
		"nested very deep":         {nested(100_000), "deeper than 32"},
		"entity bomb":              {bomb, "entity"},
		"external entity":          {`<!DOCTYPE z [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite name="&a;"/>`, "entity"},
		"tests in a group":         {`<testsuite name="s"><group><testcase name="x"><failure/></testcase></group></testsuite>`, "does not belong into"},
		"tests in a test":          {`<testsuite name="s"><testcase name="x"><testcase name="y"><failure/></testcase></testcase></testsuite>`, "does not belong into"},
		"suites in a group":        {`<testsuite name="s"><group><testsuite name="t"><testcase name="x"><failure/></testcase></testsuite></group></testsuite>`, "does not belong into"},
	} {
		results := newTests()
		err := results.parseJUnit(context.Background(), []byte(c.xml))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// assertReportable: whatever was collected fits into a report.
func assertReportable(t *testing.T, results *tests) {
	t.Helper()
	r := &manifest.Report{Site: manifest.SiteID{Customer: "acme", Site: "staging"}, Release: manifest.Release{Product: "p", Version: "1"},
		ManifestSHA256: catalogtest.Digest(nil), Type: manifest.ReportTest, Result: manifest.Failed, Sequence: 1,
		Started: catalogtest.Start, Finished: catalogtest.Start.Add(time.Second)}
	r.Passed, r.Warned, r.Failed = results.lists()
	if n := len(r.Passed) + len(r.Warned) + len(r.Failed); n != len(results.worst) || n > manifest.MaxTests {
		t.Errorf("%d names", n)
	}
	for _, list := range [][]string{r.Passed, r.Warned, r.Failed} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) || slices.Contains(list, "") {
			t.Error("a list is not in order")
		}
	}
	data, err := r.Statement()
	if err != nil {
		t.Fatalf("no report can hold it: %v", err)
	}
	if _, err := manifest.ParseStatement(data); err != nil {
		t.Errorf("nobody can read it: %v", err)
	}
}

func TestTooManyNamesAreCutAndFailuresStay(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		last string
		cut  int
	}{
		{"as many as fit", manifest.MaxTests / 2, "", 0},
		{"too many", manifest.MaxTests + 10, "", manifest.MaxTests/2 + 10},
		{"too many, the last failed", manifest.MaxTests + 10, "<failure/>", manifest.MaxTests/2 + 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			results := newTests()
			if err := results.parseJUnit(context.Background(), []byte(manyTests(c.n, c.last))); err != nil {
				t.Fatal(err)
			}
			if results.cut != c.cut {
				t.Errorf("%d names were cut, want %d", results.cut, c.cut)
			}
			if _, _, failed := results.lists(); (len(failed) == 1) != (c.last != "") {
				t.Errorf("failed: %v", failed)
			}
			assertReportable(t, results)
		})
	}
	failures := newTests()
	for i := range manifest.MaxTests + 5 {
		failures.add(fmt.Sprint(i), testFailed)
	}
	if failures.cut != 5 {
		t.Errorf("%d failures were cut", failures.cut)
	}
	assertReportable(t, failures)
	long := newTests()
	for i := range manifest.MaxTests {
		long.add(fmt.Sprint(i, strings.Repeat("<", 1000)), testFailed) // six bytes each in JSON
	}
	if long.cut == 0 {
		t.Error("names beyond the size of a statement were kept")
	}
	assertReportable(t, long)
}

func TestARunSaysHowManyNamesDidNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	path := put(t, t.TempDir(), "r.xml", manyTests(manifest.MaxTests/2+7, ""))
	f := at(t, w, "acme/staging", "cp "+path+" $KITCHEN_RESULTS/")
	f.run(t, RunOptions{})
	if report := onlyReport(t, w, "acme/staging", r1); report.Verdict() != manifest.Passed || report.Reason != "7 test names did not fit into the report" {
		t.Errorf("%s, reason %q", report.Verdict(), report.Reason)
	}
}

func TestJUnitDirectories(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string)
		says string // "" = one passed and one failed
	}{
		{"files in folders", func(t *testing.T, dir string) {
			put(t, dir, "a/b/passed.xml", onePassed)
			put(t, dir, "dir.xml/failed.xml", oneFailed)
			put(t, dir, "ignored.json", "{")
		}, ""},
		{"link to a file", func(t *testing.T, dir string) {
			if err := os.Symlink(put(t, t.TempDir(), "x.xml", onePassed), filepath.Join(dir, "l.xml")); err != nil {
				t.Fatal(err)
			}
		}, "l.xml is not a regular file"},
		{"link to nothing", func(t *testing.T, dir string) {
			if err := os.Symlink("nowhere", filepath.Join(dir, "l.xml")); err != nil {
				t.Fatal(err)
			}
		}, "l.xml is not a regular file"},
		{"link to a folder is not followed", func(t *testing.T, dir string) {
			put(t, dir, "passed.xml", onePassed)
			put(t, dir, "failed.xml", oneFailed)
			outside := t.TempDir()
			put(t, outside, "broken.xml", "<")
			if err := os.Symlink(outside, filepath.Join(dir, "outside")); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"huge file", func(t *testing.T, dir string) {
			if err := os.Truncate(put(t, dir, "huge.xml", onePassed), maxJUnitFile+1); err != nil {
				t.Fatal(err)
			}
		}, "huge.xml is larger than 16777216 bytes"},
		{"many names", func(t *testing.T, dir string) {
			for i := range maxEntries {
				put(t, dir, fmt.Sprintf("%d.txt", i), "")
			}
		}, "more than 10000 names"},
		{"deep folders", func(t *testing.T, dir string) {
			deep := filepath.Join(dir, strings.Repeat("d/", maxResultsDepth))
			if err := os.MkdirAll(deep, 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, deep, "a.xml", onePassed)
		}, "more than 32 directories within each other"},
		{"many files", func(t *testing.T, dir string) {
			for i := range maxJUnitFiles + 1 {
				put(t, dir, fmt.Sprintf("%d.xml", i), onePassed)
			}
		}, "more than 1000 files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, results := t.TempDir(), newTests()
			c.make(t, dir)
			err := results.collectPath(context.Background(), dir)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v", err)
				}
				return
			}
			passed, _, failed := results.lists()
			if err != nil || !slices.Equal(passed, []string{"api/ping"}) || !slices.Equal(failed, []string{"api/boot"}) {
				t.Errorf("passed %v, failed %v, %v", passed, failed, err)
			}
		})
	}
}

// junitSeeds are the seeds of FuzzJUnit by name.
func junitSeeds() map[string]string {
	return map[string]string{"passed": onePassed, "failed": oneFailed, "bomb": bomb, "nested": nested(5), "too deep": nested(maxJUnitDepth + 1),
		"many": manyTests(50, "<error/>"), "names": "<testsuites><testsuite name=\"s\u202e\"><testcase classname=\"c\" name=\"a&#10;&lt;\"><skipped/></testcase></testsuite></testsuites>",
		"cdata": `<testsuite><system-out><![CDATA[x]]></system-out><testcase time="1,000.5"/></testsuite>`, "cut": oneFailed[:40], "empty": ""}
}

func TestJUnitSeeds(t *testing.T) {
	seeds, accepted := junitSeeds(), 0
	for _, seed := range seeds {
		if newTests().parseJUnit(context.Background(), []byte(seed)) == nil {
			accepted++
		}
	}
	if len(seeds) != 10 || accepted != 6 {
		t.Errorf("%d seeds, of which %d are JUnit", len(seeds), accepted)
	}
}

// FuzzJUnit: no input breaks the reader, and what it took fits into a report.
func FuzzJUnit(f *testing.F) {
	for _, seed := range junitSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		results := newTests()
		if err := results.parseJUnit(context.Background(), data); err != nil && len(results.worst) > 0 {
			t.Errorf("names came with the error %v", err)
		}
		assertReportable(t, results)
	})
}

// TestReadingResultsStops: who wants to stop is not kept by what a hook left.
func TestReadingResultsStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, "a.xml", onePassed)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if err := newTests().collectPath(ctx, dir); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := newTests().parseJUnit(ctx, []byte(onePassed)); !errors.Is(err, stop) {
		t.Error(err)
	}
}
