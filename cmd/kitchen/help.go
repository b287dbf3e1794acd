package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/render"
	"github.com/urfave/cli/v2"
)

const helpWidth = 80

// printHelp writes the help of a command, or of the program for an empty path.
func printHelp(w io.Writer, app *cli.App, path []*cli.Command) error {
	var b strings.Builder
	if len(path) == 0 {
		programHelp(&b, app)
	} else {
		commandHelp(&b, path)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func programHelp(b *strings.Builder, app *cli.App) {
	fmt.Fprintf(b, "%s\n\nusage: kitchen [global flags] COMMAND [flags] [arguments]   (flags go anywhere)\n", app.Usage)
	for _, group := range personas {
		fmt.Fprintf(b, "\n%s\n", group)
		for _, c := range app.Commands {
			if c.Category == group {
				helpItem(b, c.Name, c.Usage)
			}
		}
	}
	b.WriteString("\nglobal flags\n")
	flagHelp(b, app.Flags)
	helpItem(b, "--version", "print the version")
	b.WriteString("\nexit codes\n")
	for _, line := range exitCodeWords {
		helpItem(b, fmt.Sprint(line.code), line.words)
	}
	b.WriteString("\n`kitchen COMMAND --help` tells more about one command.\n")
}

func commandHelp(b *strings.Builder, path []*cli.Command) {
	c := path[len(path)-1]
	words := commandWords(path)
	if len(c.Subcommands) > 0 && c.Action == nil {
		fmt.Fprintf(b, "usage: %s COMMAND\n\n%s\n\n", words, c.Usage)
		for _, sub := range c.Subcommands {
			helpItem(b, sub.Name, sub.Usage)
		}
		return
	}
	synopsis := strings.TrimSpace(words + " " + c.ArgsUsage)
	fmt.Fprintf(b, "usage: %s\n\n%s\n", render.Indent(synopsis, 7, helpWidth), sentence(c.Usage))
	for _, paragraph := range strings.Split(c.Description, "\n\n") {
		if paragraph != "" {
			fmt.Fprintf(b, "\n%s\n", render.Indent(paragraph, 0, helpWidth))
		}
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\ncommands\n")
		for _, sub := range c.Subcommands {
			helpItem(b, sub.Name, sub.Usage)
		}
	}
	if len(c.Flags) > 0 {
		b.WriteString("\nflags\n")
		flagHelp(b, c.Flags)
	}
	b.WriteString("\nGlobal flags: see `kitchen help`.\n")
}

func sentence(s string) string {
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

func helpItem(b *strings.Builder, name, words string) {
	const column = 18
	if len(name) > column-4 {
		fmt.Fprintf(b, "  %s\n%*s%s\n", name, column, "", render.Indent(words, column, helpWidth))
		return
	}
	fmt.Fprintf(b, "  %-*s%s\n", column-2, name, render.Indent(words, column, helpWidth))
}

// flagHelp lists flags; a back-quoted word in a flag's usage names its value.
func flagHelp(b *strings.Builder, flags []cli.Flag) {
	for _, f := range flags {
		usage := f.(cli.DocGenerationFlag).GetUsage()
		value := ""
		if _, rest, ok := strings.Cut(usage, "`"); ok {
			value, _, _ = strings.Cut(rest, "`")
			usage = strings.ReplaceAll(usage, "`", "")
		}
		names := slices.Clone(f.Names())
		for i, n := range names {
			names[i] = "--" + n
			if len(n) == 1 {
				names[i] = "-" + n
			}
		}
		slices.SortStableFunc(names, func(x, y string) int { return len(x) - len(y) })
		name := strings.TrimSpace(strings.Join(names, ", ") + " " + value)
		if env := f.(cli.DocGenerationFlag).GetEnvVars(); len(env) > 0 {
			usage += " [$" + strings.Join(env, ", $") + "]"
		}
		helpItem(b, name, usage)
	}
}
