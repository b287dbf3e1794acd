package main

import (
	"strings"
	"testing"
)

// TestThresholdsOfTheSnapshot that its signatures do not reach, or seem to.
func TestThresholdsOfTheSnapshot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil            func(r *repository, keys []key)
		refusal, trusted string
	}{
		"two signatures of three": {func(r *repository, keys []key) {
			r.setKeys("snapshot", 3, keys[:3]...)
			r.signers["snapshot"] = keys[:2]
		}, "2 valid signatures, needs 3", "root:2 timestamp:2"},
		"more wanted than there are keys": {func(r *repository, keys []key) { r.setKeys("snapshot", 6, keys...) },
			"5 valid signatures, needs 6", "root:2 timestamp:2"},
		"one key, listed often": {func(r *repository, keys []key) {
			r.setKeys("snapshot", 3, keys[0], keys[0], keys[0])
			r.signers["snapshot"] = keys[:1]
		}, "lists the key id", "root:1"},
		"one key under many ids": {func(r *repository, keys []key) {
			r.setKeys("snapshot", 2, keys[0], keys[0].with(r.t, object{"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256",
				"keyval": keys[0].form["keyval"], "x": 1}))
		}, "1 valid signature, needs 2", "root:2 timestamp:2"},
		"none wanted": {func(r *repository, keys []key) { r.setKeys("snapshot", 0, keys[0]) }, "threshold 0", "root:1"},
	} {
		r := newRow(t)
		keys := []key{newKey(t), newKey(t), newKey(t), newKey(t), newKey(t)}
		c.spoil(r, keys)
		r.publish("root")
		r.publishAll()
		r.refuses(r.refresh(), c.refusal)
		r.trusts(c.trusted)
		t.Logf("%s: %s", name, r.stderr)
	}
}

// TestTwoSignaturesUnderOneKeyID are refused, although the threshold is reached.
func TestTwoSignaturesUnderOneKeyID(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.respoil("snapshot", func(e object) { e["signatures"] = append(e["signatures"].([]any), e["signatures"].([]any)[0]) })
	r.refuses(r.refresh(), "two signatures under the key id")
	r.trusts("root:1 timestamp:1")
}

// TestEverySchemeOfTheSpecification: counted when it verifies, and only then.
func TestEverySchemeOfTheSpecification(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ed25519", "ecdsa-sha2-nistp256", "rsassa-pss-sha256"} {
		r := newRepository(t)
		added := keyOf(t, scheme)
		r.setKeys("root", 2, r.signers["root"][0], added)
		r.publish("root")
		r.takes(r.refresh())
		r.trusts("root:2 snapshot:1 targets:1 timestamp:1")
		plausible := added.sign([]byte("something else"))
		added.sign = func([]byte) []byte { return plausible }
		r.signers["root"][1] = added
		r.publish("root")
		r.refuses(r.refresh(), "root: 1 valid signature, needs 2")
		r.trusts("root:2 snapshot:1 targets:1 timestamp:1")
	}
}

// TestBadSignatureBesideGoodOnes does no harm: a threshold of others is reached.
func TestBadSignatureBesideGoodOnes(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	other := newKey(t)
	r.setKeys("timestamp", 1, r.signers["timestamp"][0], other)
	r.publish("root")
	plausible := other.sign([]byte("something else"))
	for _, sig := range [][]byte{plausible, nil, []byte("x")} {
		other.sign = func([]byte) []byte { return sig }
		r.signers["timestamp"][1] = other
		r.publish("timestamp")
		r.takes(r.refresh())
	}
	r.trusts("root:2 snapshot:1 targets:1 timestamp:4")
}

// TestRootRotation: each root is keys/threshold/signers, the keys by digit; the last is taken, or refused.
func TestRootRotation(t *testing.T) {
	t.Parallel()
	for roots, refused := range map[string]bool{
		"1/1/1 2/1/21 2/1/2":                              false, // a new key
		"1/1/314 2/1/3214 2/1/324":                        false, // with signatures that nobody asked for
		"01234/3/024 01234/3/041 01234/3/013 01234/3/013": false, // other signers each time
		"01234/3/024 01345/3/041":                         false, // one key of five
		"01234/3/024 01345/3/0245 01345/3/045":            false, // the same, with one signature more
		"01234/3/024 56789/3/024567 56789/3/567":          false, // all keys
		"123/1/1 123/2/12":                                false, // a higher threshold
		"123/2/12 123/1/12 123/1/1":                       false, // a lower one
		"1/1/1 12/2/12":                                   false, // a key more, and a higher one
		"1/1/1 2/1/234":                                   true,  // the old key did not sign
		"1/1/1 2/1/134":                                   true,  // the new key did not
		"01234/3/024 01345/3/024":                         true,  // too few new ones
		"01234/3/024 01345/3/045":                         true,  // too few old ones
		"123/1/1 123/2/2":                                 true,  // not the new threshold
		"123/2/12 123/1/1":                                true,  // not the old one
	} {
		r := bareRepository(t)
		r.inside = true
		pool := keyPool(t)
		for _, root := range strings.Fields(roots) {
			r.setKeysBy(pool, "root", root)
			r.publish("root")
		}
		r.publishAll()
		r.trust(r.files["1.root.json"])
		last := r.versions["root"]
		if refused {
			r.refuses(r.refresh(), "root: ")
			last--
		} else {
			r.takes(r.refresh())
		}
		if held := r.version("root"); held != last {
			t.Errorf("%s: root %d is trusted, want %d", roots, held, last)
		}
	}
}

// TestRotationOfEveryOtherRole: root 2 gives it these keys/threshold, and these sign it.
func TestRotationOfEveryOtherRole(t *testing.T) {
	t.Parallel()
	roles := []string{"timestamp", "snapshot", "targets"}
	for _, good := range []string{"2/1/2", "1/1/314", "01234/3/024", "01234/3/041", "01234/3/013", "01234/3/123", "01234/3/234"} {
		r := newRow(t)
		pool := keyPool(t)
		for _, role := range roles {
			r.setKeysBy(pool, role, good)
		}
		r.publish("root")
		r.publishAll()
		r.takes(r.refresh())
		r.trusts("root:2 snapshot:2 targets:2 timestamp:2")
	}
	trusted := map[string]string{"timestamp": "root:2", "snapshot": "root:2 timestamp:2", "targets": "root:2 snapshot:2 timestamp:2"}
	for _, bad := range []string{"2/1/134", "01345/3/024", "01345/3/04"} {
		for _, role := range roles {
			r := newRow(t)
			r.setKeysBy(keyPool(t), role, bad)
			r.publish("root")
			r.publishAll()
			r.refuses(r.refresh(), role+": ")
			r.trusts(trusted[role])
		}
	}
}

func keyPool(t *testing.T) []key {
	pool := make([]key, 10)
	for i := range pool {
		pool[i] = newKey(t)
	}
	return pool
}

// setKeysBy reads keys/threshold/signers, by digit.
func (r *repository) setKeysBy(pool []key, role, text string) {
	pick := func(digits string) (keys []key) {
		for _, digit := range digits {
			keys = append(keys, pool[digit-'0'])
		}
		return keys
	}
	part := strings.Split(text, "/")
	r.setKeys(role, int(part[1][0]-'0'), pick(part[0])...)
	r.signers[role] = pick(part[2])
}
