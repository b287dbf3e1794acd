package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func siteCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "site", Category: groupSetUp, Usage: "CI and production platforms of customers",
		Subcommands: []*cli.Command{siteAddCommand(k), siteChangeCommand(k), siteRotateKeyCommand(k), siteRetireCommand(k)},
	}
}

type siteAddOptions struct {
	keyOptions
	site        manifest.SiteID
	kind        string
	after       []manifest.SiteID
	public      string
	writeConfig string
}

func siteAddCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "enter a site into its customer's registry entry",
		ArgsUsage: "CUSTOMER/SITE --kind ci|production --pub FILE --key FILE",
		Description: "Needs the signature of a vendor administrator. --write-config writes the site's kitchen.toml: " +
			"the catalog, the pinned root and the site's name, with the hooks left to fill in.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "kind", Usage: "`KIND` of the site: ci or production"},
			&cli.StringSliceFlag{Name: "after", Usage: "`CUSTOMER/SITE` that must have passed before this one tests; repeatable"},
			&cli.StringFlag{Name: "pub", Usage: "public key `FILE` of the site, which signs its reports"},
			&cli.StringFlag{Name: "write-config", Usage: "write the site's configuration to `FILE`"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (o siteAddOptions, err error) {
			o = siteAddOptions{keyOptions: k.readKeyOptions(c), kind: c.String("kind"), public: c.String("pub"), writeConfig: c.String("write-config")}
			if err := operands(c, "CUSTOMER/SITE"); err != nil {
				return o, err
			}
			if err := require(c, "kind", "pub"); err != nil {
				return o, err
			}
			if o.kind != manifest.SiteCI && o.kind != manifest.SiteProduction {
				return o, usagef("--kind %s: a site is ci or production", o.kind)
			}
			if o.after, err = siteValues(c.StringSlice("after")); err != nil {
				return o, err
			}
			o.site, err = siteValue(c.Args().First())
			return o, err
		}, runSiteAdd),
	}
}

func siteValues(list []string) (ids []manifest.SiteID, err error) {
	for _, s := range list {
		id, err := siteValue(s)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// siteKey is the public half of a site's key: the private one is the site's people's alone.
func (k *kitchen) siteKey(path string) (*keys.Public, error) {
	if base, private := strings.CutSuffix(path, ".key"); private {
		return nil, usageHint("--pub "+path+" is a private key, which nobody but the site needs", "name the public half: --pub "+base+".pub")
	}
	public, err := k.publicKeys([]string{path})
	if err != nil {
		return nil, err
	}
	return public[0], nil
}

func runSiteAdd(ctx context.Context, k *kitchen, o siteAddOptions) error {
	if err := checkNewFiles(o.writeConfig); err != nil {
		return err
	}
	public, err := k.siteKey(o.public)
	if err != nil {
		return err
	}
	signers, err := k.signers(o.keyOptions, manifest.RoleRegistry)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(s *session, p *publisher.Publisher) error {
		outcome, err := p.AddSite(ctx, publisher.SiteRequest{Site: o.site, Kind: o.kind, After: o.after, Key: public}, signers)
		if err != nil {
			return err
		}
		d := newOutcome("site-add", "", outcome)
		if o.writeConfig != "" {
			if err := s.writeSiteConfig(ctx, o); err != nil {
				return hinted{fmt.Errorf("the site is registered, but its configuration is not written: %w", err), "run the same command again"}
			}
			d.Wrote = append(d.Wrote, o.writeConfig)
		}
		return k.showOutcome(d)
	})
}

// writeSiteConfig writes the kitchen.toml that the site's people start from.
func (s *session) writeSiteConfig(ctx context.Context, o siteAddOptions) error {
	view, err := s.catalog.Refresh(ctx)
	if err != nil {
		return err
	}
	c := newConfigFile("kitchen site add", o.writeConfig)
	c.set("catalog", s.url)
	c.set("root_fingerprint", catalog.Fingerprint(view.RawRoot()))
	c.line(fmt.Sprintf("root_version = %d", view.Root().Version))
	c.set("state", c.stateName())
	c.line("")
	c.line("[site]")
	c.line("id  = " + tomlString(o.site.String()))
	if keys.IsURI(o.public) {
		c.set("key", o.public)
	} else {
		c.line(fmt.Sprintf("key = %s   # the private half of %s", tomlString(strings.TrimSuffix(filepath.Base(o.public), ".pub")+".key"), tomlString(o.public)))
	}
	if o.kind == manifest.SiteProduction {
		c.line("# auto = true   # `kitchen run` deploys the newest release that is ready")
	}
	c.line("")
	c.line("# What this site runs, started in this file's directory. $KITCHEN_DIR holds the release,")
	c.line("# $KITCHEN_RESULTS takes JUnit files; exit 0 is a pass.")
	c.line("[hooks]")
	if o.kind == manifest.SiteProduction {
		c.line(`# deploy = ["./deploy.sh"]`)
	} else {
		c.line(`# test = ["./test.sh"]`)
	}
	return c.write()
}
