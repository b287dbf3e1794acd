package publisher

import (
	"errors"
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
	var ids []string
	for _, r := range roles {
		ids = append(ids, r.signers().KeyIDs()...)
	}
	name := KeyNames(ids...)
	for _, r := range roles {
		s := countFor(r, r.authority, name)
		s.Keys = ifSo(r.successor.Threshold > 0, KeysBefore)
		list = append(list, s)
		if r.successor.Threshold > 0 {
			s := countFor(r, r.successor, name)
			s.Keys = KeysAfter
			list = append(list, s)
		}
	}
	return list
}

func countFor(r *roleDraft, a trust.Authority, name func(string) string) RoleSignatures {
	valid := trust.ValidSignatures(r.payload, r.sigs, a)
	s := RoleSignatures{Role: r.name, Version: r.next.Version, Have: len(valid), Need: a.Threshold, Holders: a.KeyIDs()}
	for _, id := range a.KeyIDs() {
		switch {
		case signedBy(valid, id):
			s.Signers = append(s.Signers, name(id))
		case s.Have < s.Need:
			s.Missing = append(s.Missing, name(id))
		}
	}
	return s
}

// waitsFor says in words what a proposal waits for.
func waitsFor(roles []RoleSignatures) string {
	var parts []string
	for _, r := range roles {
		if r.Complete() {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s for %s, by %s (kitchen sign %s --key FILE)", count(r.Need-r.Have, "more signature"), r.Name(), strings.Join(r.Missing, " or "), r.Role))
	}
	if len(parts) == 0 {
		return "the committer (kitchen commit)"
	}
	return strings.Join(parts, "; ")
}

// verdict splits a refusal from a failure.
func verdict(err error) (string, error) {
	var refused *Refused
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &refused):
		return refused.Reason, nil
	case storeFailure(err):
		return "", err
	}
	return err.Error(), nil
}
