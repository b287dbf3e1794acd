// Package publisher makes every signed change of a catalog: its creation, products, customers and sites,
// publication, validation, certification and recall, and the proposals and commits that carry them.
//
// # Parties
//
// A proposer changes one or more roles and signs what its keys may sign. Further signers add their signatures.
// The committer, who holds the online key, puts a complete proposal into effect. One person may be all three: what
// is complete and made by somebody who has the online key is committed on the spot.
//
// # A proposal
//
// It is a set of role payloads that take effect together, and one file per signature, under pending/<id>/:
//
//	proposal.json            {"schema": "kitchen.proposal/v1", "kind", "summary", "roles"}: the proposer's words, unsigned
//	<role>.payload.json      the signed part of the role's next version
//	sig/<role>/<key id>-<sha256 of the file>.json
//
// The id is <first role>.<version>.<16 hex digits of the payloads' digest>. Inside each payload stand the digest of
// the role file it replaces and the moment the proposal lapses (14 days after it was made), so that a signature
// means "this change, on top of exactly that, until then". A proposal on top of anything but the current catalog
// is stale and never takes effect. What a change does is always worked out again from the current catalog and the
// payload; the proposer's words are shown as such and believed by nobody. Signatures that do not verify are ignored,
// and so is a proposal without one that does: anybody who may write below pending/ can make those. At most 4,096
// signature files per key and role are looked at, of each key the 50 newest live proposals of a role, and of what no
// holder has signed 20, or 4 MiB, and 1 MiB of one.
//
// # A commit
//
// Blobs, manifests, roles, snapshot, and last the timestamp, which is swapped: the single moment at which readers
// see anything. The candidate is verified as a reader would before the swap. Whoever loses the swap to another
// writer starts again from what the winner left, a bounded number of times. Every other object is created once; a
// version number that a crashed or beaten writer used up is skipped. All roles of one proposal appear in one
// snapshot. Running a command again after a crash at any step completes it.
//
// Times are whole seconds, UTC. A role's version rises by one, or by more where numbers are used up.
package publisher

import (
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
)

// Lifetimes of what this package signs, DESIGN §4.
const (
	day           = 24 * time.Hour
	lifeLong      = 365 * day // root, targets, registry, policy, product, validated
	lifeShort     = 90 * day  // ready-to-deploy, recalled
	lifeSnapshot  = 30 * day
	lifeTimestamp = 7 * day
	lifeProposal  = 14 * day
	maxTries      = 60 // of one write against concurrent writers
	maxOrphans    = 4096
	maxNames      = 16     // that are tried for one signature file
	maxSignatures = 4096   // signature files of one key, for one role of one proposal, that are looked at
	maxOfOneKey   = 50     // proposals of which one key signed one role that are looked at: the newest; as many stale ones
	maxStrangers  = 20     // of those that none of today's holders has signed
	maxListed     = 20_000 // proposals that a listing is grouped into, roles of one proposal, signing keys of one role
	maxRoles      = 16     // of one proposal
	maxSummary    = 100    // lines of a proposer's summary, each at most maxReason bytes
	maxKind       = 40     // bytes of a proposer's word for what the change is
	maxHistory    = 1000   // versions of a role that are looked back at
)

// Publisher changes one catalog. Its methods may be called one at a time; several Publishers, in any number of
// processes, may work on one catalog at once.
type Publisher struct {
	// Catalog is the verified view; it must be opened on Store.
	Catalog *catalog.Catalog
	Store   storage.Store
	// Now is the host's clock.
	Now func() time.Time
	// Online signs snapshot and timestamp. Nil: changes are left as proposals for the committer.
	Online keys.Signer
	// OnlineToo are further online keys: the next one, while the online key is rotated.
	OnlineToo []keys.Signer
	// Stolen gives up on the old online key where a root replaces it: the root comes first, and the new key signs alone.
	// From the one to the other no reader takes anything; a run that was interrupted there is completed by another.
	Stolen bool
	// Progress hears of long transfers; nil is silence.
	Progress progress.Sink
	// Scratch is a directory for stored objects on their way up, up to the size of the largest artifact. "" is
	// the system's directory for temporary files.
	Scratch string
	// Cache is a directory in which publications leave what makes the next one cheaper, up to 16 GiB: stored objects,
	// and how files looked when they were read. "" is none.
	Cache string
	// Packing says how artifacts are stored.
	Packing Packing

	renews bool            // see renewing
	noted  map[string]bool // see note
	read   *evidenceRead   // see evidences
}

// States of an Outcome.
const (
	Committed = "committed" // in effect
	Pending   = "pending"   // accepted, not in effect: signatures or the committer are outstanding
	Unchanged = "unchanged" // everything was so already
	Declined  = "declined"  // the signer looked at the change and said no
)

// Outcome tells what became of a change.
type Outcome struct {
	Status   string           // Committed | Pending | Unchanged | Declined
	Proposal string           // the proposal's id, with Pending
	Summary  []string         // the change in words, a line each
	Roles    []RoleSignatures // the roles that changed or wait
	WaitsFor string           // with Pending: in words, such as "1 more signature for ready-to-deploy.openstack"
	Others   []*Outcome       // of Sign: what became of other proposals
	Notes    []string         // on other proposals: not offered, not signed, built on, or excluded
}

// RoleSignatures counts the signatures of one role's next version. Key ids are short: the first 8 hex digits.
type RoleSignatures struct {
	Role       string
	Version    int64
	Keys       string // KeysBefore or KeysAfter where both thresholds are needed, else ""
	Have, Need int
	Signers    []string // who signed
	Missing    []string // who still may, while Have < Need
	Holders    []string // full ids of all who may sign; Signers and Missing are their KeyNames
}

// Root, and targets beside it, need both thresholds when their keys change.
const (
	KeysBefore = "before" // the keys that are in effect
	KeysAfter  = "after"  // the keys that the change gives it
)

// Name is the role in words, with which of its keys are meant.
func (r RoleSignatures) Name() string {
	switch r.Keys {
	case KeysBefore:
		return r.Role + " (present keys)"
	case KeysAfter:
		return r.Role + " (new keys)"
	}
	return r.Role
}

// Complete tells whether enough holders signed.
func (r RoleSignatures) Complete() bool { return r.Have >= r.Need }

func (p *Publisher) sink() progress.Sink {
	if p.Progress == nil {
		return progress.Silent{}
	}
	return p.Progress
}
