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

type fetchOptions struct {
	release manifest.Release
	into    string
}

func fetchCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "fetch", Category: groupCustomerCI, Usage: "bring a release into a directory, verified", ArgsUsage: "PRODUCT@VERSION --into DIR",
		Description: "DIR appears complete, with every byte checked, or not at all. A DIR that holds this very release already is left alone.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "into", Usage: "`DIR` to make"},
		},
		Action: action(k, func(c *cli.Context) (o fetchOptions, err error) {
			o.into = c.String("into")
			if o.release, err = releaseOperand(c); err != nil {
				return o, err
			}
			return o, require(c, "into")
		}, runFetch),
	}
}

// fetchDocument says what was fetched, or why nothing was.
type fetchDocument struct {
	Schema    string `json:"schema"` // kitchen.fetch/v1
	Release   string `json:"release"`
	Fetched   bool   `json:"fetched"`
	Reason    string `json:"reason,omitempty"` // why not
	Hint      string `json:"hint,omitempty"`
	Dir       string `json:"dir,omitempty"`
	SHA256    string `json:"sha256,omitempty"` // of the manifest
	Unchanged bool   `json:"unchanged"`
	Files     int    `json:"files"`
	Size      int64  `json:"size"`
	Moved     int64  `json:"moved"` // bytes that came from the store
}

func (d *fetchDocument) human(p *page) {
	switch {
	case !d.Fetched:
		p.verdict(render.Bad, d.Release+" is not available: "+d.Reason)
		p.para(2, "", d.Hint)
	case d.Unchanged:
		p.linef("%s holds %s already, exactly: %d files, %s", d.Dir, d.Release, d.Files, render.Size(d.Size))
	default:
		p.verdict(render.Good, d.Release+" is in "+d.Dir)
		p.linef("%d files, %s; %s came from the store", d.Files, render.Size(d.Size), render.Size(d.Moved))
	}
}

func runFetch(ctx context.Context, k *kitchen, o fetchOptions) error {
	return k.withCatalog(ctx, func(s *session, v *catalog.View) error {
		f, err := s.fetcher(false)
		if err != nil {
			return err
		}
		d := &fetchDocument{Schema: "kitchen.fetch/v1", Release: o.release.String()}
		result, err := f.Fetch(ctx, v, o.release, o.into)
		var hidden *fetcher.NotVisible
		if errors.As(err, &hidden) {
			d.Reason, d.Hint = hidden.Reason, hidden.Hint()
			return k.no(d)
		}
		if err != nil {
			return err
		}
		d.Fetched, d.Dir, d.SHA256, d.Unchanged = true, result.Dir, result.SHA256, result.Unchanged
		d.Files, d.Size, d.Moved = result.Files, result.Size, result.Moved
		return k.show(d)
	})
}

// no shows a document whose answer is no: exit 3.
func (k *kitchen) no(d document) error {
	if err := k.show(d); err != nil {
		return err
	}
	return answer(exitNo)
}
