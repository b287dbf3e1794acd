package publisher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// handOut stands before a role's name where diffTargets means who signs it.
const handOut = "delegation "

// diffTargets names everything in which two versions of a role's content differ: target path or delegation → a
// text that is equal exactly when the changes are.
func diffTargets(current, next *trust.Targets) map[string]string {
	diff := map[string]string{}
	for path, target := range next.Targets {
		if before, ok := current.Targets[path]; !ok || !sameTarget(before, target) {
			diff[path] = targetText(target)
		}
	}
	for path := range current.Targets {
		if _, ok := next.Targets[path]; !ok {
			diff[path] = "removed"
		}
	}
	for _, d := range next.Delegations {
		if before, ok := current.Delegation(d.Name); !ok || delegationText(before) != delegationText(d) {
			diff[handOut+d.Name] = delegationText(d)
		}
	}
	for _, d := range current.Delegations {
		if _, ok := next.Delegation(d.Name); !ok {
			diff[handOut+d.Name] = "removed"
		}
	}
	return diff
}

func sameTarget(a, b trust.Target) bool {
	return a.Length == b.Length && a.SHA256 == b.SHA256 && maps.Equal(a.Custom, b.Custom)
}

// targetText leaves out the evidence document's digest: the same reports give another document every second.
func targetText(t trust.Target) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", t.SHA256, t.Length)
	for _, key := range slices.Sorted(maps.Keys(t.Custom)) {
		if key != customEvidence {
			fmt.Fprintf(&b, " %s=%q", key, t.Custom[key])
		}
	}
	return b.String()
}

func delegationText(d trust.Delegation) string {
	return authorityText(d.Authority) + " for " + strings.Join(d.Paths, " ")
}

// authorityText is equal exactly for those who need the same number of the same keys.
func authorityText(a trust.Authority) string {
	ids := a.KeyIDs()
	slices.Sort(ids)
	return fmt.Sprintf("%d of %s", a.Threshold, strings.Join(ids, " "))
}

// lastDay is how long a proposal still has to live so that others join it: else a change could be led into one that lapses at once.
const lastDay = day

// sameChange finds a live proposal that is this very change on top of the same state, so that signatures meet.
func (p *Publisher) sameChange(ctx context.Context, d *desk, dr *draft, live []*waiting) *waiting {
	for _, w := range live {
		if w.expires.Sub(d.now) >= lastDay && len(w.roles) == len(dr.roles) && p.sameRoles(ctx, d.view, dr, w) {
			return w
		}
	}
	return nil
}

func (p *Publisher) sameRoles(ctx context.Context, v *catalog.View, dr *draft, w *waiting) bool {
	renewal := w.isRenewal(v)
	for _, r := range dr.roles {
		other := w.role(r.name)
		current, err := currentRole(v, r.name)
		if other == nil || err != nil || !maps.Equal(diffTargets(current, r.next), diffTargets(current, other.next)) {
			return false
		}
		if renewal && other.next.Expires.Before(current.Expires) { // who renews is not led to what ends earlier
			return false
		}
		for path, target := range r.next.Targets {
			mine, theirs := target.Custom[customEvidence], other.next.Targets[path].Custom[customEvidence]
			if mine != theirs && !p.sameEvidence(ctx, dr.objects, mine, theirs) {
				return false
			}
		}
	}
	return p.vet(ctx, v, w.roles) == nil
}

// sameEvidence compares all but the moment and the note.
func (p *Publisher) sameEvidence(ctx context.Context, mine []object, a, b string) bool {
	other, err := p.evidence(ctx, b)
	if err != nil {
		return false
	}
	for _, o := range mine {
		if o.key != manifest.EvidenceObject(a) {
			continue
		}
		e, err := manifest.ParseEvidence(o.data)
		return err == nil && e.Release == other.Release && e.ManifestSHA256 == other.ManifestSHA256 &&
			e.RegistryVersion == other.RegistryVersion && e.RecalledVersion == other.RecalledVersion &&
			e.PolicyVersion == other.PolicyVersion && e.PolicySHA256 == other.PolicySHA256 && e.Customer == other.Customer &&
			slices.Equal(e.Waivers, other.Waivers) && slices.Equal(e.Reports, other.Reports)
	}
	return false
}

