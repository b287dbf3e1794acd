package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// clockSlack is how far beyond its lifetime a role may be signed by a host whose clock runs ahead.
const clockSlack = 2 * day

// vet holds a set of role changes to the rules that no number of signatures lifts. Signers ask it before they
// sign and committers before they commit. The error is *Refused, *usedUp, or the store's.
//
//   - Once root has expired, or targets, nothing takes effect but what renews it.
//   - A version number follows on the current one, but for numbers that are used up; that of root always does.
//   - A root hands out its four roles, and what is in effect of targets is signed as it says. Snapshot and timestamp
//     are held to it when it is written.
//   - A role lists only what was delegated to it; delegations have Kitchen's form and are never dropped, and a role
//     in effect stays signed by the keys that are delegated to. The journal goes to the online key alone, whose
//     holder signs it again.
//   - A role fits what readers take, and is not the journal, which commits alone write.
//   - A release keeps its digest, in every stage; published releases and recalls are never taken out.
//   - Of a published release nothing changes but whether, and why, it is yanked; of a recall nothing, but that it is
//     made anew, with the number that is next, in plain words that leave room for others. Of what product does not list, a
//     thousand may be recalled. The last quarter of the list is for recalls that a certifier has signed.
//   - validated, ready-to-deploy and recalled list what product lists, digest for digest; the first two do not newly
//     list what is yanked or recalled, unless the certificate names that very recall. None names one that is not.
//   - What a role newly lists is in the store, and is what it should be. A certificate's evidence is about it and meets the
//     certification policy in effect. Once there is such a policy there always is one.
//   - A site's key belongs to that site alone and to no role; the registry names one vendor; a site that is retired and
//     a key that has ended do not come back.
func (p *Publisher) vet(ctx context.Context, v *catalog.View, roles []*roleDraft) error {
	after := &candidate{view: v, roles: roles}
	if lapsed := v.Lapsed(); lapsed != "" && !after.changes(lapsed) {
		return &Refused{Role: roles[0].name, Reason: lapsed + ", on which it rests, has expired: its holders renew that first (kitchen renew --key FILE)"}
	}
	for _, r := range roles {
		current, err := currentRole(v, r.name)
		if err != nil {
			return refused(r.name, err)
		}
		if err := p.vetVersion(ctx, v, r); err != nil {
			return err
		}
		if reason := cmp.Or(vetSize(r), vetRoom(v, r), vetForm(v.Now(), r, current, after)); reason != "" {
			return &Refused{Role: r.name, Reason: reason}
		}
		if reason := cmp.Or(vetLife(v.Now(), r, current), vetFields(r, current)); reason != "" {
			return &Refused{Role: r.name, Reason: reason}
		}
		if err := p.vetContent(ctx, r, current, after); err != nil {
			return err
		}
	}
	return p.vetKeys(ctx, after)
}

// candidate is the catalog as it would be.
type candidate struct {
	view  *catalog.View
	roles []*roleDraft

	// Of a commit:
	root      []byte // the file of the root among the roles, nil for none
	rootFirst bool   // it is written before all else; see Stolen
	etag      string // of the timestamp that is swapped
}

func (c *candidate) role(name string) (*trust.Targets, error) {
	for _, r := range c.roles {
		if r.name == name {
			return r.next, nil
		}
	}
	return currentRole(c.view, name)
}

// changes tells whether a role is among those that change.
func (c *candidate) changes(name string) bool {
	return slices.ContainsFunc(c.roles, func(r *roleDraft) bool { return r.name == name })
}

// topAuthority is who signs a role of the top level by the root as it would be.
func (c *candidate) topAuthority(name string) (trust.Authority, bool) {
	root, err := c.role(trust.RoleRoot)
	if err != nil {
		return trust.Authority{}, false
	}
	d, ok := root.Delegation(name)
	return d.Authority, ok
}

func (c *candidate) delegation(name string) (trust.Delegation, bool) {
	targets, err := c.role(trust.RoleTargets)
	if err != nil {
		return trust.Delegation{}, false
	}
	return targets.Delegation(name)
}

