package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// keyFiles looks at the keys of [keys], and at what the catalog says of each.
func (d *doctor) keyFiles(ctx context.Context) {
	for _, role := range slices.Sorted(maps.Keys(d.k.config.Keys)) {
		for _, name := range d.k.config.Keys[role] {
			area := "key of " + role
			if public := d.keyFile(area, name); public != nil && (d.view != nil || d.root != nil) {
				d.authority(area, role, public)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// keyService tells the name of a key that is no file.
func keyService(name string) bool {
	return strings.Contains(name, "://") || strings.HasPrefix(name, "pkcs11:")
}

// keyFile looks at one key, and gives its public half where that can be known.
func (d *doctor) keyFile(area, name string) *keys.Public {
	if keyService(name) {
		var bad *keys.BadName
		if errors.As(keys.CheckName(name), &bad) {
			d.problem(area, bad.Hint(), "%v", bad)
		} else {
			d.ok(area, "%s is kept by a key service or a token, which is not asked here", keys.Shown(name))
		}
		return nil
	}
	path := d.k.config.abs(name)
	info, err := os.Stat(path)
	if err != nil {
		d.problem(area, "correct the path in kitchen.toml, or bring the file", "%v", err)
		return nil
	}
	if mode := info.Mode().Perm(); mode&othersRead != 0 {
		d.warn(area, "chmod 600 "+path, "others may read %s (mode %#o): its password alone protects it", path, mode)
	}
	if err := privateKeyFile(path); err != nil {
		d.problem(area, "name the private key, as kitchen key generate wrote it", "%v", err)
		return nil
	}
	base, _ := strings.CutSuffix(path, ".key")
	public, err := keys.LoadPublic(base + ".pub")
	if _, given, _ := d.k.keys.givenPassword(); given {
		signer, err := d.k.keys.signer(path)
		if err == nil {
			err = signer.open()
		}
		if err != nil {
			d.fails(area, err)
			return nil
		}
		d.ok(area, "%s opens", path)
		return signer.Public()
	}
	if err != nil {
		d.warn(area, "kitchen key show "+path+" > "+base+".pub writes it", "%s has no .pub beside it: which key it is cannot be told without its password", path)
		return nil
	}
	d.ok(area, "%s is there, with its .pub; no password is at hand to open it", path)
	return public
}

// privateKeyFile refuses what is no encrypted private key.
func privateKeyFile(path string) error {
	text, err := readCapped(path, 64<<10)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return fmt.Errorf("%s is not a key file: it has no PEM block", path)
	case !strings.HasPrefix(block.Type, "ENCRYPTED ") || !strings.HasSuffix(block.Type, " PRIVATE KEY"):
		return fmt.Errorf("%s holds %q, which is no encrypted private key", path, block.Type)
	}
	return nil
}

// authority tells whether the catalog knows the key for the role.
func (d *doctor) authority(area, role string, public *keys.Public) {
	key, err := trust.NewKey(public)
	if err != nil {
		d.problem(area, "make another: kitchen key generate", "%v", err)
		return
	}
	of := []string{role}
	if role == "online" {
		of = []string{trust.RoleTimestamp, trust.RoleSnapshot}
	}
	for _, name := range of {
		authority, known, err := d.authorityFor(name)
		switch {
		case err != nil:
			d.ok(area, "whether this key may sign %s is told by the first file that is signed here", name)
			d.show(key.ID)
			return
		case !known:
			d.problem(area, "correct [keys] in kitchen.toml; kitchen role show lists the roles", "the catalog has no role %s", name)
			return
		case !authority.Has(key.ID):
			d.problem(area, "use the key that may, or have the role's keys changed: kitchen role rotate "+name, "key %.8s may not sign %s", key.ID, name)
			d.showKeys(key.ID, authority.KeyIDs())
			return
		}
	}
	d.ok(area, "it may sign %s", strings.Join(of, " and "))
	d.show(key.ID)
}

// site looks at the site that this host is: its registration, its key, and what of it waits.
func (d *doctor) site(ctx context.Context) {
	const area = "site"
	id := d.k.config.Site.ID
	if id == (siteID{}) {
		return
	}
	var public *keys.Public
	if d.k.config.Site.Key == "" {
		d.warn(area, "name its key: [site] key in kitchen.toml", "%s has no key here: it can look, and not report", id)
	} else {
		public = d.keyFile("key of "+id.String(), d.k.config.Site.Key)
	}
	d.registered(ctx, area, public)
	if d.state != "" {
		d.waiting(area, id.SiteID)
	}
}

// registered holds the site to its registry entry.
func (d *doctor) registered(ctx context.Context, area string, public *keys.Public) {
	if d.view == nil {
		return
	}
	id := d.k.config.Site.ID
	customer, site, err := d.view.Site(ctx, id.SiteID)
	switch {
	case err != nil:
		d.fails(area, err)
		return
	case site.Retired:
		d.problem(area, "stop running kitchen here, or have another site registered", "%s is retired: nothing new that it reports counts", id)
	case customer.Suspended:
		d.warn(area, "ask the vendor", "%s is suspended: it follows nothing for the time being", customer.Customer)
	default:
		d.ok(area, "%s is registered, of kind %s, and follows %s", id, site.Kind, strings.Join(customer.Subscribe, ", "))
	}
	if public != nil {
		d.siteKey(area, site, public)
	}
}

func (d *doctor) siteKey(area string, site *manifest.Site, public *keys.Public) {
	const ask = "an administrator registers another: kitchen site rotate-key"
	var known *manifest.SiteKey
	for i := range site.Keys {
		if registered, err := keys.ParsePublic([]byte(site.Keys[i].Public)); err == nil && registered.Equal(public) && (known == nil || !known.ValidAt(d.view.Now())) {
			known = &site.Keys[i]
		}
	}
	switch {
	case known == nil:
		mine := publisher.IDOfPEM(public.PEM())
		theirs := []string{}
		for _, key := range site.Keys {
			if key.ValidAt(d.view.Now()) {
				theirs = append(theirs, publisher.IDOfPEM(key.Public))
			}
		}
		d.problem(area, "name the file of the site's own key: [site] key in kitchen.toml. Where it is lost or was replaced: "+ask,
			"its key here is not the one that the registry has for the site: no report signed with it counts")
		d.showKeys(mine, theirs)
	case !known.CompromisedSince.IsZero() && !d.view.Now().Before(known.CompromisedSince):
		d.problem(area, ask, "its key here is said to be compromised since %s", stamp(known.CompromisedSince))
	case d.view.Now().Before(known.ValidFrom):
		d.problem(area, "wait until then", "its key here is valid from %s on", stamp(known.ValidFrom))
	case !known.ValidAt(d.view.Now()):
		d.problem(area, ask, "its key here was valid until %s", stamp(known.ValidTo))
	case !known.ValidTo.IsZero():
		d.warn(area, ask, "its key here is valid until %s", stamp(known.ValidTo))
	default:
		d.ok(area, "its key here is the registered one, valid since %s", stamp(known.ValidFrom))
	}
}

// waiting tells what is not finished.
func (d *doctor) waiting(area string, id manifest.SiteID) {
	unfinished, err := fetcher.UnfinishedAt(d.state, id)
	switch {
	case err != nil:
		d.problem(area, "give "+d.state+" to this user", "%v", err)
	case unfinished.Reports > 0:
		d.warn(area, "kitchen run sends them once the store takes them", "%s not sent yet", counted(unfinished.Reports, "report is", "reports are"))
	}
	if unfinished.Fetches > 0 {
		d.ok(area, "%s interrupted; the next run goes on with what is there", counted(unfinished.Fetches, "fetch was", "fetches were"))
	}
}

// hooks looks whether what they name is there and can be started.
func (d *doctor) hooks() {
	c := d.k.config
	hooks := c.hooks()
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		area := "hook " + name
		path, err := d.program(hooks[name][0])
		if err != nil {
			d.problem(area, "install it, make it executable, or correct [hooks] in kitchen.toml", "%v", err)
			continue
		}
		for _, arg := range hooks[name][1:] {
			if strings.HasPrefix(arg, "./") && err == nil {
				_, err = os.Stat(c.abs(arg))
			}
		}
		if err != nil {
			d.problem(area, "bring the file, or correct [hooks] in kitchen.toml", "%v", err)
			continue
		}
		d.ok(area, "%s", path)
	}
	d.missingHook(hooks)
	if c.Site.ID != (siteID{}) && d.state != "" {
		have := fetcher.Capabilities(c.Capabilities).Detected(existing(filepath.Join(d.state, "x")))
		labels := "no labels"
		if len(have.Labels) > 0 {
			labels = "labels " + strings.Join(have.Labels, ", ")
		}
		d.ok("capabilities", "%s, %s, %d GiB of memory, %d GiB of free disk, %s", strings.Join(have.Arch, ", "), counted(have.CPUs, "CPU"), have.MemoryGiB, have.DiskGiB, labels)
	}
}

// missingHook tells of the one without which kitchen run does nothing here.
func (d *doctor) missingHook(hooks map[string][]string) {
	site := d.k.config.Site
	if site.ID == (siteID{}) {
		return
	}
	name := ""
	if site.Auto {
		name = fetcher.HookDeploy
	}
	if d.view != nil {
		switch _, registered, err := d.view.Site(d.k.ctx, site.ID.SiteID); {
		case err != nil:
		case registered.Kind == manifest.SiteCI:
			name = fetcher.HookTest
		case !site.Auto:
			name = ""
		}
	}
	if name != "" && hooks[name] == nil {
		missing := &fetcher.MissingHook{Name: name, Config: cmp.Or(d.k.config.path, "kitchen.toml")}
		d.problem("hook "+name, missing.Hint(), "%v: kitchen run can do nothing here", missing)
	}
}

// program finds what would be started, and its interpreter.
func (d *doctor) program(name string) (string, error) {
	if strings.Contains(name, "/") {
		name = d.k.config.abs(name) // hooks start in kitchen.toml's folder
	}
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&othersWrite != 0 {
		return "", fmt.Errorf("%s may be written by others (mode %#o), and runs as this user", path, info.Mode().Perm())
	}
	return path, interpreter(path)
}

// interpreter looks for the program that a script's first line names.
func interpreter(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // as in readCapped
	if err != nil {
		return nil //nolint:nilerr // it may be run and not read
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadString('\n')
	words, script := strings.CutPrefix(line, "#!")
	fields := strings.Fields(words)
	if !script || len(fields) == 0 {
		return nil
	}
	if _, err := os.Stat(fields[0]); err != nil {
		return fmt.Errorf("%s needs %s: %w", path, fields[0], err)
	}
	if filepath.Base(fields[0]) == "env" && len(fields) == 2 {
		if _, err := exec.LookPath(fields[1]); err != nil {
			return fmt.Errorf("%s needs %s: %w", path, fields[1], err)
		}
	}
	return nil
}

// shownURL is an address without what may be a secret.
func shownURL(address string) string {
	before, rest, ok := strings.Cut(address, "://")
	at := strings.LastIndexByte(rest, '@')
	if slash := strings.IndexByte(rest, '/'); ok && at >= 0 && (slash < 0 || at < slash) {
		return before + "://" + rest[at+1:]
	}
	return address
}
