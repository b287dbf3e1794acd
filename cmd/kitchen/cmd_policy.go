package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"regexp"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func policyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "policy", Category: groupSysadmin, Usage: "what a certificate has to rest on",
		Subcommands: []*cli.Command{policyShowCommand(k), policySetCommand(k)},
	}
}

func policyShowCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show the certification policy in effect, and who signed it",
		Action: action(k, func(c *cli.Context) (struct{}, error) { return struct{}{}, operands(c) }, func(ctx context.Context, k *kitchen, _ struct{}) error {
			return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
				policy, err := v.Policy(ctx)
				if err != nil {
					return err
				}
				d, err := newPolicyDocument(v, policy)
				if err != nil {
					return err
				}
				return k.show(d)
			})
		}),
	}
}

// newPolicyDocument shows the default with every setting, so that nothing about it has to be known.
func newPolicyDocument(v *catalog.View, policy *catalog.PolicyInEffect) (*policyDocument, error) {
	d := &policyDocument{Schema: "kitchen.policy/v1", Version: policy.Version, SHA256: policy.SHA256, Signers: []string{}, Rules: []ruleDocument{}}
	base := policy.Default
	base.Require = policy.For("", "").Require
	base.Chain, base.Warned = cmp.Or(base.Chain, manifest.ChainEvery), cmp.Or(base.Warned, manifest.WarnedFail)
	base.MaxAge, base.Soak = cmp.Or(base.MaxAge, manifest.SpanNone), cmp.Or(base.Soak, manifest.SpanNone)
	d.Default = newRule(base)
	for _, r := range policy.Rules {
		d.Rules = append(d.Rules, newRule(r))
	}
	if policy.Version == 0 {
		return d, nil
	}
	role, err := v.Role(manifest.RolePolicy)
	if err != nil {
		return nil, err
	}
	payload, signatures, err := trust.ParseEnvelope(v.RawRole(manifest.RolePolicy))
	if err != nil {
		return nil, err
	}
	d.Expires = stamp(role.Expires)
	authority, _ := v.Authority(manifest.RolePolicy)
	name := publisher.KeyNames(authority.KeyIDs()...)
	for _, s := range trust.ValidSignatures(payload, signatures, authority) {
		d.Signers = append(d.Signers, name(s.KeyID))
	}
	return d, nil
}

type policySetOptions struct {
	keyOptions
	file string
}

func policySetCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "put a certification policy into effect", ArgsUsage: "FILE --key FILE…",
		Description: "FILE is a policy.toml (docs/FORMAT.md, section 9): which sites have to have PASSED, how old their reports may be, whether the last site of a chain is enough, how long a release has to soak, whether WARNED passes; for all certificates, and by product and customer.\n\n" +
			"Needs the signatures of the holders of the role policy, two by default; until then it waits as a proposal (exit 8), which the others sign with `kitchen sign policy`. From then on there is always a policy: while it cannot be verified, or has expired, nobody certifies.",
		Flags: signingFlags(),
		Action: action(k, func(c *cli.Context) (policySetOptions, error) {
			return policySetOptions{keyOptions: k.readKeyOptions(c), file: c.Args().First()}, operands(c, "FILE")
		}, runPolicySet),
	}
}

func runPolicySet(ctx context.Context, k *kitchen, o policySetOptions) error {
	data, err := readCapped(o.file, maxConfig)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return usageHint(o.file+" is empty", "a file that says [default] and no more goes back to the default")
	}
	policy, err := manifest.ParsePolicy(o.file, data)
	if err != nil {
		return err
	}
	signers, err := k.signers(o.keyOptions, manifest.RolePolicy, manifest.RoleRegistry)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.SetPolicy(ctx, policy, signers)
		if err != nil {
			return namesNobody(o.file, data, err)
		}
		return k.showOutcome(newOutcome("policy-set", "", outcome))
	})
}

// namesNobody says where in a policy something is named that the catalog has not got.
func namesNobody(file string, data []byte, err error) error {
	var (
		site     *catalog.UnknownSite
		customer *catalog.UnknownCustomer
		product  *catalog.UnknownProduct
	)
	name, hint := "", ""
	switch {
	case errors.As(err, &site):
		name, hint = site.Site.String(), "`kitchen customer show "+site.Site.Customer+"` lists that customer's sites; `kitchen site add` adds one"
	case errors.As(err, &customer):
		name, hint = customer.Customer, "`kitchen customer show` lists the customers; `kitchen customer add` adds one"
	case errors.As(err, &product):
		name, hint = product.Product, product.Hint()
	default:
		return err
	}
	line := 0
	if at := regexp.MustCompile(`["']` + regexp.QuoteMeta(name) + `["'/]`).FindIndex(data); at != nil {
		line = 1 + bytes.Count(data[:at[0]], []byte("\n"))
	}
	return hinted{&manifest.FileError{Name: file, Line: line, Reason: err.Error(), Err: err}, hint}
}
