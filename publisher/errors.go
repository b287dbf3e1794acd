package publisher

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// NotAuthorized is a key that may not sign what it was given for (exit 4).
type NotAuthorized struct {
	Role    string
	KeyID   string   // full
	Path    string   // the key file, where the signer tells it
	Allowed []string // key ids that may sign the role, short
	Holders []string // the same, in full
	New     bool     // the catalog is still to be made: nobody can ask it
}

func (e *NotAuthorized) Error() string {
	key := "key " + ShortID(e.KeyID)
	if len(e.Allowed) > 0 { // which are long enough to tell it from them
		key = "key " + e.KeyID[:min(len(e.KeyID), max(keyDigits, len(e.Allowed[0])))]
	}
	if e.Path != "" {
		key += " (" + e.Path + ")"
	}
	return fmt.Sprintf("%s may not sign role %s, which belongs to %s", key, e.Role, listOr(e.Allowed, "nobody"))
}

// Evidence is what has to be compared whole: somebody can make a key whose id begins like another's.
func (e *NotAuthorized) Evidence() []string {
	lines := []string{"given    " + e.KeyID}
	for _, id := range e.Holders {
		lines = append(lines, "expected "+id)
	}
	return lines
}

// Hint says how to find the right key.
func (e *NotAuthorized) Hint() string {
	switch {
	case e.New && slices.Contains(onlineRoles, e.Role):
		return "give the online key that the holders signed for with --online-key; kitchen key show FILE tells a key's id. To have another one, begin the ceremony anew"
	case e.New:
		return "give the key of one of its holders with --key; kitchen key show FILE tells a key's id. The online key is asked for at the end, by kitchen init --import"
	case slices.Contains(onlineRoles, e.Role):
		return "give the online key with --online-key, or [keys] online in kitchen.toml (kitchen role show " + e.Role + " names it)"
	}
	return "give another key with --key; the root holders decide who signs a role (kitchen role show " + e.Role + ")"
}

// NoSigner is a change that nobody was asked to sign.
type NoSigner struct {
	Role    string
	Allowed []string // key ids that may sign the role, short
}

func (e *NoSigner) Error() string {
	return fmt.Sprintf("no key given to sign role %s, which belongs to %s", e.Role, listOr(e.Allowed, "nobody"))
}

// Hint says how to give one.
func (e *NoSigner) Hint() string {
	return fmt.Sprintf("give --key FILE, or [keys] %q in kitchen.toml", e.Role)
}

// NoOnlineKey is a commit without the key that makes one.
type NoOnlineKey struct{}

func (e *NoOnlineKey) Error() string { return "committing needs the online key" }

// Hint says how to give it.
func (e *NoOnlineKey) Hint() string {
	return `name it in kitchen.toml: [keys] online = ["keys/online.key"]`
}

// NotAtHand is an init on one machine for want of private keys (exit 1).
type NotAtHand struct {
	Role       string
	Have, Need int
}

func (e *NotAtHand) Error() string {
	return fmt.Sprintf("init: %d of the %d private keys that role %s needs are at hand", e.Have, e.Need, e.Role)
}

// Hint says how the others sign where they are.
func (e *NotAtHand) Hint() string {
	return "the others can sign on their own machines: kitchen init … --ceremony FILE begins that, see docs/CEREMONY.md"
}

// AlreadyInitialized is a catalog where a new one was to be made (exit 1).
type AlreadyInitialized struct {
	Store   string
	Other   bool   // no catalog yet, but a root that other keys made
	Damaged string // an object of a catalog that has lost its timestamp, or its first root; "" where there is none
}

func (e *AlreadyInitialized) Error() string {
	switch {
	case e.Damaged != "":
		return fmt.Sprintf("%s holds a damaged catalog: %s is there, and metadata/timestamp.json is not; nothing was written", e.Store, e.Damaged)
	case e.Other:
		return fmt.Sprintf("%s holds the root of another, unfinished catalog", e.Store)
	}
	return fmt.Sprintf("there is a catalog at %s already", e.Store)
}

// Hint says what to do.
func (e *AlreadyInitialized) Hint() string {
	switch {
	case e.Damaged != "":
		return "a new root would make every host that knows this catalog refuse it: put back what is lost (kitchen check names it, and where copies are), or choose an empty bucket or prefix"
	case e.Other:
		return "run kitchen init with the root keys, threshold and online key it was begun with, or choose an empty bucket or prefix"
	}
	return "use it with its own kitchen.toml and root, or choose an empty bucket or prefix; where they are lost, copy metadata/1.root.json out of it, have a root holder confirm its sha256 over another channel, " +
		"and name it as root in a kitchen.toml"
}

