package publisher_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

func TestAddCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := publisher.CustomerRequest{Name: "umbrella", DisplayName: "Umbrella Corp.", Subscribe: []string{"openstack", "ceph", "ceph"}}
	add := func(req publisher.CustomerRequest) (*publisher.Outcome, error) {
		return w.publisher(t, w.online).AddCustomer(ctx, req, signers(w.admin))
	}
	mustCommit(t)(add(req))
	c, err := w.view(t).Customer(ctx, "umbrella")
	check(t, err)
	if c.Name != "Umbrella Corp." || !c.Subscribes("ceph") || !c.Subscribes("openstack") || c.Subscribes("swift") || c.Vendor || len(c.Sites) != 0 {
		t.Errorf("%+v", c)
	}
	faults := storagetest.NewFaults(t, w.store)
	again := req
	again.Subscribe = []string{"ceph", "openstack"}
	must(t, publisher.Unchanged)(w.over(t, faults, w.online).AddCustomer(ctx, again, signers(w.admin)))
	if faults.Writes() > 0 {
		t.Errorf("the same again: %d writes", faults.Writes())
	}
	for says, change := range map[string]func(*publisher.CustomerRequest){
		"its name is":      func(r *publisher.CustomerRequest) { r.DisplayName = "Other" },
		"it subscribes to": func(r *publisher.CustomerRequest) { r.Subscribe = []string{"*"} },
		"it is the vendor": func(r *publisher.CustomerRequest) { r.Name = "enovance" },
	} {
		other := req
		change(&other)
		err := w.refused(t, func() error { _, err := add(other); return err })
		wantError[*publisher.Exists](t, err, "customer", says)
	}
	for name, bad := range map[string]publisher.CustomerRequest{
		"no name": {}, "capitals": {Name: "Umbrella"}, "a path": {Name: "a/b"}, "dots": {Name: ".."}} {
		if err := w.refused(t, func() error { _, err := add(bad); return err }); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSubscriptionsThatMeanNothing(t *testing.T) {
	w := newWorld(t)
	add := func(products ...string) error {
		return w.refused(t, func() error {
			_, err := w.publisher(t, w.online).AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella", Subscribe: products}, signers(w.admin))
			return err
		})
	}
	if e := wantError[*catalog.UnknownProduct](t, add("openstack", "swift")); e.Product != "swift" {
		t.Errorf("%+v", e)
	}
	wantError[*publisher.Invalid](t, add("*", "openstack"), "stands alone")
}

func TestAddSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := catalogtest.NewKey(t)
	req := w.site("acme/staging-2", k, "acme/staging", "enovance/ci")
	mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, req, signers(w.admin)))
	_, site, err := w.view(t).Site(ctx, req.Site)
	check(t, err)
	if site.Kind != manifest.SiteCI || strings.Join(site.After, " ") != "acme/staging enovance/ci" || len(site.Keys) != 1 || !site.Keys[0].ValidAt(w.now) || site.Retired {
		t.Errorf("%+v", site)
	}
	if _, _, err := w.view(t).Site(ctx, siteID("acme/staging")); err != nil {
		t.Errorf("the other site is gone: %v", err)
	}
	faults := storagetest.NewFaults(t, w.store)
	must(t, publisher.Unchanged)(w.over(t, faults, w.online).AddSite(ctx, w.site("acme/staging-2", k, "enovance/ci", "acme/staging"), signers(w.admin)))
	if faults.Writes() > 0 {
		t.Errorf("the same again: %d writes", faults.Writes())
	}
	for says, other := range map[string]publisher.SiteRequest{
		"it has another key": w.site("acme/staging-2", w.stranger, "acme/staging", "enovance/ci"),
		"it waits for":       w.site("acme/staging-2", k, "acme/staging"),
		"its kind is":        {Site: req.Site, Kind: manifest.SiteProduction, After: req.After, Key: k.Public()},
	} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).AddSite(ctx, other, signers(w.admin))
			return err
		})
		wantError[*publisher.Exists](t, err, "site acme/staging-2", says)
	}
}

