package manifest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kinds of a site.
const (
	SiteCI         = "ci"
	SiteProduction = "production"
)

// Customer is a registry entry, registry/<customer>.toml: who may report, and
// on what. The vendor has one too.
type Customer struct {
	Customer  string   `toml:"customer"`
	Name      string   `toml:"name"`
	Vendor    bool     `toml:"vendor"`
	Suspended bool     `toml:"suspended"` // for the time being it follows nothing, and its sites decide nothing
	Subscribe []string `toml:"subscribe"` // product names, or "*" alone for every product
	Sites     []Site   `toml:"site"`
}

// Site is a CI or production platform of a customer.
type Site struct {
	Name    string    `toml:"name"`
	Kind    string    `toml:"kind"`  // "ci" | "production"
	After   []string  `toml:"after"` // sites it waits for: "acme/staging"
	Keys    []SiteKey `toml:"key"`
	Retired bool      `toml:"retired"`
}

// SiteKey is a public key that signs a site's reports within a period. Reports are
// held to it by the time at which the journal saw them first.
type SiteKey struct {
	Public    string    `toml:"public"`     // PKIX, PEM
	ValidFrom time.Time `toml:"valid_from"` // UTC, whole seconds
	ValidTo   time.Time `toml:"valid_to"`   // zero: open
	// From CompromisedSince on somebody else may have had the key: what was first seen
	// then does not count, although ValidTo is later. Zero: it was not.
	CompromisedSince time.Time `toml:"compromised_since"`
}

const (
	maxCustomerSize = 1 << 20
	maxDisplayName  = 200
	maxSites        = 1000
	maxSiteKeys     = 64
	maxSubscribe    = 10_000
)

// ParseCustomer reads a registry entry; name is what errors call it. It is
// strict: unknown keys, wrong types and contradictions are errors of type
// *FileError that carry the line. The document is at most 1 MiB.
func ParseCustomer(name string, data []byte) (*Customer, error) {
	if len(data) > maxCustomerSize {
		return nil, &FileError{Name: name, Reason: "is larger than 1 MiB"}
	}
	var c Customer
	if err := DecodeTOML(name, data, &c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, located(name, data, err)
	}
	return &c, nil
}

// Encode renders the registry entry. The same entry gives the same bytes, and
// ParseCustomer gives the same entry back.
func (c *Customer) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("registry entry of %q: %w", clip(c.Customer), err)
	}
	data := c.render()
	if len(data) > maxCustomerSize {
		return nil, fmt.Errorf("registry entry of %s is larger than 1 MiB", c.Customer)
	}
	return data, nil
}

// Subscribes tells whether the customer follows a product; a suspended one follows none.
func (c *Customer) Subscribes(product string) bool {
	return !c.Suspended && (slices.Contains(c.Subscribe, product) || slices.Contains(c.Subscribe, "*"))
}

// Site finds a site of the customer by its name, nil when there is none.
func (c *Customer) Site(name string) *Site {
	for i := range c.Sites {
		if c.Sites[i].Name == name {
			return &c.Sites[i]
		}
	}
	return nil
}

// ValidAt tells whether what the key signed counts when it was first seen at that
// time: from ValidFrom up to, and not including, ValidTo and CompromisedSince.
func (k *SiteKey) ValidAt(t time.Time) bool {
	return !t.Before(k.ValidFrom) && (k.ValidTo.IsZero() || t.Before(k.ValidTo)) &&
		(k.CompromisedSince.IsZero() || t.Before(k.CompromisedSince))
}

func (c *Customer) check() error {
	if c.Customer == "" {
		return fieldf("customer", `is missing: write customer = "acme"`)
	}
	if err := CheckName("customer", c.Customer); err != nil {
		return field("customer", err)
	}
	if err := checkText("name", c.Name, maxDisplayName, false); err != nil {
		return field("name", err)
	}
	if c.Vendor && c.Suspended {
		return fieldf("suspended", "the vendor cannot be suspended")
	}
	if err := c.checkSubscribe(); err != nil {
		return err
	}
	if len(c.Sites) > maxSites {
		return fieldf("site", "more than %d sites", maxSites)
	}
	keys := map[string]string{}
	for i := range c.Sites {
		at := indexKey("site", i)
		if err := c.checkSite(at, &c.Sites[i], keys); err != nil {
			return err
		}
		if c.Site(c.Sites[i].Name) != &c.Sites[i] {
			return fieldf(at+".name", "the site %q is listed twice", c.Sites[i].Name)
		}
	}
	return c.checkChains()
}

func (c *Customer) checkSubscribe() error {
	if len(c.Subscribe) > maxSubscribe {
		return fieldf("subscribe", "more than %d products", maxSubscribe)
	}
	if slices.Equal(c.Subscribe, []string{"*"}) {
		return nil
	}
	seen := map[string]bool{}
	for i, product := range c.Subscribe {
		at := indexKey("subscribe", i)
		switch {
		case product == "*":
			return fieldf(at, `"*" stands for every product and must be alone`)
		case seen[product]:
			return fieldf(at, "%q is listed twice", clip(product))
		}
		seen[product] = true
		if err := CheckName("product", product); err != nil {
			return field(at, err)
		}
	}
	return nil
}