// Exists is an addition of something that is there with other content (exit 1).
type Exists struct {
	What, Name string   // "product", "openstack"
	Differs    []string // what is otherwise than asked for
}

func (e *Exists) Error() string {
	return fmt.Sprintf("%s %s exists already, with other content: %s", e.What, e.Name, strings.Join(e.Differs, "; "))
}

// Hint says how to see it, and how to change it.
func (e *Exists) Hint() string {
	return "`kitchen role show` and `kitchen customer show` say how it is; kitchen role rotate, kitchen customer change and kitchen site change make it otherwise"
}

// UnknownRole is a role that this catalog does not delegate (exit 1).
type UnknownRole struct {
	Role string
	Like []string // with a customer in the place of the product: that customer's roles
}

func (e *UnknownRole) Error() string {
	return fmt.Sprintf("there is no role %s in this catalog", e.Role)
}

// Hint says where they stand.
func (e *UnknownRole) Hint() string {
	if len(e.Like) > 0 {
		return "a customer's role names the product, too: " + strings.Join(e.Like, ", ")
	}
	return "kitchen role show lists them, with who signs them"
}

// Invalid is a request that contradicts itself or the catalog (exit 1).
type Invalid struct {
	What, Reason string
	Next         string // what to do; "" where the command's help says it
}

func (e *Invalid) Error() string { return e.What + ": " + e.Reason }

// Hint says what to do.
func (e *Invalid) Hint() string { return e.Next }

// Immutable is other content for a release that is published, or signed and waiting (exit 1).
type Immutable struct {
	Release  manifest.Release
	Proposal string   // "" = published; else the waiting proposal that has the other content
	Differs  []string // what differs, a line each
}

func (e *Immutable) Error() string {
	where := "is published"
	if e.Proposal != "" {
		where = "waits in proposal " + e.Proposal
	}
	return fmt.Sprintf("%s %s with other content and cannot be changed: %s", e.Release, where, strings.Join(e.Differs, "; "))
}

// Hint names the way on.
func (e *Immutable) Hint() string {
	return "give it another version in product.toml, then: kitchen publish"
}

// NotCertifiable is a release that the certification policy does not let through (exit 3).
type NotCertifiable struct {
	Release manifest.Release
	Unmet   []catalog.Unmet
}

func (e *NotCertifiable) Error() string {
	return fmt.Sprintf("%s cannot be certified: %s", e.Release, unmetWords(e.Unmet))
}

func unmetWords(unmet []catalog.Unmet) string {
	parts := make([]string, len(unmet))
	for i, u := range unmet {
		parts[i] = u.Requirement
		if u.Detail != "" {
			parts[i] += ": " + u.Detail
		}
	}
	return strings.Join(parts, "; ")
}

// Hint names the command that shows the evidence.
func (e *NotCertifiable) Hint() string { return "kitchen status shows who reported what" }

// LostRace is a write that other writers overtook every time (exit 5).
type LostRace struct{ Tries int }

func (e *LostRace) Error() string {
	return fmt.Sprintf("other writers changed the catalog each of %d times this was tried", e.Tries)
}

// Hint says what to do.
func (e *LostRace) Hint() string { return "run the same command again; nothing is half done" }

// Refused is a proposal, or a change, that may not take effect whoever signed it (exit 4).
type Refused struct {
	Role   string
	Reason string
	Next   string // what to do; "" = look at what waits, and make the change again
}

func (e *Refused) Error() string {
	return fmt.Sprintf("change of role %s refused: %s", e.Role, e.Reason)
}

// Hint says what to do.
func (e *Refused) Hint() string {
	if e.Next != "" {
		return e.Next
	}
	return "kitchen pending shows what waits; make the change again with the command that is meant for it"
}

// Source is a file of a release's directory that cannot be published (exit 1).
type Source struct {
	Path   string // as in product.toml, but for one that does not exist; entries of a tree begin with the tree's path
	Reason string
	Next   string // what to do; "" where the reason says it
	Err    error
}

// Hint says what to do.
func (e *Source) Hint() string {
	if e.Next == "" && errors.Is(e.Err, errChanged) {
		return "run the same command again once nothing writes to that directory any more"
	}
	return e.Next
}

func (e *Source) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return e.Path + ": " + e.Reason
}

func (e *Source) Unwrap() error { return e.Err }

func listOr(items []string, none string) string {
	if len(items) == 0 {
		return none
	}
	return strings.Join(items, ", ")
}
