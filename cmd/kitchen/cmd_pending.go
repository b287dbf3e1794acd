package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func pendingCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "pending", Category: groupSysadmin, Usage: "what waits for signatures or for the committer", ArgsUsage: "[ROLE or ID]",
		Description: "Lists each waiting proposal: what it would change, worked out from the catalog; who signed it, and whose signatures it still needs; and of those that went stale or lapsed within 14 days, why, and what proposes them again. " +
			"With a role, those that change it; with an id, or the beginning of one, that one alone, signed or not.\n\n" +
			"Keys that [keys] in kitchen.toml names, and whose .pub lies beside them, are marked as yours.",
		Action:      action(k, func(c *cli.Context) (string, error) { return c.Args().First(), operands(c, "[ROLE or ID]") }, runPending),
		Subcommands: []*cli.Command{pendingAgainCommand(k), pendingDropCommand(k)},
	}
}

// lapsingSoon is how long before a proposal lapses it is worth a warning.
const lapsingSoon = 3 * 24 * time.Hour

// pendingDocument lists proposals.
type pendingDocument struct {
	Schema    string             `json:"schema"` // kitchen.pending/v1
	Proposals []proposalDocument `json:"proposals"`
	forRole   string
	alone     bool // one was asked for by its id
}

type proposalDocument struct {
	ID           string         `json:"id"`
	Kind         string         `json:"kind"` // the proposer's word
	Stated       []string       `json:"stated"`
	Change       []string       `json:"change"` // worked out from the catalog, not from what was stated
	Roles        []roleDocument `json:"roles"`
	Complete     bool           `json:"complete"`
	Created      string         `json:"created"`
	Expires      string         `json:"expires"`
	AgeSeconds   int64          `json:"age_seconds"`
	Stale        string         `json:"stale,omitempty"`        // why it can never take effect
	Since        []string       `json:"since,omitempty"`        // what took effect in its place
	Dropped      bool           `json:"dropped,omitempty"`      // its role was signed again as it was, in its place
	Again        []string       `json:"again,omitempty"`        // commands that make its change again
	NotRecalled  []string       `json:"not_recalled,omitempty"` // releases that it was to recall, and that no recall stops
	Within       string         `json:"within,omitempty"`       // the later proposal that contains it
	Refused      string         `json:"refused,omitempty"`      // why it may not take effect, whoever signs
	WaitsFor     string         `json:"waits_for"`
	Supersedes   []string       `json:"supersedes,omitempty"`    // those that can never take effect once this one has
	SupersededBy string         `json:"superseded_by,omitempty"` // the one that is to end it
	Rivals       []string       `json:"rivals,omitempty"`        // those of which, and this one, only one can take effect
	excludes     string         // that, in words
	forNow       bool           // refused by what may come yet
	left         time.Duration  // until it lapses
	because      string
	notRecalled  string // NotRecalled, in words
	inEffect     bool   // by now
	listed       bool   // among others: its words are cut, where they are long
}

// listedLines is how many lines of a change a list shows of each proposal.
const listedLines = 100

// changeLines show what it changes, in a list not all of what is long.
func (d *proposalDocument) changeLines(p *page) {
	for _, change := range []struct {
		label string
		lines []string
	}{{"  ", d.Change}, {"  in effect since: ", d.Since}} {
		shown := change.lines
		if d.listed {
			shown = shown[:min(len(shown), listedLines)]
		}
		for _, line := range shown {
			p.para(4, change.label, line)
		}
		if more := len(change.lines) - len(shown); more > 0 {
			p.para(4, "  ", moreLines(more, d))
		}
	}
}

// moreLines stand for lines of a change that are not shown; once it is in effect, kitchen pending has them no more.
func moreLines(n int, d *proposalDocument) string {
	text := fmt.Sprintf("and %d more lines: ", n)
	if n == 1 {
		text = "and 1 more line: "
	}
	if d.inEffect {
		return text + "-o json has all of it"
	}
	return text + "kitchen pending " + d.ID + " shows all of it"
}