// describe says in words what the roles change, worked out from what is in effect. What cannot be read is said. A text that
// somebody chose, such as a name or a reason, stands between quotation marks (%q), so that none passes for words of Kitchen.
func (p *Publisher) describe(ctx context.Context, v *catalog.View, roles []*roleDraft) []string {
	var lines []string
	for _, r := range roles {
		current, err := currentRole(v, r.name)
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s: what is in effect cannot be read: %v", r.name, err))
			continue
		}
		before := len(lines)
		lines = append(lines, p.describeTargets(ctx, v, r, current)...)
		lines = append(lines, describeDelegations(current, r.next)...)
		lines = append(lines, withoutSpare(current, r.next)...)
		if len(lines) > before && r.name == trust.RoleRoot {
			lines = append(lines, fmt.Sprintf("root: version %d, valid until %s (was %s)", r.next.Version,
				r.next.Expires.Format(time.DateOnly), current.Expires.Format(time.DateOnly)))
		}
		switch {
		case len(lines) > before:
		case current.Version == 0:
			lines = append(lines, fmt.Sprintf("%s: first version, empty, valid until %s", r.name, r.next.Expires.Format(time.DateOnly)))
		default:
			lines = append(lines, fmt.Sprintf("%s: signed again, valid until %s (was %s)", r.name,
				r.next.Expires.Format(time.DateOnly), current.Expires.Format(time.DateOnly))+releasesOf(r.next))
		}
		if changesHands(v, r) {
			lines = append(lines, p.describeListed(ctx, v, r, current)...)
		}
	}
	return lines
}

// changesHands tells whether others sign the role from its next version on, or another number of them.
func changesHands(v *catalog.View, r *roleDraft) bool {
	now, known := v.Authority(r.name)
	return known && authorityText(now) != authorityText(r.authority)
}

// words are what a proposal changes, worked out once from what is in effect.
func (p *Publisher) words(ctx context.Context, v *catalog.View, w *waiting) []string {
	if len(w.change) == 0 {
		w.change = p.describe(ctx, v, w.roles)
	}
	return w.change
}

func (p *Publisher) describeTargets(ctx context.Context, v *catalog.View, r *roleDraft, current *trust.Targets) []string {
	var lines []string
	diff := diffTargets(current, &trust.Targets{Targets: r.next.Targets})
	for _, path := range slices.Sorted(maps.Keys(diff)) {
		target, added := r.next.Targets[path]
		before, known := current.Targets[path]
		if !added && !known {
			continue // a delegation: not here
		}
		switch kind, _, _ := manifest.SplitRole(r.name); kind {
		case manifest.RoleRegistry:
			lines = append(lines, p.describeCustomer(ctx, path, before, target)...)
		case manifest.RolePolicy:
			lines = append(lines, p.describePolicy(ctx, before, target)...)
		default:
			lines = append(lines, p.describeRelease(ctx, v, r.name, path, before, target)...)
			lines = append(lines, describeLift(v, path, before, target)...)
		}
	}
	return lines
}

// verbs are what listing a release in a role of that kind means.
var verbs = map[string]string{
	"product": "publish", manifest.StageValidated: "validate", manifest.StageReady: "certify", manifest.StageRecalled: "recall",
}

func (p *Publisher) describeRelease(ctx context.Context, v *catalog.View, role, path string, before, after trust.Target) []string {
	kind, _, customer := manifest.SplitRole(role)
	what := plainly(path)
	if _, r, err := manifest.ParseTargetPath(path); err == nil {
		what = r.String()
	}
	verb := verbs[kind]
	if verb == "" {
		verb = "list"
	}
	if customer != "" {
		verb += " for " + customer + ":"
	}
	switch {
	case after.SHA256 == "" && kind == manifest.StageReady:
		return []string{fmt.Sprintf("%s: decertify %s (sha256 %s)", role, what, before.SHA256)}
	case after.SHA256 == "":
		return []string{fmt.Sprintf("%s: take %s out of %s", role, what, role)}
	case before.SHA256 == "":
		line := fmt.Sprintf("%s: %s %s (sha256 %s)", role, verb, what, after.SHA256)
		return append([]string{line + customText(after.Custom)}, p.describeCertificate(ctx, v, role, path, after)...)
	case before.SHA256 != after.SHA256:
		return []string{fmt.Sprintf("%s: OTHER BYTES for %s: sha256 %s instead of %s", role, what, after.SHA256, before.SHA256)}
	case kind == "product" && before.Custom[customYanked] != after.Custom[customYanked]:
		return []string{role + ": " + yankText(what, before.Custom[customYanked], after.Custom[customYanked])}
	}
	return append([]string{fmt.Sprintf("%s: %s %s again%s", role, verb, what, otherText(before.Custom, after.Custom))}, p.describeCertificate(ctx, v, role, path, after)...)
}

