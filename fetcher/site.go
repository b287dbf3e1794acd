package fetcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// ErrNoSite says that a command needs a site and the configuration names none.
var ErrNoSite = errors.New("no [site] in the configuration: this needs the site's id and key")

// turn is one run of one site: its registry entry, its folder, its lock.
type turn struct {
	f        *Fetcher
	v        *catalog.View
	id       manifest.SiteID
	customer *manifest.Customer
	site     *manifest.Site
	dir      siteDir
	lock     *flock.Flock // nil: a dry run, which starts, sends and records nothing
	alone    sync.Mutex   // held for all that is done beside hooks which run in parallel
	output   sync.Mutex   // held while a line of one of several hooks is shown
	waiting  []string     // object names of the reports that wait on disk, whatever the reason
	unsent   *Unsent      // those of them that the store did not take
	damaged  error        // joined: results on disk that cannot be sent
}

// look checks who the site is before anything else happens. It is a turn without effects.
func (f *Fetcher) look(ctx context.Context, v *catalog.View, kind string) (*turn, error) {
	if f.Site == nil || f.Site.Signer == nil {
		return nil, ErrNoSite
	}
	customer, site, err := f.identify(ctx, v)
	if err != nil {
		return nil, err
	}
	if kind != "" && site.Kind != kind {
		return nil, &WrongKind{Site: f.Site.ID, Kind: site.Kind, Want: kind}
	}
	return &turn{f: f, v: v, id: f.Site.ID, customer: customer, site: site, dir: f.siteDir(f.Site.ID)}, nil
}

// dry tells whether the turn must not change anything.
func (t *turn) dry() bool { return t.lock == nil }

// begin is look, takes the site's lock, and brings forward what an earlier run left behind.
func (f *Fetcher) begin(ctx context.Context, v *catalog.View, kind string) (*turn, error) {
	t, err := f.look(ctx, v, kind)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(string(t.dir), 0o700); err != nil {
		return nil, err
	}
	t.lock = durable.LockFile(t.dir.lock(), 0o600)
	got, err := t.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock of site %s: %w", t.id, err)
	}
	if !got {
		t.lock.Close()
		return nil, &Busy{t.id}
	}
	if err := t.flush(ctx); err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

// end gives the lock back and removes private folders that nobody uses any more, and that wait for no teardown.
func (t *turn) end() {
	if t.dry() {
		return
	}
	sweepStaging(t.dir.work(), workPrefix, func(dir string, lock *flock.Flock) bool {
		kept := begun(dir)
		if kept {
			lock.Close()
		}
		return kept
	})
	t.lock.Close()
}

// identify finds the site in the registry and compares the keys.
func (f *Fetcher) identify(ctx context.Context, v *catalog.View) (*manifest.Customer, *manifest.Site, error) {
	id := f.Site.ID
	customer, site, err := v.Site(ctx, id)
	var noCustomer *catalog.UnknownCustomer
	var noSite *catalog.UnknownSite
	if errors.As(err, &noCustomer) {
		return nil, nil, &UnknownSite{Site: id, Reason: "is not known: " + err.Error()}
	}
	if errors.As(err, &noSite) {
		return nil, nil, &UnknownSite{Site: id, Reason: "is not in the registry"}
	}
	if err != nil {
		return nil, nil, err
	}
	if site.Retired {
		return nil, nil, &UnknownSite{Site: id, Retired: true, Reason: "is retired; its reports do not count any more"}
	}
	mine, now := f.Site.Signer.Public(), v.Now()
	wrong := &WrongSiteKey{Site: id, Have: keyID(mine)}
	for _, k := range site.Keys {
		if !keyValid(k, now) {
			continue
		}
		public, err := keys.ParsePublic([]byte(k.Public))
		if err != nil {
			return nil, nil, fmt.Errorf("registered key of %s: %w", id, err)
		}
		if public.Hint() == mine.Hint() && public.PEM() == mine.PEM() {
			return customer, site, nil
		}
		wrong.Want = append(wrong.Want, keyID(public))
	}
	return nil, nil, wrong
}

// keyID is a key's id as key show and customer show give it.
func keyID(public *keys.Public) string {
	key, err := trust.NewKey(public)
	if err != nil {
		return "(unreadable)"
	}
	return key.ID
}

func keyValid(k manifest.SiteKey, now time.Time) bool {
	return !now.Before(k.ValidFrom) && (k.ValidTo.IsZero() || now.Before(k.ValidTo))
}

// flush signs and sends what waits in the spool. A store that does not take a report
// is no reason to stop: the report goes on waiting, and the end of the run says so.
func (t *turn) flush(ctx context.Context) error {
	entries, damaged, err := t.dir.spoolEntries(t.keys())
	if err != nil {
		return err
	}
	for _, d := range damaged {
		t.damaged = errors.Join(t.damaged, d)
	}
	for _, e := range entries {
		if wanted, err := t.signAgain(ctx, e); !wanted {
			t.damaged = errors.Join(t.damaged, err, t.settle(e, false))
			continue
		}
		if err := t.settle(e, false); err != nil {
			return err
		}
		waits, err := t.deliver(ctx, e)
		if err != nil {
			return err
		}
		switch {
		case waits != "" && t.unsent == nil: // no error tells it
			t.f.sink().Note(fmt.Sprintf("the report on %s waits on disk: %s", e.report.Release, waits))
		case waits == "":
			t.f.sink().Note(fmt.Sprintf("sent the report on %s that waited on disk (%s of %s)", e.report.Release, e.report.Verdict(), whenWords(e.report.Finished)))
		}
	}
	return nil
}

