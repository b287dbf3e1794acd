package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type initOptions struct {
	vendor, vendorName              string
	root, targets, registry, policy []string
	rootThreshold, targetsThreshold int
	online, writeConfig, writeRoot  string
	ceremony                        string   // the signing file to begin, or to sign
	imported                        []string // signing files to make the catalog from
}

func initCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "init", Category: groupSetUp, Usage: "make a new catalog in an empty store",
		ArgsUsage: "--catalog URL --vendor NAME --root-key FILE… --online-key FILE --registry-key FILE…",
		Description: "A .key file or a key's URI can sign now, a .pub names a holder who is not present. Enough root holders for the threshold must be present. " +
			"The store must honour conditional writes; this is tried first.\n\n" +
			"Where the holders are not in one place: --ceremony FILE makes no catalog, but a file that the others sign with `kitchen sign --import FILE --key K`; every key, " +
			"the online one, too, may be a .pub then. --import FILE, once for each copy that was signed, makes the catalog when all signatures are there. docs/CEREMONY.md walks through it.\n\n" +
			"--write-root saves the new root, which is what every host pins; --write-config saves a kitchen.toml that uses it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "vendor", Usage: "the vendor's `NAME` in the registry"},
			&cli.StringFlag{Name: "vendor-name", Usage: "the vendor's `NAME` as people read it"},
			&cli.StringSliceFlag{Name: "root-key", Usage: "`FILE` (.key or .pub) or URI of a root holder's key; repeat it for each holder"},
			&cli.IntFlag{Name: "root-threshold", Usage: "`N` root holders must sign (default 2, or 1 for a single holder)"},
			&cli.StringSliceFlag{Name: "targets-key", Usage: "`FILE` of a key for the role targets (default: the root holders); repeatable"},
			&cli.IntFlag{Name: "targets-threshold", Usage: "`N` targets holders must sign (default 2, or 1 for a single holder)"},
			&cli.StringFlag{Name: "online-key", Usage: "`FILE` of the committer's key, for snapshot and timestamp"},
			&cli.StringSliceFlag{Name: "registry-key", Usage: "`FILE` of a vendor administrator's key; repeatable"},
			&cli.StringSliceFlag{Name: "policy-key", Usage: "`FILE` of a key for the certification policy (default: the administrators); repeatable"},
			&cli.StringFlag{Name: "ceremony", Usage: "begin, or sign, a `FILE` for holders elsewhere to sign; no catalog is made"},
			&cli.StringSliceFlag{Name: "import", Usage: "make the catalog that the holders signed in `FILE`; repeatable"},
			&cli.StringFlag{Name: "write-config", Usage: "write a configuration for this catalog to `FILE`"},
			&cli.StringFlag{Name: "write-root", Usage: "write the root to `FILE`"},
			passwordFlag(),
		},
		Action: action(k, func(c *cli.Context) (initOptions, error) {
			k.readKeyOptions(c)
			o := initOptions{
				vendor: c.String("vendor"), vendorName: c.String("vendor-name"),
				root: c.StringSlice("root-key"), rootThreshold: c.Int("root-threshold"),
				targets: c.StringSlice("targets-key"), targetsThreshold: c.Int("targets-threshold"),
				registry: c.StringSlice("registry-key"), policy: c.StringSlice("policy-key"),
				online: c.String("online-key"), writeConfig: c.String("write-config"), writeRoot: c.String("write-root"),
				ceremony: c.String("ceremony"), imported: c.StringSlice("import"),
			}
			if err := operands(c); err != nil {
				return o, err
			}
			if len(o.imported) > 0 {
				return o, importOptions(c)
			}
			return o, require(c, "vendor", "root-key", "online-key", "registry-key")
		}, runInit),
	}
}

type initDocument struct {
	Schema      string   `json:"schema"` // kitchen.init/v1
	Catalog     string   `json:"catalog"`
	Fingerprint string   `json:"root_fingerprint"`
	Resumed     bool     `json:"resumed"`
	MadeBefore  bool     `json:"made_before"`
	Summary     []string `json:"summary"`
	Wrote       []string `json:"wrote"`
}

func (d *initDocument) human(p *page) {
	p.verdict(toneOf(publisher.Committed), "the catalog is made: "+d.Catalog)
	if d.Resumed {
		p.linef("an earlier, interrupted init was completed")
	}
	if d.MadeBefore {
		p.linef("it was made already, by an earlier run of this command")
	}
	for _, line := range d.Summary {
		p.para(4, "  ", line)
	}
	p.linef("root %s", d.Fingerprint)
	for _, file := range d.Wrote {
		p.linef("wrote %s", file)
	}
}

func runInit(ctx context.Context, k *kitchen, o initOptions) error {
	switch {
	case len(o.imported) > 0:
		return runInitImport(ctx, k, o)
	case o.ceremony != "":
		return runInitCeremony(ctx, k, o)
	}
	at, err := k.catalogURL()
	if err != nil {
		return err
	}
	if err := k.checkInitFiles(ctx, o, at); err != nil {
		return err
	}
	in, online, err := k.initKeys(o)
	if err != nil {
		return err
	}
	store, err := k.openStore(ctx, at, true)
	if err != nil {
		return err
	}
	in.Seen = k.seenRoot(at)
	result, err := publisher.Initialize(ctx, store, k.now(), in, online)
	if err != nil {
		return err
	}
	return k.showInit(o, at, store, result)
}

