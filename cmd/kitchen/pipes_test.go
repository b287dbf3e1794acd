package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPipesHoldNothingUp: a pipe that nobody writes to, in the place of any file that a command line or kitchen.toml names,
// ends the command with an error. It does not wait for a writer.
func TestPipesHoldNothingUp(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	pipe := filepath.Join(h.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	config := func(name, text string) string {
		path := filepath.Join(h.dir, name)
		put(t, path, []byte("catalog = \""+h.server.URL+"\"\nstate = \"state\"\n"+text))
		return path
	}
	pinned := config("pinned.toml", "root = \"pipe\"\n")
	keyed := config("keyed.toml", "root = \"root.json\"\n[site]\nid = \"acme/staging\"\nkey = \"pipe\"\n[hooks]\ntest = [\"./pipe\"]\n")
	right := config("right.toml", "root = \"root.json\"\n")
	key := filepath.Join(h.dir, "made")
	h.ask(exitDone, "key", "generate", key, "--password-file", right)
	for _, line := range []string{
		"--config " + pipe + " list",
		"--config " + pinned + " refresh",
		"--config " + keyed + " report openstack@1.0.0 --result PASSED",
		"--config " + keyed + " doctor",
		"--config " + right + " yank openstack@1.0.0 --reason x --key " + pipe,
		"--config " + right + " yank openstack@1.0.0 --reason x --key " + key + ".key --password-file " + pipe,
		"--config " + right + " commit --online-key " + pipe,
		"--config " + right + " role rotate targets --dry-run --old " + pipe,
		"--config " + right + " role rotate targets --dry-run --new " + pipe,
		"--config " + right + " policy set " + pipe + " --key " + key + ".key",
		"--config " + right + " sign --import " + pipe,
		"--config " + right + " init --import " + pipe + " --online-key " + key + ".key",
		"--config " + right + " site add acme/new --kind ci --pub " + pipe + " --key " + key + ".key",
		"--config " + right + " key show " + pipe,
		"key import " + pipe + " " + filepath.Join(h.dir, "imported"),
	} {
		ended := make(chan int, 1)
		var stdout, stderr bytes.Buffer
		go func() {
			k := newKitchen()
			k.stdout, k.progress, k.now = &stdout, &display{out: &stderr, now: time.Now}, func() time.Time { return h.now }
			k.stderr = k.progress
			k.lookupEnv = func(string) (string, bool) { return "", false }
			ended <- k.main(t.Context(), strings.Fields(line))
		}()
		select {
		case code := <-ended:
			if code == exitDone {
				t.Errorf("kitchen %s: done\n%s%s", line, &stdout, &stderr)
			}
		case <-time.After(time.Minute):
			t.Fatalf("kitchen %s waits for somebody to write into the pipe", line)
		}
	}
}
