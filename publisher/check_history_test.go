package publisher_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestCheckOfATornHistory: behind a version that is lost nobody can tell what was in effect, and it does not say that it never was.
func TestCheckOfATornHistory(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, *checked, string) string{
		"not there any more": func(t *testing.T, c *checked, key string) string { return c.remove(t, key) },
		"with other bytes": func(t *testing.T, c *checked, key string) string {
			c.resign(t, key)
			return key
		},
	} {
		c := newChecked(t)
		for n := range 4 {
			must(t, publisher.Committed)(c.publisher(t, c.online).SuspendCustomer(ctx, "acme", n%2 == 0, signers(c.admin)))
		}
		before := notes(c.check(t, publisher.CheckRequest{}))
		last := c.view(t).Snapshot().Roles["registry"].Version
		key := manifest.RoleObject("registry", last-2)
		damage(t, c, key)
		r := c.check(t, publisher.CheckRequest{})
		if got, want := bad(r), map[string]string{"not there any more": "fault history-missing ", "with other bytes": "fault history-damaged "}[name]+key; got != want || r.Sound() {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		says(t, theFinding(t, r, key), "put "+key+" back", name, "nobody can tell which were in effect")
		if n := notes(r)[publisher.CodeOrphanMetadata]; n != before[publisher.CodeOrphanMetadata] {
			t.Errorf("%s: %d versions are said never to have been in effect", name, n)
		}
		for _, f := range r.Findings {
			if strings.Contains(f.Why, "ever listed") {
				t.Errorf("%s: %s", name, f.Why)
			}
		}
	}
}

// TestCheckNamesGapsInSnapshots: each writer takes the first number that is free.
func TestCheckNamesGapsInSnapshots(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	for n := int64(2); n <= 4; n++ {
		c.remove(t, manifest.SnapshotObject(n))
	}
	r := c.check(t, publisher.CheckRequest{})
	if got, want := bad(r), "warning snapshot-gap metadata/2.snapshot.json"; got != want || !r.Sound() {
		t.Errorf("%s, want %s", got, want)
	}
	says(t, theFinding(t, r, "metadata/2.snapshot.json"), "it and the 2 versions after it, up to 4, are not there")
}

// TestCheckDoesNotCallBlobsOrphansThatItCannotJudge: of a release whose manifest cannot be read nobody knows what it needs.
func TestCheckDoesNotCallBlobsOrphansThatItCannotJudge(t *testing.T) {
	t.Parallel()
	manifests := func(t *testing.T, c *checked, damage func(*testing.T, string) string) {
		for _, key := range c.objects(t) {
			if strings.HasPrefix(key, "targets/") && strings.HasSuffix(key, ".manifest.toml") {
				damage(t, key)
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, *checked){
		"manifest lost":    func(t *testing.T, c *checked) { manifests(t, c, c.remove) },
		"manifest altered": func(t *testing.T, c *checked) { manifests(t, c, c.flip) },
		"role refused":     func(t *testing.T, c *checked) { c.flip(t, c.current(t, "product.openstack")) },
		"role lost":        func(t *testing.T, c *checked) { c.remove(t, c.current(t, "product.openstack")) },
	} {
		c := newChecked(t)
		damage(t, c)
		r := c.check(t, publisher.CheckRequest{})
		if r.Sound() {
			t.Errorf("%s: sound", name)
		}
		for _, f := range r.Findings {
			if f.Code == publisher.CodeOrphanBlobs && (strings.Contains(f.Next, "prune") || !strings.Contains(f.Why, "may need them")) {
				t.Errorf("%s: %s > %s", name, f.Why, f.Next)
			}
		}
		if notes(r)[publisher.CodeOrphanBlobs] == 0 {
			t.Errorf("%s: it shows nothing of what cannot be judged", name)
		}
	}
}
