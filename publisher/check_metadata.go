package publisher

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

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
		if err == nil && n == last && string(file) != string(c.view.RawRoot()) {
			err = &trust.Error{Kind: trust.Mismatch, Role: key, Have: "sha256 " + digest(file), Want: "sha256 " + digest(c.view.RawRoot())}
		}
		var refused *trust.Error
		if errors.As(err, &refused) {
			c.find(Finding{Severity: Fault, Code: CodeRefused, Object: key, Why: refused.Error(), Next: c.rootBack(n)})
			return nil
		}
	}
	return nil
}

// past is what the old versions of roles that lie there list. Whatever stands in it was reachable once.
type past struct {
	mu      sync.Mutex
	reached map[blobHash]bool // contents of targets, and evidence
	roles   map[string]map[int64]oldVersion
}

// oldVersion is one old file of a role.
type oldVersion struct {
	size           int64
	file, replaces blobHash
	first, broken  bool // it says that it replaces nothing; it cannot be read
}

// history holds the old versions to their form, and the links between them to each other. Nobody's trust rests on them:
// they tell who decided what.
func (c *checker) history(ctx context.Context) error {
	c.past = &past{reached: map[blobHash]bool{}, roles: map[string]map[int64]oldVersion{}}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(checkParallel)
	for o, err := range c.Store.List(reading, "metadata/", "") {
		if err != nil {
			group.Go(func() error { return c.unlisted("metadata/", err) })
			break
		}
		c.count(&c.result.Checked.Objects)
		role, number, ok := parseRoleObject(o.Key)
		current := c.newest(role)
		switch {
		case o.Key == manifest.TimestampObject, role == trust.RoleRoot && number <= max(current, c.seen): // see roots, seenRoots
		case !ok:
			c.foreign(o)
		case role == trust.RoleRoot && number > current+1:
			group.Go(func() error { _, err := c.orphanedRoot(reading, c.view.Root(), number, o); return err })
		case number > current:
			c.gather(Note, CodeOrphanMetadata, "metadata/", "version numbers above what is in effect, left by writers that did not finish", "nothing: they are skipped", o)
		case number < current:
			group.Go(func() error { return c.oldVersion(reading, role, number, o) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, role := range append([]string{trust.RoleTargets}, c.view.Roles()...) {
		if file := currentFile(c.view, role); file != nil {
			c.chain(role, file)
		}
	}
	return nil
}

// mend is what to do about metadata that no reader takes. The committer makes none of it again: what is in effect has to come
// back, byte for byte.
func mend(e *trust.Error) string {
	object, kept := "metadata/N."+e.Role+".json", "roles/"+e.Role+".json"
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

// oldVersion reads one old file.
func (c *checker) oldVersion(ctx context.Context, role string, number int64, o storage.Info) error {
	file, err := get(ctx, c.Store, o.Key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // removed just now
	}
	c.past.mu.Lock()
	defer c.past.mu.Unlock()
	if err != nil && !errors.Is(err, storage.ErrTooLarge) {
		return c.unreadable(o.Key, err)
	}
	c.count(&c.result.Checked.Versions)
	old := oldVersion{size: o.Size, file: hashOf(digest(file))}
	var form trust.Form
	if err == nil {
		form, err = trust.ParseForm(role, file)
	}
	if err == nil && form.Version != number {
		err = fmt.Errorf("it says that it is version %d", form.Version)
	}
	if old.broken = err != nil; old.broken {
		c.find(Finding{Severity: Warning, Code: CodeHistory, Object: o.Key, Why: "an old version that cannot be read: " + err.Error(),
			Next: "put the file back from a copy of the catalog; readers do not need it"})
	}
	if t := form.Targets; t != nil && !old.broken {
		old.first, old.replaces = t.Replaces == "", hashOf(t.Replaces)
		c.past.list(t)
	}
	if c.past.roles[role] == nil {
		c.past.roles[role] = map[int64]oldVersion{}
	}
	c.past.roles[role][number] = old
	return nil
}

// list notes what a version of a role makes reachable.
func (p *past) list(t *trust.Targets) {
	for _, target := range t.Targets {
		p.reached[hashOf(target.SHA256)] = true
		if evidence := target.Custom[customEvidence]; len(evidence) == 64 {
			p.reached[hashOf(evidence)] = true
		}
	}
}

// chain follows a role back by what each version replaced. A number that no version replaces never took effect.
func (c *checker) chain(role string, current []byte) {
	form, err := trust.ParseForm(role, current)
	if err != nil || form.Targets == nil {
		return
	}
	versions := c.past.roles[role]
	numbers := make([]int64, 0, len(versions))
	for n := range versions {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	want, ended, broken := hashOf(form.Targets.Replaces), form.Targets.Replaces == "", false
	for _, n := range slices.Backward(numbers) {
		switch old := versions[n]; {
		case old.broken:
			broken = true
		case !ended && old.file == want:
			want, ended = old.replaces, old.first
		case !broken:
			c.gather(Note, CodeOrphanMetadata, "metadata/", "versions that never took effect, left by writers that did not finish", "nothing: they are skipped",
				storage.Info{Key: manifest.RoleObject(role, n), Size: old.size})
		}
	}
	if !ended && !broken && !c.hidden["metadata/"] {
		c.find(Finding{Severity: Warning, Code: CodeHistory, Object: role, Why: fmt.Sprintf("the version with sha256 %s, which was in effect once, is not there any more", want),
			Next: "put the file back from a copy of the catalog; readers do not need it"})
	}
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
