package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// Init says what a new catalog begins with. A key that is listed twice counts once.
type Init struct {
	Vendor     string // the vendor's name as a customer, such as "enovance"
	VendorName string // shown to people; "" = Vendor
	// Root holders: those whose key is at hand sign, those known by public key alone do not.
	RootKeys      []keys.Signer
	RootPublic    []*keys.Public
	RootThreshold int // 0 = 2, or 1 for a single holder
	// Holders of the role targets; none = the root holders, with the root's threshold.
	TargetsKeys      []keys.Signer
	TargetsPublic    []*keys.Public
	TargetsThreshold int // 0 = 2, or 1 for a single holder
	// Vendor administrators: the role registry, threshold 1. One at least has to be at hand.
	Registry       []keys.Signer
	RegistryPublic []*keys.Public
	// Policy is who may sign the certification policy, threshold 2, or 1 for a single holder; none = the
	// administrators.
	Policy []*keys.Public
	// Seen is the fingerprint of the root of the catalog that this host has verified; "" = none. No init made that was
	// interrupted: what lacks its timestamp is damaged.
	Seen string
}

// InitResult is what hosts need to trust the new catalog.
type InitResult struct {
	RootBytes   []byte // metadata/1.root.json
	Fingerprint string // of it: "sha256:<hex>"
	Resumed     bool   // an interrupted init was completed
	MadeBefore  bool   // the catalog is there just as an earlier run with the same keys left it; nothing was written
	Summary     []string
}

// Initialize makes a new catalog in an empty store: the root, targets with the roles that exist once, the registry
// with the vendor's own entry, snapshot and, last, the timestamp. Before anything it proves that the store honours
// conditional writes. A run that was interrupted is completed by another with the same keys: its root is adopted,
// the numbers it used up are skipped. One that was done is found again (MadeBefore). Errors: *AlreadyInitialized, *Invalid, storage errors.
func Initialize(ctx context.Context, store storage.Store, now time.Time, in Init, online keys.Signer) (*InitResult, error) {
	plan, err := in.plan(online)
	if err != nil {
		return nil, err
	}
	i := &initializer{Publisher: &Publisher{Store: store, Online: online}, plan: plan, init: in, now: now.UTC().Truncate(time.Second)}
	return i.run(ctx)
}

