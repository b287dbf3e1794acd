package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// UpdateRole takes a role of a Kitchen catalog: "targets" first, verified against the root, then delegated
// roles in any order, verified against targets, their only delegator. See UpdateDelegated for the checks; a
// role that lists a path outside its scope, or delegates, is refused as a whole (OutOfScope).
func (s *Session) UpdateRole(name string, b []byte) error {
	if name == RoleTargets {
		return s.UpdateDelegated(name, RoleRoot, b)
	}
	return s.UpdateDelegated(name, RoleTargets, b)
}

// UpdateDelegated takes a role as the given delegator hands it out; the delegator of "targets" is "root". A role
// that is reached again through another delegator has to be given again, and is verified with that one's keys.
//
// The snapshot must list it, and it must be what is listed: length and digest (5.6.2), version (5.6.4); signed by
// the threshold of the delegator's keys for it (5.6.3); not expired (5.6.5). One that is wrong in nothing but its
// expiry is refused too, and kept for ExpiredRole.
func (s *Session) UpdateDelegated(name, delegator string, b []byte) error {
	if err := s.checkSnapshot(name); err != nil {
		return err
	}
	meta, listed := s.snapshot.Roles[name]
	if !listed {
		return &Error{Kind: Missing, Role: RoleSnapshot, Want: clip(name, 80)}
	}
	d, err := s.delegation(name, delegator)
	if err != nil {
		return err
	}
	if err := matches(name, meta, b); err != nil {
		return err
	}
	t, err := s.openTargets(name, d, b)
	if err != nil {
		return err
	}
	if t.Version != meta.Version {
		return &Error{Kind: Mismatch, Role: name, Have: "version " + decimal(t.Version), Want: "version " + decimal(meta.Version)}
	}
	role := loadedRole{content: t, raw: bytes.Clone(b), delegator: delegator}
	if err := s.checkExpiry(name, t.Expires); err != nil && !(s.renews && name == RoleTargets) {
		s.expired[name] = role
		return err
	}
	s.roles[name] = role
	return nil
}

// checkSnapshot is what every role rests on.
func (s *Session) checkSnapshot(name string) error {
	if s.snapshot == nil {
		return &Error{Kind: Order, Role: name, Want: "the snapshot"}
	}
	return s.checkTimestamp()
}

// delegation finds what the delegator says of the role.
func (s *Session) delegation(name, delegator string) (Delegation, error) {
	if delegator == RoleRoot {
		if name != RoleTargets {
			return Delegation{}, &Error{Kind: Missing, Role: RoleRoot, Want: "a delegation to " + clip(name, 80)}
		}
		return Delegation{Name: name, Authority: s.root.Roles[RoleTargets]}, nil
	}
	from, ok := s.roles[delegator]
	if !ok {
		return Delegation{}, &Error{Kind: Order, Role: name, Want: clip(delegator, 80)}
	}
	d, ok := from.content.Delegation(name)
	if !ok {
		return Delegation{}, &Error{Kind: Missing, Role: clip(delegator, 80), Want: "a delegation to " + clip(name, 80)}
	}
	return d, nil
}

func (s *Session) openTargets(name string, d Delegation, b []byte) (*Targets, error) {
	o, err := open[metadata.TargetsType](RoleTargets, b)
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: name, Err: err}
	}
	if err := verifyRole(name, d.Authority, o.message, o.sigs); err != nil {
		return nil, err
	}
	t, err := targetsOf(&o.signed)
	if err == nil && !s.general {
		err = checkCatalogContent(t)
	}
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: name, Err: err}
	}
	if s.general {
		return t, nil
	}
	if err := checkCatalogRole(name, t, d); err != nil {
		return nil, err
	}
	return t, nil
}

// Now is the session's time: the one it was begun with, or the issued time of the timestamp if that is later.
func (s *Session) Now() time.Time { return s.now }

// Root is the newest root that was verified.
func (s *Session) Root() *Root { return s.root }

// Timestamp is the newest timestamp that was verified, nil before; it may have expired, see UpdateTimestamp.
func (s *Session) Timestamp() *Timestamp { return s.timestamp }

// Snapshot is the one in effect, nil before.
func (s *Session) Snapshot() *Snapshot { return s.snapshot }

// Floor is what this session has verified so far, to be remembered for the next.
func (s *Session) Floor() Floor {
	f := Floor{Timestamp: s.floor.Timestamp, Snapshot: s.floor.Snapshot, Roles: map[string]Meta{}}
	for name, meta := range s.floor.Roles {
		f.Roles[name] = meta
	}
	return f
}

// Role is a verified role, "targets" or delegated.
func (s *Session) Role(name string) (*Targets, bool) {
	role, ok := s.roles[name]
	return role.content, ok
}

// ExpiredRole is a role that is right in all but its expiry. It says nothing any more; its signers need it to
// write the version that renews it.
func (s *Session) ExpiredRole(name string) (*Targets, []byte, bool) {
	role, ok := s.expired[name]
	return role.content, role.raw, ok
}

// Raw is the file, byte for byte, from which the session took the root, timestamp, snapshot or role of that
// name; nil if there is none. It is what a state directory should hold.
func (s *Session) Raw(name string) []byte {
	switch name {
	case RoleRoot:
		return s.rootRaw
	case RoleTimestamp:
		return s.timestampRaw
	case RoleSnapshot:
		return s.snapshotRaw
	default:
		return s.roles[name].raw
	}
}

// Delegation is what the verified targets role says of a delegated role.
func (s *Session) Delegation(name string) (Delegation, bool) {
	targets, ok := s.roles[RoleTargets]
	if !ok {
		return Delegation{}, false
	}
	return targets.content.Delegation(name)
}

// RoleAuthority is who may sign a role, of the top level or delegated by targets.
func (s *Session) RoleAuthority(name string) (Authority, bool) {
	if a, ok := s.root.Roles[name]; ok {
		return a, true
	}
	d, ok := s.Delegation(name)
	return d.Authority, ok
}

// CheckFile compares a downloaded target with what its role lists (5.7.3).
func (t Target) CheckFile(path string, content []byte) error {
	if t.Length != int64(len(content)) {
		return &Error{Kind: Mismatch, Role: clip(path, 200), Have: fmt.Sprintf("%d bytes", len(content)), Want: fmt.Sprintf("%d bytes", t.Length)}
	}
	return t.CheckReader(path, bytes.NewReader(content))
}

// CheckReader is CheckFile for a target that is too large for memory. Of what is longer than listed it reads one byte
// too many and no more. Errors of the reader come as they are. A target without a digest that can be checked is
// refused unread: a length proves nothing.
func (t Target) CheckReader(path string, content io.Reader) error {
	name := clip(path, 200)
	if t.SHA256 == "" && t.SHA512 == "" {
		return &Error{Kind: Missing, Role: name, Want: "a sha256 or sha512 digest"}
	}
	short, long := sha256.New(), sha512.New()
	n, err := io.Copy(io.MultiWriter(short, long), io.LimitReader(content, t.Length+1))
	if err != nil {
		return err
	}
	if n > t.Length {
		return &Error{Kind: Mismatch, Role: name, Have: "more", Want: fmt.Sprintf("%d bytes", t.Length)}
	}
	if n < t.Length {
		return &Error{Kind: Mismatch, Role: name, Have: fmt.Sprintf("%d bytes", n), Want: fmt.Sprintf("%d bytes", t.Length)}
	}
	return matchDigests(name, Meta{SHA256: t.SHA256, SHA512: t.SHA512}, short.Sum(nil), long.Sum(nil))
}
