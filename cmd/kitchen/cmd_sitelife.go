package main

import (
	"context"
	"time"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

// siteLifeOptions are those of rotate-key and retire.
type siteLifeOptions struct {
	keyOptions
	site        manifest.SiteID
	public      string
	compromised time.Time
}

func compromisedFlag() cli.Flag {
	return &cli.StringFlag{Name: "compromised-since", Usage: "`TIME` (2026-01-31T12:00:00Z, 2026-01-31, or 3d ago as 3d) from which the old keys may have been somebody else's: what the journal saw since does not count"}
}

func (k *kitchen) siteLife(c *cli.Context) (o siteLifeOptions, err error) {
	o = siteLifeOptions{keyOptions: k.readKeyOptions(c), public: c.String("pub")}
	if err := operands(c, "CUSTOMER/SITE"); err != nil {
		return o, err
	}
	if o.compromised, err = k.timeFlag(c, "compromised-since"); err != nil {
		return o, err
	}
	o.site, err = siteValue(c.Args().First())
	return o, err
}

func siteRotateKeyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "rotate-key", Usage: "give a site a new key",
		ArgsUsage: "CUSTOMER/SITE --pub FILE --key FILE",
		Description: "The old keys end now. Reports that the journal has seen by then stay valid, and what lies in the store is recorded by the same commit. " +
			"Needs the signature of a vendor administrator.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "pub", Usage: "new public key `FILE` of the site"},
			compromisedFlag(),
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (siteLifeOptions, error) {
			if err := require(c, "pub"); err != nil {
				return siteLifeOptions{}, err
			}
			return k.siteLife(c)
		}, func(ctx context.Context, k *kitchen, o siteLifeOptions) error {
			public, err := k.siteKey(o.public)
			if err != nil {
				return err
			}
			return k.changeRegistry(ctx, "kitchen.site-rotate-key/v1", o.keyOptions, func(p *publisher.Publisher, signers []keys.Signer) (*publisher.Outcome, error) {
				return p.RotateSiteKey(ctx, publisher.RotateRequest{Site: o.site, Key: public, CompromisedSince: o.compromised}, signers)
			})
		}),
	}
}

func siteRetireCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "retire", Usage: "end a site: its reports decide nothing any more",
		ArgsUsage:   "CUSTOMER/SITE --key FILE",
		Description: "For good. What it reported before stays to be seen. Needs the signature of a vendor administrator.",
		Flags:       append([]cli.Flag{compromisedFlag()}, signingFlags()...),
		Action: action(k, k.siteLife, func(ctx context.Context, k *kitchen, o siteLifeOptions) error {
			return k.changeRegistry(ctx, "kitchen.site-retire/v1", o.keyOptions, func(p *publisher.Publisher, signers []keys.Signer) (*publisher.Outcome, error) {
				return p.RetireSite(ctx, publisher.RetireRequest{Site: o.site, CompromisedSince: o.compromised}, signers)
			})
		}),
	}
}

// siteChangeOptions are those of site change.
type siteChangeOptions struct {
	siteLifeOptions
	after []manifest.SiteID
}

func siteChangeCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "change", Usage: "let a site wait for other sites than it does",
		ArgsUsage:   "CUSTOMER/SITE --after CUSTOMER/SITE…|--no-after --key FILE",
		Description: "Names all the sites that it is to wait for. Needs the signature of a vendor administrator.",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "after", Usage: "`CUSTOMER/SITE` that must have passed before this one tests; repeatable"},
			&cli.BoolFlag{Name: "no-after", Usage: "it waits for nobody"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o siteChangeOptions, err error) {
			if c.IsSet("after") == c.Bool("no-after") {
				return o, usagef("give either --after, for each of the sites that it is to wait for, or --no-after")
			}
			if o.after, err = siteValues(c.StringSlice("after")); err != nil {
				return o, err
			}
			o.siteLifeOptions, err = k.siteLife(c)
			return o, err
		}, func(ctx context.Context, k *kitchen, o siteChangeOptions) error {
			return k.changeRegistry(ctx, "kitchen.site-change/v1", o.keyOptions, func(p *publisher.Publisher, signers []keys.Signer) (*publisher.Outcome, error) {
				return p.ChangeSiteAfter(ctx, o.site, o.after, signers)
			})
		}),
	}
}

