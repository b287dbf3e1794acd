package main

import (
	"context"
	"strings"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type pathsOptions struct{ product, from, to string }

func pathsCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "paths", Category: groupEverybody, Usage: "show the ways forward from an installed version", ArgsUsage: "PRODUCT --from VERSION",
		Description: "The updates that may be applied to it, one after the other: for each version that can be reached the shortest way, and the shortest that can be deployed today, by this host's gate. Yanked and recalled releases are no steps. Without any way the exit code is 3.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`VERSION` that is installed"},
			&cli.StringFlag{Name: "to", Usage: "only ways to this `VERSION`"},
		},
		Action: action(k, func(c *cli.Context) (pathsOptions, error) {
			o := pathsOptions{product: c.Args().First(), from: c.String("from"), to: c.String("to")}
			if err := operands(c, "PRODUCT"); err != nil {
				return o, err
			}
			if err := require(c, "from"); err != nil {
				return o, err
			}
			for _, version := range []string{o.from, o.to} {
				if err := manifest.CheckVersion(version); version != "" && err != nil {
					return o, usagef("%v", err)
				}
			}
			return o, nil
		}, runPaths),
	}
}

// pathsDocument are the ways from one version on.
type pathsDocument struct {
	Schema   string             `json:"schema"` // kitchen.paths/v1
	Product  string             `json:"product"`
	From     string             `json:"from"`
	To       string             `json:"to,omitempty"`
	Ways     []wayDocument      `json:"ways"`     // the shortest first
	Withheld []withheldDocument `json:"withheld"` // yanked and recalled updates, which are no steps
}

type wayDocument struct {
	To         string         `json:"to"`
	Deployable bool           `json:"deployable"` // every step is ready today, on this host
	Steps      []stepDocument `json:"steps"`
}

type stepDocument struct {
	Release string `json:"release"`
	Stage   string `json:"stage"`
	Ready   bool   `json:"ready"`
}

type withheldDocument struct {
	Release string `json:"release"`
	Reason  string `json:"reason"`
}

// words is a step as people read it: what is not ready tells its stage.
func (s stepDocument) words() string {
	_, version, _ := strings.Cut(s.Release, "@")
	switch {
	case s.Ready:
		return version
	case s.Stage == manifest.StageReady:
		return version + " (not ready here)"
	}
	return version + " (" + s.Stage + ")"
}

func (d *pathsDocument) human(p *page) {
	if len(d.Ways) == 0 {
		goal := "no update leads on"
		if d.To != "" {
			goal = "no way leads to " + d.To
		}
		p.para(2, "", goal+" from "+d.Product+" "+d.From)
	} else {
		p.linef("%s from %s", d.Product, d.From)
	}
	for _, w := range d.Ways {
		steps := make([]string, len(w.Steps))
		for i, s := range w.Steps {
			steps[i] = s.words()
		}
		label := "  waits  "
		if w.Deployable {
			label = "  today  "
		}
		p.para(11, label, strings.Join(steps, " → "))
	}
	for _, w := range d.Withheld {
		p.para(4, "  not over "+w.Release+": ", w.Reason)
	}
}

func runPaths(ctx context.Context, k *kitchen, o pathsOptions) error {
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(false)
		if err != nil {
			return err
		}
		found, err := f.Paths(ctx, v, o.product, o.from, o.to)
		if err != nil {
			return err
		}
		d := newPathsDocument(o, found)
		if len(d.Ways) == 0 {
			return k.no(d)
		}
		return k.show(d)
	})
}

func newPathsDocument(o pathsOptions, found *fetcher.Paths) *pathsDocument {
	d := &pathsDocument{Schema: "kitchen.paths/v1", Product: o.product, From: o.from, To: o.to, Ways: []wayDocument{}, Withheld: []withheldDocument{}}
	for _, w := range found.Ways {
		way := wayDocument{To: w.Goal(), Deployable: w.Ready()}
		for _, s := range w.Steps {
			stage := s.Stage
			if s.Ready {
				stage = manifest.StageReady // by a certificate for this customer, too
			}
			way.Steps = append(way.Steps, stepDocument{s.Release.String(), stage, s.Ready})
		}
		d.Ways = append(d.Ways, way)
	}
	for _, w := range found.Withheld {
		d.Withheld = append(d.Withheld, withheldDocument{w.Release.String(), w.Reason})
	}
	return d
}
