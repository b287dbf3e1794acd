package fetcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// runTests is Run at a CI site.
func (t *turn) runTests(ctx context.Context, o RunOptions, result *RunResult) error {
	if _, err := t.f.Site.hookCommand(HookTest); err != nil {
		return err
	}
	list, problems := t.toTest(ctx, o)
	for _, info := range list {
		if err := t.test(ctx, info, o, result); err != nil {
			if ctx.Err() != nil {
				return err
			}
			problems = errors.Join(problems, about(info.Release.String(), err))
		}
	}
	return problems
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

// test runs the test hook on one release unless that was done or is to wait.
func (t *turn) test(ctx context.Context, info catalog.ReleaseInfo, o RunOptions, result *RunResult) error {
	again := o.Again && o.Only != nil
	last, err := t.last(ctx, info.Release, again)
	if err != nil {
		return err
	}
	if last != nil && !again {
		if o.Only != nil && last.Verdict != manifest.Passed {
			result.wait(info.Release, fmt.Sprintf("it was tested here before (%s on %s): kitchen run %s --again tests it again",
				last.Verdict, whenWords(last.Finished), info.Release), true)
		}
		return t.resume(ctx, info, last, o, result)
	}
	if reason, err := t.waitsFor(ctx, info); err != nil || reason != "" {
		if err == nil {
			result.Waiting = append(result.Waiting, Waiting{Release: info.Release, Reason: reason})
		}
		return err
	}
	j, err := t.newJob(ctx, HookTest, info.Release)
	if err != nil {
		return err
	}
	defer j.workspace.remove()
	defer t.keepSeed(j)
	if j.from, err = t.fromCandidates(j.m); err != nil {
		return err
	}
	out, err := t.execute(ctx, j)
	if err != nil {
		return err
	}
	if out.interrupted {
		out.log.Close()
		return context.Cause(ctx)
	}
	entry, err := t.conclude(ctx, j, out, manifest.ReportTest, last)
	if entry == nil {
		return err
	}
	if err == nil && entry.Verdict == manifest.Passed && entry.Unsent == "" && o.OnPassed != nil {
		entry.Outcome, err = o.OnPassed(ctx, info.Release)
	}
	result.Runs = append(result.Runs, *entry)
	return err
}

// resume calls OnPassed again where a crash or a failure came between a PASSED report
// and the signature in validated.
func (t *turn) resume(ctx context.Context, info catalog.ReleaseInfo, last *reportRecord, o RunOptions, result *RunResult) error {
	if o.OnPassed == nil || last.Verdict != manifest.Passed || !t.f.followsPublished() {
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
