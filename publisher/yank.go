package publisher

import (
	"context"
	"fmt"
	"maps"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

const customYanked = catalog.CustomYanked

// Yank hides a release from new use: it stays published, hosts that have it keep it and may fetch and deploy it
// again, nobody else gets it, and it enters no further stage. reason is required and cut to 1,000 bytes of plain
// text. A release that is yanked for this reason already is Unchanged; another reason replaces it. It takes the
// signatures of product.<product>. Errors: *catalog.UnknownRelease, *catalog.UnknownProduct, *Invalid, *NotAuthorized.
func (p *Publisher) Yank(ctx context.Context, r manifest.Release, reason string, signers []keys.Signer) (*Outcome, error) {
	reason, err := plainReason("yank", r, reason)
	if err != nil {
		return nil, err
	}
	return p.yank(ctx, r, reason, signers)
}

// Unyank takes a yank back. A release that is not yanked is Unchanged. Errors are those of Yank.
func (p *Publisher) Unyank(ctx context.Context, r manifest.Release, signers []keys.Signer) (*Outcome, error) {
	return p.yank(ctx, r, "", signers)
}

// yank changes the reason why a release is hidden, and nothing else of it; "" shows it again.
func (p *Publisher) yank(ctx context.Context, r manifest.Release, reason string, signers []keys.Signer) (*Outcome, error) {
	return p.write(ctx, func(_ context.Context, d *desk) (*draft, error) {
		name, path := manifest.RoleProduct(r.Product), manifest.TargetPath(manifest.StageCatalog, r)
		if err := authorizeRole(d.view, name, signers); err != nil {
			return nil, err
		}
		role, err := d.role(name)
		if err != nil {
			return nil, err
		}
		target, ok := role.Targets[path]
		switch {
		case !ok:
			return nil, &catalog.UnknownRelease{Release: r}
		case target.Custom[customYanked] == reason:
			return nil, nil
		}
		line := fmt.Sprintf("yank %s (sha256 %s): %s", r, target.SHA256, reason)
		if reason == "" {
			line = fmt.Sprintf("take back the yank of %s (sha256 %s): %s", r, target.SHA256, target.Custom[customYanked])
		}
		target.Custom = maps.Clone(target.Custom)
		target.Custom[customYanked] = reason
		if reason == "" {
			delete(target.Custom, customYanked)
		}
		role.Targets[path] = target
		return newDraft("yank", name, line).set(name, role), nil
	}, signers)
}
