package main

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/render"
)

// configSeeds are kitchen.toml files by name; those called good are taken.
var configSeeds = map[string]string{
	"good":       "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"s\"\n[site]\nid = \"acme/staging\"\nkey = \"k.key\"\nfollow = \"published\"\nauto = true\n[hooks]\ntest = [\"sh\", \"t\"]\n",
	"good gate":  "[gate]\nrequire = [\"product\", \"validated\"]\nmax_age = \"7d\"\ndeny = [\"p@1\"]\n[keys]\nonline = [\"o.key\"]\n\"validated.p\" = [\"v.key\"]\n",
	"hook":       "[hooks]\ntest = []\n",
	"role":       "[keys]\nnonsense = [\"x\"]\n",
	"unknown":    "\"\\u001b[2J\" = 1\n",
	"age":        "[gate]\nmax_age = \"-1w\"\n",
	"site":       "[site]\nid = \"../x\"\n",
	"not TOML":   "<html>",
	"type":       "catalog = 7\n",
	"nothing":    "",
	"good blank": "\n",
}

// FuzzConfig: kitchen.toml may come out of a template, or from a colleague. It is read as the library reads it, or
// refused with words that drive no terminal.
func FuzzConfig(f *testing.F) {
	for _, seed := range configSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("kitchen.toml", data)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v with %v", c, err)
		}
		if err != nil {
			harmlessFailure(t, err)
			return
		}
		for role := range c.Keys {
			if !hasKeys(role) || len(c.keyFiles(role)) != len(c.Keys[role]) {
				t.Errorf("keys of %q", role)
			}
		}
		for name, argv := range c.hooks() {
			if len(argv) == 0 || argv[0] == "" {
				t.Errorf("hook %s names no program", name)
			}
		}
		if again, err := parseConfig("kitchen.toml", data); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v, then %+v, %v", c, again, err)
		}
	})
}

// FuzzCommandLine: whatever is typed means a command, or is refused with words that drive no terminal.
func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{"list", "show p@1 -o json", "-o\x00json list", "log p@1 --site=a/b --raw", "help", "--help log", "publish -- --x", "\x1b[2J", "list --\u202e", "-o", ""} {
		f.Add(strings.ReplaceAll(seed, " ", "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		k := newKitchen()
		inv, err := parseLine(k.app(), strings.Split(line, "\x00"))
		if err != nil {
			harmlessFailure(t, err)
			return
		}
		if len(inv.path) == 0 && !inv.help && !inv.version {
			t.Errorf("%q means no command", line)
		}
	})
}

// harmlessFailure prints an error in both forms.
func harmlessFailure(t *testing.T, err error) {
	t.Helper()
	for _, asJSON := range []bool{false, true} {
		var out strings.Builder
		explain(context.Background(), err).write(&out, asJSON, 0)
		if render.Text(out.String()) != out.String() {
			t.Errorf("%q", out.String())
		}
		if asJSON && !json.Valid([]byte(out.String())) {
			t.Errorf("not JSON: %q", out.String())
		}
	}
}

// TestFuzzSeeds: the seeds are there, and those that are called good are.
func TestFuzzSeeds(t *testing.T) {
	if len(configSeeds) != 11 {
		t.Errorf("%d seeds", len(configSeeds))
	}
	for name, seed := range configSeeds {
		if _, err := parseConfig("kitchen.toml", []byte(seed)); (err == nil) != (strings.HasPrefix(name, "good") || name == "nothing") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
