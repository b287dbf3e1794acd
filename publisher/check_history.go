package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// past is what the old versions of roles that lie there list. Whatever stands in it was reachable once.
type past struct {
	mu         sync.Mutex
	reached    map[blobHash]bool // contents of targets, and evidence
	roles      map[string]map[int64]oldVersion
	named      map[string]map[int64]blobHash // what old snapshots, rightly signed, say of roles
	torn       bool                          // a part of it, or a role, is lost or damaged: what that lists is not in reached
	signers    []trust.Authority             // of snapshots, by all roots
	allSigners bool
}

func newPast() *past {
	return &past{reached: map[blobHash]bool{}, roles: map[string]map[int64]oldVersion{}, named: map[string]map[int64]blobHash{}}
}

// oldVersion is one old file of a role.
type oldVersion struct {
	size           int64
	file, replaces blobHash
	first, broken  bool // it says that it replaces nothing; it cannot be read
}

// history holds the old versions to their form, the links between those of a role to each other, and snapshots to their signatures
// and numbers. No reader's trust rests on them; but they tell who decided what, and nobody loses or alters one who may not write below
// metadata/. Only a number that no snapshot has is no fault: it may be one that a thief of the online key passed over.
func (c *checker) history(ctx context.Context) error {
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
	if !c.hidden["metadata/"] {
		c.snapshotGaps()
	}
	for _, role := range append([]string{trust.RoleTargets}, c.view.Roles()...) {
		if file := currentFile(c.view, role); file != nil {
			c.chain(role, file)
		}
	}
	c.past.torn = c.past.torn || c.hidden["metadata/"] || slices.ContainsFunc(c.view.Broken(), func(b catalog.RoleError) bool {
		_, _, expired := c.view.ExpiredRole(b.Role)
		return !expired
	})
	return nil
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
		c.past.torn = true
		c.find(Finding{Severity: Fault, Code: CodeHistory, Object: o.Key, Why: "an old version that cannot be read: " + err.Error(), Next: historyBack(o.Key)})
	}
	if form.Snapshot != nil && !old.broken {
		c.oldSnapshot(o.Key, file, form.Snapshot)
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

// oldSnapshot holds an old snapshot to the signatures that one of the roots asks for, and notes what it says of roles.
func (c *checker) oldSnapshot(key string, file []byte, s *trust.Snapshot) {
	payload, sigs, err := trust.ParseEnvelope(file)
	signed := err == nil && slices.ContainsFunc(c.past.signers, func(a trust.Authority) bool {
		return len(trust.ValidSignatures(payload, sigs, a)) >= a.Threshold
	})
	if !signed {
		if c.past.allSigners { // else a root is lost, which is a finding
			c.find(Finding{Severity: Fault, Code: CodeHistory, Object: key, Why: "an old version that is not signed as any root asks for: it was altered, or is none of this catalog's", Next: historyBack(key)})
		}
		return
	}
	for role, meta := range s.Roles {
		if c.past.named[role] == nil {
			c.past.named[role] = map[int64]blobHash{}
		}
		c.past.named[role][meta.Version] = hashOf(meta.SHA256)
	}
}

// orphans are the words for what is not reached, or was not as far as can be told.
func (p *past) orphans(never, asFarAsCanBeTold string) string {
	if p.torn {
		return asFarAsCanBeTold + " (whether one that is lost or damaged did, nobody can tell)"
	}
	return never
}

func historyBack(key string) string {
	return "put " + key + " back from a copy of the catalog, or the bucket's versions; readers do not need it"
}

// snapshotGaps finds numbers that no snapshot has. Each is written under the first one that is free.
func (c *checker) snapshotGaps() {
	last := int64(0)
	for _, n := range append(slices.Sorted(maps.Keys(c.past.roles[trust.RoleSnapshot])), c.view.Snapshot().Version) {
		if missing := n - last - 1; missing > 0 {
			key, which := manifest.SnapshotObject(last+1), "it is"
			if missing > 1 {
				which = fmt.Sprintf("it and the %s after it, up to %d, are", count(int(missing-1), "version"), n-1)
			}
			c.find(Finding{Severity: Warning, Code: CodeSnapshotGap, Object: key, Count: int(missing), Why: which + " not there, and no writer leaves out a number; only after a thief of the online key pushed them up do they go on above",
				Next: historyBack(key)})
		}
		last = n
	}
}

// chain follows a role back by what each version replaced. What is there and was replaced by none never took effect; but behind a
// version that is lost or altered nobody can tell.
func (c *checker) chain(role string, current []byte) {
	form, err := trust.ParseForm(role, current)
	if err != nil || form.Targets == nil {
		return
	}
	versions := c.past.roles[role]
	byFile := make(map[blobHash]int64, len(versions))
	for n, old := range versions {
		byFile[old.file] = n
	}
	inEffect, back := map[int64]bool{}, form.Version
	want, ended := hashOf(form.Targets.Replaces), form.Targets.Replaces == ""
	for !ended {
		n, there := byFile[want]
		if !there || versions[n].broken || n >= back {
			break
		}
		inEffect[n], back = true, n
		want, ended = versions[n].replaces, versions[n].first
	}
	for _, n := range slices.Sorted(maps.Keys(versions)) {
		if old := versions[n]; !inEffect[n] && !old.broken && (ended || n > back) {
			c.gather(Note, CodeOrphanMetadata, "metadata/", "versions that never took effect, left by writers that did not finish", "nothing: they are skipped",
				storage.Info{Key: manifest.RoleObject(role, n), Size: old.size})
		}
	}
	if !ended && !c.hidden["metadata/"] {
		c.past.torn = true
		c.tornAt(role, back, want)
	}
}

// tornAt is the finding for the version of a role that the one with the number back replaced, and that is not there as it was.
func (c *checker) tornAt(role string, back int64, want blobHash) {
	f := Finding{Severity: Fault, Code: CodeHistoryMissing, Object: role}
	state := "not there any more"
	number, damaged := int64(0), false
	for _, old := range c.past.roles[role] {
		damaged = damaged || old.broken
	}
	for n, file := range c.past.named[role] {
		if file == want {
			number = n
		}
	}
	old, there := c.past.roles[role][number]
	switch {
	case there && old.broken, number == 0 && damaged:
		return // a finding already
	case there:
		state, f.Code = "there with other bytes", CodeHistory
	}
	what := fmt.Sprintf("the version below %d with sha256 %s", back, want)
	f.Next = "put that file back from a copy of the catalog, or the bucket's versions; readers do not need it"
	if number > 0 {
		f.Object = manifest.RoleObject(role, number)
		what, f.Next = fmt.Sprintf("it (sha256 %s)", want), historyBack(f.Object)
	}
	f.Why = fmt.Sprintf("%s, which %d of %s replaced, is %s; of versions before it nobody can tell which were in effect", what, back, role, state)
	c.find(f)
}
