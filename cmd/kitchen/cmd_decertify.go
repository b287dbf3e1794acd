package main

import (
	"context"
	"fmt"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type decertifyOptions struct {
	keyOptions
	release manifest.Release
	request publisher.DecertifyRequest
}

func decertifyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "decertify", Category: groupSysadmin, Usage: "take a release's certificate back: it is not ready to deploy any more", ArgsUsage: "PRODUCT@VERSION --reason TEXT --key FILE",
		Description: "It takes as many certifiers as certifying did, and waits as a proposal (exit 8) until they have signed. To stop a release at once, use `kitchen recall`: one signature is enough. " +
			"The reason is for those who sign; the role itself keeps nothing of a release that it does not list. `kitchen certify` certifies it again.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that the other certifiers are told"},
			&cli.StringFlag{Name: "for", Usage: "the certificate for this `CUSTOMER` alone"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o decertifyOptions, err error) {
			o = decertifyOptions{keyOptions: k.readKeyOptions(c), request: publisher.DecertifyRequest{Reason: c.String("reason"), Customer: c.String("for")}}
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			if err := forFlag(c); err != nil {
				return o, err
			}
			return o, require(c, "reason")
		}, runDecertify),
	}
}

func runDecertify(ctx context.Context, k *kitchen, o decertifyOptions) error {
	role := manifest.RoleReady(o.release.Product)
	if o.request.Customer != "" {
		role = manifest.RoleReadyFor(o.release.Product, o.request.Customer)
	}
	signers, err := k.signers(o.keyOptions, role)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(s *session, p *publisher.Publisher) error {
		outcome, err := p.Decertify(ctx, o.release, o.request, signers)
		if err != nil {
			return err
		}
		if view, err := s.catalog.Refresh(ctx); err == nil && o.request.Customer == "" {
			if info, err := view.Release(o.release); err == nil {
				for _, customer := range info.CertifiedFor {
					outcome.Summary = append(outcome.Summary, fmt.Sprintf("%s has a certificate of its own, which stays: kitchen decertify %s --for %s --reason TEXT --key FILE", customer, o.release, customer))
				}
			}
		}
		d := newOutcome("decertify", o.release.String(), outcome)
		if d.Status == publisher.Pending {
			d.Hint = fmt.Sprintf("to stop it at once: kitchen recall %s --reason TEXT --key FILE; one signature is enough", o.release)
		}
		return k.showOutcome(d)
	})
}
