package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// doctorPatience is how long the doctor waits for a store.
const doctorPatience = time.Minute

// dates notes how far the server's clock is ahead of this host's, by the Date header of its answers (RFC 9110 section 6.6.1).
type dates struct {
	next http.RoundTripper
	now  func() time.Time

	mu   sync.Mutex // guards skew
	skew *time.Duration
}

func (w *dates) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, e := http.ParseTime(resp.Header.Get("Date")); e == nil && resp.Header.Get("Age") == "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		skew := date.Sub(w.now())
		w.skew = &skew
	}
	return resp, nil
}

// catalog opens the catalog and refreshes the view; what was verified before serves where that fails.
func (d *doctor) catalog(parent context.Context) {
	const area = "catalog"
	if d.offLine && d.state != "" {
		d.lastSeen(parent)
		return
	}
	if d.url == "" || d.state == "" {
		return
	}
	ctx, cancel := context.WithTimeout(parent, doctorPatience)
	defer cancel()
	watch := &dates{now: d.k.now}
	d.k.wrapTransport = func(next http.RoundTripper) http.RoundTripper { watch.next = next; return watch }
	defer func() { d.k.wrapTransport, d.skew = nil, watch.skew }()
	s, err := d.open(ctx, false)
	if err != nil {
		d.rootFails(err)
		return
	}
	d.session = s
	d.pinned()
	d.k.quiet = true
	defer func() { d.k.quiet = false }()
	if d.view, err = s.catalog.Refresh(ctx); err == nil {
		d.online = true
		d.ok(area, "%s answers; timestamp %d, signed %s ago, valid until %s", shownURL(d.url), d.view.Timestamp().Version, render.Duration(d.view.Age()), stamp(d.view.Timestamp().Expires))
		if d.view.MemoryLost() {
			d.warn(area, "find out why", "what this host had seen before was lost, and was begun anew just now")
		}
		d.brokenRoles()
		for _, misfit := range d.k.config.Gate.gate().Misfits(d.view) {
			d.problem("gate", "correct it in kitchen.toml: nothing is ever ready here until then; kitchen role show names roles and keys", "%s", misfit)
		}
		d.tooOld()
		return
	}
	view, off := s.catalog.Offline(nil)
	if refused, ok := errors.AsType[*trust.Error](off); ok && refused.Kind == trust.Expired {
		if there, ok := errors.AsType[*trust.Error](err); ok && there.Kind == trust.Expired { // it is in reach
			d.problem(area, signedAgain(there.Role)+"; nothing is ready here until then", "%v", err)
			return
		}
		d.problem(area, "nothing is ready here until the catalog answers again, and kitchen refresh works", "%v", err)
		d.problem("expiry", "bring the catalog back into reach, then kitchen refresh", "what this host verified before has expired, too: %s expired at %s", refused.Role, stamp(refused.Expiry))
		return
	}
	d.fails(area, err)
	if d.view = view; off == nil && !d.tooOld() {
		d.ok(area, "off line, what was verified before serves: signed %s ago, valid until %s", render.Duration(d.view.Age()), stamp(d.view.Timestamp().Expires))
	}
}

// tooOld tells of a view that is older than this host's gate allows.
func (d *doctor) tooOld() bool {
	limit := time.Duration(d.k.config.Gate.MaxAge)
	if limit <= 0 || d.view.Age() <= limit {
		return false
	}
	next := "kitchen refresh, once the catalog answers"
	if d.online {
		next = "the vendor's committer signs every few days alone: allow more in [gate] max_age, or ask for more frequent commits"
	}
	d.problem("gate", next, "the catalog's timestamp was signed %s ago, and [gate] max_age allows %s: nothing is ready here", render.Duration(d.view.Age()), render.Duration(limit))
	return true
}

func (d *doctor) rootFails(err error) {
	var pin *catalog.NoPin
	var other *catalog.PinMismatch
	var none *notARoot
	if errors.As(err, new(*catalog.BadFingerprint)) || errors.As(err, &pin) || errors.As(err, &other) || errors.As(err, &none) || strings.HasPrefix(err.Error(), "pinned root") {
		d.fails("root", err)
		return
	}
	d.fails("catalog", err)
}

func (d *doctor) brokenRoles() {
	for _, broken := range d.view.Broken() {
		if refused, ok := errors.AsType[*trust.Error](broken.Err); !ok || refused.Kind != trust.Expired {
			d.fails("catalog", broken.Err)
		}
	}
}

