package main

import (
	"context"
	"time"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type pruneOptions struct {
	online string
	grace  time.Duration
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
			o.over = c.Bool("take-over")
			if o.grace, err = parseAge(c.String("grace")); err != nil {
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
	Deleted bool         `json:"deleted"`
	More    bool         `json:"more"`
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
		p.linef("nothing to prune: all %d blobs are needed, or young", d.Kept)
	case d.Deleted:
		p.linef("deleted %d blobs, %s; %d stay", len(d.Objects), render.Size(d.Bytes), d.Kept)
	default:
		p.linef("%d blobs, %s, are not needed; %d stay. Nothing was deleted: `kitchen prune --yes` does", len(d.Objects), render.Size(d.Bytes), d.Kept)
	}
	if d.More {
		p.linef("there are more: run it again")
	}
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
		d := &pruneDocument{Schema: "kitchen.prune/v1", Objects: []prunedBlob{}, Bytes: result.Bytes, Kept: result.Kept, Deleted: result.Deleted, More: result.More}
		for _, b := range result.Objects {
			d.Objects = append(d.Objects, prunedBlob{b.Key, b.Size, stamp(b.Modified)})
		}
		return k.show(d)
	})
}
