package manifest

import (
	"errors"
	"fmt"
	"time"
)

// Predicate types of the two reports.
const (
	PredicateTest       = "https://in-toto.io/attestation/test-result/v0.1"
	PredicateDeployment = "https://github.com/enovance/kitchen/attestation/deployment/v0.1"
)

// Types of a report.
const (
	ReportTest       = "test"
	ReportDeployment = "deployment"
)

// Verdicts. The first three are also the results of the in-toto predicate;
// the other two refine FAILED.
const (
	Passed  = "PASSED"
	Warned  = "WARNED"
	Failed  = "FAILED"
	NotRun  = "NOT_RUN"
	Errored = "ERROR"
)

// Limits of one report.
const (
	// MaxStatementSize is the size of the statement, in bytes; in a bundle it grows by a third.
	MaxStatementSize = 2 << 20
	// MaxTests counts the names of Passed, Warned and Failed together.
	MaxTests = 50_000
	// MaxTestName is the length of one test's name, in bytes.
	MaxTestName = 1024
	// MaxReason is the length of a report's reason, in bytes.
	MaxReason = 4096
	// MaxLogSize is the size of a log or attachment before compression, in bytes.
	MaxLogSize = 1 << 30
	// MaxAttachments counts the files of one report.
	MaxAttachments = 256
	// MaxAttachmentName is the length of one attachment's name, in bytes.
	MaxAttachmentName = 255
)

// Report is a site's verdict on a release, to be signed with the site's key.
// Its JSON is an in-toto Statement v1. For a test it carries the in-toto
// test-result v0.1 predicate, whose first configuration descriptor carries the run:
//
//	{"_type": "https://in-toto.io/Statement/v1",
//	 "subject": [{"name": "catalog/openstack/2.1.0/manifest.toml", "digest": {"sha256": "…"}}],
//	 "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
//	 "predicate": {
//	   "result": "FAILED",
//	   "configuration": [{"name": "run", "uri": "kitchen:acme/staging", "annotations": RUN}],
//	   "passedTests": ["boot"], "warnedTests": [], "failedTests": ["api"]}}
//
// For a deployment the predicate, of type PredicateDeployment, is
//
//	{"result": "PASSED", "run": RUN, "passedTests": […], "warnedTests": […], "failedTests": […]}
//
// In both, RUN is
//
//	{"site": "acme/staging", "started": "2026-01-31T12:00:00Z", "finished": "2026-01-31T12:03:10Z",
//	 "sequence": 2, "previous": "<sha256 of the bundle of sequence 1>", "timestampVersion": 41,
//	 "refined": "NOT_RUN" | "ERROR", "reason": "…", "from": "2.0.0",
//	 "log": {"sha256": "<stored object>", "size": 1234, "rawSize": 5678},
//	 "attachments": [{"name": "screens/boot.png", "sha256": "<stored object>", "size": 1234, "rawSize": 5678}]}
//
// where previous, refined, reason, from, log and attachments are left out when
// empty, and so are empty lists of tests. Members that are not listed here are ignored, as
// the in-toto parsing rules ask; those that are listed decide and are held to
// their types and limits.
type Report struct {
	Site             SiteID
	Release          Release
	ManifestSHA256   string // of the manifest.toml that was run
	Type             string // "test" | "deployment"
	Result           string // PASSED | WARNED | FAILED
	Refined          string // "" | NOT_RUN | ERROR; only with FAILED
	Reason           string // why, in words; lines allowed
	Started          time.Time
	Finished         time.Time
	Sequence         int64    // 1 for the site's first report on this release, then one more each
	Previous         string   // sha256 of that site's previous report on this release; "" for the first
	TimestampVersion int64    // of the catalog's timestamp the site had seen
	From             string   // version an update was applied to
	Passed           []string // names of tests
	Warned           []string
	Failed           []string
	Log              *LogRef
	Attachments      []Attachment // files that the run left, by name
}

// Attachment is a file that goes with a report. It is stored as a log is.
type Attachment struct {
	Name string // where it was: a path below the directory of results
	LogRef
}

// LogRef points to a stored log or attachment.
type LogRef struct {
	SHA256  string // of the stored object
	Size    int64  // of the stored object, bytes
	RawSize int64  // decompressed, bytes
}

// Verdict is the result as people read it: PASSED, WARNED, FAILED, NOT_RUN or ERROR.
func (r *Report) Verdict() string {
	if r.Refined != "" {
		return r.Refined
	}
	return r.Result
}

