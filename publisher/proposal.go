package publisher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

const proposalSchema = "kitchen.proposal/v1"

// proposalDoc is proposal.json: what the proposer says. Only the names of the roles are used, and checked.
type proposalDoc struct {
	Schema  string         `json:"schema"`
	Kind    string         `json:"kind"`
	Summary []string       `json:"summary"`
	On      string         `json:"on,omitempty"` // the proposal that it was built on
	Roles   []proposalRole `json:"roles"`
}

type proposalRole struct {
	Role    string `json:"role"`
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"` // of the payload
}

// waiting is a proposal as it was read: well formed, its id true to its payloads. Whether it may take effect is
// vet's to say.
type waiting struct {
	id      string
	kind    string
	stated  []string
	on      string       // what its proposer says that it was built on: an id, or ""
	roles   []*roleDraft // sigs holds valid signatures only
	created time.Time
	expires time.Time
	seen    time.Time // since when it is there, by the store's clock; zero where that has none
	stale   string
	change  []string
}

func (w *waiting) role(name string) *roleDraft {
	for _, r := range w.roles {
		if r.name == name {
			return r
		}
	}
	return nil
}

// signed tells whether anybody who may has signed at all.
func (w *waiting) signed() bool {
	return slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return len(r.sigs) > 0 })
}

// byHolder tells whether somebody who holds one of the roles today has signed it. Those whom the proposal itself would give a
// role may begin it; but anybody can name himself.
func (w *waiting) byHolder() bool {
	return slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return r.byHolder })
}

// withdrawal is the proposer's reason for withdrawing certificates, which stands nowhere else, and in nothing signed; ""
// where none is withdrawn.
func (w *waiting) withdrawal(v *catalog.View) string {
	for _, r := range w.roles {
		current, err := currentRole(v, r.name)
		if kind, _, _ := manifest.SplitRole(r.name); err != nil || kind != manifest.StageReady || len(w.stated) == 0 {
			continue
		}
		for path := range current.Targets {
			if r.next.Targets[path].SHA256 == "" {
				return w.stated[0]
			}
		}
	}
	return ""
}

func (w *waiting) complete() bool { return w.stale == "" && complete(w.roles) }

// signedByAll tells whether each of the signers has signed every role of the proposal that it may sign.
func (w *waiting) signedByAll(signers []keys.Signer) bool {
	for _, s := range signers {
		key, err := trust.NewKey(s.Public())
		if err != nil {
			return false
		}
		signed := false
		for _, r := range w.roles {
			if !r.signers().Has(key.ID) {
				continue
			}
			if !signedBy(r.sigs, key.ID) {
				return false
			}
			signed = true
		}
		if !signed {
			return false
		}
	}
	return len(signers) > 0
}

// putProposal leaves a draft with its signatures for others. proposal.json comes last and makes it visible.
func (p *Publisher) putProposal(ctx context.Context, dr *draft) (string, error) {
	doc := proposalDoc{Schema: proposalSchema, Kind: dr.kind, Summary: dr.summary, On: dr.on}
	for _, r := range dr.roles {
		doc.Roles = append(doc.Roles, proposalRole{r.name, r.next.Version, digest(r.payload)})
	}
	id := doc.id()
	for _, r := range dr.roles {
		if err := put(ctx, p.Store, manifest.ProposalObject(id, manifest.PayloadName(r.name)), r.payload); err != nil {
			return "", err
		}
		if err := p.putSignatures(ctx, id, r.name, r.sigs); err != nil {
			return "", err
		}
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return "", err
	}
	return id, put(ctx, p.Store, manifest.ProposalObject(id, manifest.ProposalName), append(data, '\n'))
}

func (p *Publisher) putSignatures(ctx context.Context, id, role string, sigs []trust.Signature) error {
	for _, sig := range sigs {
		data, err := trust.EncodeSignature(sig)
		if err != nil {
			return err
		}
		if err := p.putSignature(ctx, id, role, sig.KeyID, data); err != nil {
			return err
		}
	}
	return nil
}

// putSignature stores a signature file. Where its name is taken, by whatever somebody put there, a line feed more
// makes it another file of the same meaning, with a name of its own.
func (p *Publisher) putSignature(ctx context.Context, id, role, keyID string, data []byte) (err error) {
	for range maxNames {
		err = put(ctx, p.Store, manifest.SignatureObject(id, role, keyID, digest(data)), data)
		if !errors.Is(err, storage.ErrExists) {
			return err
		}
		data = append(data, '\n')
	}
	return err
}

// byRole is the one order of a proposal's roles, so that its payloads make one proposal: root, targets, the others by name.
func byRole(a, b *roleDraft) int {
	place := func(r *roleDraft) int { return slices.Index(append(slices.Clone(topRoles), r.name), r.name) }
	return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a.name, b.name))
}

