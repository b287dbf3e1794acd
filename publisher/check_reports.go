package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// reports reads the journal and every report.
func (c *checker) reports(ctx context.Context) error {
	journal, err := c.view.AuditJournal(ctx)
	var refused *trust.Error
	switch {
	case errors.As(err, &refused):
		c.journalRefused(refused)
		journal = &catalog.Journal{}
		c.unchecked("whether all reports that the journal saw are there: the journal cannot be read")
	case err != nil:
		c.unchecked("whether all reports that the journal saw are there: the journal may not be read")
		journal = &catalog.Journal{}
		if err := c.unreadable(manifest.RoleJournal+"/", err); err != nil {
			return err
		}
	}
	c.result.Checked.Segments = len(journal.Segments())
	c.unjournaled = err != nil
	if err == nil {
		if err := c.segments(ctx, journal); err != nil {
			return err
		}
	}
	return c.everyReport(ctx, journal)
}

// journalRefused is the finding for a journal that cannot be read. That of its role is found with all other roles'.
func (c *checker) journalRefused(e *trust.Error) {
	if slices.ContainsFunc(c.view.Broken(), func(b catalog.RoleError) bool { return b.Role == manifest.RoleJournal }) {
		return
	}
	code := CodeJournal
	if e.Kind == trust.Missing {
		code = CodeJournalMissing
	}
	c.find(Finding{Severity: Fault, Code: code, Object: e.Role, Why: e.Error(), Next: mend(e, c.newest(e.Role))})
}

// segments looks for objects that are no part of the chain.
func (c *checker) segments(ctx context.Context, journal *catalog.Journal) error {
	inChain := map[string]bool{}
	for _, n := range journal.Segments() {
		inChain[manifest.JournalObject(n)] = true
	}
	return c.orphans(ctx, "journal/", func(o storage.Info) bool { return inChain[o.Key] },
		CodeOrphanJournal, "segments that never took effect, left by commits that did not finish", "nothing: they are skipped")
}

func (c *checker) everyReport(ctx context.Context, journal *catalog.Journal) (err error) {
	task := c.sink().Start("reports", -1)
	defer func() { task.Done(err) }()
	stored := &storedLogs{}
	err = c.view.AuditReports(ctx, journal, c.req.Product, catalog.ReportAudit{
		Report: func(r catalog.VerifiedReport) {
			task.Add(r.Size)
			c.report(r)
		},
		Rejected: c.rejected,
		Lost:     c.lost,
		Gap: func(site manifest.SiteID, r manifest.Release) {
			c.find(Finding{Severity: Warning, Code: CodeReportGap, Object: manifest.ReportPrefix(site, r), Why: "a report is missing, doubled, or not linked to the one before: nobody certifies on these",
				Next: "ask the site; a report that waits in its spool comes with its next run"})
		},
		Flooded: func(f *catalog.Flooded) {
			c.find(Finding{Severity: Warning, Code: CodeReportsFlooded, Object: f.Prefix, Why: f.Error(), Next: f.Hint()})
		},
		Stranger: func(site manifest.SiteID, o storage.Info) {
			c.result.Checked.Objects++
			c.gather(Warning, CodeReportSite, "reports/", "reports of sites that nobody registered", "look who may write there", o)
		},
		Other: func(o storage.Info) {
			c.result.Checked.Objects++
			stored.add(c, o)
		},
	})
	var refused *trust.Error
	switch {
	case errors.As(err, &refused): // the registry, which has findings of its own
		c.unchecked("reports: the registry cannot be relied on")
		return nil
	case denied(err):
		c.unchecked("reports that the journal has not seen: the store cannot be listed, or may not be")
		return nil
	case err != nil:
		return c.unreadable("reports/", err)
	}
	for _, product := range slices.Sorted(maps.Keys(c.doubtful)) {
		c.unchecked("reports on " + product + ": its role cannot be relied on")
	}
	return c.compareLogs(stored)
}

func (c *checker) report(r catalog.VerifiedReport) {
	c.result.Checked.Reports++
	if r.Seen.IsZero() && !c.unjournaled {
		c.gather(Note, CodeReportUnseen, "reports/", "reports that the journal has not seen yet", "kitchen commit records them",
			storage.Info{Key: r.Key, Size: r.Size})
	}
	for _, log := range logsOf(r) {
		c.logs = append(c.logs, logRef{r.Site, hashOf(log.SHA256), log.Size, r.Release, false})
	}
}

// logsOf are the log and the attachments of a report.
func logsOf(r catalog.VerifiedReport) (logs []manifest.LogRef) {
	if r.Log != nil {
		logs = append(logs, *r.Log)
	}
	for _, a := range r.Attachments {
		logs = append(logs, a.LogRef)
	}
	return logs
}

func (c *checker) rejected(key string, seen bool, why error) {
	_, release, _, _, _ := manifest.ParseReportObject(key)
	if _, err := c.view.Role(manifest.RoleProduct(release.Product)); err != nil {
		c.doubtful[release.Product] = true // a finding already; what was reported on cannot be compared
		return
	}
	f := Finding{Severity: Warning, Code: CodeReportRejected, Object: key, Why: "it does not count: " + why.Error()}
	var signature *keys.BadSignature
	if errors.As(why, &signature) || strings.Contains(why.Error(), "has no key") {
		f.Code, f.Next = CodeReportSigner, "look who can write there (kitchen customer policy); readers pass it over"
	}
	if seen { // it counted when the journal saw it
		f.Severity = Fault
	}
	if errors.Is(why, storage.ErrForbidden) {
		f.Code, f.Next = CodeUnreadable, readHint
	}
	c.find(f)
}

