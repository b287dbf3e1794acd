package publisher

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// Who renews a role.
const (
	RenewedByHolders   = "holders"   // each with a signature: Renew, Sign
	RenewedByCommitter = "committer" // Commit does, with the online key
)

// RoleExpiry is one role that is in effect, and how its expiry is met.
type RoleExpiry struct {
	Role      string
	By        string        // RenewedByHolders or RenewedByCommitter
	Expires   time.Time     //
	Left      time.Duration // negative once it has expired
	Due       bool          // it expires within the window
	Threshold int
	Keys      []string // who may sign it, short
	Waiting   string   // the live proposal that signs it again, "" when there is none
	Signed    []string // who signed that, short
	Yours     bool     // the given keys may sign it
	After     string   // what has expired, and has to be in effect again before this can be renewed: root or targets; else ""
	Outcome   *Outcome // what became of the renewal with the given keys; nil when none was tried
}

// RenewRequest says what to renew.
type RenewRequest struct {
	Within time.Duration // 0: each role once less than a third of its life is left
	DryRun bool          // write nothing
}

// Renew signs again, as they are, the roles that expire within the window and that the signers may sign: each in a
// proposal of its own, so that no role waits for the signatures of another. It also tells of all other roles when they
// expire; without signers, and with DryRun, it does no more than that. The first to expire come first. A change of the
// role that waits is renewal enough, unless the role has no longer to live than a proposal. A renewal that waits already
// is joined. It works in a catalog whose root or targets role has expired: then that comes first, and the others have to wait.
// Errors: *SignsNoRole for a key that may sign none of the roles.
func (p *Publisher) Renew(ctx context.Context, req RenewRequest, signers []keys.Signer) ([]RoleExpiry, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	list, waits, err := p.expiries(ctx, view, req.Within)
	if err != nil {
		return nil, err
	}
	if err := holdSomething(ctx, view, list, signers); err != nil {
		return nil, err
	}
	for i := range list {
		e := &list[i]
		mine := holders(view, e.Role, signers)
		e.Yours = len(mine) > 0
		other := e.Waiting != "" && !waits[e.Role].isRenewal(view) && e.Left > lifeProposal
		if !e.Due || !e.Yours || e.By != RenewedByHolders || req.DryRun || e.After != "" || other {
			continue
		}
		due := func(expires time.Time) bool { return isDue(e.Role, expires.Sub(view.Now()), req.Within) }
		if e.Outcome, err = p.write(ctx, renewal(e.Role, due), mine); err != nil {
			return nil, fmt.Errorf("role %s: %w", e.Role, err)
		}
	}
	return list, nil
}

// renewal is the change that signs a role again as it is. What waits with the same signatures is as good.
func renewal(role string, due func(expires time.Time) bool) change {
	return func(_ context.Context, d *desk) (*draft, error) {
		content, err := d.role(role)
		if err != nil || d.base != nil || !due(content.Expires) {
			return nil, err
		}
		line := fmt.Sprintf("%s: signed again, as it is (was valid until %s)", role, content.Expires.Format(time.DateOnly))
		if content.Version == 0 {
			line = role + ": first version, empty"
		}
		return newDraft("renew", role, line).set(role, content), nil
	}
}

// isRenewal tells a proposal that changes nothing but expiries.
func (w *waiting) isRenewal(v *catalog.View) bool {
	return !slices.ContainsFunc(w.roles, func(r *roleDraft) bool {
		current, err := currentRole(v, r.name)
		return err != nil || len(diffTargets(current, r.next)) > 0
	})
}

// SignsNoRole is a key given to renew roles that may sign none of them (exit 4).
type SignsNoRole struct {
	KeyID string   // full
	Sites []string // whose key it is
	Due   []string // the roles that are due, with who can sign them
}

func (e *SignsNoRole) Error() string {
	whose := ", and is no site's key"
	if len(e.Sites) > 0 {
		whose = ": it is the key of site " + strings.Join(e.Sites, ", ") + ", which signs reports"
	}
	return "key " + ShortID(e.KeyID) + " signs no role in this catalog" + whose
}

// Hint says which keys are wanted.
func (e *SignsNoRole) Hint() string {
	if len(e.Due) == 0 {
		return "no role is due; kitchen renew, without --key, says when each expires and who can sign it"
	}
	return "due, and signed by: " + strings.Join(e.Due, "; ")
}

// holdSomething refuses keys that sign none of the roles that their holders renew.
func holdSomething(ctx context.Context, v *catalog.View, list []RoleExpiry, signers []keys.Signer) error {
	names := []string{trust.RoleRoot, trust.RoleTargets}
	if targets, err := currentRole(v, trust.RoleTargets); err == nil {
		for _, d := range targets.Delegations {
			names = append(names, d.Name)
		}
	}
	for _, s := range signers {
		if slices.ContainsFunc(names, func(role string) bool { return len(holders(v, role, []keys.Signer{s})) > 0 }) {
			continue
		}
		key, err := trust.NewKey(s.Public())
		if err != nil {
			return err
		}
		e := &SignsNoRole{KeyID: key.ID, Sites: sitesOf(ctx, v, key.ID)}
		for _, r := range list {
			if r.Due && r.By == RenewedByHolders {
				e.Due = append(e.Due, fmt.Sprintf("%s (%d of %s)", r.Role, r.Threshold, strings.Join(r.Keys, ", ")))
			}
		}
		return e
	}
	return nil
}

