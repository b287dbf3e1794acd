package catalog

import (
	"errors"
	"fmt"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// ErrOffline is wrapped by errors about things that the state directory does not hold and an offline view may not fetch.
var ErrOffline = errors.New("not in the state directory")

// NoPin says that neither the configuration nor the state directory names a root to begin with.
type NoPin struct {
	Dir    string
	Reason string // why the state's own pin does not serve
}

func (e *NoPin) Error() string {
	return fmt.Sprintf("no trusted root: the configuration names none, and the state directory %s has %s", e.Dir, e.Reason)
}

// BadFingerprint is a pin that is no fingerprint of a root.
type BadFingerprint struct{ Text string }

func (e *BadFingerprint) Error() string {
	return fmt.Sprintf("root fingerprint %q is not of the form sha256:<64 hex digits>", e.Text)
}

// Hint says what to correct.
func (e *BadFingerprint) Hint() string {
	return "correct root_fingerprint in kitchen.toml by what the vendor told over a channel that you trust: the sha256 of root.json (`sha256sum root.json`)"
}

// Hint says where a pin comes from.
func (e *NoPin) Hint() string {
	return "ask the vendor, over a channel you trust, for root.json or its fingerprint, and set root or root_fingerprint in kitchen.toml"
}

// PinMismatch says that a root is not the one that was pinned. It is a trust error (errors.As *trust.Error, too).
type PinMismatch struct {
	Version    int64  // of the root that is pinned
	Have, Want string // fingerprints, "sha256:<hex>"; Have is "" when no such root was reached
	Source     string // who shows Have, in words
}

func (e *PinMismatch) Error() string {
	if e.Have == "" {
		return fmt.Sprintf("root %d is pinned as %s, but %s", e.Version, e.Want, e.Source)
	}
	return fmt.Sprintf("root %d is not the pinned one: %s has %s, pinned is %s", e.Version, e.Source, e.Have, e.Want)
}

// Unwrap makes it a trust error.
func (e *PinMismatch) Unwrap() error {
	return &trust.Error{Kind: trust.Mismatch, Role: trust.RoleRoot, Have: e.Have, Want: e.Want}
}

// Hint names the innocent causes.
func (e *PinMismatch) Hint() string {
	return "another catalog's address, root file or state directory looks like this; compare the fingerprints with the vendor. If this host is to follow another catalog, give it a state directory of its own"
}

// NoCatalog says that a store has no timestamp, or not the pinned root: nothing there is a catalog, or not any more
// (exit 6).
type NoCatalog struct {
	Store string
	Known bool   // this host has verified a catalog there before
	Left  string // an object of a catalog that is there all the same: it is damaged; "" where none is seen
	Begun bool   // no more is there than an interrupted init leaves
	Err   error  // the store's, about the object that is not there
}

func (e *NoCatalog) Error() string {
	lacks := e.Err.Error()
	var missing *storage.Error
	if errors.As(e.Err, &missing) && missing.Key != "" {
		lacks = "it has no " + missing.Key
	}
	if e.Begun {
		return fmt.Sprintf("the catalog at %s is not finished: %s, and no more is there than `kitchen init` begins with", e.Store, lacks)
	}
	if e.Left != "" {
		return fmt.Sprintf("the catalog at %s is damaged: %s, and %s is there", e.Store, lacks, e.Left)
	}
	return fmt.Sprintf("no catalog at %s: %s", e.Store, lacks)
}

// Unwrap gives the store's error.
func (e *NoCatalog) Unwrap() error { return e.Err }

// Hint names the innocent causes.
func (e *NoCatalog) Hint() string {
	switch {
	case e.Begun:
		return "the same `kitchen init` command, with the same keys, completes it; had this catalog been in use, its objects would have to be put back instead"
	case e.Left != "":
		return "nothing makes it anew, least of all `kitchen init`: what is lost has to be put back, byte for byte; `kitchen check` names it, and where copies are"
	case e.Known:
		return "the catalog that this host knows is not there any more: check that the disk is mounted and the bucket is the right one; `kitchen ready … --offline` answers from what was verified"
	}
	return "check the catalog's address (catalog in kitchen.toml, --catalog), and that the disk is mounted"
}

// NotNextRoot says that what lies under the name of the next root is not taken: no reader gets past it. Err tells why: a
// *trust.Error, or that it is larger than a root may be.
type NotNextRoot struct {
	Version int64
	Err     error
}

func (e *NotNextRoot) Error() string {
	return manifest.RootObject(e.Version) + " is not taken: " + e.Err.Error()
}

// Unwrap gives the reason.
func (e *NotNextRoot) Unwrap() error { return e.Err }

// RoleAbsent says that a role is delegated but was never signed (or is not delegated at all): it lists nothing.
type RoleAbsent struct {
	Role      string
	Delegated bool
}

func (e *RoleAbsent) Error() string {
	if !e.Delegated {
		return fmt.Sprintf("role %s does not exist in this catalog", e.Role)
	}
	return fmt.Sprintf("role %s has not been signed yet", e.Role)
}

// UnknownRelease says that no release of that name is published.
type UnknownRelease struct{ Release manifest.Release }

func (e *UnknownRelease) Error() string { return fmt.Sprintf("release %s is not published", e.Release) }

// Hint names the command that shows what is.
func (e *UnknownRelease) Hint() string { return "`kitchen list` shows what is published" }

// UnknownProduct says that the catalog has no such product.
type UnknownProduct struct{ Product string }

func (e *UnknownProduct) Error() string {
	return fmt.Sprintf("product %s is not in this catalog", e.Product)
}

// Hint names the commands that help.
func (e *UnknownProduct) Hint() string {
	return "`kitchen list` shows the products there are; `kitchen product add` adds one"
}

// UnknownCustomer says that the registry has no such customer.
type UnknownCustomer struct{ Customer string }

func (e *UnknownCustomer) Error() string {
	return fmt.Sprintf("customer %s is not in the registry", e.Customer)
}

// Hint names the command that adds one.
func (e *UnknownCustomer) Hint() string {
	return unknownName + "`kitchen customer add` adds a customer"
}

const unknownName = "is the name right, as the vendor told it ([site] id in kitchen.toml)? If so, ask the vendor, whose administrator adds it: "

// UnknownSite says that the customer is registered but has no such site.
type UnknownSite struct{ Site manifest.SiteID }

func (e *UnknownSite) Error() string { return fmt.Sprintf("site %s is not in the registry", e.Site) }

// Hint names the command that adds one.
func (e *UnknownSite) Hint() string { return unknownName + "`kitchen site add` adds a site" }

// NotCached says that an offline view would need a file that was never fetched.
type NotCached struct{ What string }

func (e *NotCached) Error() string { return fmt.Sprintf("%s: %v", e.What, ErrOffline) }

// Unwrap makes it an ErrOffline.
func (e *NotCached) Unwrap() error { return ErrOffline }

// Hint names the command that fetches it.
func (e *NotCached) Hint() string { return "run the same command once without --offline" }

// NotRefreshed says that the state directory cannot carry an offline view.
type NotRefreshed struct {
	Dir    string
	Reason string
}

func (e *NotRefreshed) Error() string {
	return fmt.Sprintf("state directory %s cannot be used offline: %s", e.Dir, e.Reason)
}

// Unwrap makes it a trust error: what cannot be checked is not trusted.
func (e *NotRefreshed) Unwrap() error {
	return &trust.Error{Kind: trust.Missing, Role: trust.RoleTimestamp, Want: e.Reason}
}

// Hint names the command that repairs it.
func (e *NotRefreshed) Hint() string { return "run `kitchen refresh` where the catalog can be reached" }

// StateDamaged says that something stands in the state directory where Kitchen can neither read nor write.
type StateDamaged struct{ Path, Reason string }

func (e *StateDamaged) Error() string { return fmt.Sprintf("state directory: %s %s", e.Path, e.Reason) }

// Hint says how to go on.
func (e *StateDamaged) Hint() string {
	return "move " + e.Path + " away and run the command again: what Kitchen needs there it makes anew"
}

// NotListed says that a role does not list a release.
type NotListed struct {
	Release manifest.Release
	Role    string
}

func (e *NotListed) Error() string { return fmt.Sprintf("%s does not list %s", e.Role, e.Release) }
