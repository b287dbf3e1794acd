package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func currentGo() (string, error) { return "go1.26.8", nil }

// TestWhatIsRequiredNow: the repository's own go.mod files pass.
func TestWhatIsRequiredNow(t *testing.T) {
	t.Chdir("../../..")
	var out bytes.Buffer
	err := run(&out, "internal/tools/advisories/advisories.txt", []string{".", "internal/testserver", "internal/tools"}, currentGo)
	if err != nil || !strings.Contains(out.String(), "none below") {
		t.Fatalf("%s%v", out.String(), err)
	}
}

// TestAnOlderVersionIsRefused takes every line of the table, and the module of each one version back.
func TestAnOlderVersionIsRefused(t *testing.T) {
	table, err := filepath.Abs("advisories.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := readTable(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.module == "go" {
			continue
		}
		dir := r.dir
		if dir == "" {
			dir = "shipped"
		}
		t.Chdir(t.TempDir())
		older := older(r.minimum)
		write(t, filepath.Join(dir, "go.mod"), "module example.org/m\n\ngo 1.26.0\n\nrequire "+r.module+" "+older+" // indirect\n")
		err := run(&bytes.Buffer{}, table, []string{dir}, currentGo)
		if err == nil || !strings.Contains(err.Error(), r.module+" "+older+", ") || !strings.Contains(err.Error(), r.why) {
			t.Errorf("line %d, %s %s: %v", r.line, r.module, older, err)
		}
	}
}

// older is a version just below: v2.0.6 → v2.0.6-0.
func older(minimum string) string {
	if minimum == never {
		return "v1.0.0"
	}
	return minimum + "-0"
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRules(t *testing.T) {
	const mod = "module example.org/m\n\ngo 1.26.0\n\nrequire (\n\texample.org/a v1.2.3\n\texample.org/b/v2 v2.0.0\n)\n"
	for name, c := range map[string]struct{ table, mod, toolchain, says string }{
		"as low as allowed":      {"example.org/a v1.2.3 Why.\n", mod, "go1.26.0", ""},
		"one too low":            {"example.org/a v1.2.4 Why.\n", mod, "go1.26.0", "example.org/a v1.2.3, at least v1.2.4 is wanted: Why."},
		"never":                  {"example.org/b/v2 never Why.\n", mod, "go1.26.0", "must not be used: Why."},
		"never, and not there":   {"example.org/a v1.0.0 Why.\nexample.org/b never Why.\n", mod, "go1.26.0", ""},
		"nobody requires it":     {"example.org/c v1.0.0 Why.\n", mod, "go1.26.0", "take the line out"},
		"no reason":              {"example.org/a v1.2.3\n", mod, "go1.26.0", "want MODULE MINIMUM WHY"},
		"no version":             {"example.org/a 1.2.3 Why.\n", mod, "go1.26.0", "no version"},
		"twice":                  {"example.org/a v1.0.0 Why.\nexample.org/a v1.2.3 Why.\n", mod, "go1.26.0", "twice"},
		"empty table":            {"# nothing\n", mod, "go1.26.0", "no lines"},
		"old Go":                 {"go 1.26.5 Why.\n", mod, "go1.26.4", "Go 1.26.4, at least 1.26.5"},
		"Go with experiments":    {"go 1.26.5 Why.\n", mod, "go1.26.5 X:boringcrypto", ""},
		"Go from its repository": {"go 1.26.5 Why.\n", mod, "devel go1.27-abc", "cannot be compared"},
		"replaced by an older":   {"example.org/a v1.2.3 Why.\n", mod + "replace example.org/a => example.org/a v1.2.2\n", "go1.26.0", "example.org/a v1.2.2, at least"},
		"replaced by files":      {"example.org/a v1.2.3 Why.\n", mod + "replace example.org/a => ./a\n", "go1.26.0", "replaced by the directory"},
		"not a go.mod":           {"example.org/a v1.2.3 Why.\n", "garbage", "go1.26.0", "go.mod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "table", c.table)
			write(t, "m/go.mod", c.mod)
			err := run(&bytes.Buffer{}, "table", []string{"m"}, func() (string, error) { return c.toolchain, nil })
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}
