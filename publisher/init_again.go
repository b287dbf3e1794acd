package publisher

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// madeBefore is the result of an init whose catalog is there just as it left it, made with the same keys for the same vendor: its
// caller may have been killed before the files were written that hosts need. For any other catalog it is *AlreadyInitialized.
// Nothing is written.
func (i *initializer) madeBefore(ctx context.Context) (*InitResult, error) {
	session, err := i.stored(ctx)
	var refused *trust.Error
	switch {
	case errors.As(err, &refused), errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrTooLarge):
		return nil, &AlreadyInitialized{Store: i.Store.URL()}
	case err != nil:
		return nil, err
	}
	vendor := i.init.vendor()
	if i.ceremony != nil {
		vendor = i.ceremony.vendor
	}
	_, registry, err := vendorRegistry(vendor)
	if err != nil {
		return nil, err
	}
	root := session.Raw(trust.RoleRoot)
	known := i.init.Seen == "" || i.init.Seen == catalog.Fingerprint(root)
	if !known || !i.asPlanned(session) || !sameContent(session, trust.RoleTargets, i.plan.firstTargets()) || !sameContent(session, manifest.RoleRegistry, registry) {
		return nil, &AlreadyInitialized{Store: i.Store.URL()}
	}
	i.rootFile, i.rootIs = root, session.Root()
	return &InitResult{RootBytes: root, Fingerprint: catalog.Fingerprint(root), MadeBefore: true, Summary: i.summary(vendor.Customer)}, nil
}

// stored is what is in the store, verified from its first root on as a reader would; what has expired serves.
func (i *initializer) stored(ctx context.Context) (*trust.Session, error) {
	file, err := get(ctx, i.Store, manifest.RootObject(1))
	if err != nil {
		return nil, err
	}
	session, err := trust.StartStale(file, i.now, ever)
	if err != nil {
		return nil, err
	}
	session.ServeExpired()
	if err := session.FinishRoots(); err != nil {
		return nil, err
	}
	for _, next := range []struct {
		key    func() string
		update func([]byte) error
	}{
		{func() string { return manifest.TimestampObject }, session.UpdateTimestamp},
		{func() string { return manifest.SnapshotObject(session.Timestamp().Snapshot.Version) }, func(b []byte) error { return session.UpdateSnapshot(b, false) }},
		{func() string {
			return manifest.RoleObject(trust.RoleTargets, session.Snapshot().Roles[trust.RoleTargets].Version)
		}, func(b []byte) error { return session.UpdateRole(trust.RoleTargets, b) }},
		{func() string {
			return manifest.RoleObject(manifest.RoleRegistry, session.Snapshot().Roles[manifest.RoleRegistry].Version)
		}, func(b []byte) error { return session.UpdateRole(manifest.RoleRegistry, b) }},
	} {
		if file, err = get(ctx, i.Store, next.key()); err == nil {
			err = next.update(file)
		}
		if err != nil {
			return nil, err
		}
	}
	return session, nil
}

// asPlanned tells whether the root is the one that these keys sign, or signed in the ceremony, and nothing has happened since.
func (i *initializer) asPlanned(session *trust.Session) bool {
	if i.ceremony != nil {
		payload, _, err := trust.ParseEnvelope(session.Raw(trust.RoleRoot))
		if err != nil || string(payload) != string(i.ceremony.role(trust.RoleRoot).payload) {
			return false
		}
	}
	roles := slices.Sorted(maps.Keys(session.Snapshot().Roles))
	return sameRoles(session.Root(), i.plan.firstRoot(i.now)) && session.Timestamp().Version == 1 && slices.Equal(roles, []string{manifest.RoleRegistry, trust.RoleTargets})
}

// sameContent tells whether a role says what it was meant to.
func sameContent(session *trust.Session, name string, meant *trust.Targets) bool {
	have, ok := session.Role(name)
	if !ok {
		return false
	}
	meant.Role, meant.Version, meant.Expires = have.Role, have.Version, have.Expires
	want, err := meant.Payload()
	payload, err2 := have.Payload()
	return err == nil && err2 == nil && string(payload) == string(want)
}
