package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// maxUnseen is how many objects of one site that the journal has not seen are read for one segment. What does not
// verify is looked at again by the next commit, so that they are chosen at random: garbage under a prefix delays the
// reports of that site, hides none of them for long, and costs the others nothing.
const maxUnseen = 200

// Unseen are the reports that the journal does not hold and that count by the rules of Reports, in the order of their
// paths: what a commit made on this view records. They are at most manifest.MaxJournalReports, and of each site
// maxUnseen; more are there when asked again. Sites that are retired, of a suspended customer, Flooded or that may
// not be listed have none. The error is that of the journal, or the store's where it does not answer or cannot list.
func (v *View) Unseen(ctx context.Context) ([]manifest.JournalReport, error) {
	if v.offline {
		return nil, &NotCached{What: "the reports"}
	}
	journal, err := v.journalToGoOn(ctx)
	if err != nil {
		return nil, err
	}
	sites, err := v.reportingSites(ctx, ReportFilter{})
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(s *registeredSite) bool { return s.retired || s.customer.Suspended })
	lists, err := v.listSites(ctx, sites, journal, ReportFilter{Known: true, sample: true})
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, list := range lists {
		if list.flooded == nil {
			found = append(found, list.sampled...)
		}
	}
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	found = found[:min(len(found), manifest.MaxJournalReports)]
	result := &Reports{lost: map[chain]Lost{}}
	if err := v.readReports(ctx, found, result); err != nil {
		return nil, err
	}
	var unseen []manifest.JournalReport
	for _, r := range result.All {
		unseen = append(unseen, manifest.JournalReport{Path: r.Key, SHA256: r.SHA256, Size: r.Size})
	}
	slices.SortFunc(unseen, func(a, b manifest.JournalReport) int { return strings.Compare(a.Path, b.Path) })
	return unseen, nil
}

// sample keeps any maxUnseen of the names that it is given, each as likely as the others.
func (l *reportNames) sample(c candidate) {
	l.samples++
	if len(l.sampled) < maxUnseen {
		l.sampled = append(l.sampled, c)
	} else if i := rand.IntN(l.samples); i < maxUnseen {
		l.sampled[i] = c
	}
}

// cannotList tells that a store cannot be listed, or may not be.
func cannotList(err error) bool {
	return errors.Is(err, storage.ErrUnsupported) || errors.Is(err, storage.ErrForbidden)
}
