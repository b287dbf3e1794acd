package publisher

import (
	"context"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// CertifiersRequest says who certifies a product for one customer alone.
type CertifiersRequest struct {
	Customer   string
	Product    string
	Certifiers []*keys.Public // the vendor's sysadmins, or the customer's own people; no key of a site
	Threshold  int            // how many of them it takes; 0 = 2, or 1 for a single one
}

// SetCertifiers delegates ready-to-deploy.<product>.<customer>, signed by the holders of targets. The same request
// again is Unchanged. Errors: *catalog.UnknownCustomer, *catalog.UnknownProduct, *Exists, *Invalid, *NotAuthorized.
func (p *Publisher) SetCertifiers(ctx context.Context, req CertifiersRequest, signers []keys.Signer) (*Outcome, error) {
	name := manifest.RoleReadyFor(req.Product, req.Customer)
	if manifest.RolePaths(name) == nil || req.Customer == "" {
		return nil, &Invalid{What: "role " + name, Reason: "is none: give a customer's name and a product's"}
	}
	authority, err := authorityOf("certifiers of "+req.Product+" for "+req.Customer, req.Certifiers, req.Threshold)
	if err != nil {
		return nil, err
	}
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, trust.RoleTargets, signers); err != nil {
			return nil, err
		}
		if _, err := d.view.Customer(ctx, req.Customer); err != nil {
			return nil, err
		}
		targets, err := d.role(trust.RoleTargets)
		if err != nil {
			return nil, err
		}
		if _, ok := targets.Delegation(manifest.RoleProduct(req.Product)); !ok {
			return nil, &catalog.UnknownProduct{Product: req.Product}
		}
		wanted := delegate(name, authority)
		if have, ok := targets.Delegation(name); ok {
			if delegationText(have) == delegationText(wanted) {
				return nil, nil
			}
			return nil, &Exists{What: "role", Name: name, Differs: []string{fmt.Sprintf("it is %d of %s; kitchen role rotate changes its keys",
				have.Threshold, strings.Join(shortIDs(have.KeyIDs()), ", "))}}
		}
		targets.Delegations = append(targets.Delegations, wanted)
		dr := newDraft("certifiers", trust.RoleTargets, fmt.Sprintf("%s certifies %s for %s alone", name, req.Product, req.Customer)).set(trust.RoleTargets, targets)
		dr.summary = append(dr.summary, describeDelegations(&trust.Targets{}, &trust.Targets{Delegations: []trust.Delegation{wanted}})...)
		return dr, checkCandidateKeys(ctx, p.Store, &candidate{view: d.view, roles: dr.roles})
	}, signers)
}

// NoCertifiers is a customer for whom alone nobody certifies a product (exit 1).
type NoCertifiers struct{ Product, Customer string }

func (e *NoCertifiers) Error() string {
	return fmt.Sprintf("nobody certifies %s for %s alone: there is no role %s", e.Product, e.Customer, manifest.RoleReadyFor(e.Product, e.Customer))
}

// Hint names the command that makes the role.
func (e *NoCertifiers) Hint() string {
	return fmt.Sprintf("the holders of targets make it: kitchen customer certifiers %s --product %s --certifier FILE --key FILE", e.Customer, e.Product)
}

// certifiersOf: whoever certifies for one customer needs that customer, and the role.
func certifiersOf(ctx context.Context, v *catalog.View, product, customer string) error {
	if customer == "" {
		return nil
	}
	if _, err := v.Customer(ctx, customer); err != nil {
		return err
	}
	if _, ok := v.Authority(manifest.RoleProduct(product)); !ok {
		return &catalog.UnknownProduct{Product: product}
	}
	if _, ok := v.Authority(manifest.RoleReadyFor(product, customer)); !ok {
		return &NoCertifiers{Product: product, Customer: customer}
	}
	return nil
}
