package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What tests tell the program that they start. The program itself knows none of it.
const (
	roleVariable     = "KITCHEN_TEST_TUF_CLIENT" // set: be the program
	deadlineVariable = "KITCHEN_TEST_DEADLINE"   // of every request, instead of the program's own
	outsideVariable  = "KITCHEN_TEST_OUTSIDE"    // set: start the program for every row of every table, too
	timeVariable     = "KITCHEN_TEST_TIME"       // what the tests' own `date` tells, in seconds
)

// fakeBin holds a program date that tells the time of the test.
var fakeBin string

// TestMain makes the test binary the tuf-client binary too: the tests run the real program.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		if d, err := time.ParseDuration(os.Getenv(deadlineVariable)); err == nil {
			metadataDeadline, targetDeadline = d, d
		}
		main()
	}
	os.Exit(withFakeDate(m.Run))
}

func withFakeDate(run func() int) int {
	dir, err := os.MkdirTemp("", "tuf-client-test")
	if err == nil {
		defer os.RemoveAll(dir)
		fakeBin = dir
		err = os.WriteFile(filepath.Join(dir, "date"), []byte("#!/bin/sh\n[ \"$*\" = +%s ] && echo \"$"+timeVariable+"\"\n"), 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// installation is one installation of the program, pointed at a repository.
type installation struct {
	t        *testing.T
	metadata string // MDIR
	targets  string // TDIR
	now      time.Time
	deadline string
	realDate bool
	inside   bool   // in this process, for tables of many rows: a program for every row takes long to start
	base     string // URL of the repository
	stderr   string // of the last run
}

func newInstallation(t *testing.T, base string) *installation {
	dir := t.TempDir()
	return &installation{t: t, metadata: filepath.Join(dir, "metadata"), targets: filepath.Join(dir, "targets"), now: today, base: base}
}

// exec runs the program and gives its exit code, which is 0 or 1.
func (c *installation) exec(args ...string) int {
	c.t.Helper()
	if c.inside && os.Getenv(outsideVariable) == "" {
		var stderr bytes.Buffer
		code := run(c.t.Context(), args, &stderr, func(context.Context) (time.Time, error) { return c.now, nil })
		c.stderr = stderr.String()
		return code
	}
	program, err := os.Executable()
	check(c.t, err)
	cmd := exec.Command(program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	path := fakeBin + ":" + os.Getenv("PATH")
	if c.realDate {
		path = os.Getenv("PATH")
	}
	cmd.Env = append(os.Environ(), roleVariable+"=1", deadlineVariable+"="+c.deadline, "PATH="+path,
		fmt.Sprintf("%s=%d", timeVariable, c.now.Unix()))
	err = cmd.Run()
	c.stderr = stderr.String()
	code := cmd.ProcessState.ExitCode()
	if code != 0 && code != 1 || (err == nil) != (code == 0) || stdout.Len() > 0 {
		c.t.Fatalf("%v: exit code %d, %v\n%s%s", args, code, err, stdout.String(), c.stderr)
	}
	return code
}

func (c *installation) init(root []byte) int {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "initial.json")
	check(c.t, os.WriteFile(file, root, 0o600))
	return c.exec("--metadata-dir", c.metadata, "init", file)
}

// trust has the effect of init, without a run of the program.
func (c *installation) trust(root []byte) {
	check(c.t, os.MkdirAll(c.metadata, 0o755))
	check(c.t, os.WriteFile(c.file("root"), root, 0o644))
}

func (c *installation) refresh() int {
	c.t.Helper()
	return c.exec("--metadata-url", c.base+"/metadata", "--metadata-dir", c.metadata, "refresh")
}

func (c *installation) download(names ...string) int {
	c.t.Helper()
	args := []string{"--metadata-url", c.base + "/metadata", "--metadata-dir", c.metadata}
	for _, name := range names {
		args = append(args, "--target-name", name)
	}
	return c.exec(append(args, "--target-dir", c.targets, "--target-base-url", c.base+"/targets", "download")...)
}

// takes wants success of the run just made.
func (c *installation) takes(code int) {
	c.t.Helper()
	if code != 0 {
		c.t.Fatalf("refused:\n%s", c.stderr)
	}
}

// refuses wants failure of the run just made, for a reason in these words.
func (c *installation) refuses(code int, reason string) {
	c.t.Helper()
	if code != 1 || !strings.Contains(c.stderr, reason) {
		c.t.Fatalf("exit code %d, want 1 because of %q:\n%s", code, reason, c.stderr)
	}
}

// trusts compares what MDIR holds with "role:version …", in the order of role names.
func (c *installation) trusts(want string) {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.metadata, "*.json"))
	check(c.t, err)
	var have []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		check(c.t, err)
		have = append(have, fmt.Sprintf("%s:%v", strings.TrimSuffix(filepath.Base(file), ".json"), parse(c.t, data)["signed"].(object)["version"]))
	}
	slices.Sort(have)
	if got := strings.Join(have, " "); got != want {
		c.t.Fatalf("trusted metadata: %s\nwant              %s\n%s", got, want, c.stderr)
	}
}

// version is the one that MDIR holds of a role.
func (c *installation) version(role string) int {
	data, err := os.ReadFile(c.file(role))
	check(c.t, err)
	version, err := parse(c.t, data)["signed"].(object)["version"].(json.Number).Int64()
	check(c.t, err)
	return int(version)
}

// holds compares the contents in TDIR, sorted, with these.
func (c *installation) holds(want ...string) {
	c.t.Helper()
	files, err := os.ReadDir(c.targets)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	var have []string
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(c.targets, file.Name()))
		check(c.t, err)
		have = append(have, string(data))
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		c.t.Fatalf("downloaded: %q\nwant        %q\n%s", have, want, c.stderr)
	}
}

func (c *installation) file(role string) string { return filepath.Join(c.metadata, role+".json") }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
