package fetcher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// Gate is the host's own configuration of Ready ([gate] in kitchen.toml).
type Gate struct {
	// Require lists what must hold the release: "product", "validated",
	// "ready-to-deploy", "ready-to-deploy.<customer>". Empty means the first three.
	Require []string
	MaxAge  time.Duration // oldest knowledge that is accepted; 0 = until it expires
	// Deny lists releases ("product@version") or whole products that are never ready here.
	Deny []string
	// Pins hold required roles to key ids and a threshold of the host's own choice,
	// by the name used in Require.
	Pins map[string]GatePin
}

// GatePin demands valid signatures of Threshold of these TUF key ids.
type GatePin struct {
	Keys      []string
	Threshold int // 0 means all of Keys
}

// GateError says that the gate's own configuration cannot be used (exit 1).
type GateError struct{ Setting, Reason string }

func (e *GateError) Error() string { return fmt.Sprintf("[gate] %s: %s", e.Setting, e.Reason) }

// requiredRole is one entry of Gate.Require for one product.
type requiredRole struct {
	name string // as the configuration names it
	role string // "ready-to-deploy.openstack.acme"
	pin  *GatePin
}

// roles gives the required roles. What is required never depends on what the catalog holds.
func (g Gate) roles(product string) ([]requiredRole, error) {
	names := g.Require
	if len(names) == 0 {
		names = defaultRequire
	}
	var list []requiredRole
	for _, name := range names {
		stage := name
		if name == requireProduct {
			stage = manifest.StageCatalog
		}
		customer, forOne := strings.CutPrefix(name, manifest.StageReady+".")
		role := manifest.StageRole(stage, product)
		if role == "" || name == manifest.StageCatalog || name == manifest.StageRecalled || forOne && manifest.CheckName("customer", customer) != nil {
			return nil, &GateError{"require", fmt.Sprintf("%q is none of product, validated, ready-to-deploy, ready-to-deploy.CUSTOMER", name)}
		}
		required := requiredRole{name: name, role: role}
		if pin, ok := g.Pins[name]; ok {
			required.pin = &pin
		}
		list = append(list, required)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Pins)) {
		if !slices.Contains(names, name) {
			return nil, &GateError{"pins", fmt.Sprintf("keys are pinned for %q, which require does not list (%s): nothing would check them", name, strings.Join(names, ", "))}
		}
	}
	return list, nil
}

// Misfits are, in words, the settings by which nothing can ever be ready in this catalog: required roles that no product has,
// and pins that the keys of a role cannot meet.
func (g Gate) Misfits(v *catalog.View) (list []string) {
	known, met := map[string]bool{}, map[string]bool{}
	for _, product := range v.Products() {
		roles, err := g.roles(product)
		if err != nil {
			return []string{err.Error()}
		}
		for _, r := range roles {
			authority, ok := v.Authority(r.role)
			known[r.name] = known[r.name] || ok
			if r.pin == nil {
				continue
			}
			have := 0
			for _, id := range slices.Compact(slices.Sorted(slices.Values(r.pin.Keys))) {
				if authority.Has(id) {
					have++
				}
			}
			met[r.name] = met[r.name] || have > 0 && have >= r.pin.Threshold && (r.pin.Threshold > 0 || have == len(r.pin.Keys))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !known[name] {
			list = append(list, fmt.Sprintf("[gate] require: no product of this catalog has the role %s", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(met)) {
		if !met[name] {
			list = append(list, fmt.Sprintf("[gate.pins] %s: too few of these keys may sign that role", name))
		}
	}
	return list
}

// checkDeny refuses an entry that would never match anything.
func (g Gate) checkDeny() error {
	for _, entry := range g.Deny {
		if _, err := manifest.ParseRelease(entry); err != nil && manifest.CheckName("product", entry) != nil {
			return &GateError{"deny", fmt.Sprintf("%q is neither PRODUCT@VERSION nor PRODUCT", entry)}
		}
	}
	return nil
}
