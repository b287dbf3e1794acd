package trust

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The top-level roles. Every other role is delegated.
const (
	RoleRoot      = "root"
	RoleTargets   = "targets"
	RoleSnapshot  = "snapshot"
	RoleTimestamp = "timestamp"
)

// Authority is who may sign a role: any Threshold different keys of Keys.
type Authority struct {
	Keys      []Key
	Threshold int // 1 ≤ Threshold ≤ len(Keys) in everything Kitchen writes
}

// Has says whether the key with that id is one of the authority's keys.
func (a Authority) Has(keyID string) bool {
	return slices.ContainsFunc(a.Keys, func(k Key) bool { return k.ID == keyID })
}

// KeyIDs are the ids of the authority's keys, in the order the delegator wrote them.
func (a Authority) KeyIDs() []string {
	ids := make([]string, len(a.Keys))
	for i, k := range a.Keys {
		ids[i] = k.ID
	}
	return ids
}

// Meta describes one metadata file from outside: what timestamp says of snapshot and snapshot of a role.
// A Kitchen catalog always gives all but SHA512; any other TUF repository may give the version alone,
// in which case Length is 0 and the digests are empty. Digests are lower-case hex.
type Meta struct {
	Version, Length int64
	SHA256          string
	SHA512          string // foreign repositories only; Kitchen never writes it
}

// Root is the root of trust: who signs the four top-level roles.
// Fields that Kitchen does not know survive a parse, change and Payload where they stand at the top of the
// signed part; in Targets, also those of a target, of a delegation and of "delegations".
type Root struct {
	Version int64     // 1, 2, 3 … without a gap
	Expires time.Time // UTC, whole seconds
	Roles   map[string]Authority

	// As in Targets: the sha256 of the root that this one was written to replace ("" = the first), and when the proposal
	// that carries it lapses, and what it changes. Signed, and of no meaning to readers.
	Replaces        string
	ProposalExpires time.Time
	ProposalRoles   string

	extra map[string]any
	flat  bool // consistent_snapshot false: foreign repositories only
}

// ConsistentSnapshot says whether files carry their version or digest in their name. Kitchen catalogs always do.
func (r *Root) ConsistentSnapshot() bool { return !r.flat }

// Timestamp is the one mutable file: which snapshot is current, and when that was said.
type Timestamp struct {
	Version  int64
	Expires  time.Time
	Issued   time.Time // when it was signed; zero only in repositories that are not Kitchen's
	Snapshot Meta

	extra map[string]any
}

// Snapshot is one consistent set of role files.
type Snapshot struct {
	Version int64
	Expires time.Time
	Roles   map[string]Meta // by role name, without ".json"

	extra map[string]any
}

// Targets is the content of the role "targets" and of every delegated role.
type Targets struct {
	Version     int64
	Expires     time.Time
	Targets     map[string]Target // by target path
	Delegations []Delegation      // searched in this order; only "targets" has any in a Kitchen catalog

	// Role is the name of the role that this is: "targets", "recalled.openstack". It is signed, so that a file of one
	// role is never one of another role whose keys signed it too. Foreign repositories do not say.
	Role string
	// Replaces is the sha256 (hex) of the role file that this version was written to replace; "" = the first.
	Replaces string
	// ProposalExpires is when the proposal that carries this version lapses; zero = never. Committers
	// check it before they publish; it means nothing to readers afterwards.
	ProposalExpires time.Time
	// ProposalRoles are the roles that the proposal changes, as JoinRoles writes them; "" = this one alone. What was signed for
	// one proposal is no part of another.
	ProposalRoles string

	extra            map[string]any
	delegationsExtra map[string]any
	succinct         *metadata.SuccinctRoles
	succinctKeys     []Key
}

// Target is one listed file.
type Target struct {
	Length int64
	SHA256 string // hex; always there in a Kitchen catalog
	SHA512 string // foreign repositories only
	// Custom is signed with the role and trusted as far as the role. Strings only; in a repository that is
	// not Kitchen's and holds anything else there it is nil.
	Custom map[string]string

	extra  map[string]any
	custom []byte // foreign custom, kept for rewriting
}

// Delegation hands the target paths that match Paths to another role. What Kitchen writes is always
// terminating and by paths; the last two fields exist for foreign repositories.
type Delegation struct {
	Name string
	Authority
	Paths            []string // glob per path segment: "*" does not match "/"
	NonTerminating   bool
	PathHashPrefixes []string // lower-case hex prefixes of sha256(path), instead of Paths

	extra map[string]any
}

// SameForeign tells whether t holds the same fields beyond those that Kitchen knows as another version of it, and none of them
// in what that one does not have.
func (t *Targets) SameForeign(o *Targets) bool {
	if !reflect.DeepEqual(t.extra, o.extra) && len(t.extra)+len(o.extra) > 0 || len(t.delegationsExtra) > 0 && !reflect.DeepEqual(t.delegationsExtra, o.delegationsExtra) {
		return false
	}
	for path, target := range t.Targets {
		if len(target.extra) > 0 && !reflect.DeepEqual(target.extra, o.Targets[path].extra) {
			return false
		}
	}
	for _, d := range t.Delegations {
		if before, _ := o.Delegation(d.Name); len(d.extra) > 0 && !reflect.DeepEqual(d.extra, before.extra) {
			return false
		}
	}
	return true
}

// Delegation is the delegation to the role of that name.
func (t *Targets) Delegation(name string) (Delegation, bool) {
	for _, d := range t.Delegations {
		if d.Name == name {
			return d, true
		}
	}
	if t.succinct != nil && t.succinct.IsDelegatedRole(name) {
		return Delegation{Name: name, Authority: Authority{Keys: t.succinctKeys, Threshold: t.succinct.Threshold}}, true
	}
	return Delegation{}, false
}

// Clone is a deep copy, to be changed and written as the next version.
func (t *Targets) Clone() *Targets {
	c := *t
	c.Targets = make(map[string]Target, len(t.Targets))
	for path, target := range t.Targets {
		target.Custom = maps.Clone(target.Custom)
		c.Targets[path] = target
	}
	c.Delegations = slices.Clone(t.Delegations)
	for i, d := range c.Delegations {
		d.Keys = slices.Clone(d.Keys)
		d.Paths = slices.Clone(d.Paths)
		d.PathHashPrefixes = slices.Clone(d.PathHashPrefixes)
		c.Delegations[i] = d
	}
	return &c
}

// Clone is a deep copy, to be changed and written as the next version.
func (r *Root) Clone() *Root {
	c := *r
	c.Roles = make(map[string]Authority, len(r.Roles))
	for name, a := range r.Roles {
		a.Keys = slices.Clone(a.Keys)
		c.Roles[name] = a
	}
	return &c
}

// Clone is a deep copy, to be changed and written as the next version.
func (s *Snapshot) Clone() *Snapshot {
	c := *s
	c.Roles = maps.Clone(s.Roles)
	if c.Roles == nil {
		c.Roles = map[string]Meta{}
	}
	return &c
}
