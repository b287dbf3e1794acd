package publisher_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// sample is a release with images and a tree.
var sample = map[string]string{
	"images/disk.img": strings.Repeat("image", 50_000), "images/noise.img": "\x01", "puppet/site.pp": "node default {}\n",
	"puppet/bin/apply": "#!/bin/sh\n", "puppet/empty": "",
}

func TestPublishTheFirstRelease(t *testing.T) {
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", sample)
	check(t, os.Chmod(filepath.Join(dir, "puppet/bin/apply"), 0o755))
	check(t, os.Symlink("site.pp", filepath.Join(dir, "puppet/link.pp")))
	out := mustCommit(t)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
	if len(out.Roles) != 2 || out.Roles[0].Role != "product.openstack" || out.Roles[1].Role != "recalled.openstack" || !out.Roles[0].Complete() {
		t.Errorf("the roles that changed: %+v", out.Roles)
	}
	v := w.view(t)
	info, err := v.Release(release("openstack@1.0.0"))
	check(t, err)
	if info.Stage != catalog.StagePublished || info.Seq != 1 {
		t.Errorf("published as %+v", info)
	}
	m, _, err := v.Manifest(ctx, info.Release)
	check(t, err)
	w.wantBlobs(t, m)
	tree := m.Artifacts[slices.IndexFunc(m.Artifacts, func(a manifest.Artifact) bool { return a.Path == "puppet/" })]
	var shown []string
	for _, f := range tree.Files {
		text := f.Path
		if f.Executable {
			text += "*"
		}
		if f.Link != "" {
			text += " -> " + f.Link
		}
		shown = append(shown, text)
	}
	if want := []string{"bin/apply*", "empty", "link.pp -> site.pp", "site.pp"}; !slices.Equal(shown, want) {
		t.Errorf("the tree holds %q, want %q", shown, want)
	}
}

// wantBlobs decodes every stored artifact and holds it to its digests.
func (w *world) wantBlobs(t *testing.T, m *manifest.Manifest) {
	t.Helper()
	for _, a := range append(m.Artifacts, m.Marmite) {
		raw := w.object(t, manifest.BlobObject(a.Stored.SHA256))
		if catalogtest.Digest(raw) != a.Stored.SHA256 || int64(len(raw)) != a.Stored.Size {
			t.Errorf("%s: the stored object is not what its name says", a.Path)
		}
		if a.Stored.Encoding == manifest.EncodingZstd {
			decoder, err := zstd.NewReader(nil)
			check(t, err)
			raw, err = decoder.DecodeAll(raw, nil)
			decoder.Close()
			check(t, err)
		}
		if catalogtest.Digest(raw) != a.SHA256 || int64(len(raw)) != a.Size {
			t.Errorf("%s: the raw bytes are not what the manifest says", a.Path)
		}
	}
}

func TestPublishGivesTheProductAnEmptyListOfRecalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	v := w.view(t)
	role, err := v.Role("recalled.openstack")
	check(t, err)
	if role.Version != 1 || len(role.Targets) != 0 {
		t.Fatalf("recalled.openstack is %+v", role)
	}
	if recall, err := v.Recall(release("openstack@1.0.0")); err != nil || recall != nil {
		t.Fatalf("recalled: %+v, %v", recall, err)
	}
	w.publish(t, "openstack@1.1.0")
	if role, err := w.view(t).Role("recalled.openstack"); err != nil || role.Version != 1 {
		t.Fatalf("signed again without need: %+v, %v", role, err)
	}
	w.now = w.now.Add(70 * catalogtest.Day) // less than a third of its life is left
	commit(t, w.publisher(t, w.online))
	w.publish(t, "openstack@1.2.0")
	if role, err := w.view(t).Role("recalled.openstack"); err != nil || role.Version != 2 {
		t.Fatalf("about to expire, and not signed again: %+v, %v", role, err)
	}
}

func TestPublishAgainWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", sample)
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
	for name, files := range map[string]string{"the same directory": dir, "a copy": source(t, "openstack@1.0.0", sample)} {
		for _, by := range []key{w.engineer, w.colleague} {
			faults := storagetest.NewFaults(t, w.store)
			must(t, publisher.Unchanged)(w.over(t, faults, w.online).Publish(ctx, files, signers(by)))
			if n := faults.Writes(); n > 0 {
				t.Errorf("%s again: %d writes", name, n)
			}
		}
	}
}

func TestPublishOtherBytesUnderTheSameVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", sample), signers(w.engineer)))
	for name, c := range map[string]struct {
		change func(dir string)
		says   string
	}{
		"a byte of a file":  {func(dir string) { write(t, filepath.Join(dir, "images/noise.img"), "\x02") }, "images/noise.img has other content"},
		"a byte of a tree":  {func(dir string) { write(t, filepath.Join(dir, "puppet/site.pp"), "node other {}\n") }, "puppet/site.pp has other content"},
		"an executable bit": {func(dir string) { check(t, os.Chmod(filepath.Join(dir, "puppet/empty"), 0o755)) }, "puppet/empty has other content"},
		"a file more":       {func(dir string) { write(t, filepath.Join(dir, "puppet/new"), "") }, "puppet/new is new"},
		"a file less":       {func(dir string) { check(t, os.Remove(filepath.Join(dir, "puppet/empty"))) }, "puppet/empty is gone"},
		"the marmite":       {func(dir string) { write(t, filepath.Join(dir, "marmite.yaml"), "roles: [x]\n") }, "marmite.yaml has other content"},
		"the summary":       {func(dir string) { edit(t, dir, "summary = \"release", "summary = \"Release") }, "summary is"},
		"the order": {func(dir string) {
			edit(t, dir, "images/disk.img", "images/x.img", "images/noise.img", "images/disk.img", "images/x.img", "images/noise.img")
		}, "order"},
		"the kind of a release": {func(dir string) { edit(t, dir, `kind = "initial"`, "kind = \"update\"\nfrom = [\"0.9.0\"]") }, "kind is"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := source(t, "openstack@1.0.0", sample)
			c.change(dir)
			faults := storagetest.NewFaults(t, w.store)
			_, err := w.over(t, faults, w.online).Publish(ctx, dir, signers(w.engineer))
			e := wantError[*publisher.Immutable](t, err, c.says)
			if faults.Writes() > 0 || e.Release != release("openstack@1.0.0") || e.Proposal != "" {
				t.Errorf("%d writes, %+v", faults.Writes(), e)
			}
			_, err = w.publisher(t, nil).Plan(ctx, dir)
			wantError[*publisher.Immutable](t, err, c.says)
		})
	}
}

// edit replaces text in product.toml, pair by pair.
func edit(t *testing.T, dir string, pairs ...string) {
	t.Helper()
	path := filepath.Join(dir, "product.toml")
	data, err := os.ReadFile(path)
	check(t, err)
	text := string(data)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("product.toml does not contain %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestPublishByAnybodyElseSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", sample)
	for name, by := range map[string][]key{"stranger": {w.stranger}, "engineer of another product": {w.cephEngineer}, "certifier": {w.certA},
		"root holder": {w.root[0]}, "site": {w.vendorCI}, "online key": {w.online}, "engineer and stranger": {w.engineer, w.stranger}} {
		t.Run(name, func(t *testing.T) {
			faults := storagetest.NewFaults(t, w.store)
			p := w.over(t, faults, w.online)
			p.Progress = failOnRead{t}
			_, err := p.Publish(ctx, dir, signers(by...))
			e := wantError[*publisher.NotAuthorized](t, err, "product.openstack", short(by[len(by)-1]))
			if faults.Writes() > 0 || !slices.Equal(e.Allowed, []string{short(w.engineer), short(w.colleague)}) {
				t.Errorf("%d writes, %+v", faults.Writes(), e)
			}
			_, err = p.Plan(ctx, dir, signers(by...)...)
			wantError[*publisher.NotAuthorized](t, err)
		})
	}
	_, err := w.publisher(t, w.online).Publish(ctx, dir, nil)
	wantError[*publisher.NoSigner](t, err, "product.openstack")
}

func TestPublishOfAnUnknownProduct(t *testing.T) {
	w := newWorld(t)
	faults := storagetest.NewFaults(t, w.store)
	_, err := w.over(t, faults, w.online).Publish(ctx, source(t, "swift@1.0.0", nil), signers(w.engineer))
	if e := wantError[*catalog.UnknownProduct](t, err); e.Product != "swift" || faults.Writes() > 0 {
		t.Errorf("%+v, %d writes", e, faults.Writes())
	}
}

func TestArtifactsThatReleasesShareAreUploadedOnce(t *testing.T) {
	w := newWorld(t)
	shared := strings.Repeat("shared", 20_000)
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"images/a.img": shared}), signers(w.engineer)))
	faults := storagetest.NewFaults(t, w.store)
	next := map[string]string{"images/b.img": shared, "images/c.img": shared, "images/new.img": strings.Repeat("new", 30_000), "images/twin.img": strings.Repeat("new", 30_000)}
	mustCommit(t)(w.over(t, faults, w.online).Publish(ctx, source(t, "openstack@1.1.0", next), signers(w.colleague)))
	var blobs []string
	for _, c := range faults.Calls() {
		if c.Op == "create" && strings.HasPrefix(c.Key, "blobs/") {
			blobs = append(blobs, c.Key)
		}
	}
	if len(blobs) != 1 {
		t.Errorf("went up: %q, want the one new blob", blobs)
	}
	m, _, err := w.view(t).Manifest(ctx, release("openstack@1.1.0"))
	check(t, err)
	w.wantBlobs(t, m)
}

func TestPublishSendsABlobAgainThatTheStoreLost(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"images/a.img": strings.Repeat("shared", 20_000)}
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", files), signers(w.engineer)))
	check(t, os.RemoveAll(filepath.Join(w.dir, "blobs")))
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.1.0", files), signers(w.engineer)))
	m, _, err := w.view(t).Manifest(ctx, release("openstack@1.1.0"))
	check(t, err)
	w.wantBlobs(t, m)
}

