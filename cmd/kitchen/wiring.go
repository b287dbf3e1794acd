package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

// catalogURL says which catalog is meant, as a store's URL.
func (k *kitchen) catalogURL() (string, error) {
	switch {
	case k.global.catalog != "":
		return storeURL(k.global.catalog, "")
	case k.config.Catalog != "":
		return storeURL(k.config.Catalog, k.config.dir)
	}
	err := usagef("no catalog given")
	err.hint = "give --catalog URL, KITCHEN_CATALOG, or catalog = \"…\" in kitchen.toml"
	if k.signsOffLine() {
		err.hint += "; on a machine that reaches none, what was brought in a file is looked at, and signed, with kitchen sign --import FILE --key FILE"
	}
	return "", err
}

// storeURL makes the URL of a store out of what people write: a URL, or the
// path of a directory, relative to dir ("" = the working directory).
func storeURL(s, dir string) (string, error) {
	if strings.Contains(s, "://") {
		return s, nil
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(dir, s)
	}
	path, err := filepath.Abs(s)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// stateDir says where what was verified and seen is kept. Without a setting it
// is a directory per catalog under the user's own.
func (k *kitchen) stateDir(catalog string) (string, error) {
	switch {
	case k.global.state != "":
		return filepath.Abs(k.global.state)
	case k.config.State != "":
		return k.config.abs(k.config.State), nil
	}
	base, _ := k.lookupEnv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, _ := k.lookupEnv("HOME")
		if !filepath.IsAbs(home) {
			err := usagef("no place for the state: HOME is not set")
			err.hint = "give --state DIR, KITCHEN_STATE, or state = \"…\" in kitchen.toml"
			return "", err
		}
		base = filepath.Join(home, ".local", "state")
	}
	digest := sha256.Sum256([]byte(catalog))
	return filepath.Join(base, "kitchen", hex.EncodeToString(digest[:8])), nil
}

// session is an opened catalog.
type session struct {
	k       *kitchen
	url     string
	state   string
	store   storage.Store // nil offline
	catalog *catalog.Catalog
}

// dial opens every store of the program. Only tests put another in its place.
var dial = storage.Open

func (k *kitchen) openStore(ctx context.Context, at string, createBucket bool) (storage.Store, error) {
	return dial(ctx, at, storage.Options{
		CreateBucket: createBucket,
		Now:          k.now,
		RoundTripper: k.wrapTransport,
		Getenv:       func(name string) string { v, _ := k.lookupEnv(name); return v },
	})
}

// open opens the catalog of this call; offline without its store.
func (k *kitchen) open(ctx context.Context, offline bool) (*session, error) {
	at, err := k.catalogURL()
	if err != nil {
		return nil, err
	}
	s := &session{k: k, url: at}
	if s.state, err = k.stateDir(at); err != nil {
		return nil, err
	}
	options, err := k.catalogOptions(s.state)
	if err != nil {
		return nil, err
	}
	if !offline {
		if s.store, err = k.openStore(ctx, at, false); err != nil {
			return nil, err
		}
		options.Store = s.store
	}
	if s.catalog, err = k.openCatalog(ctx, options); err != nil {
		return nil, err
	}
	return s, nil
}

// openCatalog says of a file that root in kitchen.toml names, and that holds no root, what it is.
func (k *kitchen) openCatalog(ctx context.Context, options catalog.Options) (*catalog.Catalog, error) {
	c, err := catalog.Open(ctx, options)
	if refused, ok := errors.AsType[*trust.Error](err); ok && refused.Kind == trust.Malformed && options.Root != nil {
		block, _ := pem.Decode(options.Root)
		return nil, &notARoot{path: k.config.Root, key: block != nil, err: err}
	}
	return c, err
}

// notARoot is another file in the place of the pinned root.
type notARoot struct {
	path string
	key  bool // it holds a key
	err  error
}

