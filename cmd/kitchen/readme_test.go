package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shellBlock is a block of README.md that people are meant to type.
var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// exitRemark at the end of a command says how it ends, when not with 0.
var exitRemark = regexp.MustCompile(`(?m)^(kitchen .*?)\s+# exit (\d+).*$`)

// TestReadmeQuickStart types the README's quick start, as it stands, into one shell in one empty directory.
func TestReadmeQuickStart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlock.FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 8 {
		t.Fatalf("README.md has only %d blocks to type", len(blocks))
	}
	var script strings.Builder
	script.WriteString("set -eux\n")
	for _, block := range blocks {
		script.WriteString(exitRemark.ReplaceAllString(block[1], "got=0; $1 || got=$$?; [ $$got = $2 ]"))
	}
	dir := t.TempDir()
	shell := exec.Command("sh", "-c", script.String())
	shell.Dir = dir
	for _, variable := range os.Environ() { // a newcomer has none of these
		if !strings.HasPrefix(variable, "KITCHEN_") && !strings.HasPrefix(variable, "COSIGN_") {
			shell.Env = append(shell.Env, variable)
		}
	}
	shell.Env = append(shell.Env, "HOME="+dir)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	deployed, err := os.ReadFile(filepath.Join(dir, "deployed.txt"))
	if err != nil || string(deployed) != "deployed openstack 1.0.0\n" {
		t.Errorf("deployed: %q, %v", deployed, err)
	}
}

// TestReadmeListsEveryCommandAndExitCode holds the README's tables to the program.
func TestReadmeListsEveryCommandAndExitCode(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(data)
	for _, c := range newKitchen().app().Commands {
		if !regexp.MustCompile("`" + c.Name + "[ `]").MatchString(readme) {
			t.Errorf("README.md does not name the command %s", c.Name)
		}
	}
	for _, line := range exitCodeWords {
		if row := fmt.Sprintf("\n| %d | %s |\n", line.code, line.words); !strings.Contains(readme, row) {
			t.Errorf("README.md lacks %q", row)
		}
	}
}

// TestReadmesPinsAreConfiguration: the README's [gate] with pins can be typed in that form.
func TestReadmesPinsAreConfiguration(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```toml\n(\\[gate\\]\n[^`]*gate\\.pins.*?)```").FindStringSubmatch(string(readme))
	if block == nil {
		t.Fatal("README.md has no [gate] with pins")
	}
	c, err := parseConfig("kitchen.toml", []byte(block[1]))
	if err != nil || len(c.Gate.gate().Pins["ready-to-deploy.acme"].Keys) != 2 {
		t.Errorf("it is read as %+v, %v", c, err)
	}
}

// TestAgentDocsConfiguration: the kitchen.toml of docs/AGENT.md is one, and the variables it names are those that
// hooks get.
func TestAgentDocsConfiguration(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "AGENT.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	block := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(doc)
	if block == nil {
		t.Fatal("docs/AGENT.md has no kitchen.toml")
	}
	c, err := parseConfig("kitchen.toml", []byte(block[1]))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.hooks()) != 4 || len(c.Report.Redact) != 2 || c.Run.Parallel != 2 {
		t.Errorf("it is read as %+v", c)
	}
	for name := range collect(t, `"(KITCHEN_[A-Z_]+)="`, "../../fetcher/*.go") {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/AGENT.md does not name %s", name)
		}
	}
}
