package storage_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// TestAuthoritiesAreReadForTLSAlone: a store on plain http needs none until it is sent on to one that does, and is then
// held to them.
func TestAuthoritiesAreReadForTLSAlone(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(serve(seeded(t), true))
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(serve(seeded(t), true))
	t.Cleanup(plain.Close)
	leads := httptest.NewServer(http.RedirectHandler(secure.URL+"/some/path/blobs/sha256/ab/large", http.StatusFound))
	t.Cleanup(leads.Close)
	missing, known := filepath.Join(t.TempDir(), "missing.pem"), authority(t, secure)
	for name, c := range map[string]struct {
		url, bundle string
		opens, read bool
	}{
		"plain, authorities missing":       {plain.URL + "/some/path", missing, true, true},
		"TLS, authorities missing":         {secure.URL + "/some/path", missing, false, false},
		"TLS, authority known":             {secure.URL + "/some/path", known, true, true},
		"TLS, authority not known":         {secure.URL + "/some/path", "", true, false},
		"leads to TLS, missing":            {leads.URL, missing, true, false},
		"leads to TLS, authority known":    {leads.URL, known, true, true},
		"leads to TLS, authority unknown":  {leads.URL, "", true, false},
		"S3 over TLS, authorities missing": {"s3://bucket/k?endpoint=https://127.0.0.1:1", missing, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := storage.Open(t.Context(), c.url, storage.Options{Getenv: func(name string) string { return map[string]string{"AWS_CA_BUNDLE": c.bundle}[name] }})
			if (err == nil) != c.opens {
				t.Fatalf("open: %v, want it to open: %v", err, c.opens)
			}
			if err != nil {
				return
			}
			body, _, err := s.Open(t.Context(), "blobs/sha256/ab/large", 0, -1)
			if err == nil {
				_, err = io.Copy(io.Discard, body)
				body.Close()
			}
			if (err == nil) != c.read {
				t.Errorf("read: %v, want it to be read: %v", err, c.read)
			}
		})
	}
}
