package fetcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// runTests is Run at a CI site: releases are taken up in order, as many at a time as there is room for.
func (t *turn) runTests(ctx context.Context, o RunOptions, result *RunResult) error {
	if err := t.f.Site.checkHooks(HookTest); err != nil {
		return err
	}
	if err := t.putAway(ctx); err != nil {
		return err
	}
	list, problems := t.toTest(ctx, o)
	parts, errs := make([]RunResult, len(list)), make([]error, len(list))
	room := make(chan struct{}, max(1, o.Parallel))
	var group sync.WaitGroup
	for i, info := range list {
		room <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		j, err := t.admit(ctx, info, o, &parts[i])
		if j == nil {
			if errors.As(err, new(*UnusableKey)) {
				return err // and nothing runs: no release is admitted before the key is open
			}
			errs[i] = err
			<-room
			continue
		}
		group.Go(func() {
			errs[i] = t.test(ctx, j, o, &parts[i])
			<-room
		})
	}
	group.Wait()
	for i, info := range list {
		result.add(&parts[i])
		if errs[i] != nil && ctx.Err() == nil {
			problems = errors.Join(problems, about(info.Release.String(), errs[i]))
		}
	}
	return problems
}

// add takes in what came of one release.
func (r *RunResult) add(part *RunResult) {
	r.Runs = append(r.Runs, part.Runs...)
	r.Waiting = append(r.Waiting, part.Waiting...)
	r.Resumed = append(r.Resumed, part.Resumed...)
	r.Planned = append(r.Planned, part.Planned...)
}

// toTest lists what a run looks at.
func (t *turn) toTest(ctx context.Context, o RunOptions) ([]catalog.ReleaseInfo, error) {
	if o.Only != nil {
		if _, err := t.f.visible(ctx, t.v, *o.Only); err != nil {
			return nil, err
		}
		info, err := t.v.Release(*o.Only)
		if err != nil {
			return nil, err
		}
		return []catalog.ReleaseInfo{*info}, nil
	}
	list, problems := t.f.followed(ctx, t.v)
	if !o.Latest {
		return list, problems
	}
	var newest []catalog.ReleaseInfo
	for i, info := range list {
		if i+1 == len(list) || list[i+1].Release.Product != info.Release.Product {
			newest = append(newest, info)
		}
	}
	return newest, problems
}

// admit fetches a release to be tested, unless that was done, is to wait, or is only looked at: then there is no job.
func (t *turn) admit(ctx context.Context, info catalog.ReleaseInfo, o RunOptions, result *RunResult) (*job, error) {
	t.alone.Lock()
	defer t.alone.Unlock()
	again := o.Again && o.Only != nil
	last, err := t.last(ctx, info.Release, again)
	if err != nil {
		return nil, err
	}
	if again, last, err = t.mended(ctx, info.Release, again, last); err != nil {
		return nil, err
	}
	if last != nil && !again {
		if o.Only != nil && last.Verdict != manifest.Passed {
			result.wait(info.Release, fmt.Sprintf("it was tested here before (%s on %s): kitchen run %s --again tests it again",
				last.Verdict, whenWords(last.Finished), info.Release), true)
		}
		return nil, t.resume(ctx, info, last, o, result)
	}
	if reason, err := t.waitsFor(ctx, info); err != nil || reason != "" {
		if err == nil {
			result.wait(info.Release, reason, false)
		}
		return nil, err
	}
	if t.dry() {
		return nil, t.plan(ctx, info.Release, result)
	}
	if err := t.f.OpenKey(); err != nil {
		return nil, err
	}
	j, err := t.newJob(ctx, HookTest, info.Release)
	if err != nil {
		return nil, err
	}
	if j.from, err = t.fromCandidates(j.m); err == nil {
		err = t.prepare(ctx, j)
	}
	if err != nil {
		t.close(j)
		return nil, err
	}
	if j.last = last; o.Parallel > 1 {
		j.watch = &labelled{to: t.f.stderr(), one: &t.output, label: info.Release.String() + "| "}
	}
	return j, nil
}

// mended tells whether a release is tested again because the site has by now what it lacked for it before.
func (t *turn) mended(ctx context.Context, r manifest.Release, again bool, last *reportRecord) (bool, *reportRecord, error) {
	if again || last == nil || !last.Lacked {
		return again, last, nil
	}
	m, _, err := t.v.Manifest(ctx, r)
	if err != nil || t.lacks(m) != "" {
		return false, last, err
	}
	last, err = t.last(ctx, r, true)
	return true, last, err
}