func (c *checker) lost(key string, lost catalog.Lost) {
	f := Finding{Severity: Fault, Code: CodeReportAltered, Object: key, Why: "the journal saw it with other bytes", Next: "ask the site: its own copy may be right; what it said is no pass"}
	switch lost {
	case catalog.Vanished:
		f.Code, f.Why = CodeReportMissing, "the journal saw it, and it is not there any more"
	case catalog.Withheld:
		f.Severity, f.Code, f.Why, f.Next = Warning, CodeUnreadable, "the journal saw it, and it may not be read", readHint
	}
	c.find(f)
}

// logRef is a log or an attachment that a report names.
type logRef struct {
	site    manifest.SiteID
	sha     blobHash
	size    int64
	release manifest.Release
	absent  bool
}

func (l *logRef) key() string { return manifest.LogObject(l.site, l.sha.String()) }

func (l *logRef) compare(other logRef) int {
	return cmp.Or(strings.Compare(l.site.Customer, other.site.Customer), strings.Compare(l.site.Site, other.site.Site), bytes.Compare(l.sha[:], other.sha[:]))
}

// storedLogs are those that the store lists.
type storedLogs struct{ list []logRef }

func (s *storedLogs) add(c *checker, o storage.Info) {
	kind, err := manifest.KindOf(o.Key)
	part := strings.Split(o.Key, "/")
	if err != nil || kind.Name != "log" {
		c.foreign(o)
		return
	}
	site := manifest.SiteID{Customer: part[1], Site: part[2]}
	s.list = append(s.list, logRef{site: site, sha: hashOf(strings.TrimSuffix(part[4], ".zst")), size: o.Size})
}

// compareLogs holds the stored logs to what the reports say of them.
func (c *checker) compareLogs(stored *storedLogs) error {
	c.sortLogs()
	slices.SortFunc(stored.list, func(a, b logRef) int { return a.compare(b) })
	next := 0
	missing := func(until func(*logRef) bool) {
		for ; next < len(c.logs) && until(&c.logs[next]); next++ {
			c.missingLog(&c.logs[next])
		}
	}
	for _, o := range stored.list {
		missing(func(l *logRef) bool { return l.compare(o) < 0 })
		if next == len(c.logs) || c.logs[next].compare(o) != 0 {
			if c.req.Product == "" {
				c.gather(Note, CodeOrphanLogs, "reports/", "logs that no report names, since their upload was not finished, or their report does not count", "nothing removes them: the site goes on with its next run",
					storage.Info{Key: o.key(), Size: o.size})
			}
			continue
		}
		for ; next < len(c.logs) && c.logs[next].compare(o) == 0; next++ {
			c.sizedLog(&c.logs[next], o.size)
		}
	}
	missing(func(*logRef) bool { return true })
	c.result.Checked.Logs = len(c.logs)
	return nil
}

func (c *checker) sortLogs() {
	slices.SortStableFunc(c.logs, func(a, b logRef) int { return a.compare(b) })
	c.logs = slices.CompactFunc(c.logs, func(a, b logRef) bool { return a.compare(b) == 0 && a.size == b.size })
}

func (l *logRef) words() string {
	return fmt.Sprintf("a report of %s on %s names it", l.site, l.release)
}

func (c *checker) missingLog(l *logRef) {
	l.absent = true
	c.find(Finding{Severity: Fault, Code: CodeLogMissing, Object: l.key(), Why: l.words(), Next: "ask the site for its copy"})
}

func (c *checker) sizedLog(l *logRef, size int64) {
	if size != l.size {
		l.absent = true
		c.find(Finding{Severity: Fault, Code: CodeLogAltered, Object: l.key(), Why: fmt.Sprintf("%s; it has %d bytes, and should have %d", l.words(), size, l.size), Next: "ask the site for its copy"})
	}
}

// logObjects hashes the logs, and where the store cannot be listed it asks for them.
func (c *checker) logObjects(ctx context.Context) (err error) {
	ask := c.result.Checked.Logs == 0 && len(c.logs) > 0
	if !ask && !c.req.ReadData {
		return nil
	}
	c.sortLogs()
	c.result.Checked.Logs = len(c.logs)
	task := c.sink().Start("logs", -1)
	defer func() { task.Done(err) }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(checkParallel)
	for i := range c.logs {
		l := &c.logs[i]
		if l.absent {
			continue
		}
		group.Go(func() error {
			if c.req.ReadData {
				return c.hashObject(ctx, stored{l.key(), l.sha, l.size, l.words(), restoreHint, CodeLogMissing, CodeLogAltered}, task)
			}
			info, err := c.Store.Stat(ctx, l.key())
			switch {
			case errors.Is(err, storage.ErrNotFound):
				c.missingLog(l)
			case err != nil:
				return c.unreadable(l.key(), err)
			default:
				c.sizedLog(l, info.Size)
			}
			return nil
		})
	}
	return group.Wait()
}
