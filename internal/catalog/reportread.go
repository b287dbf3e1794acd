package catalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// readReports reads and verifies the candidates into the result.
func (v *View) readReports(ctx context.Context, found []candidate, result *Reports) error {
	var mu sync.Mutex // guards result and last
	last := map[chain]int{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for _, c := range found {
		group.Go(func() error {
			report, lost, reason, err := v.readReport(ctx, c)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if lost != "" {
				result.lost[c.chain] = max(lost, result.lost[c.chain]) // any of several, always the same
			}
			if reason != nil {
				result.Rejected = append(result.Rejected, RejectedReport{c.key, reason.Error()})
			}
			if report != nil {
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

// readReport gives the report, or the reason why the object does not count, or both for one that is Lost and of
// which this host has a copy. The error means that nothing can be said because the store did not answer.
func (v *View) readReport(ctx context.Context, c candidate) (report *VerifiedReport, lost Lost, reason, err error) {
	b, err := v.reportBytes(ctx, c)
	if err != nil || b.bundle == nil {
		return nil, b.lost, b.reason, err
	}
	report, rejected := c.site.verify(c, b.bundle, v.Now())
	if rejected == nil {
		rejected = v.checkSubject(report)
	}
	if rejected != nil {
		return nil, b.lost, cmp.Or(b.reason, rejected), nil
	}
	report.Lost = b.lost
	if b.fresh && !v.catalog.fresh {
		v.catalog.state.keepReport(c, b.bundle)
	}
	return report, b.lost, b.reason, nil
}

// reportObject is a report's bundle as it was got.
type reportObject struct {
	bundle []byte
	fresh  bool // it comes from the store
	lost   Lost
	reason error
}

// reportBytes gives a report's bundle: this host's copy as long as the store shows the same object, else the
// store's. What the journal saw has the digest that it saw, whatever the store has now; that is Lost then.
func (v *View) reportBytes(ctx context.Context, c candidate) (reportObject, error) {
	copied, state := v.catalog.state.report(c)
	if copied != nil && (state == c.state || c.state == "" && !c.listed) {
		return reportObject{bundle: copied}, nil
	}
	limit := manifest.MaxObjectSize
	if c.journal != nil {
		limit = c.journal.size
	}
	bundle, err := readListed(ctx, v.catalog.store, c.key, limit)
	var lost Lost
	switch {
	case errors.Is(err, storage.ErrNotFound):
		lost = Vanished
	case errors.Is(err, storage.ErrForbidden):
		lost = Withheld
	case errors.Is(err, storage.ErrTooLarge):
		lost = Altered
	case err != nil:
		return reportObject{}, err
	case c.journal != nil && sha256Hex(bundle) != c.journal.sha256:
		lost = Altered
	}
	switch {
	case lost == "":
		return reportObject{bundle: bundle, fresh: true}, nil
	case c.journal == nil:
		return reportObject{reason: err}, nil
	case lost == Withheld && !c.listed: // for want of a right: Reports.Unlisted tells it of the whole site
		return reportObject{bundle: copied, lost: lost}, nil
	}
	return reportObject{bundle: copied, lost: lost, reason: fmt.Errorf("%s since the journal saw it on %s, with sha256 %s: it is no pass",
		lost, stampOf(c.journal.seen), c.journal.sha256)}, nil
}

// verify checks signature, name and key validity of one bundle. What the journal has not seen is judged as of now.
func (s *registeredSite) verify(c candidate, bundle []byte, now time.Time) (*VerifiedReport, error) {
	statement, signers, err := s.open(bundle)
	if err != nil {
		return nil, err
	}
	parsed, err := manifest.ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	parsed.Reason = manifest.WithoutBackquotes(parsed.Reason) // it is put into sentences of Kitchen's
	report := &VerifiedReport{Report: *parsed, Key: c.key, SHA256: sha256Hex(bundle), Size: int64(len(bundle)), Signer: signers[0].id}
	if report.Site != s.id {
		return nil, fmt.Errorf("it is a report of site %s, and lies under the prefix of %s", report.Site, s.id)
	}
	if name := manifest.ReportObject(report.Site, report.Release, report.Finished, report.SHA256); name != c.key {
		return nil, fmt.Errorf("its content belongs under the name %s: it was moved, re-dated or altered", name)
	}
	seen, words := now, "is not valid now, and the journal has not seen it before"
	if c.journal != nil {
		report.Seen = c.journal.seen
		seen, words = report.Seen, "was not valid on "+stampOf(report.Seen)+", when the journal saw it first"
	}
	if !slices.ContainsFunc(signers, func(k siteKey) bool { return k.ValidAt(seen) }) {
		for _, k := range signers {
			if c.journal != nil && k.suspect(seen) {
				words = fmt.Sprintf("counts as compromised since %s, and the journal saw it on %s first", stampOf(k.CompromisedSince), stampOf(seen))
			}
		}
		return nil, fmt.Errorf("the site's key that signed it (%.8s) %s", signers[0].id, words)
	}
	switch {
	case c.journal == nil && s.retired:
		return nil, fmt.Errorf("site %s is retired, and the journal has not seen it before", s.id)
	case c.journal == nil && !s.customer.Subscribes(report.Release.Product):
		return nil, fmt.Errorf("%s does not follow %s", s.customer.Customer, report.Release.Product)
	}
	return report, nil
}

// suspect tells whether a key counted as somebody else's, and would have been valid but for that.
func (k siteKey) suspect(at time.Time) bool {
	but := k.SiteKey
	but.CompromisedSince = time.Time{}
	return !k.ValidAt(at) && but.ValidAt(at)
}

// open finds the key of the site that signed a bundle; there may be several entries of it, of different periods.
func (s *registeredSite) open(bundle []byte) (statement []byte, signers []siteKey, err error) {
	err = fmt.Errorf("site %s has no key", s.id)
	for _, k := range slices.Backward(s.keys) {
		if len(signers) > 0 {
			if k.id == signers[0].id {
				signers = append(signers, k)
			}
			continue
		}
		opened, failed := keys.VerifyStatement(bundle, k.public)
		if failed == nil {
			statement, signers = opened, []siteKey{k}
		} else {
			err = fmt.Errorf("no key of site %s signed it: %w", s.id, failed)
		}
	}
	if len(signers) > 0 {
		return statement, signers, nil
	}
	return nil, nil, err
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

// Copies of verified reports, each in a file of its own that begins with a line on how the listing showed it. They
// save requests and prove nothing: what is read is held to the digest and verified again.
const (
	reportStateDir = "reports"
	maxReportCopy  = 1 << 20   // bytes of a report that is kept
	maxReportState = 256       // bytes of its first line
	maxReportsKept = 512 << 20 // bytes of all that are kept
)

func reportFile(key string) string { return filepath.Join(reportStateDir, sha256Hex([]byte(key))) }

// report gives this host's copy of a report, and how the listing showed it then; nil when there is none that is right.
func (s stateDir) report(c candidate) (bundle []byte, state string) {
	data, ok := s.read(reportFile(c.key), maxReportCopy+maxReportState)
	first, bundle, cut := bytes.Cut(data, []byte("\n"))
	if !ok || !cut {
		return nil, ""
	}
	sha := sha256Hex(bundle)
	if c.journal != nil && sha != c.journal.sha256 || !strings.HasSuffix(c.key, "-"+sha[:16]+".json") {
		return nil, ""
	}
	return bundle, string(first)
}

// keepReport writes a copy. Losing it costs a request, so that it is not worth waiting for the disk, nor an error.
func (s stateDir) keepReport(c candidate, bundle []byte) {
	if len(bundle) > maxReportCopy || len(c.state) >= maxReportState || strings.Contains(c.state, "\n") {
		return
	}
	path := s.path(reportFile(c.key))
	if s.makeRoom(path) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), durable.TempPrefix+"*")
	if err != nil {
		return
	}
	_, err = f.Write(append([]byte(c.state+"\n"), bundle...))
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}

// keepReports removes the copies that none of the candidates needs, and all of them where they have become too much.
func (s stateDir) keepReports(found []candidate) {
	needed := make(map[string]bool, len(found))
	for _, c := range found {
		needed[filepath.Base(reportFile(c.key))] = true
	}
	var total int64
	for _, name := range s.names(reportStateDir) {
		path := filepath.Join(s.path(reportStateDir), name)
		if !needed[name] && !strings.HasPrefix(name, durable.TempPrefix) {
			os.Remove(path)
		} else if info, err := os.Lstat(path); err == nil {
			total += info.Size()
		}
	}
	if total > maxReportsKept {
		s.remove(reportStateDir)
	}
}
