package storagetest

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// SetPolicyText replaces a bucket's policy by a document as people write it, of at most 4 KiB.
func (s *S3) SetPolicyText(t testing.TB, bucket string, policy []byte) {
	t.Helper()
	s.command(t, "policy "+bucket+" "+string(policy))
}

// Raw is a request of a client without Kitchen's manners: whatever method, path and query, signed by a user.
type Raw struct {
	Method  string
	Path    string // of the URL after the bucket, escaped as it goes over the wire; nothing cleans it
	Query   url.Values
	Header  http.Header
	Content []byte
}

// Send sends a request and gives the answer's status and body.
func (s *S3) Send(t testing.TB, user func(string) string, bucket string, r Raw) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, s.Endpoint, bytes.NewReader(r.Content))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.RawPath, req.URL.RawQuery = "/"+bucket+r.Path, r.Query.Encode()
	if req.URL.Path, err = url.PathUnescape(req.URL.RawPath); err != nil {
		t.Fatal(err)
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	sum := sha256.Sum256(r.Content)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	req = signer.SignV4(*req, user("AWS_ACCESS_KEY_ID"), user("AWS_SECRET_ACCESS_KEY"), "", "us-east-1")
	resp, err := s.rawClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// rawClient trusts the server's own authority.
func (s *S3) rawClient(t testing.TB) *http.Client {
	t.Helper()
	s.talk.Lock()
	defer s.talk.Unlock()
	if s.raw == nil {
		authority, err := os.ReadFile(s.env["SSL_CERT_FILE"])
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		s.raw = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		t.Cleanup(s.raw.CloseIdleConnections)
	}
	return s.raw
}
