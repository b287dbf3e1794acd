package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A catalog is a directory of the working directory: bucket/, the vendor's configuration and state, and the state of a site. They are
// copied to go on from.

func (b *bench) path(parts ...string) string { return filepath.Join(b.work, filepath.Join(parts...)) }
func (b *bench) image(name string) string    { return filepath.Join(b.images, name) }
func (b *bench) key(name string) string      { return b.path("keys", name) }

// setUp makes the keys, the releases, and the catalog "empty".
func (b *bench) setUp(ctx context.Context) error {
	for _, who := range []string{"root", "online", "admin", "engineer", "validator", "ops", "ci"} {
		if _, err := b.command(ctx, b.kitchen, "key", "generate", b.key(who)); err != nil {
			return err
		}
	}
	for name, version := range map[string]string{"v1.tar": "1.0.0", "v2.tar": "2.0.0", "v3.tar": "3.0.0", "v1.ext4": "1.0.0", "v2.ext4": "2.0.0"} {
		if err := b.release(name, version); err != nil {
			return err
		}
		if err := link(b.image(name), b.path("releases", name, "disk.img")); err != nil {
			return err
		}
	}
	return b.create(ctx, "empty", b.path("empty", "bucket"))
}

// release makes a release directory that lacks its image.
func (b *bench) release(name, version string) error {
	dir := b.path("releases", name)
	toml := fmt.Sprintf("product = \"os\"\nversion = %q\nkind = \"initial\"\n[marmite]\npath = \"marmite.yaml\"\n[[artifact]]\npath = \"disk.img\"\nkind = \"image\"\n", version)
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "product.toml"), []byte(toml), 0o600),
		os.WriteFile(filepath.Join(dir, "marmite.yaml"), []byte("roles: [bench]\n"), 0o600))
}

// create makes a catalog with one product and one site at an address.
func (b *bench) create(ctx context.Context, name, address string) error {
	if err := b.configure(name, address); err != nil {
		return err
	}
	_, err := b.commands(ctx,
		[]string{b.kitchen, "init", "--catalog", address, "--vendor", "bench", "--root-key", b.key("root.key"), "--root-threshold", "1",
			"--online-key", b.key("online.key"), "--registry-key", b.key("admin.key"), "--write-root", b.path(name, "root.json")},
		b.vendor(name, "product", "add", "os", "--engineer", b.key("engineer.pub"), "--validator", b.key("validator.pub"), "--certifier", b.key("ops.pub"), "--key", b.key("root.key")),
		b.vendor(name, "site", "add", "bench/ci", "--kind", "ci", "--pub", b.key("ci.pub"), "--key", b.key("admin.key")))
	return err
}

// configure writes the configurations of the vendor, and of the site; a catalog in a directory is fetched over http.
func (b *bench) configure(name, address string) error {
	served := address
	if filepath.IsAbs(address) {
		served = b.server.url + "/" + name + "/bucket"
	}
	vendor := fmt.Sprintf("catalog = %q\nroot = \"root.json\"\nstate = \"vendor-state\"\n[keys]\nonline = [%q]\n", address, b.key("online.key"))
	site := fmt.Sprintf("catalog = %q\nroot = \"root.json\"\nstate = \"site-state\"\n[site]\nid = \"bench/ci\"\nfollow = \"published\"\n", served)
	return errors.Join(os.MkdirAll(b.path(name), 0o700), os.WriteFile(b.path(name, "vendor.toml"), []byte(vendor), 0o600),
		os.WriteFile(b.path(name, "site.toml"), []byte(site), 0o600))
}

func (b *bench) vendor(name string, args ...string) []string {
	return append([]string{b.kitchen, "--no-progress", "--config", b.path(name, "vendor.toml")}, args...)
}

func (b *bench) site(name string, args ...string) []string {
	return append([]string{b.kitchen, "--no-progress", "--config", b.path(name, "site.toml")}, args...)
}

// publish publishes a release into a new copy of a catalog, and counts what the catalog grew by.
func (b *bench) publish(ctx context.Context, from, to, release string, flags ...string) (cost, error) {
	if err := b.copy(from, to); err != nil {
		return cost{}, err
	}
	before, err := size(b.path(to, "bucket"))
	if err != nil {
		return cost{}, err
	}
	c, err := b.commands(ctx, b.vendor(to, append([]string{"publish", b.path("releases", release), "--key", b.key("engineer.key")}, flags...)...))
	if err != nil {
		return cost{}, err
	}
	after, err := size(b.path(to, "bucket"))
	c.bytes = after - before
	return c, err
}

// fetch brings a version out of a copy of a catalog and compares it.
func (b *bench) fetch(ctx context.Context, name, version, image string, flags ...string) (cost, error) {
	into, state := b.path("into"), b.path(name, "site-state")
	if err := errors.Join(os.RemoveAll(into), os.RemoveAll(state)); err != nil {
		return cost{}, err
	}
	if _, err := os.Stat(b.path(name, "warm")); err == nil {
		if err := linkTree(b.path(name, "warm"), state); err != nil {
			return cost{}, err
		}
	}
	c, err := b.commands(ctx, b.site(name, append([]string{"fetch", "os@" + version, "--into", into}, flags...)...))
	if err != nil {
		return cost{}, err
	}
	return c, errors.Join(same(filepath.Join(into, "disk.img"), image), os.RemoveAll(into))
}

// warm lets the site of a catalog see what is in it now; its fetches begin with that state.
func (b *bench) warm(ctx context.Context, name string) error {
	_, err := b.commands(ctx, b.site(name, "refresh"))
	return errors.Join(err, os.RemoveAll(b.path(name, "warm")), os.Rename(b.path(name, "site-state"), b.path(name, "warm")))
}

// copy makes a copy of a catalog, to which its configurations lead.
func (b *bench) copy(from, to string) error {
	if err := os.RemoveAll(b.path(to)); err != nil {
		return err
	}
	return errors.Join(linkTree(b.path(from), b.path(to)), b.configure(to, b.path(to, "bucket")))
}

// linkTree copies a tree; what is large is linked, for nothing of Kitchen's is changed in place.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		if info.Size() > 1<<20 {
			return link(path, target)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, info.Mode().Perm())
	})
}

// link links a file, or copies it from another file system.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// size adds up the files of a tree.
func size(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
