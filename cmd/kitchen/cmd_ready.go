package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type readyOptions struct {
	release    manifest.Release
	from       string
	downgrade  bool
	offline    bool
	maxAge     time.Duration
	allowStale time.Duration
	files      string
	evidence   bool
}

func readyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "ready", Category: groupProduction, Usage: "may this release be deployed here?", ArgsUsage: "PRODUCT@VERSION",
		Description: "Yes (exit 0) only when every required role lists the release with the same digest, it is not recalled, and nothing has expired. " +
			"No is exit 3 and says what is missing; what cannot be trusted is exit 4. A yanked release is ready only on a host that fetched or deployed it. " +
			"The upgrade path, and whether it would be a downgrade, are questions only with --from.\n\n" +
			"[gate] in kitchen.toml makes it stricter: require (the roles), pins (whose signatures; by others it is exit 4), max_age, deny.\n\n" +
			"--evidence checks again what the certificates rest on, where the reports are at hand: the evidence's digest, every report's digest, signature and verdict, and the certification policy with its waivers. What cannot be checked is a no; what was altered is exit 4.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`VERSION` that the host has: the upgrade path must allow it"},
			&cli.BoolFlag{Name: "allow-downgrade", Usage: "with --from: it may have been published before that version"},
			&cli.BoolFlag{Name: "offline", Usage: "answer from the state directory alone"},
			&cli.StringFlag{Name: "max-age", Usage: "`DURATION` (24h, 7d): knowledge that is older is not enough"},
			&cli.StringFlag{Name: "allow-stale", Usage: "`DURATION`: accept an expired timestamp and snapshot that are at most this old. Recalls made since then are not seen"},
			&cli.StringFlag{Name: "files", Usage: "`DIR` that must hold the release exactly"},
			&cli.BoolFlag{Name: "evidence", Usage: "check the evidence of the certificates again, from the reports themselves"},
			&cli.StringFlag{Name: "wait", Usage: "wait `DURATION` (10m, 2h) for a yes"},
		},
		Action: action(k, readReadyOptions, runReady),
	}
}

func readReadyOptions(c *cli.Context) (o readyOptions, err error) {
	o = readyOptions{from: c.String("from"), downgrade: c.Bool("allow-downgrade"), offline: c.Bool("offline"), files: c.String("files"), evidence: c.Bool("evidence")}
	if o.release, err = releaseOperand(c); err != nil {
		return o, err
	}
	if o.from != "" {
		if err := manifest.CheckVersion(o.from); err != nil {
			return o, usagef("--from: %v", err)
		}
	}
	if o.downgrade && o.from == "" {
		return o, usagef("--allow-downgrade needs --from")
	}
	if o.maxAge, err = parseAge(c.String("max-age")); err != nil {
		return o, usagef("--max-age: %v", err)
	}
	if o.allowStale, err = parseAge(c.String("allow-stale")); err != nil {
		return o, usagef("--allow-stale: %v", err)
	}
	if c.IsSet("wait") && o.offline {
		return o, usagef("--wait has nothing to wait for with --offline")
	}
	return o, nil
}

// readyDocument is the verdict.
type readyDocument struct {
	Schema      string          `json:"schema"` // kitchen.ready/v1
	Release     string          `json:"release"`
	Ready       bool            `json:"ready"`
	Unmet       []unmetDocument `json:"unmet"`
	Required    []string        `json:"required"` // roles that were asked
	SHA256      string          `json:"sha256,omitempty"`
	Certificate string          `json:"certificate,omitempty"` // digest of the evidence
	Lifted      string          `json:"lifted,omitempty"`      // reason of a recall that the certificate takes back
	From        string          `json:"from,omitempty"`
	Files       string          `json:"files,omitempty"`
	Issued      string          `json:"issued"`
	AgeSeconds  int64           `json:"age_seconds"` // of all knowledge, recalls included
	Offline     bool            `json:"offline"`
	ClockBehind bool            `json:"clock_behind"`

	Waived      []string           `json:"waived,omitempty"`       // sites for which the certificates rest on waivers
	WaivedUntil string             `json:"waived_until,omitempty"` // last day of the first one that ends
	Evidence    []evidenceDocument `json:"evidence,omitempty"`     // with --evidence
	age         time.Duration
}

type unmetDocument struct {
	Requirement string `json:"requirement"`
	Detail      string `json:"detail"`
}

func unmetDocuments(unmet []catalog.Unmet) []unmetDocument {
	docs := []unmetDocument{}
	for _, u := range unmet {
		docs = append(docs, unmetDocument{u.Requirement, u.Detail})
	}
	return docs
}

func unmetLines(p *page, unmet []unmetDocument) {
	for _, u := range unmet {
		p.para(4, "  "+render.Line(u.Requirement)+": ", u.Detail)
	}
}

