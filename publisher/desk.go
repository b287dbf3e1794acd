package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// What a target's "custom" holds, signed with its role.
const (
	customSeq             = catalog.CustomSeq
	customReason          = catalog.CustomReason
	customEvidence        = catalog.CustomEvidence
	customRecalledVersion = catalog.CustomRecalledVersion
)

// A change works out new role contents from the current ones. It returns nil when everything is so already. It is
// called again after a lost race, so that it must not rest on anything but the desk.
type change func(ctx context.Context, d *desk) (*draft, error)

// desk is what a change is worked out on: the verified view, and on top of it the proposal that waits with the
// same signers' signatures, if there is one. Without the latter a second change from a laptop would go stale the
// moment the first is committed.
type desk struct {
	view    *catalog.View
	store   storage.Reader
	now     time.Time
	live    []*waiting // proposals that could still take effect
	waiting []*waiting // those of them that this change may be built on; the latest first
	base    *waiting   // the one of them that this change builds on, once a role of it was asked for
	after   time.Time  // the change is to count as made later than this
}

// role is a copy of a role's current content to be changed; empty when the role was never signed. base is fixed by
// the first role asked for that waits in a proposal.
func (d *desk) role(name string) (*trust.Targets, error) {
	if d.base == nil {
		for _, w := range d.waiting {
			if w.role(name) != nil {
				d.base = w
				break
			}
		}
	}
	if d.base != nil {
		if r := d.base.role(name); r != nil {
			return r.next.Clone(), nil
		}
	}
	return currentRole(d.view, name)
}

// made is when a draft counts as made: now, but later than what it is made on top of, or instead of. That is how
// committers tell which comes first, whatever the clocks of the hosts say.
func (d *desk) made() time.Time {
	after := d.after
	if d.base != nil && d.base.created.After(after) {
		after = d.base.created
	}
	made := d.now.UTC().Truncate(time.Second)
	if !made.After(after) {
		made = after.Add(time.Second)
	}
	return made
}

// overtakes tells whether the change rests on something later than a proposal, which then cannot stand for it: taking
// back what waits is not what waited before.
func (d *desk) overtakes(w *waiting) bool { return d.base != nil && d.base.created.After(w.created) }

// currentRole is a copy of what is in effect; empty when the role was never signed. A role that is right in all but
// its expiry counts: its holders sign it anew with whatever they change.
func currentRole(v *catalog.View, name string) (*trust.Targets, error) {
	if name == trust.RoleRoot {
		return rootContent(v.Root()), nil
	}
	role, err := v.Role(name)
	var absent *catalog.RoleAbsent
	if expired, _, ok := v.ExpiredRole(name); err != nil && ok {
		role, err = expired, nil
	}
	switch {
	case errors.As(err, &absent):
		return &trust.Targets{Targets: map[string]trust.Target{}}, nil
	case err != nil:
		return nil, err
	}
	copied := role.Clone()
	if copied.Targets == nil {
		copied.Targets = map[string]trust.Target{}
	}
	return copied, nil
}

// currentFile is the file of what currentRole gives, nil for none.
func currentFile(v *catalog.View, name string) []byte {
	if name == trust.RoleRoot {
		return v.RawRoot()
	}
	if file := v.RawRole(name); file != nil {
		return file
	}
	_, file, _ := v.ExpiredRole(name)
	return file
}

// currentDigest is the digest of currentFile, "" for none.
func currentDigest(v *catalog.View, name string) string {
	if file := currentFile(v, name); file != nil {
		return digest(file)
	}
	return ""
}

// draft is a change, worked out: what every role it touches holds next.
type draft struct {
	kind    string // "publish", "certify", …
	primary string // the role whose holders the signers must be
	summary []string
	roles   []*roleDraft
	urgent  bool     // it is vetted before it is left for others: nobody may take it for on its way who has to do more
	on      string   // the id of the proposal that it is built on, or ""
	objects []object // small documents the roles point to, put before anything is signed
}

// roleDraft is one role's next version. That of root is shown as its rootContent.
type roleDraft struct {
	name      string
	next      *trust.Targets
	payload   []byte
	authority trust.Authority // whose threshold it needs
	successor trust.Authority // of root and targets whose keys change with it: whose threshold it needs besides
	sigs      []trust.Signature
	byHolder  bool // of the signatures of a proposal, one is of somebody who holds the role today
}

