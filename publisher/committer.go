package publisher

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
)

// revival is how long ago an expired catalog may have been signed last for its holders and the committer to revive it: ever. What
// keeps an older catalog from being taken for the last one is the state directory, and the pinned root.
var revival = trust.AllowStale{MaxAge: math.MaxInt64}

// CommitResult tells what a commit did, and what it leaves.
type CommitResult struct {
	Committed  []PendingProposal // in effect now
	Incomplete []PendingProposal // wait for signatures
	Refused    []PendingProposal // may not take effect, whoever signed: see their Refused
	Stale      []PendingProposal // went stale lately: make them again
	Journaled  int               // reports that were recorded in the journal
	Renewed    bool              // snapshot and timestamp were signed again because they were about to expire, or had
	AwaitsRoot string            // with Stolen: the proposal by which root would give the online key its roles, which waits; nothing was done
	Version    int64             // of the timestamp now
	Expires    time.Time         // of the timestamp now
}

// Commit puts every complete proposal into effect, each in a snapshot of its own, the latest first, so that what
// was made on top of others comes before them, and records in the journal what the sites have reported since. When there is nothing to do, and
// half of the life of snapshot or timestamp is over, or all of it, it signs these again. Errors: *NoOnlineKey, *NotAuthorized for a key that is not the root's online key,
// *LostRace. The result is there with an error, too, once something was done before: it says what took effect.
func (p *Publisher) Commit(ctx context.Context) (*CommitResult, error) {
	if p.Online == nil {
		return nil, &NoOnlineKey{}
	}
	p = p.renewing()
	result := &CommitResult{}
	tried, begun := map[string]refusal{}, map[string]PendingProposal{}
	err := p.race(ctx, func() error { return p.commitNext(ctx, result, tried, begun) })
	if err != nil {
		return result.done(), err
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return result.done(), err
	}
	result.Version, result.Expires = view.Timestamp().Version, view.Timestamp().Expires
	if view.Lapsed() != "" { // nobody reads the catalog until its holders have renewed that
		_, err := p.Catalog.Refresh(ctx)
		return result.done(), &Lapsed{Role: view.Lapsed(), Err: err}
	}
	if err := p.leftOver(ctx, view, result, tried); err != nil {
		return result.done(), err
	}
	return result, nil
}

// done is the result if something was done, else nil.
func (r *CommitResult) done() *CommitResult {
	if len(r.Committed) == 0 && r.Journaled == 0 && !r.Renewed {
		return nil
	}
	return r
}

// Lapsed is a catalog that nobody reads until the holders of its root or targets role have signed that again (exit 4).
type Lapsed struct {
	Role string
	Err  error // what readers are told
}

func (e *Lapsed) Error() string {
	return e.Err.Error() + "; its holders sign it again: kitchen renew --key FILE"
}

// Unwrap gives what readers are told.
func (e *Lapsed) Unwrap() error { return e.Err }

// Hint says what comes after it.
func (e *Lapsed) Hint() string {
	return "what has expired comes back in this order: root, targets, then the others; each waits until the one before is in effect (kitchen commit)"
}

// refusal is what the commit of a proposal failed of; the zero value: it did not.
type refusal struct {
	why    string
	forNow bool // by what may come yet, with the proposal as it is
}

// commitNext commits one proposal and asks to be called again, until there is none. tried are those that it need not
// look at again: one that cannot be committed must not stop the others. begun are those of which a part is in effect, as
// they were before.
func (p *Publisher) commitNext(ctx context.Context, result *CommitResult, tried map[string]refusal, begun map[string]PendingProposal) error {
	view, err := p.refreshToCommit(ctx)
	if err != nil {
		return err
	}
	notAuthorized := p.authorizeOnline(view)
	live, err := p.live(ctx, view)
	if old := p.oldOnline(view, live); err == nil && old != nil {
		return old
	}
	if notAuthorized != nil && !p.Stolen {
		live = slices.DeleteFunc(live, func(w *waiting) bool { return !w.complete() })
		if id, stranger := p.awaitedRoot(live), errors.As(notAuthorized, new(*NotAuthorized)); stranger && id != "" {
			return &TakesOver{Proposal: id, err: notAuthorized}
		}
		return notAuthorized
	}
	if err != nil {
		return err
	}
	var news *journalNews
	if notAuthorized == nil {
		if news, err = p.journalNews(ctx, view); err != nil {
			return err
		}
	}
	if err := p.commitFirst(ctx, view, latestFirst(live), news, result, tried, begun); err != nil {
		return err
	}
	if notAuthorized != nil {
		if result.AwaitsRoot = p.awaitedRoot(live); result.AwaitsRoot != "" {
			return nil
		}
		return notAuthorized
	}
	return p.renew(ctx, view, news, result)
}

