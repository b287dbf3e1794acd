package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/hook"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
)

// job is one run of a hook, and of those around it, on a release.
type job struct {
	hook       string        // HookTest or HookDeploy
	watch      io.Writer     // who watches its output
	last       *reportRecord // on the same release, nil without one; of a test
	m          *manifest.Manifest
	raw        []byte // manifest.toml
	sha        string // its digest
	from       string // KITCHEN_FROM
	start      func(time.Time) error
	*workspace        // files/ results/ scratch/ manifest.toml log
	unfit      string // why the site cannot test it: nothing is fetched then, and no hook runs
}

// outcome is what a job amounts to.
type outcome struct {
	verdict, reason   string
	tests             *tests
	log               *hookLog
	started, finished time.Time
	interrupted       bool
}

// prepare fetches the release into the job's private folder.
func (t *turn) prepare(ctx context.Context, j *job) error {
	for _, dir := range []string{"results", "scratch"} {
		if err := os.Mkdir(filepath.Join(j.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(j.dir, "manifest.toml"), j.raw, 0o644); err != nil {
		return err
	}
	if j.hook == HookTest { // a deployment is not held to [requires]
		if j.unfit = t.lacks(j.m); j.unfit != "" {
			return nil
		}
	}
	if t.f.Store == nil {
		return ErrOffline
	}
	if err := t.bring(ctx, j); err != nil {
		return err
	}
	return t.f.hold(j.m.Release(), j.sha, "")
}

// bring fetches the release's files. What is left of attempts at other releases of the product goes once one succeeds.
func (t *turn) bring(ctx context.Context, j *job) error {
	incoming, r := t.dir.incoming(), j.m.Release()
	if err := durable.MkdirAll(incoming, 0o700); err != nil {
		return err
	}
	a := &assembly{view: t.v, m: j.m, sha: j.sha, place: filepath.Join(incoming, r.String()),
		target: filepath.Join(j.dir, "files"), whole: j.hook == HookTest}
	moves, err := t.f.materialize(ctx, a)
	if err != nil {
		return err
	}
	sweepStaging(incoming, "."+r.Product+"@", nil)
	t.f.sink().Note(fmt.Sprintf("fetched %s of the %s of %s", render.Size(moves.Moved), render.Size(releaseSize(j.m)), r))
	return nil
}

// run starts the hooks and judges them. An error means that nothing was started for a
// reason of this host; everything that the hooks did is in the outcome.
func (t *turn) run(ctx context.Context, j *job) (*outcome, error) {
	if _, err := t.f.Site.hookCommand(j.hook); err != nil {
		return nil, err
	}
	log, err := newHookLog(filepath.Join(j.dir, "log"), t.f.Content.maxLog()/2, t.f.Content.Redact)
	if err != nil {
		return nil, err
	}
	o := &outcome{tests: t.newTests(), log: log, started: t.clock()}
	if j.unfit != "" {
		o.verdict, o.reason, o.finished = manifest.NotRun, j.unfit, o.started
		log.Printf("%s: %s", o.verdict, o.reason)
		return o, nil
	}
	if j.start != nil {
		if err := j.start(o.started); err != nil {
			log.Close()
			return nil, err
		}
	}
	t.steps(ctx, j, o)
	if o.reason != "" {
		log.Printf("%s: %s", o.verdict, o.reason)
	}
	return o, nil
}

// judge applies the rules of a verdict: exit 0 and no failed test is PASSED, 77 is
// NOT_RUN, any other exit code is FAILED; a hook that did not come to an end of its
// own, or left results that cannot be read, is ERROR.
func (o *outcome) judge(r hook.Result, unreadable error) {
	_, _, failed := o.tests.lists()
	switch {
	case r.Ending != hook.Exited:
		o.verdict, o.reason = manifest.Errored, r.Detail
	case r.ExitCode == exitNotRun:
		o.verdict, o.reason = manifest.NotRun, "the hook says that it cannot test this here (exit code 77)"
	case r.ExitCode != 0:
		o.verdict, o.reason = manifest.Failed, r.Detail
	case unreadable != nil:
		o.verdict, o.reason = manifest.Errored, unreadable.Error()
	case len(failed) > 0:
		o.verdict, o.reason = manifest.Failed, countWords(len(failed), "failed test")
	default:
		o.verdict = manifest.Passed
	}
	if unreadable != nil && o.verdict == manifest.Failed {
		o.reason += "; " + unreadable.Error()
	}
	o.reason = o.tests.remark(o.reason)
}

func countWords(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clock is the time as reports carry it: UTC, whole seconds, and never before the
// newest time that the catalog was seen to be issued at.
func (t *turn) clock() time.Time {
	now := t.f.Now()
	if issued := t.v.Issued(); issued.After(now) {
		now = issued
	}
	return now.UTC().Truncate(time.Second)
}

// newJob reads the manifest and makes the private folder, which the caller removes.
func (t *turn) newJob(ctx context.Context, hookName string, r manifest.Release) (*job, error) {
	m, raw, err := t.v.Manifest(ctx, r)
	if err != nil {
		return nil, err
	}
	w, err := t.newWorkspace()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return &job{hook: hookName, watch: t.f.stderr(), m: m, raw: raw, sha: hex.EncodeToString(sum[:]), workspace: w}, nil
}

// conclude makes the outcome durable, then signs and sends its report. From the
// moment it is durable the entry is returned, also along with an error.
func (t *turn) conclude(ctx context.Context, j *job, o *outcome, kind string, last *reportRecord) (*RunEntry, error) {
	draft, err := t.dir.spoolDraft()
	if err != nil {
		return nil, errors.Join(err, o.log.Close())
	}
	r := t.newReport(j.m.Release(), j.sha, kind, o.verdict, last)
	r.Started, r.Finished = o.started, o.finished
	r.Passed, r.Warned, r.Failed = o.tests.lists()
	if kind == manifest.ReportDeployment {
		r.From = j.from
	}
	if err := t.enclose(draft, j, o, r); err != nil {
		os.RemoveAll(draft)
		return nil, err
	}
	return t.file(ctx, draft, r, false)
}

// enclose puts the log and what the hooks left into a draft. Where a full disk leaves no room for both, the log goes
// along; what the hooks filled it with is taken away first.
func (t *turn) enclose(draft string, j *job, o *outcome, r *manifest.Report) (err error) {
	found := &attachments{content: t.f.Content, draft: draft}
	if j.intact() == nil {
		os.RemoveAll(filepath.Join(j.dir, "scratch"))
		if root, err := openResults(j.dir); err == nil {
			if err := found.collect(root); err != nil {
				found.drop(err)
			}
			root.Close()
		}
		os.RemoveAll(filepath.Join(j.dir, "results"))
	}
	for _, line := range found.left {
		o.log.Printf("not attached: %s", line)
	}
	r.Attachments = found.list
	t.explain(r, joinReasons(o.reason, found.remark()))
	r.Log, err = compressLog(filepath.Join(draft, spoolLog), o.log.content())
	return errors.Join(err, o.log.Close())
}

// explain sets a report's reason.
func (t *turn) explain(r *manifest.Report, reason string) {
	r.Reason = manifest.CleanText(t.f.Content.Redact.text(reason), manifest.MaxReason)
}

func (t *turn) newTests() *tests {
	results := newTests()
	results.redact = t.f.Content.Redact
	return results
}

// newReport fills in what every report of this site has.
func (t *turn) newReport(r manifest.Release, sha, kind, verdict string, last *reportRecord) *manifest.Report {
	report := &manifest.Report{Site: t.id, Release: r, ManifestSHA256: sha, Type: kind, Result: verdict,
		Sequence: 1, TimestampVersion: t.v.Timestamp().Version}
	if verdict == manifest.NotRun || verdict == manifest.Errored {
		report.Result, report.Refined = manifest.Failed, verdict
	}
	if last != nil {
		report.Sequence, report.Previous = last.Sequence+1, last.Report
	}
	return report
}

// file puts a finished draft into the spool and takes it from there to the store.
func (t *turn) file(ctx context.Context, draft string, r *manifest.Report, byHand bool) (*RunEntry, error) {
	if r.Finished.Before(r.Started) {
		r.Finished = r.Started // the host's clock was set back meanwhile: no reason to lose the result
	}
	s, err := t.dir.spoolFinish(draft, r)
	if err != nil {
		os.RemoveAll(draft)
		return nil, err
	}
	entry := newEntry(r)
	if err := t.settle(s, byHand); err != nil {
		entry.Unsent = err.Error()
		return entry, err
	}
	if ctx.Err() != nil {
		entry.Unsent = "interrupted"
		return entry, context.Cause(ctx)
	}
	entry.Unsent, err = t.deliver(ctx, s)
	entry.Report = s.key
	if err != nil {
		entry.Unsent = err.Error()
	}
	return entry, err
}

func newEntry(r *manifest.Report) *RunEntry {
	return &RunEntry{Release: r.Release, Type: r.Type, Verdict: r.Verdict(), Reason: r.Reason,
		Passed: r.Passed, Warned: r.Warned, Failed: r.Failed, Attachments: r.Attachments, From: r.From,
		Started: r.Started, Finished: r.Finished, Sequence: r.Sequence}
}