// yankText says how a release's yank changes.
func yankText(what, before, after string) string {
	switch {
	case before == "":
		return fmt.Sprintf("yank %s: %q", what, after)
	case after == "":
		return fmt.Sprintf("take back the yank of %s (was: %q)", what, before)
	}
	return fmt.Sprintf("yank %s for another reason: %q (was: %q)", what, after, before)
}

// describeLift says which recall a certificate takes back, in the words of the recall that is in effect.
func describeLift(v *catalog.View, path string, before, after trust.Target) []string {
	number := after.Custom[customLifts]
	_, r, err := manifest.ParseTargetPath(path)
	if number == "" || err != nil || number == before.Custom[customLifts] {
		return nil
	}
	name := manifest.RoleRecalled(r.Product)
	role, err := currentRole(v, name)
	if err != nil {
		return []string{fmt.Sprintf("  LIFTS recall %s of %s, which cannot be read: %v", number, r, err)}
	}
	entry, ok := role.Targets[manifest.TargetPath(manifest.StageRecalled, r)]
	if recall := catalog.RecallOf(name, entry); ok && recall.LiftedBy(after) {
		return []string{fmt.Sprintf("  LIFTS recall %s of %s; it was recalled: %q", number, r, recall.Reason)}
	}
	return []string{fmt.Sprintf("  names recall %q of %s, which is not the one that stands", number, r)}
}

func customText(custom map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		if key != customEvidence && key != customSeq {
			fmt.Fprintf(&b, ", %s: %s", quotedBut("abcdefghijklmnopqrstuvwxyz-", key), quotedBut("0123456789", custom[key]))
		}
	}
	return b.String()
}

// otherText says what is said otherwise of a release that is listed again.
func otherText(before, after map[string]string) string {
	text := func(custom map[string]string) string {
		return strings.TrimPrefix(cmp.Or(customText(custom), "nothing more"), ", ")
	}
	switch {
	case text(before) != text(after):
		return fmt.Sprintf(": %s (was %s)", text(after), text(before))
	case before[customEvidence] != after[customEvidence]:
		return ", on other evidence"
	}
	return ""
}

func describeDelegations(current, next *trust.Targets) []string {
	var lines, in []string
	for _, d := range next.Delegations {
		before, known := current.Delegation(d.Name)
		in = append(in, keysIn(before.KeyIDs(), d.KeyIDs())...)
		switch {
		case !known:
			lines = append(lines, fmt.Sprintf("new role %s: %d of %s", d.Name, d.Threshold, strings.Join(shortIDs(d.KeyIDs()), ", ")))
		case delegationText(before) != delegationText(d):
			lines = append(lines, fmt.Sprintf("role %s: %s", d.Name, describeAuthority(before, d)))
		}
	}
	for _, d := range current.Delegations {
		if _, ok := next.Delegation(d.Name); !ok {
			lines = append(lines, "role "+d.Name+" is dropped")
		}
	}
	return append(lines, inWords(in)...)
}

func describeAuthority(before, after trust.Delegation) string {
	var parts []string
	name := KeyNames(append(before.KeyIDs(), after.KeyIDs()...)...)
	for _, id := range after.KeyIDs() {
		if !before.Has(id) {
			parts = append(parts, "key "+name(id)+" in")
		}
	}
	for _, id := range before.KeyIDs() {
		if !after.Has(id) {
			parts = append(parts, "key "+name(id)+" out")
		}
	}
	if before.Threshold != after.Threshold {
		parts = append(parts, fmt.Sprintf("threshold %d instead of %d", after.Threshold, before.Threshold))
	}
	if !slices.Equal(before.Paths, after.Paths) {
		parts = append(parts, fmt.Sprintf("paths %s instead of %s", plainPaths(after.Paths), plainPaths(before.Paths)))
	}
	return strings.Join(parts, ", ")
}

