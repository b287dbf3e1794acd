package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type runOptions struct {
	online  string
	release string
	latest  bool
	again   bool
	watch   time.Duration // 0: one round
	dryRun  bool
}

func runCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "run", Category: groupCustomerCI, Usage: "test, or deploy, what this site is to; report it", ArgsUsage: "[PRODUCT@VERSION] [--latest] [--watch DURATION]",
		Description: "A CI tests, in order of publication, every release it follows and has not reported on, with the hook test of kitchen.toml, and sends a signed report of each. " +
			"Where [keys] names the key of validated.<product>, a pass is signed into validated.\n\n" +
			"A production site with auto = true deploys the newest release that is ready and whose upgrade path allows it, once, with the hook deploy. " +
			"What waits, and for what, is said.\n\n" +
			"Exit 0: what there was to do passed. 3: something did not, or PRODUCT@VERSION was named and waits. docs/AGENT.md has all exit codes.\n\n" +
			"With --watch it is a service: it looks at once and then about every DURATION, tells each event on one line, goes on after errors of single releases and of the store, and ends with SIGTERM. docs/AGENT.md has a unit for systemd.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "latest", Usage: "only the newest release of each product"},
			&cli.BoolFlag{Name: "again", Usage: "with PRODUCT@VERSION: also when it was reported on before"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would run and what waits; start, send and record nothing"},
			&cli.StringFlag{Name: "watch", Usage: "go on, with a round about every `DURATION` (5m, 1h)"},
		}, onlineFlags()...),
		Action: action(k, func(c *cli.Context) (runOptions, error) {
			o := runOptions{online: k.readKeyOptions(c).online, release: c.Args().First(), latest: c.Bool("latest"), again: c.Bool("again"), dryRun: c.Bool("dry-run")}
			if err := operands(c, "[PRODUCT@VERSION]"); err != nil {
				return o, err
			}
			if o.again && o.release == "" {
				return o, usagef("--again needs PRODUCT@VERSION")
			}
			var err error
			if o.watch, err = parseWatch(c.String("watch")); err == nil && o.watch > 0 && o.again {
				err = usagef("--watch and --again exclude each other: it would run again and again")
			}
			if err == nil && o.watch > 0 && o.dryRun {
				err = usagef("--watch and --dry-run exclude each other")
			}
			return o, err
		}, runRun),
	}
}

// runDocument is what a run did and what it waits for.
type runDocument struct {
	Schema  string            `json:"schema"` // kitchen.run/v1
	Site    string            `json:"site"`
	Kind    string            `json:"kind"`
	Runs    []runEntry        `json:"runs"`
	Waiting []waitingDocument `json:"waiting"`
	Resumed []resumedDocument `json:"resumed"` // passed earlier, signed now
	Planned []plannedDocument `json:"planned"` // of a dry run
}

type runEntry struct {
	Release  string   `json:"release"`
	Type     string   `json:"type"`    // test | deployment
	Verdict  string   `json:"verdict"` // PASSED | WARNED | FAILED | NOT_RUN | ERROR
	Reason   string   `json:"reason,omitempty"`
	Passed   []string `json:"passed_tests"`
	Warned   []string `json:"warned_tests"`
	Failed   []string `json:"failed_tests"`
	From     string   `json:"from,omitempty"`
	Started  string   `json:"started,omitempty"`
	Finished string   `json:"finished,omitempty"`
	Sequence int64    `json:"sequence,omitempty"`
	Report   string   `json:"report,omitempty"` // object in the store
	Unsent   string   `json:"unsent,omitempty"` // why the report waits on disk
	Outcome  string   `json:"outcome,omitempty"`
	Earlier  bool     `json:"earlier,omitempty"` // was deployed before; nothing ran

	Attachments []attachmentDocument `json:"attachments"`
}

// attachmentDocument is a file that goes with a report.
type attachmentDocument struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func newAttachments(list []manifest.Attachment) []attachmentDocument {
	docs := []attachmentDocument{}
	for _, a := range list {
		docs = append(docs, attachmentDocument{a.Name, a.RawSize})
	}
	return docs
}

