package publisher

import (
	"context"
	"fmt"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// SetPolicy puts a certification policy into effect, signed by the holders of the role policy. Sites, products and
// customers that it names have to exist. The policy that is in effect is Unchanged. Errors: *Invalid,
// *catalog.UnknownSite, *catalog.UnknownProduct, *catalog.UnknownCustomer, *NotAuthorized.
func (p *Publisher) SetPolicy(ctx context.Context, policy *manifest.Policy, signers []keys.Signer) (*Outcome, error) {
	data, err := policy.Encode()
	if err != nil {
		return nil, err
	}
	sha := digest(data)
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, manifest.RolePolicy, signers); err != nil {
			return nil, err
		}
		role, err := d.role(manifest.RolePolicy)
		if err != nil {
			return nil, err
		}
		before := role.Targets[manifest.PolicyTarget]
		if before.SHA256 == sha {
			return nil, nil
		}
		if err := checkPolicy(ctx, d.view, policy); err != nil {
			return nil, err
		}
		was, err := p.policyIn(ctx, before)
		if err != nil {
			return nil, err
		}
		role.Targets[manifest.PolicyTarget] = trust.Target{Length: int64(len(data)), SHA256: sha}
		dr := newDraft("policy", manifest.RolePolicy, policyDifferences(was, policy)...).set(manifest.RolePolicy, role)
		dr.objects = []object{{manifest.TargetObject(manifest.PolicyTarget, sha), data}}
		return dr, nil
	}, signers)
}

// checkPolicy: whom and what a policy names there is.
func checkPolicy(ctx context.Context, v *catalog.View, policy *manifest.Policy) error {
	for _, id := range policy.Sites() {
		_, site, err := v.Site(ctx, id)
		if err != nil {
			return err
		}
		if site.Retired {
			return &Invalid{What: "certification policy", Reason: fmt.Sprintf("site %s is retired: what asks for it can never be met", id)}
		}
	}
	products := map[string]bool{"": true}
	for _, product := range v.Products() {
		products[product] = true
	}
	for _, r := range policy.Rules {
		if !products[r.Product] {
			return &catalog.UnknownProduct{Product: r.Product}
		}
		if r.Customer == "" {
			continue
		}
		if _, err := v.Customer(ctx, r.Customer); err != nil {
			return err
		}
	}
	return nil
}

// policyIn is the policy that a role lists; the default for the zero target.
func (p *Publisher) policyIn(ctx context.Context, target trust.Target) (*manifest.Policy, error) {
	if target.SHA256 == "" {
		return &manifest.Policy{}, nil
	}
	return getPolicy(ctx, p.Store, manifest.PolicyTarget, target)
}

// getPolicy reads a policy that a role lists.
func getPolicy(ctx context.Context, r storage.Reader, path string, target trust.Target) (*manifest.Policy, error) {
	if path != manifest.PolicyTarget {
		return nil, fmt.Errorf("%q is not %s", path, manifest.PolicyTarget)
	}
	data, err := getTarget(ctx, r, manifest.RolePolicy, path, target)
	if err != nil {
		return nil, err
	}
	return manifest.ParsePolicy(path, data)
}

// describePolicy compares two versions of the certification policy.
func (p *Publisher) describePolicy(ctx context.Context, before, after trust.Target) []string {
	if after.SHA256 == "" {
		return []string{"policy: take out the certification policy"}
	}
	next, err := p.policyIn(ctx, after)
	if err != nil {
		return []string{fmt.Sprintf("policy: the new one cannot be read: %v", err)}
	}
	was, err := p.policyIn(ctx, before)
	if err != nil {
		return []string{fmt.Sprintf("policy: the present one cannot be read: %v", err)}
	}
	return policyDifferences(was, next)
}

// policyDifferences say in words what a policy changes, rule by rule.
func policyDifferences(was, is *manifest.Policy) []string {
	old, lines := map[string]string{}, []string{}
	for _, r := range append([]manifest.PolicyRule{was.Default}, was.Rules...) {
		old[r.Scope()] = r.Words()
	}
	for _, r := range append([]manifest.PolicyRule{is.Default}, is.Rules...) {
		scope := r.Scope()
		before := old[scope]
		delete(old, scope)
		switch now := r.Words(); {
		case now == before:
		case before == "":
			lines = append(lines, fmt.Sprintf("policy: %s: %s", scope, now))
		case now == "":
			lines = append(lines, fmt.Sprintf("policy: %s: nothing of its own (was %s)", scope, before))
		default:
			lines = append(lines, fmt.Sprintf("policy: %s: %s (was %s)", scope, now, before))
		}
	}
	for _, r := range was.Rules {
		if before := old[r.Scope()]; before != "" {
			lines = append(lines, fmt.Sprintf("policy: %s: nothing of their own any more (was %s)", r.Scope(), before))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "policy: the same rules")
	}
	return lines
}

// vetPolicy: once there is a policy there always is one, and nothing beside it.
func vetPolicy(next *trust.Targets) string {
	if _, ok := next.Targets[manifest.PolicyTarget]; !ok || len(next.Targets) != 1 {
		return "the role lists " + manifest.PolicyTarget + " and nothing else"
	}
	return ""
}