func (e *notARoot) Error() string {
	if e.key {
		return "root in kitchen.toml names " + e.path + ", which is a key and not a root"
	}
	return "root in kitchen.toml names " + e.path + ", which is no root: " + e.err.Error()
}

func (e *notARoot) Unwrap() error { return e.err }

func (e *notARoot) Hint() string {
	return "name the file that kitchen init --write-root wrote; the catalog has it as metadata/1.root.json: compare its sha256 with the fingerprint that the vendor tells"
}

// catalogOptions are this host's pin and state.
func (k *kitchen) catalogOptions(state string) (options catalog.Options, err error) {
	options = catalog.Options{
		Dir: state, RootFingerprint: k.config.RootFingerprint, RootVersion: k.config.RootVersion, Now: k.now, Progress: k.progress,
		Warn: k.warn,
	}
	if k.config.Root == "" {
		return options, nil
	}
	kind, err := manifest.KindOf(manifest.RootObject(1))
	if err != nil {
		return options, err
	}
	if options.Root, err = readCapped(k.config.abs(k.config.Root), kind.MaxSize); err != nil {
		err = hinted{fmt.Errorf("pinned root: %w", err), "bring the file that root in kitchen.toml names (root.json of kitchen init --write-root, metadata/1.root.json in the catalog), and compare its sha256 with the fingerprint that two root holders tell"}
	}
	return options, err
}

// close releases the state directory.
func (s *session) close(err *error) {
	if e := s.catalog.Close(); *err == nil {
		*err = e
	}
}

// withCatalog opens the catalog, refreshes it and hands over the verified view.
func (k *kitchen) withCatalog(ctx context.Context, use func(*session, *catalog.View) error) (err error) {
	s, err := k.open(ctx, false)
	if err != nil {
		return err
	}
	defer s.close(&err)
	view, err := s.catalog.Refresh(ctx)
	if err != nil {
		return err
	}
	return use(s, view)
}

// withPublisher opens the catalog for changes. online is the file of the online
// key, "" for the configured one.
func (k *kitchen) withPublisher(ctx context.Context, online string, use func(*session, *publisher.Publisher) error) (err error) {
	s, err := k.open(ctx, false)
	if err != nil {
		return err
	}
	defer s.close(&err)
	p, err := s.publisher(online)
	if err != nil {
		return err
	}
	if k.wait > 0 {
		k.await = func(id string) (*publisher.Outcome, error) { return p.Await(ctx, id, k.wait) }
	}
	return use(s, p)
}

