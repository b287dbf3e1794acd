package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type renewOptions struct {
	keyOptions
	request publisher.RenewRequest
}

func renewCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "renew", Category: groupOperator, Usage: "what expires when; with keys, sign it again", ArgsUsage: "[--within DURATION] [--key FILE…] [--dry-run]",
		Description: "Without --key it tells when each role expires, who can sign it again, and what waits: for a monitor. A role is due once a third of its life is left, or within DURATION.\n\n" +
			"With --key it signs each due role that the keys may sign, as it is, in a proposal of its own. That brings back a role that has expired, targets included.\n\n" +
			"A certificate that rests on a waiver ends with it: it is told of, too, and certified again or decertified by the commands that are named.\n\n" +
			"Exit 0: nothing is due, or all that the keys may sign is in effect. 3: something is due, and nobody has begun to renew it. 8: what is due waits for more signatures or the committer.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "within", Usage: "due is what expires within `DURATION` (30d)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --key: say what would be signed; sign and write nothing"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (renewOptions, error) {
			o := renewOptions{keyOptions: k.readKeyOptions(c), request: publisher.RenewRequest{DryRun: c.Bool("dry-run")}}
			var err error
			if o.request.Within, err = parseAge(c.String("within")); err != nil {
				return o, usagef("--within: %v", err)
			}
			return o, operands(c)
		}, runRenew),
	}
}

// renewDocument lists roles by their expiry.
type renewDocument struct {
	Schema string           `json:"schema"` // kitchen.renew/v1
	DryRun bool             `json:"dry_run"`
	Due    int              `json:"due"` // roles and waivers that are due and for which nothing waits
	Roles  []expiryDocument `json:"roles"`
	Ends   []waiverExpiry   `json:"waivers"` // certificates that end with a waiver
	keys   bool             // keys were given
}

type expiryDocument struct {
	Role      string   `json:"role"`
	RenewedBy string   `json:"renewed_by"` // holders | committer
	Expires   string   `json:"expires"`
	DaysLeft  int      `json:"days_left"` // whole days, negative once it has expired
	Due       bool     `json:"due"`
	Threshold int      `json:"threshold"`
	Keys      []string `json:"keys"`              // who may sign it
	After     string   `json:"after,omitempty"`   // what has expired, and has to be in effect again first
	Waiting   string   `json:"waiting,omitempty"` // the proposal that signs it again
	Signed    []string `json:"signed"`            // who signed that
	Yours     bool     `json:"yours"`             // the given keys may sign it
	Status    string   `json:"status,omitempty"`  // what became of it now: committed | pending | unchanged; with --dry-run: would be signed
	WaitsFor  string   `json:"waits_for,omitempty"`
}

// waiverExpiry is a certificate that ends with a waiver. Signing its role again is no help.
type waiverExpiry struct {
	Release  string   `json:"release"`
	Role     string   `json:"role"`
	Sites    []string `json:"sites"`
	Until    string   `json:"until"`     // the last day
	DaysLeft int      `json:"days_left"` // whole days, negative once it has ended
	Due      bool     `json:"due"`
	Yours    bool     `json:"yours"`             // the given keys may certify it again
	Waiting  string   `json:"waiting,omitempty"` // the proposal that certifies it again, or decertifies it
	Commands []string `json:"commands"`          // that do so
}

func (d *waiverExpiry) human(p *page) {
	ends, tone := "ENDS", render.Warn
	if d.DaysLeft < 0 {
		ends, tone = "ENDED", render.Bad
	}
	switch {
	case !d.Due:
		ends, tone = "ends", render.Plain
	case d.Waiting != "":
		tone = render.Plain
	}
	p.verdict(tone, d.Release+"  certificate "+ends+" with "+d.Until)
	p.para(2, "  ", "in "+d.Role+", for it rests on a waiver for "+strings.Join(d.Sites, ", "))
	switch {
	case d.Waiting != "":
		p.linef("  waits: %s", render.Line(d.Waiting))
	case d.Due:
		p.linef("  to certify it again, or to take it back:")
		for _, command := range d.Commands {
			p.linef("    %s", command)
		}
	}
}

func newExpiry(e publisher.RoleExpiry, dryRun bool) expiryDocument {
	d := expiryDocument{Role: e.Role, RenewedBy: e.By, Expires: stamp(e.Expires), DaysLeft: daysLeft(e.Left), Due: e.Due, Threshold: e.Threshold, After: e.After,
		Keys: list(e.Keys), Waiting: e.Waiting, Signed: list(e.Signed), Yours: e.Yours}
	switch {
	case e.Outcome != nil:
		d.Status, d.WaitsFor, d.Waiting = e.Outcome.Status, e.Outcome.WaitsFor, e.Outcome.Proposal
		for _, r := range e.Outcome.Roles {
			d.Signed = list(r.Signers)
		}
	case dryRun && e.Due && e.Yours && e.After == "" && e.By == publisher.RenewedByHolders:
		d.Status = "would be signed"
	}
	return d
}

// daysLeft are whole days; what has expired has less than none.
func daysLeft(left time.Duration) int {
	const day = 24 * time.Hour
	if left <= 0 {
		return int(left/day) - 1
	}
	return int(left / day)
}

// open tells that a role is due and nobody has begun to renew it.
func (d *expiryDocument) open() bool {
	return d.Due && d.Waiting == "" && d.Status != publisher.Committed && d.Status != publisher.Unchanged
}

