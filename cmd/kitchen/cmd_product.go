package main

import (
	"context"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func productCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "product", Category: groupSetUp, Usage: "products and who signs for them",
		Subcommands: []*cli.Command{productAddCommand(k)},
	}
}

type productAddOptions struct {
	keyOptions
	name                              string
	engineers, validators, certifiers []string
	threshold                         int
}

func productAddCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a product and the keys that sign for it",
		ArgsUsage:   "NAME --engineer FILE… --validator FILE… --certifier FILE… --key FILE…",
		Description: "Needs the signatures of the holders of the role targets (the root holders, unless init was told otherwise).",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "engineer", Usage: "public key `FILE` of a release engineer; repeatable"},
			&cli.StringSliceFlag{Name: "validator", Usage: "public key `FILE` of the vendor's CI; repeatable"},
			&cli.StringSliceFlag{Name: "certifier", Usage: "public key `FILE` of a sysadmin who certifies for everybody; repeatable"},
			&cli.IntFlag{Name: "certify-threshold", Usage: "`N` certifiers must sign (default 2, or 1 for a single certifier)"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (productAddOptions, error) {
			o := productAddOptions{
				keyOptions: k.readKeyOptions(c), name: c.Args().First(), threshold: c.Int("certify-threshold"),
				engineers: c.StringSlice("engineer"), validators: c.StringSlice("validator"), certifiers: c.StringSlice("certifier"),
			}
			if err := operands(c, "NAME"); err != nil {
				return o, err
			}
			return o, require(c, "engineer", "validator", "certifier")
		}, runProductAdd),
	}
}

func runProductAdd(ctx context.Context, k *kitchen, o productAddOptions) error {
	request := publisher.ProductRequest{Name: o.name, CertifyThreshold: o.threshold}
	var err error
	if request.Engineers, err = k.publicKeys(o.engineers); err != nil {
		return err
	}
	if request.Validators, err = k.publicKeys(o.validators); err != nil {
		return err
	}
	if request.Certifiers, err = k.publicKeys(o.certifiers); err != nil {
		return err
	}
	signers, err := k.signers(o.keyOptions, "targets", "root")
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.AddProduct(ctx, request, signers)
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("product-add", "", outcome))
	})
}
