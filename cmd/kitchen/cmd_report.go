package main

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type reportOptions struct {
	release manifest.Release
	request fetcher.ReportRequest
	dryRun  bool
}

func reportCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "report", Category: groupCustomerCI, Usage: "sign and send the result of a test that another CI ran", ArgsUsage: "PRODUCT@VERSION --result RESULT",
		Description: "For sites that drive their own CI; `kitchen run` reports by itself.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "result", Usage: "`RESULT`: PASSED, WARNED, FAILED, NOT_RUN or ERROR"},
			&cli.StringSliceFlag{Name: "junit", Usage: "JUnit XML `FILE`, or a directory of them; repeatable"},
			&cli.StringFlag{Name: "log", Usage: "log `FILE` to send along"},
			&cli.StringSliceFlag{Name: "attach", Usage: "`FILE` to send along; repeatable"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the statement that would be signed; sign and send nothing"},
			&cli.StringFlag{Name: "note", Usage: "`TEXT` that explains the result"},
			passwordFlag(),
		},
		Action: action(k, func(c *cli.Context) (o reportOptions, err error) {
			k.readKeyOptions(c)
			o.request = fetcher.ReportRequest{Result: c.String("result"), JUnit: c.StringSlice("junit"), Log: c.String("log"),
				Attach: c.StringSlice("attach"), Note: c.String("note")}
			o.dryRun = c.Bool("dry-run")
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			if err := require(c, "result"); err != nil {
				return o, err
			}
			return o, checkResult(o.request.Result, manifest.Passed, manifest.Warned, manifest.Failed, manifest.NotRun, manifest.Errored)
		}, runReport),
	}
}

func checkResult(result string, allowed ...string) error {
	if slices.Contains(allowed, result) {
		return nil
	}
	return usagef("--result %s: it is one of %v", result, allowed)
}

// entryDocument is the result of commands that make one report.
type entryDocument struct {
	Schema string `json:"schema"` // kitchen.report/v1, kitchen.deploy/v1, kitchen.deployed/v1
	runEntry
}

func (d *entryDocument) human(p *page) {
	d.runEntry.human(p)
	if d.Report != "" && d.Unsent == "" {
		p.para(4, "  report ", d.Report)
	}
}

// showEntry prints the entry, and gives exit 8 while its report waits on disk.
func (k *kitchen) showEntry(d *entryDocument) error {
	if err := k.show(d); err != nil || d.Unsent == "" {
		return err
	}
	return answer(exitNotInEffect)
}

func runReport(ctx context.Context, k *kitchen, o reportOptions) error {
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(true)
		if err != nil {
			return err
		}
		if o.dryRun {
			return k.showStatement(f.Statement(ctx, v, o.release, o.request))
		}
		entry, err := f.Report(ctx, v, o.release, o.request)
		if no := refusal("kitchen.report/v1", "NOT REPORTED", o.release, err); no != nil {
			return k.no(no)
		}
		if err != nil {
			return err
		}
		return k.showEntry(&entryDocument{"kitchen.report/v1", newRunEntry(*entry)})
	})
}

// showStatement prints an in-toto statement, in either output form.
func (k *kitchen) showStatement(statement []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = k.stdout.Write(render.JSON(statement))
	return err
}
