package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
)

// maxRevival is how long ago an expired catalog may have been signed last for Commit to revive it.
const maxRevival = lifeLong

// CommitResult tells what a commit did, and what it leaves.
type CommitResult struct {
	Committed  []PendingProposal // in effect now
	Incomplete []PendingProposal // wait for signatures
	Refused    []PendingProposal // may not take effect, whoever signed: see their Refused
	Stale      []PendingProposal // went stale lately: make them again
	Journaled  int               // reports that were recorded in the journal
	Renewed    bool              // snapshot and timestamp were signed again because they were about to expire, or had
	Version    int64             // of the timestamp now
	Expires    time.Time         // of the timestamp now
}

// Commit puts every complete proposal into effect, each in a snapshot of its own, the fullest first where one
// contains another, and records in the journal what the sites have reported since. When there is nothing to do, and
// snapshot or timestamp expire within a third of their lifetime or have expired, it signs these again. Errors: *NoOnlineKey, *NotAuthorized for a key that is not the root's online key,
// *LostRace.
func (p *Publisher) Commit(ctx context.Context) (*CommitResult, error) {
	if p.Online == nil {
		return nil, &NoOnlineKey{}
	}
	result := &CommitResult{}
	tried := map[string]string{}
	err := p.race(ctx, func() error { return p.commitNext(ctx, result, tried) })
	if err != nil {
		return nil, err
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	result.Version, result.Expires = view.Timestamp().Version, view.Timestamp().Expires
	return result, p.leftOver(ctx, view, result, tried)
}

// commitNext commits one proposal and asks to be called again, until there is none. tried are those that it need not
// look at again, with what its commit failed of, if it did: one that cannot be committed must not stop the others.
func (p *Publisher) commitNext(ctx context.Context, result *CommitResult, tried map[string]string) error {
	view, err := p.refreshToCommit(ctx)
	if err != nil {
		return err
	}
	notAuthorized := p.authorizeOnline(view)
	if notAuthorized != nil && !p.Stolen {
		return notAuthorized
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return err
	}
	news, err := p.journalNews(ctx, view)
	if err != nil {
		return err
	}
	for _, w := range fullestFirst(live) {
		if _, done := tried[w.id]; done || !w.complete() {
			continue
		}
		shown, err := p.present(ctx, view, w)
		if err != nil {
			return err
		}
		if lacks := p.onlineLacks(p.candidate(view, w.roles)); lacks != nil && shown.Refused == "" {
			shown.Refused = lacks.Error()
		}
		if shown.Refused != "" {
			tried[w.id] = shown.Refused
			continue
		}
		if w.role(trust.RoleRoot) != nil {
			news = nil // the next commit takes it
		}
		err = p.installWith(ctx, view, w.roles, news)
		var used *usedUp
		switch {
		case errors.As(err, &used):
			tried[w.id] = used.Error() // somebody took the number just now
			continue
		case errors.Is(err, errLost), errors.Is(err, errAgain):
			return err
		case err != nil:
			return fmt.Errorf("proposal %s: %w", w.id, err)
		}
		tried[w.id] = ""
		result.Committed = append(result.Committed, *shown)
		result.Journaled += news.count()
		return errAgain
	}
	if notAuthorized != nil {
		return notAuthorized
	}
	return p.renew(ctx, view, news, result)
}

// renew commits what there is for the journal alone, and signs snapshot and timestamp again when they are about to
// expire. It asks to be called again after a segment: there may be more than one holds.
func (p *Publisher) renew(ctx context.Context, v *catalog.View, news *journalNews, result *CommitResult) error {
	expires := v.Timestamp().Expires.Sub(v.Now()) <= lifeTimestamp/3 || v.Snapshot().Expires.Sub(v.Now()) <= lifeSnapshot/3
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

// leftOver tells what waits on, and of what was tried in vain, why.
func (p *Publisher) leftOver(ctx context.Context, v *catalog.View, result *CommitResult, tried map[string]string) error {
	live, err := p.live(ctx, v)
	if err != nil {
		return err
	}
	shown, err := p.show(ctx, v, live)
	if err != nil {
		return err
	}
	for _, w := range shown {
		w.Refused = cmp.Or(w.Refused, tried[w.ID])
		if w.Refused != "" {
			result.Refused = append(result.Refused, w)
		} else {
			result.Incomplete = append(result.Incomplete, w)
		}
	}
	result.Stale, err = p.stale(ctx, v)
	return err
}

// refresh brings the view up to date. With Stolen it ends an outage that an earlier run left.
func (p *Publisher) refresh(ctx context.Context) (*catalog.View, error) {
	view, err := p.Catalog.Refresh(ctx)
	if !p.Stolen || p.Online == nil || !isOutage(err) {
		return view, err
	}
	if err := p.endOutage(ctx); err != nil && !errors.Is(err, errLost) {
		return nil, err
	}
	return p.Catalog.Refresh(ctx)
}

// refreshToCommit is refresh for the holder of the online key, whom an expired snapshot or timestamp does not stop:
// signing them again is the committer's work. All else is held to its expiry.
func (p *Publisher) refreshToCommit(ctx context.Context) (*catalog.View, error) {
	view, err := p.refresh(ctx)
	var refused *trust.Error
	if !errors.As(err, &refused) || refused.Kind != trust.Expired || (refused.Role != trust.RoleTimestamp && refused.Role != trust.RoleSnapshot) {
		return view, err
	}
	p.sink().Note(fmt.Sprintf("the %s expired on %s; signing it again", refused.Role, refused.Expiry.Format(time.DateTime)))
	return p.Catalog.RefreshStale(ctx, trust.AllowStale{MaxAge: maxRevival})
}
