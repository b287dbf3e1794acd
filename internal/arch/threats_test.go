package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName is how docs name a test: package.TestName, the package by the last part of its path.
var testName = regexp.MustCompile("`([a-z0-9-]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

// tests gives every test of the module as package.TestName, and those in files that are named after attacks.
func tests(t *testing.T) (all, attacks map[string]bool) {
	t.Helper()
	all, attacks = map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !regexp.MustCompile(`^(Test|Fuzz)[A-Z]`).MatchString(f.Name.Name) {
				continue
			}
			name := filepath.Base(s.room) + "." + f.Name.Name
			all[name] = true
			if strings.Contains(filepath.Base(s.path), "attack") {
				attacks[name] = true
			}
		}
	}
	return all, attacks
}

// TestThreatsNamesItsTests: docs/THREATS.md says for each attack which test shows it. Every test that it names exists,
// and every test in a file of attacks is named.
func TestThreatsNamesItsTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "THREATS.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, attacks := tests(t)
	named := map[string]bool{}
	for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
		name := m[1] + "." + m[2]
		named[name] = true
		if !all[name] {
			t.Errorf("docs/THREATS.md names %s, and there is no such test", name)
		}
	}
	for name := range attacks {
		if !named[name] {
			t.Errorf("%s is a test of an attack, and docs/THREATS.md does not say what it shows", name)
		}
	}
	if len(named) < 100 {
		t.Errorf("docs/THREATS.md names only %d tests: the table is broken", len(named))
	}
}
