package main

import (
	"cmp"
	"context"
	"time"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func commitCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "commit", Category: groupOperator, Usage: "put complete proposals into effect, record new reports, renew the timestamp",
		Description: "For the committer, who holds the online key. Says what still waits, and for whom. Timestamp, snapshot and journal are signed again once half their life is over. " +
			"Exit 8 with --stolen while the change of root that gives its roles to this online key waits.\n\n" +
			"With --watch it is a service: it looks at once and then about every DURATION (30s will do), tells each event on one line, and ends with SIGTERM. " +
			"Several committers may run at once. docs/COMMITTER.md has a unit for systemd.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "watch", Usage: "go on, with a round about every `DURATION` (30s, 5m)"},
			stolenFlag(),
		}, onlineFlags()...),
		Action: action(k, func(c *cli.Context) (commitOptions, error) {
			k.stolen = c.Bool("stolen")
			o := commitOptions{online: k.readKeyOptions(c).online}
			var err error
			if o.watch, err = parseWatch(c.String("watch")); err != nil {
				return o, err
			}
			return o, operands(c)
		}, runCommit),
	}
}

type commitOptions struct {
	online string
	watch  time.Duration // 0: one round
}

// commitDocument says what a commit did.
type commitDocument struct {
	Schema     string             `json:"schema"` // kitchen.commit/v1
	Committed  []proposalDocument `json:"committed"`
	Incomplete []proposalDocument `json:"incomplete"`
	Stale      []proposalDocument `json:"stale"`
	Refused    []proposalDocument `json:"refused"`
	Journaled  int                `json:"journaled"` // reports that were recorded in the journal
	Renewed    bool               `json:"renewed"`
	Timestamp  int64              `json:"timestamp_version"` // 0 when something failed before it was known
	Expires    string             `json:"expires"`
	AwaitsRoot string             `json:"awaits_root,omitempty"` // the proposal that has to take effect before this online key may sign
}

func (d *commitDocument) human(p *page) {
	if len(d.Committed) == 0 {
		p.linef("nothing was put into effect")
	}
	switch {
	case d.Journaled == 1:
		p.linef("recorded in the journal: 1 report")
	case d.Journaled > 1:
		p.linef("recorded in the journal: %d reports", d.Journaled)
	}
	for _, c := range d.Committed {
		p.verdict(toneOf(publisher.Committed), "in effect: "+c.ID)
		c.changeLines(p)
	}
	for i := range d.Incomplete {
		d.Incomplete[i].human(p)
	}
	for i := range d.Stale {
		d.Stale[i].brief(p)
	}
	for i := range d.Refused {
		d.Refused[i].human(p)
	}
	if d.AwaitsRoot != "" {
		p.para(2, "", "Until "+d.AwaitsRoot+" has its signatures, this online key signs nothing. Then run kitchen commit --stolen again.")
	}
	if d.Timestamp > 0 {
		p.linef("timestamp %d, valid until %s", d.Timestamp, d.Expires)
	}
}

// requireOnline refuses what only the committer does where no online key is named.
func (k *kitchen) requireOnline(what, online string) error {
	if online == "" && len(k.config.keyFiles("online")) == 0 {
		return usageHint(what+" needs the online key", "give --online-key FILE, or [keys] online = [\"FILE\"] in kitchen.toml")
	}
	return nil
}

func newCommit(result *publisher.CommitResult) *commitDocument {
	committed := newProposals(result.Committed)
	for i := range committed {
		committed[i].inEffect = true
	}
	return &commitDocument{
		Schema: "kitchen.commit/v1", Committed: committed, Incomplete: newProposals(result.Incomplete), Stale: newProposals(result.Stale),
		Refused: newProposals(result.Refused), Journaled: result.Journaled, Renewed: result.Renewed, Timestamp: result.Version, Expires: stamp(result.Expires),
		AwaitsRoot: result.AwaitsRoot,
	}
}

func runCommit(ctx context.Context, k *kitchen, o commitOptions) error {
	if err := k.requireOnline("commit", o.online); err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		if o.watch > 0 {
			return k.serveCommit(ctx, o, p)
		}
		result, err := p.Commit(ctx)
		if result != nil { // what took effect is told, whatever failed after it
			err = cmp.Or(err, k.show(newCommit(result)))
		}
		if err != nil {
			return err
		}
		if result.AwaitsRoot != "" {
			return answer(exitNotInEffect)
		}
		return nil
	})
}
