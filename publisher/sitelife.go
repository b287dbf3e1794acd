package publisher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// RotateRequest gives a site a new key in place of those that it has.
type RotateRequest struct {
	Site             manifest.SiteID
	Key              *keys.Public // signs its reports from now on; nobody else's, and no earlier one of its own
	CompromisedSince time.Time    // from then on the old keys may have been somebody else's; zero: they were not
}

// RotateSiteKey ends the site's keys and adds a new one, signed by administrators. What the journal saw before, and
// what the commit of this very change sees, stays valid, but for what it saw since the old keys were compromised.
// With a key that the site has already it is Unchanged. Errors: *Invalid, *catalog.UnknownCustomer,
// *catalog.UnknownSite, *NotAuthorized.
func (p *Publisher) RotateSiteKey(ctx context.Context, req RotateRequest, signers []keys.Signer) (*Outcome, error) {
	what := "site " + req.Site.String()
	if req.Key == nil {
		return nil, &Invalid{What: what, Reason: "has no public key"}
	}
	return p.changeSite(ctx, req.Site, signers, func(d *desk, _ *manifest.Customer, site *manifest.Site) ([]string, error) {
		if err := checkPast(what, req.CompromisedSince, d.now); err != nil {
			return nil, err
		}
		public := req.Key.PEM()
		i := slices.IndexFunc(site.Keys, func(k manifest.SiteKey) bool { return k.Public == public })
		switch {
		case site.Retired:
			return nil, &Invalid{What: what, Reason: "is retired; a site that begins anew is added under another name"}
		case i >= 0 && !site.Keys[i].ValidTo.IsZero(): // of this very second, perhaps
			return nil, &Invalid{What: what, Reason: fmt.Sprintf("had the key %s before; a new one has to be new", shortPEM(public)),
				Next: "make one where the site is: kitchen key generate NAME, and give its NAME.pub with --pub"}
		case i >= 0:
			return nil, nil
		}
		lines := endKeys(d.now, site, req.CompromisedSince)
		site.Keys = append(site.Keys, newSiteKey(req.Key, d.now))
		lines = append([]string{fmt.Sprintf("%s signs with key %s from now on", what, shortPEM(public))}, lines...)
		return append(lines, inWords([]string{IDOfPEM(public)})...), nil
	})
}

// RetireRequest ends a site.
type RetireRequest struct {
	Site             manifest.SiteID
	CompromisedSince time.Time // from then on its keys may have been somebody else's; zero: they were not
}

// RetireSite ends a site and its keys for good, signed by administrators. Its reports that the journal saw before stay
// to be seen, and decide nothing any more. It is Unchanged where everything is so already; CompromisedSince can be
// given later, or moved back. Errors: *Invalid, *catalog.UnknownCustomer, *catalog.UnknownSite, *NotAuthorized.
func (p *Publisher) RetireSite(ctx context.Context, req RetireRequest, signers []keys.Signer) (*Outcome, error) {
	what := "site " + req.Site.String()
	return p.changeSite(ctx, req.Site, signers, func(d *desk, entry *manifest.Customer, site *manifest.Site) ([]string, error) {
		if err := checkPast(what, req.CompromisedSince, d.now); err != nil {
			return nil, err
		}
		var lines []string
		if !site.Retired {
			site.Retired = true
			lines = append(lines, what+" is retired: its reports decide nothing any more")
			for _, other := range entry.Sites {
				if !other.Retired && slices.Contains(other.After, req.Site.String()) {
					lines = append(lines, fmt.Sprintf("%s/%s waits for it, and goes on to until kitchen site change says otherwise", entry.Customer, other.Name))
				}
			}
		}
		return append(lines, endKeys(d.now, site, req.CompromisedSince)...), nil
	})
}

// checkPast refuses a key that will be compromised.
func checkPast(what string, compromised, now time.Time) error {
	if compromised.After(now) {
		return &Invalid{What: what, Reason: "its key cannot be compromised since " + compromised.UTC().Format(time.RFC3339) + ": that is yet to come"}
	}
	return nil
}

