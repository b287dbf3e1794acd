package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/keys/keystest"
)

// startVault serves keys from a stand-in for Vault, and tells it to the process.
func startVault(t *testing.T, keys map[string]crypto.Signer) *keystest.Vault {
	t.Helper()
	v := keystest.StartVault()
	t.Cleanup(v.Close)
	for name, key := range keys {
		v.Add(name, key)
	}
	for name, value := range map[string]string{"VAULT_ADDR": v.URL, "VAULT_TOKEN": keystest.Token, "VAULT_NAMESPACE": "", "TRANSIT_SECRET_ENGINE_PATH": ""} {
		t.Setenv(name, value)
	}
	return v
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestVaultSigns: the key never leaves the server, and what it signs is a statement like any other.
func TestVaultSigns(t *testing.T) {
	key := p256(t)
	v := startVault(t, map[string]crypto.Signer{"eng": key})
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := NewPublic(key.Public()); !s.Public().Equal(want) {
		t.Error("another public key")
	}
	if have, err := VerifyStatement(signed(t, s), s.Public()); err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
	if calls := v.Calls(); len(calls) != 2 || calls[0] != "GET /v1/transit/keys/eng" || calls[1] != "PUT /v1/transit/sign/eng/sha2-256" {
		t.Errorf("calls %q", calls)
	}
}

// TestVaultGivesNothing: who is out of reach, denies, or has no such key is named, with what to check.
func TestVaultGivesNothing(t *testing.T) {
	v := startVault(t, map[string]crypto.Signer{"eng": p256(t)})
	refused := func(says string) {
		t.Helper()
		s, err := Open(t.Context(), "hashivault://eng", nil)
		e, ok := errors.AsType[*Unavailable](err)
		if !ok || s != nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "hashivault://eng") || !strings.Contains(e.Hint(), "VAULT_ADDR") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want %q", err, says)
		}
	}
	v.Seal(true)
	refused("Vault is sealed")
	v.Seal(false)
	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	refused("permission denied")
	t.Setenv("VAULT_TOKEN", keystest.Token)
	v.Remove("eng")
	refused("could not read data")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	refused("connection refused")
	t.Setenv("VAULT_ADDR", "")
	t.Setenv("BAO_ADDR", "")
	refused("VAULT_ADDR")
}

// TestVaultFailsBetween: the public key was shown, and then nothing is signed.
func TestVaultFailsBetween(t *testing.T) {
	v := startVault(t, map[string]crypto.Signer{"eng": p256(t)})
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Seal(true)
	if sig, err := s.Sign(t.Context(), []byte("x")); sig != nil || !strings.Contains(fmt.Sprint(err), "gives no signature") {
		t.Errorf("%v", err)
	}
}

// TestARotatedServiceKeyDoesNotSign: a new version is a key that no role knows; its signature is not passed on.
func TestARotatedServiceKeyDoesNotSign(t *testing.T) {
	v := startVault(t, map[string]crypto.Signer{"eng": p256(t)})
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Add("eng", p256(t))
	sig, err := s.Sign(t.Context(), []byte("x"))
	if _, ok := errors.AsType[*CannotSign](err); !ok || sig != nil || !strings.Contains(err.Error(), "new version") {
		t.Errorf("%v", err)
	}
}

// TestServiceKeysOfOtherKinds are refused before anything is signed.
func TestServiceKeysOfOtherKinds(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	large, _ := rsa.GenerateKey(rand.Reader, 2048)
	startVault(t, map[string]crypto.Signer{"p384": p384, "ed": ed, "rsa": large})
	for name, says := range map[string]string{"p384": "not on the curve P-256", "ed": "ed25519 keys verify but do not sign", "rsa": "RSA"} {
		s, err := Open(t.Context(), "hashivault://"+name, nil)
		e, ok := errors.AsType[*CannotSign](err)
		if !ok || s != nil || !strings.Contains(err.Error(), says) || !strings.Contains(e.Hint(), "P-256") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAServiceThatNeverAnswers: its library knows no context; the caller's deadline holds all the same.
func TestAServiceThatNeverAnswers(t *testing.T) {
	v := startVault(t, map[string]crypto.Signer{"eng": p256(t)})
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Sign(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%v", err)
	}
	if _, err := Open(ctx, "hashivault://eng", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Open(gone, "hashivault://eng", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestALibraryThatPanics costs its call, not the program.
func TestALibraryThatPanics(t *testing.T) {
	_, err := bounded(t.Context(), func(context.Context) (int, error) { var none []int; return none[0], nil })
	if err == nil || !strings.Contains(err.Error(), "makes no sense") {
		t.Error(err)
	}
}