// clock compares this host's clock with the store's, and with what the catalog showed.
func (d *doctor) clock() {
	const area, set = "clock", "set this host's clock, and keep it so (NTP)"
	now := d.k.now()
	hostRight := false
	if d.skew != nil {
		off := d.skew.Abs()
		words := "behind"
		if *d.skew < 0 {
			words = "ahead of"
		}
		switch {
		case off > 5*time.Minute:
			d.problem(area, set+"; S3 servers refuse requests that are 15 minutes off", "%s, %s %s the store's", stamp(now), render.Duration(off), words)
		case off > catalog.ClockSlack:
			d.warn(area, set, "%s, %s %s the store's", stamp(now), render.Duration(off), words)
		default:
			hostRight = true
			d.ok(area, "%s, as the store's", stamp(now))
		}
	}
	newest := d.health.Issued
	if d.view != nil && d.view.Now().After(newest) {
		newest = d.view.Now()
	}
	switch ahead := newest.Sub(now); {
	case ahead <= catalog.ClockSlack:
		switch {
		case d.skew != nil:
		case newest.IsZero():
			d.ok(area, "%s; nothing was seen here yet to compare it with", stamp(now))
		default:
			d.ok(area, "%s, not behind what the catalog showed", stamp(now))
		}
	case d.online:
		d.problem(area, d.aheadNext(hostRight, set, newest),
			"%s, and the catalog was signed %s later, at %s: the later one counts", stamp(now), render.Duration(ahead), stamp(newest))
	default:
		next := "compare with another clock. If this host's is right: kitchen doctor --accept-clock; else " + set
		if hostRight {
			next = "this host's clock is as the store's; once the vendor's committer has put its own right: kitchen doctor --accept-clock"
		}
		d.problem(area, next, "%s, and this host has seen a timestamp signed %s later, at %s: one of the two clocks is wrong", stamp(now), render.Duration(ahead), stamp(newest))
	}
}

// signedAgain says who signs a role again, and how.
func signedAgain(role string) string {
	switch role {
	case trust.RoleTimestamp, trust.RoleSnapshot, manifest.RoleJournal:
		return "the vendor's committer runs kitchen commit"
	}
	return "its holders sign it again: kitchen renew --key FILE (kitchen role show " + role + " names them)"
}

// roles looks at the expiries of the roles that this host rests on, or signs.
func (d *doctor) roles() {
	const area = "expiry"
	if d.view == nil {
		return
	}
	var first time.Time
	n := 0
	see := func(role string, expires time.Time) {
		next := signedAgain(role)
		switch left := expires.Sub(d.view.Now()); {
		case left <= 0:
			d.problem(area, next, "%s expired at %s", role, stamp(expires))
		case left <= publisher.RenewBefore(role):
			d.warn(area, next, "%s expires in %s", role, render.Duration(left))
		default:
			if n++; first.IsZero() || expires.Before(first) {
				first = expires
			}
		}
	}
	see(trust.RoleRoot, d.view.Root().Expires)
	if !d.offLine { // where both are as old as the last file
		see(trust.RoleTimestamp, d.view.Timestamp().Expires)
		see(trust.RoleSnapshot, d.view.Snapshot().Expires)
	}
	for _, name := range append([]string{trust.RoleTargets}, d.concerns()...) {
		if role, err := d.view.Role(name); err == nil {
			see(name, role.Expires)
		} else if role, _, ok := d.view.ExpiredRole(name); ok {
			see(name, role.Expires)
		}
	}
	if n > 0 {
		d.ok(area, "%s for some time: the first expires at %s", counted(n, "role holds", "roles hold"), stamp(first))
	}
}

// concerns are the delegated roles that this host has to do with: those that it signs, and those of the products that its
// site follows; without a site all.
func (d *doctor) concerns() []string {
	id := d.k.config.Site.ID
	customer, err := d.view.Customer(context.Background(), id.Customer)
	if id == (siteID{}) || err != nil {
		return d.view.Roles()
	}
	return slices.DeleteFunc(d.view.Roles(), func(name string) bool {
		_, product, scoped := manifest.SplitRole(name)
		foreign := product != "" && !customer.Subscribes(product) || scoped != "" && scoped != customer.Customer
		return foreign && d.k.config.Keys[name] == nil
	})
}

// aheadNext is what to do where the catalog was signed later than this host's clock says. Nothing undoes it but time.
func (d *doctor) aheadNext(hostRight bool, set string, newest time.Time) string {
	which := "compare with another clock. If this host's is behind, " + set + "; if it is right, "
	if hostRight {
		which = "this host's clock is as the store's: "
	}
	if len(d.k.config.keyFiles("online")) > 0 {
		return which + "the committer's was ahead; once each committer's is right there is nothing more to do: what it signed counts until " + stamp(newest) + ", and roles expire as if it were that late (kitchen renew)"
	}
	return which + "the committer's was ahead: tell the vendor. What it signed counts until " + stamp(newest) + "; this host serves as before"
}
