package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// collect gives what the first group of a pattern finds in Go files, tests left out.
func collect(t *testing.T, pattern string, globs ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, glob := range globs {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s (%v)", glob, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
				found[m[1]] = true
			}
		}
	}
	return found
}

func TestFormatDoc(t *testing.T) {
	data, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	schemas := collect(t, `(kitchen\.[a-z-]+/v[0-9]+)`, "*.go", "../../publisher/*.go", "../../fetcher/*.go", "../../manifest/*.go")
	for command := range collect(t, `newOutcome\("([a-z-]+)"`, "*.go") {
		schemas["kitchen."+command+"/v1"] = true
	}
	variables := collect(t, `"(KITCHEN_[A-Z_]+)=?"`, "*.go", "../../fetcher/*.go", "../../internal/hook/*.go")
	for what, want := range map[string]struct {
		found map[string]bool
		least int
	}{"schema": {schemas, 30}, "variable": {variables, 13}} {
		if len(want.found) < want.least {
			t.Errorf("only %d of kind %s found in the sources: %v", len(want.found), what, want.found)
		}
		for name := range want.found {
			if !strings.Contains(doc, "`"+name+"`") {
				t.Errorf("docs/FORMAT.md does not describe the %s %s", what, name)
			}
		}
	}
	// The other way round: nothing is described that is not there.
	for _, m := range regexp.MustCompile("`(kitchen\\.[a-z-]+/v[0-9]+|KITCHEN_[A-Z_]+)`").FindAllStringSubmatch(doc, -1) {
		if !schemas[m[1]] && !variables[m[1]] {
			t.Errorf("docs/FORMAT.md describes %s, which the sources do not know", m[1])
		}
	}
}