// id names the proposal after its first role and all its payloads.
func (d *proposalDoc) id() string {
	var all strings.Builder
	for _, r := range d.Roles {
		fmt.Fprintf(&all, "%s %d %s\n", r.Role, r.Version, r.SHA256)
	}
	return manifest.ProposalID(d.Roles[0].Role, d.Roles[0].Version, digest([]byte(all.String())))
}

// pendingFiles is what the listing tells of one proposal.
type pendingFiles struct {
	id       string
	role     string
	version  int64
	modified time.Time // the latest of its objects
	since    time.Time // the first
	doc      bool
	sizes    map[string]int64               // of its documents, by name
	sigs     map[string]map[string][]string // role → key id → object keys
}

// listPending groups the objects under pending/ by proposal. Foreign names are ignored, and the counts capped:
// what lies beyond is garbage, since nobody makes so many proposals.
func (p *Publisher) listPending(ctx context.Context) ([]*pendingFiles, error) {
	return p.listProposals(ctx, manifest.PendingPrefix)
}

func (p *Publisher) listProposals(ctx context.Context, prefix string) ([]*pendingFiles, error) {
	var list []*pendingFiles
	var last *pendingFiles
	for info, err := range p.Store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		id, name, role, keyID, err := manifest.ParsePendingObject(info.Key)
		if err != nil {
			continue
		}
		if last == nil || last.id != id {
			first, version, _, err := manifest.ParseProposalID(id)
			if err == nil && len(list) >= maxListed {
				p.note(fmt.Sprintf("more than %d names below %s: what comes after them is not looked at; delete what is garbage (kitchen check counts it)", maxListed, prefix))
				err = storage.ErrTooLarge
			}
			if err != nil {
				continue
			}
			last = &pendingFiles{id: id, role: first, version: version, sizes: map[string]int64{}, sigs: map[string]map[string][]string{}}
			list = append(list, last)
		}
		if info.Modified.After(last.modified) {
			last.modified = info.Modified
		}
		if last.since.IsZero() || info.Modified.Before(last.since) {
			last.since = info.Modified
		}
		last.doc = last.doc || name == manifest.ProposalName
		if keyID != "" {
			last.addSignature(role, keyID, info.Key)
		} else if len(last.sizes) < maxListed {
			last.sizes[name] = info.Size
		}
	}
	return list, nil
}

func (f *pendingFiles) addSignature(role, keyID, key string) {
	byKey := f.sigs[role]
	if byKey == nil {
		if len(f.sigs) >= maxListed {
			return
		}
		byKey = map[string][]string{}
		f.sigs[role] = byKey
	}
	if len(byKey[keyID]) < maxSignatures && (byKey[keyID] != nil || len(byKey) < maxListed) {
		byKey[keyID] = append(byKey[keyID], key)
	}
}

// worthReading tells, from names alone, whether anybody who may sign the proposal's roles can have signed it. Where it
// delegates anew, that is not to be told from names.
func (f *pendingFiles) worthReading(v *catalog.View) bool {
	if !f.doc {
		return false
	}
	for role, byKey := range f.sigs {
		authority, known := v.Authority(role)
		if !known {
			continue
		}
		for id := range byKey {
			if role == trust.RoleRoot || role == trust.RoleTargets || authority.Has(id) {
				return true
			}
		}
	}
	return (f.role == trust.RoleRoot || f.role == trust.RoleTargets) && len(f.sigs) > 0
}

// past tells, from its name, that a proposal took effect or can no more. One that begins with the root in effect may
// have more to do.
func (f *pendingFiles) past(v *catalog.View) bool {
	current := currentVersion(v, f.role)
	return f.version < current || f.version == current && f.role != trust.RoleRoot
}

// readProposal reads one proposal. It is nil for garbage; an error is the store's.
func (p *Publisher) readProposal(ctx context.Context, v *catalog.View, f *pendingFiles) (*waiting, error) {
	return p.readWithin(ctx, v, f, func(int64) bool { return true })
}

// readWithin is readProposal for one of many: it is nil, too, where the bytes that no holder has signed are not afforded.
func (p *Publisher) readWithin(ctx context.Context, v *catalog.View, f *pendingFiles, affords func(bytes int64) bool) (*waiting, error) {
	named := len(f.claimed(v)) > 0
	if !named && !affords(f.bytes()) {
		return nil, nil
	}
	data, err := get(ctx, p.Store, manifest.ProposalObject(f.id, manifest.ProposalName))
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	var doc proposalDoc
	if manifest.CheckJSON(data) != nil || json.Unmarshal(data, &doc) != nil || doc.Schema != proposalSchema ||
		len(doc.Roles) == 0 || len(doc.Roles) > maxRoles || doc.id() != f.id {
		return nil, nil
	}
	if named {
		if n, err := p.foreign(ctx, v, f, doc.Roles); err != nil || n > 0 && !affords(n) {
			return nil, err
		}
	}
	w := &waiting{id: f.id, kind: manifest.CleanText(doc.Kind, maxKind), seen: f.since, on: doc.On}
	for _, line := range doc.Summary[:min(len(doc.Summary), maxSummary)] {
		w.stated = append(w.stated, manifest.CleanText(line, maxReason))
	}
	for _, listed := range doc.Roles {
		r, err := p.readRole(ctx, f.id, listed)
		if r == nil || err != nil || w.role(r.name) != nil {
			return nil, err
		}
		w.roles = append(w.roles, r)
	}
	roles := joinRoles(w.roles)
	if slices.ContainsFunc(w.roles, func(r *roleDraft) bool { return r.next.ProposalRoles != roles }) || !slices.IsSortedFunc(w.roles, byRole) {
		return nil, nil // put together of what was signed for others
	}
	w.created, w.expires = w.times()
	w.stale = w.staleness(v)
	w.leaveOut(v)
	return w, p.readSignatures(ctx, v, w, f)
}

