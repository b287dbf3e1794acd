package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// How long one request may take, its body included.
var (
	metadataDeadline = 30 * time.Second
	targetDeadline   = 30 * time.Minute
)

// errAbsent is the answer that ends the root chain. 403 counts as 404: some stores say so of absent objects to readers
// who may not list.
var errAbsent = errors.New("not there")

// remote is the repository, as far as it can be believed: not at all.
type remote struct {
	http                     *http.Client
	metadataBase, targetBase string
	log                      io.Writer
}

// newRemote asks for everything once, on a connection of its own, and takes bodies as they come: the transport's own
// second tries and decompression are left out.
func newRemote(o options) *remote {
	base := func(url string) string { return strings.TrimSuffix(url, "/") + "/" }
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true}
	return &remote{http: &http.Client{Transport: transport}, log: o.log,
		metadataBase: base(o.metadataURL), targetBase: base(o.targetURL)}
}

func (r *remote) note(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

// metadata fetches a role's file; version 0 is a name without version, announced 0 a length that nobody announced.
func (r *remote) metadata(ctx context.Context, role string, version, announced int64) (data []byte, err error) {
	name := escape(role) + ".json"
	if version > 0 {
		name = strconv.FormatInt(version, 10) + "." + name
	}
	err = r.get(ctx, r.metadataBase+name, metadataDeadline, func(body io.Reader) error {
		data, err = readAtMost(body, sizeLimit(role, announced))
		return err
	})
	return data, err
}

// target fetches a target, read by whoever knows how long it may be.
func (r *remote) target(ctx context.Context, name string, read func(io.Reader) error) error {
	return r.get(ctx, r.targetBase+name, targetDeadline, read)
}

// get makes one request.
func (r *remote) get(ctx context.Context, url string, deadline time.Duration, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	r.note("GET %s: %s", url, response.Status)
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusForbidden:
		return fmt.Errorf("GET %s: %s: %w", url, response.Status, errAbsent)
	default:
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}

// sizeLimit is what was announced of a role's file, and never more than Kitchen's own limit for its kind.
func sizeLimit(role string, announced int64) int64 {
	object := manifest.RoleObject(trust.RoleTargets, 1)
	switch role {
	case trust.RoleRoot:
		object = manifest.RootObject(1)
	case trust.RoleTimestamp:
		object = manifest.TimestampObject
	case trust.RoleSnapshot:
		object = manifest.SnapshotObject(1)
	}
	kind, err := manifest.KindOf(object)
	if err != nil {
		return 0 // nothing passes then
	}
	if announced > 0 {
		return min(announced, kind.MaxSize)
	}
	return kind.MaxSize
}

// readAtMost reads to the end, which must come within limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// targetName is a target's path below the base URL; with consistent snapshots its last part begins with its digest.
func targetName(path string, t trust.Target, consistent bool) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = escape(part)
	}
	if digest := t.SHA256; consistent {
		if digest == "" {
			digest = t.SHA512
		}
		parts[len(parts)-1] = digest + "." + parts[len(parts)-1]
	}
	return strings.Join(parts, "/")
}
