package publisher

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// UnknownProposal is a proposal that is not there, or whose objects are not what its name says (exit 1).
type UnknownProposal struct{ ID string }

func (e *UnknownProposal) Error() string {
	return fmt.Sprintf("there is no proposal %s, or what lies there under that name is none", e.ID)
}

// Hint says where the names are.
func (e *UnknownProposal) Hint() string { return "kitchen pending lists what waits" }

// PendingOne shows a single proposal: also one that nobody signed, or that lapsed. Errors: *UnknownProposal.
func (p *Publisher) PendingOne(ctx context.Context, id string) (*PendingProposal, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	w, err := p.find(ctx, view, id)
	if err != nil {
		return nil, err
	}
	shown, err := p.whole(ctx, view, w)
	if err != nil || w.stale != "" || !w.signed() {
		return shown, err
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return nil, err
	}
	_, beside, err := p.changing(ctx, view, live, w.roles[0].name)
	for _, other := range beside {
		if other.ID == id {
			return &other, err
		}
	}
	return shown, err
}

// whole is present, with what became of a proposal that went stale.
func (p *Publisher) whole(ctx context.Context, v *catalog.View, w *waiting) (*PendingProposal, error) {
	shown, err := p.present(ctx, v, w)
	if err != nil || w.stale == "" {
		return shown, err
	}
	past := map[string]*history{}
	done, err := p.inEffect(ctx, v, w, past)
	if err != nil {
		return nil, err
	}
	if !done {
		done, err = p.explainStale(ctx, v, w, past, shown)
	}
	if done {
		shown.Stale, shown.Again, shown.Done = "what it changes is in effect already", nil, true
	} else {
		shown.NotRecalled = releaseNames(w.notRecalled(v, past))
	}
	return shown, err
}

// find reads one proposal, whoever signed it.
func (p *Publisher) find(ctx context.Context, v *catalog.View, id string) (*waiting, error) {
	if _, _, _, err := manifest.ParseProposalID(id); err != nil {
		return nil, &Invalid{What: "proposal", Reason: err.Error()}
	}
	files, err := p.listProposals(ctx, manifest.ProposalPrefix(id))
	if err != nil {
		return nil, err
	}
	if len(files) != 1 || !files[0].doc {
		return nil, &UnknownProposal{ID: id}
	}
	w, err := p.readProposal(ctx, v, files[0])
	if err == nil && w == nil {
		err = &UnknownProposal{ID: id}
	}
	return w, err
}

// DropRequest says how to drop a proposal.
type DropRequest struct {
	Supersede bool // sign one of its roles again as it is, so that the proposal is stale once that is in effect
	Delete    bool // delete its objects; takes the online key, and the right to delete
}

// DropResult tells what can become of a proposal, and what was done about it.
type DropResult struct {
	Proposal   *PendingProposal
	Harmless   string    // why it can do nothing as it is; "" while it can
	Until      time.Time // when it lapses: until then its signatures hold, wherever copies of them are
	Supersedes string    // role whose next version makes the proposal stale for good; "" for a recall, which nobody drops
	Along      []string  // other proposals that wait for that role, and go stale with it
	Outcome    *Outcome  // of that, with Supersede
	Deleted    int       // objects
}

