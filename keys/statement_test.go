package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const statement = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"catalog/openstack/2.1.0/manifest.toml","digest":{"sha256":"05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"}}],"predicateType":"https://in-toto.io/attestation/test-result/v0.1","predicate":{"result":"PASSED","configuration":[{"name":"run","uri":"kitchen:acme/staging","annotations":{"site":"acme/staging","sequence":1}}]}}
`

func newSigner(t testing.TB) Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB, s Signer) []byte {
	t.Helper()
	data, err := SignStatement(context.Background(), s, []byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestStatementRoundTrip(t *testing.T) {
	s := newSigner(t)
	data := signed(t, s)
	have, err := VerifyStatement(data, s.Public())
	if err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
	var doc struct {
		MediaType            string
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		DsseEnvelope         struct {
			PayloadType, Payload string
			Signatures           []struct{ Sig string }
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.MediaType != mediaType || doc.VerificationMaterial.PublicKey.Hint != s.Public().Hint() ||
		doc.DsseEnvelope.PayloadType != payloadType || len(doc.DsseEnvelope.Signatures) != 1 {
		t.Errorf("%s", data)
	}
}

func TestSignedByAKeyFile(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "site")
	pub := generate(t, prefix)
	s, err := LoadSigner(prefix+".key", password("story"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyStatement(signed(t, s), pub); err != nil {
		t.Error(err)
	}
}

func TestSignerFails(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if data, err := SignStatement(ctx, newSigner(t), []byte(statement)); !errors.Is(err, context.Canceled) || data != nil {
		t.Error(err)
	}
	if _, err := SignStatement(context.Background(), newSigner(t), make([]byte, 3<<20+1)); err == nil {
		t.Error("signed more than a bundle may hold")
	}
}

// TestAnotherKey: a report of another site, or of nobody.
func TestAnotherKey(t *testing.T) {
	mine, theirs := newSigner(t), newSigner(t)
	_, err := VerifyStatement(signed(t, theirs), mine.Public())
	e, ok := errors.AsType[*BadSignature](err)
	if !ok || e.Have != theirs.Public().Hint() || e.Want != mine.Public().Hint() || e.Hint() == "" {
		t.Fatalf("%v", err)
	}
	claimed := strings.ReplaceAll(string(signed(t, theirs)), theirs.Public().Hint(), mine.Public().Hint())
	if _, err := VerifyStatement([]byte(claimed), mine.Public()); err == nil {
		t.Error("a hint is not a key")
	}
}

// foreignEd25519 signs DSSE by hand: ed25519 keys verify, though none is made here.
func foreignEd25519(t *testing.T) ([]byte, *Public) {
	t.Helper()
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	pub, err := NewPublic(public)
	if err != nil {
		t.Fatal(err)
	}
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		mediaType, base64.StdEncoding.EncodeToString([]byte(statement)), payloadType,
		base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(pae)))), pub
}

func TestForeignEd25519(t *testing.T) {
	data, pub := foreignEd25519(t)
	if have, err := VerifyStatement(data, pub); err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
}

// TestForgedBundles changes a good bundle in every way its format allows.
func TestForgedBundles(t *testing.T) {
	s := newSigner(t)
	good := string(signed(t, s))
	payload := base64.StdEncoding.EncodeToString([]byte(statement))
	other := base64.StdEncoding.EncodeToString([]byte(strings.Replace(statement, "PASSED", "FAILED", 1)))
	sig := good[strings.Index(good, `{"sig":`) : strings.LastIndex(good, `}]`)+1]
	for name, change := range map[string][2]string{
		"another payload":      {payload, other},
		"empty payload":        {payload, ""},
		"another payload type": {payloadType, "application/json"},
		"no signature":         {sig, ""},
		"signature twice":      {sig, sig + "," + sig},
		"empty signature":      {sig, `{"sig":""}`},
		"media type v0.2":      {"bundle.v0.3+json", "bundle+json;version=0.2"},
		"media type v0.4":      {"v0.3+json", "v0.4+json"},
		"media type v0.3.1":    {"v0.3+json", "v0.3.1+json"},
		"no media type":        {mediaType, ""},
		"unknown member":       {`"dsseEnvelope"`, `"x":1,"dsseEnvelope"`},
		"member twice":         {`"mediaType":`, `"mediaType":"` + mediaType + `","mediaType":`},
		"certificate":          {`"publicKey":{"hint":"` + s.Public().Hint() + `"}`, `"certificate":{"rawBytes":"AAAA"}`},
		"no material":          {`"publicKey":{"hint":"` + s.Public().Hint() + `"}`, ``},
		"timestamps":           {`"publicKey"`, `"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"AAAA"}]},"publicKey"`},
		"log entry":            {`"publicKey"`, `"tlogEntries":[{"logIndex":"1"}],"publicKey"`},
		"message signature":    {`"dsseEnvelope":{`, `"messageSignature":{"signature":"AAAA"},"x":{`},
		"trailing data":        {"}\n", "}{}\n"},
		"cut short":            {good[len(good)/2:], ""},
		"all gone":             {good, ""},
		"too large":            {"}\n", "}" + strings.Repeat(" ", MaxBundle)},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		have, err := VerifyStatement([]byte(bad), s.Public())
		if _, typed := errors.AsType[*BadSignature](err); !typed || have != nil || strings.HasSuffix(err.Error(), ":") || strings.HasSuffix(err.Error(), ": ") {
			t.Errorf("%s: %q, %v", name, have, err)
		}
	}
}

func fuzzSeeds(t testing.TB) (pub *Public, seeds map[string][]byte) {
	t.Helper()
	pub, err := LoadPublic("testdata/site.pub")
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile("testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	return pub, map[string][]byte{
		"good": good, "cut": good[:len(good)/2], "empty": []byte("{}"),
		"certificate": []byte(`{"mediaType":"` + mediaType + `","verificationMaterial":{"certificate":{"rawBytes":"AAAA"}},"dsseEnvelope":{}}`),
	}
}

// TestFixtureVerifies: bundles signed by earlier versions stay valid. -update
// signs the fixture anew, with a key that is thrown away.
func TestFixtureVerifies(t *testing.T) {
	if *update {
		s := newSigner(t)
		write(t, "testdata/site.pub", []byte(s.Public().PEM()))
		write(t, "testdata/report.json", signed(t, s))
	}
	pub, seeds := fuzzSeeds(t)
	if have, err := VerifyStatement(seeds["good"], pub); err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
	for name, seed := range seeds {
		path := filepath.Join("testdata", "fuzz", "FuzzVerifyStatement", name)
		want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", seed)
		if *update {
			write(t, path, want)
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
			t.Errorf("seed %s is missing or differs (go test -update): %v", path, err)
		}
	}
}

func FuzzVerifyStatement(f *testing.F) {
	pub, _ := fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		have, err := VerifyStatement(data, pub)
		if (have == nil) != (err != nil) {
			t.Fatalf("%q with %v", have, err)
		}
		if err == nil && string(have) != statement {
			t.Fatalf("verified %q, which nobody signed", have)
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	pub, _ := fuzzSeeds(f)
	f.Add([]byte(pub.PEM()))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePublic(data)
		if (p == nil) != (err != nil) {
			t.Fatalf("%v with %v", p, err)
		}
		if p != nil {
			if again, err := ParsePublic([]byte(p.PEM())); err != nil || !again.Equal(p) {
				t.Fatal(err)
			}
		}
	})
}