// seenRoot is the fingerprint of the root of this catalog that this host has verified; "" for none.
func (k *kitchen) seenRoot(at string) string {
	state, err := k.stateDir(at)
	if err != nil { // whoever has none saw nothing
		return ""
	}
	return catalog.InspectState(state).Pin
}

// showInit writes the files that hosts need of a catalog that is made.
func (k *kitchen) showInit(o initOptions, at string, store storage.Store, result *publisher.InitResult) error {
	d := &initDocument{Schema: "kitchen.init/v1", Catalog: store.URL(), Fingerprint: result.Fingerprint, Resumed: result.Resumed, MadeBefore: result.MadeBefore, Summary: list(result.Summary), Wrote: []string{}}
	if err := writeInitFiles(o, at, result, d); err != nil {
		return hinted{fmt.Errorf("the catalog is made, with root %s, but a file is not written: %w", result.Fingerprint, err),
			"take metadata/1.root.json from the catalog, compare its sha256 with the fingerprint above, and name it, or the fingerprint, in kitchen.toml: root_fingerprint = \"" + result.Fingerprint + "\""}
	}
	return k.show(d)
}

// errTaken is a file where a new one was to be made.
var errTaken = errors.New("exists")

func taken(path string) error {
	return hinted{fmt.Errorf("%s %w", path, errTaken), "nothing was done; name a file that does not exist yet"}
}

// checkNewFiles refuses to overwrite, before anything else happens.
func checkNewFiles(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			return taken(path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// initKeys opens all the keys of a new catalog, the private ones side by side.
func (k *kitchen) initKeys(o initOptions) (in publisher.Init, online keys.Signer, err error) {
	if isPublicFile(o.online) {
		return in, nil, needsPrivate(o.online)
	}
	if in, err = k.holders(o, o.online); err != nil {
		return in, nil, err
	}
	online, err = k.keys.signer(o.online)
	return in, online, err
}

// onlineKey opens the private online key.
func (k *kitchen) onlineKey(name string) (keys.Signer, error) {
	if isPublicFile(name) {
		return nil, needsPrivate(name)
	}
	return k.keys.signer(name)
}

func needsPrivate(public string) error {
	return usageHint("--online-key "+public+": making a catalog needs the private key",
		"run it where that key is; where holders are elsewhere, begin with kitchen init … --ceremony FILE, which takes .pub files")
}

// holders opens the keys of a new catalog but for the online one, the private ones side by side, with more.
func (k *kitchen) holders(o initOptions, more ...string) (in publisher.Init, err error) {
	in = publisher.Init{Vendor: o.vendor, VendorName: o.vendorName, RootThreshold: o.rootThreshold, TargetsThreshold: o.targetsThreshold}
	private := more
	for _, files := range [][]string{o.root, o.targets, o.registry} {
		for _, f := range files {
			if !isPublicFile(f) {
				private = append(private, f)
			}
		}
	}
	if _, err = k.keys.open(private); err != nil {
		return in, err
	}
	for flag, files := range map[string][]string{"root-key": o.root, "targets-key": o.targets, "registry-key": o.registry, "policy-key": o.policy} {
		if err := k.different(flag, files); err != nil {
			return in, err
		}
	}
	if in.RootKeys, in.RootPublic, err = k.mixedKeys(o.root); err != nil {
		return in, err
	}
	if in.TargetsKeys, in.TargetsPublic, err = k.mixedKeys(o.targets); err != nil {
		return in, err
	}
	if in.Registry, in.RegistryPublic, err = k.mixedKeys(o.registry); err != nil {
		return in, err
	}
	in.Policy, err = k.publicKeys(o.policy)
	return in, err
}

// different refuses a key that is given twice: whoever asked for so many holders would have one less.
func (k *kitchen) different(flag string, files []string) error {
	given := map[string]string{}
	for _, file := range files {
		public, err := k.publicKeys([]string{file})
		if err != nil {
			return err
		}
		key, err := trust.NewKey(public[0])
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if other, ok := given[key.ID]; ok {
			return usageHint(fmt.Sprintf("--%s %s and %s are the same key, %s", flag, keys.Shown(other), keys.Shown(file), publisher.ShortID(key.ID)), "name each holder's own key, once; kitchen key show FILE tells a key's id")
		}
		given[key.ID] = file
	}
	return nil
}

// mixedKeys separates the holders who are present from those who are not.
func (k *kitchen) mixedKeys(files []string) (signers []keys.Signer, public []*keys.Public, err error) {
	for _, f := range files {
		if isPublicFile(f) {
			pub, err := keys.LoadPublic(f)
			if err != nil {
				return nil, nil, err
			}
			public = append(public, pub)
			continue
		}
		s, err := k.keys.signer(f)
		if err != nil {
			return nil, nil, err
		}
		signers = append(signers, s)
	}
	return signers, public, nil
}

// publicKeys gives the public halves of key files of either kind.
func (k *kitchen) publicKeys(files []string) ([]*keys.Public, error) {
	signers, public, err := k.mixedKeys(files)
	for _, s := range signers {
		public = append(public, s.Public())
	}
	return public, err
}

func isPublicFile(path string) bool { return strings.HasSuffix(path, ".pub") && !keys.IsURI(path) }
