package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// A Ceremony is a catalog that is still to be made, on its way between the holders of its keys: its root, its
// targets, its registry with the vendor's entry, and the signatures so far. Nobody needs two private keys in one
// place. It travels in a SigningFile of three role files and the entry:
//
//	metadata/1.root.json  metadata/1.targets.json  metadata/1.registry.json  targets/registry/<sha256>.<vendor>.toml
//
// All of it follows from the vendor's name, the keys with their thresholds, and the moment it was begun, from which
// all three count their 365 days. A file that says anything else besides is refused, so that whoever has read the words of a
// ceremony has read everything.
type Ceremony struct {
	vendor *manifest.Customer
	plan   *initPlan
	made   time.Time
	entry  object
	roles  []*roleDraft // root, targets, registry; sigs holds valid ones only
}

// ceremonyAge is how long after its beginning a ceremony may still make a catalog: its first year runs already.
const ceremonyAge = 90 * day

// BeginCeremony works out a new catalog that nobody signed yet; in's private keys count as holders alone.
func BeginCeremony(now time.Time, in Init, online *keys.Public) (*Ceremony, error) {
	plan, err := in.authorities(online)
	if err != nil {
		return nil, err
	}
	return newCeremony(in.vendor(), plan, now.UTC().Truncate(time.Second))
}

