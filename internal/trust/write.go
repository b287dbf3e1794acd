package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// MetaOf describes a role file as snapshot (or timestamp) has to list it.
func MetaOf(version int64, file []byte) Meta {
	digest := sha256.Sum256(file)
	return Meta{Version: version, Length: int64(len(file)), SHA256: hex.EncodeToString(digest[:])}
}

// Payload is the signed part in Kitchen's one form: compact JSON, keys sorted bytewise. It is what Sign
// signs (in its canonical form) and what Envelope publishes. Content that readers of a Kitchen catalog
// would refuse is an error; so it is in the other Payload methods.
func (r *Root) Payload() ([]byte, error) {
	if err := checkCatalogRoot(r); err != nil {
		return nil, err
	}
	w := metadata.RootType{Type: RoleRoot, SpecVersion: metadata.SPECIFICATION_VERSION, ConsistentSnapshot: true,
		Version: r.Version, Expires: wireTime(r.Expires), UnrecognizedFields: withProposal(r.extra, r.Replaces, r.ProposalExpires, r.ProposalRoles),
		Keys: map[string]*metadata.Key{}, Roles: map[string]*metadata.Role{}}
	for name, a := range r.Roles {
		w.Roles[name] = &metadata.Role{KeyIDs: a.KeyIDs(), Threshold: a.Threshold}
		addKeys(w.Keys, a)
	}
	return payload[metadata.RootType](RoleRoot, w)
}

// Payload is the signed part; see Root.Payload. The issued time is written into it.
func (t *Timestamp) Payload() ([]byte, error) {
	if err := checkCatalogTimestamp(t); err != nil {
		return nil, err
	}
	return payload[metadata.TimestampType](RoleTimestamp, metadata.TimestampType{Type: RoleTimestamp,
		SpecVersion: metadata.SPECIFICATION_VERSION, Version: t.Version, Expires: wireTime(t.Expires),
		Meta:               map[string]*metadata.MetaFiles{"snapshot.json": wireMeta(t.Snapshot)},
		UnrecognizedFields: with(t.extra, "issued", formatTime(t.Issued))})
}

// Payload is the signed part; see Root.Payload.
func (s *Snapshot) Payload() ([]byte, error) {
	if err := checkCatalogSnapshot(s); err != nil {
		return nil, err
	}
	w := metadata.SnapshotType{Type: RoleSnapshot, SpecVersion: metadata.SPECIFICATION_VERSION, Version: s.Version,
		Expires: wireTime(s.Expires), Meta: map[string]*metadata.MetaFiles{}, UnrecognizedFields: s.extra}
	for name, m := range s.Roles {
		w.Meta[name+".json"] = wireMeta(m)
	}
	return payload[metadata.SnapshotType](RoleSnapshot, w)
}

// Payload is the signed part of "targets" or of a delegated role; see Root.Payload. Whether the paths lie
// within the role's scope depends on its delegation: see CheckScope.
func (t *Targets) Payload() ([]byte, error) {
	if err := checkCatalogContent(t); err != nil {
		return nil, err
	}
	extra := withProposal(with(t.extra, "role", t.Role), t.Replaces, t.ProposalExpires, t.ProposalRoles)
	w := metadata.TargetsType{Type: RoleTargets, SpecVersion: metadata.SPECIFICATION_VERSION, Version: t.Version,
		Expires: wireTime(t.Expires), Targets: map[string]*metadata.TargetFiles{}, UnrecognizedFields: extra}
	for path, target := range t.Targets {
		file, err := wireTarget(target)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", clip(path, 200), err)
		}
		w.Targets[path] = file
	}
	w.Delegations = wireDelegations(t)
	return payload[metadata.TargetsType](RoleTargets, w)
}

// ParseTargetsPayload reads the payload of "targets" or a delegated role, as a proposal carries it. It
// verifies no signature. Errors are *Error of kind Malformed.
func ParseTargetsPayload(data []byte) (*Targets, error) {
	tree, err := parsePayload(data)
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "role payload", Err: err}
	}
	o, err := decode[metadata.TargetsType](RoleTargets, tree)
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "role payload", Err: err}
	}
	t, err := targetsOf(&o.signed)
	if err == nil {
		err = checkCatalogContent(t)
	}
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "role payload", Err: err}
	}
	return t, nil
}

// ParseRootPayload reads the payload of a root, as a proposal carries it. It verifies no signature. Errors are *Error of kind Malformed.
func ParseRootPayload(data []byte) (*Root, error) {
	tree, err := parsePayload(data)
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "root payload", Err: err}
	}
	o, err := decode[metadata.RootType](RoleRoot, tree)
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "root payload", Err: err}
	}
	r, err := rootOf(&o.signed)
	if err == nil {
		err = checkCatalogRoot(r)
	}
	if err != nil {
		return nil, &Error{Kind: Malformed, Role: "root payload", Err: err}
	}
	return r, nil
}

// payload writes w in the one form, and reads it again as everybody else will.
func payload[T metadata.Roles](typ string, w T) ([]byte, error) {
	data, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	tree, err := parseStrict(data)
	if err != nil {
		return nil, err
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	if _, err := decode[T](typ, object); err != nil {
		return nil, err
	}
	return encodeTree(object)
}

func wireTime(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func addKeys(all map[string]*metadata.Key, a Authority) {
	for _, key := range a.Keys {
		all[key.ID] = key.wire
	}
}

func wireMeta(m Meta) *metadata.MetaFiles {
	return &metadata.MetaFiles{Version: m.Version, Length: m.Length, Hashes: wireDigest(m.SHA256)}
}

func wireDigest(sha256hex string) metadata.Hashes {
	raw, err := hex.DecodeString(sha256hex)
	if err != nil {
		return nil
	}
	return metadata.Hashes{"sha256": raw}
}

func wireTarget(t Target) (*metadata.TargetFiles, error) {
	w := &metadata.TargetFiles{Length: t.Length, Hashes: wireDigest(t.SHA256), UnrecognizedFields: t.extra}
	if t.Custom == nil {
		return w, nil
	}
	custom, err := json.Marshal(t.Custom)
	if err != nil {
		return nil, err
	}
	raw := json.RawMessage(custom)
	w.Custom = &raw
	return w, nil
}

// wireDelegations is nil, and so left out, for a role that delegates nothing.
func wireDelegations(t *Targets) *metadata.Delegations {
	if len(t.Delegations) == 0 {
		return nil
	}
	w := &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{},
		UnrecognizedFields: t.delegationsExtra}
	for _, d := range t.Delegations {
		addKeys(w.Keys, d.Authority)
		w.Roles = append(w.Roles, metadata.DelegatedRole{Name: d.Name, KeyIDs: d.KeyIDs(), Threshold: d.Threshold,
			Terminating: true, Paths: d.Paths, UnrecognizedFields: d.extra})
	}
	return w
}
