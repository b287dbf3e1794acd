package fetcher

import (
	"context"
	"errors"
	"fmt"
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
	if err := f.checkFollows(ctx, v, r); err != nil {
		return nil, err
	}
	if recall := f.recalled(v, r); recall != nil {
		return nil, &NotVisible{Release: r, Reason: "it is " + recall.String(), Next: recalledNext(info)}
	}
	if err := recallsKnown(v, r.Product); err != nil {
		return nil, err
	}
	if info.Yanked != "" && !f.keeps(r, info.SHA256) {
		return nil, &NotVisible{Release: r, Reason: yankedReason(info), Next: yankedNext(r)}
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

// recalled is the recall of a release that stands for this host, nil when none is known: a certificate lifts it
// where the gate demands certificates of that role.
func (f *Fetcher) recalled(v *catalog.View, r manifest.Release) *catalog.Recall {
	roles, err := f.Gate.roles(r.Product)
	if err != nil {
		roles = nil // whoever asks the gate is told; nothing lifts a recall until then
	}
	recall, _, _ := v.RecallFor(r, certificateRoles(roles)...)
	return recall
}

// recallsKnown is an error when there is a list of recalls that was altered or is missing from the store: nobody can
// tell then what is recalled. One that was never signed lists nothing; one that has expired is the gate's to judge.
func recallsKnown(v *catalog.View, product string) error {
	name := manifest.RoleRecalled(product)
	_, err := v.Role(name)
	var absent *catalog.RoleAbsent
	if _, _, expired := v.ExpiredRole(name); err == nil || errors.As(err, &absent) || expired {
		return nil
	}
	return fmt.Errorf("whether releases of %s are recalled cannot be known: %w", product, err)
}

// keeps tells whether this host has a release, as these bytes: it fetched it, or deployed it. A yank does not take
// it away then.
func (f *Fetcher) keeps(r manifest.Release, sha string) bool {
	if f.holds(r, sha) {
		return true
	}
	if f.Site == nil {
		return false
	}
	rec, err := f.siteDir(f.Site.ID).deploy(r.Product)
	if err != nil || rec == nil {
		return false
	}
	a := rec.Attempts[r.Version]
	return a != nil && a.passed() && a.Manifest == sha
}

func yankedReason(info *catalog.ReleaseInfo) string {
	return "it is " + info.YankWords() + ", hidden from new use, and this host has not fetched it before"
}

func yankedNext(r manifest.Release) string {
	return fmt.Sprintf("choose another release (kitchen list %s); the vendor's engineers can take the yank back: kitchen yank %s --undo --key FILE", r.Product, r)
}

func recalledNext(info *catalog.ReleaseInfo) string {
	r := info.Release
	if !info.Liftable() {
		return fmt.Sprintf("choose another release (kitchen list %s); this one was not validated before, and stays recalled", r.Product)
	}
	return fmt.Sprintf("choose another release (kitchen list %s); only a certificate that names the recall lifts it: kitchen certify %s --lift-recall --key FILE", r.Product, r)
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

// checkFollows is a *NotVisible where this host's customer does not follow the release's product, or is suspended.
func (f *Fetcher) checkFollows(ctx context.Context, v *catalog.View, r manifest.Release) error {
	ok, err := f.subscribed(ctx, v, r.Product)
	if err != nil || ok {
		return err
	}
	name := f.Site.ID.Customer
	if customer, err := v.Customer(ctx, name); err == nil && customer.Suspended {
		return &NotVisible{Release: r, Reason: suspendedWords(name), Next: "the vendor's administrators can take that back: kitchen customer suspend " + name + " --undo --key FILE"}
	}
	return &NotVisible{Release: r, Reason: name + " does not subscribe to " + r.Product,
		Next: fmt.Sprintf("the vendor's administrators can change that: kitchen customer change %s --subscribe %s --key FILE", name, r.Product)}
}

func suspendedWords(customer string) string {
	return "customer " + customer + " is suspended: it follows nothing for the time being"
}

// followed lists the releases that are visible and not yanked, whether they are kept here or not: what this host takes
// up by itself is new use. They come product by product in alphabetical order, each in order of
// publication. A product whose roles cannot be believed does not hide the others: its error comes along with what
// the others list.
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
		if info.Yanked != "" {
			continue
		}
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
