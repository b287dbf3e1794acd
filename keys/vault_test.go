package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeVault speaks the documented HTTP API of Vault's transit engine, as far as signing needs it: read a key, sign with its
// newest version, and the answers for a missing key, a token without the right, and a sealed server.
type fakeVault struct {
	mu     sync.Mutex
	keys   map[string][]crypto.Signer // versions
	sealed bool
	hang   chan struct{} // not nil: no answer until it is closed
	calls  []string
}

func (v *fakeVault) start(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.hang != nil {
			close(v.hang)
		}
	})
	for name, value := range map[string]string{"VAULT_ADDR": server.URL, "VAULT_TOKEN": "hvs.right", "VAULT_NAMESPACE": "", "VAULT_MAX_RETRIES": "0", "TRANSIT_SECRET_ENGINE_PATH": ""} {
		t.Setenv(name, value)
	}
}

func (v *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.calls = append(v.calls, r.Method+" "+r.URL.Path)
	hang := v.hang
	v.mu.Unlock()
	if hang != nil {
		<-hang
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, body any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	deny := func(code int, words ...string) { answer(code, map[string]any{"errors": append([]string{}, words...)}) }
	what, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/transit/"), "/")
	name, hash, _ := strings.Cut(name, "/")
	switch versions := v.keys[name]; {
	case v.sealed:
		deny(http.StatusServiceUnavailable, "Vault is sealed")
	case r.Header.Get("X-Vault-Token") != "hvs.right":
		deny(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	case what == "keys" && r.Method == http.MethodGet && versions == nil:
		deny(http.StatusNotFound)
	case what == "keys" && r.Method == http.MethodGet:
		answer(http.StatusOK, map[string]any{"request_id": "00000000-0000-0000-0000-000000000000", "data": transitKey(name, versions)})
	case what == "sign" && r.Method == http.MethodPut && versions != nil && hash == "sha2-256":
		v.sign(r, versions, answer, deny)
	default:
		deny(http.StatusBadRequest, "unsupported operation")
	}
}

// transitKey describes a key as the engine does; ed25519 keys are bare base64 there.
func transitKey(name string, versions []crypto.Signer) map[string]any {
	shown := map[string]any{}
	kind := "ecdsa-p256"
	for i, key := range versions {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		names := map[string]string{"P-256": "ecdsa-p256", "P-384": "ecdsa-p384"}
		switch public := key.Public().(type) {
		case *ecdsa.PublicKey:
			kind = names[public.Curve.Params().Name]
		case *rsa.PublicKey:
			kind = "rsa-2048"
		case ed25519.PublicKey:
			kind, text = "ed25519", base64.StdEncoding.EncodeToString(public)
		}
		shown[strconv.Itoa(i+1)] = map[string]any{"creation_time": "2026-11-01T08:00:00Z", "name": strings.Replace(kind, "ecdsa-p", "P-", 1), "public_key": text}
	}
	return map[string]any{"name": name, "type": kind, "keys": shown, "latest_version": len(versions), "min_decryption_version": 1,
		"exportable": false, "deletion_allowed": false, "supports_signing": true}
}

func (v *fakeVault) sign(r *http.Request, versions []crypto.Signer, answer func(int, any), deny func(int, ...string)) {
	var in struct {
		Input     string `json:"input"`
		Prehashed bool   `json:"prehashed"`
	}
	digest, err := []byte(nil), json.NewDecoder(r.Body).Decode(&in)
	if err == nil {
		digest, err = base64.StdEncoding.DecodeString(in.Input)
	}
	if err != nil || !in.Prehashed {
		deny(http.StatusBadRequest, "unable to decode input as base64")
		return
	}
	sig, err := versions[len(versions)-1].Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		deny(http.StatusBadRequest, err.Error())
		return
	}
	answer(http.StatusOK, map[string]any{"data": map[string]any{"key_version": len(versions),
		"signature": fmt.Sprintf("vault:v%d:%s", len(versions), base64.StdEncoding.EncodeToString(sig))}})
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
	v := &fakeVault{keys: map[string][]crypto.Signer{"eng": {p256(t)}}}
	v.start(t)
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := NewPublic(v.keys["eng"][0].Public()); !s.Public().Equal(want) {
		t.Error("another public key")
	}
	if have, err := VerifyStatement(signed(t, s), s.Public()); err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
	if len(v.calls) != 2 || v.calls[0] != "GET /v1/transit/keys/eng" || v.calls[1] != "PUT /v1/transit/sign/eng/sha2-256" {
		t.Errorf("calls %q", v.calls)
	}
}

// TestVaultGivesNothing: who is out of reach, denies, or has no such key is named, with what to check.
func TestVaultGivesNothing(t *testing.T) {
	v := &fakeVault{keys: map[string][]crypto.Signer{"eng": {p256(t)}}}
	v.start(t)
	refused := func(says string) {
		t.Helper()
		s, err := Open(t.Context(), "hashivault://eng", nil)
		e, ok := errors.AsType[*Unavailable](err)
		if !ok || s != nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "hashivault://eng") || !strings.Contains(e.Hint(), "VAULT_ADDR") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want %q", err, says)
		}
	}
	v.sealed = true
	refused("Vault is sealed")
	v.sealed = false
	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	refused("permission denied")
	t.Setenv("VAULT_TOKEN", "hvs.right")
	eng := v.keys["eng"]
	delete(v.keys, "eng")
	refused("could not read data")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	refused("connection refused")
	t.Setenv("VAULT_ADDR", "")
	t.Setenv("BAO_ADDR", "")
	refused("VAULT_ADDR")
	_ = eng
}

// TestVaultFailsBetween: the public key was shown, and then nothing is signed.
func TestVaultFailsBetween(t *testing.T) {
	v := &fakeVault{keys: map[string][]crypto.Signer{"eng": {p256(t)}}}
	v.start(t)
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.sealed = true
	if sig, err := s.Sign(t.Context(), []byte("x")); sig != nil || !strings.Contains(fmt.Sprint(err), "gives no signature") {
		t.Errorf("%v", err)
	}
}

// TestARotatedServiceKeyDoesNotSign: a new version is a key that no role knows; its signature is not passed on.
func TestARotatedServiceKeyDoesNotSign(t *testing.T) {
	v := &fakeVault{keys: map[string][]crypto.Signer{"eng": {p256(t)}}}
	v.start(t)
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	v.keys["eng"] = append(v.keys["eng"], p256(t))
	v.mu.Unlock()
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
	v := &fakeVault{keys: map[string][]crypto.Signer{"p384": {p384}, "ed": {ed}, "rsa": {large}}}
	v.start(t)
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
	v := &fakeVault{keys: map[string][]crypto.Signer{"eng": {p256(t)}}}
	v.start(t)
	s, err := Open(t.Context(), "hashivault://eng", nil)
	if err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	v.hang = make(chan struct{})
	v.mu.Unlock()
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
