package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// The groups of `kitchen help`, in its order.
const (
	groupSetUp      = "set-up"
	groupEngineer   = "release engineer"
	groupVendorCI   = "vendor's CI"
	groupCustomerCI = "customer's CI"
	groupSysadmin   = "sysadmin"
	groupProduction = "production"
	groupOperator   = "operator"
	groupEverybody  = "everybody"
)

var personas = []string{groupSetUp, groupEngineer, groupVendorCI, groupCustomerCI, groupSysadmin, groupProduction, groupOperator, groupEverybody}

// commands is the list of everything kitchen can do.
func (k *kitchen) commands() []*cli.Command {
	return []*cli.Command{
		initCommand(k),
		keyCommand(k),
		productCommand(k),
		customerCommand(k),
		siteCommand(k),
		roleCommand(k),

		publishCommand(k),
		yankCommand(k),
		recallCommand(k),

		validateCommand(k),

		refreshCommand(k),
		fetchCommand(k),
		runCommand(k),
		reportCommand(k),

		certifyCommand(k),
		decertifyCommand(k),
		policyCommand(k),
		pendingCommand(k),
		signCommand(k),

		readyCommand(k),
		deployCommand(k),
		deployedCommand(k),

		statusCommand(k),
		logCommand(k),
		commitCommand(k),
		renewCommand(k),
		pruneCommand(k),
		checkCommand(k),

		listCommand(k),
		showCommand(k),
		pathsCommand(k),
		doctorCommand(k),
	}
}

// kitchen is one call of the program: what it was told, and what it may use.
type kitchen struct {
	stdout      io.Writer
	stderr      io.Writer // everything but results; shares the screen with progress
	stdoutTTY   bool
	stderrTTY   bool
	stderrWidth int  // in columns, 0 where stderr is no terminal
	colour      bool // of results
	width       int  // of results, in columns
	now         func() time.Time
	lookupEnv   func(string) (string, bool)
	environ     func() []string

	command  string                                            // its words, "kitchen key show"
	wait     time.Duration                                     // of --wait
	await    func(proposal string) (*publisher.Outcome, error) // with --wait; else nil
	ctx      context.Context                                   // of the call, for prompts; cancelled by the first interrupt
	global   globalOptions
	config   *config
	progress *display
	keys     *keyring
	warnings []string // that machines are still to be told
	stolen   bool     // --stolen: see publisher.Publisher
	quiet    bool     // warnings are part of the command's own answer

	wrapTransport func(http.RoundTripper) http.RoundTripper // of stores; nil but for who watches the answers

	after func(time.Duration) <-chan time.Time // how a service waits
}

// globalOptions are the flags of every command. They, and only they, also read
// the environment.
type globalOptions struct {
	config     string
	catalog    string
	state      string
	json       bool
	noProgress bool
}

func newKitchen() *kitchen {
	k := &kitchen{
		stdout: os.Stdout, stdoutTTY: term.IsTerminal(int(os.Stdout.Fd())), stderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		width: 80, now: time.Now, lookupEnv: os.LookupEnv, environ: os.Environ,
	}
	if k.stdoutTTY {
		k.width = columns(os.Stdout)
	}
	if k.stderrTTY {
		k.stderrWidth = columns(os.Stderr)
	}
	noColour, _ := os.LookupEnv("NO_COLOR")
	dumb := os.Getenv("TERM") == "dumb"
	k.colour = k.stdoutTTY && noColour == "" && !dumb
	k.progress = &display{out: os.Stderr, terminal: k.stderrTTY && !dumb, now: time.Now}
	k.stderr = k.progress
	k.keys = &keyring{k: k}
	k.after = time.After
	return k
}

// columns is how wide a terminal is written: at least 80, and not so wide that nobody can read it.
func columns(terminal *os.File) int {
	n, _, _ := term.GetSize(int(terminal.Fd())) // 0 where it does not tell
	return max(80, min(n, 140))
}

