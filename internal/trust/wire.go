package trust

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// timeFormat is the one form of a time in a role file (TUF 4.2): UTC, whole seconds.
const timeFormat = "2006-01-02T15:04:05Z"

// opened is a role file taken apart: its meaning, and what its signatures are to be made over.
type opened[T metadata.Roles] struct {
	signed  T
	message []byte
	sigs    []Signature
}

// open reads a whole role file of type T.
func open[T metadata.Roles](typ string, file []byte) (*opened[T], error) {
	tree, sigs, err := openEnvelope(file)
	if err != nil {
		return nil, err
	}
	o, err := decode[T](typ, tree)
	if err != nil {
		return nil, err
	}
	o.sigs = sigs
	return o, nil
}

// decode gives the signed part its meaning with go-tuf's types. What was understood, written again, must be
// what was received: so a key in other case, a null, a field twice in two spellings or a second form of one
// value cannot mean one thing to the signer and another to us.
func decode[T metadata.Roles](typ string, tree map[string]any) (*opened[T], error) {
	if err := checkCommon(typ, tree); err != nil {
		return nil, err
	}
	message, err := canonical(tree)
	if err != nil {
		return nil, err
	}
	data, err := encodeTree(tree)
	if err != nil {
		return nil, err
	}
	o := &opened[T]{message: message}
	if err := json.Unmarshal(data, &o.signed); err != nil {
		return nil, err
	}
	again, err := canonical(o.signed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, message) {
		return nil, fmt.Errorf("a field of the %s is missing, null, misspelt or in another form than TUF's", typ)
	}
	return o, nil
}

// checkCommon checks the attributes that all role files share (TUF 4.3 ff.).
func checkCommon(typ string, tree map[string]any) error {
	if got, _ := tree["_type"].(string); got != typ {
		return fmt.Errorf("the file is of type %q, want %q", clip(got, 40), typ)
	}
	spec, _ := tree["spec_version"].(string)
	if spec != "1" && !strings.HasPrefix(spec, "1.") {
		return fmt.Errorf("TUF specification version %q, want 1.x", clip(spec, 40))
	}
	number, _ := tree["version"].(json.Number)
	if v, err := number.Int64(); err != nil || v < 1 {
		return errors.New("version is not a whole number from 1 on")
	}
	expires, _ := tree["expires"].(string)
	if _, ok := parseTime(expires); !ok {
		return errors.New("expires is not a time like " + timeFormat)
	}
	return nil
}

// parseTime takes the one form only.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(timeFormat, s)
	return t, err == nil && t.Format(timeFormat) == s && !t.IsZero()
}

func formatTime(t time.Time) string { return t.UTC().Truncate(time.Second).Format(timeFormat) }

func rootOf(w *metadata.RootType) (*Root, error) {
	r := &Root{Version: w.Version, Expires: w.Expires.UTC(), Roles: map[string]Authority{},
		extra: w.UnrecognizedFields, flat: !w.ConsistentSnapshot}
	for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
		role := w.Roles[name]
		if role == nil {
			return nil, fmt.Errorf("no keys and threshold for %s", name)
		}
		a, err := authorityOf(role.KeyIDs, role.Threshold, w.Keys)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.Roles[name] = a
	}
	if len(r.Roles) != len(w.Roles) {
		return nil, errors.New("names a role that is not a top-level role")
	}
	r.Replaces, r.ProposalExpires, r.ProposalRoles = takeProposal(r.extra)
	return r, nil
}

// authorityOf pairs key ids with keys. A key id without a key stays, as a key that can verify nothing.
func authorityOf(ids []string, threshold int, wire map[string]*metadata.Key) (Authority, error) {
	if threshold < 1 {
		return Authority{}, fmt.Errorf("threshold %d, want at least 1", threshold)
	}
	if len(ids) > maxSignatures {
		return Authority{}, fmt.Errorf("lists %d key ids, want at most %d", len(ids), maxSignatures)
	}
	a, listed := Authority{Threshold: threshold}, map[string]bool{}
	for _, id := range ids {
		if listed[id] {
			return Authority{}, fmt.Errorf("lists the key id %s twice", clip(id, 12))
		}
		listed[id] = true
		a.Keys = append(a.Keys, keyFromWire(id, wire[id]))
	}
	return a, nil
}

func timestampOf(w *metadata.TimestampType) (*Timestamp, error) {
	meta, err := metaOf(w.Meta["snapshot.json"])
	if err != nil {
		return nil, fmt.Errorf("snapshot.json: %w", err)
	}
	if len(w.Meta) != 1 {
		return nil, errors.New("lists more than snapshot.json")
	}
	t := &Timestamp{Version: w.Version, Expires: w.Expires.UTC(), Snapshot: meta, extra: w.UnrecognizedFields}
	t.Issued = takeTime(t.extra, "issued")
	return t, nil
}

func snapshotOf(w *metadata.SnapshotType) (*Snapshot, error) {
	s := &Snapshot{Version: w.Version, Expires: w.Expires.UTC(), Roles: map[string]Meta{}, extra: w.UnrecognizedFields}
	for file, m := range w.Meta {
		name, ok := strings.CutSuffix(file, ".json")
		if !ok || name == "" {
			return nil, fmt.Errorf("lists %q, which is no role file", clip(file, 80))
		}
		meta, err := metaOf(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clip(file, 80), err)
		}
		s.Roles[name] = meta
	}
	return s, nil
}

func metaOf(w *metadata.MetaFiles) (Meta, error) {
	if w == nil {
		return Meta{}, errors.New("not listed")
	}
	if w.Version < 1 || w.Length < 0 {
		return Meta{}, errors.New("version below 1 or negative length")
	}
	m := Meta{Version: w.Version, Length: w.Length}
	var err error
	m.SHA256, m.SHA512, err = digestsOf(w.Hashes)
	return m, err
}

