package main

import (
	"context"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func commitCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "commit", Category: groupOperator, Usage: "put complete proposals into effect, record new reports, renew the timestamp",
		Description: "For the committer, who holds the online key. Says what still waits, and for whom.",
		Flags:       onlineFlags(),
		Action: action(k, func(c *cli.Context) (string, error) {
			return k.readKeyOptions(c).online, operands(c)
		}, runCommit),
	}
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
	Timestamp  int64              `json:"timestamp_version"`
	Expires    string             `json:"expires"`
}

func (d *commitDocument) human(p *page) {
	if len(d.Committed) == 0 {
		p.linef("nothing to put into effect")
	}
	switch {
	case d.Journaled == 1:
		p.linef("recorded in the journal: 1 report")
	case d.Journaled > 1:
		p.linef("recorded in the journal: %d reports", d.Journaled)
	}
	for _, c := range d.Committed {
		p.verdict(toneOf(publisher.Committed), "in effect: "+c.ID)
		for _, line := range c.Change {
			p.para(4, "  ", line)
		}
	}
	for _, waiting := range [][]proposalDocument{d.Incomplete, d.Stale, d.Refused} {
		for i := range waiting {
			waiting[i].human(p)
		}
	}
	p.linef("timestamp %d, valid until %s", d.Timestamp, d.Expires)
}

// requireOnline refuses what only the committer does where no online key is named.
func (k *kitchen) requireOnline(what, online string) error {
	if online == "" && len(k.config.keyFiles("online")) == 0 {
		return usageHint(what+" needs the online key", "give --online-key FILE, or [keys] online = [\"FILE\"] in kitchen.toml")
	}
	return nil
}

func runCommit(ctx context.Context, k *kitchen, online string) error {
	if err := k.requireOnline("commit", online); err != nil {
		return err
	}
	return k.withPublisher(ctx, online, func(_ *session, p *publisher.Publisher) error {
		result, err := p.Commit(ctx)
		if err != nil {
			return err
		}
		d := &commitDocument{
			Schema: "kitchen.commit/v1", Committed: newProposals(result.Committed), Incomplete: newProposals(result.Incomplete), Stale: newProposals(result.Stale),
			Refused: newProposals(result.Refused), Journaled: result.Journaled, Renewed: result.Renewed, Timestamp: result.Version, Expires: stamp(result.Expires),
		}
		return k.show(d)
	})
}