func (s *session) publisher(online string) (*publisher.Publisher, error) {
	scratch := filepath.Join(s.state, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	p := &publisher.Publisher{Catalog: s.catalog, Store: s.store, Now: s.k.now, Progress: s.k.progress, Scratch: scratch, Cache: filepath.Join(s.state, "publish-cache"), Stolen: s.k.stolen}
	files := s.k.config.keyFiles("online")
	if online != "" {
		files = []string{online}
	}
	if len(files) > 2 {
		return nil, usagef("there is one online key, or the old and the new one while it is rotated; [keys] online names %d", len(files))
	}
	signers, err := s.k.keys.lazy(files)
	if err != nil {
		return nil, err
	}
	if len(signers) > 0 {
		p.Online, p.OnlineToo = signers[0], signers[1:]
	}
	return p, nil
}

// fetcher makes the follower that kitchen.toml describes. With reports its site
// key is needed.
func (s *session) fetcher(reports bool) (*fetcher.Fetcher, error) {
	k, c := s.k, s.k.config
	f := &fetcher.Fetcher{
		Catalog: s.catalog, Store: s.store, State: s.state, Now: k.now, Progress: k.progress,
		Gate:    c.Gate.gate(),
		Content: c.Report.content(), Stdout: k.foreign(), Stderr: k.foreign(), Env: k.environ(),
	}
	var err error
	if f.Transfer, err = c.transfer(); err != nil {
		return nil, err
	}
	if s.store != nil {
		f.Store = storage.Limited(s.store, int64(c.Transfer.LimitRate), k.now)
	}
	if c.Site.ID == (siteID{}) {
		if reports {
			return nil, usageHint("this needs a site", "name it in kitchen.toml: [site] id = \"customer/site\", key = \"keys/site.key\"")
		}
		return f, nil
	}
	f.Site = &fetcher.Site{ID: c.Site.ID.SiteID, Follow: string(c.Site.Follow), Auto: c.Site.Auto, Hooks: c.hooks(), Dir: c.dir, Config: c.path,
		HookTimeout: time.Duration(c.Hooks.Timeout), HookTimeouts: c.timeouts(), HookGrace: time.Duration(c.Hooks.Grace)}
	if !reports {
		return f, nil
	}
	if c.Site.Key == "" {
		return nil, usageHint("site "+c.Site.ID.String()+" has no key", "name it in kitchen.toml: [site] key = \"keys/site.key\"")
	}
	signer, err := k.keys.signer(c.abs(c.Site.Key))
	if err != nil {
		return nil, err
	}
	f.Site.Signer, f.Site.OpenKey, f.Site.Capabilities = signer, signer.open, fetcher.Capabilities(c.Capabilities)
	return f, nil
}

// keyOptions are the flags of commands that sign.
type keyOptions struct {
	keys   []string
	online string
}

func signingFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "key", Usage: "private key to sign with, `FILE` or URI; repeat it for several"},
		&cli.StringFlag{Name: "wait", Usage: "wait `DURATION` (10m, 2h) for what is accepted to take effect"},
	}, onlineFlags()...)
}

func onlineFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "online-key", Usage: "online key, `FILE` or URI, which puts changes into effect at once"},
	}, passwordFlag())
}

func passwordFlag() cli.Flag {
	return &cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password of the keys, or the PIN of a token"}
}

func (k *kitchen) readKeyOptions(c *cli.Context) keyOptions {
	k.keys.passwordFile = c.String("password-file")
	return keyOptions{keys: c.StringSlice("key"), online: c.String("online-key")}
}

// signers gives the keys to sign with: those of --key, opened, or else those
// that [keys] names for the first of the roles that has any.
func (k *kitchen) signers(o keyOptions, roles ...string) ([]keys.Signer, error) {
	if len(o.keys) > 0 {
		return k.keys.open(o.keys)
	}
	for _, role := range roles {
		if files := k.config.keyFiles(role); len(files) > 0 {
			return k.keys.lazy(files)
		}
	}
	return nil, usageHint("no key to sign with", fmt.Sprintf("give --key FILE-or-URI, or [keys] %q = [\"FILE-or-URI\"] in kitchen.toml", roles[0]))
}

// askedSigners is signers for a command that shows first what is to be signed, and asks: passwords are asked for after that.
func (k *kitchen) askedSigners(o keyOptions, roles ...string) ([]keys.Signer, error) {
	if len(o.keys) > 0 {
		return k.keys.lazy(o.keys)
	}
	return k.signers(o, roles...)
}

// optionalSigners is signers for a dry run, which needs none.
func (k *kitchen) optionalSigners(o keyOptions, roles ...string) ([]keys.Signer, error) {
	signers, err := k.signers(o, roles...)
	var usage *usageError
	if errors.As(err, &usage) && len(o.keys) == 0 {
		return nil, nil
	}
	return signers, err
}

func usageHint(what, hint string) *usageError { return &usageError{what: what, hint: hint} }

// gate is what the gate asks besides.
func (c gateConfig) gate() fetcher.Gate {
	g := fetcher.Gate{Require: c.Require, MaxAge: time.Duration(c.MaxAge), Deny: c.Deny, Pins: map[string]fetcher.GatePin{}}
	for name, pin := range c.Pins {
		whole := fetcher.GatePin{Threshold: pin.Threshold}
		for _, id := range pin.Keys {
			whole.Keys = append(whole.Keys, string(id))
		}
		g.Pins[name] = whole
	}
	return g
}
