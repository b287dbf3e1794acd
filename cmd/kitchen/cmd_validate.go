package main

import (
	"context"
	"errors"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type validateOptions struct {
	keyOptions
	release manifest.Release
}

func validateCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "validate", Category: groupVendorCI, Usage: "sign a release as validated: customers see it", ArgsUsage: "PRODUCT@VERSION --key FILE",
		Description: "`kitchen run` does this by itself where [keys] names the key of validated.<product>.",
		Flags:       signingFlags(),
		Action: action(k, func(c *cli.Context) (o validateOptions, err error) {
			o.keyOptions = k.readKeyOptions(c)
			o.release, err = releaseOperand(c)
			return o, err
		}, runValidate),
	}
}

func runValidate(ctx context.Context, k *kitchen, o validateOptions) error {
	signers, err := k.signers(o.keyOptions, manifest.RoleValidated(o.release.Product))
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.Validate(ctx, o.release, signers)
		var no *publisher.Withdrawn
		if errors.As(err, &no) {
			return k.showOutcome(&outcomeDocument{Schema: "kitchen.validate/v1", Release: o.release.String(), Status: statusRefused,
				Summary: []string{no.Error()}, Roles: []roleDocument{}, Hint: no.Hint()})
		}
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("validate", o.release.String(), outcome))
	})
}
