package fetcher

import (
	"context"
	"errors"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// visible gives what the product role lists for r when this follower may use it, and
// *NotVisible with the reason when it may not. Errors of the catalog are as they are.
func (f *Fetcher) visible(ctx context.Context, v *catalog.View, r manifest.Release) (*trust.Target, error) {
	hidden := func(reason string) (*trust.Target, error) { return nil, &NotVisible{Release: r, Reason: reason} }
	info, err := v.Release(r)
	var unknown *catalog.UnknownRelease
	var noProduct *catalog.UnknownProduct
	if errors.As(err, &unknown) || errors.As(err, &noProduct) {
		return hidden("it is not published")
	}
	if err != nil {
		return nil, err
	}
	if ok, err := f.subscribed(ctx, v, r.Product); err != nil || !ok {
		if err != nil {
			return nil, err
		}
		return hidden(f.Site.ID.Customer + " does not subscribe to " + r.Product)
	}
	if info.Recalled != nil {
		return hidden("it is recalled: " + info.Recalled.Reason)
	}
	if info.Yanked != "" && !f.holds(r, info.SHA256) {
		return hidden("it is yanked, hidden from new use: " + info.Yanked)
	}
	product := &trust.Target{Length: info.Length, SHA256: info.SHA256}
	if f.followsPublished() {
		return product, nil
	}
	validated, err := v.StageTarget(manifest.StageValidated, r)
	var absent *catalog.RoleAbsent
	switch {
	case errors.As(err, &absent) || err == nil && validated == nil:
		return hidden("the vendor's CI has not validated it yet")
	case err != nil:
		return nil, err
	case !sameTarget(product, validated):
		return hidden("validated and product list different manifests")
	}
	return product, nil
}

func sameTarget(a, b *trust.Target) bool { return a.Length == b.Length && a.SHA256 == b.SHA256 }

// subscribed tells whether this follower's customer follows a product. A follower
// without a site, and a site that the registry does not know, follow everything that
// is validated: the bucket's own rights say who may read what.
func (f *Fetcher) subscribed(ctx context.Context, v *catalog.View, product string) (bool, error) {
	if f.Site == nil {
		return true, nil
	}
	customer, err := v.Customer(ctx, f.Site.ID.Customer)
	var unknown *catalog.UnknownCustomer
	var cached *catalog.NotCached
	if errors.As(err, &unknown) || errors.As(err, &cached) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return customer.Subscribes(product), nil
}

// followed lists the releases that are visible, product by product in alphabetical
// order, each in order of publication. A product whose roles cannot be believed does
// not hide the others: its error comes along with what the others list.
func (f *Fetcher) followed(ctx context.Context, v *catalog.View) ([]catalog.ReleaseInfo, error) {
	var list []catalog.ReleaseInfo
	var problems error
	for _, product := range v.Products() {
		releases, err := f.followedOf(ctx, v, product)
		problems = errors.Join(problems, err)
		list = append(list, releases...)
	}
	return list, problems
}

func (f *Fetcher) followedOf(ctx context.Context, v *catalog.View, product string) ([]catalog.ReleaseInfo, error) {
	all, err := v.Releases(product)
	var absent *catalog.RoleAbsent
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := slices.Clone(all)[:0]
	for _, info := range all {
		_, err := f.visible(ctx, v, info.Release)
		var hidden *NotVisible
		if errors.As(err, &hidden) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}
