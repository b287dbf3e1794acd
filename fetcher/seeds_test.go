package fetcher

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

func oneImage(content string) catalogtest.Content {
	return catalogtest.Content{Files: map[string]string{"images/disk.img": content}}
}

// counted puts a counter before a host's store.
func (f *follower) counted() *blobCounter {
	c := &blobCounter{Store: f.Fetcher.Store}
	f.Fetcher.Store = c
	return c
}

// TestTheSecondNightlyRunMovesOnlyWhatChanged: what the last run left serves the next one, although its hook, or
// somebody else, changed it since.
func TestTheSecondNightlyRunMovesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	const hook = `sha256sum < "$KITCHEN_DIR/images/disk.img" >> sums; printf 'written by a hook' | dd of="$KITCHEN_DIR/images/disk.img" bs=1 seek=5000000 conv=notrunc 2>&1`
	w := newWorld(t)
	ready(w, "openstack@1.0.0", oneImage(disk(0)))
	kept, whole := at(t, w, "acme/staging", hook), at(t, w, "acme/prod", hook)
	whole.Transfer.NoSeeds = true
	kept.run(t, RunOptions{})
	whole.run(t, RunOptions{})
	ready(w, "openstack@2.0.0", oneImage(disk(2)))
	few, all := kept.counted(), whole.counted()
	kept.run(t, RunOptions{})
	if _, err := whole.Deploy(t.Context(), whole.view(t), release(t, "openstack@2.0.0"), DeployOptions{Fresh: true}); err != nil {
		t.Fatal(err)
	}
	if few.bytes == 0 || few.bytes > all.bytes/3 {
		t.Errorf("%d bytes moved, without a seed %d", few.bytes, all.bytes)
	}
	want := []string{digest(disk(0)), "-", digest(disk(2)), "-"}
	for _, f := range []*follower{kept, whole} {
		if got := f.line(t, "sums"); !slices.Equal(got, want) {
			t.Errorf("hooks saw %v, want %v", got, want)
		}
	}
	if seeds := names(t, filepath.Join(string(kept.siteDir(kept.Site.ID)), "seeds")); !slices.Contains(seeds, "openstack/images/disk.img") {
		t.Errorf("kept: %v", seeds)
	}
	if seeds := names(t, filepath.Join(string(whole.siteDir(whole.Site.ID)), "seeds")); len(seeds) > 0 {
		t.Errorf("kept, although it is not wanted: %v", seeds)
	}
	if held := kept.heldDirs("openstack"); len(held) != 1 || held[0].release.Version != "2.0.0" {
		t.Errorf("one directory counts as %v", held)
	}
}

func digest(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// TestASeedThatIsNoneIsANote: a wrong name, a pipe and a directory with other things cost nothing but a word.
func TestASeedThatIsNoneIsANote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", oneImage(disk(0)))
	dir := t.TempDir()
	pipe, missing, other := filepath.Join(dir, "pipe"), filepath.Join(dir, "missing"), filepath.Join(dir, "other")
	piped := filepath.Join(other, "images/disk.img")
	olds := filepath.Join(dir, "olds")
	for _, made := range []string{filepath.Dir(piped), olds} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{pipe, piped} {
		if err := syscall.Mkfifo(name, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(olds, "old.img"), []byte(disk(2)))
	write(t, filepath.Join(olds, "a-note"), []byte("v1"))
	said := &notes{}
	f := at(t, w, "acme/prod", "")
	f.Progress, f.Transfer.Seeds = said, []string{pipe, missing, other, olds}
	into := filepath.Join(dir, "live")
	if _, err := f.Fetch(t.Context(), f.view(t), m.Release(), into); err != nil {
		t.Fatal(err)
	}
	if err := f.VerifyFiles(t.Context(), m, into); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"seed " + pipe + " is left out: neither a file nor a directory", "seed " + missing + " is left out: no such file",
		"seed " + olds + ": nothing in it is called images/disk.img, so it saves nothing of that; name the file itself, such as " + olds + "/old.img"} {
		if !strings.Contains(strings.Join(said.lines, "\n"), want) {
			t.Errorf("not said: %q in %q", want, said.lines)
		}
	}
	if text := strings.Join(said.lines, "\n"); strings.Contains(text, "seed "+other+":") {
		t.Errorf("said of a directory that has the path: %q", text)
	}
}

