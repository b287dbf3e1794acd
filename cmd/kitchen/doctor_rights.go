package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// needs are the prefixes below which the keys and the site of this host's configuration list, and create: the rows of
// docs/ACCESS.md that they take.
func (c *config) needs() (lists, creates []string) {
	if c.Site.ID != (siteID{}) {
		own := manifest.ReportsPrefix(c.Site.ID.SiteID)
		lists, creates = append(lists, own), append(creates, own)
	}
	for _, role := range slices.Sorted(maps.Keys(c.Keys)) {
		lists = append(lists, manifest.PendingPrefix)
		creates = append(creates, manifest.PendingPrefix)
		kind, _, _ := manifest.SplitRole(role)
		switch {
		case role == "online":
			lists = append(lists, "metadata/", "reports/")
			for _, a := range manifest.Accesses {
				if a.Persona == "committer" {
					creates = append(creates, a.Creates...)
				}
			}
			continue
		case kind == "": // root and targets sign proposals
			continue
		case manifest.RoleStage(role) == manifest.StageCatalog:
			creates = append(creates, "blobs/")
		case kind == manifest.StageReady:
			lists = append(lists, "reports/")
			creates = append(creates, "evidence/")
		}
		creates = append(creates, "targets/"+cmp.Or(manifest.RoleStage(role), kind)+"/")
	}
	slices.Sort(lists)
	slices.Sort(creates)
	return slices.Compact(lists), slices.Compact(creates)
}

// rights tries what this host's commands need of the store.
func (d *doctor) rights(parent context.Context) {
	const area = "rights"
	if !d.online {
		return
	}
	ctx, cancel := context.WithTimeout(parent, doctorPatience)
	defer cancel()
	lists, creates := d.k.config.needs()
	if len(creates) == 0 {
		d.ok(area, "may read; what else is needed here was not tried: kitchen.toml names no [keys] and no [site]. docs/ACCESS.md says what each party needs")
		return
	}
	var may []string
	for _, prefix := range lists {
		if d.mayList(ctx, area, prefix) {
			may = append(may, prefix)
		}
	}
	if len(may) > 0 {
		d.ok(area, "may list %s", strings.Join(may, ", "))
	}
	may = nil
	for _, prefix := range creates {
		if d.mayCreateBelow(ctx, area, prefix) {
			may = append(may, prefix)
		}
	}
	if len(may) > 0 {
		d.ok(area, "may create below %s", strings.Join(may, ", "))
	}
	if err := storage.CheckOwn(d.session.store, len(d.k.config.keyFiles("online")) > 0); err != nil {
		d.fails(area, err)
	}
	if len(d.k.config.keyFiles("online")) > 0 && d.remote() {
		d.ok(area, "not tried: to replace %s, which is every commit's last step; it takes s3:PutObject on it", manifest.TimestampObject)
	}
}

// mayCreateBelow tries to create below one prefix.
func (d *doctor) mayCreateBelow(ctx context.Context, area, prefix string) bool {
	switch dir, local := strings.CutPrefix(d.url, "file://"); {
	case local:
		for _, key := range []string{prefix + "kitchen-doctor", "_store/tmp/kitchen-doctor"} { // whoever writes anything writes the latter
			if at := unwritable(filepath.Join(dir, filepath.FromSlash(prefix)), existing(filepath.Join(dir, filepath.FromSlash(key)))); at != "" {
				d.problem(area, "give this user the right to write it; docs/ACCESS.md lists what each party needs", "may not create below %s: %s may not be written", prefix, at)
				return false
			}
		}
		return true
	case prefix == "metadata/":
		return d.mayCommit(ctx, area)
	case strings.HasPrefix(prefix, "reports/"):
		return d.mayCreate(ctx, area, manifest.LogObject(d.k.config.Site.ID.SiteID, hexDigest([]byte(trial))))
	}
	return d.mayCreate(ctx, area, prefix+"kitchen-doctor")
}

// unwritable is a folder that this user may not write: the one that is there of a prefix, or, below blobs/, which all publishers
// share, one of those in it; "" for none.
func unwritable(prefix, there string) string {
	folders := []string{there}
	if there == filepath.Clean(prefix) && filepath.Base(there) == "blobs" {
		for _, kind := range foldersIn(there) {
			folders = append(append(folders, kind), foldersIn(kind)...)
		}
	}
	for _, folder := range folders {
		if !writable(folder) {
			return folder
		}
	}
	return ""
}

// foldersIn are those that this user may list: who may write in them need not.
func foldersIn(dir string) (paths []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// maxWalked is how many names the doctor lists in a directory, where each folder has rights of its own.
const maxWalked = 50_000

// mayList asks for the names below a prefix: for the first where one right is for all of them.
func (d *doctor) mayList(ctx context.Context, area, prefix string) bool {
	names := 0
	for _, err := range d.session.store.List(ctx, prefix, "") {
		if err != nil {
			d.fails(area, err)
			return false
		}
		if names++; d.remote() || names == maxWalked {
			break
		}
	}
	return true
}

const (
	trial = "kitchen doctor tried whether it may write here\n"
	noTag = "00000000000000000000000000000000" // of no object
)

// mayCreate tries to replace an object that has a tag which none has: where the right is there, the condition fails.
// Nothing is written, but by a store that does not honour conditions at all.
func (d *doctor) mayCreate(ctx context.Context, area, key string) bool {
	_, err := d.session.store.Swap(ctx, key, noTag, []byte(trial), "text/plain", "no-store")
	switch {
	case errors.Is(err, storage.ErrConflict):
		return true
	case err == nil:
		d.problem(area, "no catalog can live in such a store: two writers would overwrite each other; remove "+key, "the store does not honour conditional writes: it wrote %s", key)
	default:
		d.fails(area, err)
	}
	return false
}

// mayCommit writes the first root again, which is allowed where it would be written the first time, and changes nothing.
func (d *doctor) mayCommit(ctx context.Context, area string) bool {
	key := manifest.RootObject(1)
	kind, err := manifest.KindOf(key)
	if err != nil {
		return false
	}
	root, _, err := storage.ReadAll(ctx, d.session.store, key, kind.MaxSize)
	if err == nil {
		err = d.session.store.Create(ctx, key, bytes.NewReader(root), int64(len(root)), kind.ContentType, kind.CacheControl)
	}
	if err != nil {
		d.fails(area, err)
	}
	return err == nil
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
