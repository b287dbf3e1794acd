package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// ReportFilter says which reports are wanted; empty fields leave the choice open.
type ReportFilter struct {
	Release  *manifest.Release
	Product  string
	Customer string
	Site     *manifest.SiteID
	// Known asks for what the journal knows where the store cannot be listed (http) or may not be. It is for those
	// who look, not for decisions that what is newer could turn: see Reports.Unlisted.
	Known bool

	sample bool // of what the journal has not seen, some of each site will do: see View.Unseen
}

// VerifiedReport is a report that a key of its very site signed, on a release as it is published.
type VerifiedReport struct {
	manifest.Report
	Key    string    // of the object
	SHA256 string    // of the bundle's bytes
	Size   int64     // of the bundle, bytes
	Signer string    // id of the key that signed it
	Seen   time.Time // when the journal saw it first; zero = it is not in the journal yet
	Lost   Lost      // what became of the object since; the report itself is this host's copy then
}

// Lost is what became of an object that the journal saw.
type Lost string

// What may become of it. Each counts as a hole in the site's chain of reports.
const (
	Vanished Lost = "vanished" // it is not there any more
	Altered  Lost = "altered"  // it has other bytes
	Withheld Lost = "withheld" // it may not be read
)

// RejectedReport is an object under a site's prefix that does not count, or one that the journal saw and that is
// Lost.
type RejectedReport struct{ Key, Reason string }

// Reports are what the registered sites uploaded.
type Reports struct {
	All      []VerifiedReport  // by site, release, sequence; names of tests are in the last of each chain alone
	Rejected []RejectedReport  // by key; a key that ends with "/" stands for several objects
	Unlisted []manifest.SiteID // sites of which only what the journal saw is known: see ReportFilter.Known
	// NoJournal says why the journal could not be read, where that is for want of the right to: reports are then
	// judged as if all of them were seen just now, and none is missed that is gone. Nobody certifies on that.
	NoJournal error

	flooded map[manifest.SiteID]bool
	cut     map[chain]bool // there are older reports than those that were read
	lost    map[chain]Lost
}

// Limits of what is read of one site in one call: whoever may write under its prefix costs a reader no more.
const (
	maxListedReports = 100_000 // names under one prefix; with more of them nothing new of the site counts
	maxChain         = 100     // reports of a site on one release that are read: the newest by their names
	maxStrayNames    = 100     // names of no use that are told one by one, of each site
)

// Flooded says that there are more objects under a site's prefix than anybody reads.
type Flooded struct {
	Site   manifest.SiteID
	Prefix string
}

func (e *Flooded) Error() string {
	return fmt.Sprintf("more than %d objects lie under %s: of the reports of %s only those are read that the journal saw", maxListedReports, e.Prefix, e.Site)
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
// at the time the journal saw the report first, when its name repeats site, release, time and digest, and when its
// subject is the release's manifest as published. A report that the journal has not seen yet is judged as if it
// were seen now, and its customer has to follow the product, as the next commit will judge it.
//
// What the journal saw and the store does not have any more, or with other bytes, is Lost: it is told, and it is a
// Gap; where this host has a copy of it, that is what it says.
//
// Of each chain at most the maxChain newest objects that the journal saw are read, and as many that it did not. What
// is older neither counts nor is held to the sequence, and the chain begins where the reading does. A site that is
// Flooded has no reports here but those that the journal saw, and a Gap on every release; where it alone is asked
// for, that is the error. What was verified is kept in the state directory: as long as the store's listing shows it
// unchanged, it is not read again.
//
// Errors: those of Journal; storage.ErrUnsupported where the store cannot list (http), storage.ErrForbidden where it
// may not be listed, unless the filter says Known; ErrOffline offline.
func (v *View) Reports(ctx context.Context, filter ReportFilter) (*Reports, error) {
	if v.offline {
		return nil, &NotCached{What: "the reports"}
	}
	sites, err := v.reportingSites(ctx, filter)
	if err != nil {
		return nil, err
	}
	result := &Reports{flooded: map[manifest.SiteID]bool{}, cut: map[chain]bool{}, lost: map[chain]Lost{}}
	journal, err := v.Journal(ctx)
	if errors.Is(err, storage.ErrForbidden) {
		result.NoJournal, journal, filter.Known = err, &Journal{}, false
	} else if err != nil {
		return nil, err
	}
	lists, err := v.listSites(ctx, sites, journal, filter)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, list := range lists {
		found = append(found, list.choose(result)...)
	}
	if err := v.readReports(ctx, found, result); err != nil {
		return nil, err
	}
	if filter.Release == nil && filter.Site == nil && filter.Product == "" && filter.Customer == "" {
		v.catalog.state.keepReports(found)
	}
	return result, nil
}

// listSites sorts the names of every site, several sites at once.
func (v *View) listSites(ctx context.Context, sites []*registeredSite, journal *Journal, filter ReportFilter) ([]*reportNames, error) {
	lists := make([]*reportNames, len(sites))
	mine := journal.bySite()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, site := range sites {
		group.Go(func() error {
			list := &reportNames{site: site, filter: filter, chains: map[manifest.Release]*chainNames{}}
			lists[i] = list
			err := v.listReports(ctx, list, journal, mine[site.id])
			var flooded *Flooded
			switch {
			case errors.As(err, &flooded) && filter.Site == nil:
				list.flooded = flooded
			case filter.Known && cannotList(err):
				list.unlisted = true
			case err != nil:
				return fmt.Errorf("reports of %s: %w", site.id, err)
			}
			return nil
		})
	}
	return lists, group.Wait()
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

// Latest is the report with which a site's chain on a release ends; nil when there is none.
func (r *Reports) Latest(site manifest.SiteID, release manifest.Release) *VerifiedReport {
	all := r.of(chain{site, release})
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1]
}

// Replaced is the release of the same product that a site said to have deployed last, where that was after what it says
// last of this one; nil when it said so of none.
func (r *Reports) Replaced(site manifest.SiteID, release manifest.Release) *manifest.Release {
	newest := r.Latest(site, release)
	if newest == nil {
		return nil
	}
	var by *manifest.Release
	for i := range r.All {
		report := &r.All[i]
		if report.Site == site && report.Release.Product == release.Product && report.Release != release &&
			report.deployed() && report.Finished.After(newest.Finished) && r.Latest(site, report.Release) == report {
			newest, by = report, &report.Release
		}
	}
	return by
}

// deployed tells whether a report says that its release was deployed.
func (r *VerifiedReport) deployed() bool {
	return r.Type == manifest.ReportDeployment && (r.Verdict() == manifest.Passed || r.Verdict() == manifest.Warned)
}

// Find is a site's report on a release by its sequence number; nil when there is none.
func (r *Reports) Find(site manifest.SiteID, release manifest.Release, sequence int64) *VerifiedReport {
	for i := range r.of(chain{site, release}) {
		if report := &r.of(chain{site, release})[i]; report.Sequence == sequence {
			return report
		}
	}
	return nil
}

// Lost says what became of a report of a site on a release that the journal saw; "" when nothing is lost.
func (r *Reports) Lost(site manifest.SiteID, release manifest.Release) Lost {
	return r.lost[chain{site, release}]
}

// Gap tells that a site's chain on a release has a report Lost, missing, doubled or not linked to the one before: what
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
	return r.flooded[site] || r.lost[c] != ""
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