// vetVersion refuses jumps beyond numbers that are used up, and a number that somebody else used up (*usedUp).
func (p *Publisher) vetVersion(ctx context.Context, v *catalog.View, r *roleDraft) error {
	current := currentVersion(v, r.name)
	if r.name == trust.RoleRoot && r.next.Version != current+1 {
		return &Refused{Role: r.name, Reason: fmt.Sprintf("root %d does not follow on root %d; none is ever skipped", r.next.Version, current)}
	}
	if r.next.Version <= current || r.next.Version > current+maxOrphans {
		return &Refused{Role: r.name, Reason: fmt.Sprintf("version %d does not follow on %d", r.next.Version, current)}
	}
	if want := currentDigest(v, r.name); r.next.Replaces != want {
		return &Refused{Role: r.name, Reason: "it was made to replace something else than what is in effect"}
	}
	if r.name == trust.RoleRoot {
		return nil // whatever has the number is the next root to everybody, us included
	}
	for n := current + 1; n < r.next.Version; n++ {
		used, err := p.exists(ctx, manifest.RoleObject(r.name, n))
		if err != nil {
			return err
		}
		if !used {
			return &Refused{Role: r.name, Reason: fmt.Sprintf("version %d jumps over %d, which is free", r.next.Version, n)}
		}
	}
	_, err := p.leftover(ctx, r)
	return err
}

// fileSize is what the role's file takes at most, with the signatures of all who may sign.
func (r *roleDraft) fileSize() int64 {
	const each = 512 // bytes, at most, of one signature in the file
	return int64(len(r.payload) + each*(1+len(r.signers().Keys)))
}

// vetSize leaves room for the signatures of all who may sign.
func vetSize(r *roleDraft) string {
	kind, err := manifest.KindOf(manifest.RoleObject(r.name, r.next.Version))
	if err != nil {
		return err.Error()
	}
	if size := r.fileSize(); size > kind.MaxSize {
		return fmt.Sprintf("it would take %d bytes, more than the %d that readers take", size, kind.MaxSize)
	}
	return ""
}

// vetForm is what can be said without the store.
func vetForm(now time.Time, r *roleDraft, current *trust.Targets, after *candidate) string {
	switch {
	case r.name == manifest.RoleJournal:
		return "the journal is written by commits alone"
	case r.next.Role != r.name:
		return fmt.Sprintf("its content is that of role %q", r.next.Role)
	case !r.next.Expires.After(now):
		return "it has expired"
	case r.next.Expires.After(now.Add(lifetime(r.name) + clockSlack)):
		return fmt.Sprintf("it would be valid until %s, longer than the %d days of this role", r.next.Expires.Format(time.DateOnly), lifetime(r.name)/day)
	case !r.next.ProposalExpires.After(now):
		return "the proposal has lapsed"
	case r.next.ProposalExpires.After(now.Add(lifeProposal + clockSlack)):
		return "the proposal would never lapse"
	}
	switch r.name {
	case trust.RoleRoot:
		return vetTargetsSigned(r.next, after)
	case trust.RoleTargets:
		return cmp.Or(vetDelegations(current, r.next), vetJournalKeys(current, r.next, after), vetStillSigned(r.next, after))
	}
	delegation, ok := after.delegation(r.name)
	if !ok {
		return "nobody delegates to it"
	}
	if err := trust.CheckScope(r.next, delegation); err != nil {
		return err.Error()
	}
	if reason := vetPaths(r.name, current, r.next); reason != "" {
		return reason
	}
	if r.name == manifest.RolePolicy {
		return vetPolicy(r.next)
	}
	return vetKept(r.name, current, r.next, after)
}

// spentLife is how much of a role's life may be over when its next version is put into effect: a proposal waits as long, and clocks differ.
const spentLife = lifeProposal + 2*clockSlack

