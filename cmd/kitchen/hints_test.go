package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// named finds the command that a text tells people to run.
var named = regexp.MustCompile("(?:`|: |run |\\(|give |with )kitchen (?:--[a-z]+ [^ ]+ )*([a-z]+(?: [a-z]+)?)")

// TestNamedCommandsExist: what errors, hints, help and documents tell people to run is there.
func TestNamedCommandsExist(t *testing.T) {
	commands := map[string]bool{}
	var add func(path string, list []*cli.Command)
	add = func(path string, list []*cli.Command) {
		for _, c := range list {
			commands[strings.TrimSpace(path+" "+c.Name)] = true
			add(c.Name, c.Subcommands)
		}
	}
	add("", newKitchen().app().Commands)
	commands["help"] = true
	found := 0
	check := func(where, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			found++
			first, _, _ := strings.Cut(m[1], " ")
			if !commands[m[1]] && !commands[first] {
				t.Errorf("%s names `kitchen %s`, which does not exist", where, m[1])
			}
		}
	}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git" || d.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			text, err := os.ReadFile(path)
			check(path, string(text))
			return err
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			return checkLiterals(path, check)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 30 {
		t.Errorf("only %d commands found: the pattern is broken", found)
	}
}

func checkLiterals(path string, check func(where, text string)) error {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				check(fset.Position(lit.Pos()).String(), text)
			}
		}
		return true
	})
	return nil
}
