package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/urfave/cli/v2"
)

func keyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "key", Category: groupSetUp, Usage: "make, import and show keys (files in cosign's format, key services, tokens)",
		Subcommands: []*cli.Command{keyGenerateCommand(k), keyImportCommand(k), keyShowCommand(k)},
	}
}

// keyDocument describes one key.
type keyDocument struct {
	Schema       string `json:"schema"` // kitchen.key/v1
	Private      string `json:"private,omitempty"`
	Public       string `json:"public,omitempty"`
	KeyID        string `json:"keyid"`         // in TUF metadata: roles, proposals, gate pins
	SigstoreHint string `json:"sigstore_hint"` // in bundles of reports
	PEM          string `json:"pem"`

	Use *keyUse `json:"use,omitempty"` // by key show
}

func newKeyDocument(pub *keys.Public) (*keyDocument, error) {
	key, err := trust.NewKey(pub)
	if err != nil {
		return nil, err
	}
	return &keyDocument{Schema: "kitchen.key/v1", KeyID: key.ID, SigstoreHint: pub.Hint(), PEM: pub.PEM()}, nil
}

func (d *keyDocument) human(p *page) {
	if d.Private != "" {
		p.linef("private key    %s (encrypted; keep it to yourself)", d.Private)
	}
	if d.Public != "" {
		p.linef("public key     %s", d.Public)
	}
	p.linef("key id         %s", d.KeyID)
	p.linef("sigstore hint  %s", d.SigstoreHint)
	if d.Private == "" {
		_, _ = p.w.Write([]byte(render.Text(d.PEM)))
	}
	if d.Use != nil {
		d.Use.human(p)
	}
}

func keyGenerateCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "generate", Usage: "make a key pair", ArgsUsage: "PREFIX",
		Description: "Writes PREFIX.key (encrypted with a password, readable by you alone) and PREFIX.pub. Existing files are never overwritten.",
		Flags:       []cli.Flag{passwordFlag()},
		Action: action(k, func(c *cli.Context) (string, error) {
			k.readKeyOptions(c)
			return c.Args().First(), operands(c, "PREFIX")
		}, runKeyGenerate),
	}
}

func runKeyGenerate(_ context.Context, k *kitchen, prefix string) error {
	if err := checkNewFiles(prefix+".key", prefix+".pub"); err != nil {
		return err
	}
	password, err := k.keys.newPassword(prefix + ".key")
	if err != nil {
		return err
	}
	roomForKeys()
	pub, err := keys.Generate(prefix, password)
	if err != nil {
		return err
	}
	return k.showPair(prefix, pub)
}

func (k *kitchen) showPair(prefix string, pub *keys.Public) error {
	d, err := newKeyDocument(pub)
	if err != nil {
		return err
	}
	d.Private, d.Public = prefix+".key", prefix+".pub"
	return k.show(d)
}

type keyImportOptions struct{ file, prefix, oldPasswordFile string }

func keyImportCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "make a key pair of a private key that exists", ArgsUsage: "FILE [PREFIX]",
		Description: "FILE holds one ECDSA P-256 key in PEM: PKCS #8 (with a password or not), SEC 1 (EC PRIVATE KEY), or cosign's. Writes PREFIX.key, encrypted with a new password, and PREFIX.pub. " +
			"Without PREFIX they are named like FILE and lie beside it. Existing files are never overwritten, and FILE stays as it is: destroy it when no other program needs it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the new password"},
			&cli.StringFlag{Name: "old-password-file", Usage: "`FILE` with the password that the imported key has (default: like the new one, or a prompt)"},
		},
		Action: action(k, func(c *cli.Context) (keyImportOptions, error) {
			k.readKeyOptions(c)
			o := keyImportOptions{file: c.Args().First(), prefix: c.Args().Get(1), oldPasswordFile: c.String("old-password-file")}
			if o.prefix == "" {
				o.prefix = strings.TrimSuffix(o.file, filepath.Ext(o.file))
			}
			return o, operands(c, "FILE", "[PREFIX]")
		}, runKeyImport),
	}
}

func runKeyImport(_ context.Context, k *kitchen, o keyImportOptions) error {
	if keys.IsURI(o.file) {
		return usageHint(keys.Shown(o.file)+" is no file", "a key at a key service or on a token stays there: sign with --key URI")
	}
	if err := checkNewFiles(o.prefix+".key", o.prefix+".pub"); err != nil {
		return err
	}
	old := k.keys.password
	if o.oldPasswordFile != "" {
		old = func(string) ([]byte, error) { return passwordOf(o.oldPasswordFile) }
	}
	roomForKeys()
	pub, err := keys.Import(o.file, o.prefix, old, k.keys.newPassword)
	if _, ok := errors.AsType[*keys.WrongPassword](err); ok {
		return hinted{err, "give the password that " + o.file + " has now with --old-password-file FILE; --password-file and COSIGN_PASSWORD are the new one's"}
	}
	if err != nil {
		return err
	}
	return k.showPair(o.prefix, pub)
}
