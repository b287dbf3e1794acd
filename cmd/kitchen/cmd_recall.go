package main

import (
	"context"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type recallOptions struct {
	keyOptions
	release manifest.Release
	reason  string
}

func recallCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "recall", Category: groupEngineer, Usage: "stop a release: it must not be deployed", ArgsUsage: "PRODUCT@VERSION --reason TEXT --key FILE",
		Description: "One release engineer, or one sysadmin, of the product is enough. Every host takes it up with its next refresh, which says so where the release is known.\n\n" +
			"Only a certificate that names the recall lifts it (`kitchen certify PRODUCT@VERSION --lift-recall`), and none one that was not validated before. " +
			"The same release recalled again, after that or for another reason, is another recall, which no certificate of before lifts; the reasons of one that stands are kept behind the new one.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that every host is told"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o recallOptions, err error) {
			o = recallOptions{keyOptions: k.readKeyOptions(c), reason: c.String("reason")}
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			return o, require(c, "reason")
		}, runRecall),
	}
}

func runRecall(ctx context.Context, k *kitchen, o recallOptions) error {
	signers, err := k.signers(o.keyOptions, manifest.RoleRecalled(o.release.Product), manifest.RoleProduct(o.release.Product))
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.Recall(ctx, o.release, o.reason, signers)
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("recall", o.release.String(), outcome))
	})
}
