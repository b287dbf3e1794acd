package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// UpdateTimestamp takes a timestamp: first the remembered one, if there is one and the online keys did not
// change, then the newly fetched one.
//
// It must be signed by the root's timestamp keys (5.4.2), and neither it nor the snapshot it names may be
// older than seen before (5.4.3); of an equal version it must say the same. Where all that holds but it
// has expired (5.4.4), the error is of kind Expired and the timestamp stays as floor: a caller goes on from a
// remembered one to fetch a newer one, and gives up on a fetched one. UpdateSnapshot checks the expiry again.
//
// The issued time of a timestamp that has not expired is a floor for the session's time.
func (s *Session) UpdateTimestamp(b []byte) error {
	if !s.rootsDone || s.snapshot != nil {
		return &Error{Kind: Order, Role: RoleTimestamp, Want: "the roots are finished, and after the snapshot only in a new session"}
	}
	t, content, err := s.openTimestamp(b)
	if err != nil {
		return err
	}
	if s.general && s.timestamp != nil && t.Version == s.timestamp.Version {
		return s.checkExpiry(RoleTimestamp, s.timestamp.Expires)
	}
	seen := Seen{Version: t.Version, Content: content}
	if err := s.checkSeen(RoleTimestamp, seen, s.floor.Timestamp); err != nil {
		return err
	}
	if err := s.check(RoleSnapshot, t.Snapshot, s.floor.Snapshot); err != nil {
		return err
	}
	s.timestamp, s.timestampRaw = t, bytes.Clone(b)
	s.floor.Timestamp, s.floor.Snapshot = seen, t.Snapshot
	if err := s.checkOnlineExpiry(RoleTimestamp, t.Expires); err != nil {
		return err
	}
	if !s.general && t.Issued.After(s.now) { // elsewhere "issued" is a field that means nothing to us
		s.now = t.Issued
	}
	return nil
}

func (s *Session) openTimestamp(b []byte) (*Timestamp, string, error) {
	o, err := open[metadata.TimestampType](RoleTimestamp, b)
	if err != nil {
		return nil, "", &Error{Kind: Malformed, Role: RoleTimestamp, Err: err}
	}
	if err := verifyRole(RoleTimestamp, s.root.Roles[RoleTimestamp], o.message, o.sigs); err != nil {
		return nil, "", err
	}
	t, err := timestampOf(&o.signed)
	if err == nil && !s.general {
		err = checkCatalogTimestamp(t)
	}
	if err != nil {
		return nil, "", &Error{Kind: Malformed, Role: RoleTimestamp, Err: err}
	}
	return t, contentOf(o.message), nil
}

// UpdateSnapshot takes a snapshot, remembered or newly fetched.
//
// A fetched one must be what the timestamp names: length and digest (5.5.2), version (5.5.4). It must be signed
// by the root's snapshot keys (5.5.3), must drop no role and roll none back (5.5.5), give no role other content
// under the same version, and not have expired (5.5.6).
//
// A remembered one is in effect if it is still what the timestamp names: the answer is nil and nothing needs to
// be fetched. Otherwise the error is of kind Mismatch, and it serves as floor for the one to fetch; any other
// error means that it is damaged or not to be used.
func (s *Session) UpdateSnapshot(b []byte, remembered bool) error {
	if err := s.checkTimestamp(); err != nil {
		return err
	}
	if len(s.roles) > 0 {
		return &Error{Kind: Order, Role: RoleSnapshot, Want: "a new session"}
	}
	announced := matches(RoleSnapshot, s.timestamp.Snapshot, b)
	if announced != nil && !remembered {
		return announced
	}
	snap, content, err := s.openSnapshot(b)
	if err != nil {
		return err
	}
	if err := s.checkAgainstSeen(snap, content, remembered); err != nil {
		return err
	}
	if announced == nil && snap.Version != s.timestamp.Snapshot.Version {
		announced = &Error{Kind: Mismatch, Role: RoleSnapshot, Have: "version " + decimal(snap.Version),
			Want: "version " + decimal(s.timestamp.Snapshot.Version)}
	}
	if announced != nil {
		return announced
	}
	if err := s.checkOnlineExpiry(RoleSnapshot, snap.Expires); err != nil {
		return err
	}
	s.snapshot, s.snapshotRaw = snap, bytes.Clone(b)
	return nil
}

