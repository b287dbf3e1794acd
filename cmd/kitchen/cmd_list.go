package main

import (
	"context"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/urfave/cli/v2"
)

func listCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "list", Category: groupEverybody, Usage: "list the releases and their stages", ArgsUsage: "[PRODUCT]",
		Description: "In order of publication, product by product.",
		Action: action(k, func(c *cli.Context) (string, error) {
			return c.Args().First(), operands(c, "[PRODUCT]")
		}, runList),
	}
}

// listDocument is every release of a catalog, or of one product.
type listDocument struct {
	Schema   string            `json:"schema"` // kitchen.list/v1
	Releases []releaseDocument `json:"releases"`
	Problems []string          `json:"problems"`
}

func (d *listDocument) human(p *page) {
	releaseTable(p, d.Releases, "no releases")
	for _, problem := range d.Problems {
		p.para(2, "cannot be used: ", problem)
	}
}

func runList(ctx context.Context, k *kitchen, product string) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		releases, err := releasesOf(v, product)
		if err != nil {
			return err
		}
		d := &listDocument{Schema: "kitchen.list/v1", Releases: []releaseDocument{}, Problems: problems(v)}
		for _, r := range releases {
			d.Releases = append(d.Releases, newReleaseDocument(r))
		}
		return k.show(d)
	})
}

// releasesOf gives the releases of one product, or of all for "". With all, a
// product whose role cannot be used is left to problems.
func releasesOf(v *catalog.View, product string) ([]catalog.ReleaseInfo, error) {
	if product != "" {
		return v.Releases(product)
	}
	var all []catalog.ReleaseInfo
	for _, name := range v.Products() {
		releases, err := v.Releases(name)
		if err == nil {
			all = append(all, releases...)
		}
	}
	return all, nil
}
