package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// reachable tells which stored targets count: what a role lists, what a proposal may bring in, and what is young, since
// its publisher may be about to propose it.
type reachable struct {
	view    *catalog.View
	roles   map[string]*trust.Targets // those that were asked for; nil is a product that does not exist
	pending string                    // all that waits: whatever digest stands in it may come into effect
	old     func(storage.Info) bool
}

func (p *Publisher) reachable(ctx context.Context, v *catalog.View, old func(storage.Info) bool) (*reachable, error) {
	pending, err := p.pendingText(ctx)
	return &reachable{view: v, roles: map[string]*trust.Targets{}, pending: pending, old: old}, err
}

// target tells whether the role of a stored target lists it, and, where none does, whether it may come into effect. The
// error is that of a role that cannot be believed, or of a name that no role lists.
func (r *reachable) target(o storage.Info) (listed, held bool, err error) {
	at := strings.LastIndexByte(o.Key, '/') + 1
	_, name, _ := strings.Cut(o.Key[at:], ".")
	path := strings.TrimPrefix(o.Key[:at], "targets/") + name
	role := manifest.RoleRegistry
	switch {
	case path == manifest.PolicyTarget:
		role = manifest.RolePolicy
	case !strings.HasPrefix(path, manifest.RoleRegistry+"/"):
		stage, release, err := manifest.ParseTargetPath(path)
		if err != nil {
			return false, false, err
		}
		role = manifest.StageRole(stage, release.Product)
	}
	content, err := r.role(role)
	if err != nil {
		return false, false, err
	}
	sha := targetDigest(o.Key)
	listed = content != nil && content.Targets[path].SHA256 == sha
	return listed, listed || !r.old(o) || strings.Contains(r.pending, sha), nil
}

// role is what a role lists; nil where there is no such product.
func (r *reachable) role(name string) (*trust.Targets, error) {
	if known, ok := r.roles[name]; ok {
		return known, nil
	}
	content, err := currentRole(r.view, name)
	var unknown *catalog.UnknownProduct
	if errors.As(err, &unknown) {
		err = nil
	}
	if err == nil {
		r.roles[name] = content
	}
	return content, err
}

// pendingText is all that waits.
func (p *Publisher) pendingText(ctx context.Context) (string, error) {
	var text strings.Builder
	for o, err := range p.Store.List(ctx, manifest.PendingPrefix, "") {
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(o.Key, ".payload.json") {
			continue
		}
		data, err := get(ctx, p.Store, o.Key)
		if err != nil {
			return "", fmt.Errorf("%s may bring in a release, and cannot be read: %w", o.Key, err)
		}
		if text.Len()+len(data) > maxPendingText {
			return "", fmt.Errorf("more than %d bytes wait below %s; remove what is garbage", maxPendingText, manifest.PendingPrefix)
		}
		text.Write(data)
	}
	return text.String(), nil
}

// anyManifest reads a manifest for what it names, whoever lists it.
func (p *Publisher) anyManifest(ctx context.Context, key string) (*manifest.Manifest, error) {
	data, err := get(ctx, p.Store, key)
	if err != nil {
		return nil, err
	}
	if digest(data) != targetDigest(key) {
		return nil, errors.New("it has other bytes than its name says")
	}
	return manifest.ParseManifest(data)
}

func targetDigest(key string) string {
	name, _, _ := strings.Cut(key[strings.LastIndexByte(key, '/')+1:], ".")
	return name
}
