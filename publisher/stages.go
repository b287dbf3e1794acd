package publisher

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// maxReason is the length of a recall's reason, in bytes.
const maxReason = 1000

// Validate signs a published release into validated.<product>: its validators say that the vendor's CI passed. A
// validated release is Unchanged. Errors: *catalog.UnknownProduct, *catalog.UnknownRelease, *Invalid for a
// recalled one, *NotAuthorized.
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
		if info.Recalled != nil {
			return nil, &Invalid{What: r.String(), Reason: "it is recalled: " + info.Recalled.Reason}
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

// Recall signs a release into recalled.<product>: it must not be deployed, whoever certified it. Any one engineer
// or certifier of the product can. A recalled release is Unchanged. reason is required and cut to 1,000 bytes of
// plain text. Errors: *catalog.UnknownRelease, *Invalid, *NotAuthorized.
func (p *Publisher) Recall(ctx context.Context, r manifest.Release, reason string, signers []keys.Signer) (*Outcome, error) {
	reason = strings.TrimSpace(manifest.CleanText(reason, maxReason))
	if reason == "" {
		return nil, &Invalid{What: "recall of " + r.String(), Reason: "needs a reason"}
	}
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		name := manifest.RoleRecalled(r.Product)
		if err := authorizeRole(d.view, name, signers); err != nil {
			return nil, err
		}
		role, err := d.role(name)
		if err != nil {
			return nil, err
		}
		if _, recalled := role.Targets[manifest.TargetPath(manifest.StageRecalled, r)]; recalled {
			return nil, nil
		}
		known, err := knownTarget(d, r)
		if err != nil {
			return nil, err
		}
		target := trust.Target{Length: known.Length, SHA256: known.SHA256, Custom: map[string]string{customReason: reason}}
		if listed, err := list(name, role, r, target); err != nil || listed {
			return nil, err
		}
		dr := newDraft("recall", name, fmt.Sprintf("recall %s (sha256 %s): %s", r, known.SHA256, reason)).set(name, role)
		if err := dr.copyManifest(ctx, d, manifest.StageRecalled, r); storeFailure(err) {
			return nil, err
		}
		return dr, nil // a manifest that cannot be had must not keep anybody from stopping its release
	}, signers)
}

// knownTarget is the release as any stage shows it: a damaged product role must not keep anybody from stopping it.
func knownTarget(d *desk, r manifest.Release) (*trust.Target, error) {
	_, err := d.view.Release(r)
	for _, stage := range []string{manifest.StageCatalog, manifest.StageReady, manifest.StageValidated} {
		role, roleErr := currentRole(d.view, manifest.StageRole(stage, r.Product))
		if roleErr != nil {
			continue
		}
		if target, ok := role.Targets[manifest.TargetPath(stage, r)]; ok {
			return &target, nil
		}
	}
	return nil, err
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
