package trust

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/keys"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

var update = flag.Bool("update", false, "write testdata/seeds anew")

const seedDir = "testdata/seeds"

// seedSigner signs deterministically, so that the seeds are the same whenever they are made.
type seedSigner struct{ priv ed25519.PrivateKey }

func newSeedSigner(n byte) seedSigner {
	return seedSigner{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))}
}

func (s seedSigner) Public() *keys.Public {
	der, err := x509.MarshalPKIXPublicKey(s.priv.Public())
	if err != nil {
		panic(err)
	}
	pub, err := keys.ParsePublic(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		panic(err)
	}
	return pub
}

func (s seedSigner) Sign(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(s.priv, message), nil
}

var (
	seedRoot, seedOnline = newSeedSigner(1), newSeedSigner(2)
	seedTime             = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// makeSeeds gives every seed by file name: one good file of each type, and bad ones named after their defect.
func makeSeeds(t testing.TB) map[string][]byte {
	t.Helper()
	key := func(s seedSigner) Authority {
		k, err := NewKey(s.Public())
		if err != nil {
			t.Fatal(err)
		}
		return Authority{Keys: []Key{k}, Threshold: 1}
	}
	seal := func(doc interface{ Payload() ([]byte, error) }, s seedSigner) []byte {
		payload, err := doc.Payload()
		if err != nil {
			t.Fatal(err)
		}
		sig, err := Sign(context.Background(), payload, s)
		if err != nil {
			t.Fatal(err)
		}
		file, err := Envelope(payload, []Signature{sig})
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	expires := seedTime.Add(24 * time.Hour)
	root, online := key(seedRoot), key(seedOnline)
	product := seal(&Targets{Role: "product.p", Version: 3, Expires: expires, Replaces: strings.Repeat("0a", 32), ProposalExpires: expires,
		Targets: map[string]Target{"catalog/p/1.0/manifest.toml": {Length: 7, SHA256: strings.Repeat("ab", 32),
			Custom: map[string]string{"seq": "1"}}}}, seedRoot)
	targets := seal(&Targets{Role: RoleTargets, Version: 1, Expires: expires, Delegations: []Delegation{
		{Name: "product.p", Authority: root, Paths: []string{"catalog/p/*/*"}}}}, seedRoot)
	snapshot := seal(&Snapshot{Version: 2, Expires: expires, Roles: map[string]Meta{
		"targets": MetaOf(1, targets), "product.p": MetaOf(3, product)}}, seedOnline)
	timestamp := seal(&Timestamp{Version: 4, Expires: expires, Issued: seedTime, Snapshot: MetaOf(2, snapshot)}, seedOnline)
	spoil := func(file []byte, old, new string) []byte {
		if !bytes.Contains(file, []byte(old)) {
			t.Fatalf("nothing to spoil: no %s", old)
		}
		return bytes.Replace(file, []byte(old), []byte(new), 1)
	}
	return map[string][]byte{
		"root.json": seal(&Root{Version: 1, Expires: expires, Roles: map[string]Authority{
			"root": root, "targets": root, "snapshot": online, "timestamp": online}}, seedRoot),
		"targets.json": targets, "product.json": product, "snapshot.json": snapshot, "timestamp.json": timestamp,
		"bad-duplicate-key.json":  spoil(timestamp, `"version":4`, `"version":4,"version":5`),
		"bad-float-version.json":  spoil(timestamp, `"version":4`, `"version":4.0`),
		"bad-huge-version.json":   spoil(timestamp, `"version":4`, `"version":9223372036854775807`),
		"bad-null-snapshot.json":  spoil(timestamp, `"meta":{`, `"meta":{"snapshot.json":null},"x":{`),
		"bad-misspelt-field.json": spoil(timestamp, `"expires"`, `"Expires"`),
		"bad-deep-nesting.json":   spoil(timestamp, `"issued"`, `"x":`+strings.Repeat("[", 99)+strings.Repeat("]", 99)+`,"issued"`),
		"bad-threshold-0.json":    spoil(targets, `"threshold":1`, `"threshold":0`),
		"bad-no-targets.json":     spoil(snapshot, `"targets.json"`, `"tergets.json"`),
	}
}

// TestSeeds: the seeds are there and are what the generator makes (`go test ./internal/trust -update`).
func TestSeeds(t *testing.T) {
	for name, want := range makeSeeds(t) {
		path := filepath.Join(seedDir, name)
		if *update {
			if err := os.MkdirAll(seedDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("a seed went missing: %v", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its generator makes", name)
		}
		if good := readsAsAnything(got); good == strings.HasPrefix(name, "bad-") {
			t.Errorf("%s is readable: %v", name, good)
		}
	}
}

func addSeeds(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(seedDir, "*.json"))
	if err != nil || len(paths) < len(makeSeeds(f)) {
		f.Fatalf("%d seeds in %s, want %d (%v)", len(paths), seedDir, len(makeSeeds(f)), err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if payload, sigs, err := ParseEnvelope(data); err == nil {
			f.Add(payload)
			if sig, err := EncodeSignature(sigs[0]); err == nil {
				f.Add(sig)
			}
		}
	}
}

type payloader interface{ Payload() ([]byte, error) }

// readAs reads the signed part of a file as one type, without its signatures. nil = refused.
func readAs[T metadata.Roles, D payloader](typ string, file []byte, of func(*T) (D, error), rules func(D) error) payloader {
	o, err := open[T](typ, file)
	if err != nil {
		return nil
	}
	doc, err := of(&o.signed)
	if err != nil || rules(doc) != nil {
		return nil
	}
	return doc
}

func readAll(file []byte) []payloader {
	return []payloader{
		readAs(RoleRoot, file, rootOf, checkCatalogRoot),
		readAs(RoleTimestamp, file, timestampOf, checkCatalogTimestamp),
		readAs(RoleSnapshot, file, snapshotOf, checkCatalogSnapshot),
		readAs(RoleTargets, file, targetsOf, checkCatalogContent),
	}
}

func readsAsAnything(file []byte) bool {
	for _, doc := range readAll(file) {
		if doc != nil {
			return true
		}
	}
	return false
}

// FuzzRoleFile: no file makes a reader panic; what is readable can be written, and is then read the same.
func FuzzRoleFile(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, doc := range readAll(file) {
			if doc == nil {
				continue
			}
			first, err := doc.Payload()
			if err != nil {
				t.Fatalf("read, but cannot be written: %v", err)
			}
			wrapped, err := Envelope(first, nil)
			if err != nil {
				t.Fatal(err)
			}
			matched := false
			for _, again := range readAll(wrapped) {
				if again == nil {
					continue
				}
				second, err := again.Payload()
				matched = err == nil && bytes.Equal(first, second)
			}
			if !matched {
				t.Fatalf("written, but read otherwise: %s", first)
			}
		}
		for _, begin := range []func([]byte, time.Time) (*Session, error){Start, StartGeneral} {
			if s, err := begin(file, seedTime); (s == nil) == (err == nil) {
				t.Fatal("a session and an error, or neither")
			}
		}
	})
}

// FuzzPayload: a payload that is taken is in the one form, and so is a signature file.
func FuzzPayload(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		targets, err := ParseTargetsPayload(data)
		if (targets == nil) == (err == nil) {
			t.Fatal("content and an error, or neither")
		}
		root, err := ParseRootPayload(data)
		if (root == nil) == (err == nil) {
			t.Fatal("content and an error, or neither")
		}
		sig, err := ParseSignature(data)
		if err != nil {
			return
		}
		file, err := EncodeSignature(sig)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSignature(file)
		if err != nil || again.KeyID != sig.KeyID || !bytes.Equal(again.Sig, sig.Sig) {
			t.Fatalf("signature %v came back as %v, %v", sig, again, err)
		}
	})
}