func (d *waiverExpiry) open() bool { return d.Due && d.Waiting == "" }

func (d *renewDocument) human(p *page) {
	table := &render.Table{Columns: []render.Column{{Name: "ROLE"}, {Name: "EXPIRES"}, {Name: "LEFT"}, {Name: "", Flex: true}}}
	for _, r := range d.Roles {
		tone, left := render.Dim, fmt.Sprintf("%d days", r.DaysLeft)
		switch {
		case r.DaysLeft < 0:
			tone, left = render.Bad, "EXPIRED"
		case r.Due:
			tone = render.Warn
		}
		date, _, _ := strings.Cut(r.Expires, "T")
		table.Add(render.Cell{Text: r.Role}, render.Cell{Text: date}, render.Cell{Text: left, Tone: tone}, render.Cell{Text: r.words()})
	}
	p.table(table, "no roles")
	for _, r := range d.Roles { // outside of the table, whose columns may be too narrow for an id
		if r.Waiting != "" && r.Status != publisher.Committed {
			fmt.Fprintf(p.w, "waits: %s\n", render.Line(r.Waiting))
		}
	}
	roles := d.Due
	for i := range d.Ends {
		d.Ends[i].human(p)
		if d.Ends[i].open() {
			roles--
		}
	}
	switch {
	case roles == 0:
	case !d.keys:
		p.para(0, "", fmt.Sprintf("due: %d; their holders run: kitchen renew --key FILE", roles))
	default:
		p.para(0, "", fmt.Sprintf("due, and not signed with these keys: %d", roles))
	}
	d.order(p)
}

// order says what comes first where root or targets has expired.
func (d *renewDocument) order(p *page) {
	first := map[string]bool{}
	for _, r := range d.Roles {
		first[r.After] = true
	}
	if !first[trust.RoleRoot] && !first[trust.RoleTargets] {
		return
	}
	p.para(0, "", "What has expired comes back in this order, and each waits until the one before is in effect: root, targets, then the others. Now:")
	now := trust.RoleTargets
	if first[trust.RoleRoot] {
		now = trust.RoleRoot
	}
	for _, line := range []string{"holders of " + now + ": kitchen renew --key FILE", "the committer: kitchen commit", "then again, for what comes next"} {
		p.linef("  %s", line)
	}
}

// words say how the expiry is met.
func (d *expiryDocument) words() string {
	need := fmt.Sprintf("%d of %s", d.Threshold, strings.Join(d.Keys, ", "))
	switch {
	case d.Status == publisher.Committed:
		return "signed again, in effect"
	case d.Status == publisher.Pending:
		return "signed again; waits for " + d.WaitsFor
	case d.Status == "would be signed":
		return "DUE: would be signed; " + need
	case d.Waiting != "" && len(d.Signed) >= d.Threshold:
		return "signed again; waits for the committer (kitchen commit)"
	case d.Waiting != "":
		return fmt.Sprintf("signed again by %d, needs %d; the others: kitchen sign %s --key FILE", len(d.Signed), d.Threshold, d.Role)
	case d.RenewedBy == publisher.RenewedByCommitter && d.Due:
		return "DUE: the committer renews it, and has not (kitchen commit --watch)"
	case d.RenewedBy == publisher.RenewedByCommitter:
		return "the committer renews it"
	case d.Due && d.After != "":
		return "DUE, once " + d.After + " is in effect again: " + need
	case d.Due:
		return "DUE: " + need
	}
	return need
}

func runRenew(ctx context.Context, k *kitchen, o renewOptions) error {
	var signers []keys.Signer
	var err error
	if len(o.keys) > 0 { // a monitor signs nothing: keys of kitchen.toml are not taken by themselves
		if signers, err = k.keys.open(o.keys); err != nil {
			return err
		}
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		expiries, err := p.Renew(ctx, o.request, signers)
		if err != nil {
			return err
		}
		ends, err := p.WaiverExpiries(ctx, o.request.Within, signers)
		if err != nil {
			return err
		}
		d := &renewDocument{Schema: "kitchen.renew/v1", DryRun: o.request.DryRun, Roles: []expiryDocument{}, Ends: []waiverExpiry{}, keys: len(signers) > 0}
		mine, waits := 0, false
		for _, e := range expiries {
			if k.await != nil && e.Outcome != nil && e.Outcome.Status == publisher.Pending {
				if e.Outcome, err = k.await(e.Outcome.Proposal); err != nil {
					return err
				}
			}
			doc := newExpiry(e, o.request.DryRun)
			d.Roles = append(d.Roles, doc)
			if doc.open() {
				d.Due++
				if doc.Yours {
					mine++
				}
			}
			waits = waits || doc.Due && doc.Waiting != "" && (doc.Yours || len(signers) == 0)
		}
		for _, e := range ends {
			doc := waiverExpiry{e.Release.String(), e.Role, list(e.Sites), e.Until, daysLeft(e.Left), e.Due, e.Yours, e.Waiting, e.Commands}
			d.Ends = append(d.Ends, doc)
			if doc.open() {
				d.Due++
				if doc.Yours {
					mine++
				}
			}
			waits = waits || doc.Due && doc.Waiting != "" && (doc.Yours || len(signers) == 0)
		}
		if err := k.show(d); err != nil {
			return err
		}
		switch {
		case mine > 0 || d.Due > 0 && len(signers) == 0:
			return answer(exitNo)
		case waits:
			return answer(exitNotInEffect)
		}
		return nil
	})
}
