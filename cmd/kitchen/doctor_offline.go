package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
)

// signsOffLine tells whether this is the machine of a holder who signs what is carried to it: it pins a root, names no
// catalog, and is no site.
func (k *kitchen) signsOffLine() bool {
	c := k.config
	return k.global.catalog == "" && c.Catalog == "" && c.Site.ID == (siteID{}) && (c.Root != "" || c.RootFingerprint != "")
}

// withoutCatalog says what such a machine has in place of a catalog.
func (d *doctor) withoutCatalog() {
	const area = "catalog"
	d.offLine = true
	d.ok(area, "none is named: this machine signs what is carried to it (kitchen sign --import FILE); what of it can be looked at without one follows")
	if d.k.global.state == "" && d.k.config.State == "" {
		d.problem("state", "give --state DIR, or state = \"state\" in kitchen.toml", "no state directory is named, in which this machine remembers what it saw: without it nothing can be signed here")
		return
	}
	var err error
	if d.state, err = d.k.stateDir(""); err != nil {
		d.fails("state", err)
	}
}

// lastSeen looks at the pinned root, and at what the files that were signed here showed.
func (d *doctor) lastSeen(ctx context.Context) {
	const area = "catalog"
	s, err := d.open(ctx, true)
	if err != nil {
		d.rootFails(err)
		return
	}
	d.pinned()
	if !d.health.Used {
		d.ok(area, "no file was signed here yet; the first one shows the catalog as it was when it was written")
		return
	}
	// Only to look at: nothing rests on it, and what is signed is held to the file that is brought.
	if d.view, err = s.catalog.Offline(&trust.AllowStale{MaxAge: math.MaxInt64}); err != nil {
		next := "the next file that is signed here brings what is valid now"
		if refused, ok := errors.AsType[*trust.Error](err); ok && refused.Kind == trust.Expired {
			d.problem(area, next+"; where nobody has renewed "+refused.Role+" yet, its holders do: kitchen renew --key FILE", "%s, as it was seen here last, expired at %s", refused.Role, stamp(refused.Expiry))
			return
		}
		d.warn(area, next, "what was seen here last does not hold any more: %v", err)
		return
	}
	d.ok(area, "last seen as of %s, %s ago; its newest root is %d", stamp(d.view.Timestamp().Issued), render.Duration(d.view.Age()), d.view.Root().Version)
	d.holders(d.view.Root())
}

// open opens the catalog, without its store if that is not needed; or its pin and state where no catalog is named.
func (d *doctor) open(ctx context.Context, noStore bool) (*session, error) {
	if !d.offLine {
		return d.k.open(ctx, noStore)
	}
	options, err := d.k.catalogOptions(d.state)
	if err != nil {
		return nil, err
	}
	s := &session{k: d.k, state: d.state}
	s.catalog, err = d.k.openCatalog(ctx, options)
	return s, err
}

// pinned says which root is trusted, who says so, and by which fingerprint it is compared with what the vendor told.
func (d *doctor) pinned() {
	const area = "root"
	c := d.k.config
	switch {
	case c.Root != "":
		options, err := d.k.catalogOptions(d.state)
		if err != nil {
			d.rootFails(err)
			return
		}
		d.ok(area, "pinned by %s", c.abs(c.Root))
		d.show(catalog.Fingerprint(options.Root))
		if session, err := trust.Start(options.Root, d.k.now()); err == nil && d.offLine && !d.health.Used {
			d.holders(session.Root())
		}
	case c.RootFingerprint != "":
		d.ok(area, "pinned by its fingerprint in %s", c.path)
		d.show(c.RootFingerprint)
	default:
		d.warn(area, "set root or root_fingerprint in kitchen.toml: with the state directory the pin is lost, too", "pinned by the state directory alone")
		d.show(d.health.Pin)
	}
}

// holders shows who signs the next root, for a machine on which nothing else tells it.
func (d *doctor) holders(root *trust.Root) {
	d.root = root
	authority := root.Roles[trust.RoleRoot]
	next := "where it is the newest one, its holders sign the next: kitchen renew --key FILE, or kitchen sign --import FILE here; else bring the newest root, and pin that"
	until, left := root.Expires.Format(time.DateOnly), root.Expires.Sub(d.k.now())
	switch {
	case d.view != nil: // roles tells
		d.ok("root", "root %d is the newest seen; any %d of these sign the next one", root.Version, authority.Threshold)
	case left <= 0:
		d.problem("root", next, "root %d expired on %s; any %d of these sign the next one", root.Version, until, authority.Threshold)
	case left <= publisher.RenewBefore(trust.RoleRoot):
		d.warn("root", next, "root %d expires on %s; any %d of these sign the next one", root.Version, until, authority.Threshold)
	default:
		d.ok("root", "root %d is valid until %s; any %d of these sign the next one", root.Version, until, authority.Threshold)
	}
	d.show(authority.KeyIDs()...)
}

// authorityFor is who signs a role, as far as this machine knows.
func (d *doctor) authorityFor(role string) (authority trust.Authority, known bool, err error) {
	switch {
	case d.view != nil:
		authority, known = d.view.Authority(role)
		return authority, known, nil
	case d.root != nil:
		if authority, known = d.root.Roles[role]; known {
			return authority, true, nil
		}
	}
	return authority, false, errUnseen
}

var errUnseen = errors.New("not told by what this machine has seen")

// show puts whole ids or fingerprints, a line each, below what was said last.
func (d *doctor) show(lines ...string) {
	last := &d.doc.Checks[len(d.doc.Checks)-1]
	last.Evidence = append(last.Evidence, lines...)
}

// showKeys is show for a key that is held against those that are expected.
func (d *doctor) showKeys(here string, expected []string) {
	d.show(fmt.Sprintf("here %s", here))
	for _, id := range expected {
		d.show(fmt.Sprintf("want %s", id))
	}
}
