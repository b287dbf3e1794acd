package storage

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// Open gives the store at rawURL. It fails on an address that cannot be understood; that the store answers is
// seen at the first call, except that a missing bucket is created where Options.CreateBucket asks for it.
func Open(ctx context.Context, rawURL string, opts Options) (Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		scheme, _, _ := strings.Cut(rawURL, "://")
		return nil, &AddressError{URL: scheme + "://…", Reason: "not a URL"} // the rest may hold a password
	}
	switch u.Scheme {
	case "file":
		return openDir(u, opts.CreateBucket)
	case "http", "https":
		return openHTTP(u, opts)
	case "s3":
		return openS3(ctx, u, opts)
	}
	return nil, &AddressError{URL: shown(u), Reason: "unknown kind of store"}
}

// shown is an address without what may be a secret: user, password and parameters.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// AddressError is a store address that cannot be used.
type AddressError struct{ URL, Reason string }

func (e *AddressError) Error() string { return fmt.Sprintf("store address %q: %s", e.URL, e.Reason) }

// Hint shows what an address looks like.
func (e *AddressError) Hint() string {
	return "a store is file:///dir, s3://bucket/prefix?endpoint=https://host&region=…, or https://host/path (read-only)"
}
