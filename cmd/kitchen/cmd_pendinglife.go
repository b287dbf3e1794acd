package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type proposalOptions struct {
	keyOptions
	id   string
	role string // the id's
	drop publisher.DropRequest
	yes  bool // do not ask
}

// proposalOperand reads the single operand ID, with the keys.
func (k *kitchen) proposalOperand(c *cli.Context) (proposalOptions, error) {
	o := proposalOptions{keyOptions: k.readKeyOptions(c), id: c.Args().First()}
	err := operands(c, "ID")
	return o, err
}

// wholeID completes the beginning of one proposal's id; what begins none is left as it is.
func (o *proposalOptions) wholeID(ctx context.Context, p *publisher.Publisher) (err error) {
	if _, _, _, err := manifest.ParseProposalID(o.id); err != nil {
		list, err := p.Pending(ctx)
		if err != nil {
			return err
		}
		var found []string
		for _, w := range list {
			if strings.HasPrefix(w.ID, o.id) {
				found = append(found, w.ID)
			}
		}
		if len(found) > 1 {
			return usageHint(fmt.Sprintf("several proposals begin with %s: %s", o.id, strings.Join(found, ", ")), "name one of them whole")
		}
		o.id = strings.Join(append(found, o.id)[:1], "")
	}
	if o.role, _, _, err = manifest.ParseProposalID(o.id); err != nil {
		return usageHint(err.Error(), "`kitchen pending` lists what waits")
	}
	return nil
}

func pendingAgainCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "again", Usage: "propose the change of a stale proposal again", ArgsUsage: "ID --key FILE…",
		Description: "Works the change out on top of what is in effect now, holds it to all rules, shows it, asks on the terminal, and signs it. What is in effect already is left out.\n\n" +
			"Exit 3, with the command to run instead, where the change would not mean the same today: something else took effect in its place, or it is a certificate, whose evidence has to be gathered anew; 3, too, when the answer is no.",
		Flags: append([]cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "do not ask"}}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (proposalOptions, error) {
			o, err := k.proposalOperand(c)
			o.yes = c.Bool("yes")
			return o, err
		}, runPendingAgain),
	}
}

func runPendingAgain(ctx context.Context, k *kitchen, o proposalOptions) error {
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		if err := o.wholeID(ctx, p); err != nil {
			return err
		}
		load := k.askedSigners
		if o.yes {
			load = k.signers
		}
		signers, err := load(o.keyOptions, o.role)
		if err != nil {
			return err
		}
		outcome, err := p.Again(ctx, o.id, k.confirmation(o.yes), signers)
		if not, ok := errors.AsType[*publisher.NotAgain](err); ok {
			d := newOutcome("pending-again", "", &publisher.Outcome{Status: statusRefused, Summary: []string{not.Error()}})
			if d.Hint = not.Command; d.Hint != "" {
				d.Hint = "instead: " + d.Hint
			}
			return k.showOutcome(d)
		}
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("pending-again", "", outcome))
	})
}

func pendingDropCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "what it takes to drop a proposal; do it", ArgsUsage: "ID [--supersede --key FILE…] [--delete]",
		Description: "A signature that was given cannot be taken back: until the proposal lapses, whoever has it can complete it. It is over for good once another version of one of its roles is in effect. " +
			"--supersede signs such a version: the role as it is, which takes its usual signatures, and which committers prefer to the dropped proposal.\n\n" +
			"--delete removes its objects from the store; for the committer, who has the online key and the right to delete. Whoever kept a copy can put it back.\n\n" +
			"Exit 3 while the proposal can still take effect, 8 while what supersedes it waits, 0 once it can do nothing: it is stale, or none of those who hold its roles has signed it, or it is refused before all have.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "supersede", Usage: "sign one of its roles again as it is, so that it goes stale"},
			&cli.BoolFlag{Name: "delete", Usage: "delete its objects; needs the online key"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (proposalOptions, error) {
			o, err := k.proposalOperand(c)
			o.drop = publisher.DropRequest{Supersede: c.Bool("supersede"), Delete: c.Bool("delete")}
			return o, err
		}, runPendingDrop),
	}
}

