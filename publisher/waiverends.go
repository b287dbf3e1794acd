package publisher

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// WaiverExpiry is a certificate in effect that ends with a waiver, and how that is met. Signing its role again does not help:
// the release has to be certified again, or decertified.
type WaiverExpiry struct {
	Release  manifest.Release
	Role     string
	Sites    []string      // whose reports are waived
	Until    string        // the last day
	Left     time.Duration // negative once it has ended
	Due      bool          // it ends within the window
	Yours    bool          // the given keys may certify it again
	Waiting  string        // a live proposal that certifies or decertifies it, "" when there is none
	Commands []string      // that certify it again, and that decertify it
}

// WaiverExpiries are the certificates that end with a waiver, the first to end first. The window is that of RenewRequest; 0: once
// less than a third of the waiver's life is left, and not more than of the role's. What is recalled or yanked is left out.
func (p *Publisher) WaiverExpiries(ctx context.Context, within time.Duration, signers []keys.Signer) ([]WaiverExpiry, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	list := p.waiverExpiries(ctx, view, within)
	if len(list) == 0 {
		return nil, nil
	}
	live, err := p.live(ctx, view)
	if err != nil && !denied(err) {
		return nil, err
	}
	for i := range list {
		e := &list[i]
		e.Yours = len(holders(view, e.Role, signers)) > 0
		for _, w := range live {
			if !w.recertifies(view, e) {
				continue
			}
			reason, err := verdict(p.vet(ctx, view, w.roles))
			if err != nil {
				return nil, err
			}
			if reason == "" {
				e.Waiting = w.id
			}
		}
	}
	return list, nil
}

// waiverExpiries is WaiverExpiries without what waits.
func (p *Publisher) waiverExpiries(ctx context.Context, v *catalog.View, within time.Duration) (list []WaiverExpiry) {
	for _, role := range v.Roles() {
		targets, err := currentRole(v, role)
		if kind, _, _ := manifest.SplitRole(role); err != nil || kind != manifest.StageReady {
			continue
		}
		for path, target := range targets.Targets {
			until, ends, ok := catalog.WaivedUntil(target)
			_, r, err := manifest.ParseTargetPath(path)
			if !ok || err != nil || unmissed(v, role, r) {
				continue
			}
			list = append(list, WaiverExpiry{Release: r, Role: role, Sites: catalog.Waived(target), Until: until, Left: ends.Sub(v.Now()),
				Due: p.waiverDue(ctx, v.Now(), role, target, within), Commands: certifyAgain(role, r, catalog.Waived(target))})
		}
	}
	slices.SortFunc(list, func(a, b WaiverExpiry) int {
		return cmp.Or(cmp.Compare(a.Left, b.Left), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Release.String(), b.Release.String()))
	})
	return list
}

// waiverDue tells whether a certificate's waiver ends within the window.
func (p *Publisher) waiverDue(ctx context.Context, now time.Time, role string, certificate trust.Target, within time.Duration) bool {
	_, ends, ok := catalog.WaivedUntil(certificate)
	left := ends.Sub(now)
	switch {
	case !ok:
		return false
	case within > 0:
		return left <= within
	case left <= 0 || left > RenewBefore(role):
		return left <= 0
	}
	e, err := p.evidence(ctx, certificate.Custom[customEvidence])
	return err != nil || left <= ends.Sub(e.Created)/3
}

// unmissed tells that nobody misses a certificate: the release is recalled, yanked, or not published as it says.
func unmissed(v *catalog.View, role string, r manifest.Release) bool {
	info, err := v.Release(r)
	if err != nil || info.Yanked != "" {
		return true
	}
	standing, _, err := v.RecallFor(r, role)
	return err == nil && standing != nil
}

// certifyAgain are the commands for a certificate that ends.
func certifyAgain(role string, r manifest.Release, waived []string) []string {
	_, _, customer := manifest.SplitRole(role)
	whom := ifSo(customer != "", " --for "+customer)
	waive := ""
	for _, site := range waived {
		waive += " --waive " + site + "@DATE:REASON"
	}
	return []string{"kitchen certify " + r.String() + whom + waive + " --key FILE", "kitchen decertify " + r.String() + " --reason TEXT" + whom + " --key FILE"}
}

// recertifies tells a proposal that certifies the release anew, to last longer, or decertifies it.
func (w *waiting) recertifies(v *catalog.View, e *WaiverExpiry) bool {
	draft := w.role(e.Role)
	current, err := currentRole(v, e.Role)
	if draft == nil || !draft.byHolder || err != nil {
		return false
	}
	path := manifest.TargetPath(manifest.RoleStage(e.Role), e.Release)
	next := draft.next.Targets[path]
	return next.SHA256 == "" || outlasts(next, current.Targets[path])
}

// prolongs tells whether a certificate with these waivers is to take the place of one in effect that ends sooner: where waivers are
// asked for, or once that one is due.
func (p *Publisher) prolongs(ctx context.Context, d *desk, role string, r manifest.Release, before trust.Target, waivers []manifest.Waiver) bool {
	current, err := currentRole(d.view, role)
	if err != nil || !sameTarget(current.Targets[manifest.TargetPath(manifest.RoleStage(role), r)], before) {
		return false
	}
	next := trust.Target{Custom: map[string]string{}}
	catalog.SetWaivers(next.Custom, &manifest.Evidence{Waivers: waivers})
	return outlasts(next, before) && (len(waivers) > 0 || p.waiverDue(ctx, d.now, role, before, 0))
}

// outlasts tells whether a certificate holds when the waivers of another have ended.
func outlasts(next, before trust.Target) bool {
	_, ends, ok := catalog.WaivedUntil(next)
	_, end, ended := catalog.WaivedUntil(before)
	return ended && (!ok || ends.After(end))
}
