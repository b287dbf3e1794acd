package publisher

import (
	"context"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// PublishPlan is what Publish would do.
type PublishPlan struct {
	Release   manifest.Release
	Unchanged bool              // published already, with the same content
	Artifacts []PlannedArtifact // the marmite first
	Roles     []PlannedRole     // none when Unchanged
}

// PlannedArtifact is one artifact of a plan.
type PlannedArtifact struct {
	Path, Kind string
	Size       int64  // raw, bytes
	SHA256     string // raw
	Files      int    // entries of a tree; 0 for a file
	Stored     bool   // an earlier release of the product has the same bytes: nothing goes up
	StoredSize int64  // with Stored: bytes of the stored object
}

// PlannedRole is a role that would change. Key ids are short.
type PlannedRole struct {
	Role    string
	Version int64    // the next one, unless somebody else is first
	Need    int      // signatures
	Keys    []string // who may sign
	Given   []string // those of them whose key was given
}

// Plan works out what Publish would do, down to what is stored already. Nothing is written. Signers may be none;
// one that is not an engineer of the product is *NotAuthorized. Other errors are those of Publish.
func (p *Publisher) Plan(ctx context.Context, dir string, signers ...keys.Signer) (*PublishPlan, error) {
	s, view, err := p.openRelease(ctx, dir, func(v *catalog.View, role string) error {
		authority, ok := v.Authority(role)
		switch {
		case !ok:
			return unknownRole(v, role)
		case len(signers) == 0:
			return nil
		}
		return authorize(role, authority, signers)
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.read(ctx, p.sink()); err != nil {
		return nil, err
	}
	name := manifest.RoleProduct(s.spec.Product)
	d := &desk{view: view, store: p.Store, now: view.Now()}
	role, err := d.role(name)
	if err != nil {
		return nil, err
	}
	if err := distinct(role, s.spec.Release()); err != nil {
		return nil, err
	}
	plan := &PublishPlan{Release: s.spec.Release()}
	published, err := p.compare(ctx, d, role, s)
	if err != nil {
		return nil, err
	}
	plan.Unchanged = published != nil
	if err := p.planArtifacts(ctx, view, s, plan); err != nil {
		return nil, err
	}
	return plan, p.planRoles(ctx, d, s, plan, signers)
}

func (p *Publisher) planArtifacts(ctx context.Context, v *catalog.View, s *source, plan *PublishPlan) error {
	past, err := p.pastOf(ctx, v, s.spec.Product, nil)
	if err != nil {
		return err
	}
	if _, err := p.predecessors(v, s.spec, past.all); err != nil && !plan.Unchanged { // a delta is asked for from what is none
		return err
	}
	for _, it := range s.items {
		a := it.artifact
		planned := PlannedArtifact{Path: a.Path, Kind: a.Kind, Size: a.Size, SHA256: a.SHA256, Files: len(a.Files)}
		if before, ok := past.known[a.SHA256]; ok {
			if planned.Stored, err = p.hasAll(ctx, &before); err != nil {
				return err
			}
			if planned.Stored {
				planned.StoredSize = before.Stored.Size
			}
		}
		plan.Artifacts = append(plan.Artifacts, planned)
	}
	return nil
}

func (p *Publisher) planRoles(ctx context.Context, d *desk, s *source, plan *PublishPlan, signers []keys.Signer) error {
	if plan.Unchanged {
		return nil
	}
	names := []string{manifest.RoleProduct(s.spec.Product)}
	recalled := manifest.RoleRecalled(s.spec.Product)
	if role, err := currentRole(d.view, recalled); err == nil && recallsDue(role, d.now) {
		names = append(names, recalled)
	}
	for _, name := range names {
		authority, _ := d.view.Authority(name)
		version, err := p.freeNumber(ctx, name, currentVersion(d.view, name))
		if err != nil {
			return err
		}
		planned := PlannedRole{Role: name, Version: version, Need: authority.Threshold, Keys: shortIDs(authority.KeyIDs())}
		for _, signer := range signers {
			if key, err := trust.NewKey(signer.Public()); err == nil && authority.Has(key.ID) {
				planned.Given = append(planned.Given, ShortID(key.ID))
			}
		}
		plan.Roles = append(plan.Roles, planned)
	}
	return nil
}
