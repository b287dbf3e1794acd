package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/render"
	"github.com/urfave/cli/v2"
)

// oddWords are operands that make no sense, or name what is not there.
var oddWords = []string{"nofile", "nofile.toml", "openstack@9.9.9", "acme/nowhere", "product.nothing", "a@b@c", "ROOT", "0", "-1", "/"}

// slips are the command lines by which somebody who does not know a command well may call it: too little, too much, what is
// not there, and each flag with a value that is none.
func slips(path []string, c *cli.Command) [][]string {
	var flags []string
	if slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "yes" }) {
		flags = []string{"--yes"} // nobody is asked
	}
	line := func(words ...string) []string { return slices.Concat(path, flags, words) }
	lines := [][]string{line(), line("too", "many", "of", "these", "words"), line("--no-such-flag")}
	for _, a := range oddWords {
		lines = append(lines, line("--", a), line("--", a, "0"), line("--", "root", a))
	}
	for _, flag := range c.Flags {
		if _, isSwitch := flag.(*cli.BoolFlag); isSwitch {
			continue
		}
		for _, value := range []string{"nofile", "0", "-1", ""} {
			given := "--" + flag.Names()[0] + "=" + value
			lines = append(lines, line(given), line(given, "openstack@1.0.0"), line(given, "root", "1"), line(given, "acme/staging"))
		}
	}
	return lines
}

// call runs one command line in this process, as on a terminal of 80 columns at which nobody can be asked.
func call(t *testing.T, dir string, line []string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	k := newKitchen()
	k.stdout, k.stderrWidth, k.progress = &stdout, 80, &display{out: &stderr, silent: true, now: time.Now}
	k.stderr = k.progress
	k.lookupEnv = func(name string) (string, bool) {
		switch name {
		case "COSIGN_PASSWORD":
			return "", true
		case "HOME":
			return dir, true
		}
		return "", false
	}
	code := k.main(t.Context(), line)
	return ended{line: strings.Join(line, " "), code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// tooWide finds a line of more than 80 columns that could have been broken.
func tooWide(text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if render.Width(line) > 80 && strings.Contains(strings.TrimSpace(line), " ") {
			return line
		}
	}
	return ""
}

// TestEveryRefusalHasANextStep: whatever a command line gets wrong, and whatever file is not there, people are told what to do.
func TestEveryRefusalHasANextStep(t *testing.T) {
	_, dir := hostileWorld(t)
	t.Chdir(t.TempDir()) // some of it makes files
	empty := t.TempDir()
	put(t, filepath.Join(empty, "kitchen.toml"), nil)
	calls := 0
	var try func(path []string, list []*cli.Command)
	try = func(path []string, list []*cli.Command) {
		for _, c := range list {
			words := append(slices.Clone(path), c.Name)
			if len(c.Subcommands) > 0 {
				try(words, c.Subcommands)
				continue
			}
			for _, slip := range slips(words, c) {
				for _, at := range []string{dir, empty} {
					calls++
					hintless(t, call(t, at, slices.Concat([]string{"--config", filepath.Join(at, "kitchen.toml")}, slip)))
				}
			}
			hintless(t, call(t, dir, append([]string{"--config", filepath.Join(dir, "nofile.toml")}, words...)))
		}
	}
	try(nil, newKitchen().app().Commands)
	if calls < 1000 {
		t.Errorf("only %d calls: the walk is broken", calls)
	}
}

func hintless(t *testing.T, e ended) {
	t.Helper()
	switch {
	case e.code == exitDone || e.code == exitNo || e.code == exitNotInEffect:
	case !strings.Contains(e.stderr, "\nhint: "):
		t.Errorf("no next step: %v", e)
	}
	if line := tooWide(e.stdout + e.stderr); line != "" {
		t.Errorf("%d columns: %q\nkitchen %s", render.Width(line), line, e.line)
	}
}