// readRole reads one role's payload; nil when it is not what the proposal names.
func (p *Publisher) readRole(ctx context.Context, id string, listed proposalRole) (*roleDraft, error) {
	if !isRole(listed.Role) {
		return nil, nil
	}
	payload, err := get(ctx, p.Store, manifest.ProposalObject(id, manifest.PayloadName(listed.Role)))
	if err != nil {
		return nil, ignoreAbsent(err)
	}
	next, err := parseContent(listed.Role, payload)
	if err != nil || digest(payload) != listed.SHA256 || next.Version != listed.Version {
		return nil, nil //nolint:nilerr // a payload that does not parse is garbage, not a failure
	}
	return &roleDraft{name: listed.Role, next: next, payload: payload}, nil
}

// readSignatures keeps the signatures that verify, one per key of the role's authority.
func (p *Publisher) readSignatures(ctx context.Context, v *catalog.View, w *waiting, f *pendingFiles) error {
	(&draft{roles: w.roles}).authorize(v)
	for _, r := range w.roles {
		verifier := trust.NewVerifier(r.payload)
		for _, id := range r.signers().KeyIDs() {
			for _, key := range f.sigs[r.name][id] {
				data, err := get(ctx, p.Store, key)
				if ignoreAbsent(err) != nil {
					return err
				}
				sig, parseErr := trust.ParseSignature(data)
				if err != nil || parseErr != nil || sig.KeyID != id {
					continue
				}
				if valid := verifier.Valid([]trust.Signature{sig}, r.signers()); len(valid) == 1 {
					r.sigs = append(r.sigs, sig)
					present, _ := v.Authority(r.name)
					r.byHolder = r.byHolder || present.Has(id)
					break
				}
			}
		}
	}
	return nil
}

// times are when the proposal was made and when it lapses, from what is signed.
func (w *waiting) times() (created, expires time.Time) {
	for _, r := range w.roles {
		if expires.IsZero() || r.next.ProposalExpires.Before(expires) {
			expires = r.next.ProposalExpires
		}
	}
	return expires.Add(-lifeProposal), expires
}

// staleness says why the proposal cannot take effect any more, or "".
func (w *waiting) staleness(v *catalog.View) string {
	if !w.expires.After(v.Now()) {
		return "it lapsed on " + w.expires.Format(time.DateOnly)
	}
	for _, r := range w.roles {
		current := currentVersion(v, r.name)
		_, err := currentRole(v, r.name)
		switch {
		case w.role(trust.RoleRoot) != nil && r.isInEffect(v):
			continue
		case err != nil:
			return fmt.Sprintf("what it would replace cannot be used: %v", err)
		case r.next.Replaces != currentDigest(v, r.name), r.next.Version <= current:
			return fmt.Sprintf("%s changed meanwhile: version %d is in effect", r.name, current)
		case !r.next.Expires.After(v.Now()):
			return fmt.Sprintf("%s in it expired on %s", r.name, r.next.Expires.Format(time.DateOnly))
		}
	}
	return ""
}

// leaveOut drops what of a proposal that changes root is in effect already: its root is written apart from the rest,
// and whoever did the one may not have come to the other.
func (w *waiting) leaveOut(v *catalog.View) {
	if w.stale != "" || w.role(trust.RoleRoot) == nil {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(w.roles), func(r *roleDraft) bool { return r.isInEffect(v) })
	if len(rest) == 0 {
		w.stale = "it is in effect"
		return
	}
	w.roles = rest
}

// isInEffect tells whether this very version is what readers see.
func (r *roleDraft) isInEffect(v *catalog.View) bool {
	file := currentFile(v, r.name)
	if file == nil {
		return false
	}
	payload, _, err := trust.ParseEnvelope(file)
	return err == nil && string(payload) == string(r.payload)
}

func currentVersion(v *catalog.View, role string) int64 {
	if role == trust.RoleRoot {
		return v.Root().Version
	}
	return v.Snapshot().Roles[role].Version
}

// ignoreAbsent turns "not there", "not to be looked at" and "absurdly large" into nil: what garbage looks like.
func ignoreAbsent(err error) error {
	for _, harmless := range []error{storage.ErrNotFound, storage.ErrForbidden, storage.ErrTooLarge} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}