// digestsOf takes the digests Kitchen can check; at least one of those given must be such.
func digestsOf(h metadata.Hashes) (sha256hex, sha512hex string, err error) {
	short, long := h["sha256"], h["sha512"]
	if (len(short) != 0 && len(short) != 32) || (len(long) != 0 && len(long) != 64) {
		return "", "", errors.New("a digest has the wrong length")
	}
	if len(h) > 0 && len(short) == 0 && len(long) == 0 {
		return "", "", errors.New("neither a sha256 nor a sha512 digest")
	}
	return hex.EncodeToString(short), hex.EncodeToString(long), nil
}

func targetsOf(w *metadata.TargetsType) (*Targets, error) {
	t := &Targets{Version: w.Version, Expires: w.Expires.UTC(), Targets: map[string]Target{}, extra: w.UnrecognizedFields}
	for path, file := range w.Targets {
		target, err := targetOf(file)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", clip(path, 200), err)
		}
		t.Targets[path] = target
	}
	if role, ok := t.extra["role"].(string); ok && role != "" {
		t.Role = role
		delete(t.extra, "role")
	}
	t.Replaces, t.ProposalExpires, t.ProposalRoles = takeProposal(t.extra)
	return t, delegationsOf(t, w.Delegations)
}

func targetOf(w *metadata.TargetFiles) (Target, error) {
	if w == nil || w.Length < 0 {
		return Target{}, errors.New("no length and digest, or a negative length")
	}
	t := Target{Length: w.Length, extra: w.UnrecognizedFields}
	var err error
	if t.SHA256, t.SHA512, err = digestsOf(w.Hashes); err != nil {
		return Target{}, err
	}
	if w.Custom == nil {
		return t, nil
	}
	tree, err := parseStrict(*w.Custom)
	if err != nil {
		return Target{}, fmt.Errorf("custom: %w", err)
	}
	if t.Custom = stringMap(tree); t.Custom == nil {
		t.custom = slices.Clone(*w.Custom)
	}
	return t, nil
}

// stringMap is nil unless v is an object of strings.
func stringMap(v any) map[string]string {
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	m := make(map[string]string, len(object))
	for key, value := range object {
		text, ok := value.(string)
		if !ok {
			return nil
		}
		m[key] = text
	}
	return m
}

// delegationsOf reads TUF 4.5's delegations into t; role names must be unique and not those of the top level.
func delegationsOf(t *Targets, w *metadata.Delegations) error {
	if w == nil {
		return nil
	}
	t.delegationsExtra = w.UnrecognizedFields
	names := map[string]bool{}
	for _, role := range w.Roles {
		if role.Name == "" || names[role.Name] || isTopLevel(role.Name) {
			return fmt.Errorf("delegates to %q twice, or to a top-level role, or to a role without a name", clip(role.Name, 80))
		}
		names[role.Name] = true
		a, err := authorityOf(role.KeyIDs, role.Threshold, w.Keys)
		if err != nil {
			return fmt.Errorf("delegation to %s: %w", clip(role.Name, 80), err)
		}
		t.Delegations = append(t.Delegations, Delegation{Name: role.Name, Authority: a, Paths: role.Paths,
			NonTerminating: !role.Terminating, PathHashPrefixes: role.PathHashPrefixes, extra: role.UnrecognizedFields})
	}
	if w.SuccinctRoles != nil {
		a, err := authorityOf(w.SuccinctRoles.KeyIDs, w.SuccinctRoles.Threshold, w.Keys)
		if err != nil {
			return fmt.Errorf("succinct delegation: %w", err)
		}
		t.succinct, t.succinctKeys = w.SuccinctRoles, a.Keys
	}
	return nil
}

func isTopLevel(name string) bool {
	return slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], name)
}

// takeTime removes a well-formed time from the fields TUF does not know; anything else stays there.
func takeTime(fields map[string]any, name string) time.Time {
	text, _ := fields[name].(string)
	t, ok := parseTime(text)
	if !ok {
		return time.Time{}
	}
	delete(fields, name)
	return t
}

// takeProposal removes what a proposal writes into the signed part of root, targets and delegated roles.
func takeProposal(fields map[string]any) (replaces string, expires time.Time, roles string) {
	if text, ok := fields["replaces"].(string); ok && isDigest(text) {
		replaces = text
		delete(fields, "replaces")
	}
	if text, ok := fields["proposal_roles"].(string); ok && text == JoinRoles(strings.Fields(text)) {
		roles = text
		delete(fields, "proposal_roles")
	}
	return replaces, takeTime(fields, "proposal_expires"), roles
}

// JoinRoles writes the roles of a proposal as each of its payloads names them: sorted, with a space between two; "" for one alone.
func JoinRoles(names []string) string {
	sorted := slices.Compact(slices.Sorted(slices.Values(names)))
	if len(sorted) < 2 {
		return ""
	}
	return strings.Join(sorted, " ")
}

// withProposal is takeProposal the other way round.
func withProposal(fields map[string]any, replaces string, expires time.Time, roles string) map[string]any {
	if replaces != "" {
		fields = with(fields, "replaces", replaces)
	}
	if !expires.IsZero() {
		fields = with(fields, "proposal_expires", formatTime(expires))
	}
	if roles != "" {
		fields = with(fields, "proposal_roles", roles)
	}
	return fields
}

// isDigest says whether s is a sha256 in lower-case hex.
func isDigest(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && hex.EncodeToString(raw) == s
}

// with copies the unknown fields and adds one.
func with(fields map[string]any, name string, value any) map[string]any {
	c := maps.Clone(fields)
	if c == nil {
		c = map[string]any{}
	}
	c[name] = value
	return c
}
