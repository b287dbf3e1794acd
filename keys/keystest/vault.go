// Package keystest has what stands in for key services in tests. It signs really, with keys that the test gives it, so that
// what comes out verifies; tests alone import it.
package keystest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Vault speaks the documented HTTP API of Vault's transit engine, as far as signing needs it: read a key, sign with its
// newest version, and the answers for a missing key, a token without the right, and a sealed server.
type Vault struct {
	URL    string
	server *httptest.Server

	mu     sync.Mutex
	keys   map[string][]crypto.Signer // versions
	sealed bool
	hang   chan struct{} // not nil: no answer until it is closed
	calls  []string
}

// Token is the one that Vault takes.
const Token = "hvs.kitchen-test"

// StartVault listens on loopback.
func StartVault() *Vault {
	v := &Vault{keys: map[string][]crypto.Signer{}}
	v.server = httptest.NewServer(v)
	v.URL = v.server.URL
	return v
}

// Close ends what hangs, and the server.
func (v *Vault) Close() {
	v.locked(func() {
		if v.hang != nil {
			close(v.hang)
			v.hang = nil
		}
	})
	v.server.Close()
}

// Add makes a key, or a new version of one.
func (v *Vault) Add(name string, key crypto.Signer) {
	v.locked(func() { v.keys[name] = append(v.keys[name], key) })
}

// Remove deletes a key.
func (v *Vault) Remove(name string) { v.locked(func() { delete(v.keys, name) }) }

// Seal seals the server, or unseals it.
func (v *Vault) Seal(sealed bool) { v.locked(func() { v.sealed = sealed }) }

// Hang lets no request have an answer any more, until Close.
func (v *Vault) Hang() { v.locked(func() { v.hang = make(chan struct{}) }) }

// Calls are method and path of the requests so far.
func (v *Vault) Calls() (calls []string) {
	v.locked(func() { calls = slices.Clone(v.calls) })
	return calls
}

func (v *Vault) locked(do func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	do()
}

// ServeHTTP implements http.Handler.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var hang chan struct{}
	v.locked(func() {
		v.calls = append(v.calls, r.Method+" "+r.URL.Path)
		hang = v.hang
	})
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
	case r.Header.Get("X-Vault-Token") != Token:
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
		der, _ := x509.MarshalPKIXPublicKey(key.Public()) // every signer of the standard library has one
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

func (v *Vault) sign(r *http.Request, versions []crypto.Signer, answer func(int, any), deny func(int, ...string)) {
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
