package main

import (
	"context"
	"strings"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func pendingCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "pending", Category: groupSysadmin, Usage: "list what waits for signatures or for the committer",
		Action: action(k, func(c *cli.Context) (struct{}, error) { return struct{}{}, operands(c) }, runPending),
	}
}

// pendingDocument lists proposals.
type pendingDocument struct {
	Schema    string             `json:"schema"` // kitchen.pending/v1
	Proposals []proposalDocument `json:"proposals"`
}

type proposalDocument struct {
	ID         string         `json:"id"`
	Kind       string         `json:"kind"` // the proposer's word
	Stated     []string       `json:"stated"`
	Change     []string       `json:"change"` // worked out from the catalog, not from what was stated
	Roles      []roleDocument `json:"roles"`
	Complete   bool           `json:"complete"`
	Created    string         `json:"created"`
	Expires    string         `json:"expires"`
	AgeSeconds int64          `json:"age_seconds"`
	Stale      string         `json:"stale,omitempty"`   // why it can never take effect
	Since      []string       `json:"since,omitempty"`   // what took effect in its place
	Again      []string       `json:"again,omitempty"`   // commands that make its change again
	Within     string         `json:"within,omitempty"`  // the later proposal that contains it
	Refused    string         `json:"refused,omitempty"` // why it may not take effect, whoever signs
	WaitsFor   string         `json:"waits_for"`
	age        string
}

func newProposal(w publisher.PendingProposal) proposalDocument {
	return proposalDocument{
		ID: w.ID, Kind: w.Kind, Stated: list(w.Stated), Change: list(w.Change), Roles: roleDocuments(w.Roles), Complete: w.Complete(),
		Created: stamp(w.Created), Expires: stamp(w.Expires), AgeSeconds: int64(w.Age.Seconds()), Stale: w.Stale, Since: w.Since, Again: w.Again, Refused: w.Refused, Within: w.Within,
		WaitsFor: w.WaitsFor(), age: render.Duration(w.Age),
	}
}

func newProposals(in []publisher.PendingProposal) []proposalDocument {
	docs := []proposalDocument{}
	for _, w := range in {
		docs = append(docs, newProposal(w))
	}
	return docs
}

func (d *proposalDocument) human(p *page) {
	state := "waits for " + d.WaitsFor
	switch {
	case d.Refused != "":
		state = "REFUSED: " + d.Refused
	case d.Stale != "":
		state = "STALE: " + d.Stale
	case d.Within != "":
		state = "contained in " + d.Within
	}
	p.para(2, d.ID+"  ", state)
	for _, line := range d.Change {
		p.para(4, "  ", line)
	}
	for _, line := range d.Since {
		p.para(4, "  in effect since: ", line)
	}
	if len(d.Again) > 0 {
		p.para(4, "  to propose it again: ", strings.Join(d.Again, "; "))
	}
	if d.Kind == "decertify" && len(d.Stated) > 0 { // the reason stands nowhere else
		p.para(4, "  its proposer says, unverified: ", d.Stated[0])
	}
	if d.Stale == "" { // else no signature helps
		signatureLines(p, d.Roles)
	}
	p.linef("  %s old, lapses %s", d.age, d.Expires)
}

func (d *pendingDocument) human(p *page) {
	if len(d.Proposals) == 0 {
		p.linef("nothing waits")
	}
	for i := range d.Proposals {
		d.Proposals[i].human(p)
	}
}

func runPending(ctx context.Context, k *kitchen, _ struct{}) error {
	return k.withPublisher(ctx, "", func(_ *session, p *publisher.Publisher) error {
		waiting, err := p.Pending(ctx)
		if err != nil {
			return err
		}
		return k.show(&pendingDocument{"kitchen.pending/v1", newProposals(waiting)})
	})
}
