package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type publishOptions struct {
	keyOptions
	dir     string
	dryRun  bool
	packing publisher.Packing
}

func publishCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "publish", Category: groupEngineer, Usage: "publish a directory as a release", ArgsUsage: "DIR --key FILE",
		Description: "DIR holds product.toml and the files that it names. A release never changes: the same content again is a no-op, other content under the same version is refused. " +
			"Needs the signature of a release engineer of the product.\n\n" +
			"Compressed files share nothing with each other, so every host moves them whole: with unpack = true beside its path in product.toml a .gz, .xz, .zst, .tgz, .txz or .tzst is published as what it unpacks to.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be uploaded, which roles change and who must sign; write nothing"},
			&cli.StringSliceFlag{Name: "delta-from", Usage: "earlier `VERSION` to make deltas from, repeatable; otherwise the two published last that have the artifact, those versions that from names, and the newest that is ready to deploy"},
			&cli.BoolFlag{Name: "no-delta", Usage: "make no deltas"},
			&cli.StringFlag{Name: "level", Usage: "effort of compression: fastest, default (about 1.1 times the CPU time of fastest), better (3 times) or best (8 times)"},
			&cli.BoolFlag{Name: "read-data", Usage: "download and hash what the store has already of this release, and restore what is damaged; in a directory this is always done"},
			&cli.BoolFlag{Name: "trust-cache", Usage: "sign for files that look as they did when they were published from here (size, times, inode) without reading them"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (publishOptions, error) {
			o := publishOptions{keyOptions: k.readKeyOptions(c), dir: c.Args().First(), dryRun: c.Bool("dry-run")}
			var err error
			if o.packing, err = readPacking(c); err != nil {
				return o, err
			}
			return o, operands(c, "DIR")
		}, runPublish),
	}
}

func readPacking(c *cli.Context) (publisher.Packing, error) {
	o := publisher.Packing{Level: publisher.Level(c.String("level")), DeltaFrom: c.StringSlice("delta-from"), NoDeltas: c.Bool("no-delta"), TrustCache: c.Bool("trust-cache"), ReadData: c.Bool("read-data")}
	if o.Level != "" && !slices.Contains(publisher.Levels, o.Level) {
		return o, usagef("--level %q is none of fastest, default, better and best", o.Level)
	}
	if o.NoDeltas && len(o.DeltaFrom) > 0 {
		return o, usagef("--no-delta and --delta-from exclude each other")
	}
	for _, version := range o.DeltaFrom {
		if err := manifest.CheckVersion(version); err != nil {
			return o, usagef("--delta-from takes a version: %v", err)
		}
	}
	return o, nil
}

const productFile = "product.toml"

// workMemory is what opening keys, packing and making most deltas take, in bytes.
const workMemory = 256 << 20

func runPublish(ctx context.Context, k *kitchen, o publishOptions) error {
	name := filepath.Join(o.dir, productFile)
	data, err := readCapped(name, maxConfig)
	if err != nil {
		return hinted{fmt.Errorf("release directory: %w", err), "publish takes a directory with a " + productFile}
	}
	source, err := manifest.ParseSource(name, data)
	if err != nil {
		return err
	}
	role := manifest.RoleProduct(source.Product)
	release := manifest.Release{Product: source.Product, Version: source.Version}.String()
	if o.dryRun {
		signers, err := k.optionalSigners(o.keyOptions, role)
		if err != nil {
			return err
		}
		return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
			plan, err := p.Plan(ctx, o.dir, signers...)
			if err != nil {
				return err
			}
			return k.show(newPlanDocument(plan))
		})
	}
	askHugePages(workMemory)
	signers, err := k.signers(o.keyOptions, role)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		p.Packing = o.packing
		openEarly(p.Online)
		outcome, err := p.Publish(ctx, o.dir, signers)
		if err != nil {
			return packsAnew{err}
		}
		return k.showOutcome(newOutcome("publish", release, outcome))
	})
}

// packsAnew is why a publication did not come to its end. The next one reads the directory again from its beginning.
type packsAnew struct{ error }

func (e packsAnew) Unwrap() error { return e.error }

// planDocument is the result of publish --dry-run.
type planDocument struct {
	Schema    string            `json:"schema"` // kitchen.publish-plan/v1
	Release   string            `json:"release"`
	Unchanged bool              `json:"unchanged"`
	Artifacts []plannedArtifact `json:"artifacts"`
	Roles     []plannedRole     `json:"roles"`
}

type plannedArtifact struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Files  int    `json:"files,omitempty"`
	Stored bool   `json:"stored"`
}

type plannedRole struct {
	Role    string   `json:"role"`
	Version int64    `json:"version"`
	Need    int      `json:"need"`
	Keys    []string `json:"keys"`
	Given   []string `json:"given"`
}

func newPlanDocument(plan *publisher.PublishPlan) *planDocument {
	d := &planDocument{
		Schema: "kitchen.publish-plan/v1", Release: plan.Release.String(), Unchanged: plan.Unchanged,
		Artifacts: []plannedArtifact{}, Roles: []plannedRole{},
	}
	for _, a := range plan.Artifacts {
		d.Artifacts = append(d.Artifacts, plannedArtifact{a.Path, a.Kind, a.Size, a.SHA256, a.Files, a.Stored})
	}
	for _, r := range plan.Roles {
		d.Roles = append(d.Roles, plannedRole{r.Role, r.Version, r.Need, list(r.Keys), list(r.Given)})
	}
	return d
}

func (d *planDocument) human(p *page) {
	p.linef("%s (dry run: nothing is written)", d.Release)
	if d.Unchanged {
		p.linef("published already, with this content: nothing to do")
		return
	}
	table := &render.Table{Columns: []render.Column{{Name: "ARTIFACT", Flex: true}, {Name: "KIND"}, {Name: "SIZE"}, {Name: "SHA256"}, {Name: "UPLOAD"}}}
	for _, a := range d.Artifacts {
		upload := "yes"
		if a.Stored {
			upload = "no, there"
		}
		table.Row(a.Path, a.Kind, render.Size(a.Size), render.Digest(a.SHA256), upload)
	}
	p.table(table, "no artifacts")
	for _, r := range d.Roles {
		signatures := "1 signature"
		if r.Need != 1 {
			signatures = fmt.Sprintf("%d signatures", r.Need)
		}
		text := fmt.Sprintf("version %d, needs %s of %s", r.Version, signatures, strings.Join(r.Keys, ", "))
		if len(r.Given) > 0 {
			text += "; given: " + strings.Join(r.Given, ", ")
		}
		p.para(4, "role "+r.Role+": ", text)
	}
}