// attachmentWords names files with their sizes: "boot.png (12.0 kB), core (1.0 MB)".
func attachmentWords(docs []attachmentDocument) string {
	words := make([]string, len(docs))
	for i, a := range docs {
		words[i] = fmt.Sprintf("%s (%s)", a.Name, render.Size(a.Bytes))
	}
	return strings.Join(words, ", ")
}

type waitingDocument struct {
	Release     string `json:"release"`
	Reason      string `json:"reason"`
	NeedsPerson bool   `json:"needs_person"`
}

type resumedDocument struct {
	Release string `json:"release"`
	Outcome string `json:"outcome"`
}

type plannedDocument struct {
	Release string `json:"release"`
	Hook    string `json:"hook"`
	NotRun  string `json:"not_run,omitempty"` // why NOT_RUN would be reported, and no hook started
}

func newRunEntry(e fetcher.RunEntry) runEntry {
	return runEntry{
		Release: e.Release.String(), Type: e.Type, Verdict: e.Verdict, Reason: e.Reason,
		Passed: list(e.Passed), Warned: list(e.Warned), Failed: list(e.Failed), From: e.From,
		Started: stamp(e.Started), Finished: stamp(e.Finished), Sequence: e.Sequence,
		Report: e.Report, Unsent: e.Unsent, Outcome: e.Outcome, Earlier: e.Earlier, Attachments: newAttachments(e.Attachments),
	}
}

func newRunDocument(r *fetcher.RunResult) *runDocument {
	d := &runDocument{Schema: "kitchen.run/v1", Site: r.Site.String(), Kind: r.Kind, Runs: []runEntry{}, Waiting: []waitingDocument{}, Resumed: []resumedDocument{}, Planned: []plannedDocument{}}
	for _, e := range r.Runs {
		d.Runs = append(d.Runs, newRunEntry(e))
	}
	for _, w := range r.Waiting {
		d.Waiting = append(d.Waiting, waitingDocument{w.Release.String(), w.Reason, w.NeedsPerson})
	}
	for _, r := range r.Resumed {
		d.Resumed = append(d.Resumed, resumedDocument{r.Release.String(), r.Outcome})
	}
	for _, planned := range r.Planned {
		d.Planned = append(d.Planned, plannedDocument{planned.Release.String(), planned.Hook, planned.NotRun})
	}
	return d
}

func (d *runDocument) human(p *page) {
	if len(d.Runs)+len(d.Waiting)+len(d.Resumed)+len(d.Planned) == 0 {
		p.linef("%s: nothing to do", d.Site)
	}
	for _, e := range d.Runs {
		e.human(p)
	}
	for _, r := range d.Resumed {
		p.para(2, r.Release+": ", r.Outcome)
	}
	for _, planned := range d.Planned {
		if planned.NotRun != "" {
			p.para(2, planned.Release+": ", "NOT_RUN would be reported, no hook started: "+planned.NotRun)
			continue
		}
		p.linef("%s: the %s hook would be started", planned.Release, planned.Hook)
	}
	for _, w := range d.Waiting {
		p.para(2, w.Release+": ", w.Reason)
	}
}

// headline is the entry's release and verdict.
func (e runEntry) headline() string {
	text := e.Release + ": " + e.Verdict
	if e.Earlier {
		text += " (deployed before; nothing ran)"
	}
	if n := len(e.Passed) + len(e.Warned) + len(e.Failed); n > 0 {
		text += fmt.Sprintf(", %d of %d tests passed", len(e.Passed), n)
	}
	return text
}

func (e runEntry) human(p *page) {
	p.verdict(toneOf(e.Verdict), e.headline())
	if e.Reason != "" {
		p.para(2, "  ", e.Reason)
	}
	if len(e.Failed) > 0 {
		p.para(4, "  failed: ", strings.Join(e.Failed, ", "))
	}
	if len(e.Attachments) > 0 {
		p.para(4, "  attached: ", attachmentWords(e.Attachments))
	}
	if e.Unsent != "" {
		p.para(4, "  the report waits on disk: ", e.Unsent)
	}
	if e.Outcome != "" {
		p.para(4, "  ", e.Outcome)
	}
}

