package keystest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Web answers for hosts of the wide world on loopback: a proxy (HTTPS_PROXY) leads to them, over TLS, and their certificate
// is its own (SSL_CERT_FILE). Google's and Azure's libraries find their services by name, so nothing else stands in for them.
type Web struct {
	proxy, site *httptest.Server
}

// StartWeb serves each host by its handler, with HTTP/2; other hosts are refused.
func StartWeb(hosts map[string]http.Handler) (*Web, error) {
	var names []string
	for name := range hosts {
		names = append(names, name)
	}
	certificate, err := selfSigned(names)
	if err != nil {
		return nil, err
	}
	w := &Web{site: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts[strings.TrimSuffix(r.Host, ":443")].ServeHTTP(w, r) // the proxy lets no other through
	}))}
	w.site.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	w.site.EnableHTTP2 = true
	w.site.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.site.StartTLS()
	w.proxy = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		if hosts[host] == nil || r.Method != http.MethodConnect {
			http.Error(answer, "there is no "+r.Host, http.StatusBadGateway)
			return
		}
		w.tunnel(answer)
	}))
	return w, nil
}

// tunnel joins a client of the proxy and the site.
func (w *Web) tunnel(answer http.ResponseWriter) {
	site, err := net.Dial("tcp", w.site.Listener.Addr().String())
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadGateway)
		return
	}
	defer site.Close()
	client, ahead, err := http.NewResponseController(answer).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(site, ahead)
		site.Close()
	}()
	_, _ = io.Copy(client, site)
}

// Close ends both servers.
func (w *Web) Close() {
	w.proxy.Close()
	w.site.Close()
}

// Proxy is the value for HTTPS_PROXY.
func (w *Web) Proxy() string { return w.proxy.URL }

// CA is the certificate to trust, in PEM.
func (w *Web) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.site.Certificate().Raw})
}

func selfSigned(names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