func newProposal(w publisher.PendingProposal) proposalDocument {
	return proposalDocument{
		ID: w.ID, Kind: w.Kind, Stated: list(w.Stated), Change: list(w.Change), Roles: roleDocuments(w.Roles), Complete: w.Complete(),
		Created: stamp(w.Created), Expires: stamp(w.Expires), AgeSeconds: int64(w.Age.Seconds()), Stale: w.Stale, Since: w.Since, Dropped: w.Dropped, Again: w.Again, NotRecalled: w.NotRecalled, Refused: w.Refused, Within: w.Within,
		WaitsFor: w.WaitsFor(), Supersedes: w.Supersedes, SupersededBy: w.SupersededBy, Rivals: w.Rivals, excludes: w.Excludes(), left: w.Expires.Sub(w.Created) - w.Age,
		because: w.Because, forNow: w.ForNow, notRecalled: w.NotRecalledWords(),
	}
}

func newProposals(in []publisher.PendingProposal) []proposalDocument {
	docs := []proposalDocument{}
	for _, w := range in {
		doc := newProposal(w)
		doc.listed = true
		docs = append(docs, doc)
	}
	return docs
}

// state is what becomes of it, in words.
func (d *proposalDocument) state() string {
	switch {
	case d.Refused != "":
		return "REFUSED: " + d.Refused
	case d.Dropped:
		return "STALE: dropped, by signing its role again as it was"
	case d.Stale != "":
		return "STALE: " + d.Stale
	case d.SupersededBy != "" && !d.Complete:
		return "is being superseded by " + d.SupersededBy
	case d.Within != "":
		return "contained in " + d.Within
	}
	return "waits for " + d.WaitsFor
}

func (d *proposalDocument) human(p *page) {
	p.para(2, d.ID+"  ", d.state())
	if d.state() == "contained in "+d.Within {
		p.para(4, "  to sign it alone: ", "kitchen sign "+d.ID+" --key FILE")
	}
	if d.excludes != "" {
		p.para(4, "  ", d.excludes)
	}
	d.supersedeLines(p)
	d.changeLines(p)
	if d.notRecalled != "" {
		p.verdict(render.Warn, "  "+d.notRecalled)
	}
	if len(d.Again) > 0 {
		p.para(4, "  to propose it again: ", strings.Join(d.Again, "; "))
	}
	if d.because != "" {
		p.para(4, "  its proposer says, unverified: ", strconv.Quote(d.because))
	}
	if d.Stale == "" { // else no signature helps
		signatureLines(p, d.Roles)
	} else if signers := d.signers(); len(signers) > 0 {
		p.para(4, "  was signed by: ", strings.Join(signers, ", "))
	}
	if d.Refused != "" && !d.forNow {
		p.para(4, "  to be rid of it: ", "kitchen pending drop "+d.ID)
	}
	old := days(time.Duration(d.AgeSeconds)*time.Second) + " old, "
	switch {
	case d.left <= 0:
		p.linef("  %slapsed %s", old, d.Expires)
	case d.lapsesSoon():
		p.verdict(render.Warn, "  "+old+"LAPSES in "+days(d.left)+", "+d.Expires)
	default:
		p.linef("  %slapses in %s, %s", old, days(d.left+12*time.Hour), d.Expires)
	}
}

// lapsesSoon tells that a proposal that waits has few days left.
func (d *proposalDocument) lapsesSoon() bool { return d.Stale == "" && d.left <= lapsingSoon }

// brief says of a stale proposal on a line or two what is left to do; kitchen pending with its id says all.
func (d *proposalDocument) brief(p *page) {
	p.para(2, d.ID+"  ", d.state())
	if d.notRecalled != "" {
		p.verdict(render.Warn, "  "+d.notRecalled)
	}
	if len(d.Again) > 0 {
		p.para(4, "  to propose it again: ", strings.Join(d.Again, "; "))
	}
}

