package fetcher

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// entries lists the spool of this host.
func (f *follower) entries(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, name := range names(t, f.siteDir(f.Site.ID).spool()) {
		if !strings.Contains(name, "/") {
			list = append(list, name)
		}
	}
	return list
}

// spoolFile reads a file of the only entry.
func (f *follower) spoolFile(t *testing.T, name string) []byte {
	t.Helper()
	list := f.entries(t)
	if len(list) != 1 {
		t.Fatalf("the spool holds %v, want one entry", list)
	}
	data, err := os.ReadFile(filepath.Join(f.siteDir(f.Site.ID).spool(), list[0], name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// brokenSigner is a key service that does not answer.
type brokenSigner struct{ keys.Signer }

var errSigner = errors.New("the key service does not answer")

func (brokenSigner) Sign(context.Context, []byte) ([]byte, error) { return nil, errSigner }

// TestNothingLostNothingTwice lets each of the two writes of a run fail, before and after it is stored.
func TestNothingLostNothingTwice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		write  int // 1 the log, 2 the report
		stored bool
	}{
		{"log failed", 1, false}, {"log failed but stored", 1, true},
		{"report failed", 2, false}, {"report failed but stored", 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", say)
			faults := storagetest.NewFaults(t, w.Store)
			faults.FailWrite(c.write, c.stored)
			f.Store = faults
			result, err := f.Run(context.Background(), f.view(t), RunOptions{})
			var unsent *Unsent
			if !errors.As(err, &unsent) || !errors.Is(err, storagetest.ErrInjected) || len(unsent.Keys) != 1 {
				t.Fatalf("got %v", err)
			}
			if hint := unsent.Hint(); !strings.Contains(hint, "nothing has to run again") || strings.Contains(hint, "same command") {
				t.Errorf("hint %q", hint)
			}
			e := result.Runs[0]
			if e.Verdict != manifest.Passed || e.Unsent == "" || e.Report != unsent.Keys[0] {
				t.Errorf("entry %+v", e)
			}
			signed := f.spoolFile(t, spoolReport)
			w.Now = w.Now.Add(time.Hour)
			later := f.run(t, RunOptions{})
			if len(later.Runs) != 0 {
				t.Errorf("the next run: %+v", later.Runs)
			}
			f.assertRan(t, r1)
			report := onlyReport(t, w, "acme/staging", r1)
			if report.Key != unsent.Keys[0] || report.Sequence != 1 || report.SHA256 != catalogtest.Digest(signed) {
				t.Errorf("sent %s, it waited as %s", report.Key, unsent.Keys[0])
			}
			if text := logText(t, w, report); !strings.Contains(text, "test hook on "+r1) {
				t.Errorf("log %q", text)
			}
			if left := f.entries(t); len(left) > 0 {
				t.Errorf("left in the spool: %v", left)
			}
		})
	}
}

func TestAStoreThatStaysAwayDoesNotStopTheTests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2, r3} {
		ready(w, r, catalogtest.Content{})
	}
	f := at(t, w, "acme/staging", say)
	f.faulty(t, storagetest.ErrInjected, "create")
	for range 3 {
		result, err := f.Run(context.Background(), f.view(t), RunOptions{})
		var unsent *Unsent
		if !errors.As(err, &unsent) || len(unsent.Keys) != 3 {
			t.Fatalf("got %+v, %v", result, err)
		}
		if !strings.Contains(err.Error(), "3 signed reports on disk") {
			t.Errorf("said %v", err)
		}
	}
	f.assertRan(t, r1, r2, r3)
	f.Store = w.Store
	f.run(t, RunOptions{})
	f.assertRan(t, r1, r2, r3)
	for _, r := range []string{r1, r2, r3} {
		onlyReport(t, w, "acme/staging", r)
	}
}

