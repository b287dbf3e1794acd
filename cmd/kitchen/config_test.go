package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/fetcher"
)

func TestConfig(t *testing.T) {
	const anyKeyID = "8370000000000000000000000000000000000000000000000000000000000bcd"
	const text = `catalog = "bucket"
root = "trust/root.json"
state = "/var/lib/kitchen"
[site]
id = "acme/prod"
key = "keys/prod.key"
auto = true
[hooks]
deploy = ["./deploy.sh", "--fast"]
on-error = ["./collect.sh"]
timeout = "4h"
[hooks.timeouts]
teardown = "90s"
[keys]
online = ["keys/online.key"]
"validated.openstack" = ["keys/validator.key", "awskms:///alias/x"]
[capabilities]
memory_gib = 64
labels = ["ipmi"]
[gate]
max_age = "7d"
deny = ["openstack@1.0.0"]
[gate.pins."ready-to-deploy.acme"]
keys = ["` + anyKeyID + `"]
threshold = 1
`
	c, err := parseConfig("/etc/kitchen/kitchen.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if c.Site.ID.String() != "acme/prod" || !c.Site.Auto || time.Duration(c.Gate.MaxAge) != 7*24*time.Hour || c.Gate.Pins["ready-to-deploy.acme"].Threshold != 1 {
		t.Errorf("read as %+v", c)
	}
	if c.Capabilities.MemoryGiB != 64 || c.Capabilities.CPUs != 0 || len(c.Capabilities.Labels) != 1 {
		t.Errorf("capabilities read as %+v", c.Capabilities)
	}
	if hooks := c.hooks(); len(hooks) != 2 || hooks["on-error"][0] != "./collect.sh" || time.Duration(c.Hooks.Timeout) != 4*time.Hour || c.timeouts()["teardown"] != 90*time.Second {
		t.Errorf("hooks %v, limits %v %v", hooks, c.Hooks.Timeout, c.timeouts())
	}
	for in, want := range map[string]string{
		c.Root: "/etc/kitchen/trust/root.json", c.State: "/var/lib/kitchen", c.Site.Key: "/etc/kitchen/keys/prod.key", "": "", "awskms:///a": "awskms:///a",
	} {
		if got := c.abs(in); got != want {
			t.Errorf("abs(%q) = %q, want %q", in, got, want)
		}
	}
	if got := c.keyFiles("validated.openstack"); len(got) != 2 || got[0] != "/etc/kitchen/keys/validator.key" || got[1] != "awskms:///alias/x" {
		t.Errorf("keys of validated.openstack: %v", got)
	}
}

func TestAPatternThatIsNoExpressionSaysHowToWriteIt(t *testing.T) {
	for _, pattern := range []string{"(unclosed", "a*"} {
		_, err := parseConfig("k.toml", []byte("[report]\nredact = ['"+pattern+"']\n"))
		if f := explain(t.Context(), err); f.Hint == "" {
			t.Errorf("%s: %+v", pattern, f)
		}
	}
}

