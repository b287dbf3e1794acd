package publisher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// customers are all entries as they would be, by name. What is in effect already comes from the verified view.
func (c *candidate) customers(ctx context.Context, r storage.Reader) ([]*manifest.Customer, error) {
	role, err := c.role(manifest.RoleRegistry)
	if err != nil {
		return nil, err
	}
	current, err := currentRole(c.view, manifest.RoleRegistry)
	if err != nil {
		return nil, err
	}
	known := map[string]*manifest.Customer{}
	if _, err := c.view.Role(manifest.RoleRegistry); err == nil {
		all, err := c.view.Customers(ctx)
		if err != nil {
			return nil, err
		}
		for _, entry := range all {
			known[manifest.RegistryTarget(entry.Customer)] = entry
		}
	}
	var list []*manifest.Customer
	for _, path := range slices.Sorted(maps.Keys(role.Targets)) {
		entry := known[path]
		if entry == nil || current.Targets[path].SHA256 != role.Targets[path].SHA256 {
			if entry, err = getCustomer(ctx, r, path, role.Targets[path]); err != nil {
				return nil, err
			}
		}
		list = append(list, entry)
	}
	return list, nil
}

// roleKeys are the keys of every role, as it would be: key id → role.
func (c *candidate) roleKeys() (map[string]string, error) {
	holders := map[string]string{}
	for _, parent := range []string{trust.RoleRoot, trust.RoleTargets} {
		content, err := c.role(parent)
		if err != nil {
			return nil, err
		}
		for _, d := range content.Delegations {
			for _, id := range d.KeyIDs() {
				holders[id] = d.Name
			}
		}
	}
	return holders, nil
}

// checkCandidateKeys holds all sites and all keys of roles to the rules of the registry.
func checkCandidateKeys(ctx context.Context, r storage.Reader, after *candidate) error {
	customers, err := after.customers(ctx, r)
	if err != nil {
		return err
	}
	return after.checkRegistry(ctx, r, customers)
}

// checkRegistry holds entries, as they would be, to the rules of the registry.
func (c *candidate) checkRegistry(ctx context.Context, r storage.Reader, customers []*manifest.Customer) error {
	holders, err := c.roleKeys()
	if err != nil {
		return err
	}
	before, err := (&candidate{view: c.view}).customers(ctx, r)
	if err != nil {
		return err
	}
	if err := checkVendor(customers); err != nil {
		return err
	}
	if err := checkSites(customers); err != nil {
		return err
	}
	if err := checkKeys(customers, holders); err != nil {
		return err
	}
	return checkLives(before, customers)
}

// checkVendor: nothing can be certified where the registry names no vendor, or two.
func checkVendor(customers []*manifest.Customer) error {
	var vendors []string
	for _, c := range customers {
		if c.Vendor {
			vendors = append(vendors, c.Customer)
		}
	}
	if len(vendors) != 1 {
		return &Invalid{What: "registry", Reason: "it has to name one vendor, and names " + listOr(vendors, "none")}
	}
	return nil
}

// checkLives: a site that is retired stays so, and a key's time only ever gets shorter: what is gone does not come back.
func checkLives(before, after []*manifest.Customer) error {
	for _, old := range before {
		i := slices.IndexFunc(after, func(c *manifest.Customer) bool { return c.Customer == old.Customer })
		if i < 0 {
			continue
		}
		for _, was := range old.Sites {
			is := after[i].Site(was.Name)
			if is == nil {
				continue
			}
			if reason := checkLife(was, *is); reason != "" {
				return &Invalid{What: "site " + old.Customer + "/" + was.Name, Reason: reason}
			}
		}
	}
	return nil
}

