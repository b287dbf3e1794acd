package fetcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// DamagedResult says that a result which waits on disk cannot be sent (exit 1): its files were altered, or are lost.
type DamagedResult struct {
	Dir     string           // the entry of the spool
	Release manifest.Release // zero where nothing tells
	Record  string           // the file that remembers it as reported; "" = there is none
	// Followed is true where a report that was signed later names this one, which cannot be signed again then.
	Followed bool
	Err      error
}

func (e *DamagedResult) Error() string {
	of := ""
	if e.Release.Product != "" {
		of = " of " + e.Release.String()
	}
	return fmt.Sprintf("a result%s waits on disk and cannot be sent: %s is damaged: %v", of, e.Dir, e.Err)
}

// Unwrap gives what is wrong with it.
func (e *DamagedResult) Unwrap() error { return e.Err }

// Hint names both ways out.
func (e *DamagedResult) Hint() string {
	if e.Followed {
		return fmt.Sprintf("put %s back from a backup, or give the result up: rm -r %[1]s; the site's reports on %s have a gap then, and another version has to be tested", e.Dir, e.Release)
	}
	remove, release := e.Dir, "P@V"
	if e.Record != "" {
		remove += " " + e.Record
	}
	if e.Release.Product != "" {
		release = e.Release.String()
	}
	return fmt.Sprintf("put it back from a backup, or give it up: rm -r %s; then kitchen run %s --again tests again, or kitchen deployed %[2]s --result … records a deployment", remove, release)
}

// damagedResult describes an entry whose files do not tell what it is.
func (d siteDir) damagedResult(dir string, cause error) *DamagedResult {
	damaged := &DamagedResult{Dir: dir, Err: cause}
	if r, known := releaseOf(filepath.Base(dir)); known {
		damaged.Release = r
		if rec, err := d.report(r); err == nil && rec != nil {
			damaged.Record = d.reportPath(r)
		}
	}
	return damaged
}

// keys are the site's own, as they are registered: also those with which it signed before.
func (t *turn) keys() []*keys.Public {
	var own []*keys.Public
	for _, k := range t.site.Keys {
		if public, err := keys.ParsePublic([]byte(k.Public)); err == nil {
			own = append(own, public)
		}
	}
	return own
}

// signAgain prepares an entry whose signed report is damaged to be signed once more, and tells whether it is still to be
// sent. What reached the store before it was damaged is not sent a second time, and what a later report follows would
// break the chain if it got another signature. An entry without damage is left as it is.
func (t *turn) signAgain(ctx context.Context, e *spooled) (wanted bool, err error) {
	if e.broken == nil {
		return true, nil
	}
	r, sequence := e.report.Release, e.report.Sequence
	damaged := &DamagedResult{Dir: e.dir, Release: r, Err: fmt.Errorf("%s: %v", spoolReport, e.broken)} // %v: nobody else's signature is in doubt
	reports, err := t.v.Reports(ctx, catalog.ReportFilter{Release: &r, Site: &t.id})
	if err != nil && (!cannotList(err) || errors.Is(err, catalog.ErrOffline)) {
		damaged.Err = errors.Join(damaged.Err, fmt.Errorf("whether the store has it is not known: %w", err))
		return false, damaged
	}
	if err == nil {
		if sent := reports.Find(t.id, r, sequence); sent != nil && sent.Finished.Equal(e.report.Finished) && sent.Verdict() == e.report.Verdict() {
			t.f.sink().Note(fmt.Sprintf("the report on %s in %s is damaged; the store has it already", r, e.dir))
			return false, e.remove()
		}
		latest := reports.Latest(t.id, r)
		damaged.Followed = latest != nil && latest.Sequence >= sequence
	}
	rec, err := t.dir.report(r)
	if err != nil {
		return false, err
	}
	if damaged.Followed = damaged.Followed || rec != nil && rec.Sequence > sequence; damaged.Followed {
		return false, damaged
	}
	t.f.sink().Note(fmt.Sprintf("the signed report on %s in %s is damaged (%v): its result is signed again", r, e.dir, e.broken))
	err = os.RemoveAll(filepath.Join(e.dir, spoolReport)) // it may be a directory
	return err == nil, err
}
