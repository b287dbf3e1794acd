package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// orphans lists a prefix and gathers what is not reached.
func (c *checker) orphans(ctx context.Context, prefix string, reached func(storage.Info) bool, code, why, next string) error {
	if c.req.Product != "" {
		return nil
	}
	for o, err := range c.Store.List(ctx, prefix, "") {
		if err != nil {
			return c.unlisted(prefix, err)
		}
		c.result.Checked.Objects++
		if _, err := manifest.KindOf(o.Key); err != nil {
			c.foreign(o)
		} else if !reached(o) {
			c.gather(Note, code, prefix, why, next, o)
		}
	}
	return nil
}

// foreign is an object whose name is none of Kitchen's.
func (c *checker) foreign(o storage.Info) {
	c.gather(Note, CodeForeign, "", "objects whose names are none of a catalog's", "remove them if they are nobody's", o)
}

// pending tells what lies below pending/: what waits, and what nobody reads any more.
func (c *checker) pending(ctx context.Context) error {
	live, err := c.live(ctx, c.view)
	if err != nil {
		return c.unlisted(manifest.PendingPrefix, err)
	}
	waits := map[string]bool{}
	for _, w := range live {
		waits[w.id] = true
		state := "it waits for signatures"
		if w.complete() {
			state = "it waits for the committer"
		}
		c.find(Finding{Severity: Note, Code: CodePending, Object: manifest.PendingPrefix + w.id + "/", Why: state + ", until " + moment(w.expires), Next: "kitchen pending"})
	}
	stale, err := c.stale(ctx, c.view)
	if err != nil {
		return err
	}
	for _, w := range stale {
		waits[w.ID] = true
		f := Finding{Severity: Note, Code: CodePending, Object: manifest.PendingPrefix + w.ID + "/", Why: "it can never take effect: " + w.Stale, Next: strings.Join(w.Again, "; ")}
		if lost := w.NotRecalledWords(); lost != "" {
			f.Severity, f.Why = Warning, lost+": "+w.Stale
		}
		c.find(f)
	}
	names, last := 0, ""
	for o, err := range c.Store.List(ctx, manifest.PendingPrefix, "") {
		if err != nil {
			return err
		}
		c.result.Checked.Objects++
		id, _, _, _, err := manifest.ParsePendingObject(o.Key)
		if err == nil && id != last {
			names, last = names+1, id
		}
		switch {
		case err != nil:
			c.foreign(o)
		case !waits[id]:
			c.gather(Note, CodePendingLeftovers, manifest.PendingPrefix, "objects of proposals that took effect, went stale, lapsed, or were never signed by anybody who may",
				"nothing reads them; they may be deleted from the store once their proposals have lapsed ("+fmt.Sprint(int(lifeProposal/day))+" days)", o)
		}
	}
	if names > maxListed {
		c.find(Finding{Severity: Warning, Code: CodePendingLeftovers, Object: manifest.PendingPrefix, Count: names,
			Why:  fmt.Sprintf("the names of %d proposals lie there, and what comes after the first %d is not looked at: one that waits may be hidden from its signers and the committer", names, maxListed),
			Next: "delete what is garbage, and find out who may write there (docs/ACCESS.md)"})
	}
	return nil
}

// areas are the first segments of names that have been looked at elsewhere, or are nobody's to check.
var areas = []string{"_kitchen/", "blobs/", "evidence/", "journal/", "metadata/", "pending/", "reports/", "targets/", "www/"}

// strays looks at what lies beside the catalog: what probes and prunes left, foreign names, unfinished uploads.
func (c *checker) strays(ctx context.Context) error {
	if err := c.foreignAreas(ctx); err != nil {
		return err
	}
	if err := c.orphans(ctx, "_kitchen/", func(o storage.Info) bool { return o.Key == manifest.PruneObject },
		CodeProbes, "objects with which init tried the store", "nothing: they are a few bytes"); err != nil {
		return err
	}
	doomed, _, err := c.readPruneList(ctx)
	switch {
	case err != nil && storeFailure(err):
		return err
	case err != nil:
		c.find(Finding{Severity: Warning, Code: CodePruning, Object: manifest.PruneObject, Why: err.Error()})
	case len(doomed) > 0:
		c.find(Finding{Severity: Warning, Code: CodePruning, Object: manifest.PruneObject, Why: "a prune is under way, or was interrupted", Next: (&Pruning{}).Hint()})
	}
	return c.uploads(ctx)
}

// foreignAreas finds names beside the areas, jumping over each of them.
func (c *checker) foreignAreas(ctx context.Context) error {
	after := ""
	for {
		jump := ""
		for o, err := range c.Store.List(ctx, "", after) {
			if err != nil {
				return c.unlisted("", err)
			}
			if i := slices.IndexFunc(areas, func(area string) bool { return strings.HasPrefix(o.Key, area) }); i >= 0 {
				jump = areas[i] + "\U0010FFFF"
				break
			}
			c.result.Checked.Objects++
			c.foreign(o)
		}
		if jump == "" {
			return nil
		}
		after = jump
	}
}

// uploads tells of what writers began and did not finish: files in a directory, uploads in parts elsewhere.
func (c *checker) uploads(ctx context.Context) error {
	left, err := storage.Leftovers(ctx, c.Store)
	if err := c.unlisted("_store/tmp/", err); err != nil {
		return err
	}
	for _, l := range left {
		c.find(Finding{Severity: Note, Code: CodeUploads, Object: l.Path, Bytes: l.Size,
			Why:  fmt.Sprintf("a writer that was killed left it, at %s, %s ago", moment(l.Modified), ageWords(c.Now().Sub(l.Modified))),
			Next: "nothing: the next write to this store removes it"})
	}
	for u, err := range storage.Uploads(ctx, c.Store) {
		if err != nil {
			if denied(err) || errors.Is(err, storage.ErrUnsupported) {
				c.unchecked("unfinished uploads: the store does not list them, or may not")
				return nil
			}
			return err
		}
		c.gather(Note, CodeUploads, "", "uploads in parts that nobody finished", "a lifecycle rule of the bucket removes them; where the object did not get complete, the next publication of the same goes on with them",
			storage.Info{Key: u.Key})
	}
	return nil
}

// ageWords is an age as people say it.
func ageWords(d time.Duration) string {
	switch {
	case d >= 2*day:
		return count(int(d/day), "day")
	case d >= 2*time.Hour:
		return count(int(d/time.Hour), "hour")
	}
	return count(int(d/time.Minute), "minute")
}
