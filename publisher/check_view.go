package publisher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

const (
	noView   = "everything below: no reader can have a view of the catalog"
	noNewest = "everything below: without the roots that are lost, no new host can have a view of the catalog"
)

// ever excuses all expiries: they are findings of their own.
var ever = trust.AllowStale{MaxAge: 100 * lifeLong}

// look gives the view to check. First comes what this host knows: whoever shows it an older catalog is found out. What
// the view shows must then come from the store alone. Nil when no reader can have a view; the findings say why.
func (c *checker) look(ctx context.Context, scratch string) (*catalog.View, error) {
	known, err := c.Catalog.RefreshToRenew(ctx, &ever)
	if err != nil {
		return nil, c.noView(ctx, err)
	}
	c.seen, c.known = known.Root().Version, known.RawRoots()
	whole, err := c.seenRoots(ctx)
	if err != nil {
		return nil, err
	}
	view, err := c.Catalog.Afresh(scratch).RefreshToRenew(ctx, &ever)
	var refused *trust.Error
	if errors.As(err, &refused) && !whole {
		c.unchecked(noNewest)
		return nil, nil
	}
	if err != nil {
		return nil, c.noView(ctx, err)
	}
	return view, nil
}

// noView makes findings of why a reader can have no view. Other errors are the caller's.
func (c *checker) noView(ctx context.Context, err error) error {
	var refused *trust.Error
	var next *catalog.NotNextRoot
	var gone *catalog.NoCatalog
	var pin *catalog.PinMismatch
	switch {
	case errors.As(err, &gone) && gone.Left != "":
		err = c.beheaded(ctx)
	case errors.As(err, &next):
		err = nil
		c.notNextRoot(next)
	case errors.As(err, &pin):
		err = nil
		c.find(Finding{Severity: Fault, Code: CodeRefused, Object: manifest.RootObject(pin.Version), Why: pin.Error() + "; every host that pinned it refuses the catalog", Next: c.rootBack(pin.Version) + ". " + pin.Hint()})
	case errors.As(err, &refused):
		lost, next, e := c.lostRoots(ctx, refused)
		if e != nil {
			return e
		}
		if lost && (refused.Kind == trust.BadSignature || refused.Kind == trust.Threshold) {
			c.unchecked(noNewest)
			return nil
		}
		err = nil
		c.refused(refused, c.announced(ctx, refused.Role), next)
	case errors.Is(err, storage.ErrTooLarge): // of all others a verified file tells the length
		c.refused(&trust.Error{Kind: trust.Malformed, Role: trust.RoleTimestamp, Err: err}, 0, "")
		err = nil
	}
	if err == nil {
		c.unchecked(noView)
	}
	return err
}

// beheaded names what every reader begins with, and a catalog of which other metadata is there does not have.
func (c *checker) beheaded(ctx context.Context) error {
	for key, f := range map[string]Finding{
		manifest.RootObject(1):   {Object: manifest.RootObject(1), Why: "it is not there, and other metadata is: every host begins with it, or went on from it", Next: c.rootBack(1)},
		manifest.TimestampObject: {Object: trust.RoleTimestamp, Why: "there is no " + manifest.TimestampObject + ", and other metadata is there: every host asks for it first", Next: mend(&trust.Error{Kind: trust.Missing, Role: trust.RoleTimestamp}, 0)},
	} {
		there, err := c.exists(ctx, key)
		if err != nil {
			return err
		}
		if f.Severity, f.Code = Fault, CodeMetadataMissing; !there {
			c.find(f)
		}
	}
	return nil
}

// notNextRoot is what lies where the next root belongs, and is none. Of one that this host has seen it is a damaged copy;
// else it never was in effect.
func (c *checker) notNextRoot(e *catalog.NotNextRoot) {
	key := manifest.RootObject(e.Version)
	f := Finding{Severity: Fault, Code: CodeRefused, Object: key, Why: e.Err.Error() + "; no host takes it, and none gets past it", Next: c.rootBack(e.Version)}
	if e.Version > c.seen {
		f.Next = fmt.Sprintf("remove %s: root %d is only what the threshold of root %d signed, which this is not, so that it was never in effect, and every host refuses the whole catalog while it lies there. "+
			"If a holder of root knows that another root %d was signed, put that in its place. Find out who may write below metadata/ (docs/ACCESS.md)", key, e.Version, e.Version-1, e.Version)
	}
	c.find(f)
}

// seenRoots: the store has the roots that this host saw. To a host that is new, those after one that is gone were never there:
// it stays on the root before, and on the keys that were replaced since.
func (c *checker) seenRoots(ctx context.Context) (whole bool, err error) {
	whole = true
	for n := int64(2); n <= c.seen; n++ { // for the first one see roots
		there, err := c.exists(ctx, manifest.RootObject(n))
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		whole = false
		c.find(Finding{Severity: Fault, Code: CodeMetadataMissing, Object: manifest.RootObject(n), Next: c.rootBack(n),
			Why: fmt.Sprintf("this host has seen root %d, and the store does not hold root %d: new hosts get no further than root %d, and trust its keys", c.seen, n, n-1)})
	}
	return whole, nil
}

// rootBack is where a root that was in effect is to be had.
func (c *checker) rootBack(n int64) string {
	file := filepath.Join(c.Catalog.Dir(), "root", fmt.Sprintf("%d.root.json", n))
	from := "from a mirror, or from the state directory of a host that saw it (" + filepath.Join("root", filepath.Base(file)) + ")"
	if _, err := os.Lstat(file); err == nil {
		from = "from this host's state directory (" + file + ")"
	}
	if n == 1 {
		from += ", or from the root file that hosts pin (root in kitchen.toml)"
	}
	return "put " + manifest.RootObject(n) + " back " + from + ": it is the same everywhere"
}
