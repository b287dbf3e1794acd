package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type logOptions struct {
	release manifest.Release
	site    manifest.SiteID
}

func logCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "log", Category: groupOperator, Usage: "print the log of a site's latest run of a release", ArgsUsage: "PRODUCT@VERSION --site CUSTOMER/SITE",
		Description: "The log is the site's own text. It is printed as it is into a file or pipe; on a terminal control characters are made visible.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "site", Usage: "`CUSTOMER/SITE` whose log it is"},
		},
		Action: action(k, func(c *cli.Context) (o logOptions, err error) {
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			if err := require(c, "site"); err != nil {
				return o, err
			}
			o.site, err = siteValue(c.String("site"))
			return o, err
		}, runLog),
	}
}

// logDocument is a log as a JSON value.
type logDocument struct {
	Schema  string `json:"schema"` // kitchen.log/v1
	Release string `json:"release"`
	Site    string `json:"site"`
	Verdict string `json:"verdict"`
	Report  string `json:"report"`
	Log     string `json:"log"` // bytes that are not UTF-8 are replaced
}

func (d *logDocument) human(*page) {}

func runLog(ctx context.Context, k *kitchen, o logOptions) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) (err error) {
		reports, err := v.Reports(ctx, catalog.ReportFilter{Release: &o.release, Site: &o.site})
		if err != nil {
			return err
		}
		latest := reports.Latest(o.site, o.release)
		if latest == nil {
			return hinted{fmt.Errorf("%s has sent no report on %s", o.site, o.release), "`kitchen status " + o.release.String() + "` shows who did"}
		}
		if latest.Log == nil {
			return fmt.Errorf("the report of %s on %s (%s) has no log", o.site, o.release, latest.Verdict())
		}
		log, err := v.ReadLog(ctx, *latest)
		if err != nil {
			return err
		}
		defer func() {
			if e := log.Close(); err == nil {
				err = e
			}
		}()
		return k.printLog(log, &logDocument{Schema: "kitchen.log/v1", Release: o.release.String(), Site: o.site.String(), Verdict: latest.Verdict(), Report: latest.Key})
	})
}

// printLog streams the log to stdout; in JSON it is whole in memory, under the
// cap that ReadLog holds it to.
func (k *kitchen) printLog(log io.Reader, d *logDocument) error {
	if k.global.json {
		text, err := io.ReadAll(log)
		if err != nil {
			return err
		}
		d.Log = strings.ToValidUTF8(string(text), "�")
		return k.show(d)
	}
	if !k.stdoutTTY {
		_, err := io.Copy(k.stdout, log)
		return err
	}
	w := &render.Writer{W: k.stdout}
	if _, err := io.Copy(w, log); err != nil {
		return err
	}
	return w.Close()
}
