package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFlagsAreAcceptedAnywhere(t *testing.T) {
	app := newKitchen().app()
	for _, c := range []struct{ in, want string }{
		{"ready p@1 -o json", "kitchen -o json ready -- p@1"},
		{"ready -o json p@1 --offline", "kitchen -o json ready --offline -- p@1"},
		{"--offline ready p@1", "kitchen ready --offline -- p@1"},
		{"--key k publish d --config c", "kitchen --config c publish --key k -- d"},
		{"publish d --key=a --key b", "kitchen publish --key=a --key b -- d"},
		{"key generate p --password-file f --state s", "kitchen --state s key generate --password-file f -- p"},
		{"--password-file f key generate p", "kitchen key generate --password-file f -- p"},
		{"recall p@1 --reason --odd", "kitchen recall --reason --odd -- p@1"},
		{"publish -- --strange-dir", "kitchen publish -- --strange-dir"},
		{"publish --key k -- -", "kitchen publish --key k -- -"},
		{"list --no-progress", "kitchen --no-progress list --"},
	} {
		got, err := parseLine(app, strings.Fields(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if words := strings.Join(got.args, " "); words != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, words, c.want)
		}
	}
}

func TestUsageErrorsNameTheNearest(t *testing.T) {
	app := newKitchen().app()
	for _, c := range []struct{ in, what, hint string }{
		{"", "no command given", "kitchen help"},
		{"redy p@1", `no command "kitchen redy"`, "kitchen ready"},
		{"key genrate x", `no command "kitchen key genrate"`, "kitchen key generate"},
		{"key", "kitchen key needs one of: generate, import, show", "kitchen key --help"},
		{"ready p@1 --ofline", "kitchen ready has no flag --ofline", "--offline"},
		{"publish d --no-such-flag", "kitchen publish has no flag --no-such-flag", "kitchen publish --help"},
		{"ready p@1 --key k", "kitchen ready has no flag --key", ""},
		{"ready p@1 --from", "flag --from needs a value", ""},
		{"-x list", "kitchen list has no flag -x", ""},
		{"help nonsense", `no command "kitchen nonsense"`, ""},
	} {
		_, err := parseLine(app, strings.Fields(c.in))
		var usage *usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q: %v is no usage error", c.in, err)
			continue
		}
		if !strings.Contains(usage.what, c.what) || !strings.Contains(usage.hint, c.hint) {
			t.Errorf("%q: %q, %q; want %q, %q", c.in, usage.what, usage.hint, c.what, c.hint)
		}
	}
}

// TestOneMeaningPerFlag holds the command list to what lineParser relies on: a
// flag's name takes a value in every command or in none.
func TestOneMeaningPerFlag(t *testing.T) {
	app := newKitchen().app()
	takes := map[string]bool{}
	var walk func(path string, commands []*cli.Command)
	check := func(path string, flags []cli.Flag) {
		for _, f := range flags {
			_, isBool := f.(*cli.BoolFlag)
			for _, name := range f.Names() {
				if before, seen := takes[name]; seen && before == isBool {
					t.Errorf("%s: --%s takes a value in one command and none in another", path, name)
				}
				takes[name] = !isBool
			}
		}
	}
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			check(path+" "+c.Name, c.Flags)
			walk(path+" "+c.Name, c.Subcommands)
		}
	}
	check("kitchen", app.Flags)
	walk("kitchen", app.Commands)
}

func TestEveryCommandHasHelp(t *testing.T) {
	app := newKitchen().app()
	var top strings.Builder
	if err := printHelp(&top, app, nil); err != nil {
		t.Fatal(err)
	}
	var walk func(path []*cli.Command, commands []*cli.Command)
	walk = func(path []*cli.Command, commands []*cli.Command) {
		for _, c := range commands {
			here := append(append([]*cli.Command(nil), path...), c)
			var out strings.Builder
			if err := printHelp(&out, app, here); err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(out.String(), "\n") {
				if len([]rune(line)) > helpWidth {
					t.Errorf("%s: wider than %d: %q", commandWords(here), helpWidth, line)
				}
			}
			if len(path) == 0 && !strings.Contains(top.String(), "\n  "+c.Name) {
				t.Errorf("`kitchen help` does not show %s", c.Name)
			}
			for _, f := range c.Flags {
				if !strings.Contains(out.String(), "--"+f.Names()[0]) {
					t.Errorf("the help of %s does not show --%s", commandWords(here), f.Names()[0])
				}
			}
			walk(here, c.Subcommands)
		}
	}
	walk(nil, app.Commands)
}

// TestHelpSaysWhatAChoiceCosts: and in which unit a number counts.
func TestHelpSaysWhatAChoiceCosts(t *testing.T) {
	app := newKitchen().app()
	for name, parts := range map[string][]string{
		"publish": {"unpack = true beside its path in product.toml", "best (8 times)", "better (3 times)"},
		"fetch":   {"10M is 10 MiB a second", "a pattern of them ('old/*.img')"},
	} {
		var out strings.Builder
		if err := printHelp(&out, app, []*cli.Command{app.Command(name)}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("the help of %s does not say %q: %s", name, part, text)
			}
		}
	}
}

func TestTwoLettersInEachOthersPlaceAreOneSlip(t *testing.T) {
	_, err := parseLine(newKitchen().app(), []string{"sing"})
	if f := explain(t.Context(), err); f.Hint != "did you mean `kitchen sign`?" {
		t.Errorf("%q", f.Hint)
	}
	for words, want := range map[[2]string]int{{"", "ab"}: 2, {"ab", "ba"}: 1, {"sing", "site"}: 2, {"comit", "commit"}: 1, {"abc", "cab"}: 2} {
		if got := editDistance(words[0], words[1]); got != want {
			t.Errorf("%v: %d, want %d", words, got, want)
		}
	}
}
