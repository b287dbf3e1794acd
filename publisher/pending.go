package publisher

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
)

// PendingProposal is one proposal that waits, went stale within 14 days of its making, or lapsed within the last 14.
type PendingProposal struct {
	ID          string
	Kind        string   // "publish", "certify", …: the proposer's word
	Stated      []string // the proposer's summary: unverified
	Because     string   // where it withdraws certificates: the proposer's words on why, unverified, for they stand nowhere else
	Change      []string // what would change, worked out from what is in effect now; nil when stale
	Roles       []RoleSignatures
	Created     time.Time
	Expires     time.Time // signatures on it mean nothing from then on
	Age         time.Duration
	Stale       string   // why it can never take effect; "" while it can
	Since       []string // with Stale: what took effect meanwhile in the roles that it changes
	Dropped     bool     // with Stale: its role was signed again as it was, in its place
	Again       []string // with Stale: the commands that make its change again
	NotRecalled []string // with Stale: releases that it was to recall, and that no recall stops
	Refused     string   // why it may not take effect, whoever signs; "" while it may
	ForNow      bool     // with Refused: by what the committer lacks, or waits for, so that it may yet take effect
	Waits       string   // what it waits for, where that is more than the signatures of roles
	Within      string   // the id of a proposal that contains this one, or ""
	Done        bool     // all that it changes is in effect already
	begun       []string // with Stale: those of its roles that a holder has begun
	owners      []string // for Export: the keys of those who hold a role today and signed it

	Supersedes   []string // ids of waiting proposals that can never take effect once this one has
	SupersededBy string   // the id of the waiting proposal that is to end this one, or ""
	Rivals       []string // ids of others that change one of its roles: only one of these and this can take effect
}

// Complete tells whether all signatures are there, so that the committer is all it waits for.
func (p *PendingProposal) Complete() bool {
	for _, r := range p.Roles {
		if !r.Complete() {
			return false
		}
	}
	return p.Stale == "" && p.Refused == "" && len(p.Roles) > 0
}

// WaitsFor says in words what the proposal waits for.
func (p *PendingProposal) WaitsFor() string {
	switch {
	case p.Stale != "":
		return "nothing: " + p.Stale
	case p.Refused != "":
		return "nothing: " + p.Refused
	case p.SupersededBy != "" && !p.Complete():
		return "nothing: " + p.SupersededBy + " supersedes it (" + signCommand(p.SupersededBy) + ")"
	}
	return cmp.Or(p.Waits, waitsFor(p.Roles))
}

// Pending lists the proposals that wait, oldest first, then those that went stale or lapsed lately.
func (p *Publisher) Pending(ctx context.Context) ([]PendingProposal, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return nil, err
	}
	list, err := p.show(ctx, view, live)
	if err != nil {
		return nil, err
	}
	stale, err := p.stale(ctx, view)
	if err != nil {
		return nil, err
	}
	return append(list, stale...), nil
}

// show makes live proposals presentable.
func (p *Publisher) show(ctx context.Context, v *catalog.View, live []*waiting) ([]PendingProposal, error) {
	var list []PendingProposal
	for _, w := range live {
		shown, err := p.present(ctx, v, w)
		if err != nil {
			return nil, err
		}
		list = append(list, *shown)
	}
	for i, w := range live {
		for j, other := range live {
			if list[j].Refused != "" {
				continue // it must not hide the good one that it contains, or supersede one
			}
			if w.within(v, other) {
				list[i].Within = other.id
			}
			if other.supersedes(v, w) && !w.isRenewal(v) { // a renewal is contained in a later one
				list[i].SupersededBy = other.id
			}
		}
	}
	relate(list)
	rival(v, live, list)
	return list, nil
}

func (p *Publisher) present(ctx context.Context, v *catalog.View, w *waiting) (*PendingProposal, error) {
	shown := &PendingProposal{ID: w.id, Kind: w.kind, Stated: w.stated, Because: w.withdrawal(v), Roles: countSignatures(w.roles),
		Created: w.created, Expires: w.expires, Age: max(0, v.Now().Sub(w.created)), Stale: w.stale}
	if w.stale != "" {
		return shown, nil
	}
	w.change = p.describe(ctx, v, w.roles)
	shown.Change, shown.Waits = w.change, p.waitsOnline(v, w.roles)
	reason, err := verdict(p.vet(ctx, v, w.roles))
	shown.Refused = reason
	return shown, err
}

