package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// DeployOptions are what a person tells about a host.
type DeployOptions struct {
	// Fresh states that nothing of the product is deployed on this host, whatever
	// the records and reports say.
	Fresh bool
	// Again runs the hook although it ran before for this release.
	Again bool
	// AllowDowngrade deploys a release that was published before the one that is deployed.
	AllowDowngrade bool
}

// Deploy runs the deploy hook for one ready release. Of a release that is deployed here already no hook runs: while
// it is ready still, the entry has Earlier set, and else the *NotReady has.
//
// Errors: *NotReady; *Undetermined and *Attempted when a person has to say more;
// *MissingHook, *StillRunning, *WrongKind and the others of Run. Whenever the hook ran, the entry
// is returned, also along with an error.
func (f *Fetcher) Deploy(ctx context.Context, v *catalog.View, r manifest.Release, o DeployOptions) (*RunEntry, error) {
	t, err := f.begin(ctx, v, manifest.SiteProduction)
	if err != nil {
		return nil, err
	}
	defer t.end()
	if err := f.Site.checkHooks(HookDeploy); err != nil {
		return nil, err
	}
	if err := t.putAway(ctx); err != nil {
		return nil, err
	}
	entry, err := t.deploy(ctx, r, o)
	return entry, errors.Join(err, t.undelivered())
}

func (t *turn) deploy(ctx context.Context, r manifest.Release, o DeployOptions) (*RunEntry, error) {
	rec, has, err := t.recordFor(ctx, r, o)
	if err != nil {
		return nil, err
	}
	earlier, err := t.mayStart(rec, r, o)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return t.stillReady(ctx, earlier)
	}
	from := rec.Current
	if a := rec.Attempts[r.Version]; from == r.Version && a != nil {
		from = a.From // the same release again: onto what it was applied to
	}
	if o.AllowDowngrade {
		has = ""
	}
	verdict, err := t.readyFrom(ctx, r, from, has)
	if err != nil {
		return nil, err
	}
	if !verdict.Ready {
		return nil, &NotReady{Verdict: verdict}
	}
	return t.startDeployment(ctx, r, rec, from, o.Again || o.Fresh)
}

// stillReady holds a deployment of before to the gate of today. Where it led from is no question any more.
func (t *turn) stillReady(ctx context.Context, earlier *RunEntry) (*RunEntry, error) {
	verdict, err := t.f.Ready(ctx, t.v, earlier.Release, ReadyOptions{})
	if err != nil {
		return nil, err
	}
	if !verdict.Ready {
		return nil, &NotReady{Verdict: verdict, Earlier: earlier}
	}
	return earlier, nil
}

// recordFor is what the site knows, or what the person's --fresh makes it know. has is the version that was deployed
// here last, which --fresh does not make forget.
func (t *turn) recordFor(ctx context.Context, r manifest.Release, o DeployOptions) (rec *deployRecord, has string, err error) {
	if !o.Fresh {
		if rec, err = t.known(ctx, r); err != nil {
			return nil, "", err
		}
		return rec, rec.Current, nil
	}
	rec, err = t.dir.deploy(r.Product)
	var damaged *Damaged
	if err != nil && !errors.As(err, &damaged) {
		return nil, "", err
	}
	if rec == nil {
		rec = newDeployRecord(r.Product)
	}
	has = rec.Current
	rec.Current, rec.Last = "", ""
	for version, a := range rec.Attempts {
		if a.Verdict == "" {
			delete(rec.Attempts, version)
		}
	}
	return rec, has, nil
}

// mayStart holds a deployment by hand to "once": an entry says that it is done
// already, an error what a person has to say first.
func (t *turn) mayStart(rec *deployRecord, r manifest.Release, o DeployOptions) (*RunEntry, error) {
	if other := rec.interrupted(); other != "" && (other != r.Version || !o.Again) {
		return nil, t.interruptedError(manifest.Release{Product: r.Product, Version: other})
	}
	a := rec.Attempts[r.Version]
	if a == nil || o.Again || o.Fresh {
		return nil, nil
	}
	if a.passed() && rec.Current == r.Version {
		return &RunEntry{Release: r, Type: manifest.ReportDeployment, Verdict: a.Verdict, From: a.From,
			Started: a.Started, Finished: a.Finished, Sequence: a.Sequence, Earlier: true}, nil
	}
	attempted := &Attempted{Site: t.id, Release: r, Verdict: a.Verdict, When: whenWords(a.Finished)}
	if a.passed() {
		attempted.Since = rec.Current
	}
	return nil, attempted
}

