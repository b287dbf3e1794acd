package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// ReportFilter says which reports are wanted; nil fields leave the choice open.
type ReportFilter struct {
	Release *manifest.Release
	Site    *manifest.SiteID
}

// VerifiedReport is a report that a key of its very site signed, on a release as it is published.
type VerifiedReport struct {
	manifest.Report
	Key    string // of the object
	SHA256 string // of the bundle's bytes
}

// RejectedReport is an object under a site's prefix that does not count.
type RejectedReport struct{ Key, Reason string }

// Reports are what the registered sites uploaded.
type Reports struct {
	All      []VerifiedReport // by site, release, sequence
	Rejected []RejectedReport // by key
}

// chain are one site's verified reports on one release, in order.
type chain struct {
	site    manifest.SiteID
	release manifest.Release
}

// Reports lists, reads and verifies the reports of registered sites, the retired ones included. What lies under a
// prefix of nobody registered is not looked at.
//
// A report counts when it is signed by a key of the very site under whose prefix it lies, when that key was valid
// at the time the report says it was finished, when its name repeats site, release, time and digest, and when its
// subject is the release's manifest as published. The report's own time stands in for the journal's, until there
// is a journal: the holder of a retired key can back-date (docs/adr/0008).
//
// The error is storage.ErrUnsupported where the store cannot list (http), storage.ErrForbidden where it may not
// be listed, ErrOffline offline.
func (v *View) Reports(ctx context.Context, filter ReportFilter) (*Reports, error) {
	if v.offline {
		return nil, &NotCached{What: "the reports"}
	}
	sites, err := v.reportingSites(ctx, filter)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, site := range sites {
		more, err := v.listReports(ctx, site, filter.Release)
		if err != nil {
			return nil, fmt.Errorf("reports of %s: %w", site.id, err)
		}
		found = append(found, more...)
	}
	return v.readReports(ctx, found)
}

// registeredSite is a site with the keys that may sign its reports.
type registeredSite struct {
	id   manifest.SiteID
	keys []siteKey
}

type siteKey struct {
	manifest.SiteKey
	public *keys.Public
}

// candidate is an object that may be a report.
type candidate struct {
	key  string
	site *registeredSite
}

func (v *View) reportingSites(ctx context.Context, filter ReportFilter) ([]*registeredSite, error) {
	if filter.Site != nil {
		_, site, err := v.Site(ctx, *filter.Site)
		if err != nil {
			return nil, err
		}
		return []*registeredSite{newRegisteredSite(*filter.Site, site)}, nil
	}
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	var sites []*registeredSite
	for _, c := range customers {
		for i := range c.Sites {
			sites = append(sites, newRegisteredSite(manifest.SiteID{Customer: c.Customer, Site: c.Sites[i].Name}, &c.Sites[i]))
		}
	}
	return sites, nil
}

// newRegisteredSite leaves out keys that cannot be read: nothing verifies with them.
func newRegisteredSite(id manifest.SiteID, s *manifest.Site) *registeredSite {
	site := &registeredSite{id: id}
	for _, k := range s.Keys {
		if public, err := keys.ParsePublic([]byte(k.Public)); err == nil {
			site.keys = append(site.keys, siteKey{k, public})
		}
	}
	return site
}

func (v *View) listReports(ctx context.Context, site *registeredSite, r *manifest.Release) ([]candidate, error) {
	prefix := manifest.ReportsPrefix(site.id)
	if r != nil {
		prefix = manifest.ReportPrefix(site.id, *r)
	}
	var found []candidate
	for info, err := range v.catalog.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if kind, err := manifest.KindOf(info.Key); err != nil || kind.Name != "log" {
			found = append(found, candidate{info.Key, site})
		}
	}
	return found, nil
}

