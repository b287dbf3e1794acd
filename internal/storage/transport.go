package storage

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// newTransport is the transport of every network store, secure if that is reached by TLS. It has no deadline of its own
// for an answer: watch.go has.
func newTransport(opts Options, secure bool) (http.RoundTripper, error) {
	dial := &net.Dialer{Timeout: min(10*time.Second, opts.timeout()), KeepAlive: 30 * time.Second}
	plain := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial.DialContext,
		TLSHandshakeTimeout: min(10*time.Second, opts.timeout()),
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // bytes are verified as they are stored
		ForceAttemptHTTP2:   true,
	}
	t := &transport{plain: plain, secure: sync.OnceValues(func() (*http.Transport, error) {
		roots, err := authorities(opts)
		t := plain.Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		t.DialContext = buffered(t.DialContext)
		return t, err
	})}
	if secure {
		if _, err := t.secure(); err != nil {
			return nil, err
		}
	}
	return answers{most: opts.timeout() / 4, next: opts.wrap(t)}, nil
}

// transport reads the certificate authorities when there is something to hold to them: that they are hundreds is some
// 50 ms, which a store that is reached without TLS does not take.
type transport struct {
	plain  *http.Transport // never speaks TLS
	secure func() (*http.Transport, error)
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" {
		if proxy, err := t.plain.Proxy(req); err == nil && (proxy == nil || proxy.Scheme == "http") {
			return t.plain.RoundTrip(req)
		}
	}
	secure, err := t.secure()
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return secure.RoundTrip(req)
}

// buffered has a connection read as much as has come, and not one TLS record (16 KiB) after the other.
func buffered(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return bufferedConn{conn, bufio.NewReaderSize(conn, 256<<10)}, nil
	}
}

type bufferedConn struct {
	net.Conn
	buffer *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.buffer.Read(p) }

// maxErrorBody is how much of an error answer's explanation is kept, in bytes.
const maxErrorBody = 1 << 20

// answers makes failures fit to be tried again by whoever is above, the client library included. A server that asks
// to be left alone for some seconds (Retry-After) is, for as long as a call may take. An error answer that breaks off
// is no answer. Nor is a part of an object (206) that does not say which: one range was asked for, and the S3 client
// library does not tell 206 from 200.
type answers struct {
	next http.RoundTripper
	most time.Duration // that one Retry-After is followed
}

func (a answers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusPartialContent && resp.Header.Get("Content-Range") == "" {
		resp.Body.Close()
		return nil, wrongAnswer(fmt.Sprintf("206 without content-range (content-type %q)", resp.Header.Get("Content-Type")))
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("answer %d broke off: %w", resp.StatusCode, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, a.rest(req.Context(), resp)
}

// rest waits as a server that is overloaded asks (RFC 9110 section 10.2.3; the form with a date is not followed).
func (a answers) rest(ctx context.Context, resp *http.Response) error {
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil || seconds == 0 || !(statusError{code: resp.StatusCode}).transient() {
		return nil
	}
	timer := time.NewTimer(min(a.most, time.Duration(seconds)*time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
