package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// invocation is a command line taken apart: which command it means, and the
// same words in the order in which urfave/cli understands them.
type invocation struct {
	path    []*cli.Command // the command and, where it has them, its subcommand
	args    []string       // global flags, command words, flags, "--", operands
	help    bool
	version bool
	output  string // the value of -o, before anything validates it
}

// parseLine rearranges what the user typed: flags are accepted anywhere, the
// global ones too, until "--" ends them. It knows every flag of every command,
// and complains about those that do not exist or belong to another command.
func parseLine(app *cli.App, argv []string) (invocation, error) {
	p := lineParser{app: app, arity: flagArity(app)}
	if err := p.sort(argv); err != nil {
		return p.inv, err
	}
	if err := p.findCommand(); err != nil {
		return p.inv, err
	}
	if p.inv.help || p.inv.version {
		return p.inv, nil
	}
	if err := p.checkFlags(); err != nil {
		return p.inv, err
	}
	p.inv.args = p.assemble()
	return p.inv, nil
}

type typedFlag struct {
	name  string // without dashes
	words []string
}

type lineParser struct {
	app      *cli.App
	arity    map[string]bool // flag name → takes a value
	flags    []typedFlag
	operands []string
	literal  []string // what follows "--": operands that name no command
	inv      invocation
}

// flagArity collects all flags of all commands. A name takes a value everywhere
// or nowhere; a test holds the command list to that.
func flagArity(app *cli.App) map[string]bool {
	arity := map[string]bool{"help": false, "h": false, "version": false}
	add := func(flags []cli.Flag) {
		for _, f := range flags {
			_, isBool := f.(*cli.BoolFlag)
			for _, name := range f.Names() {
				arity[name] = !isBool
			}
		}
	}
	add(app.Flags)
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			add(c.Flags)
			walk(c.Subcommands)
		}
	}
	walk(app.Commands)
	return arity
}

// sort splits the words into flags (with their values) and operands.
func (p *lineParser) sort(argv []string) error {
	for i := 0; i < len(argv); i++ {
		word := argv[i]
		if word == "--" {
			p.literal = argv[i+1:]
			break
		}
		if len(word) < 2 || word[0] != '-' {
			p.operands = append(p.operands, word)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
		takesValue, known := p.arity[name]
		switch {
		case name == "help" || name == "h":
			p.inv.help = true
			continue
		case name == "version":
			p.inv.version = true
			continue
		case !known || !takesValue || hasValue:
			p.flags = append(p.flags, typedFlag{name, []string{word}})
		case i+1 >= len(argv):
			return usagef("flag %s needs a value", word)
		default:
			i++
			value = argv[i]
			p.flags = append(p.flags, typedFlag{name, []string{word, value}})
		}
		if name == "o" || name == "output" {
			p.inv.output = value
		}
	}
	return nil
}

// findCommand takes the command's words off the operands.
func (p *lineParser) findCommand() error {
	if len(p.operands) > 0 && p.operands[0] == "help" {
		p.inv.help = true
		p.operands = p.operands[1:]
	}
	commands := p.app.Commands
	for len(commands) > 0 && len(p.operands) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(p.operands[0]) })
		if i < 0 && p.stands() {
			return nil // an operand
		}
		if i < 0 {
			return p.unknownCommand(commands)
		}
		p.inv.path = append(p.inv.path, commands[i])
		commands, p.operands = commands[i].Subcommands, p.operands[1:]
	}
	if len(commands) > 0 && !p.inv.help && !p.inv.version && !p.stands() {
		return p.missingCommand(commands)
	}
	return nil
}

// stands tells that the command found so far does something without any of its subcommands.
func (p *lineParser) stands() bool {
	return len(p.inv.path) > 0 && p.inv.path[len(p.inv.path)-1].Action != nil
}

func (p *lineParser) unknownCommand(commands []*cli.Command) error {
	word := p.operands[0]
	err := usagef("there is no command %q", commandWords(p.inv.path)+" "+word)
	if near := nearest(word, commandNames(commands)); near != "" {
		err.hint = "did you mean `" + commandWords(p.inv.path) + " " + near + "`?"
	} else {
		err.hint = "`kitchen help` lists the commands"
	}
	return err
}

func (p *lineParser) missingCommand(commands []*cli.Command) error {
	if len(p.inv.path) == 0 {
		err := usagef("no command given")
		err.hint = "`kitchen help` lists the commands"
		return err
	}
	err := usagef("%s needs one of: %s", commandWords(p.inv.path), strings.Join(commandNames(commands), ", "))
	err.hint = "see `" + commandWords(p.inv.path) + " --help`"
	return err
}

// checkFlags refuses flags that this command does not have.
func (p *lineParser) checkFlags() error {
	known := flagNames(p.app.Flags)
	for _, c := range p.inv.path {
		known = append(known, flagNames(c.Flags)...)
	}
	for _, f := range p.flags {
		if slices.Contains(known, f.name) {
			continue
		}
		dashed, _, _ := strings.Cut(f.words[0], "=")
		err := usagef("%s has no flag %s", commandWords(p.inv.path), dashed)
		if near := nearest(f.name, known); near != "" {
			err.hint = "did you mean --" + near + "?"
		} else {
			err.hint = "see `" + commandWords(p.inv.path) + " --help`"
		}
		return err
	}
	return nil
}

func (p *lineParser) assemble() []string {
	global := flagNames(p.app.Flags)
	args := []string{p.app.Name}
	for _, f := range p.flags {
		if slices.Contains(global, f.name) {
			args = append(args, f.words...)
		}
	}
	for _, c := range p.inv.path {
		args = append(args, c.Name)
	}
	for _, f := range p.flags {
		if !slices.Contains(global, f.name) {
			args = append(args, f.words...)
		}
	}
	args = append(args, "--")
	return append(append(args, p.operands...), p.literal...)
}

func commandWords(path []*cli.Command) string {
	words := []string{"kitchen"}
	for _, c := range path {
		words = append(words, c.Name)
	}
	return strings.Join(words, " ")
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

func flagNames(flags []cli.Flag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	return names
}

// nearest finds the candidate that word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 1+len(word)/3
	for _, c := range candidates {
		if len(c) < 2 {
			continue
		}
		if d := editDistance(word, c); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours from a to b.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1) // rows[i][j]: from a[:i] to b[:j]
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
