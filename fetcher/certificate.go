package fetcher

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// PinnedKeys is a required role that the keys which this host pins have not signed as often as it asks for, although the
// catalog takes it: the role has got other keys, or a lower threshold (exit 4).
type PinnedKeys struct {
	Role    string
	Pin     string   // the name in [gate.pins]
	Have    int      // valid signatures by pinned keys
	Want    int      //
	Pinned  []string // key ids
	Signers []string // ids of the keys that did sign it
}

func (e *PinnedKeys) Error() string {
	return fmt.Sprintf("%s is signed by %d of the keys that this host pins, and it asks for %d: it pins %s, and %s signed", e.Role, e.Have, e.Want, listIDs(e.Pinned), listIDs(e.Signers))
}

// Hint names the innocent cause, too.
func (e *PinnedKeys) Hint() string {
	return fmt.Sprintf("the certifiers may have changed their keys by right; ask them, on another way, for their key ids (kitchen key show), then change [gate.pins.%q] in kitchen.toml", e.Pin)
}

func listIDs(ids []string) string {
	if len(ids) == 0 {
		return "nobody"
	}
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = id[:min(8, len(id))]
	}
	return strings.Join(short, ", ")
}

// pin: the host's own choice of keys signed the role, as many as it asks for.
func (g *gate) pin(required requiredRole) error {
	if required.pin == nil {
		return nil
	}
	want := required.pin.Threshold
	if want <= 0 {
		want = len(required.pin.Keys)
	}
	if want == 0 {
		return &GateError{"pins", fmt.Sprintf("%s names no keys", required.name)}
	}
	authority, ok := g.v.Authority(required.role)
	file := g.v.RawRole(required.role)
	if !ok || file == nil {
		return nil // agreement has said so
	}
	payload, signatures, err := trust.ParseEnvelope(file)
	if err != nil {
		return err
	}
	failed := &PinnedKeys{Role: required.role, Pin: required.name, Want: want, Pinned: required.pin.Keys}
	authority.Threshold = 1
	for _, s := range trust.ValidSignatures(payload, signatures, authority) {
		failed.Signers = append(failed.Signers, s.KeyID)
		if slices.Contains(required.pin.Keys, s.KeyID) {
			failed.Have++
		}
	}
	if failed.Have < want {
		return failed
	}
	return nil
}

// waived: what the certificate says of its waivers.
func (g *gate) waived(certificate trust.Target) {
	g.verdict.Waived = slices.Compact(slices.Sorted(slices.Values(append(g.verdict.Waived, catalog.Waived(certificate)...))))
	if until := certificate.Custom[catalog.CustomWaivedUntil]; until != "" && (g.verdict.WaivedUntil == "" || until < g.verdict.WaivedUntil) {
		g.verdict.WaivedUntil = until
	}
}

// EvidenceChecked is what was found of the evidence of one required certificate.
type EvidenceChecked struct {
	Role     string
	Evidence *manifest.Evidence // nil where it cannot be had
	Findings []catalog.Finding
}

// evidence: what every required certificate rests on is there, and is what it says.
func (g *gate) evidence(ctx context.Context, required []requiredRole) error {
	for _, role := range certificateRoles(required) {
		target, err := g.v.RoleTarget(role, g.r)
		if err != nil || target == nil {
			continue // agreement has said so
		}
		e, findings, err := g.v.Review(ctx, role, g.r)
		if err != nil {
			return err
		}
		g.verdict.Evidence = append(g.verdict.Evidence, EvidenceChecked{Role: role, Evidence: e, Findings: findings})
		for _, f := range findings {
			switch {
			case f.Unknown != "":
				g.unmet("evidence: "+f.What, "not checkable: %s", f.Unknown)
			case f.Unmet != "":
				g.unmet("evidence: "+f.What, "%s", f.Unmet)
			}
		}
	}
	return nil
}

// forCustomer is the flag that names the customer whom a role certifies for.
func forCustomer(role string) string {
	if _, _, customer := manifest.SplitRole(role); customer != "" {
		return " --for " + customer
	}
	return ""
}