// stale reads proposals that can never take effect and were made, or lapsed, lately, leaving out those whose change took
// effect: by themselves, or as part of another.
func (p *Publisher) stale(ctx context.Context, v *catalog.View) ([]PendingProposal, error) {
	files, err := p.listPending(ctx)
	if err != nil {
		return nil, err
	}
	newestFirst(files)
	quota := newQuota()
	var list []staleOne
	var over []*waiting // those that took effect
	past := map[string]*history{}
	for _, f := range files {
		old := !f.modified.IsZero() && f.modified.Before(v.Now().Add(-2*lifeProposal))
		if claimed := f.claimed(v); old || !f.worthReading(v) || len(claimed) == 0 || !quota.hasRoom(claimed) {
			continue
		}
		w, err := p.readWithin(ctx, v, f, quota.affords)
		if err != nil {
			return nil, err
		}
		if w == nil || w.stale == "" || !w.byHolder() {
			continue
		}
		if recent, err := p.recentlyStale(ctx, v, w); err != nil {
			return nil, err
		} else if !recent {
			continue
		}
		done, err := p.tookEffect(ctx, v, w, past, true)
		if err != nil {
			return nil, err
		}
		if done {
			over = append(over, w)
			continue
		}
		shown, err := p.present(ctx, v, w)
		if err != nil {
			return nil, err
		}
		if moot, err := p.explainStale(ctx, v, w, past, shown); err != nil {
			return nil, err
		} else if moot {
			continue
		}
		if !quota.takes(w.shares(v)) {
			continue
		}
		shown.Dropped, shown.begun = w.wasDropped(v, past), w.begun(v, past)
		shown.NotRecalled = releaseNames(w.notRecalled(v, past))
		list = append(list, staleOne{w, *shown})
	}
	for _, text := range quota.crowdedStale() {
		p.note(text)
	}
	slices.SortStableFunc(list, func(a, b staleOne) int { return a.w.created.Compare(b.w.created) })
	return p.unsettled(ctx, v, notBuiltOn(v, list, over, past), past)
}

// KnowsRole is an *UnknownRole where the catalog has none of that name.
func (p *Publisher) KnowsRole(ctx context.Context, role string) error {
	v, err := p.renewing().refresh(ctx)
	if err != nil {
		return err
	}
	if _, ok := v.Authority(role); !ok {
		return unknownRole(v, role)
	}
	return nil
}

// Sign adds the signers' signatures to the live proposals that change a role, or to the one with that id. confirm sees each
// change, worked out anew, with its evidence, and says whether to sign it; nil signs all. What does not follow on the
// current catalog by the rules is not offered; nor is, where a role is named, what another contains or supersedes, unless
// that is declined. Of
// several proposals the outcome is, in this order, that of one that was signed now and waits (Pending), that was signed or
// complete and took effect (Committed), that was not confirmed (Declined), that waits with these signatures of before
// (Pending); its Others are those of the others. Unchanged when nothing waits for the role. An error of confirm ends the
// questions; it is the result only if nothing was signed, committed or declined before.
// Errors: *NotAuthorized for a key that does not hold the role, *Refused when nothing but refused changes wait,
// *NothingToSign for a proposal that takes no signature.
func (p *Publisher) Sign(ctx context.Context, which string, confirm func(PendingProposal) (bool, error), signers []keys.Signer) (*Outcome, error) {
	return p.signing(which, confirm, signers).run(ctx)
}