// sitesOf are the sites that a key belongs to, as far as the registry can be read.
func sitesOf(ctx context.Context, v *catalog.View, id string) (names []string) {
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil
	}
	for _, c := range customers {
		for _, site := range c.Sites {
			if slices.Contains(siteKeys(site), id) {
				names = append(names, manifest.SiteID{Customer: c.Customer, Site: site.Name}.String())
			}
		}
	}
	return names
}

// renewable are the roles that their holders sign again.
func renewable(v *catalog.View) []string {
	return append([]string{trust.RoleRoot, trust.RoleTargets}, slices.DeleteFunc(v.Roles(), func(name string) bool { return name == manifest.RoleJournal })...)
}

// Expiries are the roles in effect and when they expire, the first first. The window is that of RenewRequest. A role
// that cannot be read for another reason than its expiry is not among them.
func Expiries(v *catalog.View, within time.Duration) []RoleExpiry {
	list := []RoleExpiry{
		roleExpiry(v, trust.RoleSnapshot, RenewedByCommitter, v.Snapshot().Expires, within),
		roleExpiry(v, trust.RoleTimestamp, RenewedByCommitter, v.Timestamp().Expires, within),
	}
	for _, name := range append(renewable(v), manifest.RoleJournal) {
		role, err := currentRole(v, name)
		if err != nil || role.Version == 0 {
			continue
		}
		by := RenewedByHolders
		if name == manifest.RoleJournal {
			by = RenewedByCommitter
		}
		list = append(list, roleExpiry(v, name, by, role.Expires, within))
	}
	tellOrder(list)
	slices.SortStableFunc(list, func(a, b RoleExpiry) int { return a.Expires.Compare(b.Expires) })
	return list
}

// tellOrder says which roles wait for an expired root or targets role.
func tellOrder(list []RoleExpiry) {
	expired := func(role string) string {
		if slices.ContainsFunc(list, func(e RoleExpiry) bool { return e.Role == role && e.Left <= 0 }) {
			return role
		}
		return ""
	}
	for i := range list {
		switch e := &list[i]; {
		case e.By != RenewedByHolders, e.Role == trust.RoleRoot:
		case e.Role == trust.RoleTargets:
			e.After = expired(trust.RoleRoot)
		default:
			e.After = cmp.Or(expired(trust.RoleTargets), expired(trust.RoleRoot))
		}
	}
}

func roleExpiry(v *catalog.View, role, by string, expires time.Time, within time.Duration) RoleExpiry {
	authority, _ := v.Authority(role)
	left := expires.Sub(v.Now())
	return RoleExpiry{Role: role, By: by, Expires: expires, Left: left, Due: isDue(role, left, within), Threshold: authority.Threshold, Keys: shortIDs(authority.KeyIDs())}
}

// isDue tells whether a role is to be renewed. What the committer renews, at half its life, has no window but its own.
func isDue(role string, left, within time.Duration) bool {
	life := lifetime(role)
	switch role {
	case trust.RoleTimestamp:
		life, within = lifeTimestamp, 0
	case trust.RoleSnapshot, manifest.RoleJournal:
		life, within = lifeSnapshot, 0
	}
	if within <= 0 {
		within = life / 3
	}
	return left <= within
}

// expiries adds what waits: of several proposals that change a role, one that may take effect, a renewal before others.
func (p *Publisher) expiries(ctx context.Context, v *catalog.View, within time.Duration) ([]RoleExpiry, map[string]*waiting, error) {
	live, err := p.live(ctx, v)
	if err != nil && !denied(err) {
		return nil, nil, err
	}
	list, waits := Expiries(v, within), map[string]*waiting{}
	for _, w := range latestFirst(live) {
		reason, err := verdict(p.vet(ctx, v, w.roles))
		if err != nil {
			return nil, nil, err
		}
		for _, r := range w.roles {
			current, err := currentRole(v, r.name)
			if err != nil || r.next.Expires.Before(current.Expires) {
				continue // it renews nothing
			}
			if known := waits[r.name]; reason == "" && r.byHolder && (known == nil || w.isRenewal(v) && !known.isRenewal(v)) {
				waits[r.name] = w
			}
		}
	}
	for i := range list {
		if w := waits[list[i].Role]; w != nil {
			list[i].Waiting = w.id
			for _, s := range countSignatures(w.roles) {
				if s.Role == list[i].Role {
					list[i].Signed = s.Signers
				}
			}
		}
	}
	return list, waits, nil
}
