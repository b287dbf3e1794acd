package fetcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// ReportRequest is the outcome of a test that somebody else's CI ran.
type ReportRequest struct {
	Result string   // PASSED|WARNED|FAILED|NOT_RUN|ERROR
	JUnit  []string // files, or directories whose *.xml files are taken
	Log    string   // a file, "" = none; of a long one the middle is left out
	Attach []string // files to send along, by the last part of their names
	Note   string   // in words, "" = none
}

// Report signs and sends a test report of this CI site on a release that it follows.
// A PASSED or WARNED with failed tests among the results is refused, and so is a file
// that the site's limits leave no room for.
func (f *Fetcher) Report(ctx context.Context, v *catalog.View, r manifest.Release, q ReportRequest) (*RunEntry, error) {
	results, err := f.readResults(ctx, r, q)
	if err != nil {
		return nil, err
	}
	t, err := f.begin(ctx, v, manifest.SiteCI)
	if err != nil {
		return nil, err
	}
	defer t.end()
	if err := f.OpenKey(); err != nil {
		return nil, err
	}
	entry, err := t.reportTest(ctx, r, q, results)
	return entry, errors.Join(err, t.undelivered())
}

// Statement gives what Report would sign now, and leaves nothing behind.
func (f *Fetcher) Statement(ctx context.Context, v *catalog.View, r manifest.Release, q ReportRequest) ([]byte, error) {
	results, err := f.readResults(ctx, r, q)
	if err != nil {
		return nil, err
	}
	t, err := f.look(ctx, v, manifest.SiteCI)
	if err != nil {
		return nil, err
	}
	work, err := t.newWorkspace()
	if err != nil {
		return nil, err
	}
	defer work.remove()
	report, err := t.draftTest(ctx, work.dir, r, q, results)
	if err != nil {
		return nil, err
	}
	return report.Statement()
}

func (f *Fetcher) readResults(ctx context.Context, r manifest.Release, q ReportRequest) (*tests, error) {
	if err := checkVerdict(q.Result); err != nil {
		return nil, err
	}
	results := newTests()
	results.redact = f.Content.Redact
	for _, p := range q.JUnit {
		before := results.files
		if err := results.collectPath(ctx, p); err != nil {
			return nil, err
		}
		if results.files == before {
			return nil, fmt.Errorf("test results: there is no JUnit file (*.xml) in %s", p)
		}
	}
	if _, _, failed := results.lists(); len(failed) > 0 && (q.Result == manifest.Passed || q.Result == manifest.Warned) {
		return nil, fmt.Errorf("%s cannot be %s: its results hold %s, the first is %q", r, q.Result, countWords(len(failed), "failed test"), failed[0])
	}
	return results, nil
}

func (t *turn) reportTest(ctx context.Context, r manifest.Release, q ReportRequest, results *tests) (*RunEntry, error) {
	draft, err := t.dir.spoolDraft()
	if err != nil {
		return nil, err
	}
	report, err := t.draftTest(ctx, draft, r, q, results)
	if err != nil {
		os.RemoveAll(draft)
		return nil, err
	}
	return t.file(ctx, draft, report, false)
}

// draftTest makes a report, and puts what goes with it into a draft.
func (t *turn) draftTest(ctx context.Context, draft string, r manifest.Release, q ReportRequest, results *tests) (*manifest.Report, error) {
	target, err := t.f.visible(ctx, t.v, r)
	if err != nil {
		return nil, err
	}
	last, err := t.last(ctx, r, true)
	if err != nil {
		return nil, err
	}
	report := t.newReport(r, target.SHA256, manifest.ReportTest, q.Result, last)
	t.explain(report, results.remark(q.Note))
	report.Started, report.Finished = t.clock(), t.clock()
	report.Passed, report.Warned, report.Failed = results.lists()
	if q.Log != "" {
		if report.Log, err = t.takeLog(draft, q.Log); err != nil {
			return nil, err
		}
	}
	report.Attachments, err = t.takeFiles(draft, q.Attach)
	return report, err
}

// takeFiles copies files into a draft. What a person names and does not fit is an error.
func (t *turn) takeFiles(draft string, paths []string) ([]manifest.Attachment, error) {
	taken := &attachments{content: t.f.Content, draft: draft}
	for _, p := range paths {
		file, err := durable.Open(p)
		if err != nil {
			return nil, fmt.Errorf("attachment: %w", err)
		}
		reason, err := taken.add(filepath.Base(p), file)
		file.Close()
		if err != nil {
			return nil, err
		}
		if reason != "" {
			return nil, fmt.Errorf("attachment %s %s", p, reason)
		}
	}
	return taken.list, nil
}

// takeLog copies a log file into a draft, bounded and redacted as a hook's own log is.
func (t *turn) takeLog(draft, path string) (*manifest.LogRef, error) {
	file, err := durable.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer file.Close()
	work, err := t.newWorkspace()
	if err != nil {
		return nil, err
	}
	defer work.remove()
	log, err := newHookLog(filepath.Join(work.dir, "log"), t.f.Content.maxLog()/2, t.f.Content.Redact)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := file.WriteTo(log); err != nil {
		return nil, err
	}
	if err := log.failure(); err != nil {
		return nil, err
	}
	return compressLog(filepath.Join(draft, spoolLog), log.content())
}

func checkVerdict(result string) error {
	switch result {
	case manifest.Passed, manifest.Warned, manifest.Failed, manifest.NotRun, manifest.Errored:
		return nil
	}
	return fmt.Errorf("result %q is not PASSED, WARNED, FAILED, NOT_RUN or ERROR", result)
}
