package catalog

import (
	"context"
	"iter"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// Afresh is the same catalog, with the same pins, as a host sees it that never saw it before. dir is an empty
// directory for its state. What it shows was read from the store, not from what this host keeps, but for the pinned root.
func (c *Catalog) Afresh(dir string) *Catalog {
	first := c.pins.first()
	if kept, ok := c.state.readKind(rootFile(first.Version), manifest.RootObject(first.Version)); ok && c.root == nil {
		_ = stateDir{dir}.write(rootFile(first.Version), kept) // else it is asked for
	}
	return &Catalog{store: c.store, state: stateDir{dir}, pins: c.pins.clone(), root: c.root, now: c.now, progress: c.progress, fresh: true}
}

// Reports of an audit are read in batches: a chain that is longer is held to its sequence all the same.
const auditBatch = 512

// ReportAudit hears what an audit of the reports finds. All functions are called one at a time.
type ReportAudit struct {
	Report   func(VerifiedReport)                       // one that counts; without the names of its tests
	Rejected func(key string, seen bool, why error)     // one that does not; seen tells that the journal holds it
	Lost     func(key string, lost Lost)                // the journal holds it, and it is not there as it was
	Gap      func(manifest.SiteID, manifest.Release)    // see Reports.Gap; not told of a chain with something Lost
	Flooded  func(*Flooded)                             // of what the journal has not seen there, no more is read
	Stranger func(site manifest.SiteID, o storage.Info) // a report of a site that nobody registered
	Other    func(storage.Info)                         // logs, and what is neither report nor log
}

// AuditReports reads and verifies every report of every site, by the rules of Reports, in the order of their names
// and in memory that does not grow with their number, but for the journal. product "" is all of them. The error is
// that of the registry, or the store's; where it is storage.ErrUnsupported or storage.ErrForbidden, the store cannot
// be listed: everything that the journal holds was looked at all the same.
func (v *View) AuditReports(ctx context.Context, journal *Journal, product string, hears ReportAudit) error {
	sites, err := v.reportingSites(ctx, ReportFilter{})
	if err != nil {
		return err
	}
	a := &reportAudit{view: v, hears: hears, product: product, sites: map[manifest.SiteID]*registeredSite{}}
	for _, site := range sites {
		a.sites[site.id] = site
	}
	a.forget()
	paths := slices.Sorted(maps.Keys(journal.reports))
	var unlisted error
	for name, err := range mergeNames(v.catalog.store.List(ctx, "reports/", ""), paths) {
		if cannotList(err) {
			unlisted = err
			continue
		}
		if err != nil {
			return err
		}
		if err := a.take(ctx, journal, name, unlisted == nil); err != nil {
			return err
		}
	}
	if err := a.flush(ctx, true); err != nil {
		return err
	}
	return unlisted
}

// reportName is a name that the store lists, or the journal holds, or both.
type reportName struct {
	storage.Info
	listed bool
}

// mergeNames joins a listing with names that are in the same order. Of a store that cannot be listed only the names are left.
func mergeNames(listing iter.Seq2[storage.Info, error], names []string) iter.Seq2[reportName, error] {
	return func(yield func(reportName, error) bool) {
		for info, err := range listing {
			if err != nil {
				if !yield(reportName{}, err) || !cannotList(err) {
					return
				}
				break
			}
			for len(names) > 0 && names[0] < info.Key {
				if !yield(reportName{Info: storage.Info{Key: names[0]}}, nil) {
					return
				}
				names = names[1:]
			}
			if len(names) > 0 && names[0] == info.Key {
				names = names[1:]
			}
			if !yield(reportName{info, true}, nil) {
				return
			}
		}
		for _, name := range names {
			if !yield(reportName{Info: storage.Info{Key: name}}, nil) {
				return
			}
		}
	}
}

type reportAudit struct {
	view    *View
	hears   ReportAudit
	product string
	sites   map[manifest.SiteID]*registeredSite

	last  chain
	names int // under the prefix of the last one's site
	batch []candidate
	held  *Reports // of chains that are not done; All has what a sequence needs
}

// take sorts one name.
func (a *reportAudit) take(ctx context.Context, journal *Journal, name reportName, whole bool) error {
	site, release, _, _, err := manifest.ParseReportObject(name.Key)
	if err != nil {
		a.hears.Other(name.Info)
		return nil
	}
	registered := a.sites[site]
	switch {
	case registered == nil:
		a.hears.Stranger(site, name.Info)
		return nil
	case a.product != "" && release.Product != a.product:
		return nil
	}
	c := candidate{key: name.Key, site: registered, chain: chain{site, release}, listed: whole}
	if entry, known := journal.reports[name.Key]; known {
		c.journal = &entry
	}
	if name.listed {
		c.state = stateOf(name.Info)
	}
	if site != a.last.site {
		a.names = 0
	}
	if c.chain != a.last && len(a.batch) >= auditBatch || len(a.batch) >= 8*auditBatch {
		if err := a.flush(ctx, c.chain != a.last); err != nil {
			return err
		}
	}
	a.last = c.chain
	if a.names++; a.names > maxListedReports && c.journal == nil {
		if a.names == maxListedReports+1 {
			a.hears.Flooded(&Flooded{site, manifest.ReportsPrefix(site)})
		}
		return nil
	}
	a.batch = append(a.batch, c)
	return nil
}

func (a *reportAudit) forget() { a.held = &Reports{lost: map[chain]Lost{}} }

// audited is what became of one candidate.
type audited struct {
	report *VerifiedReport
	lost   Lost
	reason error
}

// flush reads what was sorted; done tells that the last chain is at its end, too.
func (a *reportAudit) flush(ctx context.Context, done bool) error {
	results := make([]audited, len(a.batch))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, c := range a.batch {
		group.Go(func() (err error) {
			r := &results[i]
			r.report, r.lost, r.reason, err = a.view.readReport(ctx, c)
			if r.report != nil {
				r.report.forgetTests()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, r := range results {
		a.tell(a.batch[i], r)
	}
	if done {
		a.sequences()
		a.forget()
	}
	a.batch = a.batch[:0]
	return nil
}

func (a *reportAudit) tell(c candidate, r audited) {
	switch {
	case r.lost != "":
		a.held.lost[c.chain] = r.lost
		a.hears.Lost(c.key, r.lost)
	case r.report == nil:
		a.hears.Rejected(c.key, c.journal != nil, r.reason)
	default:
		a.hears.Report(*r.report)
		slim := VerifiedReport{Key: r.report.Key, SHA256: r.report.SHA256}
		slim.Site, slim.Release, slim.Finished = r.report.Site, r.report.Release, r.report.Finished
		slim.Sequence, slim.Previous = r.report.Sequence, r.report.Previous
		a.held.All = append(a.held.All, slim)
	}
}

// sequences holds every chain that was read to its end to its sequence.
func (a *reportAudit) sequences() {
	slices.SortFunc(a.held.All, compareReports)
	for i, r := range a.held.All {
		if i > 0 && a.held.All[i-1].Site == r.Site && a.held.All[i-1].Release == r.Release {
			continue
		}
		if a.held.Lost(r.Site, r.Release) == "" && a.held.Gap(r.Site, r.Release) {
			a.hears.Gap(r.Site, r.Release)
		}
	}
}

// AuditJournal is Journal, also of one that is right in all but its expiry.
func (v *View) AuditJournal(ctx context.Context) (*Journal, error) { return v.journalToGoOn(ctx) }

// Segments are the numbers of the journal's segments, from the newest to the first.
func (j *Journal) Segments() []int64 { return j.segments }
