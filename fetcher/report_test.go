package fetcher

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

func (f *follower) report(t *testing.T, r string, q ReportRequest) (*RunEntry, error) {
	t.Helper()
	return f.Report(context.Background(), f.view(t), release(t, r), q)
}

// put writes a file of a test and gives its path.
func put(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	onePassed = `<testsuite name="api"><testcase name="ping"/></testsuite>`
	oneFailed = `<testsuite name="api"><testcase name="boot"><failure message="no"/></testcase></testsuite>`
)

func TestReportEveryResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "")
	f.Site.Hooks = nil // somebody else's CI ran the tests
	for i, result := range []string{manifest.Passed, manifest.Warned, manifest.Failed, manifest.NotRun, manifest.Errored} {
		w.Now = w.Now.Add(time.Minute)
		e, err := f.report(t, r1, ReportRequest{Result: result, Note: "build 17\nnight"})
		if err != nil {
			t.Fatal(err)
		}
		if e.Verdict != result || e.Sequence != int64(i)+1 || e.Reason != "build 17 night" || e.Unsent != "" || e.Type != manifest.ReportTest {
			t.Errorf("entry %+v", e)
		}
		report := verified(t, w, "acme/staging", r1)[i]
		counts := map[string]string{manifest.NotRun: manifest.Failed, manifest.Errored: manifest.Failed}[result]
		if report.Verdict() != result || report.Key != e.Report || report.Log != nil || counts != "" && report.Result != counts {
			t.Errorf("report %+v", report.Report)
		}
	}
	for _, result := range []string{"", "passed", "OK"} {
		if _, err := f.report(t, r1, ReportRequest{Result: result}); err == nil || !strings.Contains(err.Error(), "NOT_RUN") {
			t.Errorf("result %q: %v", result, err)
		}
	}
	f.hooks(say)
	f.run(t, RunOptions{}) // what was reported is not run
	f.assertRan(t)
	if n := len(reports(t, w)); n != 5 {
		t.Errorf("%d reports", n)
	}
}

func TestReportWithJUnit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, dir := at(t, w, "acme/staging", ""), t.TempDir()
	put(t, dir, "a/passed.xml", onePassed)
	put(t, dir, "failed.XML", oneFailed)
	put(t, dir, "notes.txt", "not read")
	other := put(t, t.TempDir(), "results.log", `<testsuite name="net"><testcase name="dhcp"><skipped/></testcase></testsuite>`)
	e, err := f.report(t, r1, ReportRequest{Result: manifest.Failed, JUnit: []string{dir, other}})
	if err != nil {
		t.Fatal(err)
	}
	report := onlyReport(t, w, "acme/staging", r1)
	for _, got := range [][][]string{{e.Passed, e.Warned, e.Failed}, {report.Passed, report.Warned, report.Failed}} {
		if !slices.Equal(got[0], []string{"api/ping"}) || !slices.Equal(got[1], []string{"net/dhcp"}) || !slices.Equal(got[2], []string{"api/boot"}) {
			t.Errorf("tests %v", got)
		}
	}
}

func TestReportRefusesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	w.Publish(r2, catalogtest.Content{})
	dir := t.TempDir()
	failed, broken := put(t, dir, "failed.xml", oneFailed), put(t, dir, "broken.xml", "<testsuite")
	for _, c := range []struct {
		name, site, release string
		q                   ReportRequest
		is                  func(error) bool
		says                string
	}{
		{name: "PASSED with failed tests", q: ReportRequest{Result: manifest.Passed, JUnit: []string{failed}}, says: `cannot be PASSED: its results hold 1 failed test, the first is "api/boot"`},
		{name: "WARNED with failed tests", q: ReportRequest{Result: manifest.Warned, JUnit: []string{failed}}, says: `cannot be WARNED: its results hold 1 failed test`},
		{name: "broken results", q: ReportRequest{Result: manifest.Failed, JUnit: []string{broken}}, says: "broken.xml"},
		{name: "directory with broken results", q: ReportRequest{Result: manifest.Failed, JUnit: []string{dir}}, says: "broken.xml"},
		{name: "no such results", q: ReportRequest{Result: manifest.Passed, JUnit: []string{dir + "/none"}}, is: func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		{name: "no such log", q: ReportRequest{Result: manifest.Passed, Log: dir + "/none"}, is: func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		{name: "log that is a directory", q: ReportRequest{Result: manifest.Passed, Log: dir}, says: "not a regular file"},
		{name: "not validated", release: r2, q: ReportRequest{Result: manifest.Passed}, is: isA[*NotVisible], says: "not validated"},
		{name: "not published", release: "openstack@9.9.9", q: ReportRequest{Result: manifest.Passed}, is: isA[*NotVisible], says: "not published"},
		{name: "production site", site: "acme/prod", q: ReportRequest{Result: manifest.Passed}, is: isA[*WrongKind], says: "needs a ci site"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := at(t, w, cmp.Or(c.site, "acme/staging"), "")
			e, err := f.report(t, cmp.Or(c.release, r1), c.q)
			if err == nil || e != nil || c.is != nil && !c.is(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v", e, err)
			}
			if left := f.entries(t); len(left) > 0 || len(reports(t, w)) > 0 {
				t.Errorf("left %v, sent %v", left, reports(t, w))
			}
		})
	}
}

func TestReportKeepsBothEndsOfALongLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "")
	line := strings.Repeat("x", 1023) + "\n"
	long := "the first line\n" + strings.Repeat(line, 3*(16<<20)/len(line)) + "the last line\n"
	path := put(t, t.TempDir(), "build.log", long)
	if _, err := f.report(t, r1, ReportRequest{Result: manifest.Failed, Log: path}); err != nil {
		t.Fatal(err)
	}
	report := onlyReport(t, w, "acme/staging", r1)
	text := logText(t, w, report)
	if !strings.HasPrefix(text, "the first line\nxxx") || !strings.HasSuffix(text, "xxx\nthe last line\n") || !strings.Contains(text, "bytes of this log are left out here") {
		t.Errorf("%d bytes, from %q to %q", len(text), text[:20], text[len(text)-20:])
	}
	if len(text) > 2*(16<<20)+100 || report.Log.RawSize != int64(len(text)) {
		t.Errorf("%d bytes, the report says %d", len(text), report.Log.RawSize)
	}
	if left := names(t, f.siteDir(f.Site.ID).work()); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestReportOfAShortLogIsTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "")
	for i, want := range []string{"", "one line", "\x00\xff\x1b[2J any bytes\n"} {
		w.Now = w.Now.Add(time.Minute)
		if _, err := f.report(t, r1, ReportRequest{Result: manifest.Passed, Log: put(t, t.TempDir(), "log", want)}); err != nil {
			t.Fatal(err)
		}
		if got := logText(t, w, verified(t, w, "acme/staging", r1)[i]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReportWaitsForAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	f.faulty(t, storagetest.ErrInjected, "create")
	e, err := f.report(t, r1, ReportRequest{Result: manifest.Failed})
	var unsent *Unsent
	if !errors.As(err, &unsent) || e == nil || e.Unsent == "" {
		t.Fatalf("got %+v, %v", e, err)
	}
	f.Store = w.Store
	f.run(t, RunOptions{})
	f.assertRan(t)
	if report := onlyReport(t, w, "acme/staging", r1); report.Key != e.Report {
		t.Errorf("sent %s, announced %s", report.Key, e.Report)
	}
}

func TestReportSaysHowManyNamesDidNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "")
	path := put(t, t.TempDir(), "r.xml", manyTests(manifest.MaxTests+1, ""))
	for note, want := range map[string]string{"": "25001 test names did not fit into the report", "build 17": "build 17; 25001 test names did not fit into the report"} {
		w.Now = w.Now.Add(time.Minute)
		e, err := f.report(t, r1, ReportRequest{Result: manifest.Passed, JUnit: []string{path}, Note: note})
		if err != nil || e.Reason != want {
			t.Errorf("note %q: %v", note, err)
		}
	}
}
