package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// onlineKeys are the online keys at hand: one, or two while one takes over from the other.
func (p *Publisher) onlineKeys() []keys.Signer {
	if p.Online == nil {
		return nil
	}
	return append([]keys.Signer{p.Online}, p.OnlineToo...)
}

// authorizeOnline refuses a key that does not sign snapshot and timestamp, before anything is read twice or written.
func (p *Publisher) authorizeOnline(v *catalog.View) error {
	for _, role := range []string{trust.RoleSnapshot, trust.RoleTimestamp} {
		if err := p.authorizeOnlineRole(v, role); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) authorizeOnlineRole(v *catalog.View, role string) error {
	authority, ok := v.Authority(role)
	if !ok {
		return unknownRole(v, role)
	}
	if n := held(p.onlineKeys(), authority); n == 0 {
		return authorize(role, authority, []keys.Signer{p.Online})
	} else if n < authority.Threshold {
		return &NeedsOnlineKeys{Role: role, Keys: shortIDs(authority.KeyIDs()), Need: authority.Threshold, Settled: true}
	}
	return nil
}

// held counts the keys of an authority among the signers.
func held(signers []keys.Signer, a trust.Authority) int {
	ids := publicsOf(signers)
	n := 0
	for _, id := range a.KeyIDs() {
		if ids[id] {
			n++
		}
	}
	return n
}

// NeedsOnlineKeys is a complete change, or any commit, that takes more online keys than are at hand.
type NeedsOnlineKeys struct {
	Role    string
	Keys    []string // short ids
	Need    int
	Settled bool // they are those in effect: none comes or goes
}

func (e *NeedsOnlineKeys) Error() string {
	if e.Settled {
		return fmt.Sprintf("the committer needs %d of the online keys %s for %s", e.Need, strings.Join(e.Keys, ", "), e.Role)
	}
	return fmt.Sprintf("the committer needs the online keys, present and next: %d of %s for %s", e.Need, strings.Join(e.Keys, ", "), e.Role)
}

// Hint says how to give them.
func (e *NeedsOnlineKeys) Hint() string {
	if e.Settled {
		return fmt.Sprintf("name %d of them in kitchen.toml, [keys] online = [\"FILE\", …], and run kitchen commit", e.Need)
	}
	return `name both in kitchen.toml, [keys] online = ["OLD", "NEW"], and run kitchen commit; if the old one is stolen or lost, name the new one alone and run kitchen commit --stolen`
}

// onlineDraft is a file that the online keys sign, with who has to.
func (c *candidate) onlineDraft(role string, payload []byte) *roleDraft {
	r := &roleDraft{name: role, payload: payload}
	(&draft{roles: append(slices.Clone(c.roles), r)}).authorize(c.view)
	if c.rootFirst && r.successor.Threshold > 0 {
		r.authority, r.successor = r.successor, trust.Authority{}
	}
	return r
}

// onlineLacks tells which online keys a commit of the candidate would lack; nil for none.
func (p *Publisher) onlineLacks(c *candidate) error {
	names := []string{trust.RoleSnapshot, trust.RoleTimestamp}
	if c.movesJournal() {
		names = append(names, manifest.RoleJournal)
	}
	for _, name := range names {
		r := c.onlineDraft(name, nil)
		for _, a := range []trust.Authority{r.authority, r.successor} {
			if held(p.onlineKeys(), a) < a.Threshold {
				return &NeedsOnlineKeys{Role: name, Keys: shortIDs(a.KeyIDs()), Need: a.Threshold, Settled: r.successor.Threshold == 0 && !c.rootFirst && name != manifest.RoleJournal}
			}
		}
	}
	return nil
}

// ready tells whether roles are complete and the online keys at hand can put them into effect.
func (p *Publisher) ready(v *catalog.View, roles []*roleDraft) bool {
	if p.Online == nil || !complete(roles) {
		return false
	}
	return p.onlineLacks(p.candidate(v, roles)) == nil || p.authorizeOnline(v) != nil
}

// waits is the outcome of what waits on, perhaps for another proposal by which it is held.
func (p *Publisher) waits(v *catalog.View, id string, summary []string, roles []*roleDraft, by *waiting) *Outcome {
	out := outcome(Pending, id, summary, roles)
	if by != nil {
		out.WaitsFor = heldWords(by)
	}
	if words := p.waitsOnline(v, roles); words != "" {
		out.WaitsFor = words
	}
	return out
}

// waitsOnline says what a complete change of the online keys waits for; "" for any other.
func (p *Publisher) waitsOnline(v *catalog.View, roles []*roleDraft) string {
	if !complete(roles) {
		return ""
	}
	c := p.candidate(v, roles)
	next, _ := c.topAuthority(trust.RoleTimestamp)
	switch {
	case c.takesOnline():
		return "the committer, with the old and the new online key (kitchen commit); with the old one stolen or lost: kitchen commit --stolen"
	case c.changesOnline() && next.Threshold > 1:
		return fmt.Sprintf("the committer, with %d online keys (kitchen commit)", next.Threshold)
	}
	return ""
}

// TakesOver is the online key of a change that waits, given alone where the one in effect is needed.
type TakesOver struct {
	Proposal string // complete
	err      error
}

func (e *TakesOver) Error() string {
	return e.err.Error() + "; proposal " + e.Proposal + ", which has all its signatures, gives it to this key"
}
func (e *TakesOver) Unwrap() error { return e.err }

// Hint says how it takes over.
func (e *TakesOver) Hint() string {
	return `with the old online key stolen or lost: kitchen commit --stolen; else name both in kitchen.toml, [keys] online = ["OLD", "NEW"], and run kitchen commit`
}

// OldOnlineKey is the online key that a change takes its roles from which waits with all its signatures: with Stolen, the next
// one is wanted, and nothing more is signed with this one (exit 2).
type OldOnlineKey struct {
	Proposal string
	Keys     []string // those at hand, short ids
	Next     []string // short ids
}

func (e *OldOnlineKey) Error() string {
	return fmt.Sprintf("--stolen was given, but the online key at hand, %s, is the old one: proposal %s gives its roles to %s", strings.Join(e.Keys, ", "), e.Proposal, listOr(e.Next, "nobody"))
}

// Hint names the way to give the next one.
func (e *OldOnlineKey) Hint() string {
	return "name the new key, and it alone: `kitchen commit --stolen --online-key NEW`, or [keys] online = [\"NEW\"] in kitchen.toml"
}

// oldOnline is an *OldOnlineKey where Stolen is set and the new one of the keys is not at hand.
func (p *Publisher) oldOnline(v *catalog.View, live []*waiting) error {
	if !p.Stolen {
		return nil
	}
	for _, w := range live {
		root := w.role(trust.RoleRoot)
		if root == nil || !w.complete() {
			continue
		}
		for _, role := range []string{trust.RoleSnapshot, trust.RoleTimestamp} {
			was, _ := v.Authority(role)
			next, ok := root.next.Delegation(role)
			if ok && held(p.onlineKeys(), was) > 0 && held(p.onlineKeys(), next.Authority) == 0 {
				return &OldOnlineKey{Proposal: w.id, Keys: shortIDs(keyIDs(p.onlineKeys())), Next: shortIDs(next.KeyIDs())}
			}
		}
	}
	return nil
}

// candidate is the catalog as roles would make it.
func (p *Publisher) candidate(v *catalog.View, roles []*roleDraft) *candidate {
	c := &candidate{view: v, roles: roles, etag: v.TimestampETag()}
	c.rootFirst = p.Stolen && c.changesOnline()
	return c
}

// changesOnline tells whether root would let other keys sign snapshot or timestamp.
func (c *candidate) changesOnline() bool {
	for _, name := range []string{trust.RoleSnapshot, trust.RoleTimestamp} {
		was, _ := c.view.Authority(name)
		if is, ok := c.topAuthority(name); ok && authorityText(was) != authorityText(is) {
			return true
		}
	}
	return false
}

// movesJournal tells whether the journal is to be signed again, by the keys that targets would give it. One that cannot
// be used stays as it is: it is no worse with other keys.
func (c *candidate) movesJournal() bool {
	if !c.changes(trust.RoleTargets) || currentVersion(c.view, manifest.RoleJournal) == 0 {
		return false
	}
	if _, err := currentRole(c.view, manifest.RoleJournal); err != nil {
		return false
	}
	d, ok := c.delegation(manifest.RoleJournal)
	return ok && !signedFor(currentFile(c.view, manifest.RoleJournal), d.Authority)
}

// signOnline signs with the online keys at hand, which must be those that the root names, and the next one, too.
func (p *Publisher) signOnline(ctx context.Context, c *candidate, role string, payload []byte) ([]byte, error) {
	r := c.onlineDraft(role, payload)
	if held(p.onlineKeys(), r.signers()) == 0 {
		return nil, authorize(role, r.signers(), []keys.Signer{p.Online})
	}
	if _, err := r.sign(ctx, p.onlineKeys()); err != nil {
		return nil, err
	}
	if !r.complete() {
		return nil, &NeedsOnlineKeys{Role: role, Keys: shortIDs(r.signers().KeyIDs()), Need: max(r.authority.Threshold, r.successor.Threshold), Settled: r.successor.Threshold == 0 && !c.rootFirst}
	}
	return r.file()
}

// installRoot carries a change of root through. Root stands outside the one point at which all else takes effect, so that
// the order counts. Whatever readers have, root N or N+1, they find a timestamp, a snapshot and targets that it takes:
// first, in one commit, the other roles of the change and a snapshot and timestamp with the signatures that both roots
// want; then root N+1. errAgain after the former: what is left is worked out on what is there then.
//
// With Stolen, a root that replaces the online key comes first, and the new key signs alone. In between readers take
// nothing.
func (p *Publisher) installRoot(ctx context.Context, c *candidate, root *roleDraft) (err error) {
	if c.root, err = root.file(); err != nil {
		return err
	}
	if !c.rootFirst {
		ready := len(c.roles) == 1 && c.check(c.view.RawTimestamp(), c.view.RawSnapshot(), nil) == nil
		if !ready {
			if err := p.installRoles(ctx, c, nil); err != nil {
				return err
			}
			return errAgain
		}
	} else if _, err := c.session(); err != nil {
		return err
	}
	if err := p.stillCurrent(ctx, c.view); err != nil {
		return err
	}
	err = put(ctx, p.Store, manifest.RootObject(root.next.Version), c.root)
	if errors.Is(err, storage.ErrExists) {
		return errLost
	}
	switch {
	case err != nil:
		return err
	case !c.changesOnline():
		_, _ = p.Catalog.Refresh(ctx) // this host knows the root from now on, should it be shown an older catalog; if not, from its next look
		return nil
	}
	if err := p.endOutage(ctx); err != nil {
		return err
	}
	if len(c.roles) > 1 {
		return errAgain
	}
	return nil
}

// endOutage signs snapshot and timestamp with the new online key, over the roles that were in effect under the old one,
// where the timestamp in the store is not one that the newest root takes.
func (p *Publisher) endOutage(ctx context.Context) error {
	info, err := p.Store.Stat(ctx, manifest.TimestampObject)
	if err != nil {
		return err
	}
	if _, err := p.Catalog.Refresh(ctx); !isOutage(err) {
		return err // it is over
	}
	v, root, err := p.Catalog.RefreshOutgoing(ctx, revival)
	if err != nil {
		return err
	}
	s, err := trust.Start(root, v.Now())
	if err != nil {
		return err
	}
	c := &candidate{view: v, root: root, rootFirst: true, etag: info.ETag,
		roles: []*roleDraft{{name: trust.RoleRoot, next: rootContent(s.Root())}}}
	p.sink().Note(fmt.Sprintf("root %d is in effect, and its online key has not signed yet: readers take nothing until it has", s.Root().Version))
	return p.point(ctx, c, v.Snapshot().Clone(), map[string][]byte{})
}

// isOutage tells a timestamp or snapshot that the newest root does not take.
func isOutage(err error) bool {
	var refused *trust.Error
	return errors.As(err, &refused) && (refused.Role == trust.RoleTimestamp || refused.Role == trust.RoleSnapshot) &&
		(refused.Kind == trust.BadSignature || refused.Kind == trust.Threshold)
}

// following is the version after n. Under a new online key numbers that a thief pushed up are forgotten (TUF 1.0
// §5.3.11): where none is left, they go on from the time in seconds.
func (c *candidate) following(n int64) int64 {
	if c.rootFirst && n > trust.MaxInteger/2 {
		n = c.view.Now().Unix()
	}
	return n + 1
}

// session is one of a reader who has the root in effect, and the next one if there is one.
func (c *candidate) session() (*trust.Session, error) {
	s, err := trust.Start(c.view.RawRoot(), c.view.Now())
	if err == nil && c.view.Lapsed() == trust.RoleRoot {
		s.ServeExpired() // who has that root alone takes nothing anyhow, and targets, if it has expired, is next
	}
	if err != nil || c.root == nil {
		return s, err
	}
	return s, s.UpdateRoot(c.root)
}

// check verifies what is about to be shown, as readers that saw the current catalog would: those that have the root in
// effect, and those that have the next one. Every role that is sound now must be sound then.
func (c *candidate) check(timestamp, snapshot []byte, files map[string][]byte) error {
	if !c.rootFirst {
		if err := (&candidate{view: c.view}).checkLast(timestamp, snapshot, files); err != nil {
			return err
		}
	}
	if c.root == nil {
		return nil
	}
	return c.checkLast(timestamp, snapshot, files)
}

// checkLast is check for a reader that has the last root.
func (c *candidate) checkLast(timestamp, snapshot []byte, files map[string][]byte) error {
	s, err := c.session()
	if err != nil {
		return err
	}
	// What is in effect may have expired: that is why it is signed again.
	known := func(step func() error, kind trust.Kind) func() error {
		return func() error {
			if s.OnlineKeysChanged(c.view.Root().Version) {
				return nil // it is forgotten
			}
			return excuse(excuse(step(), kind), trust.Threshold) // also where it takes more online keys from then on
		}
	}
	steps := []func() error{
		s.FinishRoots,
		known(func() error { return s.UpdateTimestamp(c.view.RawTimestamp()) }, trust.Expired),
		func() error { return s.UpdateTimestamp(timestamp) },
		known(func() error { return s.UpdateSnapshot(c.view.RawSnapshot(), true) }, trust.Mismatch),
		func() error { return s.UpdateSnapshot(snapshot, false) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return checkRoles(s, c.view, files)
}

// excuse is nil for the one kind of refusal that a step expects.
func excuse(err error, kind trust.Kind) error {
	var refused *trust.Error
	if errors.As(err, &refused) && refused.Kind == kind {
		return nil
	}
	return err
}

func checkRoles(s *trust.Session, v *catalog.View, files map[string][]byte) error {
	names := []string{trust.RoleTargets}
	for _, name := range v.Roles() {
		if _, err := v.Role(name); err == nil && name != trust.RoleTargets {
			names = append(names, name)
		}
	}
	for name := range files {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		file := files[name]
		if file == nil {
			file = v.RawRole(name)
		}
		if err := s.UpdateRole(name, file); err != nil {
			return err
		}
	}
	return nil
}
