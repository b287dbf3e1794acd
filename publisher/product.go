package publisher

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// ProductRequest is a new product and who may sign for it.
type ProductRequest struct {
	Name       string
	Engineers  []*keys.Public // product.<p>: any one of them
	Validators []*keys.Public // validated.<p>: any one of them
	Certifiers []*keys.Public // ready-to-deploy.<p>: CertifyThreshold of them
	// CertifyThreshold is how many certifiers it takes; 0 = 2, or 1 for a single certifier.
	CertifyThreshold int
}

// AddProduct delegates a product's four roles, signed by the holders of targets. Engineers and certifiers together
// may recall, any one of them. The same request again is Unchanged. Errors: *Exists, *Invalid, *NotAuthorized.
func (p *Publisher) AddProduct(ctx context.Context, req ProductRequest, signers []keys.Signer) (*Outcome, error) {
	delegations, err := req.delegations()
	if err != nil {
		return nil, err
	}
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, trust.RoleTargets, signers); err != nil {
			return nil, err
		}
		targets, err := d.role(trust.RoleTargets)
		if err != nil {
			return nil, err
		}
		if _, exists := targets.Delegation(manifest.RoleProduct(req.Name)); exists {
			return nil, differs("product", req.Name, productDifferences(targets, delegations))
		}
		summary := "new product " + req.Name
		targets.Delegations = append(targets.Delegations, delegations...)
		dr := newDraft("product", trust.RoleTargets, summary).set(trust.RoleTargets, targets)
		dr.summary = append(dr.summary, describeDelegations(&trust.Targets{}, &trust.Targets{Delegations: delegations})...)
		return dr, checkCandidateKeys(ctx, p.Store, &candidate{view: d.view, roles: dr.roles})
	}, signers)
}

// delegations are the product's roles as asked for.
func (req *ProductRequest) delegations() ([]trust.Delegation, error) {
	if err := manifest.CheckName("product", req.Name); err != nil {
		return nil, err
	}
	what := "product " + req.Name
	engineers, err := authorityOf(what+": engineers", req.Engineers, 1)
	if err != nil {
		return nil, err
	}
	validators, err := authorityOf(what+": validators", req.Validators, 1)
	if err != nil {
		return nil, err
	}
	certifiers, err := authorityOf(what+": certifiers", req.Certifiers, req.CertifyThreshold)
	if err != nil {
		return nil, err
	}
	recallers, err := authorityOf(what, slices.Concat(req.Engineers, req.Certifiers), 1)
	if err != nil {
		return nil, err
	}
	return []trust.Delegation{
		delegate(manifest.RoleProduct(req.Name), engineers),
		delegate(manifest.RoleValidated(req.Name), validators),
		delegate(manifest.RoleReady(req.Name), certifiers),
		delegate(manifest.RoleRecalled(req.Name), recallers),
	}, nil
}

func delegate(role string, a trust.Authority) trust.Delegation {
	return trust.Delegation{Name: role, Authority: a, Paths: manifest.RolePaths(role)}
}

// authorityOf gathers keys, each once. Threshold 0 is 2, or 1 for a single key.
func authorityOf(what string, publics []*keys.Public, threshold int) (trust.Authority, error) {
	var a trust.Authority
	for _, pub := range publics {
		key, err := trust.NewKey(pub)
		if err != nil {
			return a, &Invalid{What: what, Reason: err.Error()}
		}
		if !a.Has(key.ID) {
			a.Keys = append(a.Keys, key)
		}
	}
	if len(a.Keys) == 0 {
		return a, &Invalid{What: what, Reason: "no key given"}
	}
	a.Threshold = threshold
	if threshold == 0 {
		a.Threshold = min(2, len(a.Keys))
	}
	if a.Threshold < 1 || a.Threshold > len(a.Keys) {
		return a, &Invalid{What: what, Reason: fmt.Sprintf("the threshold %d cannot be met by %s", threshold, count(len(a.Keys), "different key")),
			Next: fmt.Sprintf("name every holder's key, a .pub for those who are not here, or give a threshold from 1 to %d", len(a.Keys))}
	}
	return a, nil
}

// productDifferences compares a product's roles with those asked for.
func productDifferences(targets *trust.Targets, wanted []trust.Delegation) []string {
	var list []string
	for _, want := range wanted {
		have, ok := targets.Delegation(want.Name)
		switch {
		case !ok:
			list = append(list, "it has no role "+want.Name)
		case delegationText(have) != delegationText(want):
			list = append(list, fmt.Sprintf("%s is %d of %s", have.Name, have.Threshold, strings.Join(shortIDs(have.KeyIDs()), ", ")))
		}
	}
	return list
}
