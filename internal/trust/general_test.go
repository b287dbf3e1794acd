package trust_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/trust"
)

type object = map[string]any

// foreignRepository is a TUF repository as others write it: no lengths, no digests, no issued time, nested
// delegations, hash prefixes, sha512.
type foreignRepository struct {
	root, timestamp, snapshot []byte
	roles                     map[string][]byte
}

func newForeign(t *testing.T, key, deepKey foreignKey) foreignRepository {
	t.Helper()
	role := object{"keyids": []any{key.id}, "threshold": 1}
	meta := object{}
	for _, name := range []string{"targets", "a", "b", "shared"} {
		meta[name+".json"] = object{"version": 1}
	}
	delegate := func(name string, k foreignKey, more object) object {
		d := object{"name": name, "keyids": []any{k.id}, "threshold": 1, "terminating": false}
		for field, value := range more {
			d[field] = value
		}
		return d
	}
	delegations := func(k foreignKey, roles ...any) object {
		return object{"delegations": object{"keys": object{k.id: k.form}, "roles": roles}, "targets": object{}}
	}
	content := []byte("content")
	digest := sha512.Sum512(content)
	prefix := sha256.Sum256([]byte("deep/file"))
	return foreignRepository{
		root: key.seal(t, head("root", 1, object{"consistent_snapshot": false, "keys": object{key.id: key.form},
			"roles": object{"root": role, "targets": role, "snapshot": role, "timestamp": role}})),
		timestamp: key.seal(t, head("timestamp", 1, object{"meta": object{"snapshot.json": object{"version": 1}}})),
		snapshot:  key.seal(t, head("snapshot", 1, object{"meta": meta})),
		roles: map[string][]byte{
			"targets": key.seal(t, head("targets", 1, delegations(key,
				delegate("a", key, object{"paths": []any{"deep/*"}}), delegate("b", key, object{"paths": []any{"*/*"}})))),
			"a": key.seal(t, head("targets", 1, delegations(key,
				delegate("shared", key, object{"path_hash_prefixes": []any{hex.EncodeToString(prefix[:])[:2]}})))),
			"b": key.seal(t, head("targets", 1, delegations(deepKey, delegate("shared", deepKey, object{"paths": []any{"*/*"}})))),
			"shared": key.seal(t, head("targets", 1, object{"targets": object{"deep/file": object{"length": len(content),
				"hashes": object{"sha512": hex.EncodeToString(digest[:])}, "custom": object{"any": []any{1}}}}})),
		},
	}
}

func (r foreignRepository) session(t *testing.T) *trust.Session {
	t.Helper()
	s, err := trust.StartGeneral(r.root, now)
	check(t, err)
	check(t, s.FinishRoots())
	check(t, s.UpdateTimestamp(r.timestamp))
	check(t, s.UpdateSnapshot(r.snapshot, false))
	check(t, s.UpdateDelegated("targets", "root", r.roles["targets"]))
	return s
}

func TestForeignRepositoryByEveryKindOfKey(t *testing.T) {
	for name, key := range foreignKeys(t) {
		t.Run(name, func(t *testing.T) {
			repo := newForeign(t, key, key)
			s := repo.session(t)
			check(t, s.UpdateDelegated("a", "targets", repo.roles["a"]))
			role, _ := s.Role("a")
			if list := role.DelegationsFor("deep/file"); len(list) != 1 || list[0].Name != "shared" {
				t.Fatalf("hash prefix leads to %v", list)
			}
			check(t, s.UpdateDelegated("shared", "a", repo.roles["shared"]))
			shared, _ := s.Role("shared")
			check(t, shared.Targets["deep/file"].CheckFile("deep/file", []byte("content")))
			wantKind(t, shared.Targets["deep/file"].CheckFile("deep/file", []byte("Content")), trust.Mismatch)
			wantKind(t, shared.Targets["deep/file"].CheckFile("deep/file", []byte("contents")), trust.Mismatch)
			_, err := trust.Start(repo.root, now)
			wantKind(t, err, trust.Malformed) // no Kitchen catalog
		})
	}
}

