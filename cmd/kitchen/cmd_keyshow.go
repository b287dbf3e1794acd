package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

func keyShowCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show a key's public half, its ids, and what it may sign in this catalog", ArgsUsage: "FILE|URI",
		Description: "FILE is a .pub, or a .key, which needs its password; a URI names a key at a key service or on a token. Where no catalog is configured or in reach, it says so.",
		Flags:       []cli.Flag{passwordFlag()},
		Action: action(k, func(c *cli.Context) (string, error) {
			k.readKeyOptions(c)
			return c.Args().First(), operands(c, "FILE|URI")
		}, runKeyShow),
	}
}

func runKeyShow(ctx context.Context, k *kitchen, name string) error {
	pub, err := k.publicHalf(ctx, name)
	if err != nil {
		return err
	}
	d, err := newKeyDocument(pub)
	if err != nil {
		return err
	}
	if d.Use, err = k.useOfKey(ctx, pub); err != nil {
		return err
	}
	return k.show(d)
}

// publicHalf reads a .pub, or opens the private key and takes its own public half.
func (k *kitchen) publicHalf(ctx context.Context, name string) (*keys.Public, error) {
	if isPublicFile(name) {
		return keys.LoadPublic(name)
	}
	roomForKeys()
	signer, err := keys.Open(ctx, name, k.keys.password)
	if err != nil {
		return nil, err
	}
	return signer.Public(), nil
}

// keyUse is what a catalog says of a key.
type keyUse struct {
	Catalog string    `json:"catalog,omitempty"`
	Unknown string    `json:"unknown,omitempty"` // why it could not be asked
	Roles   []keyRole `json:"roles"`
	Sites   []keySite `json:"sites"`
}

type keyRole struct {
	Role      string `json:"role"`
	Threshold int    `json:"threshold"`
	Keys      int    `json:"keys"`
}

type keySite struct {
	Site             string `json:"site"`
	ValidFrom        string `json:"valid_from"`
	ValidTo          string `json:"valid_to,omitempty"`
	CompromisedSince string `json:"compromised_since,omitempty"`
	Retired          bool   `json:"retired,omitempty"`
}

func (u *keyUse) human(p *page) {
	if u.Unknown != "" {
		p.para(2, "roles and sites: not known: ", u.Unknown)
		return
	}
	p.linef("in %s:", u.Catalog)
	for _, r := range u.Roles {
		p.linef("  signs %s (%d of %d keys needed)", r.Role, r.Threshold, r.Keys)
	}
	for _, s := range u.Sites {
		p.linef("  signs the reports of %s, %s", s.Site, s.period())
	}
	if len(u.Roles)+len(u.Sites) == 0 {
		p.linef("  no role and no site uses it")
	}
}

func (s keySite) period() string {
	words := "since " + s.ValidFrom
	if s.ValidTo != "" {
		words = s.ValidFrom + " to " + s.ValidTo
	}
	if s.CompromisedSince != "" {
		words += ", compromised since " + s.CompromisedSince
	}
	if s.Retired {
		words += " (retired)"
	}
	return words
}

// useOfKey asks the catalog, if there is one to ask. A catalog that is not to be trusted is an error.
func (k *kitchen) useOfKey(ctx context.Context, pub *keys.Public) (*keyUse, error) {
	use := &keyUse{Roles: []keyRole{}, Sites: []keySite{}}
	_, err := k.catalogURL()
	if err == nil {
		err = k.withCatalog(ctx, func(s *session, v *catalog.View) error {
			use.Catalog = s.url
			return use.read(ctx, v, pub)
		})
	}
	var pin *catalog.NoPin
	switch code, _ := exitCode(ctx, err); {
	case err == nil:
	case code == exitUsage, code == exitUnavailable, errors.As(err, &pin):
		use.Unknown = err.Error()
	default:
		return nil, err
	}
	return use, nil
}

func (u *keyUse) read(ctx context.Context, v *catalog.View, pub *keys.Public) error {
	targets, err := v.Role(trust.RoleTargets)
	if err != nil {
		return err
	}
	names := []string{trust.RoleRoot, trust.RoleTargets, trust.RoleSnapshot, trust.RoleTimestamp}
	for _, delegation := range targets.Delegations {
		names = append(names, delegation.Name)
	}
	for _, name := range names {
		authority, _ := v.Authority(name)
		if slices.ContainsFunc(authority.Keys, func(key trust.Key) bool { return key.Public != nil && key.Public.Equal(pub) }) {
			u.Roles = append(u.Roles, keyRole{Role: name, Threshold: authority.Threshold, Keys: len(authority.Keys)})
		}
	}
	customers, err := v.Customers(ctx)
	if err != nil {
		return err
	}
	for _, c := range customers {
		for _, site := range c.Sites {
			u.readSite(manifest.SiteID{Customer: c.Customer, Site: site.Name}, site, pub)
		}
	}
	return nil
}

func (u *keyUse) readSite(id manifest.SiteID, site manifest.Site, pub *keys.Public) {
	for _, key := range site.Keys {
		if key.Public == pub.PEM() {
			u.Sites = append(u.Sites, keySite{Site: fmt.Sprint(id), ValidFrom: stamp(key.ValidFrom), ValidTo: stamp(key.ValidTo),
				CompromisedSince: stamp(key.CompromisedSince), Retired: site.Retired})
		}
	}
}
