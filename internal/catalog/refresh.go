package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// maxRoots bounds one walk of the root chain (TUF 1.0 §5.3.3).
const maxRoots = 1024

// Refresh brings the state directory up to date with the store and gives the new view: the client workflow of
// TUF 1.0 §5.3 to §5.6. When nothing changed it makes two requests: for the next root, which is not there, and a
// conditional one for the timestamp. It waits for other processes on the same state directory.
//
// Errors are *trust.Error (refused), *storage.Error (out of reach), those of the disk, or the context's. What
// was verified before an error is kept. Errors of single delegated roles do not end a refresh: see View.Role.
func (c *Catalog) Refresh(ctx context.Context) (*View, error) { return c.refresh(ctx, nil, false) }

// RefreshStale is Refresh with a dangerous choice, see trust.AllowStale: an expired timestamp and snapshot serve.
// It is for the committer, who has to sign them again, and for audits; nobody may decide anything else on such a view.
func (c *Catalog) RefreshStale(ctx context.Context, allow trust.AllowStale) (*View, error) {
	return c.refresh(ctx, &allow, false)
}

// RefreshToRenew is Refresh with a dangerous choice, see trust.Session.ServeExpired: an expired root and targets role
// serve, and so, as RefreshStale says, do an expired timestamp and snapshot where allow is given. It is for those who
// sign these again, and for the committer: nobody may decide anything else on a view of which something has Lapsed.
func (c *Catalog) RefreshToRenew(ctx context.Context, allow *trust.AllowStale) (*View, error) {
	return c.refresh(ctx, allow, true)
}

func (c *Catalog) refresh(ctx context.Context, allow *trust.AllowStale, renews bool) (*View, error) {
	if c.store == nil {
		return nil, &NotCached{What: "the newest timestamp"}
	}
	unlock, err := c.state.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c.state.sweep()
	w := &walk{c: c, source: storeSource{c.store}, writes: true, stale: allow, renews: renews, copies: c.state.readMemories()}
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	view := w.view()
	c.tell(view)
	return view, nil
}

// RefreshOutgoing is for the committer alone, between a root that replaces the online key and the first timestamp that
// the new key signs, when Refresh refuses: the view under the root before, as the old key signed it last, with the
// newest root's file. A host that saw the new key's timestamp once refuses (Rollback). See RefreshStale for allow.
func (c *Catalog) RefreshOutgoing(ctx context.Context, allow trust.AllowStale) (v *View, newest []byte, err error) {
	if c.store == nil {
		return nil, nil, &NotCached{What: "the newest root"}
	}
	unlock, err := c.state.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	roots := &walk{c: c, source: storeSource{c.store}, writes: true, host: c.now(), copies: c.state.readMemories()}
	if err := roots.walkRoots(ctx); err != nil {
		return nil, nil, err
	}
	w := &walk{c: c, source: storeSource{c.store}, writes: true, stale: &allow, copies: roots.copies, until: roots.session.Root().Version - 1}
	if err := w.run(ctx); err != nil {
		return nil, nil, err
	}
	return w.view(), roots.session.Raw(trust.RoleRoot), nil
}

// tell warns of what a view found wrong with this host.
func (c *Catalog) tell(v *View) {
	if c.warn == nil {
		return
	}
	if v.MemoryLost() {
		c.warn("what this host had seen before is lost (both copies in " + c.state.dir + "): until this refresh an older view of the catalog, without the latest recalls, would have been taken; find out why")
	}
	if v.ClockBehind() {
		c.clock.Do(func() { // a command may refresh more than once
			c.warn(fmt.Sprintf("this host's clock says %s, and the catalog was signed at %s: the later one counts. Compare with another clock: if this host's is behind, set it; if it is right, the committer's was ahead (kitchen doctor says what comes next)",
				v.HostTime().UTC().Format(time.RFC3339), v.Now().UTC().Format(time.RFC3339)))
		})
	}
}

// Offline gives the view that the state directory holds, verified again by the same code, without any request
// and without writing. Everything must be unexpired; allow excuses an expired timestamp and snapshot, see
// trust.AllowStale. *NotRefreshed when the state directory holds no whole view.
func (c *Catalog) Offline(allow *trust.AllowStale) (*View, error) {
	ctx := context.Background() // nothing here waits, but for the lock, which has a limit of its own
	defer c.state.lockShared(ctx)()
	w := &walk{c: c, source: stateSource{c.state}, stale: allow, copies: c.state.readMemories()}
	if len(w.copies) == 0 {
		return nil, w.forgetful()
	}
	if err := w.run(ctx); err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			return nil, &NotRefreshed{Dir: c.state.dir, Reason: err.Error()}
		}
		return nil, err
	}
	return w.view(), nil
}

// walk is one run of the client workflow.
type walk struct {
	c      *Catalog
	source source
	writes bool              // persist what was verified
	stale  *trust.AllowStale // nil is strict
	until  int64             // the last root to walk to, 0 = the newest
	renews bool              // an expired root or targets role serves
	copies []*memory         // the intact copies of the memory, whoever's they are
	memory *memory           // this catalog's, from the end of the root chain on; replaced by a changed copy at the end
	lost   bool              // the memory is made anew: what this host knew before is gone

	session *trust.Session
	chain   [][]byte // the roots, from the first pinned one
	rotated bool     // other online keys than those that the remembered timestamp and snapshot were seen under
	host    time.Time
	etag    string // of the timestamp in effect, "" when unknown
	roles   map[string]roleState
}

