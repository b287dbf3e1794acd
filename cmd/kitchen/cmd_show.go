package main

import (
	"context"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

func showCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Category: groupEverybody, Usage: "show a product's releases, or everything about one release", ArgsUsage: "PRODUCT[@VERSION]",
		Action: action(k, func(c *cli.Context) (string, error) {
			return c.Args().First(), operands(c, "PRODUCT[@VERSION]")
		}, runShow),
	}
}

func runShow(ctx context.Context, k *kitchen, what string) error {
	if !strings.Contains(what, "@") {
		return runList(ctx, k, what)
	}
	r, err := parseRelease(what)
	if err != nil {
		return err
	}
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		info, err := v.Release(r)
		if err != nil {
			return err
		}
		m, _, err := v.Manifest(ctx, r)
		if err != nil {
			return err
		}
		d := newShowDocument(*info, m)
		d.Certificates = certificates(ctx, v, *info)
		return k.show(d)
	})
}

// showDocument is one release with its manifest.
type showDocument struct {
	Schema string `json:"schema"` // kitchen.show/v1
	releaseDocument
	Kind      string             `json:"kind"` // initial | update
	From      []string           `json:"from"`
	Summary   string             `json:"summary"`
	Size      int64              `json:"size"` // of all artifacts, as a host gets them
	Requires  requiresDocument   `json:"requires"`
	Artifacts []artifactDocument `json:"artifacts"` // the marmite first

	Certificates []certificateDocument `json:"certificates"` // for everybody first, then by customer
}

type requiresDocument struct {
	Arch      []string `json:"arch"`
	CPUs      int      `json:"cpus"`
	MemoryGiB int      `json:"memory_gib"`
	DiskGiB   int      `json:"disk_gib"`
	Labels    []string `json:"labels"`
}

type artifactDocument struct {
	Path       string `json:"path"`
	Kind       string `json:"kind"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	Files      int    `json:"files,omitempty"` // entries of a tree
	Blob       string `json:"blob"`            // object in the store
	StoredSize int64  `json:"stored_size"`
	Encoding   string `json:"encoding"`
}

func newShowDocument(info catalog.ReleaseInfo, m *manifest.Manifest) *showDocument {
	d := &showDocument{
		Schema: "kitchen.show/v1", releaseDocument: newReleaseDocument(info), Kind: m.Kind, From: list(m.From), Summary: m.Summary,
		Requires:  requiresDocument{list(m.Requires.Arch), m.Requires.CPUs, m.Requires.MemoryGiB, m.Requires.DiskGiB, list(m.Requires.Labels)},
		Artifacts: []artifactDocument{},
	}
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		d.Size += a.Size
		d.Artifacts = append(d.Artifacts, artifactDocument{
			a.Path, a.Kind, a.Size, a.SHA256, len(a.Files), manifest.BlobObject(a.Stored.SHA256), a.Stored.Size, a.Stored.Encoding,
		})
	}
	return d
}

func (d *showDocument) human(p *page) {
	p.para(2, d.Release+"  ", d.Summary)
	p.verdict(toneOf(d.Stage), "stage     "+d.Stage)
	if remark := d.remark(); remark != "" {
		p.verdict(d.remarkTone(), remark)
		d.decided(p)
	}
	if d.Kind == "update" {
		p.para(10, "kind      ", "update of "+strings.Join(d.From, ", "))
	} else {
		p.linef("kind      %s", d.Kind)
	}
	for _, c := range d.Certificates {
		c.human(p)
	}
	p.linef("manifest  %s", d.SHA256)
	p.linef("size      %s", render.Size(d.Size))
	table := &render.Table{Columns: []render.Column{{Name: "ARTIFACT", Flex: true}, {Name: "KIND"}, {Name: "SIZE"}, {Name: "STORED"}, {Name: "SHA256"}}}
	for _, a := range d.Artifacts {
		table.Row(a.Path, a.Kind, render.Size(a.Size), render.Size(a.StoredSize), render.Digest(a.SHA256))
	}
	p.table(table, "no artifacts")
}
