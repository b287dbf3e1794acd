package publisher_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// image is stored in chunks; edits change it here and there.
func image(edits int) string {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 9<<20)
	for i := range b {
		b[i] = "abcdefghijklmnop"[r.IntN(16)]
	}
	for i := range edits {
		copy(b[(i+1)*(len(b)/(edits+1)):], fmt.Sprintf("edited in place %d", i))
	}
	return string(b)
}

func (w *world) manifestOf(t *testing.T, r string) *manifest.Manifest {
	t.Helper()
	m, _, err := w.view(t).Manifest(ctx, release(r))
	check(t, err)
	return m
}

func (w *world) blobFile(sha string) string {
	return filepath.Join(w.dir, filepath.FromSlash(manifest.BlobObject(sha)))
}

// wantContent fetches an artifact as a reader would, from seed.
func (w *world) wantContent(t *testing.T, a *manifest.Artifact, seed, want string) *transfer.Sources {
	t.Helper()
	x, err := transfer.ReadIndex(ctx, w.store, a)
	check(t, err)
	part, err := os.Create(filepath.Join(t.TempDir(), "part"))
	check(t, err)
	defer part.Close()
	j := &transfer.Job{Store: w.store, Artifact: a, Index: x, Scratch: t.TempDir(), Task: progress.Silent{}.Start("", 0)}
	if seed != "" {
		j.Seeds = []transfer.Seed{{Name: "seed", Size: int64(len(seed)), Open: func() (transfer.SeedReader, error) { return stringSeed{strings.NewReader(seed)}, nil }}}
	}
	sources, err := j.Assemble(ctx, part)
	check(t, err)
	check(t, transfer.Verify(ctx, part, a))
	got, err := os.ReadFile(part.Name())
	check(t, err)
	if string(got) != want {
		t.Error("other bytes than were published")
	}
	return sources
}

type stringSeed struct{ *strings.Reader }

func (stringSeed) Close() error { return nil }

func TestAnArtifactIsOneObjectOfFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	_, err := p.Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"images/disk.img": image(0), "small": "small"}), signers(w.engineer))
	check(t, err)
	m := w.manifestOf(t, "openstack@1.0.0")
	disk, small := &m.Artifacts[0], &m.Artifacts[1]
	if !disk.Chunked() || small.Chunked() || m.Marmite.Chunked() {
		t.Fatalf("chunked: %t, %t", disk.Chunked(), small.Chunked())
	}
	w.wantContent(t, disk, "", image(0))
	object, err := os.ReadFile(w.blobFile(disk.Stored.SHA256))
	check(t, err)
	z, err := zstd.NewReader(bytes.NewReader(object))
	check(t, err)
	defer z.Close()
	raw, err := io.ReadAll(z)
	if err != nil || string(raw) != image(0) {
		t.Errorf("the object is not its artifact to zstd: %v", err)
	}
	if name, err := exec.LookPath("zstd"); err == nil {
		out, err := exec.Command(name, "-d", "-c", w.blobFile(disk.Stored.SHA256)).Output()
		if err != nil || string(out) != image(0) {
			t.Errorf("zstd -d gives other bytes: %v", err)
		}
	}
}

// TestWhatWasTakenBackIsNotShared: a release that was recalled or yanked may have been a thief's, and its object no good.
func TestWhatWasTakenBackIsNotShared(t *testing.T) {
	t.Parallel()
	for name, takeBack := range map[string]func(w *world, p *publisher.Publisher) (*publisher.Outcome, error){
		"recalled": func(w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.Recall(ctx, release("openstack@1.0.0"), "stolen", signers(w.engineer))
		},
		"yanked": func(w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.Yank(ctx, release("openstack@1.0.0"), "stolen", signers(w.engineer))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.publisher(t, w.online)
			files := map[string]string{"disk": image(0)}
			_, err := p.Publish(ctx, source(t, "openstack@1.0.0", files), signers(w.engineer))
			check(t, err)
			stored := func() bool {
				t.Helper()
				plan, err := p.Plan(ctx, source(t, "openstack@2.0.0", files))
				check(t, err)
				return plan.Artifacts[1].Stored
			}
			if !stored() {
				t.Error("it is not shared before")
			}
			_, err = takeBack(w, p)
			check(t, err)
			if stored() {
				t.Error("it is shared still")
			}
			_, err = p.Publish(ctx, source(t, "openstack@2.0.0", files), signers(w.engineer))
			check(t, err)
			w.wantContent(t, &w.manifestOf(t, "openstack@2.0.0").Artifacts[0], "", image(0))
		})
	}
}

