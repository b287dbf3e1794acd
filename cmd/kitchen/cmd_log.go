package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type logOptions struct {
	release manifest.Release
	site    manifest.SiteID
	run     int64 // sequence number of the report, 0 = the latest
	raw     bool

	attachment string // "" is the log
}

func logCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "log", Category: groupOperator, Usage: "print the log of a site's run of a release", ArgsUsage: "PRODUCT@VERSION --site CUSTOMER/SITE",
		Description: "The log is the site's own text, which might drive your terminal: control characters and the like are made visible. --raw gives the bytes as they are.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "site", Usage: "`CUSTOMER/SITE` whose log it is"},
			&cli.StringFlag{Name: "attachment", Usage: "print the file of this `NAME` that goes with the report, instead of the log"},
			&cli.Int64Flag{Name: "run", Usage: "`NUMBER` of the run, from 1; the latest by default"},
			&cli.BoolFlag{Name: "raw", Usage: "print the log byte for byte; mind where it goes"},
		},
		Action: action(k, func(c *cli.Context) (o logOptions, err error) {
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			if err := require(c, "site"); err != nil {
				return o, err
			}
			if o.raw = c.Bool("raw"); o.raw && k.global.json {
				return o, usagef("--raw and -o json exclude each other")
			}
			o.attachment = c.String("attachment")
			if o.run = c.Int64("run"); c.IsSet("run") && o.run < 1 {
				return o, usagef("--run %d: runs are counted from 1", o.run)
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
	Run     int64  `json:"run"`
	Report  string `json:"report"`

	Attachments []attachmentDocument `json:"attachments"`
	Attachment  string               `json:"attachment,omitempty"` // that log is
	Log         string               `json:"log"`                  // bytes that are not UTF-8 are replaced
}

func (d *logDocument) human(*page) {}

func runLog(ctx context.Context, k *kitchen, o logOptions) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) (err error) {
		report, err := o.find(ctx, v)
		if err != nil {
			return err
		}
		if report.Lost != "" {
			k.progress.Note(fmt.Sprintf("a report is %s: %s in the store since the journal saw it; this is what it was", report.Lost, report.Key))
		}
		log, err := openLog(ctx, v, *report, o.attachment)
		if err != nil {
			return err
		}
		defer func() {
			if e := log.Close(); err == nil {
				err = e
			}
		}()
		if o.raw {
			_, err := io.Copy(k.stdout, stoppable{ctx, log})
			return err
		}
		d := &logDocument{Schema: "kitchen.log/v1", Release: o.release.String(), Site: o.site.String(), Verdict: report.Verdict(), Run: report.Sequence, Report: report.Key,
			Attachments: newAttachments(report.Attachments), Attachment: o.attachment}
		if len(d.Attachments) > 0 && o.attachment == "" {
			k.progress.Note("attached (--attachment NAME prints one): " + attachmentWords(d.Attachments))
		}
		return k.printLog(ctx, log, d)
	})
}

// stoppable ends a log when its reader wants to stop: a few bytes of it may stand for very many.
type stoppable struct {
	ctx context.Context
	log io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.log.Read(p)
}

// openLog opens the log of a report, or one of its attachments.
func openLog(ctx context.Context, v *catalog.View, r catalog.VerifiedReport, attachment string) (*catalog.Log, error) {
	if attachment != "" {
		return v.ReadAttachment(ctx, r, attachment)
	}
	if r.Log == nil {
		return nil, fmt.Errorf("the report of %s on %s (%s) has no log", r.Site, r.Release, r.Verdict())
	}
	return v.ReadLog(ctx, r)
}

// find is the report whose log is wanted.
func (o *logOptions) find(ctx context.Context, v *catalog.View) (*catalog.VerifiedReport, error) {
	reports, err := v.Reports(ctx, catalog.ReportFilter{Release: &o.release, Site: &o.site, Known: true})
	if err != nil {
		return nil, err
	}
	latest := reports.Latest(o.site, o.release)
	if latest == nil {
		return nil, o.none(reports)
	}
	if o.run == 0 {
		return latest, nil
	}
	if report := reports.Find(o.site, o.release, o.run); report != nil {
		return report, nil
	}
	return nil, fmt.Errorf("there is no run %d of %s on %s among those that are read; the latest is %d", o.run, o.site, o.release, latest.Sequence)
}

// none says why there is no report to be shown.
func (o *logOptions) none(reports *catalog.Reports) error {
	for _, r := range reports.Rejected {
		if strings.HasPrefix(r.Key, manifest.ReportPrefix(o.site, o.release)) {
			return fmt.Errorf("no report of %s on %s counts; %s: %s", o.site, o.release, r.Key, r.Reason)
		}
	}
	if reports.Lost(o.site, o.release) == catalog.Withheld {
		return &storage.Error{Op: "read the report of " + o.site.String() + " on " + o.release.String(), Right: "s3:GetObject on " + manifest.ReportsPrefix(o.site), Err: storage.ErrForbidden}
	}
	if slices.Contains(reports.Unlisted, o.site) {
		return hinted{fmt.Errorf("%s has sent no report on %s that the journal saw, and newer ones may not be read", o.site, o.release),
			"ask for the right to list and read " + manifest.ReportsPrefix(o.site)}
	}
	return hinted{fmt.Errorf("%s has sent no report on %s", o.site, o.release), "`kitchen status " + o.release.String() + "` shows who did"}
}

// printLog streams the log to stdout. In JSON it is read to its end first: a
// document that begins must not turn out to be a bomb.
func (k *kitchen) printLog(ctx context.Context, log *catalog.Log, d *logDocument) error {
	if !k.global.json {
		return pour(k.stdout, stoppable{ctx, log}, render.Text)
	}
	if _, err := io.Copy(io.Discard, stoppable{ctx, log}); err != nil {
		return err
	}
	if err := log.Rewind(); err != nil {
		return err
	}
	text, err := encodeJSON(d)
	if err != nil {
		return err
	}
	head, tail, _ := strings.Cut(string(text), emptyLog)
	if _, err := io.WriteString(k.stdout, head+strings.TrimSuffix(emptyLog, `"`)); err != nil {
		return err
	}
	if err := pour(k.stdout, stoppable{ctx, log}, quoted); err != nil {
		return err
	}
	_, err = io.WriteString(k.stdout, `"`+tail)
	return err
}

// emptyLog is how encodeJSON writes a document's log, the last member, when it is empty.
const emptyLog = "\n  \"log\": \"\""

// pour copies a log in pieces of whole characters, each escaped.
func pour(to io.Writer, log io.Reader, escape func(string) string) error {
	w := &render.Writer{W: to, Escape: escape}
	if _, err := io.Copy(w, log); err != nil {
		return err
	}
	return w.Close()
}

// quoted is text as it stands between the quotes of a JSON string. A string has
// a JSON form whatever is in it.
func quoted(text string) string {
	data, _ := encodeJSON(text)
	return strings.TrimSuffix(strings.TrimPrefix(string(data), `"`), "\"\n")
}