func whenWords(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }

func (t *turn) interruptedError(r manifest.Release) error {
	return &Undetermined{Site: t.id, Release: r, Interrupted: true,
		Reason: "its deploy hook was started before, and how it ended is not known"}
}

// readyFrom asks the gate, with the upgrade path from what is deployed ("" = nothing), and whether it is no downgrade
// from the version that the host has ("" = not asked).
func (t *turn) readyFrom(ctx context.Context, r manifest.Release, from, has string) (*Verdict, error) {
	verdict, err := t.f.Ready(ctx, t.v, r, ReadyOptions{})
	if err != nil || !verdict.Ready {
		return verdict, err
	}
	m, _, err := t.v.Manifest(ctx, r)
	if err != nil {
		return nil, err
	}
	verdict.From = from
	unmet, err := pathUnmet(m, from)
	if err != nil {
		return nil, err
	}
	verdict.Unmet = append(append(verdict.Unmet, unmet...), downgradeUnmet(t.v, r, has)...)
	verdict.Ready = len(verdict.Unmet) == 0
	return verdict, nil
}

// lastKnown is the site's last report on a release. Unless a person insists, it is *Undetermined when that knows of a
// deployment that the record does not: then the record is an old one.
func (t *turn) lastKnown(ctx context.Context, r manifest.Release, rec *deployRecord, insist bool) (*reportRecord, error) {
	last, err := t.last(ctx, r, true)
	if err != nil {
		return nil, err
	}
	if a := rec.Attempts[r.Version]; !insist && last != nil && last.Type == manifest.ReportDeployment && (a == nil || a.Sequence < last.Sequence) {
		return nil, &Undetermined{Site: t.id, Release: r, Interrupted: true, Reason: fmt.Sprintf(
			"its report %s says that it was deployed here (%s), and the record on this host does not know: it is older", last.Key, last.Verdict)}
	}
	return last, nil
}

// startDeployment fetches, notes that the hook starts, runs it, and reports.
func (t *turn) startDeployment(ctx context.Context, r manifest.Release, rec *deployRecord, from string, insist bool) (*RunEntry, error) {
	last, err := t.lastKnown(ctx, r, rec, insist)
	if err != nil {
		return nil, err
	}
	if err := t.f.OpenKey(); err != nil {
		return nil, err
	}
	j, err := t.newJob(ctx, HookDeploy, r)
	if err != nil {
		return nil, err
	}
	defer t.close(j)
	j.from = from
	j.start = func(at time.Time) error {
		sequence := int64(1)
		if last != nil {
			sequence = last.Sequence + 1
		}
		rec.begin(r.Version, attempt{Manifest: j.sha, From: from, Sequence: sequence, Started: at})
		return t.dir.keepDeploy(rec)
	}
	if err := t.prepare(ctx, j); err != nil {
		return nil, err
	}
	out, err := t.run(ctx, j)
	if err != nil {
		return nil, err
	}
	entry, err := t.conclude(ctx, j, out, manifest.ReportDeployment, last)
	if out.interrupted && err != nil {
		err = &HalfDeployed{Release: r, Err: err}
	}
	return entry, err
}

// Deployed records and reports a deployment that was done by hand: result is PASSED,
// WARNED or FAILED (or NOT_RUN, ERROR); note says more, "" for nothing. It also
// answers what became of a hook that was interrupted.
func (f *Fetcher) Deployed(ctx context.Context, v *catalog.View, r manifest.Release, result, note string) (*RunEntry, error) {
	if err := checkVerdict(result); err != nil {
		return nil, err
	}
	t, err := f.begin(ctx, v, manifest.SiteProduction)
	if err != nil {
		return nil, err
	}
	defer t.end()
	if err := t.noneRuns(ctx); err != nil {
		return nil, err
	}
	if err := f.OpenKey(); err != nil {
		return nil, err
	}
	entry, err := t.deployed(ctx, r, result, note)
	return entry, errors.Join(err, t.undelivered())
}