func (w *walk) run(ctx context.Context) error {
	w.host = w.c.now()
	for _, step := range []func(context.Context) error{w.walkRoots, w.updateTimestamp, w.keepPin, w.updateSnapshot, w.updateTargets, w.updateRoles} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return w.timed(err)
		}
	}
	return nil
}

// timed says of an expiry whose time it is, when it is not this host's.
func (w *walk) timed(err error) error {
	expired, ok := err.(*trust.Error)
	if !ok || expired.Kind != trust.Expired || w.session == nil || w.session.Now().Sub(w.host) <= clockSlack {
		return err
	}
	told := *expired
	told.Err = errors.Join(expired.Err, fmt.Errorf("that is when the newest timestamp seen was issued; this host's clock says %s: one of the two clocks is wrong",
		w.host.UTC().Format(time.RFC3339)))
	return &told
}

// walkRoots is §5.3: from the pinned root to the newest one.
func (w *walk) walkRoots(ctx context.Context) error {
	if err := w.firstRoot(ctx); err != nil {
		return err
	}
	for range maxRoots {
		more, err := w.nextRoot(ctx)
		if err != nil {
			return err
		}
		if !more {
			return w.finishRoots()
		}
	}
	return &trust.Error{Kind: trust.Malformed, Role: trust.RoleRoot, Err: fmt.Errorf("more than %d new roots", maxRoots)}
}

// firstRoot begins the session with the pinned root (§5.2): the configured bytes, the state directory's copy or
// the store's, whichever has the pinned digest.
func (w *walk) firstRoot(ctx context.Context) error {
	first := w.c.pins.first()
	data, ok := w.c.root, w.c.root != nil && sha256Hex(w.c.root) == first.SHA256
	if !ok {
		data, ok = w.c.state.readKind(rootFile(first.Version), manifest.RootObject(first.Version))
		ok = ok && sha256Hex(data) == first.SHA256
	}
	if !ok && !w.writes {
		return fmt.Errorf("the pinned root is missing or damaged: %w", storage.ErrNotFound)
	}
	if !ok {
		var err error
		if data, err = w.source.root(ctx, first.Version); errors.Is(err, storage.ErrNotFound) {
			return w.noCatalog(ctx, err)
		} else if err != nil {
			return fmt.Errorf("the pinned root: %w", err)
		}
		if err := w.c.pins.check(first.Version, data, "the catalog"); err != nil {
			return err
		}
	}
	w.chain = [][]byte{data}
	if err := w.restart(w.host); err != nil {
		return err
	}
	if v := w.session.Root().Version; v != first.Version {
		return &trust.Error{Kind: trust.Mismatch, Role: trust.RoleRoot, Have: fmt.Sprintf("version %d", v), Want: fmt.Sprintf("version %d", first.Version)}
	}
	return nil
}

// keepPin remembers the pinned root, once a timestamp has shown that it is this catalog's: a wrong pin leaves
// nothing behind.
func (w *walk) keepPin(context.Context) error {
	if !w.writes {
		return nil
	}
	first := w.c.pins.first()
	file := rootFile(first.Version)
	if old, ok := w.c.state.readKind(file, manifest.RootObject(first.Version)); !ok || sha256Hex(old) != first.SHA256 {
		if err := w.save(file, w.chain[0]); err != nil {
			return err
		}
	}
	return w.c.state.writePin(first)
}

// restart begins the session anew at another time, with the roots walked so far.
func (w *walk) restart(now time.Time) (err error) {
	if w.stale != nil {
		w.session, err = trust.StartStale(w.chain[0], now, *w.stale)
	} else {
		w.session, err = trust.Start(w.chain[0], now)
	}
	if err == nil && w.renews {
		w.session.ServeExpired()
	}
	for _, root := range w.chain[1:] {
		if err == nil {
			err = w.session.UpdateRoot(root)
		}
	}
	return err
}

// nextRoot is §5.3.3 to §5.3.9 for one version; false at the end of the chain. Here alone "forbidden" means the
// same as "not found": a store that does not let its readers list answers so for absent objects.
func (w *walk) nextRoot(ctx context.Context) (bool, error) {
	version := w.session.Root().Version + 1
	if w.until > 0 && version > w.until {
		return false, nil
	}
	file := rootFile(version)
	if data, ok := w.c.state.readKind(file, manifest.RootObject(version)); ok && w.session.UpdateRoot(data) == nil {
		w.chain = append(w.chain, data)
		return true, w.c.pins.check(version, data, "the state directory")
	}
	data, err := w.source.root(ctx, version)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return false, nil
	}
	if err == nil {
		err = w.session.UpdateRoot(data)
	} else if !errors.Is(err, storage.ErrTooLarge) {
		return false, err
	}
	if err != nil {
		return false, &NotNextRoot{version, err}
	}
	if err := w.c.pins.check(version, data, "the catalog"); err != nil {
		return false, err
	}
	w.chain = append(w.chain, data)
	return true, w.save(file, data)
}

