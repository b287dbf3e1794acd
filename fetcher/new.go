package fetcher

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/enovance/kitchen/internal/catalog"
)

// seenRecord is what refresh has shown: release → digest of its manifest.
type seenRecord struct {
	Releases map[string]string `json:"releases"`
}

// New lists the releases that became visible to this follower since New was last
// called with this state directory, and remembers them. With a damaged or missing
// record everything visible is new.
func (f *Fetcher) New(ctx context.Context, v *catalog.View) ([]catalog.ReleaseInfo, error) {
	path := filepath.Join(f.State, "site", "_follower", "seen.json")
	if f.Site != nil {
		path = f.siteDir(f.Site.ID).seen()
	}
	var seen seenRecord
	err := readRecord(path, &seen)
	var damaged *Damaged
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &damaged) {
		return nil, err
	}
	visible, err := f.followed(ctx, v)
	if err != nil {
		return nil, err
	}
	fresh := []catalog.ReleaseInfo{}
	now := seenRecord{Releases: make(map[string]string, len(visible))}
	for _, info := range visible {
		name := info.Release.String()
		if seen.Releases[name] != info.SHA256 {
			fresh = append(fresh, info)
		}
		now.Releases[name] = info.SHA256
	}
	if len(fresh) == 0 && len(now.Releases) == len(seen.Releases) {
		return fresh, nil
	}
	return fresh, writeRecord(path, now)
}