// TestCrashWhileSending takes the state directory as it is at each write, and goes on from there.
func TestCrashWhileSending(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		kind   string // of the object that is being written
		stored bool
	}{{"before the log", "log", false}, {"after the log", "log", true}, {"before the report", "report", false}, {"after the report", "report", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", say)
			faults := storagetest.NewFaults(t, w.Store)
			f.Store = faults
			crashed := ""
			crash := func(_ context.Context, call storagetest.Call) error {
				if kind, err := manifest.KindOf(call.Key); crashed == "" && err == nil && kind.Name == c.kind && call.Op == "create" {
					crashed = image(t, f.State)
				}
				if crashed != "" {
					return storagetest.ErrCrashed
				}
				return nil
			}
			if faults.Before = crash; c.stored {
				faults.Before, faults.After = nil, crash
			}
			if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); !errors.Is(err, storagetest.ErrCrashed) {
				t.Fatalf("got %v", err)
			}
			w.Now = w.Now.Add(time.Hour)
			next := f.rebooted(crashed)
			if again := next.run(t, RunOptions{}); len(again.Runs) != 0 {
				t.Errorf("ran %+v", again.Runs)
			}
			f.assertRan(t, r1)
			report := onlyReport(t, w, "acme/staging", r1)
			logText(t, w, report)
			if left := next.entries(t); len(left) > 0 {
				t.Errorf("left in the spool: %v", left)
			}
		})
	}
}

func TestCrashInTheMiddleOfATestRunsItAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, crashed := at(t, w, "acme/staging", say+"; echo up"), ""
	f.faulty(t, storagetest.ErrCrashed, "create") // nothing of this run reaches anybody
	f.Stderr = writerFunc(func(p []byte) (int, error) {
		if crashed == "" {
			crashed = image(t, f.State)
		}
		return len(p), nil
	})
	f.Run(context.Background(), f.view(t), RunOptions{})
	next := f.rebooted(crashed)
	if len(names(t, next.siteDir(next.Site.ID).work())) == 0 {
		t.Fatal("the crash left no work behind: the image was taken too late")
	}
	next.run(t, RunOptions{})
	f.assertRan(t, r1, r1)
	onlyReport(t, w, "acme/staging", r1)
	if left := names(t, next.siteDir(next.Site.ID).work()); len(left) > 0 {
		t.Errorf("the work of the crashed run stays: %v", left)
	}
}

func TestADraftWithoutStatementIsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	draft, err := f.siteDir(f.Site.ID).spoolDraft()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(draft, spoolLog), []byte("half a log"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	if left := f.entries(t); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
	f.assertRan(t, r1)
	onlyReport(t, w, "acme/staging", r1)
}

func TestAResultThatIsNotSignedYetIsSignedAndSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	good := f.Site.Signer
	f.Site.Signer = brokenSigner{good}
	v := f.view(t)
	result, err := f.Run(context.Background(), v, RunOptions{})
	if !errors.Is(err, errSigner) || len(result.Runs) != 1 || result.Runs[0].Verdict != manifest.Passed || result.Runs[0].Unsent == "" {
		t.Fatalf("got %+v, %v", result, err)
	}
	statement := f.spoolFile(t, spoolStatement)
	// While it cannot be signed nothing else is started: its successor would need its digest.
	if _, err := f.Run(context.Background(), v, RunOptions{}); !errors.Is(err, errSigner) {
		t.Errorf("while it cannot be signed: %v", err)
	}
	f.Site.Signer = good
	w.Now = w.Now.Add(time.Hour)
	if later := f.run(t, RunOptions{}); len(later.Runs) != 0 {
		t.Errorf("ran %+v", later.Runs)
	}
	f.assertRan(t, r1)
	report := onlyReport(t, w, "acme/staging", r1)
	if sent, err := report.Statement(); err != nil || string(sent) != string(statement) {
		t.Errorf("another statement was sent: %s, %v", sent, err)
	}
}

func TestADamagedSpoolEntryIsSaidAndDoesNotStopOthers(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string) error{
		"statement cut":     func(d string) error { return os.Truncate(filepath.Join(d, spoolStatement), 20) },
		"statement missing": func(d string) error { return os.Remove(filepath.Join(d, spoolStatement)) },
		"statement too large": func(d string) error {
			return os.Truncate(filepath.Join(d, spoolStatement), manifest.MaxStatementSize+1)
		},
		"a file": func(d string) error { return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f, entries := unsent(t, w, r1, r2)
			damaged := entries[0]
			if err := errors.Join(os.RemoveAll(filepath.Join(damaged, spoolReport)), damage(damaged)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := f.Run(context.Background(), f.view(t), RunOptions{})
				var lost *DamagedResult
				if !errors.As(err, &lost) || lost.Dir != damaged || lost.Release.String() != r1 {
					t.Fatalf("got %v", err)
				}
				if hint := lost.Hint(); !strings.Contains(hint, "rm -r "+damaged+" "+f.siteDir(f.Site.ID).reportPath(lost.Release)) || !strings.Contains(hint, "kitchen run "+r1+" --again") {
					t.Errorf("hint %q", hint)
				}
				if sent := reports(t, w); len(sent) != 1 {
					t.Errorf("sent %v", sent)
				}
			}
			// As the hint says:
			only := release(t, r1)
			if err := errors.Join(os.RemoveAll(damaged), os.Remove(f.siteDir(f.Site.ID).reportPath(only))); err != nil {
				t.Fatal(err)
			}
			w.Now = w.Now.Add(time.Minute)
			f.run(t, RunOptions{Only: &only, Again: true})
			f.assertRan(t, r1, r2, r1)
			onlyReport(t, w, "acme/staging", r1)
		})
	}
}

