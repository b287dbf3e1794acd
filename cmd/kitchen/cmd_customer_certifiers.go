package main

import (
	"context"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type customerCertifiersOptions struct {
	keyOptions
	request    publisher.CertifiersRequest
	certifiers []string
}

func customerCertifiersCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "certifiers", Usage: "say who certifies a product for one customer alone", ArgsUsage: "NAME --product PRODUCT --certifier FILE… --key FILE…",
		Description: "Makes the role ready-to-deploy.PRODUCT.NAME, whose holders `kitchen certify --for NAME` with. They may be the customer's own people. Needs the signatures of the holders of the role targets.\n\n" +
			"It binds nobody by itself: the customer's hosts name the role in their own kitchen.toml, [gate] require = [\"product\", \"validated\", \"ready-to-deploy.NAME\"], and may pin its keys in [gate.pins.\"ready-to-deploy.NAME\"].",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "product", Usage: "`PRODUCT` that they certify"},
			&cli.StringSliceFlag{Name: "certifier", Usage: "public key `FILE` of a certifier, which is no site's; repeatable"},
			&cli.IntFlag{Name: "threshold", Usage: "`N` of them must sign (default 2, or 1 for a single one)"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (customerCertifiersOptions, error) {
			o := customerCertifiersOptions{keyOptions: k.readKeyOptions(c), certifiers: c.StringSlice("certifier"),
				request: publisher.CertifiersRequest{Customer: c.Args().First(), Product: c.String("product"), Threshold: c.Int("threshold")}}
			if err := operands(c, "NAME"); err != nil {
				return o, err
			}
			return o, require(c, "product", "certifier")
		}, runCustomerCertifiers),
	}
}

func runCustomerCertifiers(ctx context.Context, k *kitchen, o customerCertifiersOptions) error {
	var err error
	if o.request.Certifiers, err = k.publicKeys(o.certifiers); err != nil {
		return err
	}
	signers, err := k.signers(o.keyOptions, "targets", "root")
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.SetCertifiers(ctx, o.request, signers)
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("customer-certifiers", "", outcome))
	})
}
