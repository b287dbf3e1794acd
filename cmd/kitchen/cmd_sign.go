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
	role string
	yes  bool
}

func signCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "sign", Category: groupSysadmin, Usage: "add your signature to a waiting change of a role", ArgsUsage: "ROLE --key FILE",
		Description: "Shows what would change, worked out from the current catalog, and asks on the terminal. `kitchen pending` lists what waits.\n\n" +
			"Exit 8 while something that was signed now waits on; else 0 when something took effect, 3 when the answer to all that was asked was no, " +
			"8 when all that waits was signed with this key before, and 0 when nothing waits.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
		}, signingFlags()...),
		Action: action(k, func(c *cli.Context) (signOptions, error) {
			return signOptions{keyOptions: k.readKeyOptions(c), role: c.Args().First(), yes: c.Bool("yes")}, operands(c, "ROLE")
		}, runSign),
	}
}

func runSign(ctx context.Context, k *kitchen, o signOptions) error {
	signers, err := k.signers(o.keyOptions, o.role)
	if err != nil {
		return err
	}
	confirm := k.confirm
	if o.yes {
		confirm = nil
	}
	return k.withPublisher(ctx, o.online, func(_ *session, p *publisher.Publisher) error {
		outcome, err := p.Sign(ctx, o.role, confirm, signers)
		if err != nil {
			return err
		}
		return k.showOutcome(newOutcome("sign", "", outcome))
	})
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
	return askToSign(tty, &d)
}

// askToSign puts the question. A terminal at which nobody is counts as none.
func askToSign(tty io.ReadWriter, d interface{ human(*page) }) (bool, error) {
	d.human(&page{w: tty, width: 80})
	fmt.Fprint(tty, "sign this? [y/N] ")
	line, err := bufio.NewReader(tty).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return false, nobodyToAsk()
	}
	if err != nil {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

func nobodyToAsk() error {
	return usageHint("signing asks first, and there is no terminal", "look at it with `kitchen pending`, then give --yes")
}
