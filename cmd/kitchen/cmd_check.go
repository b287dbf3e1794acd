package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func checkCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "check", Category: groupOperator, Usage: "look through the whole catalog: is everything there, and right?",
		Description: "Verifies every signature from the first root on, reads every manifest, certificate, report and the journal, and holds stored artifacts to their sizes; " +
			"--read-data hashes them, too, and unpacks artifacts to hold them to their indexes and manifests. Leftovers that nothing needs are notes. It needs the right to read and list, and nobody's private key.\n\n" +
			"Exit 0 when the catalog is sound (warnings and notes included), 4 when something in it is not to be trusted (damaged, expired, not signed as it must be), " +
			"1 when something is lost and nothing is worse, and 6 when something may not be read.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "read-data", Usage: "read every artifact and log: hash it, and unpack what is an artifact"},
			&cli.StringFlag{Name: "product", Usage: "only releases and reports of this `PRODUCT`; leftovers are not looked for"},
		},
		Action: action(k, func(c *cli.Context) (o publisher.CheckRequest, err error) {
			o = publisher.CheckRequest{ReadData: c.Bool("read-data"), Product: c.String("product")}
			if o.Product != "" {
				if err := manifest.CheckName("product", o.Product); err != nil {
					return o, usagef("--product: %v", err)
				}
			}
			return o, operands(c)
		}, runCheck),
	}
}

// checkDocument is what a check found.
type checkDocument struct {
	Schema    string          `json:"schema"` // kitchen.check/v1
	Sound     bool            `json:"sound"`
	Faults    int             `json:"faults"`
	Warnings  int             `json:"warnings"`
	Notes     int             `json:"notes"`
	Findings  []checkFinding  `json:"findings"`
	Left      int             `json:"left"` // findings that are counted and not listed
	Unchecked []string        `json:"unchecked"`
	Checked   checkedDocument `json:"checked"`
	Issued    string          `json:"issued"` // of the timestamp that was checked; "" when no reader can have a view
	data      bool
	ended     bool // before all was looked at
}

type checkFinding struct {
	Severity string   `json:"severity"` // fault | warning | note
	Code     string   `json:"code"`
	Object   string   `json:"object"`
	Why      string   `json:"why"`
	Next     string   `json:"next"`
	Count    int      `json:"count"`
	Bytes    int64    `json:"bytes"`
	Objects  []string `json:"objects,omitempty"` // of a kind; at most 1,000, see count
}

// shownObjects is how many objects of one finding people are shown.
const shownObjects = 10

type checkedDocument struct {
	Roots     int   `json:"roots"`
	Roles     int   `json:"roles"`
	Versions  int   `json:"versions"` // old ones
	Targets   int   `json:"targets"`
	Releases  int   `json:"releases"`
	Evidence  int   `json:"evidence"`
	Blobs     int   `json:"blobs"`
	BlobBytes int64 `json:"blob_bytes"`
	ReadBytes int64 `json:"read_bytes"` // that were hashed
	Segments  int   `json:"journal_segments"`
	Reports   int   `json:"reports"`
	Logs      int   `json:"logs"`
	Objects   int   `json:"objects"` // that the store listed
}

func newCheckDocument(r *publisher.CheckResult, data bool) *checkDocument {
	d := &checkDocument{Schema: "kitchen.check/v1", Sound: r.Sound(), Faults: r.Counts[publisher.Fault], Warnings: r.Counts[publisher.Warning], Notes: r.Counts[publisher.Note],
		Findings: []checkFinding{}, Left: r.Left, Unchecked: list(r.Unchecked), Issued: stamp(r.Issued), data: data, ended: r.Ended}
	for _, f := range r.Findings {
		d.Findings = append(d.Findings, checkFinding{string(f.Severity), f.Code, f.Object, f.Why, f.Next, f.Count, f.Bytes, f.Objects})
	}
	c := r.Checked
	d.Checked = checkedDocument{c.Roots, c.Roles, c.Versions, c.Targets, c.Releases, c.Evidence, c.Blobs, c.BlobBytes, c.ReadBytes, c.Segments, c.Reports, c.Logs, c.Objects}
	return d
}