// commitFirst commits the first of the proposals that can be, and asks to be called again then.
func (p *Publisher) commitFirst(ctx context.Context, view *catalog.View, live []*waiting, news *journalNews, result *CommitResult, tried map[string]refusal, begun map[string]PendingProposal) error {
	for _, w := range live {
		if _, done := tried[w.id]; done || !w.complete() {
			continue
		}
		shown, err := p.presentToCommit(ctx, view, live, w)
		if err != nil {
			return err
		}
		if shown.Refused != "" {
			tried[w.id] = refusal{shown.Refused, shown.ForNow}
			continue
		}
		if w.role(trust.RoleRoot) != nil {
			news = nil // the next commit takes it
		}
		err = p.installWith(ctx, view, w.roles, news)
		var used *usedUp
		switch {
		case errors.As(err, &used):
			tried[w.id] = refusal{why: used.Error()} // somebody took the number just now
			continue
		case errors.Is(err, errLost), errors.Is(err, errAgain):
			if _, ok := begun[w.id]; !ok && errors.Is(err, errAgain) {
				begun[w.id] = *shown
			}
			return err
		case refusesCandidate(err):
			tried[w.id] = refusal{why: err.Error()} // readers would refuse it
			continue
		case err != nil:
			return fmt.Errorf("proposal %s: %w", w.id, err)
		}
		tried[w.id] = refusal{}
		if whole, ok := begun[w.id]; ok {
			shown = &whole
		}
		result.Committed = append(result.Committed, *shown)
		result.Journaled += news.count()
		return errAgain
	}
	return nil
}

// presentToCommit is present, with what keeps the committer from it.
func (p *Publisher) presentToCommit(ctx context.Context, view *catalog.View, live []*waiting, w *waiting) (*PendingProposal, error) {
	shown, err := p.present(ctx, view, w)
	if err != nil {
		return nil, err
	}
	if lacks := p.onlineLacks(p.candidate(view, w.roles)); lacks != nil && shown.Refused == "" {
		shown.Refused, shown.ForNow = lacks.Error(), true
		if needs, ok := errors.AsType[*NeedsOnlineKeys](lacks); ok {
			shown.Refused += ": " + needs.Hint()
		}
	}
	by, err := p.heldBy(ctx, view, live, w.roles)
	if by != nil && shown.Refused == "" {
		shown.Refused, shown.ForNow = heldWords(by), true
	}
	return shown, err
}

// awaitedRoot is the proposal by which root gives the online key snapshot and timestamp, if one waits.
func (p *Publisher) awaitedRoot(live []*waiting) string {
	for _, w := range live {
		if root := w.role(trust.RoleRoot); root != nil {
			if next, ok := root.next.Delegation(trust.RoleTimestamp); ok && held(p.onlineKeys(), next.Authority) > 0 {
				return w.id
			}
		}
	}
	return ""
}

// refusesCandidate tells that what was about to be shown is not what readers would take; nothing was.
func refusesCandidate(err error) bool {
	_, ok := errors.AsType[*trust.Error](err)
	return ok && !storeFailure(err)
}

// renew commits what there is for the journal alone, and signs snapshot and timestamp again when they are about to
// expire. It asks to be called again after a segment: there may be more than one holds.
func (p *Publisher) renew(ctx context.Context, v *catalog.View, news *journalNews, result *CommitResult) error {
	expires := onlineDue(v)
	if !expires && news == nil {
		return nil
	}
	if err := p.installWith(ctx, v, nil, news); err != nil {
		return err
	}
	result.Renewed = result.Renewed || expires
	result.Journaled += news.count()
	if news.count() > 0 {
		return errAgain
	}
	return nil
}

