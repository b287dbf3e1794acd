package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// PolicyInEffect is a certification policy and where it stands.
type PolicyInEffect struct {
	*manifest.Policy
	Version int64  // of the role policy; 0 = none was ever signed, and this is the default
	SHA256  string // of policy/policy.toml; "" with version 0
}

// Policy is the certification policy in effect: the default as long as the role policy was never signed. It is an
// error when it was, and cannot be relied on: expired, withheld, damaged, hidden, or empty. Whoever certifies on
// the default then certifies on less than was agreed.
func (v *View) Policy(ctx context.Context) (*PolicyInEffect, error) {
	role, err := v.Role(manifest.RolePolicy)
	var absent *RoleAbsent
	_, listed := v.Snapshot().Roles[manifest.RolePolicy]
	switch {
	case errors.As(err, &absent) && !listed:
		return &PolicyInEffect{Policy: &manifest.Policy{}}, nil
	case err != nil:
		return nil, fmt.Errorf("the certification policy cannot be relied on: %w", err)
	}
	return v.policyOf(ctx, role)
}

// policyOf is the policy that a version of the role lists.
func (v *View) policyOf(ctx context.Context, role *trust.Targets) (*PolicyInEffect, error) {
	target, ok := role.Targets[manifest.PolicyTarget]
	if !ok {
		return nil, &trust.Error{Kind: trust.Missing, Role: manifest.RolePolicy, Want: manifest.PolicyTarget,
			Err: fmt.Errorf("version %d of the role lists no certification policy", role.Version)}
	}
	data, err := v.target(ctx, "the certification policy", manifest.PolicyTarget, target, policyFile(target.SHA256))
	if err != nil {
		return nil, err
	}
	p, err := manifest.ParsePolicy(manifest.PolicyTarget, data)
	if err != nil {
		return nil, &trust.Error{Kind: trust.Malformed, Role: manifest.PolicyTarget, Err: err}
	}
	return &PolicyInEffect{Policy: p, Version: role.Version, SHA256: target.SHA256}, nil
}

// PastPolicy is the policy that a certificate's evidence names by version and digest, whether or not it is still the
// one in effect; the error says that it cannot be had, or is another.
func (v *View) PastPolicy(ctx context.Context, version int64, sha string) (*PolicyInEffect, error) {
	if version == 0 {
		return &PolicyInEffect{Policy: &manifest.Policy{}}, nil
	}
	role, err := v.Past(ctx, manifest.RolePolicy, version)
	if err != nil {
		return nil, err
	}
	if have := role.Targets[manifest.PolicyTarget].SHA256; have != sha {
		return nil, &trust.Error{Kind: trust.Mismatch, Role: manifest.RolePolicy, Have: "sha256 " + have, Want: "sha256 " + sha,
			Err: fmt.Errorf("version %d of the role lists another certification policy", version)}
	}
	return v.policyOf(ctx, role)
}

// maxPast bounds how many versions of a role are read on the way back.
const maxPast = 1000

// Past is what a role held in an earlier version. It is reached from the one in effect by the digest that each
// version has of the one before, so that no key of that time is needed; it may have expired.
func (v *View) Past(ctx context.Context, name string, version int64) (*trust.Targets, error) {
	lost := func(err error) error {
		return fmt.Errorf("version %d of role %s cannot be read any more: %w", version, name, err)
	}
	role, err := v.Role(name)
	if err != nil {
		return nil, lost(err)
	}
	if role.Version > version && v.offline {
		return nil, lost(ErrOffline)
	}
	number, replaces := role.Version, role.Replaces
	for steps := 0; number > version; steps++ {
		if number--; steps == maxPast || replaces == "" {
			return nil, lost(errors.New("the way back to it ends before"))
		}
		object := manifest.RoleObject(name, number)
		kind, err := manifest.KindOf(object)
		if err != nil {
			return nil, lost(err)
		}
		data, err := readListed(ctx, v.catalog.store, object, kind.MaxSize)
		if err != nil {
			return nil, lost(err)
		}
		if sha256Hex(data) != replaces {
			continue // a number that never took effect
		}
		payload, _, err := trust.ParseEnvelope(data)
		if err != nil {
			return nil, lost(err)
		}
		if role, err = trust.ParseTargetsPayload(payload); err != nil {
			return nil, lost(err)
		}
		replaces = role.Replaces
	}
	if role.Version != version {
		return nil, lost(errors.New("it never took effect"))
	}
	return role, nil
}