func TestSitesThatCannotBe(t *testing.T) {
	w := newWorld(t)
	k := catalogtest.NewKey(t)
	production := w.site("acme/prod", catalogtest.NewKey(t))
	production.Kind = manifest.SiteProduction
	mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, production, signers(w.admin)))
	for says, req := range map[string]publisher.SiteRequest{
		"wait for itself":              w.site("acme/lab", k, "acme/lab"),
		"does not exist":               w.site("acme/lab", k, "acme/none"),
		"tests nothing":                w.site("acme/lab", k, "acme/prod"),
		"no public key":                {Site: siteID("acme/lab"), Kind: manifest.SiteCI},
		`kind "robot"`:                 {Site: siteID("acme/lab"), Kind: "robot", Key: k.Public()},
		"is that of site acme/staging": w.site("acme/lab", w.stagingCI),
		"site enovance/ci: its key":    w.site("acme/lab", w.vendorCI),
	} {
		t.Run(says, func(t *testing.T) {
			err := w.refused(t, func() error {
				_, err := w.publisher(t, w.online).AddSite(ctx, req, signers(w.admin))
				return err
			})
			wantError[*publisher.Invalid](t, err, "acme/lab", says)
		})
	}
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).AddSite(ctx, w.site("nobody/lab", k), signers(w.admin))
		return err
	})
	wantError[*catalog.UnknownCustomer](t, err)
}

func TestAKeyOfARoleIsNoKeyOfASite(t *testing.T) {
	w := newWorld(t)
	for _, k := range []key{w.root[2], w.online, w.admin, w.engineer, w.validator, w.certA} {
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).AddSite(ctx, w.site("acme/lab", k), signers(w.admin))
			return err
		})
		wantError[*publisher.Invalid](t, err, "also signs role", short(k), "site acme/lab")
	}
	err := w.refused(t, func() error { // and the other way round
		_, err := w.publisher(t, w.online).AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.stagingCI),
			Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.root[:2]...))
		return err
	})
	wantError[*publisher.Invalid](t, err, "acme/staging", "also signs role")
}

// entry is a registry proposal that no command makes: other content for a customer, in the registry's own form.
func (w *world) entry(t *testing.T, customer string, change func(*manifest.Customer)) func(*trust.Targets) {
	t.Helper()
	c, err := w.view(t).Customer(ctx, customer)
	check(t, err)
	copied := *c
	copied.Sites = append([]manifest.Site(nil), c.Sites...)
	change(&copied)
	data, err := copied.Encode()
	check(t, err)
	path := manifest.RegistryTarget(customer)
	w.put(t, manifest.TargetObject(path, catalogtest.Digest(data)), data)
	return lists(path, trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data)})
}

func TestRegistryProposalsThatBreakItsRules(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	for _, c := range []struct {
		name, says string
		edits      func(t *testing.T, w *world) []func(*trust.Targets)
	}{
		{"sites that wait for each other", "wait for each other", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){
				w.entry(t, "acme", func(c *manifest.Customer) { c.Sites[0].After = []string{"enovance/ci"} }),
				w.entry(t, "enovance", func(c *manifest.Customer) { c.Sites[0].After = []string{"acme/staging"} })}
		}},
		{"a change that closes a circle of sites that exist", "acme/staging → enovance/ci → acme/staging", func(t *testing.T, w *world) []func(*trust.Targets) {
			first := w.entry(t, "acme", func(c *manifest.Customer) { c.Sites[0].After = []string{"enovance/ci"} })
			w.craft(t, crafted{"registry", first, signers(w.admin)})
			if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
				t.Fatalf("%+v", result)
			}
			return []func(*trust.Targets){w.entry(t, "enovance", func(c *manifest.Customer) { c.Sites[0].After = []string{"acme/staging"} })}
		}},
		{"a site that waits for itself", "waits for itself", func(t *testing.T, w *world) []func(*trust.Targets) {
			c, err := w.view(t).Customer(ctx, "acme")
			check(t, err)
			data, err := c.Encode()
			check(t, err)
			data = bytes.Replace(data, []byte("kind = \"ci\"\n"), []byte("kind = \"ci\"\nafter = [\"acme/staging\"]\n"), 1)
			path, digest := manifest.RegistryTarget("acme"), catalogtest.Digest(data)
			w.put(t, manifest.TargetObject(path, digest), data)
			return []func(*trust.Targets){lists(path, trust.Target{Length: int64(len(data)), SHA256: digest})}
		}},
		{"a site that others wait for, taken away", "does not exist", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){
				w.entry(t, "enovance", func(c *manifest.Customer) { c.Sites[0].After = []string{"acme/staging"} }),
				func(n *trust.Targets) { delete(n.Targets, "registry/acme.toml") }}
		}},
		{"a site with the key of a role", "also signs role", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){w.entry(t, "acme", func(c *manifest.Customer) {
				c.Sites[0].Keys = []manifest.SiteKey{{Public: w.engineer.Public().PEM(), ValidFrom: w.now}}
			})}
		}},
		{"two sites with one key", "is that of site", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){w.entry(t, "acme", func(c *manifest.Customer) {
				c.Sites[0].Keys = []manifest.SiteKey{{Public: w.vendorCI.Public().PEM(), ValidFrom: w.now}}
			})}
		}},
		{"a second vendor", "vendor", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){w.entry(t, "acme", func(c *manifest.Customer) { c.Vendor = true })}
		}},
		{"no vendor", "vendor", func(t *testing.T, w *world) []func(*trust.Targets) {
			return []func(*trust.Targets){func(n *trust.Targets) { delete(n.Targets, "registry/enovance.toml") }}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start.copy(t)
			edits := c.edits(t, w)
			id := w.craft(t, crafted{"registry", func(n *trust.Targets) {
				for _, edit := range edits {
					edit(n)
				}
			}, signers(w.admin)})
			result := commit(t, w.publisher(t, w.online))
			if len(result.Committed) != 0 || len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, c.says) {
				t.Errorf("committed %+v, refused %+v", result.Committed, result.Refused)
			}
		})
	}
}

