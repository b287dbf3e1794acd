package publisher

import (
	"crypto/ecdh"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// alike are the public keys, in PEM, of two private keys that were searched for: their ids share the first 8 digits.
func alike(t *testing.T) (pems [2]string, ids [2]trust.Key) {
	t.Helper()
	for i, private := range []int64{14322, 63713} {
		pair, err := ecdh.P256().NewPrivateKey(big.NewInt(private).FillBytes(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(pair.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		public, err := keys.ParsePublic(text)
		if err != nil {
			t.Fatal(err)
		}
		if ids[i], err = trust.NewKey(public); err != nil {
			t.Fatal(err)
		}
		pems[i] = string(text)
	}
	if ShortID(ids[0].ID) != ShortID(ids[1].ID) || ids[0].ID == ids[1].ID {
		t.Fatalf("%s and %s do not begin alike", ids[0].ID, ids[1].ID)
	}
	return pems, ids
}

// TestKeysThatBeginAlike: a key that was made to look like another is shown as another, wherever both are named.
func TestKeysThatBeginAlike(t *testing.T) {
	t.Parallel()
	pems, two := alike(t)
	apart := func(text string) {
		t.Helper()
		names := KeyNames(two[0].ID, two[1].ID)
		for _, key := range two {
			if !strings.Contains(text, names(key.ID)) {
				t.Errorf("%s is not told from the other in %q", names(key.ID), text)
			}
		}
	}
	site := func(pem string) manifest.Site {
		return manifest.Site{Name: "staging", Kind: manifest.SiteCI, Keys: []manifest.SiteKey{{Public: pem, ValidFrom: time.Unix(0, 0)}}}
	}
	entry := func(pem string) *manifest.Customer {
		return &manifest.Customer{Customer: "acme", Name: "Acme", Sites: []manifest.Site{site(pem)}}
	}
	apart(strings.Join(describeEntry("acme", entry(pems[0]), entry(pems[1]), false), "\n"))
	one := func(key trust.Key) trust.Authority { return trust.Authority{Threshold: 1, Keys: []trust.Key{key}} }
	apart(describeAuthority(trust.Delegation{Name: "registry", Authority: one(two[0])}, trust.Delegation{Name: "registry", Authority: one(two[1])}))
	apart(waitsFor(countSignatures([]*roleDraft{{name: "registry", next: &trust.Targets{}, authority: trust.Authority{Threshold: 2, Keys: two[:]}}})))
	apart((&NotAuthorized{Role: "registry", KeyID: two[0].ID, Allowed: named(KeyNames(two[0].ID, two[1].ID), []string{two[1].ID})}).Error())
	ceremony := func(key trust.Key) *Ceremony {
		return &Ceremony{vendor: &manifest.Customer{}, plan: &initPlan{root: one(key), targets: one(key), online: one(key), registry: one(key), policy: one(key)}}
	}
	apart(strings.Join(ceremony(two[0]).differs(ceremony(two[1])), "; "))
	if got := KeyNames("0123456789", "9876543210")("0123456789"); got != "01234567" {
		t.Errorf("keys that do not begin alike: %s", got)
	}
}