// customerChangeOptions are those of customer change.
type customerChangeOptions struct {
	keyOptions
	request publisher.CustomerChange
}

func customerChangeCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "change", Usage: "change what a customer is called, and follows",
		ArgsUsage:   "NAME [--name TEXT] [--subscribe PRODUCT…] [--unsubscribe PRODUCT…] --key FILE",
		Description: "Needs the signature of a vendor administrator.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "`NAME` as people read it"},
			&cli.StringSliceFlag{Name: "subscribe", Usage: "`PRODUCT` whose releases the customer is to see besides; repeatable; \"*\" is every product, instead of those named"},
			&cli.StringSliceFlag{Name: "unsubscribe", Usage: "`PRODUCT` whose releases it is to see no more, or \"*\"; repeatable"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o customerChangeOptions, err error) {
			o.keyOptions = k.readKeyOptions(c)
			o.request = publisher.CustomerChange{Name: c.Args().First(), DisplayName: c.String("name"), Subscribe: c.StringSlice("subscribe"), Unsubscribe: c.StringSlice("unsubscribe")}
			if !c.IsSet("name") && !c.IsSet("subscribe") && !c.IsSet("unsubscribe") {
				return o, usagef("nothing to change: give --name, --subscribe or --unsubscribe")
			}
			return o, operands(c, "NAME")
		}, func(ctx context.Context, k *kitchen, o customerChangeOptions) error {
			return k.changeRegistry(ctx, "kitchen.customer-change/v1", o.keyOptions, func(p *publisher.Publisher, signers []keys.Signer) (*publisher.Outcome, error) {
				return p.ChangeCustomer(ctx, o.request, signers)
			})
		}),
	}
}

// customerSuspendOptions are those of customer suspend.
type customerSuspendOptions struct {
	keyOptions
	customer string
	undo     bool
}

func customerSuspendCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "suspend", Usage: "let a customer follow nothing for the time being", ArgsUsage: "NAME --key FILE",
		Description: "Its sites see no releases and decide nothing meanwhile, and what they report is not recorded; --undo takes that back. " +
			"Whoever may read the bucket still can: rights are the store's. Needs the signature of a vendor administrator.",
		Flags: append([]cli.Flag{&cli.BoolFlag{Name: "undo", Usage: "take the suspension back"}}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (customerSuspendOptions, error) {
			return customerSuspendOptions{k.readKeyOptions(c), c.Args().First(), c.Bool("undo")}, operands(c, "NAME")
		}, func(ctx context.Context, k *kitchen, o customerSuspendOptions) error {
			return k.changeRegistry(ctx, "kitchen.customer-suspend/v1", o.keyOptions, func(p *publisher.Publisher, signers []keys.Signer) (*publisher.Outcome, error) {
				return p.SuspendCustomer(ctx, o.customer, !o.undo, signers)
			})
		}),
	}
}

// changeRegistry makes a change that administrators sign, and shows what came of it.
func (k *kitchen) changeRegistry(ctx context.Context, schema string, o keyOptions, change func(*publisher.Publisher, []keys.Signer) (*publisher.Outcome, error)) error {
	signers, err := k.signers(o, manifest.RoleRegistry)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := change(p, signers)
		if err != nil {
			return err
		}
		d := newOutcome("", "", outcome)
		d.Schema = schema
		return k.showOutcome(d)
	})
}

// timeFlag reads a moment: a time, a day, or how long ago it was. Zero when the flag is not given.
func (k *kitchen) timeFlag(c *cli.Context, name string) (time.Time, error) {
	text := c.String(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	ago, err := parseAge(text)
	if err != nil {
		return time.Time{}, usagef("--%s %s: it is neither a time (2026-01-31T12:00:00Z), nor a day (2026-01-31, UTC), nor how long ago it was (36h, 3d)", name, text)
	}
	return k.now().Add(-ago), nil
}
