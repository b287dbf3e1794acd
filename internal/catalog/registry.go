package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// Customers are all registry entries, by name. One that cannot be had or read makes the whole answer an error:
// decisions that rest on "every site" must not be taken on some.
func (v *View) Customers(ctx context.Context) ([]*manifest.Customer, error) {
	targets, err := v.registry()
	if err != nil {
		return nil, err
	}
	return v.customersOf(ctx, targets)
}

// customersOf are the entries that a version of the registry lists.
func (v *View) customersOf(ctx context.Context, targets map[string]trust.Target) ([]*manifest.Customer, error) {
	paths := slices.Sorted(maps.Keys(targets))
	customers := make([]*manifest.Customer, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, path := range paths {
		group.Go(func() (err error) {
			customers[i], err = v.registryEntry(ctx, path, targets[path])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(customers, func(a, b *manifest.Customer) int { return strings.Compare(a.Customer, b.Customer) })
	return customers, nil
}

// registry are the targets of the role registry; none when it was never signed.
func (v *View) registry() (map[string]trust.Target, error) {
	role, err := v.Role(manifest.RoleRegistry)
	var absent *RoleAbsent
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return role.Targets, nil
}

func (v *View) registryEntry(ctx context.Context, path string, t trust.Target) (*manifest.Customer, error) {
	data, err := v.target(ctx, "the registry entry "+path, path, t, registryFile(t.SHA256))
	if err != nil {
		return nil, err
	}
	c, err := manifest.ParseCustomer(path, data)
	if err == nil && manifest.RegistryTarget(c.Customer) != path {
		err = fmt.Errorf("it describes customer %q", c.Customer)
	}
	if err != nil {
		return nil, &trust.Error{Kind: trust.Malformed, Role: path, Err: err}
	}
	return c, nil
}

// Customer is one registry entry; *UnknownCustomer when there is none.
func (v *View) Customer(ctx context.Context, name string) (*manifest.Customer, error) {
	targets, err := v.registry()
	if err != nil {
		return nil, err
	}
	path := manifest.RegistryTarget(name)
	target, ok := targets[path]
	if !ok {
		return nil, &UnknownCustomer{name}
	}
	return v.registryEntry(ctx, path, target)
}

// Site is one site with its customer; *UnknownCustomer or *UnknownSite when there is none.
func (v *View) Site(ctx context.Context, id manifest.SiteID) (*manifest.Customer, *manifest.Site, error) {
	c, err := v.Customer(ctx, id.Customer)
	if err != nil {
		return nil, nil, err
	}
	site := c.Site(id.Site)
	if site == nil {
		return nil, nil, &UnknownSite{id}
	}
	return c, site, nil
}

// Vendor is the registry entry of the vendor itself; an error unless there is exactly one.
func (v *View) Vendor(ctx context.Context) (*manifest.Customer, error) {
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	return vendorOf(customers)
}

func vendorOf(customers []*manifest.Customer) (*manifest.Customer, error) {
	var vendor *manifest.Customer
	for _, c := range customers {
		if !c.Vendor {
			continue
		}
		if vendor != nil {
			return nil, fmt.Errorf("the registry names two vendors, %s and %s", vendor.Customer, c.Customer)
		}
		vendor = c
	}
	if vendor == nil {
		return nil, errors.New("the registry names no vendor")
	}
	return vendor, nil
}