// supersedeLines say which of two proposals is the one to sign, where one is to end the other.
func (d *proposalDocument) supersedeLines(p *page) {
	for _, id := range d.Supersedes {
		p.para(4, "  supersedes ", id+", which can never take effect once this has")
	}
	if d.SupersededBy == "" || d.Stale != "" || d.Refused != "" {
		return
	}
	if d.Complete {
		p.para(4, "  is being superseded by ", d.SupersededBy+", unless the committer comes first")
		return
	}
	p.para(4, "  sign that instead: ", "kitchen sign "+d.SupersededBy+" --key FILE")
	p.para(4, "  or this one, if its change is wanted after all: ", "kitchen sign "+d.ID+" --key FILE")
}

// signers are the short ids of all who signed any of its roles.
func (d *proposalDocument) signers() (ids []string) {
	for _, r := range d.Roles {
		ids = append(ids, r.Signers...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// days is a length of time as people say it: in days from two on.
func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 1 {
		return fmt.Sprintf("%d days", n)
	}
	return render.Duration(d)
}

func (d *pendingDocument) human(p *page) {
	if len(d.Proposals) == 0 {
		p.linef("nothing waits%s", d.forRole)
	}
	for i := range d.Proposals {
		if i > 0 {
			p.linef("")
		}
		d.Proposals[i].listed = !d.alone
		if one := &d.Proposals[i]; one.Dropped && !d.alone {
			one.brief(p)
		} else {
			one.human(p)
		}
	}
}

func runPending(ctx context.Context, k *kitchen, which string) error {
	return k.withPublisher(ctx, "", func(_ *session, p *publisher.Publisher) error {
		d := &pendingDocument{Schema: "kitchen.pending/v1", Proposals: []proposalDocument{}}
		own := k.ownKeys()
		if _, _, _, err := manifest.ParseProposalID(which); err == nil {
			one, err := p.PendingOne(ctx, which)
			if err != nil {
				return err
			}
			d.add(own, *one)
			d.alone = true
			return k.show(d)
		}
		waiting, err := p.Pending(ctx)
		if err != nil {
			return err
		}
		if which != "" {
			d.forRole = " for role " + which
		}
		for _, w := range waiting {
			if which == "" || slices.ContainsFunc(w.Roles, func(r publisher.RoleSignatures) bool { return r.Role == which }) {
				d.add(own, w)
			}
		}
		if which != "" && len(d.Proposals) == 0 {
			if err := d.begins(ctx, p, own, waiting, which); err != nil {
				return err
			}
		}
		return k.show(d)
	})
}

// begins adds the proposals whose ids begin with what is no role.
func (d *pendingDocument) begins(ctx context.Context, p *publisher.Publisher, own map[string]bool, waiting []publisher.PendingProposal, which string) error {
	err := p.KnowsRole(ctx, which)
	if _, unknown := errors.AsType[*publisher.UnknownRole](err); !unknown {
		return err
	}
	for _, w := range waiting {
		if strings.HasPrefix(w.ID, which) {
			d.add(own, w)
		}
	}
	if len(d.Proposals) == 0 {
		return err
	}
	d.alone = len(d.Proposals) == 1
	return nil
}

// add adds a proposal, with the caller's own keys marked.
func (d *pendingDocument) add(own map[string]bool, w publisher.PendingProposal) {
	doc := newProposal(w)
	for i := range doc.Roles {
		r := &doc.Roles[i]
		for _, name := range append(slices.Clone(r.Signers), r.Missing...) {
			if slices.ContainsFunc(w.Roles[i].Holders, func(id string) bool { return own[id] && strings.HasPrefix(id, name) }) {
				r.Yours = append(r.Yours, name)
			}
		}
	}
	d.Proposals = append(d.Proposals, doc)
}

// ownKeys are the ids of the keys that kitchen.toml names, as far as their public halves lie beside them: nothing
// is opened, and nobody is asked for a password.
func (k *kitchen) ownKeys() map[string]bool {
	own := map[string]bool{}
	for role := range k.config.Keys {
		for _, file := range k.config.keyFiles(role) {
			base, ok := strings.CutSuffix(file, ".key")
			if !ok {
				continue
			}
			if public, err := keys.LoadPublic(base + ".pub"); err == nil {
				if key, err := trust.NewKey(public); err == nil {
					own[key.ID] = true
				}
			}
		}
	}
	return own
}
