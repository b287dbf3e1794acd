package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/urfave/cli/v2"
)

type customerPolicyOptions struct {
	customer string
	format   string
	user     string
	products []string
}

func customerPolicyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "policy", Usage: "print the S3 policy for a customer's credentials", ArgsUsage: "NAME",
		Description: "The least that the customer's sites need in the bucket: they read the metadata, the registry, the releases of the products the customer subscribes to, the blobs, the journal and the customer's own reports, and create below reports/NAME/. Print it again when its subscriptions change, or the sites that its sites wait for.\n\n" +
			"With aws and minio it is a policy of the customer's user. With versitygw it is its part of the bucket's policy: such a server keeps one policy a bucket, which has to hold the statements of all customers. aws alone can also demand that nothing is overwritten.\n\n" +
			"docs/ACCESS.md says what customers on one bucket still see of each other.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "aws", Usage: "`FORMAT` of the policy: " + strings.Join(storage.PolicyFormats, ", ")},
			&cli.StringSliceFlag{Name: "product", Usage: "only this `PRODUCT` of those the customer subscribes to; repeatable"},
			&cli.StringFlag{Name: "user", Usage: "access key of the customer's `USER`, for versitygw (default: NAME)"},
		},
		Action: action(k, func(c *cli.Context) (customerPolicyOptions, error) {
			o := customerPolicyOptions{customer: c.Args().First(), format: c.String("format"), user: c.String("user"), products: c.StringSlice("product")}
			if !slices.Contains(storage.PolicyFormats, o.format) {
				return o, usagef("--format %s: the formats are %s", o.format, strings.Join(storage.PolicyFormats, ", "))
			}
			if o.user == "" {
				o.user = o.customer
			}
			return o, operands(c, "NAME")
		}, runCustomerPolicy),
	}
}

// customerPolicyDocument is a policy and what it was made from.
type customerPolicyDocument struct {
	Schema   string            `json:"schema"` // kitchen.customer-policy/v1
	Customer string            `json:"customer"`
	Format   string            `json:"format"`
	Products []string          `json:"products"` // "*" = all
	Bucket   string            `json:"bucket"`
	Prefix   string            `json:"prefix"`
	Policy   *storage.S3Policy `json:"policy"`
}

// human writes the policy alone, as a server takes it.
func (d *customerPolicyDocument) human(p *page) {
	if text, err := encodeJSON(d.Policy); err == nil { // a struct of strings: cannot fail
		p.w.Write(text)
	}
}

func runCustomerPolicy(ctx context.Context, k *kitchen, o customerPolicyOptions) error {
	at, err := k.catalogURL()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(at, "s3://") {
		return usageHint("the catalog is not in an S3 bucket, and policies are for buckets", "docs/ACCESS.md says who needs which rights in a directory or on a web server")
	}
	place, err := storage.ParseS3Place(at)
	if err != nil {
		return err
	}
	return k.withCatalog(ctx, func(_ *session, v *catalog.View) error {
		c, err := v.Customer(ctx, o.customer)
		if err != nil {
			return err
		}
		products, err := policyProducts(v, c, o.products)
		if err != nil {
			return err
		}
		policy, err := place.Policy(o.format, c.Access(products), o.user)
		if err != nil {
			return err
		}
		return k.show(&customerPolicyDocument{
			Schema: "kitchen.customer-policy/v1", Customer: c.Customer, Format: o.format, Products: products,
			Bucket: place.Bucket, Prefix: place.Prefix, Policy: policy,
		})
	})
}

// policyProducts are the products that a policy is for: the wanted ones, which the customer has to follow, or all that
// it follows.
func policyProducts(v *catalog.View, c *manifest.Customer, wanted []string) ([]string, error) {
	switch {
	case c.Vendor:
		return nil, hinted{fmt.Errorf("%s is the vendor: its sites also sign, and need other rights", c.Customer), "docs/ACCESS.md has a row for the vendor's CI"}
	case c.Suspended:
		return nil, hinted{fmt.Errorf("customer %s is suspended: it has no rights for the time being", c.Customer), "`kitchen customer suspend " + c.Customer + " --undo --key FILE` ends that"}
	case len(c.Subscribe) == 0:
		return nil, hinted{fmt.Errorf("customer %s subscribes to nothing", c.Customer), "`kitchen customer show " + c.Customer + "` shows its registry entry"}
	case len(wanted) == 0:
		return c.Subscribe, nil
	}
	for _, product := range wanted {
		if !slices.Contains(v.Products(), product) {
			return nil, &catalog.UnknownProduct{Product: product}
		}
		if !c.Subscribes(product) {
			return nil, hinted{fmt.Errorf("customer %s does not subscribe to %s", c.Customer, product), "it subscribes to " + subscriptions(c.Subscribe)}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(wanted))), nil
}
