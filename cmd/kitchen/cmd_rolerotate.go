package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

// roleOptions are those of rotate and set-threshold.
type roleOptions struct {
	keyOptions
	schema   string
	role     string
	old, new []string
	count    int
	dryRun   bool
	yes      bool
}

// stolenFlag gives up on the old online key.
func stolenFlag() cli.Flag {
	return &cli.BoolFlag{Name: "stolen", Usage: "where the online key is replaced: the old one is stolen or lost. The new root comes first, and nobody can refresh until the new key has signed; finishes a run that was interrupted there"}
}

func roleFlags(more ...cli.Flag) []cli.Flag {
	more = append(more, stolenFlag(),
		&cli.BoolFlag{Name: "dry-run", Usage: "show what it means and who must sign; write nothing"},
		&cli.BoolFlag{Name: "yes", Usage: "do not ask"})
	return append(more, signingFlags()...)
}

const roleWhoSigns = "Of root, targets, snapshot, timestamp the holders of root decide, of all other roles those of targets; the role itself is signed again in the same proposal where the signatures that it has do not suffice any more. " +
	"snapshot, timestamp and journal change together: they are the online key's. Give all private keys at hand with --key; what is missing waits for `kitchen sign` (exit 8)."

func roleRotateCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "rotate", Usage: "exchange, add or take away keys of a role", ArgsUsage: "ROLE [--old KEY]… [--new FILE]… --key FILE…",
		Description: roleWhoSigns + " Says what it means before it asks: above all for which releases the new keys stand from then on.",
		Flags: roleFlags(
			&cli.StringSliceFlag{Name: "old", Usage: "`KEY` that goes: a public key file, or its id or the first digits of it; repeatable"},
			&cli.StringSliceFlag{Name: "new", Usage: "public key `FILE` that comes; repeatable"},
			&cli.IntFlag{Name: "threshold", Usage: "`N` of the keys must sign from then on (default: as before)"}),
		Action: action(k, func(c *cli.Context) (roleOptions, error) {
			o := k.readRoleOptions(c, "kitchen.role-rotate/v1")
			o.old, o.new, o.count = c.StringSlice("old"), c.StringSlice("new"), c.Int("threshold")
			if err := operands(c, "ROLE"); err != nil {
				return o, err
			}
			if len(o.old)+len(o.new) == 0 {
				return o, usageHint("nothing to rotate", "give --old KEY, --new FILE, or both")
			}
			return o, nil
		}, runRoleChange),
	}
}

func roleThresholdCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "set-threshold", Usage: "say how many of a role's keys must sign", ArgsUsage: "ROLE N --key FILE…",
		Description: roleWhoSigns,
		Flags:       roleFlags(),
		Action: action(k, func(c *cli.Context) (roleOptions, error) {
			o := k.readRoleOptions(c, "kitchen.role-set-threshold/v1")
			if err := operands(c, "ROLE", "N"); err != nil {
				return o, err
			}
			var err error
			if o.count, err = strconv.Atoi(c.Args().Get(1)); err != nil || o.count < 1 {
				return o, usagef("threshold %q is not a number from 1 on", c.Args().Get(1))
			}
			return o, nil
		}, runRoleChange),
	}
}

func (k *kitchen) readRoleOptions(c *cli.Context, schema string) roleOptions {
	k.stolen = c.Bool("stolen")
	return roleOptions{keyOptions: k.readKeyOptions(c), schema: schema, role: c.Args().First(), dryRun: c.Bool("dry-run"), yes: c.Bool("yes")}
}

func runRoleChange(ctx context.Context, k *kitchen, o roleOptions) error {
	request := publisher.RoleRequest{Role: o.role, Threshold: o.count}
	var err error
	if request.New, err = k.publicKeys(o.new); err != nil {
		return err
	}
	if request.Old, err = k.keyIDs(o.old); err != nil {
		return err
	}
	if o.dryRun {
		signers, err := k.optionalSigners(o.keyOptions, publisher.HandedOutBy(o.role)...)
		if err != nil {
			return err
		}
		return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
			plan, err := p.PlanRole(ctx, request, signers...)
			if err != nil {
				return err
			}
			return k.show(newRolePlan(o.role, plan))
		})
	}
	signers, err := k.signers(o.keyOptions, publisher.HandedOutBy(o.role)...)
	if err != nil {
		return err
	}
	confirm := k.confirmRole
	if o.yes {
		confirm = k.warnOfRole
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.ChangeRole(ctx, request, confirm, signers)
		if err != nil {
			return err
		}
		d := newOutcome("", "", outcome)
		d.Schema = o.schema
		return k.showOutcome(d)
	})
}