func (d *readyDocument) human(p *page) {
	if d.Ready {
		p.verdict(render.Good, "READY  "+d.Release)
	} else {
		p.verdict(render.Bad, "NOT READY  "+d.Release)
		unmetLines(p, d.Unmet)
	}
	if d.Lifted != "" {
		p.para(4, "  it was recalled, and its certificate lifts that: ", d.Lifted)
	}
	if len(d.Waived) > 0 {
		until := ""
		if d.WaivedUntil != "" {
			until = " through " + d.WaivedUntil
		}
		p.para(4, "  certified with a waiver"+until+" for: ", strings.Join(d.Waived, ", "))
	}
	for _, e := range d.Evidence {
		e.human(p)
	}
	if d.SHA256 != "" {
		p.linef("  manifest %s", render.Digest(d.SHA256))
	}
	if d.Files != "" && d.Ready {
		p.linef("  %s holds exactly its files", d.Files)
	}
	how := ""
	if d.Offline {
		how = ", offline"
	}
	if d.ClockBehind {
		p.para(4, "  known as of ", d.Issued+how+" (recalls included), later than this host's clock says: it is behind, or the committer's was ahead (kitchen doctor)")
		return
	}
	p.linef("  known as of %s, %s ago%s (recalls included)", d.Issued, render.Duration(d.age), how)
}

func runReady(ctx context.Context, k *kitchen, o readyOptions) (err error) {
	s, err := k.open(ctx, o.offline)
	if err != nil {
		return err
	}
	defer s.close(&err)
	f, err := s.fetcher(false)
	if err != nil {
		return err
	}
	if k.wait > 0 {
		if err := s.awaitReady(ctx, f, o); err != nil {
			return err
		}
	}
	d, err := s.ready(ctx, f, o)
	if err != nil {
		return err
	}
	if !d.Ready {
		return k.no(d)
	}
	return k.show(d)
}

// readyEvery is how long --wait pauses before it asks again.
const readyEvery = 10 * time.Second

// awaitReady returns when the answer is yes, as far as the catalog gives it, or the time is over. A store that is away is
// asked again.
func (s *session) awaitReady(ctx context.Context, f *fetcher.Fetcher, o readyOptions) error {
	end := s.k.now().Add(s.k.wait)
	o.files, o.evidence = "", false // they are looked at once, in the end
	for first := true; ; first = false {
		d, err := s.ready(ctx, f, o)
		left := end.Sub(s.k.now())
		switch {
		case err != nil && !errors.Is(err, storage.ErrUnavailable):
			return err
		case err == nil && d.Ready, left <= 0:
			return nil
		case first && err == nil:
			s.k.progress.Note("not ready yet, waiting up to " + s.k.wait.String() + ": " + d.Unmet[0].Requirement + ": " + d.Unmet[0].Detail)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.k.after(min(left, readyEvery)):
		}
	}
}

// ready asks once.
func (s *session) ready(ctx context.Context, f *fetcher.Fetcher, o readyOptions) (*readyDocument, error) {
	view, err := s.view(ctx, o)
	if err != nil {
		return nil, err
	}
	verdict, err := f.Ready(ctx, view, o.release, fetcher.ReadyOptions{From: o.from, AllowDowngrade: o.downgrade, MaxAge: o.maxAge, Files: o.files, Evidence: o.evidence})
	if err != nil {
		return nil, err
	}
	d := &readyDocument{
		Schema: "kitchen.ready/v1", Release: verdict.Release.String(), Ready: verdict.Ready, Unmet: unmetDocuments(verdict.Unmet), Required: list(verdict.Required),
		SHA256: verdict.SHA256, Certificate: verdict.Certificate, From: verdict.From, Files: verdict.Files,
		Issued: stamp(verdict.Issued), AgeSeconds: int64(verdict.Age / time.Second), Offline: view.Offline(), ClockBehind: verdict.ClockBehind, age: verdict.Age,
		Waived: verdict.Waived, WaivedUntil: verdict.WaivedUntil, Evidence: evidenceDocuments(verdict.Evidence),
	}
	if verdict.Lifted != nil {
		d.Lifted = cmp.Or(verdict.Lifted.Reason, noReason)
	}
	return d, nil
}

// view gives the knowledge that the answer rests on. --allow-stale is the
// dangerous choice: with it, a store that is away or has gone stale is answered
// from the state directory, as --offline would.
func (s *session) view(ctx context.Context, o readyOptions) (*catalog.View, error) {
	var allow *trust.AllowStale
	if o.allowStale > 0 {
		allow = &trust.AllowStale{MaxAge: o.allowStale}
	}
	if o.offline {
		return s.catalog.Offline(allow)
	}
	view, err := s.catalog.Refresh(ctx)
	if err == nil || allow == nil {
		return view, err
	}
	var refused *trust.Error
	if errors.Is(err, storage.ErrUnavailable) || errors.As(err, &refused) && refused.Kind == trust.Expired {
		s.k.progress.Note("the catalog could not be refreshed (" + err.Error() + "); answering from the state directory")
		return s.catalog.Offline(allow)
	}
	return nil, err
}
