package fetcher

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// News is what changed for a follower since it was last told.
type News struct {
	Releases []catalog.ReleaseInfo // became visible
	Recalled []RecalledNews        // were known here
}

// RecalledNews is a recall of a release that this host was shown, fetched, tested or deployed.
type RecalledNews struct {
	Release  manifest.Release
	Recall   *catalog.Recall
	Deployed bool // it is what is deployed here
}

// seenRecord is what refresh has shown: release → digest of its manifest; and recalled release → number of the recall.
type seenRecord struct {
	Releases map[string]string `json:"releases"`
	Recalled map[string]int64  `json:"recalled,omitempty"`
}

// New lists the releases that became visible to this follower, and those of the known ones that were recalled, since
// New was last called with this state directory, and remembers them. With a damaged or missing record everything
// visible is new.
func (f *Fetcher) New(ctx context.Context, v *catalog.View) (*News, error) {
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
	news, now := &News{}, seenRecord{Releases: make(map[string]string, len(visible))}
	for _, info := range visible {
		name := info.Release.String()
		if seen.Releases[name] != info.SHA256 {
			news.Releases = append(news.Releases, info)
		}
		now.Releases[name] = info.SHA256
	}
	if now.Recalled, err = f.newRecalls(v, seen, news); err != nil {
		return nil, err
	}
	if maps.Equal(now.Releases, seen.Releases) && maps.Equal(now.Recalled, seen.Recalled) {
		return news, nil
	}
	return news, writeRecord(path, now)
}

// newRecalls adds the recalls that were not told yet, and gives all of them that stand.
func (f *Fetcher) newRecalls(v *catalog.View, seen seenRecord, news *News) (map[string]int64, error) {
	standing := map[string]int64{}
	for _, product := range v.Products() {
		releases, err := v.Releases(product)
		var absent *catalog.RoleAbsent
		if err != nil && !errors.As(err, &absent) {
			return nil, err
		}
		for _, info := range releases {
			recall, name := f.recalled(v, info.Release), info.Release.String()
			if recall == nil {
				continue
			}
			told, was := seen.Recalled[name]
			if !was && seen.Releases[name] == "" && !f.used(info) {
				continue // this host never knew it
			}
			standing[name] = recall.Since
			if was && told == recall.Since {
				continue
			}
			news.Recalled = append(news.Recalled, RecalledNews{Release: info.Release, Recall: recall, Deployed: f.deployedNow(info.Release)})
		}
	}
	return standing, nil
}

// used tells whether this host fetched, deployed or tested a release.
func (f *Fetcher) used(info catalog.ReleaseInfo) bool {
	if f.keeps(info.Release, info.SHA256) {
		return true
	}
	if f.Site == nil {
		return false
	}
	rec, err := f.siteDir(f.Site.ID).report(info.Release)
	return err == nil && rec != nil
}

func (f *Fetcher) deployedNow(r manifest.Release) bool {
	if f.Site == nil {
		return false
	}
	rec, err := f.siteDir(f.Site.ID).deploy(r.Product)
	return err == nil && rec != nil && rec.Current == r.Version
}
