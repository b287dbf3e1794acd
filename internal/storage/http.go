package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// httpStore reads a catalog that a plain web server or a CDN serves. Entity tags are kept as the server writes
// them, quotes and weakness included.
type httpStore struct {
	*netReader
	client *http.Client
	base   *url.URL
	url    string
}

func openHTTP(u *url.URL, opts Options) (Store, error) {
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, &AddressError{URL: shown(u), Reason: "a web store is written https://host/path, without parameters"}
	}
	transport, err := newTransport(opts, u.Scheme != "http")
	if err != nil {
		return nil, err
	}
	s := &httpStore{client: &http.Client{Transport: transport}, base: u, url: strings.TrimSuffix(u.Redacted(), "/")}
	s.netReader = &netReader{fetch: s.fetch, stat: s.stat, fail: s.fail, timeout: opts.timeout(), now: opts.Now, resumes: opts.resumes()}
	return s, nil
}

func (s *httpStore) URL() string { return s.url }

// address is the object's URL; every segment is escaped on its own.
func (s *httpStore) address(key string) string {
	u := *s.base
	u.RawPath = strings.TrimSuffix(u.EscapedPath(), "/")
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + key
	for segment := range strings.SplitSeq(key, "/") {
		u.RawPath += "/" + url.PathEscape(segment)
	}
	return u.String()
}

// statusError is an answer that is neither success nor one of the conditions asked for.
type statusError struct {
	code   int
	status string
}

func (e statusError) Error() string { return "the server answers " + e.status }

// transient answers may be another moment's success (RFC 9110 sections 15.5 and 15.6, RFC 6585 section 4).
func (e statusError) transient() bool {
	return e.code >= 500 && e.code != http.StatusNotImplemented || e.code == http.StatusTooManyRequests || e.code == http.StatusRequestTimeout
}

const maxAttempts = 3

// do asks up to maxAttempts times, as long as the failure may pass.
func (s *httpStore) do(ctx context.Context, method, key string, header http.Header) (*http.Response, error) {
	var last error
	for n := range maxAttempts {
		if err := pause(ctx, n); err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, method, s.address(key), nil)
		if err != nil {
			return nil, err
		}
		req.Header = header.Clone()
		resp, err := s.client.Do(req)
		if err != nil {
			last = err
			continue
		}
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
			return resp, nil
		}
		resp.Body.Close()
		status := statusError{resp.StatusCode, fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
		if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return nil, errRange
		}
		if last = status; !status.transient() {
			break
		}
	}
	return nil, last
}

func (s *httpStore) fetch(ctx context.Context, key string, want fetchRequest) (answer, error) {
	h := http.Header{"Accept-Encoding": {"identity"}}
	if want.ranged() {
		h.Set("Range", want.header())
	}
	if want.ifMatch != "" {
		h.Set("If-Match", want.ifMatch)
	}
	if want.ifChanged != "" {
		h.Set("If-None-Match", want.ifChanged)
	}
	resp, err := s.do(ctx, http.MethodGet, key, h)
	if err != nil {
		return answer{}, err
	}
	info, start, err := describe(key, resp)
	if err != nil {
		resp.Body.Close()
		return answer{}, err
	}
	return answer{body: resp.Body, start: start, partial: resp.StatusCode == http.StatusPartialContent, info: info}, nil
}

func (s *httpStore) stat(ctx context.Context, key string) (Info, error) {
	resp, err := s.do(ctx, http.MethodHead, key, http.Header{"Accept-Encoding": {"identity"}})
	if err != nil {
		return Info{}, err
	}
	resp.Body.Close()
	info, _, err := describe(key, resp)
	return info, err
}

func describe(key string, resp *http.Response) (Info, int64, error) {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return Info{}, 0, fmt.Errorf("the server encodes the object as %q, though asked not to", enc)
	}
	start, size, err := placeOf(resp.StatusCode == http.StatusPartialContent, resp.Header)
	if err != nil {
		return Info{}, 0, err
	}
	info := Info{Key: key, Size: size, ETag: resp.Header.Get("ETag")}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		info.Modified = t
	}
	return info, start, nil
}

func (s *httpStore) fail(ctx context.Context, op, key string, err error) error {
	if err == nil || errors.Is(err, errRange) {
		return err
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	e := &Error{Op: op, Key: key, Store: s.url, Err: err}
	var status statusError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &silence{}):
		e.Err = fmt.Errorf("%w: %w", ErrUnavailable, cause)
	case cause != nil:
		e.Err = cause
	case errors.Is(err, ErrNotModified), errors.Is(err, ErrConflict):
	case errors.As(err, &status):
		e.Err = status.kind()
		if errors.Is(e.Err, ErrForbidden) {
			e.Right = "read access on the web server"
		}
	default:
		e.Err = networkError(err)
	}
	return e
}

// networkError is a failure below HTTP, or an answer that is none.
func networkError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, which may hold a password
	}
	if errors.As(err, new(wrongAnswer)) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (e statusError) kind() error {
	switch {
	case e.code == http.StatusNotModified:
		return ErrNotModified
	case e.code == http.StatusNotFound, e.code == http.StatusGone:
		return ErrNotFound
	case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrForbidden, e)
	case e.code == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", ErrConflict, e)
	case e.transient():
		return fmt.Errorf("%w: %w", ErrUnavailable, e)
	}
	return e
}

func (s *httpStore) unsupported(op, key string) error {
	return &Error{Op: op, Key: key, Store: s.url, Err: fmt.Errorf("%w: a web store is read-only", ErrUnsupported)}
}

func (s *httpStore) Create(_ context.Context, key string, _ io.ReaderAt, _ int64, _, _ string) error {
	return s.unsupported("create", key)
}

func (s *httpStore) Swap(_ context.Context, key, _ string, _ []byte, _, _ string) (string, error) {
	return "", s.unsupported("swap", key)
}

func (s *httpStore) Delete(_ context.Context, key string) error { return s.unsupported("delete", key) }

func (s *httpStore) List(_ context.Context, prefix, _ string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, s.unsupported("list", prefix)) }
}
