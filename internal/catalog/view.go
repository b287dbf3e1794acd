package catalog

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// clockSlack is how far the host's clock may lag behind a timestamp's issued time before that is worth saying.
const clockSlack = time.Minute

// View is one consistent, verified state of a catalog. It is immutable and safe for concurrent use; what its
// accessors return is shared and must be cloned before it is changed.
type View struct {
	catalog *Catalog
	offline bool
	session *trust.Session // finished: only read from here on
	roots   [][]byte       // from the first pinned one to the newest
	host    time.Time
	etag    string
	roles   map[string]roleState
	memory  *memory
	lost    bool

	journalMu sync.Mutex // guards journal
	journal   *Journal   // once it was read
}

// Root is the newest root.
func (v *View) Root() *trust.Root { return v.session.Root() }

// Timestamp is the timestamp in effect.
func (v *View) Timestamp() *trust.Timestamp { return v.session.Timestamp() }

// Snapshot is the snapshot in effect.
func (v *View) Snapshot() *trust.Snapshot { return v.session.Snapshot() }

// TimestampETag is the store's entity tag of the timestamp, to swap it by; "" offline.
func (v *View) TimestampETag() string { return v.etag }

// RawRoot is the root's file, byte for byte.
func (v *View) RawRoot() []byte { return v.session.Raw(trust.RoleRoot) }

// RawRoots are the files of the roots that it rests on, by version, from the first pinned one to the newest: as this host pinned
// or keeps them, where it does.
func (v *View) RawRoots() map[int64][]byte {
	files := make(map[int64][]byte, len(v.roots))
	for i, file := range v.roots {
		files[v.catalog.pins.first().Version+int64(i)] = file
	}
	return files
}

// RawTimestamp is the timestamp's file, byte for byte.
func (v *View) RawTimestamp() []byte { return v.session.Raw(trust.RoleTimestamp) }

// RawSnapshot is the snapshot's file, byte for byte.
func (v *View) RawSnapshot() []byte { return v.session.Raw(trust.RoleSnapshot) }

// RawRole is the file of "targets" or of a delegated role; nil when Role gives an error.
func (v *View) RawRole(name string) []byte {
	if name == trust.RoleTargets {
		return v.session.Raw(name)
	}
	return v.roles[name].raw
}

// Offline tells whether the view rests on the state directory alone.
func (v *View) Offline() bool { return v.offline }

// MemoryLost tells that this refresh found both copies of the state directory's memory missing, damaged or another
// catalog's, and made it anew: this once the host was as easy to deceive as one that never saw the catalog before.
// An older view of the catalog, without the latest recalls, would have been taken. It is to be said loudly.
func (v *View) MemoryLost() bool { return v.lost }

// Authority is who may sign a role: root, targets, snapshot, timestamp or a delegated one.
func (v *View) Authority(role string) (trust.Authority, bool) { return v.session.RoleAuthority(role) }

// Role is the content of "targets" or of a delegated role. *RoleAbsent when it was never signed or does not
// exist; a *trust.Error when it is withheld, damaged, expired or refused; a storage error when it may not be read.
func (v *View) Role(name string) (*trust.Targets, error) {
	if name == trust.RoleTargets {
		t, _ := v.session.Role(name)
		return t, nil
	}
	state, listed := v.roles[name]
	if !listed {
		_, delegated := v.session.Delegation(name)
		return nil, &RoleAbsent{Role: name, Delegated: delegated}
	}
	return state.targets, state.err
}

// ExpiredRole is a delegated role that is right in all but its expiry, with its file. It states nothing any
// more; its signers need it to renew it.
func (v *View) ExpiredRole(name string) (*trust.Targets, []byte, bool) {
	return v.session.ExpiredRole(name)
}

// Lapsed is what its holders have to sign again before anything else can take effect: root, or else targets, where it has
// expired; "" for neither. See RefreshToRenew.
func (v *View) Lapsed() string {
	if !v.Now().Before(v.Root().Expires) {
		return trust.RoleRoot
	}
	if t, _ := v.session.Role(trust.RoleTargets); t != nil && !v.Now().Before(t.Expires) {
		return trust.RoleTargets
	}
	return ""
}

// Roles are the names of all delegated roles that were signed at least once, sorted; some may be broken.
func (v *View) Roles() []string { return slices.Sorted(maps.Keys(v.roles)) }

// RoleError is a delegated role that cannot be used, and why.
type RoleError struct {
	Role string
	Err  error
}

// Broken are all delegated roles that the snapshot lists and that cannot be used, sorted by name.
func (v *View) Broken() []RoleError {
	var broken []RoleError
	for _, name := range v.Roles() {
		if err := v.roles[name].err; err != nil {
			broken = append(broken, RoleError{name, err})
		}
	}
	return broken
}

// Products are the products that targets delegates, sorted.
func (v *View) Products() []string {
	targets, _ := v.session.Role(trust.RoleTargets)
	var products []string
	for _, d := range targets.Delegations {
		if _, product, _ := manifest.SplitRole(d.Name); product != "" && d.Name == manifest.RoleProduct(product) {
			products = append(products, product)
		}
	}
	slices.Sort(products)
	return products
}

// Now is the trusted time: the host's clock when the view was made, or the newest issued time if that is later.
func (v *View) Now() time.Time { return v.session.Now() }

// Issued is when the timestamp in effect was signed: how old all knowledge is.
func (v *View) Issued() time.Time { return v.Timestamp().Issued }

// Age is the time since Issued, by the trusted time; never negative.
func (v *View) Age() time.Duration { return max(0, v.Now().Sub(v.Issued())) }

// ClockBehind tells that the host's clock runs behind what the catalog's timestamps say, by more than a minute.
func (v *View) ClockBehind() bool { return v.Now().Sub(v.host) > clockSlack }

// HostTime is the host's clock when the view was made.
func (v *View) HostTime() time.Time { return v.host }
