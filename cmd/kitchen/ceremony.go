package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

// importOptions: the files say what the catalog is, and nothing else does.
func importOptions(c *cli.Context) error {
	for _, flag := range []string{"vendor", "vendor-name", "root-key", "root-threshold", "targets-key", "targets-threshold", "registry-key", "policy-key", "ceremony"} {
		if c.IsSet(flag) {
			return usageHint("--"+flag+" and --import: what the holders signed says it", "leave --"+flag+" out, or begin anew with --ceremony")
		}
	}
	return require(c, "online-key")
}

// runInitCeremony begins a ceremony, or goes on with the one in the file, and signs with what is at hand.
func runInitCeremony(ctx context.Context, k *kitchen, o initOptions) error {
	if o.writeConfig != "" || o.writeRoot != "" {
		return usageHint("--ceremony makes no catalog yet", "give --write-root and --write-config to the command that does: kitchen init --import")
	}
	in, err := k.holders(o)
	if err != nil {
		return err
	}
	online, err := k.publicKeys([]string{o.online})
	if err != nil {
		return err
	}
	c, fresh, err := k.beginCeremony(o.ceremony, in, online[0])
	if err != nil {
		return err
	}
	if err := c.Sign(ctx, slices.Concat(in.RootKeys, in.TargetsKeys, in.Registry)); err != nil {
		return err
	}
	file, err := c.File()
	if err != nil {
		return err
	}
	if err := writeSigningFile(o.ceremony, file, !fresh); err != nil {
		return err
	}
	d := newOutcome("init", "", c.Outcome())
	d.Wrote, d.Hint = []string{o.ceremony}, afterCeremony(c, o.ceremony)
	return k.showOutcome(d)
}

// afterCeremony is what is to be done next with a ceremony's file, once this machine has done its part.
func afterCeremony(c *publisher.Ceremony, path string) string {
	if !c.Complete() {
		return "next, those whose signatures are missing, each at home: `kitchen sign --import " + shellWord(path) + " --key FILE`"
	}
	return "next, with the online key: `kitchen --catalog URL init --import " + shellWord(path) + " --online-key FILE --write-root root.json --write-config kitchen.toml`"
}

// beginCeremony makes a fresh ceremony of the given keys, or opens the one in the file if it is of the same ones.
func (k *kitchen) beginCeremony(path string, in publisher.Init, online *keys.Public) (c *publisher.Ceremony, fresh bool, err error) {
	if c, err = publisher.BeginCeremony(k.now(), in, online); err != nil {
		return nil, false, err
	}
	file, err := readSigningFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	if c, err = publisher.OpenCeremony(k.now(), file); err != nil {
		return nil, false, err
	}
	if err := c.Resume(in, online); err != nil {
		return nil, false, hinted{err, path + " holds another ceremony: name a new file, and have all holders sign that"}
	}
	return c, false, nil
}

// runInitImport makes the catalog that the holders signed.
func runInitImport(ctx context.Context, k *kitchen, o initOptions) error {
	at, err := k.catalogURL()
	if err != nil {
		return err
	}
	if err := k.checkInitFiles(ctx, o, at); err != nil {
		return err
	}
	c, err := k.gather(o.imported)
	if err != nil {
		return err
	}
	online, err := k.onlineKey(o.online)
	if err != nil {
		return err
	}
	if err := c.AuthorizeOnline(online); err != nil {
		return err
	}
	if !c.Complete() {
		d := newOutcome("init", "", c.Outcome())
		d.Hint = "copies that were signed side by side go together here, --import for each; " + afterCeremony(c, o.imported[0])
		return k.showOutcome(d)
	}
	store, err := k.openStore(ctx, at, true)
	if err != nil {
		return err
	}
	result, err := publisher.InitializeFrom(ctx, store, k.now(), c, online, k.seenRoot(at))
	if err != nil {
		return err
	}
	return k.showInit(o, at, store, result)
}

// gather joins the signatures of several copies of one ceremony.
func (k *kitchen) gather(paths []string) (all *publisher.Ceremony, err error) {
	for _, path := range paths {
		file, err := readSigningFile(path)
		if err != nil {
			return nil, err
		}
		c, err := publisher.OpenCeremony(k.now(), file)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = c
		} else if err := all.Merge(c); err != nil {
			return nil, hinted{err, path + " is a copy of another ceremony than " + paths[0]}
		}
	}
	return all, nil
}
