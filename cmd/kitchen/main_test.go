package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary the kitchen binary too, when it is called by
// that name: the scripts run the real program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kitchen": main})
}

// TestScripts plays one story per persona. Commands beside testscript's own:
//
//	exits CODE COMMAND…   the command ends with exactly this exit code
//	json PATH VALUE       the JSON on stdout has this value, as in `json runs.0.verdict PASSED`; length counts a list
//	catalog               puts a catalog with keys, one product, customers and sites into the directory
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COSIGN_PASSWORD", "script")
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"json":    cmdJSON,
			"catalog": cmdCatalog,
		},
	})
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENTS]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		ts.Fatalf("stdout is not one JSON document: %v", err)
	}
	got := fmt.Sprint(lookUp(ts, value, args[0]))
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %q, want %q", args[0], got, args[1])
	}
}

// lookUp follows a path such as releases.0.stage; length is a list's.
func lookUp(ts *testscript.TestScript, value any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			if step == "length" {
				value = len(v)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				ts.Fatalf("no element %s in a list of %d (%s)", step, len(v), path)
			}
			value = v[i]
		default:
			ts.Fatalf("%s: nothing below %v", path, v)
		}
	}
	return value
}

func cmdCatalog(ts *testscript.TestScript, neg bool, args []string) {
	template, err := catalogTemplate()
	ts.Check(err)
	ts.Check(os.CopyFS(ts.MkAbs("."), os.DirFS(template)))
	// os.CopyFS gives files the modes that umask leaves; keys are private.
	ts.Check(filepath.WalkDir(ts.MkAbs("keys"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".key") {
			err = os.Chmod(path, 0o600)
		}
		return err
	}))
}

// catalogTemplate makes, once, what most stories begin with: openstack (one
// engineer, one validator, two certifiers), and the sites enovance/ci, acme/staging,
// acme/staging-2 (after staging) and acme/prod. vendor.toml has the online key,
// laptop.toml has not.
var catalogTemplate = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kitchen-template")
	if err != nil {
		return "", err
	}
	laptop := "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-laptop\"\n"
	if err := os.WriteFile(filepath.Join(dir, "laptop.toml"), []byte(laptop), 0o644); err != nil {
		return "", err
	}
	var lines []string
	for _, who := range strings.Fields("root-a root-b online admin eng eng2 validator ops-a ops-b vendor-ci acme-staging acme-staging-2 acme-prod stranger") {
		lines = append(lines, "key generate keys/"+who)
	}
	lines = append(lines,
		"init --catalog bucket --vendor enovance --root-key keys/root-a.key --root-key keys/root-b.key --online-key keys/online.key --registry-key keys/admin.key --write-root root.json --write-config vendor.toml",
		"product add openstack --engineer keys/eng.pub --validator keys/validator.pub --certifier keys/ops-a.pub --certifier keys/ops-b.pub --key keys/root-a.key --key keys/root-b.key",
		"customer add acme --name ACME --subscribe openstack --key keys/admin.key",
		"site add enovance/ci --kind ci --pub keys/vendor-ci.pub --key keys/admin.key",
		"site add acme/staging --kind ci --pub keys/acme-staging.pub --key keys/admin.key",
		"site add acme/staging-2 --kind ci --after acme/staging --pub keys/acme-staging-2.pub --key keys/admin.key",
		"site add acme/prod --kind production --pub keys/acme-prod.pub --key keys/admin.key",
	)
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] != "key" && words[0] != "init" {
			words = append(words, "--config", "vendor.toml")
		}
		c := exec.Command("kitchen", words...)
		c.Dir = dir
		c.Env = append(os.Environ(), "COSIGN_PASSWORD=script", "HOME="+dir)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("kitchen %s: %w\n%s", line, err, out)
		}
	}
	// The stories use the catalog by a relative path, so that a copy is a catalog.
	config, err := os.ReadFile(filepath.Join(dir, "vendor.toml"))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(config), "catalog")
	_, rest, _ = strings.Cut(rest, "\n")
	if err := os.WriteFile(filepath.Join(dir, "vendor.toml"), []byte("catalog = \"bucket\"\n"+rest), 0o644); err != nil {
		return "", err
	}
	return dir, os.RemoveAll(filepath.Join(dir, "state-vendor"))
})