func (v *View) readReports(ctx context.Context, found []candidate) (*Reports, error) {
	result := &Reports{}
	var mu sync.Mutex // guards result
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for _, c := range found {
		group.Go(func() error {
			report, reason, err := v.readReport(ctx, c)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if reason != nil {
				result.Rejected = append(result.Rejected, RejectedReport{c.key, reason.Error()})
			} else {
				result.All = append(result.All, *report)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(result.All, compareReports)
	slices.SortFunc(result.Rejected, func(a, b RejectedReport) int { return strings.Compare(a.Key, b.Key) })
	return result, nil
}

func compareReports(a, b VerifiedReport) int {
	return cmp.Or(
		strings.Compare(a.Site.String(), b.Site.String()),
		strings.Compare(a.Release.Product, b.Release.Product),
		strings.Compare(a.Release.Version, b.Release.Version),
		cmp.Compare(a.Sequence, b.Sequence),
		a.Finished.Compare(b.Finished),
		strings.Compare(a.Key, b.Key))
}

// readReport gives the report, or the reason why the object does not count; the error means that nothing can be
// said because the store did not answer.
func (v *View) readReport(ctx context.Context, c candidate) (report *VerifiedReport, reason, err error) {
	if _, _, _, _, err := manifest.ParseReportObject(c.key); err != nil {
		return nil, err, nil
	}
	bundle, err := readObject(ctx, v.catalog.store, c.key)
	switch {
	case errors.Is(err, storage.ErrTooLarge), errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrForbidden):
		return nil, err, nil
	case err != nil:
		return nil, nil, err
	}
	report, reason = c.site.verify(c.key, bundle)
	if reason == nil {
		reason = v.checkSubject(report)
	}
	return report, reason, nil
}

// verify checks signature, name and key validity of one bundle.
func (s *registeredSite) verify(key string, bundle []byte) (*VerifiedReport, error) {
	statement, signer, err := s.open(bundle)
	if err != nil {
		return nil, err
	}
	parsed, err := manifest.ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	report := &VerifiedReport{Report: *parsed, Key: key, SHA256: sha256Hex(bundle)}
	if report.Site != s.id {
		return nil, fmt.Errorf("it is a report of site %s, and lies under the prefix of %s", report.Site, s.id)
	}
	if name := manifest.ReportObject(report.Site, report.Release, report.Finished, report.SHA256); name != key {
		return nil, fmt.Errorf("its content belongs under the name %s: it was moved, re-dated or altered", name)
	}
	if !signer.ValidAt(report.Finished) {
		return nil, fmt.Errorf("the site's key that signed it was not valid at %s", report.Finished.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return report, nil
}

// open finds the key of the site that signed a bundle. A key that is registered twice counts where it is valid,
// so that the later entry is preferred.
func (s *registeredSite) open(bundle []byte) ([]byte, siteKey, error) {
	reason := error(fmt.Errorf("site %s has no key", s.id))
	for _, k := range slices.Backward(s.keys) {
		statement, err := keys.VerifyStatement(bundle, k.public)
		if err == nil {
			return statement, k, nil
		}
		reason = fmt.Errorf("no key of site %s signed it: %w", s.id, err)
	}
	return nil, siteKey{}, reason
}

// checkSubject compares what was tested with what is published.
func (v *View) checkSubject(report *VerifiedReport) error {
	published, err := v.published(report.Release)
	if err != nil {
		return err
	}
	if report.ManifestSHA256 != published.SHA256 {
		return fmt.Errorf("it is about a manifest with sha256 %s, and %s is published with %s", report.ManifestSHA256, report.Release, published.SHA256)
	}
	return nil
}

// Latest is the report with which a site's chain on a release ends; nil when there is none.
func (r *Reports) Latest(site manifest.SiteID, release manifest.Release) *VerifiedReport {
	all := r.of(chain{site, release})
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1]
}

// Gap tells that a site's chain on a release has a report missing, doubled or not linked to the one before: what
// the site really said last cannot be known.
func (r *Reports) Gap(site manifest.SiteID, release manifest.Release) bool {
	previous := ""
	for i, report := range r.of(chain{site, release}) {
		if report.Sequence != int64(i)+1 || report.Previous != previous {
			return true
		}
		previous = report.SHA256
	}
	return false
}

// of are the reports of one chain, in order; they share All's memory.
func (r *Reports) of(c chain) []VerifiedReport {
	first, _ := slices.BinarySearchFunc(r.All, c, func(report VerifiedReport, c chain) int {
		return cmp.Or(
			strings.Compare(report.Site.String(), c.site.String()),
			strings.Compare(report.Release.Product, c.release.Product),
			strings.Compare(report.Release.Version, c.release.Version))
	})
	last := first
	for last < len(r.All) && r.All[last].Site == c.site && r.All[last].Release == c.release {
		last++
	}
	return r.All[first:last]
}