func newCeremony(vendor *manifest.Customer, plan *initPlan, made time.Time) (*Ceremony, error) {
	c := &Ceremony{vendor: vendor, plan: plan, made: made}
	entry, registry, err := vendorRegistry(vendor)
	if err != nil {
		return nil, err
	}
	c.entry = entry
	root, err := plan.firstRoot(made).Payload()
	if err != nil {
		return nil, err
	}
	c.roles = []*roleDraft{
		{name: trust.RoleRoot, next: &trust.Targets{}, payload: root, authority: plan.root}, // of next the number alone counts
		{name: trust.RoleTargets, next: plan.firstTargets(), authority: plan.targets},
		{name: manifest.RoleRegistry, next: registry, authority: plan.registry},
	}
	for _, r := range c.roles {
		r.next.Version, r.next.Role, r.next.Expires = 1, r.name, made.Add(lifetime(r.name))
		if r.payload == nil {
			r.payload, err = r.next.Payload()
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Ceremony) role(name string) *roleDraft {
	return c.roles[slices.IndexFunc(c.roles, func(r *roleDraft) bool { return r.name == name })]
}

// CeremonyTooOld is a ceremony that was begun too long ago to be gone on with (exit 4).
type CeremonyTooOld struct{ Begun time.Time }

func (e *CeremonyTooOld) Error() string {
	return fmt.Sprintf("this ceremony was begun on %s, more than %d days ago: its roles would expire too early", e.Begun.Format(time.DateTime), ceremonyAge/day)
}

// Hint says how to begin anew.
func (e *CeremonyTooOld) Hint() string {
	return "begin anew, with the same keys and a new file: kitchen init --ceremony FILE; all sign that one again"
}

// OpenCeremony reads a ceremony from its file, with the signatures that are valid. What the file says must be
// what BeginCeremony makes of the same names, keys and moment, to the byte, and that moment not be long ago.
// Errors: *NotASigningFile, *CeremonyTooOld.
func OpenCeremony(now time.Time, f *SigningFile) (*Ceremony, error) {
	refuse := func(format string, args ...any) (*Ceremony, error) {
		return nil, &NotASigningFile{Reason: fmt.Sprintf(format, args...)}
	}
	if !f.IsCeremony() {
		return refuse("it is about a catalog that exists: kitchen sign --import")
	}
	said := map[string]string{}
	sigs := map[string][]trust.Signature{}
	for _, role := range ceremonyRoles {
		payload, signatures, err := trust.ParseEnvelope(f.Objects[manifest.RoleObject(role, 1)])
		if err != nil {
			return refuse("%s: %v", manifest.RoleObject(role, 1), err)
		}
		said[role], sigs[role] = string(payload), signatures
	}
	c, err := ceremonyOf(f, said)
	if err != nil {
		return refuse("%v", err)
	}
	if len(f.Objects) != len(c.roles)+1 || string(f.Objects[c.entry.key]) != string(c.entry.data) {
		return refuse("it does not carry %s and the three roles, and nothing else", c.entry.key)
	}
	for _, r := range c.roles {
		if said[r.name] != string(r.payload) {
			return refuse("role %s says other things than `kitchen init` writes", r.name)
		}
		r.sigs = trust.ValidSignatures(r.payload, sigs[r.name], r.authority)
	}
	switch {
	case c.made.After(now.Add(clockSlack)):
		return refuse("it was begun on %s, which is still to come", c.made.Format(time.DateTime))
	case c.made.Before(now.Add(-ceremonyAge)):
		return nil, &CeremonyTooOld{Begun: c.made}
	}
	return c, nil
}

var ceremonyRoles = []string{trust.RoleRoot, trust.RoleTargets, manifest.RoleRegistry}

// ceremonyOf finds the names, keys and moment that a file rests on.
func ceremonyOf(f *SigningFile, said map[string]string) (*Ceremony, error) {
	root, err := trust.ParseRootPayload([]byte(said[trust.RoleRoot]))
	if err != nil {
		return nil, err
	}
	targets, err := trust.ParseTargetsPayload([]byte(said[trust.RoleTargets]))
	if err != nil {
		return nil, err
	}
	registry, err := trust.ParseTargetsPayload([]byte(said[manifest.RoleRegistry]))
	if err != nil {
		return nil, err
	}
	plan := &initPlan{root: root.Roles[trust.RoleRoot], targets: root.Roles[trust.RoleTargets], online: root.Roles[trust.RoleTimestamp]}
	for role, into := range map[string]*trust.Authority{manifest.RoleRegistry: &plan.registry, manifest.RolePolicy: &plan.policy} {
		delegation, _ := targets.Delegation(role)
		*into = delegation.Authority
	}
	for path, target := range registry.Targets {
		data := f.Objects[manifest.TargetObject(path, target.SHA256)]
		vendor, err := manifest.ParseCustomer(path, data)
		if err != nil {
			return nil, err
		}
		plain := &manifest.Customer{Customer: vendor.Customer, Name: vendor.Name, Vendor: true, Subscribe: []string{"*"}}
		return newCeremony(plain, plan, root.Expires.Add(-lifeLong))
	}
	return nil, fmt.Errorf("the registry names no vendor")
}

// File is the ceremony as it travels.
func (c *Ceremony) File() (*SigningFile, error) {
	f := &SigningFile{Schema: ceremonySchema, Objects: map[string][]byte{c.entry.key: c.entry.data}, Sizes: map[string]int64{}}
	for _, r := range c.roles {
		file, err := trust.Envelope(r.payload, r.sigs)
		if err != nil {
			return nil, err
		}
		f.Objects[manifest.RoleObject(r.name, 1)] = file
	}
	return f, nil
}

// ID is the digest of all that is signed: two people whose ceremonies have the same one sign the same catalog.
func (c *Ceremony) ID() string {
	var all strings.Builder
	for _, r := range c.roles {
		fmt.Fprintf(&all, "%s 1 %s\n", r.name, digest(r.payload))
	}
	return "sha256:" + digest([]byte(all.String()))
}

// Words say what the catalog would be, with every key id in full, so that people can compare them.
func (c *Ceremony) Words() []string {
	lines := []string{fmt.Sprintf("a new catalog of the vendor %s (%q)", c.vendor.Customer, c.vendor.Name)}
	said := map[string]bool{}
	for _, role := range c.authorities() {
		if said[role.name] {
			continue
		}
		names := []string{}
		for _, other := range c.authorities() {
			if other.Threshold == role.Threshold && slices.Equal(other.KeyIDs(), role.KeyIDs()) {
				names, said[other.name] = append(names, other.name), true
			}
		}
		lines = append(lines, fmt.Sprintf("%s: any %d of", strings.Join(names, ", "), role.Threshold))
		for _, id := range role.KeyIDs() {
			lines = append(lines, " "+id)
		}
		if role.name == trust.RoleRoot {
			lines = append(lines, newRootWithoutSpare(role.Authority)...)
		}
	}
	return append(lines, "begun on "+c.made.Format(time.DateTime), "root, targets and registry expire on "+c.made.Add(lifeLong).Format(time.DateOnly))
}

type namedAuthority struct {
	name string
	trust.Authority
}

func (c *Ceremony) authorities() []namedAuthority {
	return []namedAuthority{{trust.RoleRoot, c.plan.root}, {trust.RoleTargets, c.plan.targets}, {trust.RoleSnapshot, c.plan.online},
		{trust.RoleTimestamp, c.plan.online}, {manifest.RoleJournal, c.plan.online}, {manifest.RoleRegistry, c.plan.registry}, {manifest.RolePolicy, c.plan.policy}}
}

// Shown is the ceremony as a signer is asked about it.
func (c *Ceremony) Shown(now time.Time) PendingProposal {
	return PendingProposal{ID: c.ID(), Kind: "init", Change: c.Words(), Roles: countSignatures(c.roles), Created: c.made,
		Expires: c.made.Add(ceremonyAge), Age: max(0, now.Sub(c.made)), Waits: c.WaitsFor()}
}

// Complete tells whether every role has its signatures.
func (c *Ceremony) Complete() bool { return complete(c.roles) }

// Authorize refuses a signer that holds none of the roles (*NotAuthorized).
func (c *Ceremony) Authorize(signers []keys.Signer) error {
	var holders trust.Authority
	for _, r := range c.roles {
		for _, key := range r.authority.Keys {
			if !holders.Has(key.ID) {
				holders.Keys = append(holders.Keys, key)
			}
		}
	}
	return beforeThere(authorize("root, targets or registry", holders, signers))
}

// AuthorizeOnline refuses a key that is not the online key of the catalog that is to be made (*NotAuthorized).
func (c *Ceremony) AuthorizeOnline(online keys.Signer) error {
	return beforeThere(authorize(trust.RoleTimestamp, c.plan.online, []keys.Signer{online}))
}

// beforeThere marks the refusal of a key for a catalog that is still to be made.
func beforeThere(err error) error {
	if refused, ok := errors.AsType[*NotAuthorized](err); ok {
		refused.New = true
	}
	return err
}

// SignedBy tells whether each of the signers has signed all that it may.
func (c *Ceremony) SignedBy(signers []keys.Signer) bool {
	return (&waiting{roles: c.roles}).signedByAll(signers)
}

// Sign adds the signatures that the signers may give and have not given.
func (c *Ceremony) Sign(ctx context.Context, signers []keys.Signer) error {
	for _, r := range c.roles {
		if _, err := r.sign(ctx, signers); err != nil {
			return err
		}
	}
	return nil
}

// Merge takes over the signatures of another copy. *Invalid, naming what differs, when that is about another catalog.
func (c *Ceremony) Merge(other *Ceremony) error {
	if c.ID() != other.ID() {
		return &Invalid{What: "ceremony", Reason: "signatures on the one are worth nothing for the other, since they differ: " + strings.Join(c.differs(other), "; ")}
	}
	for i, r := range c.roles {
		r.sigs = trust.ValidSignatures(r.payload, append(slices.Clone(r.sigs), other.roles[i].sigs...), r.authority)
	}
	return nil
}

// Resume is the ceremony that in describes, as it was begun before, with its moment and signatures: it is safe to
// begin a ceremony again with the same words. *Invalid when the words differ.
func (c *Ceremony) Resume(in Init, online *keys.Public) error {
	again, err := BeginCeremony(c.made, in, online)
	if err != nil {
		return err
	}
	return c.Merge(again)
}

// differs names the words in which two ceremonies differ.
func (c *Ceremony) differs(other *Ceremony) []string {
	var list []string
	var ids []string
	for _, role := range append(c.authorities(), other.authorities()...) {
		ids = append(ids, role.KeyIDs()...)
	}
	name := KeyNames(ids...)
	mine, theirs := c.roleWords(name), other.roleWords(name)
	for _, what := range slices.Sorted(maps.Keys(mine)) {
		if mine[what] != theirs[what] {
			list = append(list, fmt.Sprintf("%s: %s here, %s there", what, mine[what], theirs[what]))
		}
	}
	return list
}

func (c *Ceremony) roleWords(name func(id string) string) map[string]string {
	words := map[string]string{"vendor": fmt.Sprintf("%s (%q)", c.vendor.Customer, c.vendor.Name), "begun": c.made.Format(time.DateTime)}
	for _, role := range c.authorities() {
		words[role.name] = fmt.Sprintf("%d of %s", role.Threshold, listOr(named(name, role.KeyIDs()), "nobody"))
	}
	return words
}

// Outcome tells what the ceremony waits for.
func (c *Ceremony) Outcome() *Outcome {
	return &Outcome{Status: Pending, Proposal: c.ID(), Summary: c.Words(), Roles: countSignatures(c.roles), WaitsFor: c.WaitsFor()}
}

// WaitsFor says whose signatures are missing, or else who makes the catalog.
func (c *Ceremony) WaitsFor() string {
	var parts []string
	for _, r := range countSignatures(c.roles) {
		if !r.Complete() {
			parts = append(parts, fmt.Sprintf("%s for %s, by %s", count(r.Need-r.Have, "more signature"), r.Role, strings.Join(r.Missing, " or ")))
		}
	}
	if len(parts) == 0 {
		return "the holder of the online key, " + listOr(shortIDs(c.plan.online.KeyIDs()), "nobody")
	}
	return strings.Join(parts, "; ")
}

// InitializeFrom is Initialize with what the holders signed in a ceremony, which must be complete; seen is Init.Seen.
func InitializeFrom(ctx context.Context, store storage.Store, now time.Time, c *Ceremony, online keys.Signer, seen string) (*InitResult, error) {
	if !c.Complete() {
		return nil, &Invalid{What: "ceremony", Reason: "it waits for " + c.WaitsFor()}
	}
	if err := c.AuthorizeOnline(online); err != nil {
		return nil, err
	}
	i := &initializer{Publisher: &Publisher{Store: store, Online: online}, plan: c.plan, now: now.UTC().Truncate(time.Second), ceremony: c}
	i.init.Seen = seen
	return i.run(ctx)
}

// signedRoot is initializer.root in a ceremony.
func (i *initializer) signedRoot(ctx context.Context) (err error) {
	root := i.ceremony.role(trust.RoleRoot)
	if i.rootFile, err = i.putSigned(ctx, root); err != nil {
		return err
	}
	if catalog.Fingerprint(i.rootFile) == i.init.Seen {
		return &AlreadyInitialized{Store: i.Store.URL(), Damaged: manifest.RootObject(1)}
	}
	i.rootIs, err = trust.ParseRootPayload(root.payload)
	return err
}

// putSigned stores what the holders signed. Another run may have done so, with signatures that suffice, too; for
// anything else under that name there is another catalog, or its beginning.
func (i *initializer) putSigned(ctx context.Context, r *roleDraft) ([]byte, error) {
	key := manifest.RoleObject(r.name, 1)
	file, err := trust.Envelope(r.payload, r.sigs)
	if err != nil {
		return nil, err
	}
	there, err := get(ctx, i.Store, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return file, put(ctx, i.Store, key, file)
	}
	if err != nil {
		return nil, err
	}
	payload, sigs, err := trust.ParseEnvelope(there)
	if err != nil || string(payload) != string(r.payload) || len(trust.ValidSignatures(payload, sigs, r.authority)) < r.authority.Threshold {
		return nil, &AlreadyInitialized{Store: i.Store.URL(), Other: true}
	}
	i.resumed = true
	return there, nil
}
