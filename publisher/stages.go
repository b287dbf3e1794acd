package publisher

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// maxReason is the length of a reason, in bytes.
const maxReason = 1000

// maxUnlisted is how many recalls of one product may be of releases that it does not list.
const maxUnlisted = 1000

// plainReason is a reason as it is signed: one line of plain text, cut to 1,000 bytes. *Invalid when there is none.
func plainReason(what string, r manifest.Release, reason string) (string, error) {
	reason = strings.TrimSpace(manifest.CleanText(reason, maxReason))
	if reason == "" {
		return "", &Invalid{What: what + " of " + r.String(), Reason: "needs a reason"}
	}
	return reason, nil
}

// Validate signs a published release into validated.<product>: its validators say that the vendor's CI passed. A
// validated release is Unchanged. Errors: *catalog.UnknownProduct, *catalog.UnknownRelease, *Withdrawn for a
// recalled or yanked one, *NotAuthorized.
func (p *Publisher) Validate(ctx context.Context, r manifest.Release, signers []keys.Signer) (*Outcome, error) {
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		name := manifest.RoleValidated(r.Product)
		if err := authorizeRole(d.view, name, signers); err != nil {
			return nil, err
		}
		info, err := d.view.Release(r)
		if err != nil {
			return nil, err
		}
		if err := withdrawn(info); err != nil {
			return nil, err
		}
		role, err := d.role(name)
		if err != nil {
			return nil, err
		}
		target := trust.Target{Length: info.Length, SHA256: info.SHA256}
		if listed, err := list(name, role, r, target); err != nil || listed {
			return nil, err
		}
		dr := newDraft("validate", name, fmt.Sprintf("validate %s (sha256 %s)", r, info.SHA256)).set(name, role)
		return dr, dr.copyManifest(ctx, d, manifest.StageValidated, r)
	}, signers)
}

// Withdrawn says that a release is recalled or yanked, so that no further stage takes it in (exit 3).
type Withdrawn struct {
	Release manifest.Release
	Words   string // "yanked: why (product.openstack)"
	Next    string
}

func (e *Withdrawn) Error() string { return e.Release.String() + " is " + e.Words }

// Hint says who can change that.
func (e *Withdrawn) Hint() string { return e.Next }

// withdrawn is nil for a release that is neither recalled nor yanked.
func withdrawn(info *catalog.ReleaseInfo) error {
	r := info.Release
	switch {
	case info.Recalled != nil && !info.Liftable():
		return &Withdrawn{Release: r, Words: info.Recalled.String(), Next: "it stays so, since it was not validated before; publish the same under another version"}
	case info.Recalled != nil:
		return &Withdrawn{Release: r, Words: info.Recalled.String(), Next: fmt.Sprintf(
			"publish a release that replaces it; a recall made in error is lifted by a certificate that names it: kitchen certify %s --lift-recall --key FILE", r)}
	case info.Yanked != "":
		return &Withdrawn{Release: r, Words: info.YankWords(), Next: fmt.Sprintf(
			"choose another release (kitchen list %s); its engineers can take the yank back: kitchen yank %s --undo --key FILE", r.Product, r)}
	}
	return nil
}

// copyManifest adds a release's manifest to the draft, under the name that a stage lists it by: a stock TUF client
// asks for it there.
func (d *draft) copyManifest(ctx context.Context, on *desk, stage string, r manifest.Release) error {
	_, data, err := on.view.Manifest(ctx, r)
	if err != nil {
		return err
	}
	d.objects = append(d.objects, object{manifest.TargetObject(manifest.TargetPath(stage, r), digest(data)), data})
	return nil
}

// list enters a release into a role's content. True when it is there already; *trust.Error when it is there with
// another digest.
func list(name string, role *trust.Targets, r manifest.Release, target trust.Target) (bool, error) {
	path := manifest.TargetPath(manifest.RoleStage(name), r)
	there, ok := role.Targets[path]
	switch {
	case ok && there.SHA256 == target.SHA256 && there.Length == target.Length:
		return true, nil
	case ok:
		return false, &trust.Error{Kind: trust.Mismatch, Role: name, Have: "sha256 " + there.SHA256, Want: "sha256 " + target.SHA256,
			Err: fmt.Errorf("the role lists %s with other bytes", r)}
	}
	role.Targets[path] = target
	return false, nil
}

// nextSeq is the place of the next release in the order of publication.
func nextSeq(role *trust.Targets) (string, error) {
	last := int64(0)
	for path, target := range role.Targets {
		seq, err := parseSeq(target.Custom[customSeq])
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		last = max(last, seq)
	}
	return strconv.FormatInt(last+1, 10), nil
}

func parseSeq(text string) (int64, error) {
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seq < 1 || seq > trust.MaxInteger || strconv.FormatInt(seq, 10) != text {
		return 0, fmt.Errorf("%q is no place in the order of releases", text)
	}
	return seq, nil
}
