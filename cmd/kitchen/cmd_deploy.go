package main

import (
	"context"
	"errors"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type deployOptions struct {
	release manifest.Release
	options fetcher.DeployOptions
}

func deployCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "deploy", Category: groupProduction, Usage: "deploy a release on this host, if it is ready", ArgsUsage: "PRODUCT@VERSION",
		Description: "Fetches it, starts the hook deploy of kitchen.toml, once, and reports what came of it. `kitchen run` does the same by itself where auto = true. " +
			"What is deployed here already is left alone: exit 0 while it is ready still, else 3.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "fresh", Usage: "nothing of this product is deployed here, whatever records and reports say"},
			&cli.BoolFlag{Name: "again", Usage: "run the hook although it ran before for this release"},
			&cli.BoolFlag{Name: "allow-downgrade", Usage: "deploy it although it was published before what is deployed here"},
			passwordFlag(),
		},
		Action: action(k, func(c *cli.Context) (o deployOptions, err error) {
			k.readKeyOptions(c)
			o.options = fetcher.DeployOptions{Fresh: c.Bool("fresh"), Again: c.Bool("again"), AllowDowngrade: c.Bool("allow-downgrade")}
			o.release, err = releaseOperand(c)
			return o, err
		}, runDeploy),
	}
}

// refusedDocument is the answer no of deploy, deployed and report.
type refusedDocument struct {
	Schema  string          `json:"schema"`
	Release string          `json:"release"`
	Verdict string          `json:"verdict"` // always ""
	Reason  string          `json:"reason"`
	Hint    string          `json:"hint,omitempty"`
	Unmet   []unmetDocument `json:"unmet"`
	Earlier bool            `json:"earlier,omitempty"` // it is deployed here all the same
	heading string
}

func (d *refusedDocument) human(p *page) {
	p.verdict(render.Bad, d.heading+"  "+d.Release)
	if len(d.Unmet) > 0 {
		unmetLines(p, d.Unmet)
	} else {
		p.para(2, "  ", d.Reason)
	}
	if d.Hint != "" {
		p.para(2, "  ", d.Hint)
	}
}

func runDeploy(ctx context.Context, k *kitchen, o deployOptions) error {
	const schema = "kitchen.deploy/v1"
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(true)
		if err != nil {
			return err
		}
		entry, err := f.Deploy(ctx, v, o.release, o.options)
		if no := refusal(schema, "NOT DEPLOYED", o.release, err); no != nil {
			return k.no(no)
		}
		if err != nil {
			return err
		}
		d := &entryDocument{schema, newRunEntry(*entry)}
		if entry.Verdict != manifest.Passed && entry.Verdict != manifest.Warned {
			return k.no(d)
		}
		return k.showEntry(d)
	})
}

// refusal makes a document of the errors that are answers; nil for all others.
func refusal(schema, heading string, r manifest.Release, err error) *refusedDocument {
	d := &refusedDocument{Schema: schema, Release: r.String(), Unmet: []unmetDocument{}, heading: heading}
	var (
		notReady     *fetcher.NotReady
		undetermined *fetcher.Undetermined
		attempted    *fetcher.Attempted
		hidden       *fetcher.NotVisible
		hint         interface{ Hint() string }
	)
	switch {
	case errors.As(err, &notReady):
		d.Unmet = unmetDocuments(notReady.Verdict.Unmet)
		if d.Earlier = notReady.Earlier != nil; d.Earlier {
			d.heading = "DEPLOYED ALREADY, NOT READY ANY MORE"
		}
	case errors.As(err, &undetermined), errors.As(err, &attempted), errors.As(err, &hidden):
	default:
		return nil
	}
	d.Reason = err.Error()
	if errors.As(err, &hint) {
		d.Hint = hint.Hint()
	}
	return d
}

type deployedOptions struct {
	release      manifest.Release
	result, note string
}

func deployedCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "deployed", Category: groupProduction, Usage: "record and report a deployment that was done by hand", ArgsUsage: "PRODUCT@VERSION --result RESULT",
		Description: "It also answers what became of a deploy hook that was interrupted.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "result", Usage: "`RESULT`: PASSED or FAILED"},
			&cli.StringFlag{Name: "note", Usage: "`TEXT` that explains it"},
			passwordFlag(),
		},
		Action: action(k, func(c *cli.Context) (o deployedOptions, err error) {
			k.readKeyOptions(c)
			o.result, o.note = c.String("result"), c.String("note")
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			if err := require(c, "result"); err != nil {
				return o, err
			}
			return o, checkResult(o.result, manifest.Passed, manifest.Failed)
		}, runDeployed),
	}
}

func runDeployed(ctx context.Context, k *kitchen, o deployedOptions) error {
	const schema = "kitchen.deployed/v1"
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(true)
		if err != nil {
			return err
		}
		entry, err := f.Deployed(ctx, v, o.release, o.result, o.note)
		if no := refusal(schema, "NOT RECORDED", o.release, err); no != nil {
			return k.no(no)
		}
		if err != nil {
			return err
		}
		return k.showEntry(&entryDocument{schema, newRunEntry(*entry)})
	})
}