// endKeys ends what is open, and marks as compromised all keys that were valid then.
func endKeys(now time.Time, site *manifest.Site, compromised time.Time) (lines []string) {
	// Of this very second, so that what the commit of the change records counts.
	end := now.UTC().Truncate(time.Second).Add(time.Second)
	compromised = compromised.UTC().Truncate(time.Second)
	site.Keys = slices.Clone(site.Keys)
	for i := range site.Keys {
		k := &site.Keys[i]
		if k.ValidTo.IsZero() || k.ValidTo.After(end) {
			k.ValidTo = end
			lines = append(lines, fmt.Sprintf("key %s ends: reports that the journal has not seen by then do not count", shortPEM(k.Public)))
		}
		if !compromised.IsZero() && (k.CompromisedSince.IsZero() || compromised.Before(k.CompromisedSince)) && compromised.Before(k.ValidTo) {
			k.CompromisedSince = compromised
			lines = append(lines, fmt.Sprintf("key %s: reports that the journal saw since %s DO NOT COUNT any more", shortPEM(k.Public), compromised.Format(time.RFC3339)))
		}
	}
	return lines
}

// changeSite changes a registered site. change gives words, none where there is nothing to do; the site is a copy,
// its keys are not.
func (p *Publisher) changeSite(ctx context.Context, id manifest.SiteID, signers []keys.Signer, change func(*desk, *manifest.Customer, *manifest.Site) ([]string, error)) (*Outcome, error) {
	return p.changeCustomer(ctx, id.Customer, signers, func(d *desk, entry *manifest.Customer) ([]string, error) {
		entry.Sites = slices.Clone(entry.Sites)
		site := entry.Site(id.Site)
		if site == nil {
			return nil, &catalog.UnknownSite{Site: id}
		}
		return change(d, entry, site)
	})
}

// ChangeSiteAfter makes a site wait for these CI sites instead of those that it waits for, signed by administrators. It is
// Unchanged where it does so already. Errors: *Invalid, *catalog.UnknownCustomer, *catalog.UnknownSite, *NotAuthorized.
func (p *Publisher) ChangeSiteAfter(ctx context.Context, id manifest.SiteID, after []manifest.SiteID, signers []keys.Signer) (*Outcome, error) {
	what := "site " + id.String()
	return p.changeSite(ctx, id, signers, func(_ *desk, _ *manifest.Customer, site *manifest.Site) ([]string, error) {
		before, names := slices.Sorted(slices.Values(site.After)), siteNames(after)
		switch {
		case slices.Equal(before, names):
			return nil, nil
		case site.Retired:
			return nil, &Invalid{What: what, Reason: "is retired; it waits for nobody"}
		}
		site.After = names
		return []string{fmt.Sprintf("%s waits for %s; before, for %s", what, listOr(names, "nobody"), listOr(before, "nobody"))}, nil
	})
}

// CustomerChange says what changes of a customer.
type CustomerChange struct {
	Name        string   // identifier
	DisplayName string   // "" = as it is
	Subscribe   []string // products to be followed besides, or "*" alone, for all instead of those named
	Unsubscribe []string // products to be followed no more, or "*"
}

// ChangeCustomer changes what a customer is called and what it follows, signed by administrators. It is Unchanged where
// everything is so already. Errors: *Invalid, *catalog.UnknownCustomer, *catalog.UnknownProduct, *NotAuthorized.
func (p *Publisher) ChangeCustomer(ctx context.Context, req CustomerChange, signers []keys.Signer) (*Outcome, error) {
	what := "customer " + req.Name
	return p.changeCustomer(ctx, req.Name, signers, func(d *desk, entry *manifest.Customer) (lines []string, err error) {
		if req.DisplayName != "" && req.DisplayName != entry.Name {
			lines = append(lines, fmt.Sprintf("%s is called %q; before, %q", what, req.DisplayName, entry.Name))
			entry.Name = req.DisplayName
		}
		before := slices.Sorted(slices.Values(entry.Subscribe))
		next, err := subscriptions(what, before, req)
		if err != nil || slices.Equal(before, next) {
			return lines, err
		}
		if err := checkSubscriptions(d, next); err != nil {
			return nil, err
		}
		entry.Subscribe = next
		return append(lines, fmt.Sprintf("%s follows %s; before, %s", what, listOr(next, "nothing"), listOr(before, "nothing"))), nil
	})
}

