package main

import (
	"context"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type yankOptions struct {
	keyOptions
	release manifest.Release
	reason  string
	undo    bool
}

func yankCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "yank", Category: groupEngineer, Usage: "hide a release from new use", ArgsUsage: "PRODUCT@VERSION --reason TEXT|--undo --key FILE",
		Description: "Hosts that fetched or deployed it keep it, and may fetch and deploy it again. No other host gets it, no run tests or deploys it by itself, and it is neither validated nor certified any more. With --undo all of that is as before. " +
			"What must not be deployed anywhere is a case for `kitchen recall`.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that people are told"},
			&cli.BoolFlag{Name: "undo", Usage: "take the yank back; takes no --reason"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o yankOptions, err error) {
			o = yankOptions{keyOptions: k.readKeyOptions(c), reason: c.String("reason"), undo: c.Bool("undo")}
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			switch {
			case !o.undo:
				return o, require(c, "reason")
			case c.IsSet("reason"):
				return o, usageHint("--undo takes no --reason", "the reason goes with the yank")
			}
			return o, nil
		}, runYank),
	}
}

func runYank(ctx context.Context, k *kitchen, o yankOptions) error {
	signers, err := k.signers(o.keyOptions, manifest.RoleProduct(o.release.Product))
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		var outcome *publisher.Outcome
		var err error
		if o.undo {
			outcome, err = p.Unyank(ctx, o.release, signers)
		} else {
			outcome, err = p.Yank(ctx, o.release, o.reason, signers)
		}
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("yank", o.release.String(), outcome))
	})
}
