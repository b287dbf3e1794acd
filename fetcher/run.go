package fetcher

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// RunOptions says what a run does beyond its configuration.
type RunOptions struct {
	Only   *manifest.Release // nil: every release the site follows
	Latest bool              // only the newest of each product
	Again  bool              // with Only: also when it was reported on before
	// Parallel is how many releases a CI tests at a time; 0 means one. Only hooks run
	// beside each other: releases are fetched, reported and signed one by one.
	Parallel int
	// DryRun tells what would be done, in Planned: nothing is started, sent or recorded.
	DryRun bool
	// OnPassed is called after a PASSED test report has reached the store, and again
	// by a later run while the release is not in validated. It returns what came of
	// it in words, "" when there was nothing to do.
	OnPassed func(ctx context.Context, r manifest.Release) (string, error)
}

// RunEntry is one hook that ran, or one deployment recorded by hand.
type RunEntry struct {
	Release  manifest.Release
	Type     string // "test" or "deployment"
	Verdict  string // PASSED|WARNED|FAILED|NOT_RUN|ERROR
	Reason   string // why it is not PASSED
	Passed   []string
	Warned   []string
	Failed   []string
	From     string // deployment: the version that was there before
	Started  time.Time
	Finished time.Time
	Sequence int64
	Report   string // object name of the report
	Unsent   string // why the report waits on disk; "" when the store has it
	Outcome  string // what OnPassed said
	// Earlier is true when the release had been deployed before and no hook ran.
	Earlier bool
	// Attachments are the files that go with the report.
	Attachments []manifest.Attachment
}

// Waiting is a release that is not run now.
type Waiting struct {
	Release manifest.Release
	Reason  string
	// NeedsPerson is true when waiting alone will not change it.
	NeedsPerson bool
}

// Resumed is a release whose test had passed in an earlier run and whose OnPassed
// was called again.
type Resumed struct {
	Release manifest.Release
	Outcome string
}

// Planned is a release on which a hook would be started.
type Planned struct {
	Release manifest.Release
	Hook    string // HookTest or HookDeploy
	NotRun  string // why it would not be started after all, and NOT_RUN be reported; "" = it would
}

// RunResult is what one run did, and what it waits for.
type RunResult struct {
	Site    manifest.SiteID
	Kind    string // "ci" or "production"
	Runs    []RunEntry
	Waiting []Waiting
	Resumed []Resumed
	Planned []Planned // of a dry run
}

// Negative says whether the answer of the run is no (exit 3): a hook did not pass,
// or something waits for a person.
func (r *RunResult) Negative() bool {
	for _, e := range r.Runs {
		if e.Verdict != "PASSED" && e.Verdict != "WARNED" {
			return true
		}
	}
	for _, w := range r.Waiting {
		if w.NeedsPerson {
			return true
		}
	}
	return false
}

// Waits tells whether the release is one of those that are not run now.
func (r *RunResult) Waits(release manifest.Release) bool {
	return slices.ContainsFunc(r.Waiting, func(w Waiting) bool { return w.Release == release })
}

// Run does one round of work for a site and returns: a CI site tests, in order of
// publication, every release that it follows and has not reported on; a production
// site with Auto deploys the newest ready release of each product, once.
//
// What went well is in the result even when there is an error. Errors before anything
// is started: ErrNoSite, *UnknownSite, *WrongSiteKey, *UnusableKey, *Busy, *StillRunning, *MissingHook, *NotVisible
// (with Only). Errors of one release or product do not stop the others and come
// joined; *Unsent says that reports wait on disk.
func (f *Fetcher) Run(ctx context.Context, v *catalog.View, o RunOptions) (*RunResult, error) {
	begin := f.begin
	if o.DryRun {
		begin = f.look
	}
	t, err := begin(ctx, v, "")
	if err != nil {
		return nil, err
	}
	defer t.end()
	if t.customer.Suspended {
		f.sink().Note(suspendedWords(t.id.Customer))
	}
	result := &RunResult{Site: t.id, Kind: t.site.Kind, Runs: []RunEntry{}, Waiting: []Waiting{}}
	if t.site.Kind == manifest.SiteProduction {
		err = t.runDeployments(ctx, o, result)
	} else {
		err = t.runTests(ctx, o, result)
	}
	if ctx.Err() != nil {
		if half, ok := errors.AsType[*HalfDeployed](err); ok {
			return result, half
		}
		return result, context.Cause(ctx)
	}
	return result, errors.Join(err, t.undelivered())
}
