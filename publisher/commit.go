package publisher

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// Within an attempt: somebody else was first, so start again from what is there now.
var errLost = errors.New("another writer was first")

// Within an attempt: this very writer put something into effect, so start again; not a lost race.
var errAgain = errors.New("the catalog moved on")

// usedUp is errLost over a version number that an unfinished write holds.
type usedUp struct {
	role    string
	version int64
}

func (e *usedUp) Error() string {
	return fmt.Sprintf("version %d of %s is used up by an unfinished write; make the change again", e.version, e.role)
}
func (e *usedUp) Unwrap() error { return errLost }

// write carries a change through: work it out, sign it, and either put it into effect or leave it as a proposal.
func (p *Publisher) write(ctx context.Context, change change, signers []keys.Signer) (*Outcome, error) {
	return p.writeOn(ctx, change, signers, nil)
}

// writeOn is write for a change with a rule of its own of what it builds on.
func (p *Publisher) writeOn(ctx context.Context, change change, signers []keys.Signer, joins builds) (*Outcome, error) {
	return (&writer{Publisher: p, change: change, signers: signers, floor: map[string]int64{}, joins: joins}).run(ctx)
}

func (w *writer) run(ctx context.Context) (*Outcome, error) {
	var out *Outcome
	err := w.race(ctx, func() (err error) {
		out, err = w.attempt(ctx)
		var used *usedUp
		if errors.As(err, &used) {
			w.floor[used.role] = used.version
		}
		if errors.Is(err, errLost) {
			w.rivals = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out.tellBeside(w.base, w.rivals)
	for _, line := range w.also {
		if !slices.Contains(out.Summary, line) {
			out.Summary = append(out.Summary, line)
		}
	}
	return out, nil
}

// race repeats an attempt while other writers are first, with growing, random pauses.
func (p *Publisher) race(ctx context.Context, attempt func() error) error {
	for try := 1; ; try++ {
		err := attempt()
		switch {
		case errors.Is(err, errAgain):
			try--
		case !errors.Is(err, errLost):
			return err
		case try >= maxTries:
			return &LostRace{Tries: try}
		default:
			longest := min(time.Second, 10*time.Millisecond<<min(try, 10))
			if err := pause(ctx, rand.N(longest)); err != nil {
				return err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// writer is one write on its way through its attempts.
type writer struct {
	*Publisher
	change  change
	signers []keys.Signer
	floor   map[string]int64                           // role → number that is used up
	joins   builds                                     // nil = the signers' own
	agrees  func(context.Context, *desk, *draft) error // to what is to be signed; nil = yes
	instead *waiting                                   // the proposal that this write is to make stale
	also    []string                                   // what else was put into effect on the way
	base    *waiting                                   // the proposal that the last attempt built on, or nil
	rivals  []*waiting                                 // those that it did not
}

func (w *writer) attempt(ctx context.Context) (*Outcome, error) {
	view, err := w.refresh(ctx)
	if err != nil {
		return nil, err
	}
	live, err := w.live(ctx, view)
	if err != nil && !denied(err) {
		return nil, err
	}
	d := &desk{view: view, store: w.Store, now: view.Now(), live: live}
	if w.instead != nil {
		d.after, live = w.instead.created, w.instead.supersededBy(view, live)
	}
	if err := w.mine(ctx, view, live, d); err != nil {
		return nil, err
	}
	dr, err := w.change(ctx, d)
	if err != nil {
		return nil, err
	}
	if dr == nil {
		return w.nothingToDo(ctx, d, live)
	}
	dr.include(d.base)
	if w.agrees != nil {
		if err := w.agrees(ctx, d, dr); err != nil {
			return nil, err
		}
	}
	if err := w.commitRelated(ctx, view, live, dr); err != nil {
		return nil, err
	}
	beside, err := w.beside(ctx, d, dr)
	if err != nil {
		return nil, err
	}
	w.base, w.rivals = d.base, append(w.rivals, beside...)
	if d.base != nil {
		w.words(ctx, view, d.base)
	}
	return w.carry(ctx, d, dr, live)
}

// nothingToDo tells "so already" from "waits already".
func (w *writer) nothingToDo(ctx context.Context, d *desk, live []*waiting) (*Outcome, error) {
	if d.base == nil {
		return &Outcome{Status: Unchanged}, nil
	}
	plain := &desk{view: d.view, store: d.store, now: d.now}
	if dr, err := w.change(ctx, plain); err == nil && dr == nil {
		return &Outcome{Status: Unchanged}, nil
	}
	summary := w.words(ctx, d.view, d.base)
	by, err := w.heldBy(ctx, d.view, live, d.base.roles)
	if err != nil {
		return nil, err
	}
	if d.base.stale == "" && w.ready(d.view, d.base.roles) && by == nil {
		if err := w.installProposal(ctx, d.view, d.base); err != nil {
			return nil, err
		}
		return outcome(Committed, d.base.id, summary, d.base.roles), nil
	}
	return w.waits(d.view, d.base.id, summary, d.base.roles, by), nil
}

// commitRelated puts complete proposals into effect that this draft would make stale, and ends the attempt then.
func (w *writer) commitRelated(ctx context.Context, v *catalog.View, live []*waiting, dr *draft) error {
	if w.Online == nil {
		return nil
	}
	for _, proposal := range latestFirst(live) {
		related := slices.ContainsFunc(proposal.roles, func(r *roleDraft) bool { return dr.role(r.name) != nil })
		if !related || !w.ready(v, proposal.roles) {
			continue
		}
		by, err := w.heldBy(ctx, v, live, proposal.roles)
		if err != nil {
			return err
		}
		if by != nil {
			continue
		}
		err = w.installProposal(ctx, v, proposal)
		if err == nil {
			for _, line := range proposal.change {
				w.also = append(w.also, "also in effect now, from proposal "+proposal.id+": "+line)
			}
			return errAgain
		}
		// Whatever is wrong with the proposal must not stop this change, which may be a recall.
		var used *usedUp
		if storeFailure(err) || errors.Is(err, errAgain) || errors.Is(err, errLost) && !errors.As(err, &used) {
			return err
		}
	}
	return nil
}

// carry signs the draft, or the same change that waits already, and commits or leaves it.
func (w *writer) carry(ctx context.Context, d *desk, dr *draft, live []*waiting) (*Outcome, error) {
	roles, id, summary := dr.roles, "", dr.summary
	if same := w.sameChange(ctx, d, dr, live); same != nil && !d.overtakes(same) {
		roles, id, summary = same.roles, same.id, w.words(ctx, d.view, same) // what is signed, not what was asked for
	} else if err := w.finish(ctx, d, dr, w.floor); err != nil {
		return nil, err
	}
	added := map[string][]trust.Signature{}
	for _, r := range roles {
		sigs, err := r.sign(ctx, w.signers)
		if err != nil {
			return nil, err
		}
		added[r.name] = sigs
	}
	if dr.urgent && id == "" { // with its signatures, of which it is asked for one
		if err := w.vet(ctx, d.view, roles); err != nil {
			return nil, err
		}
	}
	for _, o := range dr.objects {
		if err := put(ctx, w.Store, o.key, o.data); err != nil {
			return nil, err
		}
	}
	by, err := w.heldBy(ctx, d.view, live, roles)
	if err != nil {
		return nil, err
	}
	if w.ready(d.view, roles) && by == nil {
		err := w.vetAndInstall(ctx, d.view, roles)
		if errors.Is(err, errAgain) { // the first part of it
			w.also = summary
		}
		if err != nil {
			return nil, err
		}
		return outcome(Committed, "", summary, roles), nil
	}
	if id != "" {
		for role, sigs := range added {
			if err := w.putSignatures(ctx, id, role, sigs); err != nil {
				return nil, err
			}
		}
		return w.waits(d.view, id, summary, roles, by), nil
	}
	id, err = w.putProposal(ctx, dr)
	if err != nil {
		return nil, err
	}
	return w.waits(d.view, id, summary, roles, by), nil
}

// installProposal puts a complete proposal into effect after vetting it.
func (p *Publisher) installProposal(ctx context.Context, v *catalog.View, w *waiting) error {
	p.words(ctx, v, w)
	return p.vetAndInstall(ctx, v, w.roles)
}

func (p *Publisher) vetAndInstall(ctx context.Context, v *catalog.View, roles []*roleDraft) error {
	if err := p.vet(ctx, v, roles); err != nil {
		return err
	}
	if c := p.candidate(v, roles); c.changesOnline() || c.movesJournal() {
		if err := p.onlineLacks(c); err != nil {
			return err
		}
	}
	return p.install(ctx, v, roles)
}

// install is the commit: roles, what the journal gains, snapshot, candidate verified, timestamp. It ends with errLost
// when another writer was first; nothing that readers see has changed then.
func (p *Publisher) install(ctx context.Context, v *catalog.View, roles []*roleDraft) error {
	news, err := p.journalNews(ctx, v)
	if err != nil {
		return err
	}
	return p.installWith(ctx, v, roles, news)
}

// installWith is install with what the journal gains; nil is nothing. A change of root is carried through by
// installRoot.
func (p *Publisher) installWith(ctx context.Context, v *catalog.View, roles []*roleDraft, news *journalNews) error {
	c := p.candidate(v, roles)
	for _, r := range roles {
		if r.name == trust.RoleRoot {
			return p.installRoot(ctx, c, r)
		}
	}
	return p.installRoles(ctx, c, news)
}

// installRoles commits the roles of a candidate, but for root.
func (p *Publisher) installRoles(ctx context.Context, c *candidate, news *journalNews) error {
	if err := p.stillCurrent(ctx, c.view); err != nil {
		return err
	}
	files := map[string][]byte{}
	snapshot := c.view.Snapshot().Clone()
	list := func(role string, version int64, file []byte) {
		files[role], snapshot.Roles[role] = file, trust.MetaOf(version, file)
	}
	for _, r := range c.roles {
		if r.name == trust.RoleRoot {
			continue
		}
		file, err := p.putRole(ctx, r)
		if err != nil {
			return err
		}
		list(r.name, r.next.Version, file)
	}
	if news == nil && c.movesJournal() {
		news = &journalNews{}
	}
	if news != nil {
		file, version, err := p.putJournal(ctx, c, news)
		if err != nil {
			return err
		}
		list(manifest.RoleJournal, version, file)
	}
	return p.point(ctx, c, snapshot, files)
}

// point writes the snapshot, and has the timestamp point at it.
func (p *Publisher) point(ctx context.Context, c *candidate, snapshot *trust.Snapshot, files map[string][]byte) error {
	file, err := p.putSnapshot(ctx, c, snapshot)
	if err != nil {
		return err
	}
	return p.swapTimestamp(ctx, c, trust.MetaOf(snapshot.Version, file), file, files)
}

// stillCurrent saves the objects that a beaten writer would leave behind.
func (p *Publisher) stillCurrent(ctx context.Context, v *catalog.View) error {
	info, err := p.Store.Stat(ctx, manifest.TimestampObject)
	if err != nil {
		return err
	}
	if v.TimestampETag() == "" || (info.ETag != "" && info.ETag != v.TimestampETag()) {
		return errLost
	}
	return nil
}

// putRole creates the role's file. An object that a crashed commit of the same payload left is adopted if its
// signatures suffice; any other under that number is somebody else's, and the number is used up.
func (p *Publisher) putRole(ctx context.Context, r *roleDraft) ([]byte, error) {
	file, err := r.file()
	if err != nil {
		return nil, err
	}
	err = put(ctx, p.Store, manifest.RoleObject(r.name, r.next.Version), file)
	if !errors.Is(err, storage.ErrExists) {
		return file, err
	}
	there, err := p.leftover(ctx, r)
	if err == nil && there == nil {
		err = &usedUp{role: r.name, version: r.next.Version}
	}
	return there, err
}

// leftover is the file that an unfinished write left under the role's number, if it is this very change, signed well
// enough; nil when there is none. For anything else that has the number the error is *usedUp.
func (p *Publisher) leftover(ctx context.Context, r *roleDraft) ([]byte, error) {
	there, err := get(ctx, p.Store, manifest.RoleObject(r.name, r.next.Version))
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrForbidden):
		return nil, nil
	case err != nil && ignoreAbsent(err) != nil:
		return nil, err
	}
	payload, sigs, err := trust.ParseEnvelope(there)
	if err != nil || string(payload) != string(r.payload) || !r.signedBy(sigs) {
		return nil, &usedUp{role: r.name, version: r.next.Version}
	}
	return there, nil
}

// putSnapshot signs and creates the next snapshot under the first number that is free.
func (p *Publisher) putSnapshot(ctx context.Context, c *candidate, s *trust.Snapshot) ([]byte, error) {
	s.Expires = c.view.Now().Add(lifeSnapshot)
	s.Version = c.following(s.Version) - 1
	return p.putNumbered(ctx, trust.RoleSnapshot, &s.Version, manifest.SnapshotObject, func() ([]byte, error) {
		payload, err := s.Payload()
		if err != nil {
			return nil, err
		}
		return p.signOnline(ctx, c, trust.RoleSnapshot, payload)
	})
}

// swapTimestamp is the commit point.
func (p *Publisher) swapTimestamp(ctx context.Context, c *candidate, meta trust.Meta, snapshot []byte, files map[string][]byte) error {
	v := c.view
	next := &trust.Timestamp{Version: c.following(v.Timestamp().Version), Issued: v.Now(), Expires: v.Now().Add(lifeTimestamp), Snapshot: meta}
	payload, err := next.Payload()
	if err != nil {
		return err
	}
	file, err := p.signOnline(ctx, c, trust.RoleTimestamp, payload)
	if err != nil {
		return err
	}
	if err := c.check(file, snapshot, files); err != nil {
		return err
	}
	kind, err := manifest.KindOf(manifest.TimestampObject)
	if err != nil {
		return err
	}
	_, err = p.Store.Swap(ctx, manifest.TimestampObject, c.etag, file, kind.ContentType, kind.CacheControl)
	if errors.Is(err, storage.ErrConflict) {
		return errLost
	}
	return err
}
