package storage

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// newTransport is the transport of every network store. It has no deadline of its own for an answer: watch.go has.
func newTransport(opts Options) (http.RoundTripper, error) {
	roots, err := authorities(opts)
	if err != nil {
		return nil, err
	}
	dial := &net.Dialer{Timeout: min(10*time.Second, opts.timeout()), KeepAlive: 30 * time.Second}
	return opts.wrap(&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: min(10*time.Second, opts.timeout()),
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // bytes are verified as they are stored
		ForceAttemptHTTP2:   true,
	}), nil
}

// authorities is the system's certificate authorities and those of SSL_CERT_FILE and AWS_CA_BUNDLE; nil (the
// system's) when neither is set.
func authorities(opts Options) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, name := range []string{"SSL_CERT_FILE", "AWS_CA_BUNDLE"} {
		path := opts.getenv(name)
		if path == "" {
			continue
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities of %s: %w", name, err)
		}
		if pool == nil {
			if pool, err = x509.SystemCertPool(); err != nil {
				pool = x509.NewCertPool()
			}
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities of %s: no certificate in %s", name, path)
		}
	}
	return pool, nil
}