func (s *signing) run(ctx context.Context) (*Outcome, error) {
	for again := true; again; {
		var err error
		again, err = s.round(ctx)
		if _, ok := errors.AsType[*unanswered](err); ok && s.rank > 1 && ctx.Err() == nil {
			s.out.Notes = append(s.out.Notes, notAnswered(s.unanswered))
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if s.rank == 0 && s.refusal != nil {
		return nil, s.refusal
	}
	if err := s.tellStale(ctx); err != nil {
		return nil, err
	}
	s.out.Notes = slices.Concat(s.out.Notes, s.leftAside(), s.rivals(), s.strange)
	s.out.Others = s.others
	return s.out, nil
}

// signing is one Sign on its way through the proposals.
type signing struct {
	*Publisher
	role       string
	id         string // the one proposal that is to be signed; "" = all that change the role
	confirm    func(PendingProposal) (bool, error)
	begunOnly  bool // what no holder has begun is left aside
	carried    bool // in a signing file, away from the catalog
	signers    []keys.Signer
	begun      bool
	waited     []PendingProposal // that could take effect in the beginning
	seen       map[string]bool   // those that were offered, or need not be
	declined   map[string]bool   // those of them that stand for no other any more
	strange    []string          // what is said of those that no holder of the role has begun
	out        *Outcome
	rank       int        // of out; 0 = nothing was offered yet
	others     []*Outcome // what became of the other proposals
	committed  bool       // one took effect
	unanswered string     // the proposal at which nobody answered any more
	refusal    error
}

// take keeps the outcome that asks most of the caller, and the others behind it. gave tells whether a signature was
// given just now.
func (s *signing) take(o *Outcome, gave bool) {
	rank := map[string]int{Pending: 1, Declined: 2, Committed: 3}[o.Status]
	if gave && o.Status == Pending {
		rank = 4
	}
	s.committed = s.committed || o.Status == Committed
	other := o
	if rank > s.rank {
		other, s.out, s.rank = s.out, o, rank
	}
	if other.Status != Unchanged {
		s.others = append(s.others, other)
	}
}

// begin looks at all that waits in the beginning, and at the signers.
func (s *signing) begin(view *catalog.View, live []*waiting, shown []PendingProposal) error {
	if s.begun {
		return nil
	}
	s.begun = true
	s.waited = shown
	if s.id != "" {
		return s.aim(live)
	}
	return authorizeSigning(view, s.role, live, s.signers)
}

// round offers what waits. It ends with true once something took effect: others may have gone stale by that.
func (s *signing) round(ctx context.Context) (again bool, err error) {
	view, err := s.refresh(ctx)
	if err != nil {
		return false, err
	}
	live, err := s.live(ctx, view)
	if err != nil {
		return false, err
	}
	if _, err := currentRole(view, s.role); err != nil {
		return false, err // nothing follows on what is refused or out of reach
	}
	live, shown, err := s.changing(ctx, view, live, s.role)
	if err != nil {
		return false, err
	}
	if err := s.begin(view, live, shown); err != nil {
		return false, err
	}
	for i := s.next(shown); i >= 0; i = s.next(shown) {
		w := live[i]
		s.seen[w.id] = true
		if !w.concerns(s.signers) { // it takes the role from them
			s.declined[w.id] = true
			s.refusal = authorize(s.role, w.role(s.role).signers(), s.signers)
			continue
		}
		if shown[i].Refused != "" {
			s.refusal = &Refused{Role: s.role, Reason: shown[i].Refused}
			continue
		}
		if role := w.unbegun(view, s.role, s.signers, nil); role != "" && s.begunOnly {
			s.refusal = s.leave(w, role)
			continue
		}
		before := w.signedByAll(s.signers)
		signed, err := s.signProposal(ctx, view, w, shown[i], s.confirm, s.signers)
		if err != nil {
			s.unanswered = w.id
			return false, err
		}
		s.take(signed, !before)
		s.declined[w.id] = signed.Status == Declined
		if signed.Status == Committed {
			return s.id == "", nil
		}
	}
	return false, nil
}

// signProposal asks, signs, and commits where that is possible.
func (p *Publisher) signProposal(ctx context.Context, v *catalog.View, w *waiting, shown PendingProposal, confirm func(PendingProposal) (bool, error), signers []keys.Signer) (*Outcome, error) {
	if w.signedByAll(signers) {
		shown.Change = append(slices.Clone(shown.Change), "signed with this key before")
	} else {
		if confirm != nil {
			yes, err := confirm(shown)
			if err != nil {
				return nil, &unanswered{err}
			}
			if !yes {
				return outcome(Declined, w.id, shown.Change, w.roles), nil
			}
		}
		for _, r := range w.roles {
			sigs, err := r.sign(ctx, signers)
			if err != nil {
				return nil, err
			}
			if err := p.putSignatures(ctx, w.id, r.name, sigs); err != nil {
				return nil, err
			}
		}
	}
	if p.Online == nil || !w.complete() {
		return p.waits(v, w.id, shown.Change, w.roles, nil), nil
	}
	err := p.commitOne(ctx, w)
	var lacks *NeedsOnlineKeys
	if errors.As(err, &lacks) {
		return p.waits(v, w.id, append(shown.Change, lacks.Error()), w.roles, nil), nil
	}
	if held, ok := errors.AsType[*heldUp](err); ok {
		out := outcome(Pending, w.id, shown.Change, w.roles)
		out.WaitsFor = heldWords(held.by)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return outcome(Committed, w.id, shown.Change, w.roles), nil
}

// commitOne puts one proposal into effect against concurrent writers, of whom another committer may be first to do
// the same.
func (p *Publisher) commitOne(ctx context.Context, wanted *waiting) error {
	return p.race(ctx, func() error {
		view, err := p.refresh(ctx)
		if err != nil {
			return err
		}
		live, err := p.live(ctx, view)
		if err != nil {
			return err
		}
		for _, w := range live {
			if w.id == wanted.id {
				by, err := p.heldBy(ctx, view, live, w.roles)
				if err != nil {
					return err
				}
				if by != nil {
					return &heldUp{by}
				}
				return finalUsedUp(p.installProposal(ctx, view, w))
			}
		}
		first := wanted.roles[0]
		seen, err := p.history(ctx, view, first.name)
		if err != nil || seen.payloads[digest(first.payload)] {
			return err
		}
		return &Refused{Role: first.name, Reason: "what proposal " + wanted.id + " rests on changed meanwhile"}
	})
}

// heldUp is a change that another has to come before: see heldBy.
type heldUp struct{ by *waiting }

func (e *heldUp) Error() string { return heldWords(e.by) }

// finalUsedUp is for those who cannot try again with another number.
func finalUsedUp(err error) error {
	var used *usedUp
	if errors.As(err, &used) {
		return &Refused{Role: used.role, Reason: used.Error()}
	}
	return err
}
