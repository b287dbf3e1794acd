package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCeremonyDocument types docs/CEREMONY.md, as it stands, into one shell in one empty directory, and holds every
// kitchen command to the exit code that the document says.
func TestCeremonyDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "CEREMONY.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlock.FindAllStringSubmatch(string(document), -1)
	if len(blocks) < 18 {
		t.Fatalf("docs/CEREMONY.md has only %d blocks to type", len(blocks))
	}
	command := regexp.MustCompile(`(?m)^(kitchen .*?)(?:\s+# exit (\d+))?$`)
	var script strings.Builder
	script.WriteString("set -eu\nexpect() { want=$1; shift; got=0; \"$@\" || got=$?; if [ $got != $want ]; then echo \"EXIT $got, and the document says $want: $*\"; exit 1; fi; }\n")
	for _, block := range blocks {
		text := strings.ReplaceAll(block[1], "\\\n", " ")
		script.WriteString(command.ReplaceAllStringFunc(text, func(line string) string {
			parts := command.FindStringSubmatch(line)
			if parts[2] == "" {
				parts[2] = "0"
			}
			return "echo '+ '\"$(basename $PWD)\"': " + strings.ReplaceAll(parts[1], "'", "") + "'; expect " + parts[2] + " " + parts[1]
		}))
	}
	dir := t.TempDir()
	shell := exec.Command("sh", "-c", script.String())
	shell.Dir = dir
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KITCHEN_") && !strings.HasPrefix(variable, "COSIGN_") || strings.HasPrefix(variable, onceVariable) {
			shell.Env = append(shell.Env, variable)
		}
	}
	shell.Env = append(shell.Env, "HOME="+dir)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	private, err := filepath.Glob(filepath.Join(dir, "*", "*.key"))
	if err != nil || len(private) < 16 {
		t.Fatalf("%q, %v", private, err)
	}
	for _, key := range private { // a machine holds the keys of one person, and the stick none
		who := filepath.Base(filepath.Dir(key))
		if name := filepath.Base(key); !strings.HasPrefix(name, who) && !(who == "vic" && strings.HasPrefix(name, "ci")) {
			t.Errorf("%s lies on the machine of %s", name, who)
		}
	}
}