// onlineDue tells that snapshot or timestamp have lived half their life.
func onlineDue(v *catalog.View) bool {
	return v.Timestamp().Expires.Sub(v.Now()) <= lifeTimestamp/2 || v.Snapshot().Expires.Sub(v.Now()) <= lifeSnapshot/2
}

// leftOver tells what waits on, and of what was tried in vain, why.
func (p *Publisher) leftOver(ctx context.Context, v *catalog.View, result *CommitResult, tried map[string]refusal) error {
	live, err := p.live(ctx, v)
	if err != nil {
		return err
	}
	shown, err := p.show(ctx, v, live)
	if err != nil {
		return err
	}
	for _, w := range shown {
		if w.Refused == "" {
			w.Refused, w.ForNow = tried[w.ID].why, tried[w.ID].forNow
		}
		if w.Refused != "" {
			result.Refused = append(result.Refused, w)
		} else {
			result.Incomplete = append(result.Incomplete, w)
		}
	}
	result.Stale, err = p.stale(ctx, v)
	return err
}

// refresh brings the view up to date. With Stolen it ends an outage that an earlier run left. Only for whoever renews does
// an expired root or targets role serve, and then an expired timestamp, too: the committer cannot sign that again before.
func (p *Publisher) refresh(ctx context.Context) (*catalog.View, error) {
	view, err := p.Catalog.Refresh(ctx)
	if p.Stolen && p.Online != nil && isOutage(err) {
		if err := p.endOutage(ctx); err != nil && !errors.Is(err, errLost) {
			return nil, err
		}
		view, err = p.Catalog.Refresh(ctx)
	}
	if !p.renews {
		return view, err
	}
	switch expiredRole(err) {
	case trust.RoleRoot, trust.RoleTargets:
		return p.refreshLapsed(ctx)
	case trust.RoleTimestamp, trust.RoleSnapshot:
		if revived, e := p.Catalog.RefreshToRenew(ctx, &revival); e == nil && revived.Lapsed() != "" {
			return revived, nil
		}
	}
	return view, err
}

// refreshLapsed is refresh where root or targets has expired, and then perhaps the timestamp, too.
func (p *Publisher) refreshLapsed(ctx context.Context) (*catalog.View, error) {
	view, err := p.Catalog.RefreshToRenew(ctx, nil)
	if role := expiredRole(err); role == trust.RoleTimestamp || role == trust.RoleSnapshot {
		return p.Catalog.RefreshToRenew(ctx, &revival)
	}
	return view, err
}

// renewing is the publisher for what brings a catalog back whose root or targets role has expired: its holders sign it again,
// and the committer commits that. vet refuses everything else on such a view.
func (p *Publisher) renewing() *Publisher {
	p.evidences() // the copy's, too
	q := *p
	q.renews, q.noted = true, map[string]bool{}
	return &q
}

// note says something once, however often it is met until the work is done.
func (p *Publisher) note(text string) {
	if p.noted[text] {
		return
	}
	if p.noted != nil {
		p.noted[text] = true
	}
	p.sink().Note(text)
}

// expiredRole is the role whose expiry an error is about; "" for any other.
func expiredRole(err error) string {
	if refused, ok := errors.AsType[*trust.Error](err); ok && refused.Kind == trust.Expired {
		return refused.Role
	}
	return ""
}

// refreshToCommit is refresh for the holder of the online key, whom an expired snapshot or timestamp does not stop:
// signing them again is the committer's work. Nor does an expired root or targets role: its holders' renewal has to be committed.
// All else is held to its expiry.
func (p *Publisher) refreshToCommit(ctx context.Context) (*catalog.View, error) {
	view, err := p.refresh(ctx)
	if role := expiredRole(err); role == trust.RoleTimestamp || role == trust.RoleSnapshot {
		refused, _ := errors.AsType[*trust.Error](err)
		p.note(fmt.Sprintf("the %s expired on %s; signing it again", role, refused.Expiry.Format(time.DateTime)))
		if view, err = p.Catalog.RefreshStale(ctx, revival); expiredRole(err) == trust.RoleTargets {
			return p.Catalog.RefreshToRenew(ctx, &revival)
		}
	}
	if role := expiredRole(err); role == trust.RoleRoot || role == trust.RoleTargets {
		return p.refreshLapsed(ctx)
	}
	return view, err
}
