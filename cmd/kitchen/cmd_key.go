package main

import (
	"context"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/urfave/cli/v2"
)

func keyCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "key", Category: groupSetUp, Usage: "make and show key pairs (cosign's file format)",
		Subcommands: []*cli.Command{keyGenerateCommand(k), keyShowCommand(k)},
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
	pub, err := keys.Generate(prefix, password)
	if err != nil {
		return err
	}
	d, err := newKeyDocument(pub)
	if err != nil {
		return err
	}
	d.Private, d.Public = prefix+".key", prefix+".pub"
	return k.show(d)
}

func keyShowCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show a key's public half and its ids", ArgsUsage: "FILE",
		Description: "FILE is a .pub, or a .key, which needs its password.",
		Flags:       []cli.Flag{passwordFlag()},
		Action: action(k, func(c *cli.Context) (string, error) {
			k.readKeyOptions(c)
			return c.Args().First(), operands(c, "FILE")
		}, runKeyShow),
	}
}

func runKeyShow(_ context.Context, k *kitchen, file string) error {
	pub, err := k.publicHalf(file)
	if err != nil {
		return err
	}
	d, err := newKeyDocument(pub)
	if err != nil {
		return err
	}
	return k.show(d)
}

// publicHalf reads a .pub, or opens the private key and takes its own public half.
func (k *kitchen) publicHalf(file string) (*keys.Public, error) {
	if isPublicFile(file) {
		return keys.LoadPublic(file)
	}
	signer, err := keys.LoadSigner(file, k.keys.password)
	if err != nil {
		return nil, err
	}
	return signer.Public(), nil
}