// signers are all who may sign it.
func (r *roleDraft) signers() trust.Authority {
	all := trust.Authority{Threshold: r.authority.Threshold, Keys: slices.Clone(r.authority.Keys)}
	for _, key := range r.successor.Keys {
		if !all.Has(key.ID) {
			all.Keys = append(all.Keys, key)
		}
	}
	return all
}

// complete tells whether it has the signatures that it needs.
func (r *roleDraft) complete() bool { return r.signedBy(r.sigs) }

func (r *roleDraft) signedBy(sigs []trust.Signature) bool {
	enough := func(a trust.Authority) bool { return len(trust.ValidSignatures(r.payload, sigs, a)) >= a.Threshold }
	return r.authority.Threshold > 0 && enough(r.authority) && enough(r.successor)
}

// file is what is published of it.
func (r *roleDraft) file() ([]byte, error) {
	return trust.Envelope(r.payload, trust.ValidSignatures(r.payload, r.sigs, r.signers()))
}

// object is one small immutable document.
type object struct {
	key  string
	data []byte
}

func newDraft(kind, primary string, summary ...string) *draft {
	return &draft{kind: kind, primary: primary, summary: summary}
}

func (d *draft) set(name string, next *trust.Targets) *draft {
	d.roles = append(d.roles, &roleDraft{name: name, next: next})
	return d
}

func (d *draft) role(name string) *roleDraft {
	for _, r := range d.roles {
		if r.name == name {
			return r
		}
	}
	return nil
}

// include carries the other roles of the proposal that the draft builds on, so that they stay together.
func (d *draft) include(base *waiting) {
	if base == nil {
		return
	}
	d.on = base.id
	for _, r := range base.roles {
		if d.role(r.name) == nil {
			d.set(r.name, r.next.Clone())
		}
	}
	for _, line := range base.change {
		if !slices.Contains(d.summary, line) {
			d.summary = append(d.summary, "with what waits in "+base.id+": "+line)
		}
	}
}

// authorize fills in who signs each role. A delegated role is signed as the change of targets in the same draft says,
// if there is one; root, and targets beside it, both as the root in effect and as the next one says. Roles that nobody
// hands out stay without; the first of them is returned.
func (d *draft) authorize(v *catalog.View) (unknown string) {
	for _, r := range d.roles {
		var known bool
		parent := d.role(trust.RoleTargets)
		if isTopRole(r.name) {
			parent = d.role(trust.RoleRoot)
		}
		if parent == nil || isTopRole(r.name) {
			r.authority, known = v.Authority(r.name)
		}
		if parent != nil {
			var next trust.Delegation
			next, known = parent.next.Delegation(r.name)
			switch {
			case !isTopRole(r.name):
				r.authority = next.Authority
			case authorityText(next.Authority) != authorityText(r.authority):
				r.successor = next.Authority
			}
		}
		if !known && unknown == "" {
			unknown = r.name
		}
	}
	return unknown
}

// lifetime is how long a signature on a role holds, DESIGN §4.
func lifetime(role string) time.Duration {
	switch kind, _, _ := manifest.SplitRole(role); kind {
	case manifest.StageReady, manifest.StageRecalled:
		return lifeShort
	case manifest.RoleJournal:
		return lifeSnapshot
	}
	return lifeLong
}

// finish puts the roles of the draft in order, and gives each its number, expiry, link to what it replaces and authority.
// floor holds numbers that are known to be used up.
func (p *Publisher) finish(ctx context.Context, d *desk, dr *draft, floor map[string]int64) error {
	roles := joinRoles(dr.roles)
	slices.SortFunc(dr.roles, byRole)
	for _, r := range dr.roles {
		current := currentVersion(d.view, r.name)
		number := current + 1
		if r.name != trust.RoleRoot { // whose numbers have no gap
			var err error
			if number, err = p.freeNumber(ctx, r.name, max(current, floor[r.name])); err != nil {
				return err
			}
		}
		r.next.Version, r.next.Role = number, r.name
		r.next.Replaces = currentDigest(d.view, r.name)
		r.next.Expires = d.now.Add(lifetime(r.name))
		r.next.ProposalExpires, r.next.ProposalRoles = d.made().Add(lifeProposal), roles
		var err error
		if r.payload, err = encodeContent(r.name, r.next); err != nil {
			return err
		}
	}
	if unknown := dr.authorize(d.view); unknown != "" {
		return unknownRole(d.view, unknown)
	}
	return nil
}

