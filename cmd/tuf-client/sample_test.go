package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/enovance/kitchen/internal/durable"
)

var update = flag.Bool("update", false, "write testdata/sample anew")

// TestSampleRepository: a repository on disk, made long ago, is still read as it was. It has two roots, keys of two
// schemes, a holder who has not signed yet, unknown fields, lengths and digests, a delegated role with an odd name, and
// a target by sha512. Its keys are derived from numbers, so that it comes out the same each time.
func TestSampleRepository(t *testing.T) {
	r := sample(t)
	dir := filepath.Join("testdata", "sample")
	made := maps.Clone(r.files)
	made["../targets/"+r.sampleTarget()] = r.artifacts["dir/file"]
	for name, data := range made {
		file := filepath.Join(dir, "metadata", filepath.FromSlash(name))
		if *update {
			check(t, durable.MkdirAll(filepath.Dir(file), 0o755))
			check(t, os.WriteFile(file, data, 0o644))
		}
		held, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(held, data) {
			t.Errorf("%s is not what the generator writes (go test -update writes it anew): %v", file, err)
		}
		if _, ok := r.files[name]; ok {
			r.replace(name, held)
		}
	}
	if held, err := filepath.Glob(filepath.Join(dir, "metadata", "*")); err != nil || len(held) != len(r.files) {
		t.Errorf("testdata/sample/metadata holds %q: %v", held, err)
	}
	r.takes(r.init(r.files["1.root.json"]))
	r.takes(r.refresh())
	r.takes(r.download("dir/file"))
	r.holds("content of the sample")
	r.wasAsked("2.root", "3.root", "timestamp", "1.snapshot", "1.targets", "3.root", "timestamp", "1.team%2Fone")
	if !slices.Equal(r.targetsAsked(), []string{r.sampleTarget()}) {
		t.Errorf("fetched %q", r.targetsAsked())
	}
}

func sample(t *testing.T) *repository {
	r := bareRepository(t)
	r.detailed = true
	one, two := sampleKey(t, 1), sampleKey(t, 2)
	absent := sampleKey(t, 3)
	absent.sign = func([]byte) []byte { return nil }
	r.docs["root"]["keys"] = object{}
	for _, role := range []string{"root", "targets"} {
		r.setKeys(role, 2, one, absent, two)
	}
	r.setKeys("snapshot", 1, sampleECDSA(t, 4))
	r.setKeys("timestamp", 1, sampleKey(t, 5))
	r.publish("root")
	r.setKeys("timestamp", 1, sampleECDSA(t, 6))
	r.docs["root"]["x-signing-period"] = 60
	r.delegate(delegation{from: "targets", to: "team/one", paths: []any{"dir/*"}, terminating: true})
	list := r.docs["targets"]["delegations"].(object)
	list["keys"] = object{}
	role := list["roles"].([]any)[0].(object)
	entry := object{}
	r.grant(entry, "team/one", list["keys"].(object), 1, []key{one})
	role["keyids"], role["x-owner"] = entry["team/one"].(object)["keyids"], "@one"
	r.signers["team/one"] = []key{one}
	r.addTarget("team/one", "dir/file", "content of the sample", "sha512")
	r.docs["team/one"]["targets"].(object)["dir/file"].(object)["custom"] = object{"since": 2014, "tags": []any{"a", nil}}
	r.publish("root", "team/one")
	r.publishAll()
	return r
}

// sampleTarget is the object that holds dir/file.
func (r *repository) sampleTarget() string {
	file := r.docs["team/one"]["targets"].(object)["dir/file"].(object)
	return "dir/" + file["hashes"].(object)["sha512"].(string) + ".file"
}

func sampleKey(t *testing.T, number byte) key {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{number}, ed25519.SeedSize))
	return ed25519Key(t, private.Public().(ed25519.PublicKey), private)
}

func sampleECDSA(t *testing.T, number byte) key {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{number}, 32))
	check(t, err)
	return asKey(t, "ecdsa", "ecdsa-sha2-nistp256", pemOf(t, private.Public()), func(message []byte) []byte {
		digest := sha256.Sum256(message)
		sig, err := private.Sign(nil, digest[:], crypto.SHA256) // deterministic without a source of randomness
		check(t, err)
		return sig
	})
}