func TestAShortKeyIDSaysWhereWholeOnesAre(t *testing.T) {
	_, err := parseConfig("k.toml", []byte("[gate.pins.product]\nkeys = [\"09ac34c9\"]\n"))
	if err == nil || !strings.Contains(explain(t.Context(), err).Hint, "kitchen role show ROLE") {
		t.Errorf("%v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "catalog = \"x\"\nstat = \"y\"\n", "k.toml:2: "},
		{"unknown key in a table", "[site]\nid = \"a/b\"\n\nfolow = \"published\"\n", "k.toml:4: "},
		{"unknown table", "\n[sites]\nid = \"a/b\"\n", "k.toml:"},
		{"unknown hook", "[hooks]\nbefore = [\"x\"]\n", "k.toml:2: "},
		{"limit of an unknown hook", "[hooks.timeouts]\nbefore = \"1h\"\n", "k.toml:2: hooks.timeouts.before: unknown key"},
		{"limits of a table misspelt", "[hook.timeouts]\ntest = \"1h\"\n", "k.toml:1: hook: unknown key"},
		{"none at a time", "[run]\nparallel = 0\n", "run.parallel is between 1 and 64, not 0"},
		{"pattern that is no expression", "[report]\nredact = [\n\"ok\", '(unclosed']\n", "k.toml:3: "},
		{"no limit", "[hooks]\ntimeout = \"long\"\n", "k.toml:2: "},
		{"too many at a time", "[run]\nparallel = 1000\n", "run.parallel is between 1 and 64"},
		{"hook that is a string", "[hooks]\ntest = \"make test\"\n", "k.toml:2: "},
		{"empty hook", "[hooks]\ntest = []\n", "hooks.test names no program"},
		{"bad site", "[site]\nid = \"Acme/x\"\n", "k.toml:2: "},
		{"bad follow", "[site]\nfollow = \"all\"\n", "k.toml:2: "},
		{"bad age", "[gate]\nmax_age = \"7 days\"\n", "k.toml:2: "},
		{"bad rate", "[transfer]\nlimit_rate = \"fast\"\n", "k.toml:2: "},
		{"unknown key in transfer", "[transfer]\nkeep = false\nseed = \"x\"\n", "k.toml:3: "},
		{"unknown role", "[keys]\n\"approved.openstack\" = [\"x\"]\n", "approved.openstack"},
		{"short key id", "[gate]\n[gate.pins.\"ready-to-deploy.acme\"]\nthreshold = 1\nkeys = [\"09ac34c9\"]\n", `k.toml:4: gate.pins.ready-to-deploy.acme.keys[0]: "09ac34c9" is no whole key id`},
		{"no TOML", "catalog = \n", "k.toml:1: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseConfig("k.toml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestAges(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "90m": 90 * time.Minute, "7d": 168 * time.Hour, "1.5d": 36 * time.Hour, "2w": 336 * time.Hour} {
		if got, err := parseAge(in); err != nil || got != want {
			t.Errorf("parseAge(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{"d": "no duration", "7 d": "no duration", "1y": "no duration", "99999999999999999999h": "no duration", "h": "no duration",
		"-1h": "not more than 0", "0": "not more than 0", "0s": "not more than 0", "0d": "not more than 0", "99999d": "more than 100 years"} {
		if got, err := parseAge(in); err == nil || !strings.Contains(err.Error(), "is "+want+"; write it like") {
			t.Errorf("parseAge(%q) = %v, %v, want %q", in, got, err, want)
		}
	}
}

func TestRates(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "1": 1, "500K": 500 << 10, "10M": 10 << 20, "10m": 10 << 20, "2G": 2 << 30} {
		if got, err := parseRate(in); err != nil || got != want {
			t.Errorf("parseRate(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"K", "0", "-1", "-1K", "1.5M", "10 M", "10MB", "9999999999G", "1T", "\u017f", "5\u212a"} {
		if got, err := parseRate(in); err == nil || !strings.Contains(err.Error(), "500K, 10M or 1G") {
			t.Errorf("parseRate(%q) = %v, %v; want an error that says how to write it", in, got, err)
		}
	}
}

// TestTransferConfig: patterns are relative to the file, whatever its folder is called.
func TestTransferConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b] *")
	for _, name := range []string{"old/v1.img", "old/v2.img", "old/notes"} {
		if err := (scene{dir: dir}).write(name, "x"); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(text string) (fetcher.Transfer, error) {
		t.Helper()
		c, err := parseConfig(filepath.Join(dir, "kitchen.toml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c.transfer()
	}
	got, err := parse("[transfer]\nseeds = [\"old/*.img\", \"none/*\"]\nparallel = 7\nkeep = false\n")
	want := []string{filepath.Join(dir, "old/v1.img"), filepath.Join(dir, "old/v2.img")}
	if err != nil || !slices.Equal(got.Seeds, want) || got.Parallel != 7 || !got.NoSeeds {
		t.Errorf("read as %+v, %v", got, err)
	}
	if got, err := parse(""); err != nil || got.NoSeeds || got.Parallel != 4 || len(got.Seeds) > 0 {
		t.Errorf("nothing said: %+v, %v", got, err)
	}
	for text, want := range map[string]string{"parallel = 33": "transfer.parallel is between 1 and 32, not 33", "parallel = -1": "between 1 and 32", "parallel = 0": "between 1 and 32", "seeds = [\"[\"]": "is no pattern"} {
		if _, err := parse("[transfer]\n" + text + "\n"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "kitchen.toml") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWrittenConfigIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ci.toml")
	c := newConfigFile("a test", path)
	const odd = "s3://b/p?endpoint=https://h:1&region=\"<x>\"\\\x7f\x01"
	c.set("catalog", odd)
	c.set("state", c.stateName())
	c.line("[keys]")
	c.list("online", c.relative(filepath.Join(filepath.Dir(path), "keys", "o.key")), "b.key")
	if err := c.write(); err != nil {
		t.Fatal(err)
	}
	got, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Catalog != odd || got.State != "state-ci" || len(got.Keys["online"]) != 2 {
		t.Errorf("read back as %+v", got)
	}
	if err := c.write(); err == nil {
		t.Error("an existing file was overwritten")
	}
}
