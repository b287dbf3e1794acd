package publisher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// keyHeadStart is how long before its registration a site's first key is valid: clocks differ. It can do no harm,
// since the key never belonged to anything else.
const keyHeadStart = time.Hour

// CustomerRequest is a new customer.
type CustomerRequest struct {
	Name        string   // identifier
	DisplayName string   // "" = Name
	Subscribe   []string // products, or "*" alone for all
}

// SiteRequest is a new site of a customer.
type SiteRequest struct {
	Site  manifest.SiteID
	Kind  string            // manifest.SiteCI | manifest.SiteProduction
	After []manifest.SiteID // CI sites that it waits for
	Key   *keys.Public      // signs its reports; used by no other site and no role
}

// AddCustomer enters a customer into the registry, signed by administrators. The same request again is Unchanged.
// Errors: *Exists, *Invalid, *catalog.UnknownProduct, *NotAuthorized.
func (p *Publisher) AddCustomer(ctx context.Context, req CustomerRequest, signers []keys.Signer) (*Outcome, error) {
	wanted := &manifest.Customer{Customer: req.Name, Name: req.DisplayName, Subscribe: slices.Compact(slices.Sorted(slices.Values(req.Subscribe)))}
	if wanted.Name == "" {
		wanted.Name = req.Name
	}
	if err := manifest.CheckName("customer", req.Name); err != nil {
		return nil, err
	}
	return p.write(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		if err := authorizeRole(d.view, manifest.RoleRegistry, signers); err != nil {
			return nil, err
		}
		if err := checkSubscriptions(d, wanted.Subscribe); err != nil {
			return nil, err
		}
		role, err := d.role(manifest.RoleRegistry)
		if err != nil {
			return nil, err
		}
		path := manifest.RegistryTarget(req.Name)
		if target, ok := role.Targets[path]; ok {
			there, err := getCustomer(ctx, p.Store, path, target)
			if err != nil {
				return nil, err
			}
			return nil, differs("customer", req.Name, entryDifferences(there, wanted))
		}
		return registryDraft(role, wanted, fmt.Sprintf("new customer %s (%q), subscribes to %s", req.Name, wanted.Name, listOr(wanted.Subscribe, "nothing")))
	}, signers)
}

// AddSite enters a site into its customer's registry entry, signed by administrators. The same request again is
// Unchanged. Errors: *Exists, *Invalid, *catalog.UnknownCustomer, *catalog.UnknownSite, *NotAuthorized.
func (p *Publisher) AddSite(ctx context.Context, req SiteRequest, signers []keys.Signer) (*Outcome, error) {
	if err := checkSiteRequest(req); err != nil {
		return nil, err
	}
	return p.changeCustomer(ctx, req.Site.Customer, signers, func(d *desk, entry *manifest.Customer) ([]string, error) {
		site := manifest.Site{Name: req.Site.Site, Kind: req.Kind, After: siteNames(req.After), Keys: []manifest.SiteKey{newSiteKey(req.Key, d.now)}}
		if there := entry.Site(site.Name); there != nil {
			return nil, differs("site", req.Site.String(), siteDifferences(*there, site))
		}
		entry.Sites = append(slices.Clone(entry.Sites), site)
		return append([]string{fmt.Sprintf("new site %s, %s", req.Site, siteText(site, ShortID)), "  its key counts from an hour back, for clocks differ"}, inWords(siteKeys(site))...), nil
	})
}

// newSiteKey is valid from now on.
func newSiteKey(key *keys.Public, now time.Time) manifest.SiteKey {
	return manifest.SiteKey{Public: key.PEM(), ValidFrom: now.Add(-keyHeadStart).UTC().Truncate(time.Second)}
}

func checkSiteRequest(req SiteRequest) error {
	what := "site " + req.Site.String()
	if _, err := manifest.ParseSite(req.Site.String()); err != nil {
		return err
	}
	switch {
	case req.Kind != manifest.SiteCI && req.Kind != manifest.SiteProduction:
		return &Invalid{What: what, Reason: fmt.Sprintf("kind %q is neither %s nor %s", req.Kind, manifest.SiteCI, manifest.SiteProduction)}
	case req.Key == nil:
		return &Invalid{What: what, Reason: "has no public key"}
	case slices.Contains(req.After, req.Site):
		return &Invalid{What: what, Reason: "would wait for itself"}
	}
	return nil
}

func siteNames(ids []manifest.SiteID) []string {
	var names []string
	for _, id := range ids {
		names = append(names, id.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// registryDraft lists an entry's new content.
func registryDraft(role *trust.Targets, entry *manifest.Customer, summary ...string) (*draft, error) {
	data, err := entry.Encode()
	if err != nil {
		return nil, err
	}
	path := manifest.RegistryTarget(entry.Customer)
	sha := digest(data)
	role.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: sha}
	dr := newDraft("registry", manifest.RoleRegistry, summary...).set(manifest.RoleRegistry, role)
	dr.objects = []object{{manifest.TargetObject(path, sha), data}}
	return dr, nil
}

// getCustomer reads a registry entry that a role lists.
func getCustomer(ctx context.Context, r storage.Reader, path string, target trust.Target) (*manifest.Customer, error) {
	data, err := getTarget(ctx, r, manifest.RoleRegistry, path, target)
	if err != nil {
		return nil, err
	}
	c, err := manifest.ParseCustomer(path, data)
	if err != nil {
		return nil, err
	}
	if manifest.RegistryTarget(c.Customer) != path {
		return nil, &trust.Error{Kind: trust.Mismatch, Role: manifest.RoleRegistry, Have: "the entry of " + c.Customer, Want: path}
	}
	return c, nil
}

// differs is nil when an addition finds everything as asked for.
func differs(what, name string, differences []string) error {
	if len(differences) == 0 {
		return nil
	}
	return &Exists{What: what, Name: name, Differs: differences}
}

func entryDifferences(have, want *manifest.Customer) []string {
	var list []string
	if have.Name != want.Name {
		list = append(list, fmt.Sprintf("its name is %q", have.Name))
	}
	subscribed := slices.Sorted(slices.Values(have.Subscribe))
	if !slices.Equal(subscribed, want.Subscribe) {
		list = append(list, "it subscribes to "+listOr(subscribed, "nothing"))
	}
	if have.Vendor {
		list = append(list, "it is the vendor")
	}
	if have.Suspended {
		list = append(list, "it is suspended")
	}
	return list
}

func siteDifferences(have, want manifest.Site) []string {
	var list []string
	if have.Kind != want.Kind {
		list = append(list, "its kind is "+have.Kind)
	}
	if !slices.Equal(slices.Sorted(slices.Values(have.After)), want.After) {
		list = append(list, "it waits for "+listOr(have.After, "nobody"))
	}
	if have.Retired {
		list = append(list, "it is retired")
	}
	if len(have.Keys) != 1 || strings.TrimSpace(have.Keys[0].Public) != strings.TrimSpace(want.Keys[0].Public) {
		list = append(list, "it has another key")
	}
	return list
}

// shortPEM is the short id of a public key in PEM.
func shortPEM(pem string) string { return ShortID(IDOfPEM(pem)) }

// unreadableKey is shown in place of an id.
const unreadableKey = "(unreadable)"

// IDOfPEM is the id of a public key in PEM.
func IDOfPEM(pem string) string {
	pub, err := keys.ParsePublic([]byte(pem))
	if err != nil {
		return unreadableKey
	}
	key, err := trust.NewKey(pub)
	if err != nil {
		return unreadableKey
	}
	return key.ID
}