// vetLife: a role's next version lives about as long as one that was signed now would, and a change never shortens a role's life; nobody
// looks at its expiry who is asked for something else, and a renewal that renews nothing would stand for those that do.
func vetLife(now time.Time, r *roleDraft, current *trust.Targets) string {
	least := now.Add(lifetime(r.name) - spentLife)
	if kept := current.Expires.Add(-clockSlack); current.Version > 0 && kept.After(least) {
		least = kept
	}
	if r.next.Expires.Before(least) {
		return fmt.Sprintf("it would expire on %s, earlier than %s, which is the least", r.next.Expires.Format(time.DateTime), least.Format(time.DateTime))
	}
	return ""
}

// vetFields: nothing is signed that no words tell of.
func vetFields(r *roleDraft, current *trust.Targets) string {
	if !r.next.SameForeign(current) {
		return "it says something that this version of kitchen does not know"
	}
	return ""
}

// vetPaths: what is newly listed has a name of Kitchen's, so that no other stands in its words.
func vetPaths(role string, current, next *trust.Targets) string {
	for _, path := range slices.Sorted(maps.Keys(next.Targets)) {
		if _, known := current.Targets[path]; known {
			continue
		}
		if _, _, err := manifest.ParseTargetPath(path); err != nil && manifest.RoleStage(role) != "" {
			return err.Error()
		}
		customer := strings.TrimSuffix(strings.TrimPrefix(path, manifest.RoleRegistry+"/"), ".toml")
		if role == manifest.RoleRegistry && (manifest.CheckName("customer", customer) != nil || path != manifest.RegistryTarget(customer)) {
			return fmt.Sprintf("%q is no customer's entry", path)
		}
	}
	return ""
}

// vetKept: a release keeps its digest; published releases and recalls stay.
func vetKept(role string, current, next *trust.Targets, after *candidate) string {
	kind, _, _ := manifest.SplitRole(role)
	if manifest.RoleStage(role) == "" {
		return ""
	}
	for path, before := range current.Targets {
		now, ok := next.Targets[path]
		switch {
		case !ok && kind == manifest.StageRecalled:
			return "the recall of " + path + " would be dropped"
		case !ok && manifest.RoleStage(role) == manifest.StageCatalog:
			return path + " would be taken out; published releases stay (kitchen recall stops one)"
		case ok && (now.SHA256 != before.SHA256 || now.Length != before.Length):
			return fmt.Sprintf("%s would get other bytes: sha256 %s instead of %s", path, now.SHA256, before.SHA256)
		case ok && now.Custom[customSeq] != before.Custom[customSeq]:
			return path + " would get another place in the order of releases"
		case ok && kind == "product" && !sameButYank(before.Custom, now.Custom):
			return path + " would change in more than whether it is yanked"
		}
	}
	if kind == manifest.StageRecalled {
		return cmp.Or(vetRecalls(current, next), vetUnlisted(role, current, next, after))
	}
	return vetOrder(role, next)
}

// sameButYank compares what is said of a published release, apart from its yank, which has a reason.
func sameButYank(before, now map[string]string) bool {
	before, now = maps.Clone(before), maps.Clone(now)
	if reason, yanked := now[customYanked]; yanked && strings.TrimSpace(reason) == "" {
		return false
	}
	delete(before, customYanked)
	delete(now, customYanked)
	return maps.Equal(before, now)
}

// vetOrder: every published release has its own place, and none differs from another by case alone.
func vetOrder(role string, next *trust.Targets) string {
	if manifest.RoleStage(role) != manifest.StageCatalog {
		return ""
	}
	seen, folded := map[string]string{}, map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(next.Targets)) {
		seq := next.Targets[path].Custom[customSeq]
		if _, err := parseSeq(seq); err != nil {
			return path + ": " + err.Error()
		}
		if other := seen[seq]; other != "" {
			return fmt.Sprintf("%s and %s have the same place %s in the order of releases", other, path, seq)
		}
		if other := folded[manifest.FoldPath(path)]; other != "" {
			return fmt.Sprintf("%s and %s differ by case alone", other, path)
		}
		seen[seq], folded[manifest.FoldPath(path)] = path, path
	}
	return ""
}

