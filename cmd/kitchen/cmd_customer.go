package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func customerCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "customer", Category: groupSetUp, Usage: "customers, what they subscribe to, and their sites",
		Subcommands: []*cli.Command{customerAddCommand(k), customerChangeCommand(k), customerShowCommand(k), customerListCommand(k), customerPolicyCommand(k), customerSuspendCommand(k), customerCertifiersCommand(k)},
	}
}

type customerAddOptions struct {
	keyOptions
	request publisher.CustomerRequest
}

func customerAddCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "enter a customer into the registry", ArgsUsage: "NAME --subscribe PRODUCT… --key FILE",
		Description: "Needs the signature of a vendor administrator.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "`NAME` as people read it"},
			&cli.StringSliceFlag{Name: "subscribe", Usage: "`PRODUCT` whose releases the customer sees; repeatable; \"*\" is every product"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (customerAddOptions, error) {
			return customerAddOptions{
				keyOptions: k.readKeyOptions(c),
				request:    publisher.CustomerRequest{Name: c.Args().First(), DisplayName: c.String("name"), Subscribe: c.StringSlice("subscribe")},
			}, operands(c, "NAME")
		}, runCustomerAdd),
	}
}

func runCustomerAdd(ctx context.Context, k *kitchen, o customerAddOptions) error {
	signers, err := k.signers(o.keyOptions, manifest.RoleRegistry)
	if err != nil {
		return err
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.AddCustomer(ctx, o.request, signers)
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("customer-add", "", outcome))
	})
}

// customerDocument is one registry entry.
type customerDocument struct {
	Schema    string         `json:"schema,omitempty"` // kitchen.customer/v1
	Customer  string         `json:"customer"`
	Name      string         `json:"name"`
	Vendor    bool           `json:"vendor"`
	Suspended bool           `json:"suspended"`
	Subscribe []string       `json:"subscribe"`
	Sites     []siteDocument `json:"sites"`
}

type siteDocument struct {
	Site    string   `json:"site"`
	Kind    string   `json:"kind"`
	After   []string `json:"after"`
	Retired bool     `json:"retired"`
	Keys    []string `json:"keys"` // public, PEM
}

func newCustomerDocument(c *manifest.Customer) customerDocument {
	d := customerDocument{Customer: c.Customer, Name: c.Name, Vendor: c.Vendor, Suspended: c.Suspended, Subscribe: list(c.Subscribe), Sites: []siteDocument{}}
	for _, s := range c.Sites {
		site := siteDocument{Site: manifest.SiteID{Customer: c.Customer, Site: s.Name}.String(), Kind: s.Kind, After: list(s.After), Retired: s.Retired, Keys: []string{}}
		for _, key := range s.Keys {
			site.Keys = append(site.Keys, key.Public)
		}
		d.Sites = append(d.Sites, site)
	}
	return d
}

func (d *customerDocument) human(p *page) {
	role := "customer"
	if d.Vendor {
		role = "vendor"
	}
	if d.Suspended {
		role = "customer, SUSPENDED"
	}
	p.linef("%s  %s (%s)", d.Customer, d.Name, role)
	p.para(2, "subscribes to ", subscriptions(d.Subscribe))
	table := &render.Table{Columns: []render.Column{{Name: "SITE"}, {Name: "KIND"}, {Name: "WAITS FOR", Flex: true}, {Name: "KEYS"}}}
	for _, s := range d.Sites {
		keyCount := fmt.Sprint(len(s.Keys))
		if s.Retired {
			keyCount = "retired"
		}
		table.Row(s.Site, s.Kind, dash(strings.Join(s.After, ", ")), keyCount)
	}
	p.table(table, "no sites")
}

func subscriptions(products []string) string {
	switch {
	case len(products) == 0:
		return "nothing"
	case len(products) == 1 && products[0] == "*":
		return "every product"
	}
	return strings.Join(products, ", ")
}

func customerShowCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show one customer and its sites", ArgsUsage: "NAME",
		Action: action(k, func(c *cli.Context) (string, error) {
			return c.Args().First(), operands(c, "NAME")
		}, func(ctx context.Context, k *kitchen, name string) error {
			return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
				c, err := v.Customer(ctx, name)
				if err != nil {
					return err
				}
				d := newCustomerDocument(c)
				d.Schema = "kitchen.customer/v1"
				return k.show(&d)
			})
		}),
	}
}

// customersDocument is the whole registry.
type customersDocument struct {
	Schema    string             `json:"schema"` // kitchen.customers/v1
	Customers []customerDocument `json:"customers"`
}

func (d *customersDocument) human(p *page) {
	table := &render.Table{Columns: []render.Column{{Name: "CUSTOMER"}, {Name: "NAME", Flex: true}, {Name: "SITES"}, {Name: "SUBSCRIBES TO", Flex: true}}}
	for _, c := range d.Customers {
		table.Row(c.Customer, c.Name, fmt.Sprint(len(c.Sites)), subscriptions(c.Subscribe))
	}
	p.table(table, "no customers")
}

func customerListCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the customers",
		Action: action(k, func(c *cli.Context) (struct{}, error) { return struct{}{}, operands(c) },
			func(ctx context.Context, k *kitchen, _ struct{}) error {
				return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
					customers, err := v.Customers(ctx)
					if err != nil {
						return err
					}
					d := &customersDocument{Schema: "kitchen.customers/v1", Customers: []customerDocument{}}
					for _, c := range customers {
						d.Customers = append(d.Customers, newCustomerDocument(c))
					}
					return k.show(d)
				})
			}),
	}
}
