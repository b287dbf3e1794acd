package publisher

import (
	"fmt"
	"strings"

	"github.com/enovance/kitchen/internal/trust"
)

// outcome tells what became of a set of roles.
func outcome(status, id string, summary []string, roles []*roleDraft) *Outcome {
	out := &Outcome{Status: status, Summary: append([]string(nil), summary...), Roles: countSignatures(roles)}
	if status == Pending || status == Declined {
		out.Proposal = id
		out.WaitsFor = waitsFor(out.Roles)
	}
	return out
}

// countSignatures looks at valid signatures only.
func countSignatures(roles []*roleDraft) []RoleSignatures {
	var list []RoleSignatures
	for _, r := range roles {
		valid := trust.ValidSignatures(r.payload, r.sigs, r.authority)
		s := RoleSignatures{Role: r.name, Version: r.next.Version, Have: len(valid), Need: r.authority.Threshold}
		for _, id := range r.authority.KeyIDs() {
			switch {
			case signedBy(valid, id):
				s.Signers = append(s.Signers, ShortID(id))
			case s.Have < s.Need:
				s.Missing = append(s.Missing, ShortID(id))
			}
		}
		list = append(list, s)
	}
	return list
}

// waitsFor says in words what a proposal waits for.
func waitsFor(roles []RoleSignatures) string {
	var parts []string
	for _, r := range roles {
		if r.Complete() {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s for %s, by %s (kitchen sign %s --key FILE)", count(r.Need-r.Have, "more signature"), r.Role, strings.Join(r.Missing, " or "), r.Role))
	}
	if len(parts) == 0 {
		return "the committer (kitchen commit)"
	}
	return strings.Join(parts, "; ")
}
