package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

const wholeStory = "testdata/whole-story.sh"

// TestWholeStory plays the contract of the command line, verbatim, on a
// directory and on a real S3 server over TLS.
func TestWholeStory(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the whole story is NOT tested: it needs %s, which is not installed", program)
		}
	}
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		playStory(t, onceVariable+"=") // every password costs what it costs
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		server := storagetest.StartS3(t)
		playStory(t, append(server.Env(), "STORE="+server.URL(server.Bucket(t), "story"))...)
	})
}

func playStory(t *testing.T, env ...string) {
	t.Helper()
	kitchen, err := exec.LookPath("kitchen")
	if err != nil {
		t.Fatal(err)
	}
	story := exec.Command("bash", wholeStory)
	home := t.TempDir()
	story.Env = append(append(os.Environ(), "KITCHEN="+kitchen, "HOME="+home, "TMPDIR="+t.TempDir()), env...)
	out, err := story.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("STORY PASSED")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestWholeStoryIsTheSharedOne compares the copy with the original, where that
// is at hand.
func TestWholeStoryIsTheSharedOne(t *testing.T) {
	original := filepath.Join("..", "..", "..", "shared", "stories", "whole-story.sh")
	want, err := os.ReadFile(original)
	if err != nil {
		t.Skipf("NOT compared with the original story, which is not beside this checkout: %v", err)
	}
	got, err := os.ReadFile(wholeStory)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from %s; the story is a contract: copy it again, do not edit it", wholeStory, original)
	}
}

// TestDemo plays `make demo` and looks at how it ends.
func TestDemo(t *testing.T) {
	t.Parallel()
	kitchen, err := exec.LookPath("kitchen")
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	demo := exec.Command("sh", filepath.Join("..", "..", "testdata", "demo", "demo.sh"))
	demo.Env = append(os.Environ(), "KITCHEN="+kitchen, "HOME="+temp, "TMPDIR="+temp)
	out, err := demo.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tail := out[bytes.LastIndex(out, []byte("== ")):]
	for _, want := range []string{"hello-cloud@1.0.0  ready-to-deploy", "acme/prod", "deployed", "READY  hello-cloud@1.0.0"} {
		if !bytes.Contains(tail, []byte(want)) {
			t.Errorf("the demo does not end with %q:\n%s", want, tail)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("the demo left %s behind", entry.Name())
	}
}
