package keystest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
)

// AWS speaks as much of AWS KMS as signing needs, over TLS: GetPublicKey, DescribeKey, Sign. It has one key under the alias
// kitchen, and one without signing algorithms, as keys for agreement are, under the alias agreement. It denies the access key "denied".
type AWS struct {
	server *httptest.Server
	key    crypto.Signer
}

// StartAWS listens on loopback.
func StartAWS(key crypto.Signer) *AWS {
	a := &AWS{key: key}
	a.server = httptest.NewUnstartedServer(a)
	a.server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are what tests ask for
	a.server.StartTLS()
	return a
}

// Close ends the server.
func (a *AWS) Close() { a.server.Close() }

// Host is the endpoint, as in awskms://HOST/alias/kitchen.
func (a *AWS) Host() string { return a.server.Listener.Addr().String() }

// CA is the certificate to trust, in PEM.
func (a *AWS) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
}

// ServeHTTP implements http.Handler.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		KeyID            string `json:"KeyId"`
		Message          []byte
		MessageType      string
		SigningAlgorithm string
	}
	answer := func(code int, body map[string]any) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	fail := func(kind, words string) {
		answer(http.StatusBadRequest, map[string]any{"__type": kind, "message": words})
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail("SerializationException", err.Error())
		return
	}
	algorithms := []string{"ECDSA_SHA_256"}
	if in.KeyID == "alias/agreement" {
		algorithms = []string{}
	}
	switch _, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); {
	case strings.Contains(r.Header.Get("Authorization"), "Credential=denied/"):
		fail("AccessDeniedException", "User: denied is not authorized to perform: kms:"+action)
	case in.KeyID != "alias/kitchen" && in.KeyID != "alias/agreement":
		fail("NotFoundException", "Alias "+in.KeyID+" is not found.")
	case action == "GetPublicKey":
		der, _ := x509.MarshalPKIXPublicKey(a.key.Public()) // every signer of the standard library has one
		answer(http.StatusOK, map[string]any{"KeyId": in.KeyID, "PublicKey": der, "KeySpec": "ECC_NIST_P256", "SigningAlgorithms": algorithms})
	case action == "DescribeKey":
		answer(http.StatusOK, map[string]any{"KeyMetadata": map[string]any{"KeyId": in.KeyID, "SigningAlgorithms": algorithms}})
	case action == "Sign" && in.MessageType == "DIGEST" && in.SigningAlgorithm == "ECDSA_SHA_256":
		sig, err := a.key.Sign(rand.Reader, in.Message, crypto.SHA256)
		if err != nil {
			fail("KMSInternalException", err.Error())
			return
		}
		answer(http.StatusOK, map[string]any{"KeyId": in.KeyID, "Signature": sig, "SigningAlgorithm": in.SigningAlgorithm})
	default:
		fail("UnsupportedOperationException", action)
	}
}
