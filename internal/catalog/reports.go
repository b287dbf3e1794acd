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
	All      []VerifiedReport // by site, release, sequence; names of tests are in the last of each chain alone
	Rejected []RejectedReport // by key; a key that ends with "/" stands for several objects

	flooded map[manifest.SiteID]bool
	cut     map[chain]bool // there are older reports than those that were read
}

// Limits of what is read of one site in one call: whoever may write under its prefix costs a reader no more.
const (
	maxListedReports = 100_000 // names under one prefix; with more of them nothing of the site counts
	maxChain         = 100     // reports of a site on one release that are read: the newest by their names
	maxStrayNames    = 100     // names of no use that are told one by one, of each site
)

// Flooded says that there are more objects under a site's prefix than anybody reads.
type Flooded struct {
	Site   manifest.SiteID
	Prefix string
}

func (e *Flooded) Error() string {
	return fmt.Sprintf("more than %d objects lie under %s: none of the reports of %s is read", maxListedReports, e.Prefix, e.Site)
}

// Hint says what to do about it.
func (e *Flooded) Hint() string {
	return "look who can write there, and have what is neither report nor log of the site removed from the store"
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
// Of each chain at most the maxChain newest objects are read. What is older neither counts nor is held to the
// sequence, and the chain begins where the reading does. A site that is Flooded has no reports here and a Gap on
// every release; where it alone is asked for, that is the error.
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
	result := &Reports{flooded: map[manifest.SiteID]bool{}, cut: map[chain]bool{}}
	var found []candidate
	for _, site := range sites {
		list, err := v.listReports(ctx, site, filter.Release)
		var flooded *Flooded
		switch {
		case errors.As(err, &flooded) && filter.Site == nil:
			result.flooded[site.id] = true
			result.Rejected = append(result.Rejected, RejectedReport{flooded.Prefix, flooded.Error()})
		case err != nil:
			return nil, fmt.Errorf("reports of %s: %w", site.id, err)
		default:
			found = append(found, list.choose(result)...)
		}
	}
	if err := v.readReports(ctx, found, result); err != nil {
		return nil, err
	}
	return result, nil
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
	key   string
	site  *registeredSite
	chain chain
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

// reportNames are the names under one site's prefix that deserve a look.
type reportNames struct {
	site   *registeredSite
	chains map[manifest.Release]*newest
	strays []RejectedReport // the first of them
	stray  int
}

// newest keeps the last names in the order of text, which is that of the times in them.
type newest struct {
	names []string
	older int
}

func (n *newest) add(name string) {
	if n.names = append(n.names, name); len(n.names) >= 2*maxChain {
		n.trim()
	}
}

func (n *newest) trim() {
	slices.Sort(n.names)
	if surplus := len(n.names) - maxChain; surplus > 0 {
		n.names, n.older = slices.Clone(n.names[surplus:]), n.older+surplus
	}
}

// listReports sorts the names under a site's prefix, without reading anything. *Flooded when they are too many.
func (v *View) listReports(ctx context.Context, site *registeredSite, r *manifest.Release) (*reportNames, error) {
	prefix := manifest.ReportsPrefix(site.id)
	if r != nil {
		prefix = manifest.ReportPrefix(site.id, *r)
	}
	list, n := &reportNames{site: site, chains: map[manifest.Release]*newest{}}, 0
	for info, err := range v.catalog.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if n++; n > maxListedReports {
			return nil, &Flooded{site.id, prefix}
		}
		if kind, err := manifest.KindOf(info.Key); err != nil || kind.Name != "log" {
			v.sortName(list, info.Key)
		}
	}
	return list, nil
}

func (v *View) sortName(list *reportNames, key string) {
	_, release, _, _, err := manifest.ParseReportObject(key)
	if err == nil && list.chains[release] == nil {
		if _, err = v.published(release); err == nil {
			list.chains[release] = &newest{}
		}
	}
	if err == nil {
		list.chains[release].add(key)
		return
	}
	if list.stray++; list.stray <= maxStrayNames {
		list.strays = append(list.strays, RejectedReport{key, err.Error()})
	}
}

// choose gives the names to read, and notes in the result what is left out.
func (l *reportNames) choose(result *Reports) []candidate {
	result.Rejected = append(result.Rejected, l.strays...)
	if more := l.stray - len(l.strays); more > 0 {
		result.Rejected = append(result.Rejected, RejectedReport{manifest.ReportsPrefix(l.site.id),
			fmt.Sprintf("%d more objects there are no reports on a release", more)})
	}
	var found []candidate
	for release, chosen := range l.chains {
		c := chain{l.site.id, release}
		if chosen.trim(); chosen.older > 0 {
			result.cut[c] = true
			result.Rejected = append(result.Rejected, RejectedReport{manifest.ReportPrefix(c.site, c.release),
				fmt.Sprintf("only the %d newest reports there are read: %d older ones neither count nor show what is missing among them", maxChain, chosen.older)})
		}
		for _, key := range chosen.names {
			found = append(found, candidate{key, l.site, c})
		}
	}
	return found
}

func (v *View) readReports(ctx context.Context, found []candidate, result *Reports) error {
	var mu sync.Mutex // guards result and last
	last := map[chain]int{}
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
				result.take(last, c.chain, *report)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(result.All, compareReports)
	slices.SortStableFunc(result.Rejected, func(a, b RejectedReport) int { return strings.Compare(a.Key, b.Key) })
	return nil
}

// take adds a report. Names of tests, which may be megabytes, stay in the last report of a chain alone.
func (r *Reports) take(last map[chain]int, c chain, report VerifiedReport) {
	i, ok := last[c]
	switch {
	case ok && compareReports(report, r.All[i]) < 0:
		report.forgetTests()
	case ok:
		r.All[i].forgetTests()
		fallthrough
	default:
		last[c] = len(r.All)
	}
	r.All = append(r.All, report)
}

func (r *VerifiedReport) forgetTests() { r.Passed, r.Warned, r.Failed = nil, nil, nil }

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
// the site really said last cannot be known. Where older reports were not read, the chain is held to its sequence
// from the first that was; with none that counts among them, garbage may hide what there is.
func (r *Reports) Gap(site manifest.SiteID, release manifest.Release) bool {
	c := chain{site, release}
	reports := r.of(c)
	sequence, previous := int64(1), ""
	if r.cut[c] {
		if len(reports) == 0 || reports[0].Sequence == 1 {
			return true
		}
		sequence, previous = reports[0].Sequence, reports[0].Previous
	}
	for i, report := range reports {
		if report.Sequence != sequence+int64(i) || report.Previous != previous {
			return true
		}
		previous = report.SHA256
	}
	return r.flooded[site]
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
