package publisher

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// DecertifyRequest says which certificate is taken back, and why.
type DecertifyRequest struct {
	Reason   string // required; cut to 1,000 bytes of plain text
	Customer string // "" = the certificate for every customer
}

// Decertify takes a release out of ready-to-deploy.<product>, or of the role of one customer: no host deploys it
// any more on that role's word. Like every change of the role it takes as many certifiers as certifying did;
// Recall takes one. The role keeps no trace of a release that it does not list: the reason is in the outcome and in
// the words of the proposal, for those who sign it. A release that is not certified is Unchanged.
// Errors: *UnknownRole, *catalog.UnknownProduct, *catalog.UnknownRelease, *Invalid, *NotAuthorized.
func (p *Publisher) Decertify(ctx context.Context, r manifest.Release, req DecertifyRequest, signers []keys.Signer) (*Outcome, error) {
	reason, err := plainReason("decertification", r, req.Reason)
	if err != nil {
		return nil, err
	}
	name, whom := manifest.RoleReady(r.Product), "every customer"
	if req.Customer != "" {
		name, whom = manifest.RoleReadyFor(r.Product, req.Customer), req.Customer
	}
	path := manifest.TargetPath(manifest.RoleStage(name), r)
	out, err := p.write(ctx, func(_ context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, name, signers); err != nil {
			return nil, err
		}
		inEffect, err := currentRole(d.view, name)
		if err != nil {
			return nil, err
		}
		if _, certified := inEffect.Targets[path]; !certified {
			return nil, notCertified(d, name, path, r)
		}
		role, err := d.role(name)
		if err != nil {
			return nil, err
		}
		target, listed := role.Targets[path]
		if !listed {
			return nil, nil
		}
		delete(role.Targets, path)
		return newDraft("decertify", name, fmt.Sprintf("decertify %s (sha256 %s) for %s: %s", r, target.SHA256, whom, reason)).set(name, role), nil
	}, signers)
	if err == nil && out.Status == Pending {
		p.keepReason(ctx, out, reason)
	}
	return out, err
}

// keepReason says where a reason is not part of what waits: that was proposed before, whoever it was.
func (p *Publisher) keepReason(ctx context.Context, out *Outcome, reason string) {
	const enough = 200 // bytes: the words of a proposal are shorter than the longest reason
	w, err := p.PendingOne(ctx, out.Proposal)
	if err == nil && !strings.Contains(w.Because, reason[:min(len(reason), enough)]) {
		out.Summary = append(out.Summary, "YOUR REASON IS NOT KEPT: it waits with that of whoever proposed it, "+strconv.Quote(w.Because))
	}
}

// notCertified is nil when there is nothing to take back: the release is published, and neither certified nor about
// to be with the signature of those who ask.
func notCertified(d *desk, name, path string, r manifest.Release) error {
	for _, w := range d.waiting {
		if role := w.role(name); role != nil {
			if _, waits := role.next.Targets[path]; waits {
				return &Invalid{What: r.String(), Reason: fmt.Sprintf(
					"a certificate of it waits in proposal %s with your signature, which cannot be taken back; kitchen recall %s --reason TEXT --key FILE stops it, and one signature is enough", w.id, r)}
			}
		}
	}
	_, err := d.view.Release(r)
	return err
}