func TestOnlyAdministratorsWriteTheRegistry(t *testing.T) {
	w := newWorld(t)
	for _, by := range []key{w.engineer, w.root[0], w.certA, w.online, w.stagingCI, w.stranger} {
		for _, call := range []func(p *publisher.Publisher) error{
			func(p *publisher.Publisher) error {
				_, err := p.AddCustomer(ctx, publisher.CustomerRequest{Name: "umbrella"}, signers(by))
				return err
			},
			func(p *publisher.Publisher) error {
				_, err := p.AddSite(ctx, w.site("acme/lab", w.stranger), signers(by))
				return err
			},
		} {
			faults := storagetest.NewFaults(t, w.store)
			err := w.refused(t, func() error { return call(w.over(t, faults, w.online)) })
			if wantError[*publisher.NotAuthorized](t, err, "registry", short(w.admin)); faults.Writes() > 0 {
				t.Errorf("%d writes", faults.Writes())
			}
		}
	}
}

func TestAddProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, publisher.Unchanged)(w.publisher(t, w.online).AddProduct(ctx, w.openstack(), signers(w.root[:2]...)))
	v := w.view(t)
	for role, want := range map[string]trust.Authority{"product.openstack": catalogtest.Authority(1, w.engineer, w.colleague),
		"validated.openstack": catalogtest.Authority(1, w.validator), "ready-to-deploy.openstack": catalogtest.Authority(2, w.certA, w.certB),
		"recalled.openstack": catalogtest.Authority(1, w.engineer, w.colleague, w.certA, w.certB)} {
		got, ok := v.Authority(role)
		if !ok || got.Threshold != want.Threshold || strings.Join(got.KeyIDs(), " ") != strings.Join(want.KeyIDs(), " ") {
			t.Errorf("%s: %+v", role, got)
		}
	}
	other := w.openstack()
	other.Engineers = publics(w.stranger)
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).AddProduct(ctx, other, signers(w.root[:2]...))
		return err
	})
	wantError[*publisher.Exists](t, err, "product.openstack is 1 of")
	for name, change := range map[string]func(*publisher.ProductRequest){
		"no engineer": func(r *publisher.ProductRequest) { r.Engineers = nil }, "no validator": func(r *publisher.ProductRequest) { r.Validators = nil },
		"no certifier":  func(r *publisher.ProductRequest) { r.Certifiers = nil },
		"3 of 2":        func(r *publisher.ProductRequest) { r.CertifyThreshold = 3 },
		"2 of 1, twice": func(r *publisher.ProductRequest) { r.CertifyThreshold, r.Certifiers = 2, publics(w.certA, w.certA) },
		"minus one":     func(r *publisher.ProductRequest) { r.CertifyThreshold = -1 },
	} {
		bad := w.openstack()
		bad.Name = "swift"
		change(&bad)
		err := w.refused(t, func() error {
			_, err := w.publisher(t, w.online).AddProduct(ctx, bad, signers(w.root[:2]...))
			return err
		})
		var invalid *publisher.Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAProductWaitsForTheSecondRootHolder(t *testing.T) {
	w := newWorld(t)
	req := w.openstack()
	req.Name = "swift"
	out := must(t, publisher.Pending)(w.publisher(t, w.online).AddProduct(ctx, req, signers(w.root[0])))
	if !strings.Contains(out.WaitsFor, "1 more signature for targets") {
		t.Errorf("waits for %q", out.WaitsFor)
	}
	err := w.refused(t, func() error {
		_, err := w.publisher(t, w.online).Publish(ctx, source(t, "swift@1.0.0", nil), signers(w.engineer))
		return err
	})
	wantError[*catalog.UnknownProduct](t, err)
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, req, signers(w.root[2])))
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "swift@1.0.0", nil), signers(w.engineer)))
}