// TestATreeIsASeedAsFarAsItsFilesAreThere: some were changed, one is a pipe now, some are gone, and nothing tells which
// release it is.
func TestATreeIsASeedAsFarAsItsFilesAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree := func(edits int, note string) catalogtest.Content {
		return catalogtest.Content{Trees: map[string]map[string]string{"puppet/": {
			"a-changed": strings.Repeat("a", 5000), "b-pipe": "was a file", "c-big": disk(edits), "d-gone": "gone", "site.pp": note}}}
	}
	first := ready(w, "openstack@1.0.0", tree(0, "node {}"))
	second := ready(w, "openstack@2.0.0", tree(2, "node { include x }"))
	f := at(t, w, "acme/prod", "")
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	whole, err := f.Fetch(t.Context(), f.view(t), first.Release(), one)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(one, "puppet/a-changed"), []byte(strings.Repeat("b", 5000)), 0o644),
		os.Remove(filepath.Join(one, "puppet/b-pipe")), syscall.Mkfifo(filepath.Join(one, "puppet/b-pipe"), 0o644),
		os.Remove(filepath.Join(one, "puppet/d-gone")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stranger := at(t, w, "acme/prod", "")
	stranger.Transfer.Seeds = []string{one}
	for name, f := range map[string]*follower{"held": f, "named": stranger} {
		result, err := f.Fetch(t.Context(), f.view(t), second.Release(), two+name)
		if err != nil {
			t.Fatal(err)
		}
		if result.Moved > whole.Moved/3 {
			t.Errorf("%s: moved %+v after %+v", name, result.Moves, whole.Moves)
		}
		if err := f.VerifyFiles(t.Context(), second, two+name); err != nil {
			t.Error(err)
		}
	}
}

// TestEqualArtifactsMoveOnce: an image that a release has under three names is one object, and moves once.
func TestEqualArtifactsMoveOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"a.img": disk(0), "other.img": disk(5)}})
	three := ready(w, "openstack@1.1.0", catalogtest.Content{Files: map[string]string{"a.img": disk(0), "b.img": disk(0), "deep/c.img": disk(0), "other.img": disk(5)}})
	dir := t.TempDir()
	whole, err := at(t, w, "acme/prod", "").Fetch(t.Context(), at(t, w, "acme/prod", "").view(t), one.Release(), filepath.Join(dir, "one"))
	if err != nil {
		t.Fatal(err)
	}
	f := at(t, w, "acme/prod", "")
	result, err := f.Fetch(t.Context(), f.view(t), three.Release(), filepath.Join(dir, "three"))
	if err != nil {
		t.Fatal(err)
	}
	if more := result.Moved - whole.Moved; more > 4096 || result.Local < 2*int64(len(disk(0))) {
		t.Errorf("moved %+v, of the same once %+v", result.Moves, whole.Moves)
	}
	if err := f.VerifyFiles(t.Context(), three, filepath.Join(dir, "three")); err != nil {
		t.Error(err)
	}
}

// TestAFileOfOneStreamIsCopiedFromASeed: a small one does not move where a seed has its name and size, if the bytes are
// the same.
func TestAFileOfOneStreamIsCopiedFromASeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, "openstack@1.0.0", catalogtest.Content{Files: map[string]string{"notes": "the same", "other": "other"}})
	dir := t.TempDir()
	for name, text := range map[string]string{"notes": "the same", "other": "ohter"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := at(t, w, "acme/prod", "")
	f.Transfer.Seeds = []string{dir}
	into := filepath.Join(t.TempDir(), "live")
	result, err := f.Fetch(t.Context(), f.view(t), m.Release(), into)
	if err != nil {
		t.Fatal(err)
	}
	if result.Local != int64(len("the same")) || result.Requests != 2 {
		t.Errorf("moves %+v", result.Moves)
	}
	if err := f.VerifyFiles(t.Context(), m, into); err != nil {
		t.Error(err)
	}
	var artifact *manifest.Artifact
	if artifact = artifactAt(m, "notes"); artifact == nil || artifact.Chunked() {
		t.Errorf("it is not one stream: %+v", artifact)
	}
}