// checkAgainstSeen refuses what contradicts the snapshots seen before, and makes this one the floor.
func (s *Session) checkAgainstSeen(snap *Snapshot, content string, remembered bool) error {
	if err := s.checkRolesFloor(snap); err != nil {
		return err
	}
	seen := Seen{Version: snap.Version, Content: content}
	if !remembered && !s.general {
		if err := s.checkSeen(RoleSnapshot, seen, s.seen); err != nil {
			return err
		}
	}
	if remembered || snap.Version == s.timestamp.Snapshot.Version {
		s.seen, s.floor.Roles = seen, maps.Clone(snap.Roles)
	}
	return nil
}

func (s *Session) openSnapshot(b []byte) (*Snapshot, string, error) {
	o, err := open[metadata.SnapshotType](RoleSnapshot, b)
	if err != nil {
		return nil, "", &Error{Kind: Malformed, Role: RoleSnapshot, Err: err}
	}
	if err := verifyRole(RoleSnapshot, s.root.Roles[RoleSnapshot], o.message, o.sigs); err != nil {
		return nil, "", err
	}
	snap, err := snapshotOf(&o.signed)
	if err == nil && !s.general {
		err = checkCatalogSnapshot(snap)
	}
	if err != nil {
		return nil, "", &Error{Kind: Malformed, Role: RoleSnapshot, Err: err}
	}
	return snap, contentOf(o.message), nil
}

// checkRolesFloor compares every role that was ever listed (5.5.5).
func (s *Session) checkRolesFloor(snap *Snapshot) error {
	for _, name := range slices.Sorted(maps.Keys(s.floor.Roles)) {
		have, listed := snap.Roles[name]
		if !listed {
			return &Error{Kind: Missing, Role: RoleSnapshot, Want: clip(name, 80),
				Err: fmt.Errorf("the role was listed before, and a snapshot never drops one")}
		}
		if err := s.check(name, have, s.floor.Roles[name]); err != nil {
			return err
		}
	}
	return nil
}

// checkTimestamp is what everything below the timestamp rests on: root and timestamp hold at the session's time.
func (s *Session) checkTimestamp() error {
	if s.timestamp == nil {
		return &Error{Kind: Order, Role: RoleSnapshot, Want: "the timestamp"}
	}
	if err := s.checkExpiry(RoleRoot, s.root.Expires); err != nil && !s.renews {
		return err
	}
	return s.checkOnlineExpiry(RoleTimestamp, s.timestamp.Expires)
}

// checkSeen refuses an older version, and the same version with other content.
func (s *Session) checkSeen(role string, have, seen Seen) error {
	return s.check(role, Meta{Version: have.Version, SHA256: have.Content}, Meta{Version: seen.Version, SHA256: seen.Content})
}

// contentOf names the signed part of a file, whatever stands around it.
func contentOf(message []byte) string {
	digest := sha256.Sum256(message)
	return hex.EncodeToString(digest[:])
}

// matches compares a file with what is announced of it, as far as it is announced.
func matches(role string, m Meta, b []byte) error {
	if m.Length != 0 && m.Length != int64(len(b)) {
		return &Error{Kind: Mismatch, Role: role, Have: fmt.Sprintf("%d bytes", len(b)), Want: fmt.Sprintf("%d bytes", m.Length)}
	}
	short, long := sha256.Sum256(b), sha512.Sum512(b)
	return matchDigests(role, m, short[:], long[:])
}

func matchDigests(role string, m Meta, short, long []byte) error {
	if got := hex.EncodeToString(short); m.SHA256 != "" && m.SHA256 != got {
		return &Error{Kind: Mismatch, Role: role, Have: "sha256 " + got, Want: "sha256 " + m.SHA256}
	}
	if got := hex.EncodeToString(long); m.SHA512 != "" && m.SHA512 != got {
		return &Error{Kind: Mismatch, Role: role, Have: "sha512 " + got, Want: "sha512 " + m.SHA512}
	}
	return nil
}
