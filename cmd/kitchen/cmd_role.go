package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func roleCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "role", Category: groupSetUp, Usage: "who signs what",
		Subcommands: []*cli.Command{roleShowCommand(k), roleRotateCommand(k), roleThresholdCommand(k)},
	}
}

func roleShowCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show a role's keys, threshold and expiry; without ROLE, all roles", ArgsUsage: "[ROLE]",
		Action: action(k, func(c *cli.Context) (string, error) {
			return c.Args().First(), operands(c, "[ROLE]")
		}, runRoleShow),
	}
}

// rolesDocument lists roles.
type rolesDocument struct {
	Schema string        `json:"schema"` // kitchen.role/v1
	Roles  []authorityOf `json:"roles"`
	detail bool
}

type authorityOf struct {
	Role      string   `json:"role"`
	Threshold int      `json:"threshold"`
	Keys      []string `json:"keys"`    // TUF key ids
	Version   int64    `json:"version"` // 0 = not signed yet
	Expires   string   `json:"expires,omitempty"`
	Problem   string   `json:"problem,omitempty"` // why the role cannot be used
	Releases  []string `json:"releases,omitempty"`
}

func (d *rolesDocument) human(p *page) {
	if d.detail {
		r := d.Roles[0]
		p.linef("%s", r.Role)
		p.linef("  %s", signedWords(r))
		p.linef("  %d of these %d keys must sign:", r.Threshold, len(r.Keys))
		for _, id := range r.Keys {
			p.linef("    %s", id)
		}
		if len(r.Releases) > 0 {
			p.para(4, "  lists ", strings.Join(r.Releases, ", "))
		}
		return
	}
	table := &render.Table{Columns: []render.Column{{Name: "ROLE"}, {Name: "NEEDS"}, {Name: "KEYS", Flex: true}, {Name: "STATE", Flex: true}}}
	for _, r := range d.Roles {
		name := publisher.KeyNames(r.Keys...)
		short := make([]string, len(r.Keys))
		for i, id := range r.Keys {
			short[i] = name(id)
		}
		table.Row(r.Role, fmt.Sprintf("%d of %d", r.Threshold, len(r.Keys)), strings.Join(short, " "), signedWords(r))
	}
	p.table(table, "no roles")
}

func signedWords(r authorityOf) string {
	switch {
	case r.Problem != "":
		return r.Problem
	case r.Version == 0:
		return "not signed yet"
	}
	day, _, _ := strings.Cut(r.Expires, "T")
	return fmt.Sprintf("version %d, until %s", r.Version, day)
}

func runRoleShow(ctx context.Context, k *kitchen, role string) error {
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		d := &rolesDocument{Schema: "kitchen.role/v1", Roles: []authorityOf{}, detail: role != ""}
		names := []string{role}
		if role == "" {
			targets, err := v.Role(trust.RoleTargets)
			if err != nil {
				return err
			}
			names = []string{trust.RoleRoot, trust.RoleTargets, trust.RoleSnapshot, trust.RoleTimestamp}
			for _, delegation := range targets.Delegations {
				names = append(names, delegation.Name)
			}
		}
		for _, name := range names {
			r, err := describeRole(v, name)
			if err != nil {
				return err
			}
			d.Roles = append(d.Roles, r)
		}
		return k.show(d)
	})
}

func describeRole(v *catalog.View, name string) (authorityOf, error) {
	r := authorityOf{Role: name}
	authority, ok := v.Authority(name)
	if !ok {
		return r, hinted{fmt.Errorf("there is no role %q in this catalog", name), "`kitchen role show` lists the roles"}
	}
	r.Threshold = authority.Threshold
	for _, key := range authority.Keys {
		r.Keys = append(r.Keys, key.ID)
	}
	signed := func(version int64, expires time.Time) { r.Version, r.Expires = version, stamp(expires) }
	switch name {
	case trust.RoleRoot:
		signed(v.Root().Version, v.Root().Expires)
	case trust.RoleSnapshot:
		signed(v.Snapshot().Version, v.Snapshot().Expires)
	case trust.RoleTimestamp:
		signed(v.Timestamp().Version, v.Timestamp().Expires)
	default:
		targets, err := v.Role(name)
		var absent *catalog.RoleAbsent
		switch {
		case errors.As(err, &absent):
		case err != nil:
			r.Problem = err.Error()
		default:
			signed(targets.Version, targets.Expires)
			for path := range targets.Targets {
				r.Releases = append(r.Releases, path)
			}
			slices.Sort(r.Releases)
		}
	}
	return r, nil
}