// digitsOfID are the first digits of a key's id, or all of them.
var digitsOfID = regexp.MustCompile("^[0-9a-fA-F]{1,64}$")

// keyIDs turns public key files into ids; what is no file may be the first digits of one.
func (k *kitchen) keyIDs(names []string) ([]string, error) {
	var ids []string
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			if !digitsOfID.MatchString(name) {
				return nil, hinted{fmt.Errorf("--old: %w", err), "give the public key's file, or the first digits of its id (kitchen role show ROLE names them)"}
			}
			ids = append(ids, name)
			continue
		}
		public, err := k.publicKeys([]string{name})
		if err != nil {
			return nil, err
		}
		key, err := trust.NewKey(public[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ids = append(ids, key.ID)
	}
	return ids, nil
}

// confirmRole shows on stderr what a change of a role means, and asks on the terminal.
func (k *kitchen) confirmRole(plan *publisher.RolePlan) (bool, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false, usageHint("a change of keys is asked about first, and there is no terminal", "look at it with --dry-run, then give --yes")
	}
	defer tty.Close()
	defer k.progress.pause()()
	return askToSign(tty, newRolePlan(plan.Role, plan))
}

// warnOfRole says on stderr, unasked, what else a change of a role means. What it changes is told with the outcome.
func (k *kitchen) warnOfRole(plan *publisher.RolePlan) (bool, error) {
	for _, note := range plan.Notes {
		k.progress.Note(note)
	}
	for _, use := range plan.KeyUses {
		k.progress.Note(otherKeyUse(use).words() + " " + use.Command)
	}
	return true, nil
}

// rolePlanDocument is the result of role rotate and role set-threshold with --dry-run.
type rolePlanDocument struct {
	Schema    string          `json:"schema"` // kitchen.role-plan/v1
	Role      string          `json:"role"`
	Unchanged bool            `json:"unchanged"`
	Change    []string        `json:"change"`
	Roles     []roleDocument  `json:"roles"`
	Releases  []listedRelease `json:"releases"`
	AlsoSigns []otherKeyUse   `json:"also_signs"` // by keys that go
	Notes     []string        `json:"notes"`
}

type otherKeyUse struct {
	Key     string `json:"key"` // short id
	Role    string `json:"role"`
	Command string `json:"command"` // that exchanges it there
}

func (u otherKeyUse) words() string {
	return fmt.Sprintf("Key %s also signs %s. Exchange it there, too:", u.Key, u.Role)
}

type listedRelease struct {
	Release string `json:"release"`
	Since   string `json:"since,omitempty"`
}

func newRolePlan(role string, plan *publisher.RolePlan) *rolePlanDocument {
	d := &rolePlanDocument{Schema: "kitchen.role-plan/v1", Role: role, Unchanged: plan == nil, Change: []string{}, Roles: []roleDocument{}, Releases: []listedRelease{}, AlsoSigns: []otherKeyUse{}, Notes: []string{}}
	if plan == nil {
		return d
	}
	d.Change, d.Roles, d.Notes = list(plan.Change), roleDocuments(plan.Roles), list(plan.Notes)
	for _, use := range plan.KeyUses {
		d.AlsoSigns = append(d.AlsoSigns, otherKeyUse(use))
	}
	for _, r := range plan.Releases {
		l := listedRelease{Release: r.Release}
		if !r.Since.IsZero() {
			l.Since = stamp(r.Since)
		}
		d.Releases = append(d.Releases, l)
	}
	return d
}

func (d *rolePlanDocument) human(p *page) {
	if d.Unchanged {
		p.linef("no change: the catalog says so already")
		return
	}
	for _, line := range d.Change {
		p.para(2, "", line)
	}
	if len(d.Releases) > 0 {
		p.linef("%s lists:", d.Role)
		table := &render.Table{Columns: []render.Column{{Name: "RELEASE"}, {Name: "SINCE (UTC)"}}}
		for _, r := range d.Releases {
			table.Row(r.Release, dash(r.Since))
		}
		p.table(table, "nothing")
	}
	for _, note := range d.Notes {
		p.para(2, "- ", note)
	}
	for _, use := range d.AlsoSigns {
		p.para(2, "- ", use.words())
		p.linef("    %s", use.Command)
	}
	signatureLines(p, d.Roles)
}