func (r *Report) check() error {
	if err := r.Site.check(); err != nil {
		return err
	}
	if err := r.Release.check(); err != nil {
		return err
	}
	if err := checkDigest("the manifest's digest", r.ManifestSHA256); err != nil {
		return err
	}
	if r.Type != ReportTest && r.Type != ReportDeployment {
		return fmt.Errorf("type %q is neither %q nor %q", clip(r.Type), ReportTest, ReportDeployment)
	}
	if err := r.checkVerdict(); err != nil {
		return err
	}
	if err := r.checkOrder(); err != nil {
		return err
	}
	if r.From != "" {
		if err := CheckVersion(r.From); err != nil {
			return fmt.Errorf("from: %w", err)
		}
	}
	if r.Log != nil {
		if err := r.Log.check("the log"); err != nil {
			return err
		}
	}
	return r.checkAttachments()
}

// checkAttachments holds each to its size and to a name of its own.
func (r *Report) checkAttachments() error {
	if n := len(r.Attachments); n > MaxAttachments {
		return fmt.Errorf("%d attachments are listed, at most %d may be", n, MaxAttachments)
	}
	names := map[string]bool{}
	for _, a := range r.Attachments {
		if err := CheckAttachmentName(a.Name); err != nil {
			return err
		}
		if names[a.Name] {
			return fmt.Errorf("attachment %q is listed twice", clip(a.Name))
		}
		names[a.Name] = true
		if err := a.check("attachment " + a.Name); err != nil {
			return err
		}
	}
	return nil
}

// CheckAttachmentName accepts a path below the directory of results, short enough for
// a report and without characters that are not to be shown.
func CheckAttachmentName(name string) error {
	if err := checkText("the name of an attachment", name, MaxAttachmentName, false); err != nil {
		return err
	}
	return CheckRelativePath(name)
}

func (r *Report) checkVerdict() error {
	switch r.Result {
	case Passed, Warned:
		if len(r.Failed) > 0 {
			return fmt.Errorf("result is %s, but %d tests are listed as failed", r.Result, len(r.Failed))
		}
		if r.Refined != "" {
			return fmt.Errorf("result %s cannot be refined to %q", r.Result, clip(r.Refined))
		}
	case Failed:
		if r.Refined != "" && r.Refined != NotRun && r.Refined != Errored {
			return fmt.Errorf("result FAILED cannot be refined to %q, only to %s or %s", clip(r.Refined), NotRun, Errored)
		}
	default:
		return fmt.Errorf("result %q is not one of %s, %s, %s", clip(r.Result), Passed, Warned, Failed)
	}
	if err := checkText("reason", r.Reason, MaxReason, true); err != nil {
		return err
	}
	if n := len(r.Passed) + len(r.Warned) + len(r.Failed); n > MaxTests {
		return fmt.Errorf("%d tests are listed, at most %d may be", n, MaxTests)
	}
	for _, tests := range [][]string{r.Passed, r.Warned, r.Failed} {
		for _, name := range tests {
			if err := checkText("the name of a test", name, MaxTestName, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOrder holds the report to its place in time and among the site's reports.
func (r *Report) checkOrder() error {
	if err := checkTime(r.Started); err != nil {
		return fmt.Errorf("started %w", err)
	}
	if err := checkTime(r.Finished); err != nil {
		return fmt.Errorf("finished %w", err)
	}
	if r.Finished.Before(r.Started) {
		return errors.New("finished before it started")
	}
	if r.Sequence < 1 || r.Sequence > maxSafeInt || r.TimestampVersion < 0 || r.TimestampVersion > maxSafeInt {
		return fmt.Errorf("sequence %d or timestamp version %d is out of range", r.Sequence, r.TimestampVersion)
	}
	if (r.Sequence == 1) != (r.Previous == "") {
		return fmt.Errorf("sequence %d and previous %q do not fit: the first report has no previous one, all others have", r.Sequence, clip(r.Previous))
	}
	if r.Previous != "" {
		return checkDigest("previous", r.Previous)
	}
	return nil
}

func (l *LogRef) check(what string) error {
	if err := checkDigest(what+"'s digest", l.SHA256); err != nil {
		return err
	}
	if l.Size < 0 || l.Size > kindLog.MaxSize {
		return fmt.Errorf("%s's stored size %d is not between 0 and %d", what, l.Size, kindLog.MaxSize)
	}
	if l.RawSize < 0 || l.RawSize > MaxLogSize {
		return fmt.Errorf("%s's size %d is not between 0 and %d", what, l.RawSize, int64(MaxLogSize))
	}
	return nil
}
