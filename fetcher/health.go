package fetcher

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// Unfinished is what a site's state directory holds that is not finished.
type Unfinished struct {
	Reports int // in the spool: signed or not, and not in the store
	Fetches int // fetches that were interrupted; the next one of the same release goes on with them
}

// UnfinishedAt looks what of a site is not finished below a state directory, and changes nothing.
func UnfinishedAt(state string, site manifest.SiteID) (u Unfinished, err error) {
	d := (&Fetcher{State: state}).siteDir(site)
	if u.Reports, err = countDirs(d.spool(), func(name string) bool { return !strings.HasPrefix(name, durable.TempPrefix) }); err != nil {
		return u, err
	}
	u.Fetches, err = countDirs(d.incoming(), func(name string) bool { return strings.Contains(name, ".kitchen-") })
	return u, err
}

func countDirs(dir string, counts func(name string) bool) (n int, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		if e.IsDir() && counts(e.Name()) {
			n++
		}
	}
	return n, err
}

// Detected fills in what is left open with what the host has; dir is where releases are fetched to.
func (c Capabilities) Detected(dir string) Capabilities { return c.detected(dir) }