// finishRoots holds the chain's end to the pins, to what was seen before and to the time (§5.3.10), and forgets
// what was seen under online keys that are replaced (§5.3.11).
func (w *walk) finishRoots() error {
	last := w.session.Root().Version
	if err := w.c.pins.reached(last); err != nil {
		return err
	}
	if err := w.recollect(last); err != nil {
		return err
	}
	if w.memory.Root > 0 && w.session.OnlineKeysChanged(w.memory.Root) {
		w.rotated, w.memory = true, w.memory.clone()
		w.memory.forgetOnline()
		if w.writes { // what the old key signed is no measure of what the new one does
			w.c.state.remove(journalStateDir)
		}
	}
	if w.memory.Issued.After(w.host) {
		if err := w.restart(w.memory.Issued); err != nil {
			return err
		}
	}
	if err := w.session.FinishRoots(); err != nil {
		return err
	}
	return w.session.Remember(w.memory.Floor)
}

// updateTimestamp is §5.4. The remembered one is given to the session first, as the floor for the fetched one.
func (w *walk) updateTimestamp(ctx context.Context) error {
	known, etag := w.rememberedTimestamp()
	data, newETag, err := w.source.timestamp(ctx, etag)
	switch {
	case errors.Is(err, storage.ErrNotModified) && known != nil:
		data, newETag = known, etag
	case errors.Is(err, storage.ErrNotFound) && w.writes:
		return w.noCatalog(ctx, err)
	case err != nil:
		return err
	}
	if err := w.session.UpdateTimestamp(data); err != nil {
		return err
	}
	if err := w.beginMemory(); err != nil {
		return err
	}
	w.etag = newETag
	if string(data) != string(known) {
		if err := w.save(timestampFile, data); err != nil {
			return err
		}
	}
	if newETag == etag {
		return nil
	}
	return w.saveETag(newETag, data)
}

// rememberedTimestamp gives the state directory's timestamp, if the session accepts it as what was seen last,
// and its entity tag. One that has merely expired serves.
func (w *walk) rememberedTimestamp() (data []byte, etag string) {
	data, ok := w.c.state.readKind(timestampFile, manifest.TimestampObject)
	if !ok || w.rotated {
		return nil, ""
	}
	var refused *trust.Error
	if err := w.session.UpdateTimestamp(data); errors.As(err, &refused) && refused.Kind != trust.Expired {
		return nil, ""
	}
	return data, w.readETag(data)
}

// etagRecord ties an entity tag to the bytes and the store it was given for.
type etagRecord struct{ Store, SHA256, ETag string }

func (w *walk) readETag(timestamp []byte) string {
	if w.c.store == nil {
		return ""
	}
	data, ok := w.c.state.read(etagFile, maxSmall)
	if !ok {
		return ""
	}
	var r etagRecord
	body, err := openChecked(data)
	if err != nil || json.Unmarshal(body, &r) != nil || r.Store != w.c.store.URL() || r.SHA256 != sha256Hex(timestamp) {
		return ""
	}
	return r.ETag
}

func (w *walk) saveETag(etag string, timestamp []byte) error {
	if !w.writes {
		return nil
	}
	body, err := json.Marshal(etagRecord{Store: w.c.store.URL(), SHA256: sha256Hex(timestamp), ETag: etag})
	if err != nil {
		return err
	}
	data, err := sealChecked(body)
	if err != nil {
		return err
	}
	return w.save(etagFile, data)
}

// updateSnapshot is §5.5.
func (w *walk) updateSnapshot(ctx context.Context) error {
	meta := w.session.Timestamp().Snapshot
	if known, ok := w.c.state.readKind(snapshotFile, manifest.SnapshotObject(meta.Version)); ok && !w.rotated {
		err := w.session.UpdateSnapshot(known, true)
		var refused *trust.Error
		if err == nil || errors.As(err, &refused) && refused.Kind == trust.Expired {
			return err
		}
	}
	data, err := w.source.snapshot(ctx, meta)
	if err != nil {
		return w.announced(trust.RoleSnapshot, meta, err)
	}
	if err := w.session.UpdateSnapshot(data, false); err != nil {
		return err
	}
	return w.save(snapshotFile, data)
}

// announced says what it means that a file which a verified one names is not there.
func (w *walk) announced(role string, m trust.Meta, err error) error {
	if w.writes && errors.Is(err, storage.ErrNotFound) {
		return &trust.Error{Kind: trust.Missing, Role: role, Want: fmt.Sprintf("version %d, which is announced", m.Version), Err: err}
	}
	if errors.Is(err, storage.ErrTooLarge) {
		return tooLarge(role, m.Length, err)
	}
	return fmt.Errorf("role %s: %w", role, err)
}

// save persists a file that was verified just now.
func (w *walk) save(file string, data []byte) error {
	if !w.writes {
		return nil
	}
	return w.c.state.write(file, data)
}
