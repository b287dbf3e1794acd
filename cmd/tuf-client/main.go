// Command tuf-client is a plain client of The Update Framework on top of internal/trust: the verification that
// `kitchen refresh` and `kitchen ready` rest on, driven by the command line of the TUF project's conformance suite.
//
//	tuf-client --metadata-dir MDIR init ROOTFILE
//	tuf-client --metadata-url URL --metadata-dir MDIR refresh
//	tuf-client --metadata-url URL --metadata-dir MDIR --target-name NAME [--target-name NAME …]
//	           --target-dir TDIR --target-base-url URL download
//
// Options stand before the command word. The exit code is 0 or 1 and nothing else; what happens is told on stderr.
//
// init trusts ROOTFILE, if it is signed by its own keys. It makes no request, and never replaces a trusted root.
// refresh runs the client workflow of specification 1.0.31 (5.3 to 5.6) for the four top-level roles. download
// refreshes, then looks every NAME up (5.6.7) and downloads it (5.7), in the order given, until one fails.
//
// The time is that which the program `date` tells, once a run: a tester can set it for child processes.
//
// MDIR holds root.json, timestamp.json, snapshot.json, targets.json, and for every delegated role that was used its
// name percent-encoded with .json: always the bytes as received, each written in one step when it is verified, and
// never before. They are memory, not truth: each is verified again before it means anything, and what fails is
// fetched anew; only a root.json that fails ends everything, before any request. A root that lets other keys sign
// timestamp or snapshot takes both of them along (5.3.11). TDIR holds the targets, each under its path
// percent-encoded; one that is there and is still what its role lists is not downloaded again.
//
// Requests are those of the workflow, in its order: none is repeated, none is made on speculation. In URLs, role names
// are percent-encoded whole, target paths between their slashes. Every answer has a deadline and a largest size: what
// the file that announces it says, and for metadata Kitchen's own largest size of that kind of file. A search visits
// at most 32 delegated roles. A role that two delegators share is verified anew with the keys of the one through
// which it is reached.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr, date))
}

// clock gives the time of a run.
type clock func(context.Context) (time.Time, error)

// run gives the exit code.
func run(ctx context.Context, args []string, stderr io.Writer, now clock) int {
	err := execute(ctx, args, options{log: stderr, now: now})
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	return 1
}

// options are what stands before the command word, and the world around it.
type options struct {
	log io.Writer
	now clock

	metadataDir, metadataURL string
	targetDir, targetURL     string
	targets                  []string
}

func execute(ctx context.Context, args []string, o options) error {
	flags := flag.NewFlagSet("tuf-client", flag.ContinueOnError)
	flags.SetOutput(o.log)
	flags.StringVar(&o.metadataDir, "metadata-dir", "", "`MDIR`, where trusted metadata is kept")
	flags.StringVar(&o.metadataURL, "metadata-url", "", "`URL` of the repository's metadata")
	flags.StringVar(&o.targetDir, "target-dir", "", "`TDIR`, where downloaded targets are kept")
	flags.StringVar(&o.targetURL, "target-base-url", "", "`URL` of the repository's targets")
	flags.Func("target-name", "`NAME`, the path of a target; may be repeated", func(name string) error {
		o.targets = append(o.targets, name)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.metadataDir == "" {
		return errors.New("--metadata-dir is missing")
	}
	command, operands := flags.Arg(0), max(flags.NArg()-1, 0)
	switch {
	case command == "init" && operands == 1:
		return initialize(ctx, o, flags.Arg(1))
	case command == "refresh" && operands == 0 && o.metadataURL != "":
		_, err := refresh(ctx, o)
		return err
	case command == "download" && operands == 0 && o.metadataURL != "" && o.targetURL != "" && o.targetDir != "" && len(o.targets) > 0:
		return download(ctx, o)
	}
	return fmt.Errorf("no such command, or an option or operand is missing or too many: %q; run tuf-client --help", strings.Join(flags.Args(), " "))
}

// date asks the program of that name, whose clock can be set by whoever starts this one.
func date(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "date", "+%s").Output()
	if err != nil {
		return time.Time{}, fmt.Errorf("date +%%s: %w", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("date +%%s: %w", err)
	}
	return time.Unix(seconds, 0), nil
}
