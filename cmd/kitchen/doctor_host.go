package main

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/durable"
)

// Permissions of others: to read, and to write.
const (
	othersRead  = 0o077
	othersWrite = 0o022
)

// configuration reads kitchen.toml. When that fails, the flags and the environment are all there is to go on.
func (d *doctor) configuration() {
	const area = "configuration"
	k := d.k
	var err error
	unread := false // what it says of the catalog, nobody knows
	if k.config, err = loadConfig(k.global.config); err != nil {
		unread = true
		k.config = newConfig("")
		k.config.dir, _ = os.Getwd()
		d.fails(area, err)
	}
	path := k.config.path
	if info, e := os.Stat(path); path != "" && e == nil {
		if info.Mode().Perm()&othersWrite != 0 {
			d.problem(area, "chmod go-w "+path, "%s may be written by others (mode %#o): they decide which root is trusted and which commands run", path, info.Mode().Perm())
		} else {
			d.ok(area, "%s", path)
		}
		if u, e := url.Parse(k.config.Catalog); e == nil && u.User != nil && info.Mode().Perm()&othersRead != 0 {
			d.warn(area, "chmod 600 "+path, "%s holds the catalog's password, and others may read it", path)
		}
	} else if err == nil {
		d.ok(area, "no kitchen.toml here; flags and environment say everything")
	}
	if k.signsOffLine() {
		d.withoutCatalog()
		return
	}
	if d.url, err = k.catalogURL(); err != nil {
		if !unread {
			d.fails(area, err)
		}
		return
	}
	if d.state, err = k.stateDir(d.url); err != nil {
		d.fails(area, err)
	}
}

// environment tells which variables have a say.
func (d *doctor) environment() {
	const area = "environment"
	has := func(names ...string) (found []string) {
		for _, name := range names {
			if v, ok := d.k.lookupEnv(name); ok && v != "" {
				found = append(found, name)
			}
		}
		return found
	}
	if set := has("KITCHEN_CONFIG", "KITCHEN_CATALOG", "KITCHEN_STATE", "KITCHEN_OUTPUT"); len(set) > 0 {
		d.ok(area, "set: %s", strings.Join(set, ", "))
	}
	if set := has("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"); len(set) > 0 && d.remote() {
		d.ok(area, "requests go by a proxy: %s", strings.Join(set, ", "))
	}
	for _, name := range has("SSL_CERT_FILE", "AWS_CA_BUNDLE") {
		path, _ := d.k.lookupEnv(name)
		if _, err := os.Stat(path); err != nil {
			d.problem(area, "correct or unset "+name, "%s: %v", name, err)
		}
	}
	if !strings.HasPrefix(d.url, "s3://") {
		return
	}
	home, _ := d.k.lookupEnv("HOME")
	_, noFile := os.Stat(filepath.Join(home, ".aws", "credentials"))
	set := has("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	switch {
	case len(set) > 0:
		d.ok(area, "credentials: %s", strings.Join(set, ", "))
	case noFile != nil:
		d.warn(area, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials", "there are no credentials for the store, but for those that the machine itself may have")
	}
}

func (d *doctor) remote() bool { return d.url != "" && !strings.HasPrefix(d.url, "file://") }

// stateDirectory looks at what this host keeps.
func (d *doctor) stateDirectory() {
	const area = "state"
	if d.state == "" {
		return
	}
	info, err := os.Stat(d.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := existing(d.state)
		if err := tryToWrite(parent); err != nil {
			d.problem(area, "make the directory for this user, or name another with --state or state in kitchen.toml", "%s is not there, and %s cannot be written: %v", d.state, parent, err)
			return
		}
		d.ok(area, "%s is not there yet; the first command that needs it makes it", d.state)
		return
	case err != nil:
		d.problem(area, "name another with --state or state in kitchen.toml", "%v", err)
		return
	case !info.IsDir():
		d.problem(area, "move it away, or name another with --state", "%s is no directory", d.state)
		return
	}
	if err := tryToWrite(d.state); err != nil {
		d.problem(area, "give it to this user, free some space, or name another with --state", "%s cannot be written: %v", d.state, err)
	} else {
		d.ok(area, "%s may be written", d.state)
	}
	if mode := info.Mode().Perm(); mode&othersWrite != 0 {
		d.problem(area, "chmod go-w "+d.state, "others may write %s (mode %#o): they could make this host forget recalls", d.state, mode)
	}
	if free := (fetcher.Capabilities{}).Detected(d.state); free.DiskGiB == 0 {
		d.warn(area, "free some space", "less than 1 GiB is free where the state is kept")
	}
	d.remembered()
}

// remembered looks at what the state directory must not forget.
func (d *doctor) remembered() {
	const area = "state"
	d.health = catalog.InspectState(d.state)
	if d.health.Busy {
		d.warn(area, "wait for it; a command that was killed holds no lock", "another command of kitchen is at work on it")
	}
	switch h := d.health; {
	case !h.Used:
		d.ok(area, "nothing of a catalog has been seen here yet")
	case h.Memories == 0:
		d.problem(area, "kitchen refresh begins anew; until it has, an older view of the catalog, without the latest recalls, would be taken. Find out why",
			"both copies of what this host has seen are missing or damaged")
	case h.Memories == 1:
		d.warn(area, "kitchen refresh makes it anew; look whether the disk is failing", "one of the two copies of what this host has seen is missing or damaged")
	default:
		d.ok(area, "both copies of what was seen are intact")
	}
}

// existing is the nearest directory above a path that is there.
func existing(path string) string {
	for {
		parent := filepath.Dir(path)
		if _, err := os.Stat(parent); err == nil || parent == path {
			return parent
		}
		path = parent
	}
}

// writable tells whether this user may write a directory.
func writable(dir string) bool {
	const writeAndEnter = 0x2 | 0x1 // W_OK, X_OK of access(2)
	return syscall.Access(dir, writeAndEnter) == nil
}

// tryToWrite makes a file and removes it.
func tryToWrite(dir string) error {
	f, err := os.CreateTemp(dir, durable.TempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write([]byte("kitchen doctor\n"))
	return errors.Join(err, f.Close())
}