// describeCustomer compares two versions of a registry entry.
func (p *Publisher) describeCustomer(ctx context.Context, path string, before, after trust.Target) []string {
	what := plainly(strings.TrimSuffix(strings.TrimPrefix(path, manifest.RoleRegistry+"/"), ".toml"))
	if after.SHA256 == "" {
		return []string{"registry: take out customer " + what}
	}
	next, err := getCustomer(ctx, p.Store, path, after)
	if err != nil {
		return []string{fmt.Sprintf("registry: the new entry of %s cannot be read: %v", what, err)}
	}
	old := &manifest.Customer{}
	lines := []string{}
	if before.SHA256 == "" {
		lines = append(lines, fmt.Sprintf("registry: new customer %s (%q), subscribes to %s", what, next.Name, listOr(next.Subscribe, "nothing")))
	} else if old, err = getCustomer(ctx, p.Store, path, before); err != nil {
		return []string{fmt.Sprintf("registry: the present entry of %s cannot be read: %v", what, err)}
	}
	return append(lines, describeEntry(what, old, next, before.SHA256 == "")...)
}

func describeEntry(what string, old, next *manifest.Customer, isNew bool) []string {
	var lines, in []string
	say := func(format string, args ...any) {
		lines = append(lines, "registry: "+what+": "+fmt.Sprintf(format, args...))
	}
	if !isNew {
		if old.Name != next.Name {
			say("name %q instead of %q", next.Name, old.Name)
		}
		if !slices.Equal(old.Subscribe, next.Subscribe) {
			say("subscribes to %s instead of %s", listOr(next.Subscribe, "nothing"), listOr(old.Subscribe, "nothing"))
		}
	}
	if next.Vendor != old.Vendor {
		say("is the vendor: %t", next.Vendor)
	}
	if next.Suspended && !old.Suspended {
		say("is SUSPENDED: it follows nothing, and its sites decide nothing")
	} else if old.Suspended && !next.Suspended {
		say("is no longer suspended")
	}
	for _, site := range next.Sites {
		i := slices.IndexFunc(old.Sites, func(s manifest.Site) bool { return s.Name == site.Name })
		switch {
		case i < 0:
			say("new site %s, %s", site.Name, siteText(site, KeyNames(siteKeys(site)...)))
			in = append(in, siteKeys(site)...)
		case siteText(old.Sites[i], inFull) != siteText(site, inFull):
			name := KeyNames(append(siteKeys(old.Sites[i]), siteKeys(site)...)...)
			say("site %s: %s; was %s", site.Name, siteText(site, name), siteText(old.Sites[i], name))
			in = append(in, keysIn(siteKeys(old.Sites[i]), siteKeys(site))...)
		}
	}
	for _, site := range old.Sites {
		if !slices.ContainsFunc(next.Sites, func(s manifest.Site) bool { return s.Name == site.Name }) {
			say("site %s is taken out", site.Name)
		}
	}
	return append(lines, inWords(in)...)
}

// inFull names a key by all of its id.
func inFull(id string) string { return id }

// siteKeys are the ids of a site's keys.
func siteKeys(s manifest.Site) []string {
	var ids []string
	for _, k := range s.Keys {
		ids = append(ids, IDOfPEM(k.Public))
	}
	return ids
}

// siteText is a site in words: kind, what it waits for, its keys.
func siteText(s manifest.Site, name func(id string) string) string {
	text := s.Kind
	if len(s.After) > 0 {
		text += ", after " + strings.Join(s.After, ", ")
	}
	if s.Retired {
		text += ", retired"
	}
	for _, k := range s.Keys {
		text += ", key " + name(IDOfPEM(k.Public)) + " from " + k.ValidFrom.UTC().Format(time.DateTime)
		if !k.ValidTo.IsZero() {
			text += " to " + k.ValidTo.UTC().Format(time.DateTime)
		}
		if !k.CompromisedSince.IsZero() {
			text += " COMPROMISED since " + k.CompromisedSince.UTC().Format(time.DateTime)
		}
	}
	return text
}