func checkLife(was, is manifest.Site) string {
	if was.Retired && !is.Retired {
		return "is retired, and would not be any more"
	}
	longer := func(old, new time.Time) bool { return !old.IsZero() && (new.IsZero() || new.After(old)) }
	find := func(keys []manifest.SiteKey, like manifest.SiteKey) int {
		return slices.IndexFunc(keys, func(k manifest.SiteKey) bool { return k.Public == like.Public && k.ValidFrom.Equal(like.ValidFrom) })
	}
	for _, old := range was.Keys {
		i := find(is.Keys, old)
		switch {
		case i < 0:
			return fmt.Sprintf("its key %s would be dropped, and with it what it signed", shortPEM(old.Public))
		case longer(old.ValidTo, is.Keys[i].ValidTo), longer(old.CompromisedSince, is.Keys[i].CompromisedSince):
			return fmt.Sprintf("its key %s would be valid for longer than it was said to be", shortPEM(old.Public))
		}
	}
	for _, k := range is.Keys {
		ended := slices.ContainsFunc(was.Keys, func(old manifest.SiteKey) bool {
			return old.Public == k.Public && (!old.ValidTo.IsZero() || !old.CompromisedSince.IsZero())
		})
		if ended && find(was.Keys, k) < 0 {
			return fmt.Sprintf("its key %s has ended, and would be valid again", shortPEM(k.Public))
		}
	}
	return ""
}

// checkKeys: a key belongs to one site and to no role.
func checkKeys(customers []*manifest.Customer, holders map[string]string) error {
	owner := map[string]string{}
	for _, c := range customers {
		for _, site := range c.Sites {
			name := manifest.SiteID{Customer: c.Customer, Site: site.Name}.String()
			for _, k := range site.Keys {
				pub, err := keys.ParsePublic([]byte(k.Public))
				if err != nil {
					return &Invalid{What: "site " + name, Reason: err.Error()}
				}
				key, err := trust.NewKey(pub)
				if err != nil {
					return &Invalid{What: "site " + name, Reason: err.Error()}
				}
				if role := holders[key.ID]; role != "" {
					return &Invalid{What: "site " + name, Reason: fmt.Sprintf("its key %s also signs role %s; a site needs a key of its own", ShortID(key.ID), role)}
				}
				if other := owner[key.ID]; other != "" && other != name {
					return &Invalid{What: "site " + name, Reason: fmt.Sprintf("its key %s is that of site %s; a site needs a key of its own", ShortID(key.ID), other)}
				}
				owner[key.ID] = name
			}
		}
	}
	return nil
}

// checkSites: sites wait for CI sites that exist, and nobody waits for himself in the end.
func checkSites(customers []*manifest.Customer) error {
	sites := map[string]manifest.Site{}
	for _, c := range customers {
		for _, s := range c.Sites {
			sites[manifest.SiteID{Customer: c.Customer, Site: s.Name}.String()] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sites)) {
		for _, before := range sites[name].After {
			s, ok := sites[before]
			switch {
			case !ok:
				return &Invalid{What: "site " + name, Reason: "waits for site " + before + ", which does not exist"}
			case s.Kind != manifest.SiteCI:
				return &Invalid{What: "site " + name, Reason: "waits for site " + before + ", which tests nothing: it is a " + s.Kind + " site"}
			}
		}
	}
	if circle := findCircle(sites); circle != nil {
		return &Invalid{What: "site " + circle[0], Reason: "sites wait for each other: " + strings.Join(circle, " → ")}
	}
	return nil
}

// findCircle gives sites of which each waits for the next and the last for the first, or nil.
func findCircle(sites map[string]manifest.Site) []string {
	done := map[string]bool{}
	var way []string
	var follow func(name string) []string
	follow = func(name string) []string {
		if i := slices.Index(way, name); i >= 0 {
			return append(slices.Clone(way[i:]), name)
		}
		if done[name] {
			return nil
		}
		done[name] = true
		way = append(way, name)
		for _, before := range sites[name].After {
			if circle := follow(before); circle != nil {
				return circle
			}
		}
		way = way[:len(way)-1]
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(sites)) {
		if circle := follow(name); circle != nil {
			return circle
		}
	}
	return nil
}

func checkSubscriptions(d *desk, products []string) error {
	for _, product := range products {
		if product == "*" {
			if len(products) > 1 {
				return &Invalid{What: "subscriptions", Reason: `"*" means every product and stands alone`}
			}
			continue
		}
		if !slices.Contains(d.view.Products(), product) && !d.waitingProduct(product) {
			return &catalog.UnknownProduct{Product: product}
		}
	}
	return nil
}

// waitingProduct tells whether the proposal this builds on adds the product.
func (d *desk) waitingProduct(product string) bool {
	if d.base == nil || d.base.role(trust.RoleTargets) == nil {
		return false
	}
	_, ok := d.base.role(trust.RoleTargets).next.Delegation(manifest.RoleProduct(product))
	return ok
}
