package main

import (
	"context"
	"fmt"
	"time"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type pruneOptions struct {
	online string
	grace  time.Duration
	given  string // --grace as it was given
	yes    bool
	over   bool
}

func pruneCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "prune", Category: groupOperator, Usage: "remove stored objects that no release needs",
		Description: "Tells which blobs no published release and no proposal needs: those of uploads that came to nothing. With --yes it deletes them, which takes the online key " +
			"and the right to delete below blobs/.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "grace", Usage: "keep what is younger than `D`, such as 48h or 14d (default 7d)"},
			&cli.BoolFlag{Name: "yes", Usage: "delete; without it nothing is changed"},
			&cli.BoolFlag{Name: "take-over", Usage: "complete a prune that was interrupted, knowing that it does not run any more"},
		}, onlineFlags()...),
		Action: action(k, func(c *cli.Context) (o pruneOptions, err error) {
			o.online, o.yes = k.readKeyOptions(c).online, c.Bool("yes")
			o.over, o.given = c.Bool("take-over"), c.String("grace")
			if o.grace, err = parseAge(o.given); err != nil {
				return o, usagef("--grace: %v", err)
			}
			return o, operands(c)
		}, runPrune),
	}
}

// pruneDocument tells what is not needed.
type pruneDocument struct {
	Schema  string       `json:"schema"` // kitchen.prune/v1
	Objects []prunedBlob `json:"objects"`
	Bytes   int64        `json:"bytes"`
	Kept    int          `json:"kept"`
	Young   int          `json:"young"`
	From    string       `json:"from,omitempty"` // when the first of the young ones may go
	Deleted bool         `json:"deleted"`
	More    bool         `json:"more"`

	Unfinished int `json:"unfinished_uploads"`

	command string // that deletes them
}

type prunedBlob struct {
	Key      string `json:"key"`
	Size     int64  `json:"size"`
	Modified string `json:"modified"`
}

func (d *pruneDocument) human(p *page) {
	table := &render.Table{Columns: []render.Column{{Name: "BLOB", Flex: true}, {Name: "SIZE"}, {Name: "STORED"}}}
	for _, o := range d.Objects {
		table.Row(render.Digest(o.Key[len("blobs/sha256/ab/"):]), render.Size(o.Size), o.Modified)
	}
	if len(d.Objects) > 0 {
		p.table(table, "")
	}
	switch {
	case len(d.Objects) == 0:
		p.para(2, "", d.nothing())
	case d.Deleted:
		p.linef("deleted %s, %s; %d stay", counted(len(d.Objects), "blob"), render.Size(d.Bytes), d.Kept)
	default:
		p.para(2, "", fmt.Sprintf("not needed: %s, %s; %d stay. Nothing was deleted: `%s` does", counted(len(d.Objects), "blob"), render.Size(d.Bytes), d.Kept, d.command))
	}
	if d.More {
		p.linef("there are more: run it again")
	}
	if d.Unfinished > 0 {
		p.para(2, "", counted(d.Unfinished, "upload")+" in parts came to no end, and prune leaves them: publishing the same again goes on with them, and a lifecycle rule of the bucket ends them (AbortIncompleteMultipartUpload, docs/ACCESS.md)")
	}
}

// nothing says why no blob goes, and when the first may.
func (d *pruneDocument) nothing() string {
	if d.Young == 0 {
		return fmt.Sprintf("nothing to prune: all %d blobs are needed", d.Kept)
	}
	text := fmt.Sprintf("nothing to prune: of %d blobs, %d are needed and %d younger than the grace period", d.Kept, d.Kept-d.Young, d.Young)
	if d.From != "" {
		text += "; the first of these may go from " + d.From + " on, or sooner with a shorter --grace"
	}
	return text
}

// pruneYes is the command that deletes what this one told.
func pruneYes(config, grace string) string {
	words := "kitchen"
	if config != "" {
		words += " --config " + shellWord(config)
	}
	words += " prune"
	if grace != "" {
		words += " --grace " + shellWord(grace)
	}
	return words + " --yes"
}

func runPrune(ctx context.Context, k *kitchen, o pruneOptions) error {
	if o.yes {
		if err := k.requireOnline("prune --yes", o.online); err != nil {
			return err
		}
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		result, err := p.Prune(ctx, publisher.PruneRequest{Grace: o.grace, Delete: o.yes, TakeOver: o.over})
		if err != nil {
			return err
		}
		d := &pruneDocument{Schema: "kitchen.prune/v1", Objects: []prunedBlob{}, Bytes: result.Bytes, Kept: result.Kept, Young: result.Young, From: stamp(result.From),
			Deleted: result.Deleted, More: result.More, Unfinished: result.Unfinished, command: pruneYes(k.global.config, o.given)}
		for _, b := range result.Objects {
			d.Objects = append(d.Objects, prunedBlob{b.Key, b.Size, stamp(b.Modified)})
		}
		return k.show(d)
	})
}