// TestRoleReachedThroughAnotherDelegator: a good answer under one delegator's keys is none under another's.
func TestRoleReachedThroughAnotherDelegator(t *testing.T) {
	keys := foreignKeys(t)
	repo := newForeign(t, keys["ed25519"], keys["ecdsa-sha2-nistp256"])
	s := repo.session(t)
	for _, role := range []string{"a", "b"} {
		check(t, s.UpdateDelegated(role, "targets", repo.roles[role]))
	}
	check(t, s.UpdateDelegated("shared", "a", repo.roles["shared"]))
	wantKind(t, s.UpdateDelegated("shared", "b", repo.roles["shared"]), trust.BadSignature)
	wantKind(t, s.UpdateDelegated("b", "a", repo.roles["b"]), trust.Missing)
	wantKind(t, s.UpdateDelegated("a", "root", repo.roles["a"]), trust.Missing)
	wantKind(t, s.UpdateDelegated("shared", "nobody", repo.roles["shared"]), trust.Order)
}

// TestGeneralEqualTimestampIsDiscarded: 5.4.3.1, no error and no change.
func TestGeneralEqualTimestampIsDiscarded(t *testing.T) {
	key := foreignKeys(t)["ed25519"]
	repo := newForeign(t, key, key)
	s, err := trust.StartGeneral(repo.root, now)
	check(t, err)
	check(t, s.FinishRoots())
	check(t, s.UpdateTimestamp(repo.timestamp))
	other := key.seal(t, head("timestamp", 1, object{"meta": object{"snapshot.json": object{"version": 9}}}))
	check(t, s.UpdateTimestamp(other))
	if string(s.Raw("timestamp")) != string(repo.timestamp) || s.Timestamp().Snapshot.Version != 1 {
		t.Fatal("a timestamp of equal version replaced the first")
	}
}

// TestUnusableKeysVerifyNothing: damaged or unknown keys neither count nor stop the others, nor panic.
func TestUnusableKeysVerifyNothing(t *testing.T) {
	key := foreignKeys(t)["ed25519"]
	for name, form := range map[string]object{
		"unknown kind":      {"keytype": "quantum", "scheme": "entangled", "keyval": object{"public": "x"}},
		"short ed25519 key": {"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": "abcd"}},
		"empty ed25519 key": {"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": ""}},
		"broken PEM":        {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": object{"public": "-----BEGIN"}},
		"scheme of another": {"keytype": "ed25519", "scheme": "rsassa-pss-sha256", "keyval": key.form["keyval"]},
	} {
		t.Run(name, func(t *testing.T) {
			id := strings.Repeat("ee", 32)
			role := object{"keyids": []any{id, key.id, "unlisted"}, "threshold": 1}
			root := key.seal(t, head("root", 1, object{"consistent_snapshot": true,
				"keys":  object{key.id: key.form, id: form},
				"roles": object{"root": role, "targets": role, "snapshot": role, "timestamp": role}}))
			_, err := trust.StartGeneral(root, now)
			check(t, err)
			_, err = trust.Start(root, now)
			wantKind(t, err, trust.Malformed)
		})
	}
}

// TestSuccinctDelegation: bins by the hash of the path (TAP 15), all with the same keys.
func TestSuccinctDelegation(t *testing.T) {
	key := foreignKeys(t)["ed25519"]
	repo := newForeign(t, key, key)
	repo.roles["targets"] = key.seal(t, head("targets", 1, object{"targets": object{}, "delegations": object{
		"keys": object{key.id: key.form}, "succinct_roles": object{"keyids": []any{key.id}, "threshold": 1,
			"bit_length": 4, "name_prefix": "bin"}}}))
	digest := sha256.Sum256([]byte("deep/file"))
	bin := "bin-" + hex.EncodeToString(digest[:1])[:1]
	repo.snapshot = key.seal(t, head("snapshot", 1, object{"meta": object{
		"targets.json": object{"version": 1}, bin + ".json": object{"version": 1}}}))
	s := repo.session(t)
	targets, _ := s.Role("targets")
	list := targets.DelegationsFor("deep/file")
	if len(list) != 1 || list[0].Name != bin {
		t.Fatalf("the path leads to %v, want %s", list, bin)
	}
	check(t, s.UpdateDelegated(bin, "targets", repo.roles["shared"]))
	wantKind(t, s.UpdateDelegated("bin-10", "targets", repo.roles["shared"]), trust.Missing)
}
