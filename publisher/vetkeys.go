package publisher

import (
	"context"
	"fmt"
	"slices"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// vetDelegations: targets delegates, in Kitchen's form, and drops nothing.
func vetDelegations(current, next *trust.Targets) string {
	if len(next.Targets) > 0 {
		return "targets lists files itself"
	}
	for _, d := range next.Delegations {
		want := manifest.RolePaths(d.Name)
		if want == nil {
			return fmt.Sprintf("%q is no role of Kitchen", d.Name)
		}
		if !slices.Equal(d.Paths, want) {
			return fmt.Sprintf("role %s would be trusted for %s instead of %s", d.Name, plainPaths(d.Paths), plainPaths(want))
		}
	}
	for _, d := range current.Delegations {
		if _, ok := next.Delegation(d.Name); !ok {
			return "role " + d.Name + " would be dropped"
		}
	}
	return ""
}

// vetStillSigned: who gives a role other keys has it signed by them in the same proposal. Else readers would refuse
// the role, and with it, perhaps, every recall.
func vetStillSigned(next *trust.Targets, after *candidate) string {
	for _, name := range after.view.Roles() {
		file := after.view.RawRole(name)
		if file == nil || after.changes(name) || name == manifest.RoleJournal {
			continue
		}
		if delegation, _ := next.Delegation(name); !signedFor(file, delegation.Authority) {
			return fmt.Sprintf("%s, as it is in effect, is not signed by the keys that it would get", name)
		}
	}
	return ""
}

// vetTargetsSigned is the same for the one role that root hands out and commits do not sign.
func vetTargetsSigned(next *trust.Targets, after *candidate) string {
	if d, _ := next.Delegation(trust.RoleTargets); !after.changes(trust.RoleTargets) && !signedFor(after.view.RawRole(trust.RoleTargets), d.Authority) {
		return "targets, as it is in effect, is not signed by the keys that it would get"
	}
	return ""
}

// vetJournalKeys: the journal changes hands with the online key alone.
func vetJournalKeys(current, next *trust.Targets, after *candidate) string {
	was, _ := current.Delegation(manifest.RoleJournal)
	is, _ := next.Delegation(manifest.RoleJournal)
	if online, ok := after.topAuthority(trust.RoleTimestamp); ok && delegationText(was) != delegationText(is) && authorityText(is.Authority) != authorityText(online) {
		return "the journal would get other keys than the online key"
	}
	return ""
}

// signedFor tells whether a role's file has the threshold of an authority.
func signedFor(file []byte, a trust.Authority) bool {
	payload, sigs, err := trust.ParseEnvelope(file)
	return err == nil && a.Threshold > 0 && len(trust.ValidSignatures(payload, sigs, a)) >= a.Threshold
}

// vetKeys: when the registry or the delegations change, no key may be a site's and somebody else's.
func (p *Publisher) vetKeys(ctx context.Context, after *candidate) error {
	if !after.changes(manifest.RoleRegistry) && !after.changes(trust.RoleTargets) && !after.changes(trust.RoleRoot) {
		return nil
	}
	if err := checkCandidateKeys(ctx, p.Store, after); err != nil {
		return refused(manifest.RoleRegistry, err)
	}
	return nil
}