// subscriptions are what a customer follows after a change, in order.
func subscriptions(what string, before []string, req CustomerChange) ([]string, error) {
	for _, product := range req.Unsubscribe {
		switch {
		case slices.Contains(req.Subscribe, product):
			return nil, &Invalid{What: what, Reason: fmt.Sprintf("cannot both begin and cease to follow %s", product)}
		case slices.Contains(before, product):
		case slices.Contains(before, "*"):
			return nil, &Invalid{What: what, Reason: fmt.Sprintf("follows every product; to leave %s out, cease to follow \"*\" and name those that it is to follow", product)}
		}
	}
	var next []string
	for _, product := range append(slices.Clone(before), req.Subscribe...) {
		if slices.Contains(req.Unsubscribe, product) || (product != "*" && slices.Contains(req.Subscribe, "*")) {
			continue
		}
		if product == "*" && len(req.Subscribe) > 0 && !slices.Contains(req.Subscribe, "*") {
			return nil, &Invalid{What: what, Reason: "follows every product, " + strings.Join(req.Subscribe, ", ") + " among them"}
		}
		next = append(next, product)
	}
	slices.Sort(next)
	return slices.Compact(next), nil
}

// SuspendCustomer makes a customer follow nothing for the time being, or takes that back, signed by administrators.
// While it is suspended its sites decide nothing, and what they report is not recorded. Unchanged where it is so
// already. Errors: *Invalid for the vendor, *catalog.UnknownCustomer, *NotAuthorized.
func (p *Publisher) SuspendCustomer(ctx context.Context, name string, suspended bool, signers []keys.Signer) (*Outcome, error) {
	return p.changeCustomer(ctx, name, signers, func(_ *desk, entry *manifest.Customer) ([]string, error) {
		if entry.Vendor {
			return nil, &Invalid{What: "customer " + name, Reason: "is the vendor, which cannot be suspended"}
		}
		if entry.Suspended == suspended {
			return nil, nil
		}
		entry.Suspended = suspended
		if suspended {
			return []string{"customer " + name + " is suspended: it follows nothing, and its sites decide nothing"}, nil
		}
		return []string{"customer " + name + " is no longer suspended: it follows " + listOr(entry.Subscribe, "nothing")}, nil
	})
}

// changeCustomer changes a registry entry. change works on a copy, whose lists it must not write into, and gives words,
// none where there is nothing to do.
func (p *Publisher) changeCustomer(ctx context.Context, name string, signers []keys.Signer, change func(*desk, *manifest.Customer) ([]string, error)) (*Outcome, error) {
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, manifest.RoleRegistry, signers); err != nil {
			return nil, err
		}
		role, err := d.role(manifest.RoleRegistry)
		if err != nil {
			return nil, err
		}
		after := &candidate{view: d.view, roles: []*roleDraft{{name: manifest.RoleRegistry, next: role}}}
		customers, err := after.customers(ctx, d.store)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(customers, func(c *manifest.Customer) bool { return c.Customer == name })
		if i < 0 {
			return nil, &catalog.UnknownCustomer{Customer: name}
		}
		entry := *customers[i]
		lines, err := change(d, &entry)
		if err != nil || len(lines) == 0 {
			return nil, err
		}
		customers[i] = &entry
		if err := after.checkRegistry(ctx, d.store, customers); err != nil {
			return nil, err
		}
		return registryDraft(role, &entry, lines...)
	}, signers)
}