// plan says what a run would do with a release that is to be tested.
func (t *turn) plan(ctx context.Context, r manifest.Release, result *RunResult) error {
	m, _, err := t.v.Manifest(ctx, r)
	if err == nil {
		result.Planned = append(result.Planned, Planned{Release: r, Hook: HookTest, NotRun: t.lacks(m)})
	}
	return err
}

// test runs the test hook on a release that was fetched, and reports.
func (t *turn) test(ctx context.Context, j *job, o RunOptions, result *RunResult) error {
	out, err := t.run(ctx, j)
	t.alone.Lock()
	defer t.alone.Unlock()
	defer t.close(j)
	if err != nil {
		return err
	}
	if out.interrupted {
		return errors.Join(context.Cause(ctx), out.log.Close())
	}
	entry, err := t.conclude(ctx, j, out, manifest.ReportTest, j.last)
	if entry == nil {
		return err
	}
	if err == nil && entry.Verdict == manifest.Passed && entry.Unsent == "" && o.OnPassed != nil {
		entry.Outcome, err = o.OnPassed(ctx, j.m.Release())
	}
	result.Runs = append(result.Runs, *entry)
	return err
}

// close takes the job's private folder away, but for what the next release of the product can be made from.
func (t *turn) close(j *job) {
	t.keepSeed(j)
	j.workspace.remove()
}

// resume calls OnPassed again where a crash or a failure came between a PASSED report
// and the signature in validated.
func (t *turn) resume(ctx context.Context, info catalog.ReleaseInfo, last *reportRecord, o RunOptions, result *RunResult) error {
	if o.OnPassed == nil || t.dry() || last.Verdict != manifest.Passed || !t.f.followsPublished() {
		return nil
	}
	if slices.Contains(t.waiting, last.Key) {
		return nil
	}
	target, err := t.v.StageTarget(manifest.StageValidated, info.Release)
	var absent *catalog.RoleAbsent
	if err != nil && !errors.As(err, &absent) {
		return err
	}
	if target != nil {
		return nil
	}
	said, err := o.OnPassed(ctx, info.Release)
	if said != "" {
		result.Resumed = append(result.Resumed, Resumed{Release: info.Release, Outcome: said})
	}
	return err
}

// waitsFor says why this site does not test a release yet, "" when it does: each site
// of its "after" list must have PASSED the very same manifest, by a verified report
// that is its latest and misses no predecessor.
func (t *turn) waitsFor(ctx context.Context, info catalog.ReleaseInfo) (string, error) {
	var reasons []string
	for _, name := range t.site.After {
		site, err := manifest.ParseSite(name)
		if err != nil {
			return "", err
		}
		reason, err := t.passedAt(ctx, site, info)
		if err != nil {
			return "", err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; "), nil
}

func (t *turn) passedAt(ctx context.Context, site manifest.SiteID, info catalog.ReleaseInfo) (string, error) {
	reports, err := t.v.Reports(ctx, catalog.ReportFilter{Release: &info.Release, Site: &site})
	if cannotList(err) || errors.Is(err, storage.ErrNotFound) {
		return fmt.Sprintf("waits for %s, whose reports cannot be read here: %v", site, err), nil
	}
	if err != nil {
		return "", err
	}
	latest := reports.Latest(site, info.Release)
	switch {
	case latest == nil && len(reports.Rejected) > 0:
		return fmt.Sprintf("waits for %s, whose report is not verifiable: %s", site, reports.Rejected[0].Reason), nil
	case latest == nil:
		return fmt.Sprintf("waits for %s, which has not reported yet", site), nil
	case latest.ManifestSHA256 != info.SHA256 || latest.Type != manifest.ReportTest:
		return fmt.Sprintf("waits for %s, whose report is on something else", site), nil
	case latest.Verdict() != manifest.Passed:
		return fmt.Sprintf("waits for %s to pass, it reported %s", site, latest.Verdict()), nil
	case reports.Gap(site, info.Release):
		return fmt.Sprintf("waits for %s, of which a report is missing", site), nil
	}
	return "", nil
}

// fromCandidates are the published versions that an update may be applied to, in
// order of publication, separated by spaces; "" for an initial release.
func (t *turn) fromCandidates(m *manifest.Manifest) (string, error) {
	if m.Kind != manifest.KindUpdate {
		return "", nil
	}
	releases, err := t.v.Releases(m.Product)
	if err != nil {
		return "", err
	}
	var versions []string
	for _, info := range releases {
		ok, err := m.AcceptsFrom(info.Release.Version)
		if err != nil {
			return "", err
		}
		if ok && info.Release.Version != m.Version && info.Recalled == nil {
			versions = append(versions, info.Release.Version)
		}
	}
	return strings.Join(versions, " "), nil
}
