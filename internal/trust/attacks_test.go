package trust_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/trust"
)

func TestCatalogVerifies(t *testing.T) {
	w := newWorld(t)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	check(t, w.read(s, nil))
	role, ok := s.Role("product.openstack")
	if !ok || role.Targets[w.manifestPath].Custom["seq"] != "1" {
		t.Fatalf("role came out as %+v", role)
	}
	check(t, role.Targets[w.manifestPath].CheckFile(w.manifestPath, w.manifestBytes))
	if !bytes.Equal(s.Raw("timestamp"), w.timestamp) || !bytes.Equal(s.Raw("targets"), w.roles["targets"]) {
		t.Fatal("Raw is not what was given")
	}
	if a, ok := s.RoleAuthority("product.openstack"); !ok || !a.Has(w.engineer.key.ID) {
		t.Fatal("authority of a delegated role not found")
	}
	if a, ok := s.RoleAuthority("root"); !ok || a.Threshold != 2 {
		t.Fatal("authority of root not found")
	}
}

// TestFreshReader names what a reader without memory must refuse.
func TestFreshReader(t *testing.T) {
	set := func(field string, value any) func(map[string]any) {
		return func(signed map[string]any) { signed[field] = value }
	}
	delegation := func(signed object, i int) object {
		return signed["delegations"].(object)["roles"].([]any)[i].(object)
	}
	for _, c := range []struct {
		name  string
		kind  trust.Kind
		spoil func(w *world)
	}{
		{"freeze: expired timestamp", trust.Expired, func(w *world) { w.issued = now.Add(-8 * day); w.sealOnline() }},
		{"freeze: expired snapshot", trust.Expired, func(w *world) { w.snapLife = -time.Second; w.sealOnline() }},
		{"freeze: timestamp that ends this second", trust.Expired, func(w *world) { w.issued = now.Add(-7 * day); w.sealOnline() }},
		{"freeze: expired targets", trust.Expired, func(w *world) {
			w.targetsDoc.Expires = now.Add(-day)
			w.sealTargets()
			w.sealOnline()
		}},
		{"freeze: expired delegated role", trust.Expired, func(w *world) {
			w.productDoc.Expires = now.Add(-day)
			w.sealProduct()
			w.sealOnline()
		}},
		{"freeze: expired root", trust.Expired, func(w *world) {
			w.rootDoc.Expires = now.Add(-day)
			w.rootFile = w.seal(w.rootDoc, w.root[0], w.root[1])
		}},
		{"mix and match: another snapshot", trust.Mismatch, func(w *world) {
			old := w.snapshotFile
			w.commit()
			w.snapshotFile = old
		}},
		{"mix and match: another role file", trust.Mismatch, func(w *world) {
			w.productDoc.Version = 2
			w.roles["product.openstack"] = w.seal(w.productDoc, w.engineer)
		}},
		{"length and hash mismatch: trailing space", trust.Mismatch, func(w *world) {
			w.roles["targets"] = append(w.roles["targets"], ' ')
		}},
		{"hash mismatch: same length", trust.Mismatch, func(w *world) {
			w.snapshotFile = bytes.Replace(w.snapshotFile, []byte("2026"), []byte("2027"), 1)
		}},
		{"version mismatch: role says another number than snapshot", trust.Mismatch, func(w *world) {
			w.versions["product.openstack"] = 5
			w.sealOnline()
		}},
		{"wrong key: timestamp", trust.BadSignature, func(w *world) {
			w.timestamp = w.forge(w.timestamp, func(map[string]any) {}, w.engineer)
		}},
		{"wrong key: delegated role signed by its sibling", trust.BadSignature, func(w *world) {
			w.putForged("product.openstack", func(map[string]any) {}, w.ci)
		}},
		{"wrong key: signature under another's key id", trust.BadSignature, func(w *world) {
			thief := newSigner(t)
			thief.key = w.online.key
			w.timestamp = w.forge(w.timestamp, func(map[string]any) {}, thief)
		}},
		{"bad signature: changed content", trust.BadSignature, func(w *world) {
			w.timestamp = bytes.Replace(w.timestamp, []byte(`"version":1}`), []byte(`"version":9}`), 2)
		}},
		{"no signature", trust.BadSignature, func(w *world) { w.timestamp = w.forge(w.timestamp, func(map[string]any) {}) }},
		{"threshold not met: root", trust.Threshold, func(w *world) { w.rootFile = w.seal(w.rootDoc, w.root[0]) }},
		{"threshold not met: targets", trust.Threshold, func(w *world) {
			w.putForged("targets", func(map[string]any) {}, w.targets[0])
		}},
		{"duplicate key id signatures", trust.Malformed, func(w *world) {
			w.putForged("targets", func(map[string]any) {}, w.targets[0], w.targets[0])
		}},
		{"threshold 0: root's timestamp role", trust.Malformed, func(w *world) {
			w.rootFile = w.forge(w.rootFile, func(signed map[string]any) {
				signed["roles"].(object)["timestamp"].(object)["threshold"] = 0
			}, w.root...)
		}},
		{"threshold 0: delegated role", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 0)["threshold"] = 0 }, w.targets...)
		}},
		{"threshold beyond the keys", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 0)["threshold"] = 2 }, w.targets...)
		}},
		{"duplicate role name in delegations", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 1)["name"] = "product.openstack" }, w.targets...)
		}},
		{"delegation to a top-level role", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 1)["name"] = "snapshot" }, w.targets...)
		}},
		{"delegation to a path as role name", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 1)["name"] = "../root" }, w.targets...)
		}},
		{"delegation that does not end the search", trust.Malformed, func(w *world) {
			w.putForged("targets", func(signed map[string]any) { delegation(signed, 1)["terminating"] = false }, w.targets...)
		}},
		{"scope escape: another product's path", trust.OutOfScope, func(w *world) {
			w.productDoc.Targets["catalog/ceph/1.0/manifest.toml"] = w.productDoc.Targets[w.manifestPath]
			w.sealProduct()
			w.sealOnline()
		}},
		{"scope escape: another stage", trust.OutOfScope, func(w *world) {
			w.productDoc.Targets["validated/openstack/2.1.0/manifest.toml"] = w.productDoc.Targets[w.manifestPath]
			w.sealProduct()
			w.sealOnline()
		}},
		{"scope escape: deeper path", trust.OutOfScope, func(w *world) {
			w.productDoc.Targets["catalog/openstack/2.1.0/x/manifest.toml"] = w.productDoc.Targets[w.manifestPath]
			w.sealProduct()
			w.sealOnline()
		}},
		{"scope escape: dots", trust.Malformed, func(w *world) {
			w.putForged("product.openstack", func(signed map[string]any) {
				files := signed["targets"].(object)
				files["catalog/openstack/../ceph"] = files[w.manifestPath]
			}, w.engineer)
		}},
		{"target paths that differ in case alone", trust.Malformed, func(w *world) {
			w.putForged("product.openstack", func(signed map[string]any) {
				files := signed["targets"].(object)
				files["catalog/openstack/2.1.0/MANIFEST.toml"] = files[w.manifestPath]
			}, w.engineer)
		}},
		{"targets lists a file itself", trust.OutOfScope, func(w *world) {
			w.targetsDoc.Targets = w.productDoc.Targets
			w.sealTargets()
			w.sealOnline()
		}},
		{"delegated role delegates", trust.OutOfScope, func(w *world) {
			w.productDoc.Delegations = w.targetsDoc.Delegations[1:]
			w.sealProduct()
			w.sealOnline()
		}},
		{"role not in the snapshot", trust.Missing, func(w *world) {
			file := w.roles["product.openstack"]
			delete(w.roles, "product.openstack")
			w.sealOnline()
			w.roles["product.openstack"] = file
		}},
		{"timestamp without length and digest", trust.Malformed, func(w *world) {
			w.forgeTimestamp(set("meta", object{"snapshot.json": object{"version": 1}}))
		}},
		{"timestamp without snapshot", trust.Malformed, func(w *world) { w.forgeTimestamp(set("meta", object{})) }},
		{"timestamp with a null snapshot", trust.Malformed, func(w *world) {
			w.forgeTimestamp(set("meta", object{"snapshot.json": nil}))
		}},
		{"timestamp without issued", trust.Malformed, func(w *world) {
			w.forgeTimestamp(func(signed map[string]any) { delete(signed, "issued") })
		}},
		{"timestamp issued after its expiry", trust.Malformed, func(w *world) { w.forgeTimestamp(set("issued", "2030-01-01T00:00:00Z")) }},
		{"snapshot without digest of a role", trust.Malformed, func(w *world) {
			w.forgeSnapshot(func(signed map[string]any) {
				delete(signed["meta"].(object)["targets.json"].(object), "hashes")
			})
		}},
		{"target with two digests", trust.Malformed, func(w *world) {
			w.putForged("product.openstack", func(signed map[string]any) {
				hashes := signed["targets"].(object)[w.manifestPath].(object)["hashes"].(object)
				hashes["sha512"] = strings.Repeat("ab", 64)
			}, w.engineer)
		}},
		{"custom that is not strings", trust.Malformed, func(w *world) {
			w.putForged("product.openstack", func(signed map[string]any) {
				signed["targets"].(object)[w.manifestPath].(object)["custom"] = object{"seq": 1}
			}, w.engineer)
		}},
		{"one type in place of another", trust.Malformed, func(w *world) { w.timestamp = w.snapshotFile }},
		{"specification version 2", trust.Malformed, func(w *world) { w.forgeTimestamp(set("spec_version", "2.0.0")) }},
		{"version 0", trust.Malformed, func(w *world) { w.forgeTimestamp(set("version", 0)) }},
		{"time in another zone", trust.Malformed, func(w *world) { w.forgeTimestamp(set("expires", "2026-03-08T12:00:00+02:00")) }},
		{"misspelt field that would win over the right one", trust.Malformed, func(w *world) {
			w.forgeTimestamp(set("expire\u017f", "2030-01-01T00:00:00Z")) // the long s folds to s
		}},
		{"misspelt field in place of the right one", trust.Malformed, func(w *world) {
			w.forgeTimestamp(func(signed map[string]any) {
				signed["Expires"] = signed["expires"]
				delete(signed, "expires")
			})
		}},
		{"no consistent snapshots", trust.Malformed, func(w *world) {
			w.rootFile = w.forge(w.rootFile, set("consistent_snapshot", false), w.root...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(w)
			err := w.fresh()
			wantKind(t, err, c.kind)
			if line := err.Error(); strings.ContainsAny(line, "\n\r\x1b") || line == "" {
				t.Errorf("error is not one plain line: %q", line)
			}
			if err.(*trust.Error).Hint() == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestStepsOutOfOrder(t *testing.T) {
	w := newWorld(t)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	wantKind(t, s.UpdateTimestamp(w.timestamp), trust.Order)
	wantKind(t, s.UpdateSnapshot(w.snapshotFile, false), trust.Order)
	wantKind(t, s.UpdateRole("targets", w.roles["targets"]), trust.Order)
	check(t, s.FinishRoots())
	wantKind(t, s.UpdateRoot(w.rootFile), trust.Order)
	check(t, s.UpdateTimestamp(w.timestamp))
	wantKind(t, s.Remember(trust.Floor{}), trust.Order)
	check(t, s.UpdateSnapshot(w.snapshotFile, false))
	wantKind(t, s.UpdateTimestamp(w.timestamp), trust.Order)
	wantKind(t, s.UpdateRole("product.openstack", w.roles["product.openstack"]), trust.Order)
	check(t, s.UpdateRole("targets", w.roles["targets"]))
	wantKind(t, s.UpdateSnapshot(w.snapshotFile, false), trust.Order)
	wantKind(t, s.UpdateRole("product.ceph", w.roles["product.openstack"]), trust.Missing)
	if _, ok := s.Role("product.ceph"); ok || s.Raw("product.ceph") != nil {
		t.Fatal("a role that was refused is there")
	}
}

// TestExpiredRoleCanBeRenewed: what has expired is refused, and still given to who has to renew it.
func TestExpiredRoleCanBeRenewed(t *testing.T) {
	w := newWorld(t)
	w.productDoc.Expires = now.Add(-day)
	w.sealProduct()
	w.sealOnline()
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	wantKind(t, w.read(s, nil), trust.Expired)
	if _, ok := s.Role("product.openstack"); ok {
		t.Fatal("an expired role is in effect")
	}
	role, raw, ok := s.ExpiredRole("product.openstack")
	if !ok || !bytes.Equal(raw, w.roles["product.openstack"]) || len(role.Targets) != 1 {
		t.Fatal("an expired role is not there for renewal")
	}
}

// TestExpiredTargetsServeNobodyElse: the choice to read below an expired targets role excuses its expiry, and nothing
// else: not its signatures, not the expiry of any other role, and not without being asked.
func TestExpiredTargetsServeNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.targetsDoc.Expires = now.Add(-day)
	w.sealTargets()
	w.sealOnline()
	renewing := func() *trust.Session {
		s, err := trust.Start(w.rootFile, now)
		check(t, err)
		s.ServeExpired()
		return s
	}
	wantKind(t, w.fresh(), trust.Expired)
	s := renewing()
	check(t, w.read(s, nil))
	if _, ok := s.Delegation("product.openstack"); !ok {
		t.Fatal("it does not tell who signs what")
	}
	w.productDoc.Expires = now.Add(-day)
	w.sealProduct()
	w.sealOnline()
	wantKind(t, w.read(renewing(), nil), trust.Expired)
	w.put("targets", w.targetsDoc.Version, w.seal(w.targetsDoc, w.targets[0]))
	w.sealOnline()
	wantKind(t, w.read(renewing(), nil), trust.Threshold)
}

// TestOneKeyUnderTwoIDs: a key with an unknown field has another id, and is the same key.
func TestOneKeyUnderTwoIDs(t *testing.T) {
	w := newWorld(t)
	twin := *w.targets[0]
	file := w.forge(w.rootFile, func(signed map[string]any) {
		all := signed["keys"].(map[string]any)
		form := map[string]any{"note": "twin"}
		for field, value := range all[w.targets[0].key.ID].(map[string]any) {
			form[field] = value
		}
		twin.key.ID = keyID(t, form)
		all[twin.key.ID] = form
		role := signed["roles"].(map[string]any)["targets"].(map[string]any)
		role["keyids"] = []any{w.targets[0].key.ID, twin.key.ID}
	}, w.root...)
	_, err := trust.Start(file, now)
	wantKind(t, err, trust.Malformed)

	w.putForged("targets", func(map[string]any) {}, w.targets[0], &twin)
	s, err := trust.StartGeneral(file, now)
	check(t, err)
	check(t, s.FinishRoots())
	check(t, s.UpdateTimestamp(w.timestamp))
	check(t, s.UpdateSnapshot(w.snapshotFile, false))
	wantKind(t, s.UpdateDelegated("targets", "root", w.roles["targets"]), trust.Threshold)
}

func TestKeyUnderAnotherID(t *testing.T) {
	w := newWorld(t)
	file := w.forge(w.rootFile, func(signed map[string]any) {
		all := signed["keys"].(map[string]any)
		id := w.online.key.ID
		other := strings.Repeat("0", 64)
		all[other] = all[id]
		delete(all, id)
		for _, role := range []string{"timestamp", "snapshot"} {
			signed["roles"].(map[string]any)[role].(map[string]any)["keyids"] = []any{other}
		}
	}, w.root...)
	_, err := trust.Start(file, now)
	wantKind(t, err, trust.Malformed)
}

func TestUnknownFieldsAreKept(t *testing.T) {
	w := newWorld(t)
	w.putForged("product.openstack", func(signed map[string]any) {
		signed["x-note"] = map[string]any{"deep": []any{true, "text", 5}}
		signed["targets"].(map[string]any)[w.manifestPath].(map[string]any)["x-file"] = "kept"
	}, w.engineer)
	w.putForged("targets", func(signed map[string]any) {
		signed["delegations"].(map[string]any)["x-all"] = 1
		signed["delegations"].(map[string]any)["roles"].([]any)[0].(map[string]any)["x-one"] = "kept"
	}, w.targets...)
	s, err := trust.Start(w.rootFile, now)
	check(t, err)
	check(t, w.read(s, nil))
	for role, wants := range map[string][]string{
		"product.openstack": {`"x-note":{"deep":[true,"text",5]}`, `"x-file":"kept"`},
		"targets":           {`"x-all":1`, `"x-one":"kept"`},
	} {
		content, _ := s.Role(role)
		next := content.Clone()
		next.Version++
		payload, err := next.Payload()
		check(t, err)
		for _, want := range wants {
			if !strings.Contains(string(payload), want) {
				t.Errorf("%s lost %s: %s", role, want, payload)
			}
		}
	}
}

func TestSignatureByMemberNotListed(t *testing.T) {
	w := newWorld(t)
	payload, err := w.productDoc.Payload()
	check(t, err)
	good, err := trust.Sign(context.Background(), payload, w.engineer)
	check(t, err)
	other, err := trust.Sign(context.Background(), payload, w.ci)
	check(t, err)
	broken := trust.Signature{KeyID: w.engineer.key.ID, Sig: []byte("garbage")}
	valid := trust.ValidSignatures(payload, []trust.Signature{broken, other, good, good}, authority(1, w.engineer))
	if len(valid) != 1 || !bytes.Equal(valid[0].Sig, good.Sig) {
		t.Fatalf("got %d valid signatures, want the engineer's alone", len(valid))
	}
	if trust.ValidSignatures([]byte("{} "), []trust.Signature{good}, authority(1, w.engineer)) != nil {
		t.Fatal("a payload in another form has no signatures")
	}
}