// TestADamagedEarlierObjectIsNotUsedAgain: frames that a store on this machine holds are taken only from what was signed.
func TestADamagedEarlierObjectIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	_, err := p.Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"disk": image(0)}), signers(w.engineer))
	check(t, err)
	name := w.blobFile(w.manifestOf(t, "openstack@1.0.0").Artifacts[0].Stored.SHA256)
	object, err := os.ReadFile(name)
	check(t, err)
	for i := 1000; i < len(object); i += 50_000 { // in every frame
		object[i] ^= 0x40
	}
	check(t, os.WriteFile(name, object, 0o600))
	_, err = p.Publish(ctx, source(t, "openstack@2.0.0", map[string]string{"disk": image(1)}), signers(w.engineer))
	check(t, err)
	a := &w.manifestOf(t, "openstack@2.0.0").Artifacts[0]
	w.wantContent(t, a, "", image(1))
	if len(a.Deltas) != 0 {
		t.Error("a delta was made from damaged chunks")
	}
}

func TestUnpackedArtifacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var gz, xzs, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	x, err := xz.NewWriter(&xzs)
	check(t, err)
	z, err := zstd.NewWriter(&zs)
	check(t, err)
	for _, c := range []io.WriteCloser{g, z} {
		_, err := io.WriteString(c, image(0))
		check(t, err)
		check(t, c.Close())
	}
	_, err = io.WriteString(x, image(0)[:5<<20]) // it is slow
	check(t, err)
	check(t, x.Close())
	dir := source(t, "openstack@1.0.0", map[string]string{"a.tar.gz": gz.String(), "b.img.xz": xzs.String(), "c.tzst": zs.String()})
	spec, err := os.ReadFile(filepath.Join(dir, "product.toml"))
	check(t, err)
	packedToml := strings.ReplaceAll(string(spec), "[[artifact]]\n", "[[artifact]]\nunpack = true\n")
	write(t, filepath.Join(dir, "product.toml"), packedToml)
	p := w.publisher(t, w.online)
	_, err = p.Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	m := w.manifestOf(t, "openstack@1.0.0")
	for i, want := range []string{"a.tar", "b.img", "c.tar"} {
		if m.Artifacts[i].Path != want {
			t.Errorf("artifact %d: %+v", i, m.Artifacts[i])
		}
	}
	if m.Artifacts[2].Stored != m.Artifacts[0].Stored {
		t.Error("equal artifacts are two objects")
	}
	w.wantContent(t, &m.Artifacts[0], "", image(0))
	w.wantContent(t, &m.Artifacts[1], "", image(0)[:5<<20])
	if out, err := p.Publish(ctx, dir, signers(w.engineer)); err != nil || out.Status != publisher.Unchanged {
		t.Errorf("again: %+v, %v", out, err)
	}
	for name, content := range map[string]string{"cut": gz.String()[:gz.Len()/2], "no gzip": "nothing", "followed by something": gz.String() + "more"} {
		bad := source(t, "openstack@2.0.0", map[string]string{"a.tar.gz": content})
		spec, err := os.ReadFile(filepath.Join(bad, "product.toml"))
		check(t, err)
		write(t, filepath.Join(bad, "product.toml"), strings.ReplaceAll(string(spec), "[[artifact]]\n", "[[artifact]]\nunpack = true\n"))
		_, err = p.Publish(ctx, bad, signers(w.engineer))
		if err == nil {
			t.Errorf("%s: published", name)
			continue
		}
		if bad := wantError[*publisher.Source](t, err, "a.tar.gz: cannot be unpacked: it is no gzip file, or broken ("); !strings.Contains(bad.Hint(), "take unpack = true out of product.toml") {
			t.Errorf("%s: hint %q", name, bad.Hint())
		}
	}
	// Compressed and left so: said, with what it costs.
	for i, want := range []string{"whoever has an earlier one moves", "whoever has 3.0.0 moves"} {
		gz.Reset()
		g.Reset(&gz)
		_, err := io.WriteString(g, image(i))
		check(t, err)
		check(t, g.Close())
		out, err := p.Publish(ctx, source(t, fmt.Sprintf("openstack@%d.0.0", 3+i), map[string]string{"a.tar.gz": gz.String()}), signers(w.engineer))
		check(t, err)
		if text := strings.Join(out.Summary, "\n"); !strings.Contains(text, want) || !strings.Contains(text, "unpack = true") {
			t.Errorf("not said: %s", text)
		}
	}
}