func (c *Customer) checkSite(at string, s *Site, keys map[string]string) error {
	if err := CheckName("site", s.Name); err != nil {
		return field(at+".name", err)
	}
	if s.Kind != SiteCI && s.Kind != SiteProduction {
		return fieldf(at+".kind", "%q is neither %q nor %q", clip(s.Kind), SiteCI, SiteProduction)
	}
	for i, after := range s.After {
		at := indexKey(at+".after", i)
		id, err := ParseSite(after)
		if err != nil {
			return field(at, err)
		}
		if id.Customer == c.Customer && c.Site(id.Site) == nil {
			return fieldf(at, "there is no site %q", after)
		}
		if slices.Contains(s.After[:i], after) {
			return fieldf(at, "%q is listed twice", after)
		}
	}
	if len(s.Keys) == 0 || len(s.Keys) > maxSiteKeys {
		return fieldf(at, "the site needs 1 to %d [[site.key]] tables, it has %d", maxSiteKeys, len(s.Keys))
	}
	for i := range s.Keys {
		at := indexKey(at+".key", i)
		if err := s.Keys[i].check(at); err != nil {
			return err
		}
		if owner, taken := keys[s.Keys[i].Public]; taken && owner != s.Name {
			return fieldf(at+".public", "is also a key of the site %q: a key belongs to one site", owner)
		}
		keys[s.Keys[i].Public] = s.Name
	}
	return nil
}

// checkChains refuses sites that wait for each other.
func (c *Customer) checkChains() error {
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(s *Site) bool
	visit = func(s *Site) bool {
		if state[s.Name] != 0 {
			return state[s.Name] == done
		}
		state[s.Name] = open
		for _, after := range s.After {
			id, _ := ParseSite(after)
			if next := c.Site(id.Site); id.Customer == c.Customer && next != nil && !visit(next) {
				return false
			}
		}
		state[s.Name] = done
		return true
	}
	for i := range c.Sites {
		if !visit(&c.Sites[i]) {
			return fieldf(indexKey("site", i)+".after", "the site %q waits for itself, directly or through others", c.Sites[i].Name)
		}
	}
	return nil
}

func (k *SiteKey) check(at string) error {
	if err := checkPublic(k.Public); err != nil {
		return field(at+".public", err)
	}
	if err := checkTime(k.ValidFrom); err != nil {
		return field(at+".valid_from", err)
	}
	if !k.CompromisedSince.IsZero() {
		if err := checkTime(k.CompromisedSince); err != nil {
			return field(at+".compromised_since", err)
		}
	}
	if k.ValidTo.IsZero() {
		return nil
	}
	if err := checkTime(k.ValidTo); err != nil {
		return field(at+".valid_to", err)
	}
	if !k.ValidFrom.Truncate(time.Second).Before(k.ValidTo.Truncate(time.Second)) {
		return fieldf(at+".valid_to", "is not after valid_from")
	}
	return nil
}

// checkPublic accepts one PEM block "PUBLIC KEY" (RFC 7468 §13), P-256 or
// ed25519, in the one form that encoding/pem writes, so that equal keys are
// equal texts.
func checkPublic(text string) error {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})) != text {
		return errors.New("is not exactly one PEM block PUBLIC KEY: use the .pub file that kitchen key generate writes")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("is not a public key: %w", err)
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return errors.New("is neither a P-256 nor an ed25519 key")
}

// checkTime accepts a time that every document of Kitchen can hold: a year of
// four digits from 2000 on. Documents have UTC and whole seconds; what is finer
// is cut off when they are written.
func checkTime(t time.Time) error {
	switch {
	case t.IsZero():
		return errors.New("is missing: write a time such as 2026-01-31T12:00:00Z")
	case t.UTC().Year() < 2000 || t.UTC().Year() > 9999:
		return fmt.Errorf("the year %d is not between 2000 and 9999", t.UTC().Year())
	}
	return nil
}

func (c *Customer) render() []byte {
	w := &tomlWriter{}
	w.str("customer", c.Customer)
	if c.Name != "" {
		w.str("name", c.Name)
	}
	w.flag("vendor", c.Vendor)
	w.flag("suspended", c.Suspended)
	w.list("subscribe", c.Subscribe)
	for i := range c.Sites {
		s := &c.Sites[i]
		w.blank()
		w.table("[[site]]")
		w.str("name", s.Name)
		w.str("kind", s.Kind)
		w.list("after", s.After)
		w.flag("retired", s.Retired)
		for _, k := range s.Keys {
			w.blank()
			w.table("[[site.key]]")
			w.time("valid_from", k.ValidFrom)
			if !k.ValidTo.IsZero() {
				w.time("valid_to", k.ValidTo)
			}
			if !k.CompromisedSince.IsZero() {
				w.time("compromised_since", k.CompromisedSince)
			}
			w.key("public") // PEM needs no escapes
			w.b = append(append(append(w.b, "\"\"\"\n"...), k.Public...), "\"\"\"\n"...)
		}
	}
	return w.b
}
