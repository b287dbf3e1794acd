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

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

const (
	r2 = "openstack@1.1.0"
	r3 = "openstack@1.2.0"
)

func verdicts(runs []RunEntry) []string {
	list := []string{}
	for _, e := range runs {
		list = append(list, e.Release.String()+" "+e.Verdict)
	}
	return list
}

func TestRunTestsEveryReleaseOnceInOrderOfPublication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// 1.10.0 is published before 1.9.0: the order is that of publication, not of names.
	for _, r := range []string{"openstack@1.0.0", "openstack@1.10.0", "openstack@1.9.0"} {
		w.Publish(r, catalogtest.Content{})
	}
	for _, r := range []string{"openstack@1.9.0", "openstack@1.0.0", "openstack@1.10.0"} {
		w.Validate(r)
	}
	f := at(t, w, "acme/staging", say)
	result := f.run(t, RunOptions{})
	want := []string{"openstack@1.0.0 PASSED", "openstack@1.10.0 PASSED", "openstack@1.9.0 PASSED"}
	if got := verdicts(result.Runs); !slices.Equal(got, want) || result.Kind != manifest.SiteCI || result.Site != f.Site.ID || result.Negative() {
		t.Errorf("got %+v", result)
	}
	f.assertRan(t, "openstack@1.0.0", "openstack@1.10.0", "openstack@1.9.0")
	for _, e := range result.Runs {
		report := onlyReport(t, w, "acme/staging", e.Release.String())
		if report.Key != e.Report || report.Verdict() != e.Verdict || report.Type != manifest.ReportTest || e.Unsent != "" || report.From != "" {
			t.Errorf("entry %+v, report %+v", e, report)
		}
	}
	for range 3 {
		if again := f.run(t, RunOptions{}); len(again.Runs)+len(again.Waiting)+len(again.Resumed) > 0 {
			t.Errorf("a later run: %+v", again)
		}
	}
	ready(w, r2, catalogtest.Content{})
	if got := verdicts(f.run(t, RunOptions{}).Runs); !slices.Equal(got, []string{r2 + " PASSED"}) {
		t.Errorf("after one more release: %v", got)
	}
}

func TestRunLatest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddProduct("ceph")
	w.Registry["acme"].Subscribe = []string{"*"}
	w.Register()
	for _, r := range []string{"ceph@1.0.0", "ceph@2.0.0", r1, r2} {
		ready(w, r, catalogtest.Content{})
	}
	w.Publish(r3, catalogtest.Content{}) // not visible, so not the newest
	f := at(t, w, "acme/staging", say)
	f.run(t, RunOptions{Latest: true})
	f.assertRan(t, "ceph@2.0.0", r2)
	f.run(t, RunOptions{})
	f.assertRan(t, "ceph@2.0.0", r2, "ceph@1.0.0", r1)
}

func TestRunOnlyAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2} {
		ready(w, r, catalogtest.Content{})
	}
	w.Publish(r3, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	only := release(t, r2)
	f.run(t, RunOptions{Only: &only})
	f.run(t, RunOptions{Only: &only})
	f.assertRan(t, r2)
	if again := f.run(t, RunOptions{Only: &only, Again: true}); len(again.Runs) != 1 || again.Runs[0].Sequence != 2 {
		t.Errorf("again: %+v", again.Runs)
	}
	f.assertRan(t, r2, r2)
	f.run(t, RunOptions{Again: true}) // without Only it says nothing about releases that are done
	f.assertRan(t, r2, r2, r1)
	if n := len(verified(t, w, "acme/staging", r2)); n != 2 {
		t.Errorf("%d reports", n)
	}
	for _, r := range []string{r3, "openstack@9.9.9", "nothing@1.0.0"} {
		hidden := release(t, r)
		if _, err := f.Run(context.Background(), f.view(t), RunOptions{Only: &hidden}); !isA[*NotVisible](err) {
			t.Errorf("only %s: %v", r, err)
		}
	}
}