func TestPublishingAgainRestoresWhatTheStoreLost(t *testing.T) {
	w := newWorld(t)
	dir := source(t, "openstack@1.0.0", sample)
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
	check(t, os.RemoveAll(filepath.Join(w.dir, "blobs")))
	must(t, publisher.Unchanged)(w.publisher(t, w.online).Publish(ctx, dir, signers(w.engineer)))
	m, _, err := w.view(t).Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	w.wantBlobs(t, m)
}

func TestPlanSaysWhatPublishWouldDoAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shared := strings.Repeat("shared", 20_000)
	first := source(t, "openstack@1.0.0", map[string]string{"images/a.img": shared})
	faults := storagetest.NewFaults(t, w.store)
	p := w.over(t, faults, w.online)
	plan, err := p.Plan(ctx, first, signers(w.engineer)...)
	check(t, err)
	if plan.Release != release("openstack@1.0.0") || plan.Unchanged || len(plan.Roles) != 2 || plan.Roles[0].Role != "product.openstack" ||
		plan.Roles[0].Version != 1 || plan.Roles[0].Need != 1 || plan.Roles[1].Role != "recalled.openstack" {
		t.Errorf("plan of a first release: %+v", plan)
	}
	if !slices.Equal(plan.Roles[0].Keys, []string{short(w.engineer), short(w.colleague)}) || !slices.Equal(plan.Roles[0].Given, []string{short(w.engineer)}) {
		t.Errorf("its keys: %+v", plan.Roles[0])
	}
	mustCommit(t)(w.publisher(t, w.online).Publish(ctx, first, signers(w.engineer)))
	plan, err = p.Plan(ctx, source(t, "openstack@1.1.0", map[string]string{"images/b.img": shared, "puppet/x": "y", "puppet/z": ""}))
	check(t, err)
	var up, stored []string
	for _, a := range plan.Artifacts {
		if a.Stored {
			stored = append(stored, a.Path)
		} else {
			up = append(up, a.Path)
		}
	}
	if !slices.Equal(up, []string{"puppet/"}) || !slices.Equal(stored, []string{"marmite.yaml", "images/b.img"}) {
		t.Errorf("would go up: %q, are stored: %q", up, stored)
	}
	if a := plan.Artifacts[2]; a.Files != 2 || a.Kind != "configuration" || a.Size == 0 || len(a.SHA256) != 64 {
		t.Errorf("the tree: %+v", a)
	}
	if len(plan.Roles) != 1 || plan.Roles[0].Version != 2 || len(plan.Roles[0].Given) != 0 {
		t.Errorf("roles of the second release: %+v", plan.Roles)
	}
	if plan, err = p.Plan(ctx, first); err != nil || !plan.Unchanged || len(plan.Roles) != 0 {
		t.Errorf("plan of what is published: %+v, %v", plan, err)
	}
	if faults.Writes() > 0 {
		t.Errorf("a dry run wrote: %+v", faults.Calls())
	}
}

func TestVersionsThatDifferByCaseAlone(t *testing.T) {
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0-RC1")
	dir := source(t, "openstack@1.0.0-rc1", nil)
	faults := storagetest.NewFaults(t, w.store)
	_, err := w.over(t, faults, w.online).Publish(ctx, dir, signers(w.engineer))
	wantError[*publisher.Invalid](t, err, "case alone", "1.0.0-RC1")
	if faults.Writes() > 0 {
		t.Errorf("%d writes", faults.Writes())
	}
	_, err = w.publisher(t, nil).Plan(ctx, dir)
	wantError[*publisher.Invalid](t, err, "case alone")
}

func TestReleasesAreOrderedAsTheyWerePublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := []string{"2.0.0", "1.0.0", "1.5.0"}
	for _, version := range order {
		w.publish(t, "openstack@"+version)
	}
	all, err := w.view(t).Releases("openstack")
	check(t, err)
	for i, info := range all {
		if info.Version != order[i] || info.Seq != int64(i+1) {
			t.Errorf("place %d has %s, seq %d", i, info.Version, info.Seq)
		}
	}
	if len(all) != 3 {
		t.Errorf("%d releases", len(all))
	}
}

func TestPublishCompressesOnlyWhatGetsSmaller(t *testing.T) {
	w := newWorld(t)
	p := w.publisher(t, w.online)
	mustCommit(t)(p.Publish(ctx, source(t, "openstack@1.0.0", sample), signers(w.engineer)))
	m, _, err := w.view(t).Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	for _, a := range m.Artifacts {
		want := map[string]string{"images/disk.img": manifest.EncodingZstd, "images/noise.img": manifest.EncodingIdentity}[a.Path]
		if want != "" && a.Stored.Encoding != want {
			t.Errorf("%s is stored as %s", a.Path, a.Stored.Encoding)
		}
	}
	if left, err := os.ReadDir(p.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	if bytes.Contains(w.object(t, "metadata/1.product.openstack.json"), []byte("disk.img")) {
		t.Error("an artifact is listed in TUF metadata; only its manifest should be")
	}
}