func (f *checkFinding) human(p *page) {
	tone := map[string]render.Tone{"fault": render.Bad, "warning": render.Warn}[f.Severity]
	label := strings.ToUpper(f.Severity)
	if f.Severity == "note" {
		label = "note"
	}
	p.verdict(tone, label+" "+f.Code)
	if f.Object != "" {
		p.linef("  %s", f.Object) // a name is never cut
	}
	why := f.Why
	if f.Bytes > 0 {
		why += " (" + render.Size(f.Bytes) + ")"
	}
	p.para(2, "  ", why)
	for _, key := range f.Objects[:min(shownObjects, len(f.Objects))] {
		p.linef("    %s", key)
	}
	if more := f.Count - shownObjects; more > 0 && len(f.Objects) > 0 {
		p.linef("    and %d more (-o json lists %d)", more, len(f.Objects))
	}
	if f.Next != "" {
		p.para(4, "  > ", f.Next)
	}
}

func (d *checkDocument) human(p *page) {
	for i := range d.Findings {
		d.Findings[i].human(p)
	}
	if d.Left > 0 {
		p.linef("and %d more findings of the same kinds", d.Left)
	}
	for _, what := range d.Unchecked {
		p.para(2, "not looked at: ", what)
	}
	c := d.Checked
	p.para(2, "", fmt.Sprintf("looked at %s, %s and %s of roles; %s, %s, %s; %s, %s, %s", counted(c.Roots, "root"), counted(c.Roles, "role"), counted(c.Versions, "old version"),
		counted(c.Releases, "release"), counted(c.Targets, "manifest or entry", "manifests and entries"), counted(c.Evidence, "certificate's evidence", "certificates' evidence"),
		counted(c.Reports, "report"), counted(c.Logs, "log"), counted(c.Segments, "segment of the journal", "segments of the journal")))
	read := "their bytes were not read: --read-data does"
	if d.data {
		read = render.Size(c.ReadBytes) + " read"
	}
	p.para(2, "", fmt.Sprintf("%s of artifacts, %s; %s", counted(c.Blobs, "stored object"), render.Size(c.BlobBytes), read))
	words := fmt.Sprintf("%s, %s, %s", counted(d.Faults, "fault"), counted(d.Warnings, "warning"), counted(d.Notes, "note"))
	switch {
	case d.Sound:
		p.verdict(render.Good, "sound: "+words)
	case d.ended:
		p.verdict(render.Bad, "INCOMPLETE: so far "+words)
	case d.Faults == 0:
		p.verdict(render.Warn, "nobody can say: something may not be read; "+words)
	default:
		p.verdict(render.Bad, "NOT SOUND: "+words)
	}
}

// counted is a number with its noun; the plural is the noun with an s, or as given.
func counted(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
	case len(plural) > 0:
		noun = plural[0]
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// anew is why a check did not come to its end. The next one has nothing to go on from.
type anew struct{ error }

func (e anew) Unwrap() error { return e.error }

func runCheck(ctx context.Context, k *kitchen, o publisher.CheckRequest) (err error) {
	s, err := k.open(ctx, false)
	if err != nil {
		return err
	}
	defer s.close(&err)
	scratch := filepath.Join(s.state, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	p := &publisher.Publisher{Catalog: s.catalog, Store: s.store, Now: k.now, Progress: k.progress, Scratch: scratch}
	result, err := p.Check(ctx, o)
	if result == nil {
		return err
	}
	if err := errors.Join(err, k.show(newCheckDocument(result, o.ReadData))); err != nil {
		return anew{err}
	}
	switch {
	case result.Untrusted:
		return answer(exitNotTrusted)
	case result.Lost:
		return answer(exitFailed)
	case result.Unread:
		return answer(exitUnavailable)
	}
	return nil
}