// TestAStoreThatTakesNoReports: that the report waits is said once, with what sends it; a later run says it of what waits
// still.
func TestAStoreThatTakesNoReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, said := at(t, w, "acme/staging", say), &notes{}
	f.Progress = said
	f.faulty(t, storage.ErrUnsupported, "create")
	waits := func() int { return strings.Count(strings.Join(said.lines, "\n"), "waits on disk") }
	result := f.run(t, RunOptions{})
	if len(result.Runs) != 1 || !strings.Contains(result.Runs[0].Unsent, "; any later `kitchen run` with a catalog that takes reports") || waits() != 0 {
		t.Errorf("%+v, and noted %q", result.Runs, said.lines)
	}
	if f.run(t, RunOptions{}); waits() != 1 || !strings.Contains(strings.Join(said.lines, "\n"), "any later `kitchen run`") {
		t.Errorf("noted by the next run: %q", said.lines)
	}
	f.Store = w.Store
	f.run(t, RunOptions{})
	onlyReport(t, w, "acme/staging", r1)
}

func TestThreeReportsAreOneChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, only := at(t, w, "acme/staging", say), release(t, r1)
	again := RunOptions{Only: &only, Again: true}
	f.run(t, again)
	w.Now = w.Now.Add(time.Minute)
	f.faulty(t, storagetest.ErrInjected, "create") // the second waits on disk while the third is made
	if _, err := f.Run(context.Background(), f.view(t), again); !isA[*Unsent](err) {
		t.Fatalf("got %v", err)
	}
	w.Now = w.Now.Add(time.Minute)
	if _, err := f.Run(context.Background(), f.view(t), again); !isA[*Unsent](err) {
		t.Fatalf("got %v", err)
	}
	f.Store = w.Store
	f.run(t, RunOptions{})
	all := verified(t, w, "acme/staging", r1)
	if len(all) != 3 {
		t.Fatalf("%d reports", len(all))
	}
	previous := ""
	for i, report := range all {
		if report.Sequence != int64(i)+1 || report.Previous != previous {
			t.Errorf("report %d: sequence %d, previous %q", i, report.Sequence, report.Previous)
		}
		previous = report.SHA256
	}
}

// TestADamagedReportRecordAsksTheStore: the record is a memory of what the store holds, no more.
func TestADamagedReportRecordAsksTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, only := at(t, w, "acme/staging", say), release(t, r1)
	f.run(t, RunOptions{})
	for _, data := range []string{"", "{", `{"schema":"kitchen.site-record/v1","sha256":"00","body":{"sequence":9}}`} {
		if err := durable.WriteFile(f.siteDir(f.Site.ID).reportPath(only), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		f.run(t, RunOptions{})
	}
	f.assertRan(t, r1)
	w.Now = w.Now.Add(time.Minute)
	f.run(t, RunOptions{Only: &only, Again: true})
	if all := verified(t, w, "acme/staging", r1); len(all) != 2 {
		t.Errorf("%d reports", len(all))
	}
}

func TestReportsLieUnderTheirOwnDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	f.run(t, RunOptions{})
	report := onlyReport(t, w, "acme/staging", r1)
	want := report.Finished.UTC().Format("20060102T150405Z") + "-" + report.SHA256[:16] + ".json"
	if base := path.Base(report.Key); base != want || !slices.Equal(reportFiles(t, w), []string{want}) {
		t.Errorf("report %s, want %s", base, want)
	}
}
