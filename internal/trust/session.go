package trust

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// AllowStale is a dangerous choice, made by name: it gives up freshness. A timestamp and a snapshot that have
// expired are taken all the same if the timestamp was issued at most MaxAge before the session's time. Nothing
// else is excused: root, targets and delegated roles are held to the real time. A withheld recall stays
// unseen for as long as MaxAge lasts.
type AllowStale struct{ MaxAge time.Duration }

// Floor is what was seen before, under the current timestamp and snapshot keys: nothing older is taken, and of
// the same version nothing else. The session raises its own floor from every file it is given. All of it comes
// from signed content, so that a damaged copy of a file on disk can never pass for another version of it.
type Floor struct {
	Timestamp Seen
	Snapshot  Meta            // as a timestamp announced it; without digest: the version alone
	Roles     map[string]Meta // as a snapshot listed them; without digest: the version alone
}

// Seen is one version of a file that nothing announces by digest.
type Seen struct {
	Version int64
	Content string // sha256 (hex) of the signed part's canonical form; "" = the version alone
}

// Session is one run of the client workflow (TUF 5.3–5.6) over bytes that the caller brings. It does no I/O
// and reads no clock. Order: Start, UpdateRoot*, FinishRoots, UpdateTimestamp*, UpdateSnapshot*, UpdateRole*.
// A refused file leaves the session as it was, except where an expiry is the only thing wrong: see each step.
// What the accessors return is shared: Clone before changing it. Not safe for concurrent use.
type Session struct {
	now     time.Time
	stale   *AllowStale
	renews  bool // see ServeExpired
	general bool

	root      *Root
	rootRaw   []byte
	online    map[int64]string // root version → who might sign timestamp and snapshot
	rootsDone bool

	floor        Floor
	seen         Seen // the newest snapshot given, remembered or fetched
	timestamp    *Timestamp
	timestampRaw []byte
	snapshot     *Snapshot
	snapshotRaw  []byte
	roles        map[string]loadedRole
	expired      map[string]loadedRole
}

type loadedRole struct {
	content   *Targets
	raw       []byte
	delegator string
}

// Start begins a session on a Kitchen catalog from a root that is already trusted: pinned, or the last one
// verified. It must be signed by its own keys; it may have expired (5.2, 5.3.10). now is the time of the
// whole update (5.1), cut to whole seconds.
func Start(trustedRoot []byte, now time.Time) (*Session, error) {
	return start(trustedRoot, &Session{now: now})
}

// StartStale is Start with a dangerous choice: see AllowStale.
func StartStale(trustedRoot []byte, now time.Time, allow AllowStale) (*Session, error) {
	return start(trustedRoot, &Session{now: now, stale: &allow})
}

// StartGeneral begins a session on any TUF repository, without the rules of catalogrules.go: delegations may
// nest, lengths and digests may be missing, a timestamp need not say when it was issued. Delegated roles are
// read with UpdateDelegated. An offered timestamp of the version that is already there is discarded without
// an error (5.4.3.1); Raw shows which one holds.
func StartGeneral(trustedRoot []byte, now time.Time) (*Session, error) {
	return start(trustedRoot, &Session{now: now, general: true})
}

func start(trustedRoot []byte, s *Session) (*Session, error) {
	s.now = s.now.UTC().Truncate(time.Second)
	s.online = map[int64]string{}
	s.roles = map[string]loadedRole{}
	s.expired = map[string]loadedRole{}
	root, o, err := s.openRoot(trustedRoot)
	if err != nil {
		return nil, err
	}
	if err := verifyRole(RoleRoot, root.Roles[RoleRoot], o.message, o.sigs); err != nil {
		return nil, err
	}
	s.setRoot(root, trustedRoot)
	return s, nil
}

func (s *Session) openRoot(b []byte) (*Root, *opened[metadata.RootType], error) {
	o, err := open[metadata.RootType](RoleRoot, b)
	if err != nil {
		return nil, nil, &Error{Kind: Malformed, Role: RoleRoot, Err: err}
	}
	root, err := rootOf(&o.signed)
	if err == nil && !s.general {
		err = checkCatalogRoot(root)
	}
	if err != nil {
		return nil, nil, &Error{Kind: Malformed, Role: RoleRoot, Err: err}
	}
	return root, o, nil
}

func (s *Session) setRoot(root *Root, raw []byte) {
	s.root, s.rootRaw = root, bytes.Clone(raw)
	s.online[root.Version] = onlineKeys(root)
}

