package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// listing is one target that a role lists.
type listing struct {
	role, path string
	trust.Target
}

// targets reads everything that a role lists: the manifests of all stages, registry entries, the policy.
func (c *checker) targets(ctx context.Context) (err error) {
	var all []listing
	var total int64
	for _, name := range c.view.Roles() {
		_, product, _ := manifest.SplitRole(name)
		role, err := currentRole(c.view, name)
		c.unknown = c.unknown || err != nil && name == manifest.RoleProduct(product)
		if err != nil || name == manifest.RoleJournal || c.req.Product != "" && product != "" && product != c.req.Product {
			continue
		}
		c.past.list(role)
		for _, path := range slices.Sorted(maps.Keys(role.Targets)) {
			all = append(all, listing{name, path, role.Targets[path]})
			total += role.Targets[path].Length
		}
	}
	task := c.sink().Start("manifests and registry", total)
	defer func() { task.Done(err) }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(checkParallel)
	for _, l := range all {
		group.Go(func() error { return c.target(ctx, l, task) })
	}
	return group.Wait()
}

// target reads one target, and notes what it needs.
func (c *checker) target(ctx context.Context, l listing, task progress.Task) error {
	data, err := getTarget(ctx, c.Store, l.role, l.path, l.Target)
	var m *manifest.Manifest
	if err == nil {
		task.Add(int64(len(data)))
		m, err = readTarget(l, data)
	}
	key := manifest.TargetObject(l.path, l.SHA256)
	c.count(&c.result.Checked.Targets)
	if err == nil {
		if m != nil {
			c.need(needsOf(m, true))
			c.claim(key, m)
		}
		return nil
	}
	if _, _, e := manifest.ParseTargetPath(l.path); e == nil { // a manifest
		c.mu.Lock()
		c.unknown = true
		c.mu.Unlock()
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.find(Finding{Severity: Fault, Code: CodeTargetMissing, Object: key, Why: l.role + " lists it", Next: restoreHint})
	case errors.Is(err, storage.ErrForbidden), storeFailure(err):
		return c.unreadable(key, err)
	default:
		c.find(Finding{Severity: Fault, Code: CodeTargetAltered, Object: key, Why: l.role + " lists it: " + err.Error(), Next: restoreHint})
	}
	return nil
}

const restoreBlobHint = "publish the same release again from its directory (kitchen publish DIR --read-data), which restores it, or " + restoreHint

const restoreHint = "put the object back from a mirror, a bundle or the bucket's versions: its name says which bytes are right"

// readTarget holds a target to its form; a published manifest it gives.
func readTarget(l listing, data []byte) (*manifest.Manifest, error) {
	stage, release, err := manifest.ParseTargetPath(l.path)
	if err != nil {
		if kind, _, _ := manifest.SplitRole(l.role); kind == manifest.RoleRegistry {
			_, err = manifest.ParseCustomer(l.path, data)
			return nil, err
		}
		return nil, nil // the policy has a reader of its own
	}
	if stage != manifest.StageCatalog {
		return nil, nil // the same bytes
	}
	m, err := manifest.ParseManifest(data)
	if err == nil && m.Release() != release {
		err = fmt.Errorf("it describes %s", m.Release())
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// need is a blob that a manifest names.
type need struct {
	sha    blobHash
	size   int64
	by     string   // the release, or the first of those that need it
	also   *sharing // nil for none
	path   string   // of the artifact
	part   string   // "", "index" or "delta"
	listed bool     // a role lists the manifest
	absent bool
}

func (n *need) words() string {
	what := "artifact " + n.path
	if n.part != "" {
		what = "the " + n.part + " of " + what
	}
	if n.also == nil {
		return n.by + " needs it: " + what
	}
	names := append([]string{n.by}, n.also.names...)
	if n.also.more > 0 {
		names = append(names, fmt.Sprintf("%d more", n.also.more))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " need it: " + what
}

// sharing are the releases that need a blob besides the one that it is noted for, in their order.
type sharing struct {
	names []string
	more  int    // that are not named
	last  string // of all
}

// maxNeeding is how many releases are named that need one blob.
const maxNeeding = 10

// share notes that another release needs the blob, too.
func (n *need) share(other need) {
	switch {
	case !other.listed || other.by == n.by || n.also != nil && other.by == n.also.last:
		return
	case n.also == nil:
		n.also = &sharing{}
	}
	if n.also.last = other.by; len(n.also.names) < maxNeeding-1 {
		n.also.names = append(n.also.names, other.by)
	} else {
		n.also.more++
	}
}

func (c *checker) need(needs []need) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.needs = append(c.needs, needs...)
}

func needsOf(m *manifest.Manifest, listed bool) []need {
	var needs []need
	by := m.Release().String()
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		path := strings.Clone(a.Path) // not the whole text that it is a part of
		for i, object := range a.Objects() {
			n := need{sha: hashOf(object.SHA256), size: object.Size, by: by, path: path, listed: listed}
			switch {
			case i == 1 && a.Chunked():
				n.part = "index"
			case i > 0:
				n.part = "delta"
			}
			needs = append(needs, n)
		}
	}
	return needs
}

// evidence reads what the certificates rest on.
func (c *checker) evidence(ctx context.Context) error {
	for _, name := range c.view.Roles() {
		kind, product, _ := manifest.SplitRole(name)
		role, err := currentRole(c.view, name)
		if err != nil || kind != manifest.StageReady || c.req.Product != "" && product != c.req.Product {
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(role.Targets)) {
			if err := c.evidenceOf(ctx, listing{name, path, role.Targets[path]}); err != nil {
				return err
			}
		}
	}
	return c.orphans(ctx, "evidence/", func(o storage.Info) bool { return c.past.reached[hashOf(blobDigest(o.Key))] },
		CodeOrphanEvidence, c.past.orphans("documents that no certificate ever rested on, left by certifications that came to nothing",
			"documents that no certificate rests or rested on that can be read"), "nothing removes them: they are small")
}

// evidenceOf holds one certificate to its evidence.
func (c *checker) evidenceOf(ctx context.Context, l listing) error {
	sha := l.Custom[customEvidence]
	if sha == "" {
		return nil
	}
	key := manifest.EvidenceObject(sha)
	if _, err := manifest.KindOf(key); err != nil {
		c.find(Finding{Severity: Fault, Code: CodeEvidenceAltered, Object: l.path, Why: l.role + " names evidence by what is no digest"})
		return nil
	}
	c.result.Checked.Evidence++
	data, err := get(ctx, c.Store, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.find(Finding{Severity: Fault, Code: CodeEvidenceMissing, Object: key, Why: "the certificate " + l.path + " of " + l.role + " rests on it", Next: restoreHint})
		return nil
	case err != nil && !errors.Is(err, storage.ErrTooLarge):
		return c.unreadable(key, err)
	case err == nil && digest(data) != sha:
		err = errors.New("it has other bytes than its name says")
	case err == nil:
		err = isEvidenceOf(l, data)
	}
	if err != nil {
		c.find(Finding{Severity: Fault, Code: CodeEvidenceAltered, Object: key, Why: "the certificate " + l.path + " of " + l.role + " rests on it: " + err.Error(), Next: restoreHint})
	}
	return nil
}

func isEvidenceOf(l listing, data []byte) error {
	e, err := manifest.ParseEvidence(data)
	if err != nil {
		return err
	}
	_, release, err := manifest.ParseTargetPath(l.path)
	if err == nil && (e.Release != release || e.ManifestSHA256 != l.SHA256) {
		err = fmt.Errorf("it is evidence on %s with the manifest %s", e.Release, e.ManifestSHA256)
	}
	return err
}
