package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// registeredSite is a site with the keys that may sign its reports.
type registeredSite struct {
	id       manifest.SiteID
	customer *manifest.Customer
	retired  bool
	keys     []siteKey
}

type siteKey struct {
	manifest.SiteKey
	id     string
	public *keys.Public
}

// reportingSites are those whose reports are wanted.
func (v *View) reportingSites(ctx context.Context, filter ReportFilter) ([]*registeredSite, error) {
	if filter.Site != nil {
		customer, site, err := v.Site(ctx, *filter.Site)
		if err != nil {
			return nil, err
		}
		return []*registeredSite{newRegisteredSite(customer, site)}, nil
	}
	customers, err := v.Customers(ctx)
	if err != nil {
		return nil, err
	}
	var sites []*registeredSite
	for _, c := range customers {
		for i := range c.Sites {
			if filter.Customer == "" || filter.Customer == c.Customer {
				sites = append(sites, newRegisteredSite(c, &c.Sites[i]))
			}
		}
	}
	return sites, nil
}

// newRegisteredSite leaves out keys that cannot be read: nothing verifies with them.
func newRegisteredSite(c *manifest.Customer, s *manifest.Site) *registeredSite {
	site := &registeredSite{id: manifest.SiteID{Customer: c.Customer, Site: s.Name}, customer: c, retired: s.Retired}
	for _, k := range s.Keys {
		public, err := keys.ParsePublic([]byte(k.Public))
		if err != nil {
			continue
		}
		if key, err := trust.NewKey(public); err == nil {
			site.keys = append(site.keys, siteKey{k, key.ID, public})
		}
	}
	return site
}

// candidate is an object that may be a report.
type candidate struct {
	key     string
	site    *registeredSite
	chain   chain
	journal *journaled // nil: the journal has not seen it
	state   string     // how the listing shows it; "" where it does not
	listed  bool       // the listing is whole: what it does not show is not there
}

// reportNames are the names under one site's prefix that deserve a look.
type reportNames struct {
	site     *registeredSite
	filter   ReportFilter
	chains   map[manifest.Release]*chainNames
	strays   []RejectedReport // the first of them
	stray    int
	flooded  *Flooded
	unlisted bool

	sampled []candidate // see Unseen
	samples int         // names that sampled was chosen from
}

// chainNames are those of one chain: what the journal saw, and what it has not seen yet.
type chainNames struct{ seen, fresh newest }

// newest keeps the last names in the order of text, which is that of the times in them.
type newest struct {
	list  []candidate
	older int
}

func (n *newest) add(c candidate) {
	if n.list = append(n.list, c); len(n.list) >= 2*maxChain {
		n.trim()
	}
}

func (n *newest) trim() {
	slices.SortFunc(n.list, func(a, b candidate) int { return strings.Compare(a.key, b.key) })
	if surplus := len(n.list) - maxChain; surplus > 0 {
		n.list, n.older = slices.Clone(n.list[surplus:]), n.older+surplus
	}
}

// find gives a name that is kept; nil for one that is not. It wants a trim before.
func (n *newest) find(key string) *candidate {
	i, ok := slices.BinarySearchFunc(n.list, key, func(c candidate, key string) int { return strings.Compare(c.key, key) })
	if !ok {
		return nil
	}
	return &n.list[i]
}

// listReports sorts the names of a site, without reading anything: those that the journal saw, then what the store
// lists. *Flooded when that is too much.
func (v *View) listReports(ctx context.Context, list *reportNames, journal *Journal, mine []string) error {
	for _, path := range mine {
		entry := journal.reports[path]
		v.sortName(list, candidate{key: path, journal: &entry})
	}
	for _, names := range list.chains {
		names.seen.trim()
	}
	prefix := manifest.ReportsPrefix(list.site.id)
	if r := list.filter.Release; r != nil {
		prefix = manifest.ReportPrefix(list.site.id, *r)
	}
	n := 0
	for info, err := range v.catalog.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if n++; n > maxListedReports {
			return &Flooded{list.site.id, prefix}
		}
		if kind, err := manifest.KindOf(info.Key); err == nil && kind.Name == "log" {
			continue
		}
		if _, known := journal.reports[info.Key]; known {
			list.shown(info)
			continue
		}
		v.sortName(list, candidate{key: info.Key, state: stateOf(info)})
	}
	list.whole()
	return nil
}

// stateOf is a text that changes when the object does, as far as a listing can tell.
func stateOf(info storage.Info) string {
	if info.ETag != "" {
		return fmt.Sprintf("%d %s", info.Size, info.ETag)
	}
	return fmt.Sprintf("%d %d", info.Size, info.Modified.UnixNano())
}

// shown notes that the store lists what the journal saw.
func (l *reportNames) shown(info storage.Info) {
	_, release, _, _, err := manifest.ParseReportObject(info.Key)
	if names := l.chains[release]; err == nil && names != nil {
		if c := names.seen.find(info.Key); c != nil {
			c.state = stateOf(info)
		}
	}
}

// whole notes that the listing came to its end.
func (l *reportNames) whole() {
	for _, names := range l.chains {
		for i := range names.seen.list {
			names.seen.list[i].listed = true
		}
		for i := range names.fresh.list {
			names.fresh.list[i].listed = true
		}
	}
}

// sortName adds a name to its chain, or to the strays.
func (v *View) sortName(list *reportNames, c candidate) {
	_, release, _, _, err := manifest.ParseReportObject(c.key)
	switch {
	case err != nil:
	case list.filter.Product != "" && list.filter.Product != release.Product, list.filter.Release != nil && *list.filter.Release != release:
		return
	case list.chains[release] == nil:
		if _, err = v.published(release); err == nil {
			list.chains[release] = &chainNames{}
		}
	}
	if err != nil {
		if list.stray++; list.stray <= maxStrayNames {
			list.strays = append(list.strays, RejectedReport{c.key, err.Error()})
		}
		return
	}
	c.site, c.chain = list.site, chain{list.site.id, release}
	switch names := list.chains[release]; {
	case c.journal != nil:
		names.seen.add(c)
	case list.filter.sample:
		list.sample(c)
	default:
		names.fresh.add(c)
	}
}

// choose gives the names to read, and notes in the result what is left out.
func (l *reportNames) choose(result *Reports) []candidate {
	if l.unlisted {
		result.Unlisted = append(result.Unlisted, l.site.id)
	}
	if l.flooded != nil {
		result.flooded[l.site.id] = true
		result.Rejected = append(result.Rejected, RejectedReport{l.flooded.Prefix, l.flooded.Error()})
	} else {
		result.Rejected = append(result.Rejected, l.strays...)
	}
	if more := l.stray - len(l.strays); more > 0 && l.flooded == nil {
		result.Rejected = append(result.Rejected, RejectedReport{manifest.ReportsPrefix(l.site.id),
			fmt.Sprintf("%d more objects there are no reports on a release", more)})
	}
	var found []candidate
	for release, names := range l.chains {
		c := chain{l.site.id, release}
		found = append(found, names.seen.list...)
		if l.flooded != nil {
			continue
		}
		names.fresh.trim()
		found = append(found, names.fresh.list...)
		if older := names.seen.older + names.fresh.older; older > 0 {
			result.cut[c] = true
			result.Rejected = append(result.Rejected, RejectedReport{manifest.ReportPrefix(c.site, c.release),
				fmt.Sprintf("only the %d newest reports there are read: %d older ones neither count nor show what is missing among them", maxChain, older)})
		}
	}
	return found
}
