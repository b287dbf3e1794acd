package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"runtime"
	"testing"
	"time"

	"github.com/enovance/kitchen/keys"
)

// TestManySignaturesOverOneLargePayload: it is taken apart once, however many files under a holder's name are tried.
func TestManySignaturesOverOneLargePayload(t *testing.T) { // alone: it counts what is allocated
	w := newTestTargets(5000)
	payload, err := w.Payload()
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keys.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := Authority{Threshold: 1, Keys: []Key{key}}
	bogus := []Signature{{KeyID: a.Keys[0].ID, Sig: []byte("no signature")}}
	spent := func(times int) uint64 {
		var before, after runtime.MemStats
		v := NewVerifier(payload)
		runtime.ReadMemStats(&before)
		for range times {
			if len(v.Valid(bogus, a)) > 0 {
				t.Error("it counts")
			}
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if once, often := spent(1), spent(1000); often > 2*once {
		t.Errorf("a thousand cost %d bytes, one %d", often, once)
	}
}

func newTestTargets(files int) *Targets {
	t := &Targets{Role: "product.x", Version: 1, Expires: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Targets: map[string]Target{}}
	for i := range files {
		t.Targets["catalog/x/1."+string(rune('0'+i%10))+"."+time.Duration(i).String()+"/manifest.toml"] = Target{Length: int64(i), SHA256: "a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484"}
	}
	return t
}