func (i *initializer) run(ctx context.Context) (*InitResult, error) {
	if taken, err := i.exists(ctx, manifest.TimestampObject); err != nil {
		return nil, err
	} else if taken {
		return i.madeBefore(ctx)
	}
	if err := i.vacant(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckConditionalWrites(ctx, i.Store); err != nil {
		return nil, err
	}
	if err := i.root(ctx); err != nil {
		return nil, err
	}
	return i.finish(ctx)
}

// vacant refuses a store without a timestamp that holds more than an interrupted init leaves: the first root, and after it
// targets, registry and snapshots that replace nothing.
func (i *initializer) vacant(ctx context.Context) error {
	rooted := false // asked once another object was seen: whoever makes a catalog at this moment writes the root first
	for o, err := range i.Store.List(ctx, "metadata/", "") {
		if denied(err) {
			return nil
		}
		if err != nil {
			return err
		}
		role, number, ok := parseRoleObject(o.Key)
		if ok && !rooted {
			if rooted, err = i.exists(ctx, manifest.RootObject(1)); err != nil {
				return err
			}
		}
		switch {
		case !ok, role == trust.RoleRoot && number == 1:
			continue
		case rooted && (role == trust.RoleTargets || role == manifest.RoleRegistry || role == trust.RoleSnapshot):
			if first, err := i.isFirst(ctx, role, o.Key); err != nil {
				return err
			} else if first {
				continue
			}
		}
		return &AlreadyInitialized{Store: i.Store.URL(), Damaged: o.Key}
	}
	return nil
}

// isFirst tells whether a file replaces nothing, or is a snapshot of nothing but such files, which are there.
func (i *initializer) isFirst(ctx context.Context, role, key string) (bool, error) {
	file, err := get(ctx, i.Store, key)
	if err != nil && !errors.Is(err, storage.ErrTooLarge) {
		return false, err
	}
	form, err := trust.ParseForm(role, file)
	if err != nil || role != trust.RoleSnapshot {
		return err == nil && form.Targets.Replaces == "", nil //nolint:nilerr // whatever does not parse is no init's
	}
	for listed, meta := range form.Snapshot.Roles {
		if listed != trust.RoleTargets && listed != manifest.RoleRegistry {
			return false, nil
		}
		if there, err := i.exists(ctx, manifest.RoleObject(listed, meta.Version)); err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// initPlan is who signs what.
type initPlan struct {
	root, targets, online, registry, policy trust.Authority
}

func (in *Init) plan(online keys.Signer) (*initPlan, error) {
	if online == nil {
		return nil, &Invalid{What: "init", Reason: "needs the online key"}
	}
	plan, err := in.authorities(online.Public())
	if err != nil {
		return nil, err
	}
	if len(in.TargetsKeys)+len(in.TargetsPublic) == 0 {
		in.TargetsKeys = in.RootKeys
	}
	for what, need := range map[string]struct {
		signers []keys.Signer
		have    trust.Authority
	}{"root": {in.RootKeys, plan.root}, "targets": {in.TargetsKeys, plan.targets}, "registry": {in.Registry, plan.registry}} {
		if at := len(publicsOf(need.signers)); at < need.have.Threshold {
			return nil, &NotAtHand{Role: what, Have: at, Need: need.have.Threshold}
		}
	}
	return plan, nil
}

// authorities are who signs what, whether or not their keys are at hand.
func (in *Init) authorities(online *keys.Public) (*initPlan, error) {
	if err := manifest.CheckName("vendor", in.Vendor); err != nil {
		return nil, err
	}
	var plan initPlan
	var err error
	roles := []struct {
		into      *trust.Authority
		what      string
		publics   []*keys.Public
		threshold int
	}{
		{&plan.root, "root keys", publics(in.RootKeys, in.RootPublic), in.RootThreshold},
		{&plan.targets, "targets keys", publics(in.TargetsKeys, in.TargetsPublic), in.TargetsThreshold},
		{&plan.online, "online key", []*keys.Public{online}, 1},
		{&plan.registry, "registry keys", publics(in.Registry, in.RegistryPublic), 1},
		{&plan.policy, "policy keys", in.Policy, 0},
	}
	for _, r := range roles {
		if len(r.publics) == 0 && (r.into == &plan.targets || r.into == &plan.policy) {
			continue
		}
		if *r.into, err = authorityOf(r.what, r.publics, r.threshold); err != nil {
			return nil, err
		}
	}
	if len(plan.targets.Keys) == 0 {
		plan.targets = plan.root
	}
	if len(plan.policy.Keys) == 0 {
		plan.policy = trust.Authority{Keys: plan.registry.Keys, Threshold: min(2, len(plan.registry.Keys))}
	}
	return &plan, nil
}

// firstRoot is the root of a catalog that is made at that moment.
func (p *initPlan) firstRoot(made time.Time) *trust.Root {
	return &trust.Root{Version: 1, Expires: made.Add(lifeLong), Roles: map[string]trust.Authority{
		trust.RoleRoot: p.root, trust.RoleTargets: p.targets, trust.RoleSnapshot: p.online, trust.RoleTimestamp: p.online}}
}

// firstTargets delegates the roles that exist once.
func (p *initPlan) firstTargets() *trust.Targets {
	return &trust.Targets{Targets: map[string]trust.Target{}, Delegations: []trust.Delegation{
		delegate(manifest.RoleRegistry, p.registry),
		delegate(manifest.RolePolicy, p.policy),
		delegate(manifest.RoleJournal, p.online),
	}}
}

// vendor is the vendor's own entry in the registry, which follows every product.
func (in *Init) vendor() *manifest.Customer {
	return &manifest.Customer{Customer: in.Vendor, Name: cmp.Or(in.VendorName, in.Vendor), Vendor: true, Subscribe: []string{"*"}}
}

// vendorRegistry is a registry of nobody but the vendor, with the object that its entry is.
func vendorRegistry(vendor *manifest.Customer) (object, *trust.Targets, error) {
	data, err := vendor.Encode()
	if err != nil {
		return object{}, nil, err
	}
	path, sha := manifest.RegistryTarget(vendor.Customer), digest(data)
	return object{key: manifest.TargetObject(path, sha), data: data},
		&trust.Targets{Targets: map[string]trust.Target{path: {Length: int64(len(data)), SHA256: sha}}}, nil
}

func publics(signers []keys.Signer, more []*keys.Public) []*keys.Public {
	var list []*keys.Public
	for _, s := range signers {
		list = append(list, s.Public())
	}
	return append(list, more...)
}

// publicsOf are the different keys of the signers.
func publicsOf(signers []keys.Signer) map[string]bool {
	ids := map[string]bool{}
	for _, s := range signers {
		if key, err := trust.NewKey(s.Public()); err == nil {
			ids[key.ID] = true
		}
	}
	return ids
}

type initializer struct {
	*Publisher
	plan     *initPlan
	init     Init
	now      time.Time
	rootFile []byte
	rootIs   *trust.Root
	resumed  bool
	ceremony *Ceremony // nil: the keys are at hand
}

// root creates the root, or adopts the one that an interrupted run with the same keys left.
func (i *initializer) root(ctx context.Context) error {
	if i.ceremony != nil {
		return i.signedRoot(ctx)
	}
	wanted := i.plan.firstRoot(i.now)
	payload, err := wanted.Payload()
	if err != nil {
		return err
	}
	there, err := get(ctx, i.Store, manifest.RootObject(1))
	if err == nil {
		return i.adopt(there, wanted)
	}
	if !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrForbidden) {
		return err
	}
	file, err := signAll(ctx, payload, i.init.RootKeys, i.plan.root)
	if err != nil {
		return err
	}
	err = put(ctx, i.Store, manifest.RootObject(1), file)
	if errors.Is(err, storage.ErrExists) {
		return &AlreadyInitialized{Store: i.Store.URL(), Other: true}
	}
	i.rootFile, i.rootIs = file, wanted
	return err
}

func (i *initializer) adopt(there []byte, wanted *trust.Root) error {
	session, err := trust.Start(there, i.now)
	if err == nil {
		err = session.FinishRoots()
	}
	if err != nil || !sameRoles(session.Root(), wanted) {
		return &AlreadyInitialized{Store: i.Store.URL(), Other: true}
	}
	if catalog.Fingerprint(there) == i.init.Seen {
		return &AlreadyInitialized{Store: i.Store.URL(), Damaged: manifest.RootObject(1)}
	}
	i.rootFile, i.rootIs, i.resumed = there, session.Root(), true
	return nil
}

func sameRoles(a, b *trust.Root) bool {
	return maps.EqualFunc(a.Roles, b.Roles, func(x, y trust.Authority) bool {
		return x.Threshold == y.Threshold && slices.Equal(slices.Sorted(slices.Values(x.KeyIDs())), slices.Sorted(slices.Values(y.KeyIDs())))
	})
}

// signAll signs with every signer that the authority lists, each once.
func signAll(ctx context.Context, payload []byte, signers []keys.Signer, a trust.Authority) ([]byte, error) {
	r := &roleDraft{payload: payload, authority: a}
	if _, err := r.sign(ctx, signers); err != nil {
		return nil, err
	}
	return trust.Envelope(payload, r.sigs)
}

// finish writes everything below the root.
func (i *initializer) finish(ctx context.Context) (*InitResult, error) {
	vendor := i.init.vendor()
	if i.ceremony != nil {
		vendor = i.ceremony.vendor
	}
	entry, registry, err := vendorRegistry(vendor)
	if err != nil {
		return nil, err
	}
	if err := put(ctx, i.Store, entry.key, entry.data); err != nil {
		return nil, err
	}
	snapshot := &trust.Snapshot{Roles: map[string]trust.Meta{}}
	files := map[string][]byte{}
	for _, r := range []*roleDraft{
		{name: trust.RoleTargets, next: i.plan.firstTargets(), authority: i.plan.targets},
		{name: manifest.RoleRegistry, next: registry, authority: i.plan.registry},
	} {
		signers := i.init.TargetsKeys
		if r.name == manifest.RoleRegistry {
			signers = i.init.Registry
		}
		if files[r.name], err = i.create(ctx, r, signers); err != nil {
			return nil, err
		}
		snapshot.Roles[r.name] = trust.MetaOf(r.next.Version, files[r.name])
	}
	if err := i.point(ctx, snapshot, files); err != nil {
		return nil, err
	}
	return &InitResult{RootBytes: i.rootFile, Fingerprint: catalog.Fingerprint(i.rootFile), Resumed: i.resumed, Summary: i.summary(vendor.Customer)}, nil
}

// create signs a role and stores it under the first number that no interrupted run used up.
func (i *initializer) create(ctx context.Context, r *roleDraft, signers []keys.Signer) ([]byte, error) {
	if i.ceremony != nil {
		r.next.Version = 1
		return i.putSigned(ctx, i.ceremony.role(r.name))
	}
	for {
		number, err := i.freeNumber(ctx, r.name, r.next.Version)
		if err != nil {
			return nil, err
		}
		r.next.Version, r.next.Role, r.next.Expires = number, r.name, i.now.Add(lifetime(r.name))
		if r.payload, err = r.next.Payload(); err != nil {
			return nil, err
		}
		file, err := signAll(ctx, r.payload, signers, r.authority)
		if err != nil {
			return nil, err
		}
		err = put(ctx, i.Store, manifest.RoleObject(r.name, number), file)
		if !errors.Is(err, storage.ErrExists) {
			return file, err
		}
	}
}

// point writes snapshot and timestamp after the whole was verified as a reader would.
func (i *initializer) point(ctx context.Context, snapshot *trust.Snapshot, files map[string][]byte) error {
	session, err := trust.Start(i.rootFile, i.now)
	if err != nil {
		return err
	}
	snapshotFile, err := i.createSnapshot(ctx, snapshot)
	if err != nil {
		return err
	}
	t := &trust.Timestamp{Version: 1, Issued: i.now, Expires: i.now.Add(lifeTimestamp), Snapshot: trust.MetaOf(snapshot.Version, snapshotFile)}
	payload, err := t.Payload()
	if err != nil {
		return err
	}
	file, err := signAll(ctx, payload, []keys.Signer{i.Online}, i.plan.online)
	if err != nil {
		return err
	}
	steps := []func() error{session.FinishRoots,
		func() error { return session.UpdateTimestamp(file) },
		func() error { return session.UpdateSnapshot(snapshotFile, false) },
		func() error { return session.UpdateRole(trust.RoleTargets, files[trust.RoleTargets]) },
		func() error { return session.UpdateRole(manifest.RoleRegistry, files[manifest.RoleRegistry]) }}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	kind, err := manifest.KindOf(manifest.TimestampObject)
	if err != nil {
		return err
	}
	_, err = i.Store.Swap(ctx, manifest.TimestampObject, "", file, kind.ContentType, kind.CacheControl)
	if errors.Is(err, storage.ErrConflict) {
		return &AlreadyInitialized{Store: i.Store.URL()}
	}
	return err
}

func (i *initializer) createSnapshot(ctx context.Context, s *trust.Snapshot) ([]byte, error) {
	s.Expires = i.now.Add(lifeSnapshot)
	for {
		number, err := i.freeNumber(ctx, trust.RoleSnapshot, s.Version)
		if err != nil {
			return nil, err
		}
		s.Version = number
		payload, err := s.Payload()
		if err != nil {
			return nil, err
		}
		file, err := signAll(ctx, payload, []keys.Signer{i.Online}, i.plan.online)
		if err != nil {
			return nil, err
		}
		err = put(ctx, i.Store, manifest.SnapshotObject(number), file)
		if !errors.Is(err, storage.ErrExists) {
			return file, err
		}
	}
}

func (i *initializer) summary(vendor string) []string {
	line := func(role string, a trust.Authority) string {
		return fmt.Sprintf("%s: %d of %s", role, a.Threshold, listOr(shortIDs(a.KeyIDs()), ""))
	}
	root := i.rootIs.Roles[trust.RoleRoot]
	lines := append([]string{"vendor " + vendor, line(trust.RoleRoot, root)}, newRootWithoutSpare(root)...)
	return append(lines, line(trust.RoleTargets, i.rootIs.Roles[trust.RoleTargets]),
		line("snapshot and timestamp", i.plan.online), line(manifest.RoleRegistry, i.plan.registry), line(manifest.RolePolicy, i.plan.policy))
}
