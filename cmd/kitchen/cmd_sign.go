package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

type signOptions struct {
	keyOptions
	which            string // a role, or the beginning of a proposal's id
	yes              bool
	export, imported string // signing files
}

func signCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "sign", Category: groupSysadmin, Usage: "add your signature to a waiting change of a role", ArgsUsage: "ROLE or ID --key FILE",
		Description: "Shows what would change, worked out from the current catalog, and asks on the terminal. `kitchen pending` lists what waits. " +
			"With a role, all that changes it, but for what is contained in another proposal or is being superseded, unless the answer to that is no; with a proposal's id, or the beginning of it, that one alone.\n\n" +
			"For a signer without network: `kitchen sign ROLE --export FILE` at the catalog; `kitchen sign --import FILE --key K` on the signer's machine, which checks " +
			"everything from its own pinned root, and writes the signatures into the file, or into that of --export; `kitchen sign --import FILE`, without a key, at the catalog.\n\n" +
			"Exit 8 while something that was signed now waits on; else 0 when something took effect, 3 when the answer to all that was asked was no, " +
			"8 when all that waits was signed with this key before, and 0 when nothing waits.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "do not ask; without a proposal's whole id, what none of a role's holders has begun is left aside then, unless it hands the role over as it is"},
			&cli.StringFlag{Name: "export", Usage: "write a `FILE` for a signer without network, or what one signed"},
			&cli.StringFlag{Name: "import", Usage: "sign what is in `FILE`; without --key and --export, bring its signatures to the catalog"},
		}, signingFlags()...),
		Action: action(k, readSignOptions(k), runSign),
	}
}

func readSignOptions(k *kitchen) func(c *cli.Context) (signOptions, error) {
	return func(c *cli.Context) (signOptions, error) {
		o := signOptions{keyOptions: k.readKeyOptions(c), which: c.Args().First(), yes: c.Bool("yes"), export: c.String("export"), imported: c.String("import")}
		if o.imported != "" {
			if c.NArg() > 0 {
				return o, usageHint("--import takes no role: the file says which it is about", "kitchen sign --import "+o.imported+" --key FILE")
			}
			return o, nil
		}
		if o.export != "" && len(o.keys) > 0 {
			return o, usageHint("--export writes what is to be signed elsewhere", "sign with `kitchen sign "+o.which+" --key FILE` first, or leave --key out")
		}
		return o, operands(c, "ROLE or ID")
	}
}

func runSign(ctx context.Context, k *kitchen, o signOptions) error {
	switch {
	case o.imported != "":
		return runImport(ctx, k, o)
	case o.export != "":
		return runExport(ctx, k, o)
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		which, roles, err := p.ToSign(ctx, o.which)
		if err != nil {
			return k.nothingToSign(err)
		}
		load := k.askedSigners
		if o.yes {
			load = k.signers
		}
		signers, err := load(o.keyOptions, roles...)
		if err != nil {
			return err
		}
		sign := func() (*publisher.Outcome, error) { return p.Sign(ctx, which, k.confirmation(o.yes), signers) }
		if o.yes && which != o.which { // the beginning of an id says less than a whole one
			sign = func() (*publisher.Outcome, error) { return p.SignBegun(ctx, which, signers) }
		}
		outcome, err := sign()
		if err != nil {
			return k.nothingToSign(err)
		}
		d := newOutcome("sign", "", outcome)
		if d.Status == publisher.Unchanged {
			d.heading = "nothing to sign"
		}
		return k.showOutcome(d)
	})
}

func runImport(ctx context.Context, k *kitchen, o signOptions) error {
	file, err := readSigningFile(o.imported)
	if err != nil {
		return err
	}
	if err := checkNewFiles(o.export); err != nil {
		return err
	}
	switch {
	case file.IsCeremony():
		return runSignCeremony(ctx, k, o, file)
	case o.export == "" && len(o.keys) == 0:
		return runTakeSignatures(ctx, k, o, file)
	}
	return runSignFile(ctx, k, o, file)
}

// confirmation is how a change is asked about: nil with --yes.
func (k *kitchen) confirmation(yes bool) func(publisher.PendingProposal) (bool, error) {
	if yes {
		return nil
	}
	return k.confirm
}

// confirm shows a waiting change on stderr and asks on the terminal.
func (k *kitchen) confirm(w publisher.PendingProposal) (bool, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false, nobodyToAsk()
	}
	defer tty.Close()
	defer k.progress.pause()()
	d := newProposal(w)
	if d.Stale != "" { // its change, on top of what is in effect now
		return askToSign(tty, &againDocument{d})
	}
	return askToSign(tty, &d)
}

// againDocument is a stale proposal whose change would be made again.
type againDocument struct{ proposalDocument }

func (d *againDocument) human(p *page) {
	p.linef("to be proposed again, and signed:")
	d.proposalDocument.human(p)
}

// askToSign puts the question. A terminal at which nobody is counts as none.
func askToSign(tty io.ReadWriter, d interface{ human(*page) }) (bool, error) {
	d.human(&page{w: tty, width: 80})
	fmt.Fprint(tty, "sign this? [y/N] ")
	line, err := bufio.NewReader(tty).ReadString('\n')
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(tty) // what is said next begins a line
		return false, notAnswered()
	}
	if err != nil {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

func notAnswered() error {
	return usageHint("nothing was signed: the question had no answer", "run it again and answer y or n, or give --yes")
}

func nobodyToAsk() error {
	return usageHint("signing asks first, and there is no terminal", "run it on a terminal, where the change is shown before the question; unasked, with --yes, what holders of each role have begun can be signed, which `kitchen pending` shows in the catalog")
}
