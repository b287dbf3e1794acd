package manifest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTreeGolden pins the bytes of the canonical tar: releases that are
// published stay verifiable only while they never change.
func TestTreeGolden(t *testing.T) {
	data := sampleTar(t)
	sum := sha256.Sum256(data)
	golden(t, "tree.sha256", []byte(hex.EncodeToString(sum[:])+"\n"))
	size, err := TreeSize(sampleTree())
	if err != nil || size != int64(len(data)) {
		t.Errorf("TreeSize = %d, %v; the tar has %d bytes", size, err, len(data))
	}
}

func TestTreeRoundTrip(t *testing.T) {
	data := sampleTar(t)
	var order []string
	err := ReadTree(bytes.NewReader(data), sampleTree(), func(f TreeFile, content io.Reader) error {
		order = append(order, f.Path)
		have, err := io.ReadAll(content)
		if string(have) != sampleContents[f.Path] {
			t.Errorf("%s: %q", f.Path, have)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(order) != len(sampleTree()) {
		t.Errorf("put saw %q", order)
	}
}

// TestTarUnpacks asks the system's tar, and the standard library's reader.
func TestTarUnpacks(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(sampleTar(t)))
	for range sampleTree() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("NOT unpacked with a stock tar: there is none on this machine")
	}
	dir := t.TempDir()
	cmd := exec.Command("tar", "xf", "-")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(sampleTar(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for path, want := range sampleContents {
		have, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(have) != want {
			t.Errorf("%s: %q, %v", path, have, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "apply")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Error("apply is not executable")
	}
	if to, err := os.Readlink(filepath.Join(dir, "current")); err != nil || to != "modules/ünïcode" {
		t.Error(to, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "empty")); err != nil || !info.IsDir() {
		t.Error("no empty directory")
	}
}

func TestWriteTreeNoticesChangedFiles(t *testing.T) {
	for name, text := range map[string]string{"grown": sampleContents["apply"] + "more", "shrunk": "#!", "changed": "#!/bin/ZZ\n"} {
		err := WriteTree(io.Discard, sampleTree(), func(path string) (io.ReadCloser, error) {
			if path == "apply" {
				return io.NopCloser(strings.NewReader(text)), nil
			}
			return openSample(path)
		})
		if _, ok := errors.AsType[*ContentError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := errors.New("gone")
	if err := WriteTree(io.Discard, sampleTree(), func(string) (io.ReadCloser, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// TestTarAttacks changes the archive under a signed list: other names, other
// modes, smuggled entries, another content.
func TestTarAttacks(t *testing.T) {
	good := sampleTar(t)
	drop := func(TreeFile, io.Reader) error { return nil } // reads nothing: the rest must be checked all the same
	if err := ReadTree(bytes.NewReader(good), sampleTree(), drop); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if i%37 != 0 && i > 1024 { // every byte of the first header and file, a sample of the others
			continue
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if err := ReadTree(bytes.NewReader(bad), sampleTree(), drop); err == nil {
			t.Errorf("a flipped bit in byte %d is not noticed", i)
		}
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "cut short": good[:len(good)-1], "cut in a file": good[:700], "longer": append(bytes.Clone(good), 0),
		"two archives": append(bytes.Clone(good), good...),
	} {
		if err := ReadTree(bytes.NewReader(bad), sampleTree(), drop); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	fewer := sampleTree()[:3]
	if err := ReadTree(bytes.NewReader(good), fewer, drop); err == nil {
		t.Error("smuggled entries accepted")
	}
	stop := errors.New("disk full")
	if err := ReadTree(bytes.NewReader(good), sampleTree(), func(TreeFile, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestBadTrees(t *testing.T) {
	x := digest("x")
	for name, files := range map[string][]TreeFile{
		"unsorted":                 {{Path: "b", SHA256: x}, {Path: "a", SHA256: x}},
		"twice":                    {{Path: "a", SHA256: x}, {Path: "a", SHA256: x}},
		"collision by case":        {{Path: "A", SHA256: x}, {Path: "a", SHA256: x}},
		"collision of directories": {{Path: "A/x", SHA256: x}, {Path: "a/y", SHA256: x}},
		"collision by composition": {{Path: "u\u0308", SHA256: x}, {Path: "ü", SHA256: x}},
		"file below a file":        {{Path: "a", SHA256: x}, {Path: "a/b", SHA256: x}},
		"file below a link":        {{Path: "a", Link: "b"}, {Path: "a/c", SHA256: x}},
		"file below an empty one":  {{Path: "a/"}, {Path: "a/b", SHA256: x}},
		"file and directory":       {{Path: "a", SHA256: x}, {Path: "a/"}},
		"root itself":              {{Path: "/"}},
		"absolute":                 {{Path: "/a", SHA256: x}},
		"dotdot":                   {{Path: "../a", SHA256: x}},
		"no digest":                {{Path: "a"}},
		"negative size":            {{Path: "a", SHA256: x, Size: -1}},
		"sum overflows":            {{Path: "a", SHA256: x, Size: MaxObjectSize}, {Path: "b", SHA256: x, Size: MaxObjectSize}},
		"directory with size":      {{Path: "a/", Size: 1}},
		"executable link":          {{Path: "a", Link: "b", Executable: true}},
		"directory with link":      {{Path: "a/", Link: "b"}},
		"link out":                 {{Path: "a", Link: "../b"}},
		"link out, deeper":         {{Path: "a/b", Link: "../../c"}},
		"link up and in":           {{Path: "a/b", Link: "../../tree/c"}},
		"absolute link":            {{Path: "a", Link: "/etc/passwd"}},
		"link through a link":      {{Path: "a/b/c", Link: "../.."}, {Path: "a/b/d", Link: "c/../../x"}},
		"link with a dot":          {{Path: "a", Link: "./b"}},
		"link with a slash":        {{Path: "a", Link: "b/"}},
		"link with NUL":            {{Path: "a", Link: "b\x00c"}},
		"link with a backslash":    {{Path: "a", Link: "..\\b"}},
	} {
		if _, err := TreeSize(files); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := WriteTree(io.Discard, files, openSample); err == nil {
			t.Errorf("%s: written", name)
		}
		if err := ReadTree(bytes.NewReader(nil), files, nil); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	for name, files := range map[string][]TreeFile{
		"links inside":    {{Path: "a/b", Link: ".."}, {Path: "a/c", Link: "../d/e"}, {Path: "a/d", Link: "."}, {Path: "a/e", Link: "../..f"}},
		"dots in names":   {{Path: "..a", SHA256: x}, {Path: "a..", SHA256: x}},
		"size over ustar": {{Path: "a", SHA256: x, Size: 1 << 34}},
	} {
		if _, err := TreeSize(files); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