// Drop tells what dropping a proposal takes: a signature that was given cannot be taken back. The proposal is
// over when it lapses, or when another version of one of its roles takes effect; with Supersede such a version, of what
// is in effect now, is signed by the signers, and committed or left as a proposal of its own. A committer prefers it to
// the dropped one, should both be complete. Delete removes the proposal's objects here; a copy can be put back until it
// lapses. Errors: *UnknownProposal, *NotAuthorized for signers of none of its roles, *Refused for those of a key that may not drop it, *NoOnlineKey for Delete.
func (p *Publisher) Drop(ctx context.Context, id string, req DropRequest, signers []keys.Signer) (*DropResult, error) {
	p = p.renewing()
	if req.Delete && p.Online == nil {
		return nil, &NoOnlineKey{}
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	w, err := p.find(ctx, view, id)
	if err != nil {
		return nil, err
	}
	result := &DropResult{Until: w.expires}
	if result.Proposal, err = p.whole(ctx, view, w); err != nil {
		return nil, err
	}
	switch {
	case w.stale != "":
		result.Harmless = "it can never take effect: " + result.Proposal.Stale
	case !w.signed():
		result.Harmless = "nobody who may has signed it"
	case !w.byHolder():
		result.Harmless = "none of those who hold its roles has signed it, and as long as none does it comes to nothing"
	case result.Proposal.Refused != "" && !result.Proposal.signed(): // else it takes effect once that changes
		result.Harmless = "as things are it may not take effect, whoever signs: " + result.Proposal.Refused
	}
	result.Supersedes = w.endedIn(view)
	live, err := p.live(ctx, view)
	if err != nil && !denied(err) {
		return nil, err
	}
	for _, other := range live {
		if other.id != w.id && other.role(result.Supersedes) != nil && !other.isRenewal(view) {
			result.Along = append(result.Along, other.id)
		}
	}
	if req.Supersede && w.stale == "" {
		if err := p.supersede(ctx, view, w, signers, result); err != nil {
			return nil, err
		}
	}
	if req.Delete {
		result.Deleted, err = p.deleteProposal(ctx, id)
	}
	return result, err
}

// supersede signs again, as it is, the first role of the proposal that the signers hold.
func (p *Publisher) supersede(ctx context.Context, v *catalog.View, w *waiting, signers []keys.Signer, result *DropResult) error {
	role, mine, why := "", []keys.Signer(nil), ""
	for _, r := range slices.Backward(w.roles) {
		for _, id := range keyIDs(holders(v, r.name, signers)) {
			if reason := w.keptFrom(v, r.name, id); reason != "" {
				why = reason
			} else {
				role, mine = r.name, holders(v, r.name, signers)
			}
		}
	}
	switch {
	case role == "" && why != "":
		return &Refused{Role: cmp.Or(result.Supersedes, w.roles[0].name), Reason: "proposal " + w.id + " is not dropped so: " + why}
	case role == "":
		return authorizeRole(v, cmp.Or(result.Supersedes, w.roles[0].name), signers)
	}
	result.Supersedes = role
	writer := &writer{Publisher: p, signers: mine, floor: map[string]int64{}, instead: w,
		change: renewal(role, func(time.Time) bool { return true })}
	var err error
	result.Outcome, err = writer.run(ctx)
	return err
}

// supersededBy are the waiting proposals that end one once they are in effect.
func (w *waiting) supersededBy(v *catalog.View, live []*waiting) []*waiting {
	return slices.DeleteFunc(slices.Clone(live), func(other *waiting) bool { return !other.supersedes(v, w) })
}

// deleteProposal removes a proposal's objects: first what makes it visible.
func (p *Publisher) deleteProposal(ctx context.Context, id string) (n int, err error) {
	document := manifest.ProposalObject(id, manifest.ProposalName)
	objects := []string{document}
	for info, err := range p.Store.List(ctx, manifest.ProposalPrefix(id), "") {
		if err != nil {
			return 0, err
		}
		if _, _, _, _, err := manifest.ParsePendingObject(info.Key); err == nil && info.Key != document {
			objects = append(objects, info.Key)
		}
	}
	for _, key := range objects {
		if err := p.Store.Delete(ctx, key); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func keyIDs(signers []keys.Signer) (ids []string) {
	for _, s := range signers {
		if key, err := trust.NewKey(s.Public()); err == nil {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

// holders are those of the signers who may sign the role.
func holders(v *catalog.View, role string, signers []keys.Signer) (list []keys.Signer) {
	authority, _ := v.Authority(role)
	for _, s := range signers {
		if key, err := trust.NewKey(s.Public()); err == nil && authority.Has(key.ID) {
			list = append(list, s)
		}
	}
	return list
}