// settle brings a deployment in the spool into the site's record, once. Where the
// site does not know what is deployed, only a person's word makes it know.
func (t *turn) settle(e *spooled, byHand bool) error {
	r := e.report
	if r.Type != manifest.ReportDeployment {
		return nil
	}
	rec, err := t.dir.deploy(r.Release.Product)
	var damaged *Damaged
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	if rec == nil {
		if !byHand || r.Result == manifest.Failed {
			return nil
		}
		rec = newDeployRecord(r.Release.Product)
	}
	if a := rec.Attempts[r.Release.Version]; a != nil &&
		(a.Sequence > r.Sequence || a.Sequence == r.Sequence && a.Verdict != "") {
		return nil
	}
	rec.settle(r)
	return t.dir.keepDeploy(rec)
}

// deliver signs an entry, remembers it, and sends it. The text says why it still
// waits, "" when the store has it; errors are those of this host.
func (t *turn) deliver(ctx context.Context, e *spooled) (string, error) {
	if e.bundle == nil {
		if err := t.f.OpenKey(); err != nil {
			return "", err
		}
	}
	if err := e.sign(ctx, t.f.Site.Signer); err != nil {
		return "", err
	}
	if err := t.dir.keepReport(e.report.Release, e.record()); err != nil {
		return "", err
	}
	err := e.send(ctx, t.f.Store, t.f.sink().Note)
	if err == nil {
		return "", nil
	}
	t.waiting = append(t.waiting, e.key)
	if errors.Is(err, storage.ErrUnsupported) || errors.Is(err, ErrOffline) {
		return err.Error() + "; any later `kitchen run` with a catalog that takes reports (file:// or s3://) sends it, and nothing has to run again", nil
	}
	if t.unsent == nil {
		t.unsent = &Unsent{}
	}
	t.unsent.Keys = append(t.unsent.Keys, e.key)
	t.unsent.Err = err
	return err.Error(), nil
}

// undelivered is the error of a run whose reports wait, or cannot be sent; nil when there is none.
func (t *turn) undelivered() error {
	if t.unsent == nil {
		return t.damaged
	}
	return errors.Join(t.damaged, t.unsent)
}

// last is the newest report of this site on a release, from its own records and, when
// asked, from the store. nil when there is none; *UsedUp when none can follow it.
func (t *turn) last(ctx context.Context, r manifest.Release, ask bool) (*reportRecord, error) {
	rec, err := t.newest(ctx, r, ask)
	if err == nil && ask && rec != nil && rec.Sequence >= trust.MaxInteger {
		return nil, &UsedUp{Site: t.id, Release: r, Key: rec.Key}
	}
	return rec, err
}

func (t *turn) newest(ctx context.Context, r manifest.Release, ask bool) (*reportRecord, error) {
	rec, err := t.dir.report(r)
	if err != nil || rec != nil && !ask {
		return rec, err
	}
	stored, err := t.ownReport(ctx, r)
	if err != nil {
		return nil, err
	}
	if stored != nil && (rec == nil || stored.Sequence > rec.Sequence) {
		return stored, nil
	}
	return rec, nil
}

// ownReport asks the store for this site's latest verified report on a release. A
// store that cannot list, or may not, knows of none.
func (t *turn) ownReport(ctx context.Context, r manifest.Release) (*reportRecord, error) {
	reports, err := t.v.Reports(ctx, catalog.ReportFilter{Release: &r, Site: &t.id})
	if err != nil {
		if cannotList(err) {
			return nil, nil
		}
		return nil, err
	}
	latest := reports.Latest(t.id, r)
	if latest == nil {
		return nil, nil
	}
	return &reportRecord{Manifest: latest.ManifestSHA256, Type: latest.Type, Verdict: latest.Verdict(), Sequence: latest.Sequence,
		Report: latest.SHA256, Key: latest.Key, Finished: latest.Finished, Lacked: lacked(&latest.Report)}, nil
}

func cannotList(err error) bool {
	return errors.Is(err, storage.ErrUnsupported) || errors.Is(err, storage.ErrForbidden) || errors.Is(err, catalog.ErrOffline)
}

// workPrefix begins the names of private folders.
const workPrefix = "run-"

// workspace is a private folder for one hook. Its lock is passed on to the hook: when kitchen is killed and the hook
// lives on, the next run leaves the folder alone.
type workspace struct {
	dir  string
	held *os.File
}

func (t *turn) newWorkspace() (*workspace, error) {
	if err := durable.MkdirAll(t.dir.work(), 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.dir.work(), workPrefix+"*")
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir}
	if w.dir, err = filepath.Abs(dir); err == nil {
		w.held, err = os.Open(dir)
	}
	if err == nil {
		err = syscall.Flock(int(w.held.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		w.remove()
		return nil, err
	}
	return w, nil
}

// intact tells whether the folder is the one that was made: a hook may remove what it runs in, and put a pipe or a link to
// another folder in its place.
func (w *workspace) intact() error {
	made, err := w.held.Stat()
	if err != nil {
		return err
	}
	if here, err := os.Lstat(w.dir); err != nil || !os.SameFile(made, here) {
		return errors.New("the hook removed or replaced the folder of its run")
	}
	return nil
}

// remove takes the folder away, the hook having ended.
func (w *workspace) remove() {
	os.RemoveAll(w.dir)
	if w.held != nil {
		w.held.Close()
	}
}