// vetContent looks at what the role newly lists.
func (p *Publisher) vetContent(ctx context.Context, r *roleDraft, current *trust.Targets, after *candidate) error {
	stage := manifest.RoleStage(r.name)
	for _, path := range slices.Sorted(maps.Keys(r.next.Targets)) {
		target := r.next.Targets[path]
		before, ok := current.Targets[path]
		if ok && before.SHA256 == target.SHA256 && before.Length == target.Length && (!isReady(stage) || maps.Equal(before.Custom, target.Custom)) {
			continue
		}
		var err error
		switch {
		case r.name == manifest.RoleRegistry:
			_, err = getCustomer(ctx, p.Store, path, target)
		case r.name == manifest.RolePolicy:
			_, err = getPolicy(ctx, p.Store, path, target)
		case stage == manifest.StageCatalog:
			err = p.vetRelease(ctx, r.name, path, target)
		case stage != "":
			if err = vetAgreement(r.name, path, target, after); err == nil && stage != manifest.StageRecalled {
				_, err = getManifest(ctx, p.Store, r.name, path, target)
			}
			if err == nil && isReady(stage) {
				err = p.vetCertificate(ctx, after.view, r.name, path, target)
			}
		}
		if err != nil {
			return refused(r.name, err)
		}
	}
	return nil
}

// isReady tells the stages whose entries are certificates.
func isReady(stage string) bool {
	return stage == manifest.StageReady || strings.HasPrefix(stage, manifest.StageReady+".")
}

// vetAgreement: a later stage lists what product lists, and is not entered by what is withdrawn. Only a recall may
// name what product does not show, so that a damaged product role never keeps anybody from stopping a release.
func vetAgreement(role, path string, target trust.Target, after *candidate) error {
	kind, product, _ := manifest.SplitRole(role)
	_, rel, err := manifest.ParseTargetPath(path)
	if err != nil {
		return err
	}
	published, err := after.role(manifest.RoleProduct(product))
	if err != nil && kind == manifest.StageRecalled {
		return nil
	}
	if err != nil {
		return err
	}
	listed, ok := published.Targets[manifest.TargetPath(manifest.StageCatalog, rel)]
	if kind != manifest.StageRecalled {
		if err := vetWithdrawn(kind, rel, target, listed, after); err != nil {
			return err
		}
	}
	switch {
	case !ok && kind == manifest.StageRecalled:
		return nil
	case !ok:
		return fmt.Errorf("%s is not published", rel)
	case listed.SHA256 != target.SHA256 || listed.Length != target.Length:
		return fmt.Errorf("%s is published as sha256 %s, not %s", rel, listed.SHA256, target.SHA256)
	}
	return nil
}

// vetWithdrawn: validated and ready-to-deploy are not entered by what is yanked or recalled, but for a certificate
// that lifts the recall as it is; and no certificate lifts in advance.
func vetWithdrawn(kind string, rel manifest.Release, target, published trust.Target, after *candidate) error {
	name := manifest.RoleRecalled(rel.Product)
	role, err := after.role(name)
	if err != nil {
		return err
	}
	named, names := target.Custom[customLifts]
	entry, recalled := role.Targets[manifest.TargetPath(manifest.StageRecalled, rel)]
	recall := catalog.RecallOf(name, entry)
	switch {
	case recalled && names && !recall.LiftedBy(target):
		return fmt.Errorf("the certificate of %s lifts recall %q, and the one that stands is another: recall %d, %s", rel, named, recall.Since, recall)
	case recalled && !(names && kind == manifest.StageReady):
		return fmt.Errorf("%s is %s", rel, recall)
	case !recalled && names:
		return fmt.Errorf("the certificate of %s lifts recall %q, and there is none", rel, named)
	}
	if reason := published.Custom[customYanked]; reason != "" {
		return fmt.Errorf("%s is yanked: %s (%s)", rel, reason, manifest.RoleProduct(rel.Product))
	}
	return nil
}

// refused makes a verdict out of what is wrong with a document; failures of the store stay what they are.
func refused(role string, err error) error {
	var refusedAlready *Refused
	if errors.As(err, &refusedAlready) || storeFailure(err) {
		return err
	}
	return &Refused{Role: role, Reason: err.Error()}
}
