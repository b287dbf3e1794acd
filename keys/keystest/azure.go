package keystest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// AzureHost is the vault of Azure, as in azurekms://AzureHost/kitchen: its one key.
const AzureHost = "stand-in.vault.azure.net"

// Azure speaks as much of Azure Key Vault's REST interface (version 7.x) as signing needs: get a key and sign with it, for
// bearers of the token that AzureIdentity gives. The key "denied" is denied.
func Azure(key *ecdsa.PrivateKey) http.Handler {
	const kid = "https://" + AzureHost + "/keys/kitchen/1"
	mux := http.NewServeMux()
	public := func(w http.ResponseWriter, r *http.Request) {
		point, _ := key.PublicKey.Bytes() // 4, x, y: a key of a named curve has it
		answerJSON(w, http.StatusOK, map[string]any{"attributes": map[string]any{"enabled": true},
			"key": map[string]any{"kid": kid, "kty": "EC", "crv": "P-256", "key_ops": []string{"sign", "verify"}, "x": b64(point[1:33]), "y": b64(point[33:])}})
	}
	sign := func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Alg, Value string }
		err := json.NewDecoder(r.Body).Decode(&in)
		digest, bad := base64.RawURLEncoding.DecodeString(in.Value)
		if err != nil || bad != nil || in.Alg != "ES256" || len(digest) != 32 {
			azureError(w, http.StatusBadRequest, "BadParameter", "the key signs digests with ES256")
			return
		}
		first, second, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			azureError(w, http.StatusInternalServerError, "InternalServerError", err.Error())
			return
		}
		signature := append(first.FillBytes(make([]byte, 32)), second.FillBytes(make([]byte, 32))...)
		answerJSON(w, http.StatusOK, map[string]any{"kid": kid, "value": b64(signature)})
	}
	mux.HandleFunc("GET /keys/kitchen/{version...}", public)
	mux.HandleFunc("POST /keys/kitchen/sign", sign)
	mux.HandleFunc("POST /keys/kitchen/{version}/sign", sign)
	mux.HandleFunc("/keys/denied/", func(w http.ResponseWriter, r *http.Request) {
		azureError(w, http.StatusForbidden, "Forbidden", "The user, group or application does not have keys get permission")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		azureError(w, http.StatusNotFound, "KeyNotFound", "A key with (name/id) "+r.URL.Path+" was not found in this key vault")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+azureToken {
			w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`)
			azureError(w, http.StatusUnauthorized, "Unauthorized", "no token")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const azureToken = "token-of-the-stand-in"

// AzureIdentity gives the host's managed identity its token, as App Service does (IDENTITY_ENDPOINT, IDENTITY_HEADER).
func AzureIdentity(header string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != header || !strings.HasPrefix(r.URL.Query().Get("resource"), "https://vault.azure.net") {
			azureError(w, http.StatusForbidden, "Forbidden", "not for you")
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"access_token": azureToken, "token_type": "Bearer", "resource": "https://vault.azure.net",
			"expires_on": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)})
	})
}

func azureError(w http.ResponseWriter, code int, kind, words string) {
	answerJSON(w, code, map[string]any{"error": map[string]any{"code": kind, "message": words}})
}

func answerJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone hears nothing
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