func junitHook(xml string) string {
	return "cat >$KITCHEN_RESULTS/r.xml <<'END'\n" + xml + "\nEND\n"
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	suite := `<testsuite name="s"><testcase name="a"/><testcase name="b"><skipped/></testcase>%s</testsuite>`
	passed, failed := fmt.Sprintf(suite, ""), fmt.Sprintf(suite, `<testcase name="c"><failure/></testcase>`)
	for _, c := range []struct {
		name, hook string
		argv       []string
		timeout    time.Duration
		want       string
		reason     string
		failed     int
	}{
		{name: "exit 0", hook: "exit 0", want: manifest.Passed},
		{name: "exit 0 with passed tests", hook: junitHook(passed), want: manifest.Passed},
		{name: "exit 1", hook: "exit 1", want: manifest.Failed, reason: "exit code 1"},
		{name: "exit 1 with passed tests", hook: junitHook(passed) + "exit 1", want: manifest.Failed, reason: "exit code 1"},
		{name: "exit 77", hook: "exit 77", want: manifest.NotRun, reason: "exit code 77"},
		{name: "exit 77 with failed tests", hook: junitHook(failed) + "exit 77", want: manifest.NotRun, reason: "exit code 77", failed: 1},
		{name: "killed by a signal", hook: "kill -KILL $$", want: manifest.Errored, reason: "killed"},
		{name: "time-out", hook: "sleep 300", timeout: 50 * time.Millisecond, want: manifest.Errored, reason: "ran longer than 50ms"},
		{name: "cannot start", argv: []string{"./no-interpreter"}, want: manifest.Errored, reason: "cannot start"},
		{name: "exit 0 with failed tests", hook: junitHook(failed), want: manifest.Failed, reason: "1 failed test", failed: 1},
		{name: "exit 0 with unreadable results", hook: junitHook("<testsuite"), want: manifest.Errored, reason: "r.xml"},
		{name: "exit 1 with unreadable results", hook: junitHook("<html/>") + "exit 1", want: manifest.Failed, reason: "exit code 1; test results: r.xml: not JUnit"},
		{name: "results taken away", hook: "rmdir $KITCHEN_RESULTS", want: manifest.Errored, reason: "a hook removed the folder that $KITCHEN_RESULTS names"},
		{name: "results that are a link", hook: "ln -s /etc/passwd $KITCHEN_RESULTS/r.xml", want: manifest.Errored, reason: "r.xml is not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", c.hook)
			if c.argv != nil {
				f.Site.Hooks[HookTest] = c.argv
				f.noInterpreter(t)
			}
			f.Site.HookTimeout = c.timeout
			result := f.run(t, RunOptions{})
			if got := verdicts(result.Runs); !slices.Equal(got, []string{r1 + " " + c.want}) {
				t.Fatalf("got %v", got)
			}
			e := result.Runs[0]
			if !strings.Contains(e.Reason, c.reason) || (c.reason == "") != (e.Reason == "") || result.Negative() != (c.want != manifest.Passed) {
				t.Errorf("entry %+v", e)
			}
			report := onlyReport(t, w, "acme/staging", r1)
			if report.Verdict() != c.want || report.Reason != e.Reason || len(report.Failed) != c.failed {
				t.Errorf("report %+v", report.Report)
			}
			if wantResult := map[string]string{manifest.Passed: manifest.Passed}[c.want]; wantResult == "" && report.Result != manifest.Failed {
				t.Errorf("result %s of a %s counts as no failure for other readers", report.Result, c.want)
			}
		})
	}
}

func TestTheHooksEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, "openstack@1.0.0", sample)
	ready(w, "openstack@1.0.5", catalogtest.Content{})
	ready(w, "openstack@2.0.0", catalogtest.Content{})
	w.Recall("openstack@1.0.5", "broken")
	ready(w, "openstack@1.0.9", catalogtest.Content{})
	ready(w, "openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0", ">=1.0.3 <1.1"}})
	f := at(t, w, "acme/staging", `env | grep -v '^_=' | sort >env.$KITCHEN_VERSION
pwd >>dir; (cd $KITCHEN_DIR && find . -type f | sort) >files.$KITCHEN_VERSION
cp $KITCHEN_MANIFEST manifest.$KITCHEN_VERSION; test -d $KITCHEN_RESULTS && test -w $KITCHEN_WORK && test -x $KITCHEN_DIR`)
	f.Env = append(f.Env, "HOME=/home/ci", "KITCHEN_CONFIG=leak", "KITCHEN_CATALOG=leak", "KITCHEN_OUTPUT=leak", "KITCHEN_FROM=leak")
	result := f.run(t, RunOptions{})
	if len(result.Runs) != 4 || result.Negative() {
		t.Fatalf("got %+v", result)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(f.Site.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	env := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(read("env.1.1.0")), "\n") {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	for name, want := range map[string]string{"KITCHEN_PRODUCT": "openstack", "KITCHEN_VERSION": "1.1.0", "KITCHEN_KIND": "update",
		"KITCHEN_FROM": "1.0.0 1.0.9", "KITCHEN_SITE": "acme/staging", "HOME": "/home/ci", "PATH": os.Getenv("PATH")} {
		if env[name] != want {
			t.Errorf("%s = %q, want %q", name, env[name], want)
		}
	}
	for name, base := range map[string]string{"KITCHEN_DIR": "files", "KITCHEN_MANIFEST": "manifest.toml", "KITCHEN_RESULTS": "results", "KITCHEN_WORK": "scratch"} {
		if !filepath.IsAbs(env[name]) || filepath.Base(env[name]) != base || !strings.HasPrefix(env[name], f.State) {
			t.Errorf("%s = %q", name, env[name])
		}
		if _, err := os.Stat(env[name]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", env[name], err)
		}
	}
	if all := fmt.Sprint(env); strings.Contains(all, "leak") || env["COSIGN_PASSWORD"] != "" {
		t.Errorf("what is kitchen's own reached the hook: %s", all)
	}
	if initial := read("env.1.0.0"); !strings.Contains(initial, "KITCHEN_KIND=initial\n") || !strings.Contains(initial, "KITCHEN_FROM=\n") {
		t.Errorf("an initial release: %s", initial)
	}
	if got := strings.Fields(read("files.1.0.0")); !slices.Contains(got, "./puppet/bin/apply") || !slices.Contains(got, "./marmite.yaml") || len(got) != 6 {
		t.Errorf("KITCHEN_DIR held %v", got)
	}
	if _, raw, err := f.view(t).Manifest(context.Background(), release(t, r1)); err != nil || string(raw) != read("manifest.1.0.0") {
		t.Errorf("KITCHEN_MANIFEST is not the signed manifest: %v", err)
	}
	if dir, err := filepath.EvalSymlinks(f.Site.Dir); err != nil || strings.Fields(read("dir"))[0] != dir {
		t.Errorf("the hook started in %s", read("dir"))
	}
}

func TestTheLogGoesUpCompressedAndReadsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", `i=0; while [ $i -lt 2000 ]; do echo "line $i of a long and repetitive log"; i=$((i+1)); done; echo last >&2; exit 3`)
	var shown strings.Builder
	f.Stderr = &shown
	f.run(t, RunOptions{})
	report := onlyReport(t, w, "acme/staging", r1)
	text := logText(t, w, report)
	for _, want := range []string{"kitchen: test hook on openstack@1.0.0 at acme/staging\nline 0 of", "line 1999 of a long and repetitive log\nlast\n", "kitchen: FAILED: exit code 3\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if report.Log.RawSize != int64(len(text)) || report.Log.Size > report.Log.RawSize/10 {
		t.Errorf("%d bytes are stored as %d", report.Log.RawSize, report.Log.Size)
	}
	if !strings.Contains(text, shown.String()) || !strings.HasSuffix(shown.String(), "last\n") {
		t.Errorf("whoever watched saw something else: %d bytes", shown.Len())
	}
}

func TestWhatIsNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddProduct("ceph")
	ready(w, "ceph@1.0.0", catalogtest.Content{})      // acme does not subscribe to it
	ready(w, "openstack@0.9.0", catalogtest.Content{}) // recalled below
	w.Recall("openstack@0.9.0", "leaks")
	ready(w, r1, catalogtest.Content{})
	w.Publish(r2, catalogtest.Content{}) // not validated
	f := at(t, w, "acme/staging", say)
	f.run(t, RunOptions{})
	f.assertRan(t, r1)
	vendor := at(t, w, "enovance/ci", say)
	vendor.Site.Follow = FollowPublished
	vendor.run(t, RunOptions{})
	vendor.assertRan(t, "ceph@1.0.0", r1, r2)
}

func TestAnInterruptedTestIsNoReportAndRunsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2} {
		ready(w, r, catalogtest.Content{})
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	because := errors.New("Ctrl-C")
	f := at(t, w, "acme/staging", say+"; echo up; sleep 300")
	f.Stderr = writerFunc(func(p []byte) (int, error) { cancel(because); return len(p), nil })
	result, err := f.Run(ctx, f.view(t), RunOptions{})
	if !errors.Is(err, because) || len(result.Runs) > 0 {
		t.Errorf("got %+v, %v", result, err)
	}
	f.assertRan(t, r1)
	if sent := reports(t, w); len(sent) > 0 {
		t.Errorf("reports %v", sent)
	}
	f.Stderr = nil
	f.hooks(say)
	if got := verdicts(f.run(t, RunOptions{}).Runs); !slices.Equal(got, []string{r1 + " PASSED", r2 + " PASSED"}) {
		t.Errorf("got %v", got)
	}
}

func TestOneBrokenReleaseDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.Manifest(release(t, r1), catalogtest.Content{Files: map[string]string{"disk.img": "bytes that get lost"}})
	publishManifest(t, w, m)
	ready(w, r2, catalogtest.Content{})
	if err := os.Remove(object(t, w.Store, manifest.BlobObject(m.Artifacts[0].Stored.SHA256))); err != nil {
		t.Fatal(err)
	}
	f := at(t, w, "acme/staging", say)
	result, err := f.Run(context.Background(), f.view(t), RunOptions{})
	if err == nil || !strings.Contains(err.Error(), r1) || len(result.Runs) != 1 {
		t.Errorf("got %+v, %v", result, err)
	}
	f.assertRan(t, r2)
}

func TestACIThatLostItsStateAsksItsReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	f.run(t, RunOptions{})
	w.Now = w.Now.Add(time.Hour)
	anew := f.rebooted(t.TempDir())
	if result := anew.run(t, RunOptions{}); len(result.Runs) > 0 {
		t.Errorf("got %+v", result.Runs)
	}
	f.assertRan(t, r1)
	only := release(t, r1)
	anew.run(t, RunOptions{Only: &only, Again: true})
	if all := verified(t, w, "acme/staging", r1); len(all) != 2 {
		t.Errorf("%d reports", len(all))
	}
}

// TestAClockThatGoesBackDoesNotLoseAResult: time servers do that while a hook runs.
func TestAClockThatGoesBackDoesNotLoseAResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	v := f.view(t)
	calls := 0
	f.Now = func() time.Time { calls++; return w.Now.Add(time.Hour - time.Duration(calls)*time.Minute) }
	result, err := f.Run(context.Background(), v, RunOptions{})
	if err != nil || len(result.Runs) != 1 {
		t.Fatalf("got %+v, %v", result, err)
	}
	report := onlyReport(t, w, "acme/staging", r1)
	if report.Finished.Before(report.Started) || report.Verdict() != manifest.Passed {
		t.Errorf("report %+v", report.Report)
	}
	if id := f.Site.ID; (&catalog.Reports{All: []catalog.VerifiedReport{report}}).Latest(id, report.Release) == nil {
		t.Error("no latest report")
	}
}
