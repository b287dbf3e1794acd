package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// NothingToSign is a role for which no change waits, or a proposal that takes no signature (exit 3).
type NothingToSign struct {
	Role     string
	Proposal string // "" = any that changes the role
	Reason   string // with Proposal: why it takes none
	Command  string // what to run instead; "" = nothing
}

func (e *NothingToSign) Error() string {
	if e.Proposal != "" {
		return "proposal " + e.Proposal + " takes no signature: " + e.Reason
	}
	return "nothing waits for a signature of role " + e.Role
}

// Hint says where to look, or what to run instead.
func (e *NothingToSign) Hint() string {
	if e.Command != "" {
		return "instead: " + e.Command
	}
	return "kitchen pending shows what waits"
}

// Export writes what signers of a role, or of one proposal, need who cannot reach the catalog: the live proposals that
// Sign would offer, with the signatures so far, and everything that it reads to check and to show them, from the first
// root on. It tells what those proposals are. Of a role's, the largest are left out where the file would be larger than readers take,
// those first that no holder has signed; a note names them. Errors: *NothingToSign, *Refused when nothing but refused changes wait,
// *Invalid when the file would be too large even so.
func (p *Publisher) Export(ctx context.Context, which string) (*SigningFile, []PendingProposal, error) {
	s := &signing{role: which}
	if role, _, _, err := manifest.ParseProposalID(which); err == nil {
		s.role, s.id = role, which
	}
	trusted, err := p.renewing().refresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	file := &SigningFile{Schema: signingSchema, Catalog: p.Store.URL(), Role: s.role, Objects: map[string][]byte{}, Sizes: map[string]int64{}}
	store := &recorder{Store: p.Store, file: file}
	if err := recordRoots(ctx, store, trusted.Root().Version); err != nil {
		return nil, nil, err
	}
	state, err := os.MkdirTemp(p.Scratch, "export-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(state)
	// A host that knows nothing but the root reads the most, and what it reads is what the file holds.
	fresh := (&Publisher{Store: store, Now: p.Now}).renewing()
	if fresh.Catalog, err = catalog.Open(ctx, catalog.Options{Store: store, Dir: state, Root: trusted.RawRoot(), Now: p.Now}); err != nil {
		return nil, nil, err
	}
	s.Publisher = fresh
	shown, err := s.rehearse(ctx)
	if err != nil {
		return nil, nil, err
	}
	file.keepProposals(shown)
	if s.id == "" {
		var left []PendingProposal
		if shown, left = file.fit(shown); len(left) > 0 {
			p.note(leftOut(left))
			file.keepProposals(shown)
		}
	}
	return file, shown, nil
}

// recordRoots reads the chain of roots from its beginning: a signer may have pinned any of them.
func recordRoots(ctx context.Context, store storage.Reader, last int64) error {
	for version := int64(1); version <= last; version++ {
		if _, err := get(ctx, store, manifest.RootObject(version)); ignoreAbsent(err) != nil {
			return err
		}
	}
	return nil
}

// rehearse reads all that Sign would read, and gives what it would offer.
func (s *signing) rehearse(ctx context.Context) ([]PendingProposal, error) {
	view, err := s.refresh(ctx)
	if err != nil {
		return nil, err
	}
	if _, known := view.Authority(s.role); !known {
		return nil, unknownRole(view, s.role)
	}
	live, err := s.live(ctx, view)
	if err != nil {
		return nil, err
	}
	live, shown, err := s.changing(ctx, view, live, s.role)
	if err != nil {
		return nil, err
	}
	var offered []PendingProposal
	err = &NothingToSign{Role: s.role}
	for i, w := range shown {
		for _, share := range live[i].shares(view) {
			w.owners = append(w.owners, share.key)
		}
		switch {
		case !s.offers(&w, shown):
		case w.Refused != "":
			err = &Refused{Role: s.role, Reason: w.Refused}
		default:
			offered = append(offered, w)
		}
	}
	if len(offered) > 0 {
		err = nil
	}
	return offered, err
}

// keepProposals drops the proposals that are not offered, and the sizes of what the file carries.
func (f *SigningFile) keepProposals(offered []PendingProposal) {
	ids := map[string]bool{}
	for _, w := range offered {
		ids[w.ID] = true
	}
	maps.DeleteFunc(f.Objects, func(key string, _ []byte) bool {
		id, _, _, _, err := manifest.ParsePendingObject(key)
		return err == nil && !ids[id]
	})
	maps.DeleteFunc(f.Sizes, func(key string, _ int64) bool {
		_, carried := f.Objects[key]
		return carried
	})
}

// SignFile is Sign on a signing file, which takes the signatures, and stands in for the store: p must have been
// made on it, and nothing takes effect. The signers may hold any role of its proposals. A file in which nothing can be
// signed is *Refused, with the reasons.
func (p *Publisher) SignFile(ctx context.Context, f *SigningFile, confirm func(PendingProposal) (bool, error), signers []keys.Signer) (*Outcome, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	files, err := p.listPending(ctx)
	if err != nil {
		return nil, err
	}
	role, reasons := f.Role, []string{}
	for _, listed := range files {
		w, err := p.readProposal(ctx, view, listed)
		if err != nil {
			return nil, err
		}
		if reason := whyNotLive(w); reason != "" {
			reasons = append(reasons, listed.id+" "+reason)
			continue
		}
		for _, r := range w.roles {
			if f.Role != r.name && authorize(r.name, r.signers(), signers) == nil && authorize(f.Role, w.signersOf(f.Role), signers) != nil {
				role = r.name
			}
		}
	}
	s := p.signing(role, confirm, signers)
	s.carried = true
	out, err := s.run(ctx)
	if err == nil && out.Status == Unchanged {
		return nil, &Refused{Role: role, Reason: "the file holds nothing to sign: " + listOr(reasons, "no proposal")}
	}
	return out, err
}

// signersOf are all who may sign a role of the proposal; nobody for a role that is not in it.
func (w *waiting) signersOf(role string) trust.Authority {
	if r := w.role(role); r != nil {
		return r.signers()
	}
	return trust.Authority{}
}

// whyNotLive says why a proposal that was read, or not, is not offered; "" when it is.
func whyNotLive(w *waiting) string {
	switch {
	case w == nil:
		return "is incomplete, or was altered"
	case w.stale != "":
		return "is stale: " + w.stale
	case !w.signed():
		return "carries no signature by anybody who may sign it"
	}
	return ""
}

// TakeSignatures brings the signatures of a signing file to the catalog: those that are valid, by holders of the
// role, and not there yet, for proposals that wait. What is complete then takes effect if the online key is at
// hand. The outcome is Committed, Pending, or Unchanged when all that the file holds took effect before. A file none of
// whose signatures counts is *Refused.
func (p *Publisher) TakeSignatures(ctx context.Context, f *SigningFile) (*Outcome, error) {
	p = p.renewing()
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	live, err := p.live(ctx, view)
	if err != nil {
		return nil, err
	}
	carried, err := (&Publisher{Store: f}).listPending(ctx)
	if err != nil {
		return nil, err
	}
	t := &taking{Publisher: p, file: f, view: view, live: live, out: &Outcome{Status: Unchanged}}
	for _, from := range carried {
		if err := t.proposal(ctx, from); err != nil {
			return nil, err
		}
	}
	if t.counted == 0 && t.refused != nil {
		return nil, t.refused
	}
	if t.counted == 0 {
		return nil, &Refused{Role: f.Role, Reason: "no signature in the file counts: " + listOr(t.aside, "it holds none")}
	}
	t.out.Summary, t.out.Notes = append(t.out.Summary, t.aside...), append(t.out.Notes, t.notes...)
	return t.out, nil
}

// taking is one TakeSignatures on its way through the proposals of a file.
type taking struct {
	*Publisher
	file    *SigningFile
	view    *catalog.View
	live    []*waiting // on top of the view
	out     *Outcome
	counted int // signatures that are valid, whether they are new or not, and proposals that took effect
	aside   []string
	refused *Refused // the last of the proposals that may not take effect
	notes   []string // on them
}

func (t *taking) proposal(ctx context.Context, from *pendingFiles) error {
	i := slices.IndexFunc(t.live, func(w *waiting) bool { return w.id == from.id })
	if i < 0 {
		return t.gone(ctx, from)
	}
	w := t.live[i]
	valid, err := t.signatures(ctx, w, from)
	if err != nil || valid == 0 {
		return err
	}
	out, err := t.settle(ctx, w)
	if refused, ok := errors.AsType[*Refused](err); ok { // the others of the file go on
		t.refused = &Refused{Role: w.roles[0].name, Reason: refused.Reason, Next: "kitchen pending " + w.id + " shows it, kitchen pending drop " + w.id +
			" says how to be rid of it; what is wanted of it is made again with the command that is meant for it"}
		t.notes = append(t.notes, w.id+" may not take effect, whoever signs: "+refused.Reason)
		return nil
	}
	if err != nil {
		return err
	}
	t.counted += valid
	if t.out.Status == Unchanged || out.Status == Pending {
		t.out, out = out, t.out
	}
	t.aside = append(t.aside, out.Summary...)
	return nil
}

// settle puts a proposal into effect where that is possible. What may not take effect is *Refused.
func (t *taking) settle(ctx context.Context, w *waiting) (*Outcome, error) {
	shown, err := t.present(ctx, t.view, w)
	if err != nil {
		return nil, err
	}
	if shown.Refused != "" {
		return nil, &Refused{Role: w.roles[0].name, Reason: shown.Refused}
	}
	out := outcome(Pending, w.id, shown.Change, w.roles)
	if !t.ready(t.view, w.roles) {
		return out, nil
	}
	err = t.commitOne(ctx, w)
	if lacks, ok := errors.AsType[*NeedsOnlineKeys](err); ok { // the signatures are there all the same
		t.aside = append(t.aside, lacks.Error(), lacks.Hint())
		return out, nil
	}
	if held, ok := errors.AsType[*heldUp](err); ok {
		out.WaitsFor = heldWords(held.by)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return outcome(Committed, w.id, shown.Change, w.roles), t.lookAgain(ctx) // others may have gone stale by that
}

func (t *taking) lookAgain(ctx context.Context) (err error) {
	if t.view, err = t.refresh(ctx); err == nil {
		t.live, err = t.Publisher.live(ctx, t.view)
	}
	return err
}

// signatures adds the file's valid signatures to a proposal, and counts them.
func (t *taking) signatures(ctx context.Context, w *waiting, from *pendingFiles) (valid int, err error) {
	for _, role := range slices.Sorted(maps.Keys(from.sigs)) {
		r := w.role(role)
		for _, id := range slices.Sorted(maps.Keys(from.sigs[role])) {
			for _, key := range from.sigs[role][id] {
				sig, err := trust.ParseSignature(t.file.Objects[key])
				if err != nil || r == nil || len(trust.ValidSignatures(r.payload, []trust.Signature{sig}, r.signers())) == 0 {
					t.aside = append(t.aside, fmt.Sprintf("a signature by %s on %s of %s does not count", ShortID(id), role, w.id))
					continue
				}
				valid++
				if signedBy(r.sigs, sig.KeyID) {
					continue
				}
				if err := t.putSignatures(ctx, w.id, role, []trust.Signature{sig}); err != nil {
					return valid, err
				}
				r.sigs = append(r.sigs, sig)
				t.aside = append(t.aside, fmt.Sprintf("the signature by %s on %s was added", ShortID(sig.KeyID), role))
			}
		}
	}
	return valid, nil
}

// gone says what became of a proposal that does not wait in the catalog.
func (t *taking) gone(ctx context.Context, from *pendingFiles) error {
	w, err := t.inCatalog(ctx, from.id)
	if err != nil {
		return err
	}
	switch {
	case w == nil:
		t.aside = append(t.aside, from.id+" is not in this catalog")
		return nil
	case w.stale != "":
		done, err := t.inEffect(ctx, t.view, w, map[string]*history{})
		if err != nil {
			return err
		}
		if done {
			t.counted++
			t.aside = append(t.aside, from.id+" took effect already")
			return nil
		}
	}
	t.aside = append(t.aside, from.id+" "+cmp.Or(whyNotLive(w), "waits, and is not looked at"))
	return nil
}

// inCatalog reads one proposal, whatever its state; nil when there is none.
func (p *Publisher) inCatalog(ctx context.Context, id string) (*waiting, error) {
	files, err := p.listPending(ctx)
	if err != nil {
		return nil, err
	}
	view, err := p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.id == id {
			return p.readProposal(ctx, view, f)
		}
	}
	return nil, nil
}
