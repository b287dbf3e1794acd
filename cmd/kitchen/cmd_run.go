package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type runOptions struct {
	online  string
	release string
	latest  bool
	again   bool
}

func runCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "run", Category: groupCustomerCI, Usage: "test, or deploy, what this site is to; report it", ArgsUsage: "[PRODUCT@VERSION] [--latest]",
		Description: "A CI tests, in order of publication, every release it follows and has not reported on, with the hook test of kitchen.toml, and sends a signed report of each. " +
			"Where [keys] names the key of validated.<product>, a pass is signed into validated.\n\n" +
			"A production site with auto = true deploys the newest release that is ready and whose upgrade path allows it, once, with the hook deploy. " +
			"What waits, and for what, is said.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "latest", Usage: "only the newest release of each product"},
			&cli.BoolFlag{Name: "again", Usage: "with PRODUCT@VERSION: also when it was reported on before"},
		}, onlineFlags()...),
		Action: action(k, func(c *cli.Context) (runOptions, error) {
			o := runOptions{online: k.readKeyOptions(c).online, release: c.Args().First(), latest: c.Bool("latest"), again: c.Bool("again")}
			if err := operands(c, "[PRODUCT@VERSION]"); err != nil {
				return o, err
			}
			if o.again && o.release == "" {
				return o, usagef("--again needs PRODUCT@VERSION")
			}
			return o, nil
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

func newRunEntry(e fetcher.RunEntry) runEntry {
	return runEntry{
		Release: e.Release.String(), Type: e.Type, Verdict: e.Verdict, Reason: e.Reason,
		Passed: list(e.Passed), Warned: list(e.Warned), Failed: list(e.Failed), From: e.From,
		Started: stamp(e.Started), Finished: stamp(e.Finished), Sequence: e.Sequence,
		Report: e.Report, Unsent: e.Unsent, Outcome: e.Outcome, Earlier: e.Earlier,
	}
}

func newRunDocument(r *fetcher.RunResult) *runDocument {
	d := &runDocument{Schema: "kitchen.run/v1", Site: r.Site.String(), Kind: r.Kind, Runs: []runEntry{}, Waiting: []waitingDocument{}, Resumed: []resumedDocument{}}
	for _, e := range r.Runs {
		d.Runs = append(d.Runs, newRunEntry(e))
	}
	for _, w := range r.Waiting {
		d.Waiting = append(d.Waiting, waitingDocument{w.Release.String(), w.Reason, w.NeedsPerson})
	}
	for _, r := range r.Resumed {
		d.Resumed = append(d.Resumed, resumedDocument{r.Release.String(), r.Outcome})
	}
	return d
}

func (d *runDocument) human(p *page) {
	if len(d.Runs)+len(d.Waiting)+len(d.Resumed) == 0 {
		p.linef("%s: nothing to do", d.Site)
	}
	for _, e := range d.Runs {
		e.human(p)
	}
	for _, r := range d.Resumed {
		p.para(2, r.Release+": ", r.Outcome)
	}
	for _, w := range d.Waiting {
		p.para(2, w.Release+": ", w.Reason)
	}
}

func (e runEntry) human(p *page) {
	text := e.Release + ": " + e.Verdict
	if e.Earlier {
		text += " (deployed before; nothing ran)"
	}
	if n := len(e.Passed) + len(e.Warned) + len(e.Failed); n > 0 {
		text += fmt.Sprintf(", %d of %d tests passed", len(e.Passed), n)
	}
	p.verdict(toneOf(e.Verdict), text)
	if e.Reason != "" {
		p.para(2, "  ", e.Reason)
	}
	if len(e.Failed) > 0 {
		p.para(4, "  failed: ", strings.Join(e.Failed, ", "))
	}
	if e.Unsent != "" {
		p.para(4, "  the report waits on disk: ", e.Unsent)
	}
	if e.Outcome != "" {
		p.para(4, "  ", e.Outcome)
	}
}

func runRun(ctx context.Context, k *kitchen, o runOptions) error {
	options := fetcher.RunOptions{Latest: o.latest, Again: o.again}
	if o.release != "" {
		r, err := parseRelease(o.release)
		if err != nil {
			return err
		}
		options.Only = &r
	}
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(true)
		if err != nil {
			return err
		}
		options.OnPassed = func(ctx context.Context, r manifest.Release) (string, error) {
			return s.validatePassed(ctx, o.online, r)
		}
		result, err := f.Run(ctx, v, options)
		if options.Only != nil {
			err = notForThisSite(result, err)
		}
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
		if result.Negative() {
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
	})
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
