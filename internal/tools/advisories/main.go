// Advisories holds the versions that modules require to a table of minimums, without network.
//
//	advisories -table FILE DIR...
//
// Each DIR holds a go.mod. A tidy one lists the selected version of every module that gives a package to the build,
// so that nothing else needs to be read: no module cache, no proxy, no database. What is too old is said on
// stderr, each with the reason that the table gives, and the exit code is 1. The table's format stands at its head.
//
// It knows what somebody wrote into the table, and nothing newer: `make vulncheck` asks the Go vulnerability
// database, where there is a network.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const never = "never"

// row is one line of the table.
type row struct {
	dir     string // "" = every directory
	module  string // "go" = the toolchain
	minimum string // "never" = at no version
	why     string
	line    int
	used    bool
}

func main() {
	table := flag.String("table", "", "`FILE` with the lowest versions")
	flag.Parse()
	if err := run(os.Stdout, *table, flag.Args(), goVersion); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// goVersion is the version of the Go that builds, as "go1.26.5".
func goVersion() (string, error) {
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	return strings.TrimSpace(string(out)), err
}

func run(out io.Writer, table string, dirs []string, toolchain func() (string, error)) error {
	if table == "" || len(dirs) == 0 {
		return errors.New("usage: advisories -table FILE DIR...")
	}
	rows, err := readTable(table)
	if err != nil {
		return err
	}
	problems, checked := []error{}, 0
	for _, dir := range dirs {
		n, err := checkModule(dir, rows)
		problems, checked = append(problems, err), checked+n
	}
	problems = append(problems, checkToolchain(rows, toolchain))
	for _, r := range rows {
		if !r.used && r.minimum != never {
			problems = append(problems, fmt.Errorf("%s:%d: no go.mod requires %s there any more: take the line out", table, r.line, r.module))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("versions that are known to be wrong:\n%w", err)
	}
	fmt.Fprintf(out, "%d modules in %d go.mod files, and Go itself: none below the %d lines of %s\n", checked, len(dirs), len(rows), table)
	return nil
}

func readTable(path string) ([]*row, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var rows []*row
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		r, err := parseRow(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if slices.ContainsFunc(rows, func(o *row) bool { return o.dir == r.dir && o.module == r.module }) {
			return nil, fmt.Errorf("%s:%d: %s stands there twice", path, n, r.module)
		}
		r.line = n
		rows = append(rows, r)
	}
	if len(rows) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("%s: no lines", path)
	}
	return rows, lines.Err()
}

func parseRow(text string) (*row, error) {
	word := strings.SplitN(text, " ", 3)
	if len(word) < 3 || strings.TrimSpace(word[2]) == "" {
		return nil, errors.New("want MODULE MINIMUM WHY")
	}
	r := &row{module: word[0], minimum: word[1], why: word[2]}
	if dir, module, ok := strings.Cut(r.module, ":"); ok {
		r.dir, r.module = filepath.Clean(dir), module
	}
	version := r.minimum
	if r.module == "go" {
		version = "v" + version
	}
	if version != never && !semver.IsValid(version) {
		return nil, fmt.Errorf("%q is no version", r.minimum)
	}
	return r, nil
}

// checkModule holds one go.mod to the table, and counts what it requires.
func checkModule(dir string, rows []*row) (int, error) {
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	mod, err := modfile.Parse(path, data, nil)
	if err != nil {
		return 0, err
	}
	var problems []error
	for _, r := range mod.Require {
		problems = append(problems, check(path, dir, r.Mod.Path, r.Mod.Version, rows))
	}
	for _, r := range mod.Replace {
		if r.New.Version == "" {
			problems = append(problems, fmt.Errorf("%s: %s is replaced by the directory %s: what that is, nobody can tell", path, r.Old.Path, r.New.Path))
			continue
		}
		problems = append(problems, check(path, dir, r.New.Path, r.New.Version, rows))
	}
	return len(mod.Require), errors.Join(problems...)
}

func check(path, dir, module, version string, rows []*row) error {
	r := find(filepath.Clean(dir), module, rows)
	if r == nil {
		return nil
	}
	r.used = true
	switch {
	case r.minimum == never:
		return fmt.Errorf("%s requires %s %s, which must not be used: %s", path, module, version, r.why)
	case semver.Compare(version, r.minimum) < 0:
		return fmt.Errorf("%s requires %s %s, at least %s is wanted: %s", path, module, version, r.minimum, r.why)
	}
	return nil
}

// find prefers the line of that very directory.
func find(dir, module string, rows []*row) *row {
	var found *row
	for _, r := range rows {
		if r.module == module && (r.dir == dir || r.dir == "" && found == nil) {
			found = r
		}
	}
	return found
}

func checkToolchain(rows []*row, toolchain func() (string, error)) error {
	r := find("", "go", rows)
	if r == nil {
		return nil
	}
	r.used = true
	version, err := toolchain()
	if err != nil {
		return fmt.Errorf("which Go builds cannot be known: %w", err)
	}
	number, _, _ := strings.Cut(strings.TrimPrefix(version, "go"), " ")
	switch {
	case !semver.IsValid("v" + number):
		return fmt.Errorf("Go calls itself %q: that cannot be compared with %s", version, r.minimum)
	case semver.Compare("v"+number, "v"+r.minimum) < 0:
		return fmt.Errorf("it is built with Go %s, at least %s is wanted: %s", number, r.minimum, r.why)
	}
	return nil
}