// dropDocument says what can become of a proposal that is to be dropped.
type dropDocument struct {
	Schema     string           `json:"schema"` // kitchen.pending-drop/v1
	Proposal   proposalDocument `json:"proposal"`
	Dropped    bool             `json:"dropped"`            // it can do nothing any more, as it lies there
	Harmless   string           `json:"harmless,omitempty"` // why
	Until      string           `json:"until"`              // when signatures on it mean nothing any more
	Supersedes string           `json:"supersede_role"`     // whose next version ends it
	Superseded *outcomeDocument `json:"superseded,omitempty"`
	Along      []string         `json:"along"`   // other proposals that go stale with it
	Deleted    int              `json:"deleted"` // objects
	lapsed     bool
}

func (d *dropDocument) human(p *page) {
	d.Proposal.human(p)
	superseded := d.Superseded != nil && d.Superseded.Status == publisher.Committed
	switch {
	case superseded:
		p.para(0, "", "superseded: "+d.Supersedes+" was signed again, and the proposal can never take effect")
	case d.Harmless != "":
		text := "harmless: " + d.Harmless
		if d.Proposal.Stale == "" {
			text += "; it lapses " + d.Until
		}
		p.para(0, "", text)
	default:
		p.para(0, "", "Signatures that were given cannot be taken back. It can take effect until "+d.Until+", for whoever has a copy of them.")
	}
	if d.Superseded != nil && !superseded {
		p.para(0, "", "It is over for good once this is in effect, if it does not come first:")
		d.Superseded.human(p)
		p.para(0, "", "Its other holders sign this and not the proposal: kitchen sign "+d.Superseded.Proposal+" --key FILE")
	}
	if d.Superseded == nil && d.Harmless == "" && d.Supersedes != "" {
		p.para(0, "", "To end it before: kitchen pending drop "+d.Proposal.ID+" --supersede --key FILE (of "+d.Supersedes+")")
		if len(d.Along) > 0 {
			p.para(0, "", "That ends these, too, which wait for the same role: "+strings.Join(d.Along, ", ")+"; kitchen pending again ID makes each of them anew")
		}
	}
	if d.Deleted > 0 {
		text := fmt.Sprintf("deleted %d objects", d.Deleted)
		if !d.lapsed && !superseded {
			text += "; copies of its signatures may live on elsewhere, and can be put back until " + d.Until
		}
		p.para(0, "", text)
	}
}

func runPendingDrop(ctx context.Context, k *kitchen, o proposalOptions) error {
	if o.drop.Delete {
		if err := k.requireOnline("pending drop --delete", o.online); err != nil {
			return err
		}
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		err := o.wholeID(ctx, p)
		if err != nil {
			return err
		}
		var signers []keys.Signer
		if o.drop.Supersede {
			if signers, err = k.signers(o.keyOptions, o.role); err != nil {
				return err
			}
		}
		result, err := p.Drop(ctx, o.id, o.drop, signers)
		if err != nil {
			return err
		}
		d := &dropDocument{Schema: "kitchen.pending-drop/v1", Proposal: newProposal(*result.Proposal), Harmless: result.Harmless, Until: stamp(result.Until),
			Supersedes: result.Supersedes, Along: list(result.Along), Deleted: result.Deleted, lapsed: !result.Until.After(k.now())}
		d.Dropped = d.Harmless != ""
		var failed error
		if result.Outcome != nil {
			d.Superseded = newOutcome("pending-drop", "", result.Outcome)
			failed = k.awaited(d.Superseded)
			d.Dropped = d.Dropped || d.Superseded.Status == publisher.Committed
		}
		if err := k.show(d); err != nil || failed != nil {
			return cmp.Or(err, failed)
		}
		switch {
		case d.Dropped:
			return nil
		case d.Superseded != nil:
			return answer(exitNotInEffect)
		}
		return answer(exitNo)
	})
}