func joinRoles(roles []*roleDraft) string {
	var names []string
	for _, r := range roles {
		names = append(names, r.name)
	}
	return trust.JoinRoles(names)
}

// freeNumber is the first version number above n that no writer used up.
func (p *Publisher) freeNumber(ctx context.Context, role string, n int64) (int64, error) {
	return p.firstFree(ctx, role, n, roleKey(role))
}

func roleKey(role string) func(int64) string {
	return func(n int64) string { return manifest.RoleObject(role, n) }
}

// firstFree is freeNumber for any numbered objects that belong to the role.
func (p *Publisher) firstFree(ctx context.Context, role string, n int64, key func(int64) string) (int64, error) {
	for tries := 0; tries < maxOrphans; tries++ {
		n++
		taken, err := p.exists(ctx, key(n))
		if err != nil || !taken {
			return n, err
		}
	}
	return 0, &Refused{Role: role, Reason: "thousands of version numbers are used up by objects that never took effect"}
}

// exists tells whether there is an object. One that may not be looked at counts as absent: stores answer so for
// absent objects to callers without the right to list, and creating it tells.
func (p *Publisher) exists(ctx context.Context, key string) (bool, error) {
	_, err := p.Store.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}

// sign adds the signatures that the signers may give and have not given.
func (r *roleDraft) sign(ctx context.Context, signers []keys.Signer) (added []trust.Signature, err error) {
	may := r.signers()
	for _, s := range signers {
		key, err := trust.NewKey(s.Public())
		if err != nil {
			return nil, err
		}
		if !may.Has(key.ID) || signedBy(r.sigs, key.ID) {
			continue
		}
		sig, err := trust.Sign(ctx, r.payload, s)
		if err != nil {
			return nil, err
		}
		r.sigs = append(r.sigs, sig)
		added = append(added, sig)
	}
	return added, nil
}

func signedBy(sigs []trust.Signature, keyID string) bool {
	return slices.ContainsFunc(sigs, func(s trust.Signature) bool { return s.KeyID == keyID })
}

func complete(roles []*roleDraft) bool {
	for _, r := range roles {
		if !r.complete() {
			return false
		}
	}
	return len(roles) > 0
}

// authorize refuses every signer that does not hold the role, before anything is read twice, signed or sent.
func authorize(role string, authority trust.Authority, signers []keys.Signer) error {
	if len(signers) == 0 {
		return &NoSigner{Role: role, Allowed: shortIDs(authority.KeyIDs())}
	}
	for _, s := range signers {
		key, err := trust.NewKey(s.Public())
		if err != nil {
			return err
		}
		if !authority.Has(key.ID) {
			allowed := named(KeyNames(append(authority.KeyIDs(), key.ID)...), authority.KeyIDs())
			return &NotAuthorized{Role: role, KeyID: key.ID, Path: signerPath(s), Allowed: allowed, Holders: authority.KeyIDs()}
		}
	}
	return nil
}

// authorizeRole is authorize with the authority that is in effect.
func authorizeRole(v *catalog.View, role string, signers []keys.Signer) error {
	authority, ok := v.Authority(role)
	if !ok {
		return unknownRole(v, role)
	}
	return authorize(role, authority, signers)
}

// unknownRole says what is missing: a product, mostly; or the product in the name of a customer's role.
func unknownRole(v *catalog.View, role string) error {
	kind, product, _ := manifest.SplitRole(role)
	if product == "" || slices.Contains(v.Products(), product) {
		return &UnknownRole{Role: role}
	}
	var like []string
	for _, p := range v.Products() {
		if name := manifest.RoleReadyFor(p, product); kind == manifest.StageReady {
			if _, ok := v.Authority(name); ok {
				like = append(like, name)
			}
		}
	}
	if len(like) > 0 {
		return &UnknownRole{Role: role, Like: like}
	}
	return &catalog.UnknownProduct{Product: product}
}

// signerPath is the key file, where the signer knows it.
func signerPath(s keys.Signer) string {
	if named, ok := s.(interface{ Path() string }); ok {
		return named.Path()
	}
	return ""
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