// UpdateRoot takes the next root: version N+1 (5.3.5), signed by the threshold of the keys of root N and of
// its own (5.3.4). Its expiry does not matter yet (5.3.7).
func (s *Session) UpdateRoot(b []byte) error {
	if s.rootsDone {
		return &Error{Kind: Order, Role: RoleRoot, Want: "a new session"}
	}
	root, o, err := s.openRoot(b)
	if err != nil {
		return err
	}
	if err := verifyRole(RoleRoot, s.root.Roles[RoleRoot], o.message, o.sigs); err != nil {
		err.Err = fmt.Errorf("root %d must be signed by the keys of root %d", root.Version, s.root.Version)
		return err
	}
	if err := verifyRole(RoleRoot, root.Roles[RoleRoot], o.message, o.sigs); err != nil {
		err.Err = fmt.Errorf("root %d must be signed by its own keys too", root.Version)
		return err
	}
	if root.Version <= s.root.Version {
		return &Error{Kind: Rollback, Role: RoleRoot, Have: decimal(root.Version), Want: decimal(s.root.Version)}
	}
	if root.Version != s.root.Version+1 {
		return &Error{Kind: Mismatch, Role: RoleRoot, Have: "version " + decimal(root.Version), Want: "version " + decimal(s.root.Version+1)}
	}
	s.setRoot(root, b)
	return nil
}

// ServeExpired is a dangerous choice, made by name: a root, and a targets role, that are right in all but their expiry serve to
// tell who signs what. It is for those who sign these again and for who commits that; nobody may decide anything else
// on such a session. Call it before FinishRoots.
func (s *Session) ServeExpired() { s.renews = true }

// FinishRoots ends the root chain: the last root must not have expired (5.3.10), but for ServeExpired. After it comes the
// timestamp.
func (s *Session) FinishRoots() error {
	s.rootsDone = true
	if s.renews {
		return nil
	}
	return s.checkExpiry(RoleRoot, s.root.Expires)
}

// OnlineKeysChanged says whether any root after version since, up to the current one, let other keys sign
// timestamp or snapshot than the root before it did. If so, the timestamp, the snapshot and the Floor that
// were remembered under root since are to be forgotten, not given to this session: that is how a catalog
// recovers after a thief pushed version numbers up (5.3.11). True as well when the session has not seen root
// since, because it began later.
func (s *Session) OnlineKeysChanged(since int64) bool {
	before, seen := s.online[since]
	if !seen {
		return true
	}
	for version := since + 1; version <= s.root.Version; version++ {
		if s.online[version] != before {
			return true
		}
	}
	return false
}

// onlineKeys names who may sign timestamp and snapshot, by key and not by key id; a threshold is no key.
func onlineKeys(r *Root) string {
	var all []string
	for _, role := range []string{RoleTimestamp, RoleSnapshot} {
		for _, key := range r.Roles[role].Keys {
			all = append(all, role+" "+key.same)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n")
}

// Remember gives the session what was seen before, where the files themselves are lost. Call it before
// UpdateTimestamp, and not when OnlineKeysChanged.
func (s *Session) Remember(f Floor) error {
	if s.timestamp != nil {
		return &Error{Kind: Order, Role: RoleTimestamp, Want: "a new session"}
	}
	s.floor = Floor{Timestamp: f.Timestamp, Snapshot: f.Snapshot, Roles: maps.Clone(f.Roles)}
	return nil
}

// verifyRole wants the threshold of different keys (5.3.4, 5.4.2, 5.5.3, 5.6.3).
func verifyRole(role string, a Authority, message []byte, sigs []Signature) *Error {
	valid := validSignatures(message, sigs, a)
	if a.Threshold >= 1 && len(valid) >= a.Threshold {
		return nil
	}
	e := &Error{Kind: Threshold, Role: role, Have: strconv.Itoa(len(valid)), Want: strconv.Itoa(a.Threshold), KeyIDs: a.KeyIDs()}
	if len(valid) == 0 {
		e.Kind = BadSignature
	}
	for _, sig := range valid {
		e.Signers = append(e.Signers, sig.KeyID)
	}
	return e
}

// checkExpiry holds a file to the session's time: its expiry must lie after it.
func (s *Session) checkExpiry(role string, expires time.Time) error {
	if s.now.Before(expires) {
		return nil
	}
	return &Error{Kind: Expired, Role: role, Expiry: expires, Have: formatTime(s.now)}
}

// checkOnlineExpiry is checkExpiry for timestamp and snapshot, the two that AllowStale excuses.
func (s *Session) checkOnlineExpiry(role string, expires time.Time) error {
	err := s.checkExpiry(role, expires)
	if err == nil || s.stale == nil {
		return err
	}
	issued := s.timestamp.Issued
	if !issued.IsZero() && s.stale.MaxAge > 0 && !issued.Before(s.now.Add(-s.stale.MaxAge)) {
		return nil
	}
	return &Error{Kind: Expired, Role: role, Expiry: expires, Have: formatTime(s.now),
		Err: fmt.Errorf("issued at %s, more than the allowed %s ago", formatTime(issued), s.stale.MaxAge)}
}

// check refuses what is older than the floor, or of its version with another digest.
func (s *Session) check(role string, have, seen Meta) error {
	if have.Version < seen.Version {
		return &Error{Kind: Rollback, Role: role, Have: decimal(have.Version), Want: decimal(seen.Version)}
	}
	if s.general || have.Version != seen.Version || seen.SHA256 == "" || have.SHA256 == seen.SHA256 {
		return nil
	}
	return &Error{Kind: SameVersion, Role: role, Have: have.SHA256, Want: seen.SHA256, Err: fmt.Errorf("version %d", have.Version)}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