// main runs one command line (without the program's name) and gives the exit code.
func (k *kitchen) main(ctx context.Context, argv []string) int {
	k.ctx = ctx
	app := k.app()
	line, err := parseLine(app, argv)
	k.command = commandWords(line.path)
	// Errors of the command line itself already come in the form that was asked for.
	format := line.output
	if format == "" {
		format, _ = k.lookupEnv("KITCHEN_OUTPUT")
	}
	k.global.json = format == "json"
	switch {
	case err != nil:
	case line.version:
		_, err = io.WriteString(k.stdout, versionLine()+"\n")
	case line.help:
		err = printHelp(k.stdout, app, line.path)
	default:
		err = app.RunContext(ctx, line.args)
	}
	return k.finish(ctx, err)
}

// finish is the only place where an error becomes words and an exit code.
func (k *kitchen) finish(ctx context.Context, err error) int {
	var a answer
	switch {
	case err == nil:
		k.showWarnings()
		return exitDone
	case errors.As(err, &a):
		k.showWarnings()
		return int(a)
	}
	f := explain(ctx, k.beforeInit(err))
	if f.Hint == "" {
		f.Hint = nextStep(k.command, f.Code, err)
	}
	f.Warnings = k.warnings
	f.write(k.stderr, k.global.json, k.stderrWidth)
	return f.Code
}

func (k *kitchen) app() *cli.App {
	app := &cli.App{
		Name:  "kitchen",
		Usage: "kitchen: the signed catalog between a vendor and its customers",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "`FILE` to use instead of ./kitchen.toml", EnvVars: []string{"KITCHEN_CONFIG"}},
			&cli.StringFlag{Name: "catalog", Usage: "`URL` of the catalog: file:///dir, s3://bucket/prefix?endpoint=…&region=…, https://…", EnvVars: []string{"KITCHEN_CATALOG"}},
			&cli.StringFlag{Name: "state", Usage: "`DIR` that keeps what was verified and seen", EnvVars: []string{"KITCHEN_STATE"}},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT` of results: table or json", Value: "table", EnvVars: []string{"KITCHEN_OUTPUT"}},
			&cli.BoolFlag{Name: "no-progress", Usage: "do not show progress, but notes and warnings"},
		},
		Commands:                  k.commands(),
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {},
	}
	wire(app.Commands)
	app.OnUsageError = onUsageError
	return app
}

// wire gives every command the manners of the whole: no help or usage texts of
// the library's own, and errors that come back to main.
func wire(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelp = true
		c.OnUsageError = onUsageError
		wire(c.Subcommands)
	}
}

// notANumber is how the flag package words a number that is none.
var notANumber = regexp.MustCompile(`^invalid value "(.*)" for flag -+([a-z-]+): `)

func onUsageError(_ *cli.Context, err error, _ bool) error {
	if m := notANumber.FindStringSubmatch(err.Error()); m != nil {
		return usagef("--%s %s: it takes a whole number", m[2], m[1])
	}
	return usagef("%v", err)
}

// action wraps a command's function: it reads the global flags and the
// configuration, starts the progress display and hands over the options that
// read makes of the flags.
func action[O any](k *kitchen, read func(*cli.Context) (O, error), run func(context.Context, *kitchen, O) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := k.readGlobals(c); err != nil {
			return err
		}
		options, err := read(c)
		if err != nil {
			return err
		}
		if k.wait, err = parseAge(c.String("wait")); err != nil {
			return usagef("--wait: %v", err)
		}
		if k.config, err = loadConfig(k.global.config); err != nil {
			return err
		}
		return k.working(func() error { return run(c.Context, k, options) })
	}
}

// working shows progress while a command runs.
func (k *kitchen) working(run func() error) error {
	k.progress.silent = k.global.noProgress
	k.progress.terse = k.global.json
	k.progress.begin()
	defer k.progress.end()
	return run()
}

func (k *kitchen) readGlobals(c *cli.Context) error {
	k.global = globalOptions{
		config: c.String("config"), catalog: c.String("catalog"), state: c.String("state"), noProgress: c.Bool("no-progress"),
	}
	switch o := c.String("output"); o {
	case "json":
		k.global.json = true
	case "table", "":
	default:
		return usagef("-o %s: the formats are table and json", o)
	}
	return nil
}