func (t *turn) deployed(ctx context.Context, r manifest.Release, result, note string) (*RunEntry, error) {
	if err := t.f.checkFollows(ctx, t.v, r); err != nil {
		return nil, err // a report on it would not count
	}
	info, err := t.v.Release(r)
	if err != nil {
		return nil, err
	}
	last, err := t.last(ctx, r, true)
	if err != nil {
		return nil, err
	}
	if err := t.f.hold(r, info.SHA256, ""); err != nil {
		return nil, err
	}
	report := t.newReport(r, info.SHA256, manifest.ReportDeployment, result, last)
	t.explain(report, note)
	report.Started, report.Finished = t.clock(), t.clock()
	if rec, err := t.dir.deploy(r.Product); err == nil && rec != nil {
		if rec.Current != r.Version {
			report.From = rec.Current
		}
		if a := rec.Attempts[r.Version]; a != nil && a.Verdict == "" {
			report.Started, report.From = a.Started, a.From
			report.Sequence = max(report.Sequence, a.Sequence)
		}
	}
	draft, err := t.dir.spoolDraft()
	if err != nil {
		return nil, err
	}
	return t.file(ctx, draft, report, true)
}

// known is what this host knows about the deployments of r's product: its own record,
// or what its own verified reports say. *Undetermined when neither tells.
func (t *turn) known(ctx context.Context, r manifest.Release) (*deployRecord, error) {
	rec, err := t.dir.deploy(r.Product)
	var damaged *Damaged
	if errors.As(err, &damaged) {
		return nil, &Undetermined{Site: t.id, Release: r, Reason: err.Error() + "; what was begun here is not known any more"}
	}
	if rec != nil || err != nil {
		return rec, err
	}
	rec, err = t.recollect(ctx, r)
	if err != nil || t.dry() {
		return rec, err
	}
	return rec, t.dir.keepDeploy(rec)
}

// recollect makes a lost record anew from the site's own reports in the store.
func (t *turn) recollect(ctx context.Context, r manifest.Release) (*deployRecord, error) {
	unknown := func(format string, args ...any) (*deployRecord, error) {
		return nil, &Undetermined{Site: t.id, Release: r, Reason: fmt.Sprintf("it has no record of what is deployed, and "+format, args...)}
	}
	t.f.sink().Note(fmt.Sprintf("no record of deployments of %s here; asking the reports of %s", r.Product, t.id))
	reports, err := t.v.Reports(ctx, catalog.ReportFilter{Site: &t.id})
	if cannotList(err) {
		return unknown("its reports cannot be listed: %v", err)
	}
	if err != nil {
		return nil, err
	}
	for _, rejected := range reports.Rejected {
		if _, release, _, _, err := manifest.ParseReportObject(rejected.Key); err == nil && release.Product == r.Product {
			return unknown("its report %s is not verifiable: %s", rejected.Key, rejected.Reason)
		}
	}
	for _, key := range t.waiting {
		if _, release, _, _, err := manifest.ParseReportObject(key); err == nil && release.Product == r.Product {
			return unknown("its report %s has not reached the store yet", key)
		}
	}
	rec := newDeployRecord(r.Product)
	for i := range reports.All {
		report := &reports.All[i]
		if report.Release.Product != r.Product || report.Type != manifest.ReportDeployment {
			continue
		}
		if reports.Gap(t.id, report.Release) {
			return unknown("a report of it on %s is missing", report.Release)
		}
		rec.recall(&report.Report)
	}
	return rec, nil
}

// recall takes in one report of several, in any order.
func (d *deployRecord) recall(r *manifest.Report) {
	v := r.Release.Version
	if old := d.Attempts[v]; old != nil && old.Sequence >= r.Sequence {
		return
	}
	last, current := d.Attempts[d.Last], d.Attempts[d.Current]
	before, was := d.Last, d.Current
	d.settle(r)
	if last != nil && before != v && last.Finished.After(r.Finished) {
		d.Last = before
	}
	if current != nil && was != v && current.Finished.After(r.Finished) {
		d.Current = was
	}
}
