package main

import (
	"context"
	"fmt"
	"slices"
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
		if err := d.nameDeltas(ctx, v, m.Product); err != nil {
			return err
		}
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

	Deltas []deltaDocument `json:"deltas,omitempty"` // for who has an earlier one
}

type deltaDocument struct {
	From       string `json:"from"`              // SHA-256 of the earlier artifact
	Release    string `json:"release,omitempty"` // that has it, of those published last
	Blob       string `json:"blob"`
	StoredSize int64  `json:"stored_size"`
}

// lookedBack is how many releases published last are asked which of them a delta leads from.
const lookedBack = 20

// nameDeltas says which releases the deltas lead from, as far as the manifests of those published last can be had.
func (d *showDocument) nameDeltas(ctx context.Context, v *catalog.View, product string) error {
	unnamed := map[string][]*deltaDocument{} // by path and digest
	for _, a := range d.Artifacts {
		for i := range a.Deltas {
			key := a.Path + " " + a.Deltas[i].From
			unnamed[key] = append(unnamed[key], &a.Deltas[i])
		}
	}
	if len(unnamed) == 0 {
		return nil
	}
	releases, err := v.Releases(product)
	if err != nil {
		return err
	}
	for _, info := range slices.Backward(releases[max(0, len(releases)-lookedBack):]) {
		m, _, err := v.Manifest(ctx, info.Release)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			continue // its own show says why
		}
		for _, a := range m.Artifacts {
			key := a.Path + " " + a.SHA256
			for _, delta := range unnamed[key] {
				delta.Release = info.Release.String()
			}
			delete(unnamed, key)
		}
		if len(unnamed) == 0 {
			break
		}
	}
	return nil
}

func newShowDocument(info catalog.ReleaseInfo, m *manifest.Manifest) *showDocument {
	d := &showDocument{
		Schema: "kitchen.show/v1", releaseDocument: newReleaseDocument(info), Kind: m.Kind, From: list(m.From), Summary: m.Summary,
		Requires:  requiresDocument{list(m.Requires.Arch), m.Requires.CPUs, m.Requires.MemoryGiB, m.Requires.DiskGiB, list(m.Requires.Labels)},
		Artifacts: []artifactDocument{},
	}
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		d.Size += a.Size
		doc := artifactDocument{a.Path, a.Kind, a.Size, a.SHA256, len(a.Files), manifest.BlobObject(a.Stored.SHA256), a.Stored.Size, a.Stored.Encoding, nil}
		for _, delta := range a.Deltas {
			doc.Deltas = append(doc.Deltas, deltaDocument{From: delta.From, Blob: manifest.BlobObject(delta.SHA256), StoredSize: delta.Size})
		}
		d.Artifacts = append(d.Artifacts, doc)
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
	for _, a := range d.Artifacts {
		for _, delta := range a.Deltas {
			from := delta.Release
			if from == "" {
				from = "sha256 " + render.Digest(delta.From)
			}
			p.para(2, "", fmt.Sprintf("delta of %s from %s: %s", a.Path, from, render.Size(delta.StoredSize)))
		}
	}
}