func runRun(ctx context.Context, k *kitchen, o runOptions) error {
	options := fetcher.RunOptions{Latest: o.latest, Again: o.again, Parallel: k.config.Run.Parallel, DryRun: o.dryRun}
	if o.release != "" {
		r, err := parseRelease(o.release)
		if err != nil {
			return err
		}
		options.Only = &r
	}
	if o.watch > 0 {
		return k.serveRun(ctx, o, options)
	}
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(true)
		if err != nil {
			return err
		}
		options.OnPassed = s.onPassed(o)
		result, err := f.Run(ctx, v, options)
		if options.Only != nil {
			err = notForThisSite(result, err)
		}
		return k.showRun(result, err, options.Only)
	})
}

// serveRun is run --watch. The configuration is read, and the catalog opened, once.
func (k *kitchen) serveRun(ctx context.Context, o runOptions, options fetcher.RunOptions) (err error) {
	s, err := k.open(ctx, false)
	if err != nil {
		return err
	}
	defer s.close(&err)
	f, err := s.fetcher(true)
	if err != nil {
		return err
	}
	if err := f.OpenKey(); err != nil {
		return err
	}
	options.OnPassed = s.onPassed(o)
	w := &runWatch{voice: voice{k: k}, s: s, f: f, options: options}
	return k.serve(ctx, o.watch, 0, w.round)
}

func (s *session) onPassed(o runOptions) func(context.Context, manifest.Release) (string, error) {
	return func(ctx context.Context, r manifest.Release) (string, error) {
		return s.validatePassed(ctx, o.online, r)
	}
}

// showRun prints what one run did, and gives its exit code. Of a release that was named, "not yet" is a no.
func (k *kitchen) showRun(result *fetcher.RunResult, err error, named *manifest.Release) error {
	if result == nil || err != nil && len(result.Runs)+len(result.Resumed) == 0 {
		return err
	}
	if err != nil {
		// What was done before the error is worth a word; the document is not
		// complete, so it goes where errors go.
		newRunDocument(result).human(&page{w: k.stderr, width: k.width})
		return err
	}
	d := newRunDocument(result)
	if result.Negative() || named != nil && result.Waits(*named) {
		return k.no(d)
	}
	if err := k.show(d); err != nil {
		return err
	}
	for _, e := range d.Runs {
		if e.Unsent != "" {
			return answer(exitNotInEffect)
		}
	}
	return nil
}

// notForThisSite makes an answer of it that the release that was named is withdrawn, or not at this site's stage.
func notForThisSite(result *fetcher.RunResult, err error) error {
	var hidden *fetcher.NotVisible
	if !errors.As(err, &hidden) || errors.As(err, new(*fetcher.Unsent)) {
		return err
	}
	result.Waiting = append(result.Waiting, fetcher.Waiting{Release: hidden.Release, Reason: hidden.Reason + "; " + hidden.Hint(), NeedsPerson: true})
	return nil
}

// validatePassed joins a run to its signing: where kitchen.toml names a key of
// validated.<product>, the release is signed into it.
func (s *session) validatePassed(ctx context.Context, online string, r manifest.Release) (string, error) {
	role := manifest.RoleValidated(r.Product)
	files := s.k.config.keyFiles(role)
	if len(files) == 0 {
		return "", nil
	}
	signers, err := s.k.keys.lazy(files)
	if err != nil {
		return "", err
	}
	p, err := s.publisher(online)
	if err != nil {
		return "", err
	}
	outcome, err := p.Validate(ctx, r, signers)
	if err != nil {
		return "", err
	}
	switch outcome.Status {
	case publisher.Committed:
		return "signed into " + role, nil
	case publisher.Pending:
		return "signed for " + role + ", not in effect yet: waits for " + outcome.WaitsFor, nil
	}
	return "", nil
}
