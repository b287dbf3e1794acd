package publisher

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// checkParallel is how many small objects a check reads at once.
const checkParallel = 8

// blobHash is a SHA-256: a check may hold many of them.
type blobHash [32]byte

func hashOf(text string) (h blobHash) {
	hex.Decode(h[:], []byte(text)) //nolint:errcheck // callers have a digest
	return h
}

func (h blobHash) String() string { return hex.EncodeToString(h[:]) }

// roots walks the chain of roots from the first one: a host may have pinned any of them.
func (c *checker) roots(ctx context.Context) error {
	var session *trust.Session
	last := c.view.Root().Version
	c.past = newPast()
	for n := int64(1); n <= last; n++ {
		key := manifest.RootObject(n)
		file, err := get(ctx, c.Store, key)
		if errors.Is(err, storage.ErrNotFound) {
			c.find(Finding{Severity: Fault, Code: CodeMetadataMissing, Object: key, Why: "hosts that know no later root cannot go on from it", Next: c.rootBack(n)})
			return nil
		}
		if err != nil {
			return c.unreadable(key, err)
		}
		c.result.Checked.Roots++
		if n == 1 {
			session, err = trust.Start(file, c.view.Now())
		} else {
			err = session.UpdateRoot(file)
		}
		var refused *trust.Error
		if errors.As(err, &refused) {
			c.find(Finding{Severity: Fault, Code: CodeRefused, Object: key, Why: refused.Error(), Next: c.rootBack(n)})
			return nil
		}
		c.rootBytes(n, file)
		c.past.signers = append(c.past.signers, session.Root().Roles[trust.RoleSnapshot])
	}
	c.past.allSigners = true
	return nil
}

// rootBytes holds the file of a root that is rightly signed to the bytes that it had. No signature covers all of them, and a host
// that pinned its fingerprint takes no other.
func (c *checker) rootBytes(n int64, file []byte) {
	key := manifest.RootObject(n)
	want := c.known[n]
	if want == nil && n == c.view.Root().Version {
		want = c.view.RawRoot()
	}
	if want != nil && !bytes.Equal(file, want) {
		refused := &trust.Error{Kind: trust.Mismatch, Role: key, Have: "sha256 " + digest(file), Want: "sha256 " + digest(want)}
		c.find(Finding{Severity: Fault, Code: CodeRefused, Object: key, Why: refused.Error() + ": its signatures are right, its bytes are not those that it had, and every new host that is given its fingerprint refuses the catalog", Next: c.rootBack(n)})
		return
	}
	payload, sigs, err := trust.ParseEnvelope(file)
	if err == nil {
		want, err = trust.Envelope(payload, sigs)
	}
	if err != nil || !bytes.Equal(file, want) {
		c.find(Finding{Severity: Warning, Code: CodeRefused, Object: key, Why: "its signatures are right, but it is not written as Kitchen writes a root: somebody may have changed bytes that no signature covers. Then every new host that is given its fingerprint refuses the catalog",
			Next: "compare its sha256 with the fingerprint that hosts pin (kitchen.toml, root.json); if it differs, " + c.rootBack(n)})
	}
}

// mend is what to do about metadata that no reader takes. The committer makes none of it again: what is in effect has to come
// back, byte for byte. version is that of the role in effect, 0 where nobody can tell.
func mend(e *trust.Error, version int64) string {
	object, kept := "the version of metadata/N."+e.Role+".json that is in effect", "roles/"+e.Role+".json"
	if version > 0 {
		object = fmt.Sprintf("metadata/%d.%s.json", version, e.Role)
	}
	switch {
	case e.Role == trust.RoleTimestamp:
		object, kept = manifest.TimestampObject+", the newest that there is,", "timestamp.json"
	case e.Role == trust.RoleSnapshot:
		kept = "snapshot.json"
	case e.Role == trust.RoleRoot:
		kept = "root/"
	case strings.HasPrefix(e.Role, manifest.RoleJournal+"/"):
		object, kept = e.Role, manifest.RoleJournal+"/"
	}
	next := "put " + object + " back from a mirror, a bundle, the bucket's versions, or the state directory of a host that saw it (" + kept + ")"
	switch e.Kind {
	case trust.Expired:
		return signAgain(e.Role)
	case trust.BadSignature, trust.Threshold:
		if e.Role == trust.RoleTimestamp || e.Role == trust.RoleSnapshot {
			next = "if the online key is being replaced, its holder finishes with `kitchen commit --stolen`; else " + next
		}
		return next
	case trust.Mismatch, trust.Malformed, trust.Missing:
		return next
	case trust.Rollback:
		if e.Role == trust.RoleTimestamp {
			return next
		}
	}
	return e.Hint()
}

// newest is the version of a role of any kind that is in effect, 0 for none.
func (c *checker) newest(role string) int64 {
	switch role {
	case trust.RoleRoot:
		return c.view.Root().Version
	case trust.RoleSnapshot:
		return c.view.Snapshot().Version
	}
	return currentVersion(c.view, role)
}

// parseRoleObject takes the key of a versioned role file apart.
func parseRoleObject(key string) (role string, version int64, ok bool) {
	kind, err := manifest.KindOf(key)
	number, rest, _ := strings.Cut(strings.TrimPrefix(key, "metadata/"), ".")
	role = strings.TrimSuffix(rest, ".json")
	version, _ = strconv.ParseInt(number, 10, 64)
	return role, version, err == nil && (kind.Name == "root" || kind.Name == "snapshot" || kind.Name == "role")
}

// stages compares what the roles of a product say of each release.
func (c *checker) stages(context.Context) error {
	for _, product := range c.view.Products() {
		if c.req.Product != "" && product != c.req.Product {
			continue
		}
		releases, err := c.view.Releases(product)
		if err != nil {
			continue // the role's own finding says why
		}
		published := map[string]bool{}
		for _, r := range releases {
			c.result.Checked.Releases++
			published[r.Version] = true
			if r.Conflict != nil {
				c.find(Finding{Severity: Fault, Code: CodeStages, Object: r.Release.String(), Why: r.Conflict.Error(),
					Next: "find out which of the roles' signers is wrong; no host deploys it"})
			}
		}
		for _, name := range c.view.Roles() {
			c.unpublished(product, name, published)
		}
	}
	return nil
}

// unpublished finds releases that a later stage lists and product.<p> does not.
func (c *checker) unpublished(product, name string, published map[string]bool) {
	kind, of, _ := manifest.SplitRole(name)
	role, err := c.view.Role(name)
	var absent *catalog.RoleAbsent
	if of != product || name == manifest.RoleProduct(product) || kind == "" || err != nil || errors.As(err, &absent) {
		return
	}
	for path := range role.Targets {
		if _, r, err := manifest.ParseTargetPath(path); err == nil && !published[r.Version] {
			c.find(Finding{Severity: Fault, Code: CodeStages, Object: r.String(), Why: fmt.Sprintf("%s lists it, and %s does not", name, manifest.RoleProduct(product)),
				Next: "find out which of the roles' signers is wrong; no host deploys it"})
		}
	}
}
