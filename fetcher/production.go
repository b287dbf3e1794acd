package fetcher

import (
	"context"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// runDeployments is Run at a production site.
func (t *turn) runDeployments(ctx context.Context, o RunOptions, result *RunResult) error {
	if o.Only != nil {
		if _, err := t.f.visible(ctx, t.v, *o.Only); err != nil {
			return err
		}
	}
	if !t.f.Site.Auto {
		return t.sayManual(ctx, o, result)
	}
	if err := t.f.Site.checkHooks(HookDeploy); err != nil {
		return err
	}
	if err := t.putAway(ctx); err != nil {
		return err
	}
	var problems error
	for _, product := range t.v.Products() {
		if o.Only != nil && product != o.Only.Product {
			continue
		}
		err := t.deployProduct(ctx, product, o, result)
		t.sayWithdrawn(product, result)
		if err != nil {
			if ctx.Err() != nil || errors.As(err, new(*UnusableKey)) {
				return err
			}
			problems = errors.Join(problems, about(product, err))
		}
	}
	return problems
}

// sayManual names what a site without auto leaves to people.
func (t *turn) sayManual(ctx context.Context, o RunOptions, result *RunResult) error {
	list, err := t.choice(ctx, o)
	for _, info := range list {
		rec, damaged := t.dir.deploy(info.Release.Product)
		done := damaged == nil && rec != nil && rec.Attempts[info.Release.Version] != nil
		if done {
			continue
		}
		result.Waiting = append(result.Waiting, Waiting{Release: info.Release,
			Reason: fmt.Sprintf("%s does not deploy by itself (auto is not set): kitchen deploy %s", t.id, info.Release)})
	}
	return err
}

// choice is what a run looks at: all that the site follows, or what a person named, which runDeployments found
// visible.
func (t *turn) choice(ctx context.Context, o RunOptions) ([]catalog.ReleaseInfo, error) {
	if o.Only == nil {
		return t.f.followed(ctx, t.v)
	}
	info, err := t.v.Release(*o.Only)
	if err != nil {
		return nil, err
	}
	return []catalog.ReleaseInfo{*info}, nil
}

// deployProduct deploys the newest release of one product that is ready and whose
// upgrade path starts at what is deployed. It never starts the hook of a release for
// which this site has a record, and nothing at all while the last attempt is not known
// to have passed: both are a person's to decide.
func (t *turn) deployProduct(ctx context.Context, product string, o RunOptions, result *RunResult) error {
	offered, err := t.offered(ctx, product, o)
	if err != nil || len(offered) == 0 {
		return err
	}
	newest := offered[len(offered)-1].Release
	rec, err := t.known(ctx, newest)
	var undetermined *Undetermined
	if errors.As(err, &undetermined) {
		result.wait(newest, undetermined.Reason+"; "+undetermined.Hint(), true)
		return nil
	}
	if err != nil {
		return err
	}
	if stuck := t.stuck(rec, product); stuck != nil {
		result.Waiting = append(result.Waiting, *stuck)
		return nil
	}
	floor := order(t.v, product, rec.Current)
	if o.Only != nil && offered[0].Seq < floor {
		result.wait(newest, fmt.Sprintf("it was published before %s, which is deployed here; if that is meant: kitchen deploy %s --allow-downgrade", rec.Current, newest), true)
	}
	for i := len(offered) - 1; i >= 0 && offered[i].Seq > floor; i-- {
		r := offered[i].Release
		if a := rec.Attempts[r.Version]; a != nil {
			result.wait(r, fmt.Sprintf("it was deployed here before (%s on %s): kitchen deploy %s --again", a.Verdict, whenWords(a.Finished), r), false)
			continue
		}
		started, err := t.deployIfReady(ctx, r, rec, result)
		if err != nil || started {
			return err
		}
	}
	return nil
}

// sayWithdrawn tells the people of a host that what runs there was recalled, or is certified no more. A yank is no
// concern of a host that has the release.
func (t *turn) sayWithdrawn(product string, result *RunResult) {
	rec, err := t.dir.deploy(product)
	if err != nil || rec == nil || rec.Current == "" {
		return
	}
	r := manifest.Release{Product: product, Version: rec.Current}
	if recall := t.f.recalled(t.v, r); recall != nil {
		result.wait(r, fmt.Sprintf("it is deployed here, and was RECALLED: %s (%s); deploy a release that replaces it, or take it out of service", recall.Reason, recall.Role), true)
		return
	}
	roles, _ := t.f.Gate.roles(product)
	for _, role := range certificateRoles(roles) {
		if target, err := t.v.RoleTarget(role, r); err == nil && target == nil && t.v.WasListed(role, r) {
			result.wait(r, fmt.Sprintf("it is deployed here, and was decertified since: %s does not list it any more", role), false)
		}
	}
}

func (r *RunResult) wait(release manifest.Release, reason string, person bool) {
	r.Waiting = append(r.Waiting, Waiting{Release: release, Reason: reason, NeedsPerson: person})
}

// offered are the releases of a product that a run may choose from, oldest first.
func (t *turn) offered(ctx context.Context, product string, o RunOptions) ([]catalog.ReleaseInfo, error) {
	if o.Only != nil {
		return t.choice(ctx, o)
	}
	return t.f.followedOf(ctx, t.v, product)
}

// stuck says why nothing of a product is deployed by itself, nil when nothing stands in the way.
func (t *turn) stuck(rec *deployRecord, product string) *Waiting {
	if version := rec.interrupted(); version != "" {
		r := manifest.Release{Product: product, Version: version}
		var e *Undetermined
		errors.As(t.interruptedError(r), &e)
		return &Waiting{Release: r, Reason: e.Reason + "; " + e.Hint(), NeedsPerson: true}
	}
	if a := rec.Attempts[rec.Last]; a != nil && !a.passed() {
		r := manifest.Release{Product: product, Version: rec.Last}
		e := &Attempted{Site: t.id, Release: r, Verdict: a.Verdict, When: whenWords(a.Finished)}
		return &Waiting{Release: r, Reason: e.Error() + "; " + e.Hint(), NeedsPerson: true}
	}
	return nil
}

// deployIfReady starts one deployment, or says what it waits for.
func (t *turn) deployIfReady(ctx context.Context, r manifest.Release, rec *deployRecord, result *RunResult) (bool, error) {
	verdict, err := t.readyFrom(ctx, r, rec.Current, "")
	if err != nil {
		return false, err
	}
	if !verdict.Ready {
		result.wait(r, "not ready to deploy: "+unmetWords(verdict.Unmet), false)
		return false, nil
	}
	var entry *RunEntry
	if t.dry() {
		if _, err = t.lastKnown(ctx, r, rec, false); err == nil {
			result.Planned = append(result.Planned, Planned{Release: r, Hook: HookDeploy})
		}
	} else {
		entry, err = t.startDeployment(ctx, r, rec, rec.Current, false)
	}
	var undetermined *Undetermined
	if errors.As(err, &undetermined) {
		result.wait(r, undetermined.Reason+"; "+undetermined.Hint(), true)
		return true, nil
	}
	if entry != nil {
		result.Runs = append(result.Runs, *entry)
	}
	return true, err
}