// TestWhatIsStoredIsNotMadeAgain counts what goes up, and what is read.
func TestWhatIsStoredIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	faults := storagetest.NewFaults(t, w.store)
	p := w.over(t, faults, w.online)
	p.Cache = t.TempDir()
	dir := source(t, "openstack@1.0.0", map[string]string{"disk": image(0)})
	_, err := p.Publish(ctx, dir, signers(w.engineer))
	check(t, err)
	next := func(version string) *publisher.Outcome {
		t.Helper()
		spec, err := os.ReadFile(filepath.Join(dir, "product.toml"))
		check(t, err)
		lines := strings.SplitN(string(spec), "\n", 3)
		write(t, filepath.Join(dir, "product.toml"), lines[0]+"\nversion = \""+version+"\"\n"+lines[2])
		out, err := p.Publish(ctx, dir, signers(w.engineer))
		check(t, err)
		return out
	}
	heard := &labels{}
	p.Progress = heard
	next("2.0.0")
	if heard.has("packing disk") || heard.has("uploading disk") || !heard.has("reading disk") {
		t.Errorf("an unchanged artifact: %q", heard.list)
	}
	*heard = labels{}
	p.Packing.TrustCache = true
	next("3.0.0")
	if heard.has("packing disk") || heard.has("reading disk") {
		t.Errorf("a trusted one: %q", heard.list)
	}
	*heard = labels{}
	if out := next("3.0.0"); heard.has("reading disk") || out.Status != publisher.Unchanged {
		t.Errorf("a trusted one that is published: %q, %s", heard.list, out.Status)
	}
	if a := w.manifestOf(t, "openstack@3.0.0").Artifacts[0]; a.Stored != w.manifestOf(t, "openstack@1.0.0").Artifacts[0].Stored {
		t.Errorf("another object: %+v", a)
	}
	// Other bytes with the old size and time: the inode's change gives it away, cache or not.
	name := filepath.Join(dir, "disk")
	info, err := os.Stat(name)
	check(t, err)
	time.Sleep(20 * time.Millisecond) // file systems keep the time of change in ticks
	check(t, os.WriteFile(name, []byte(image(1)), 0o644))
	check(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
	*heard = labels{}
	next("4.0.0")
	if !heard.has("packing disk") {
		t.Errorf("changed behind the clock: %q", heard.list)
	}
	w.wantContent(t, &w.manifestOf(t, "openstack@4.0.0").Artifacts[0], "", image(1))
	// A cache of garbage costs time only.
	entries, err := os.ReadDir(p.Cache)
	check(t, err)
	for _, e := range entries {
		write(t, filepath.Join(p.Cache, e.Name()), "garbage")
	}
	check(t, os.WriteFile(name, []byte(image(2)), 0o644))
	next("5.0.0")
	w.wantContent(t, &w.manifestOf(t, "openstack@5.0.0").Artifacts[0], image(1), image(2))
}

// labels remembers what was begun.
type labels struct{ list, notes []string }

func (l *labels) Start(label string, _ int64) progress.Task {
	l.list = append(l.list, label)
	return progress.Silent{}.Start(label, 0)
}
func (l *labels) Note(text string) { l.notes = append(l.notes, text) }
func (l *labels) has(label string) bool {
	for _, have := range l.list {
		if strings.HasPrefix(have, label) {
			return true
		}
	}
	return false
}

// prose is an image that compresses the better, the harder one tries; edits replace parts of it.
func prose(edits uint64) string {
	words := make([]string, 4000)
	r := rand.New(rand.NewPCG(7, 7))
	for i := range words {
		words[i] = fmt.Sprintf("w%x ", r.Uint64()>>(8*r.IntN(7)))
	}
	text := func(seed uint64, size int) []byte {
		r, b := rand.New(rand.NewPCG(seed, seed)), make([]byte, 0, size+200)
		for len(b) < size {
			at := r.IntN(len(words) - 3)
			b = append(b, strings.Join(words[at:at+1+r.IntN(3)], "")...)
		}
		return b[:size]
	}
	b := text(0, 8<<20)
	for i := range edits {
		copy(b[2*i<<20:], text(i+1, 1<<20))
	}
	return string(b)
}

// What is new in a release is packed harder than what the first one held; whichever is lost, the same files give it back.
func TestLostObjectsOfEveryReleaseComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dirs := map[string]string{}
	for i, r := range []string{"openstack@1.0.0", "openstack@2.0.0", "openstack@3.0.0"} {
		dirs[r] = source(t, r, map[string]string{"disk": prose(uint64(i))})
		mustCommit(t)(w.publisher(t, w.online).Publish(ctx, dirs[r], signers(w.engineer)))
	}
	first, second := w.manifestOf(t, "openstack@1.0.0").Artifacts[0], w.manifestOf(t, "openstack@2.0.0").Artifacts[0]
	if first.Size != second.Size || second.Stored.Size >= first.Stored.Size {
		t.Errorf("stored as %d, then %d with a part that is packed harder", first.Stored.Size, second.Stored.Size)
	}
	for r, dir := range dirs {
		a := w.manifestOf(t, r).Artifacts[0]
		check(t, os.Remove(w.blobFile(a.Stored.SHA256)))
		must(t, publisher.Unchanged)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
		w.wantBlobs(t, w.manifestOf(t, r))
	}
}
