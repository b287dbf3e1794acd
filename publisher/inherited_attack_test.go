package publisher_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// forged has a stolen engineer's key publish a release that is like another but for what its one artifact is stored as.
func (w *world) forged(t *testing.T, like, version string, engineer key, change func(a *manifest.Artifact)) {
	t.Helper()
	m := w.manifestOf(t, like)
	m.Version = version
	change(&m.Artifacts[0])
	data, err := m.Encode()
	check(t, err)
	path := manifest.TargetPath(manifest.StageCatalog, m.Release())
	w.put(t, manifest.TargetObject(path, catalogtest.Digest(data)), data)
	w.force(t, manifest.RoleProduct(m.Product), func(role *trust.Targets) {
		role.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data), Custom: map[string]string{catalog.CustomSeq: "2"}}
	}, engineer)
}

// blob stores bytes, and gives their name.
func (w *world) blob(t *testing.T, data []byte) manifest.Object {
	t.Helper()
	o := manifest.Object{SHA256: catalogtest.Digest(data), Size: int64(len(data))}
	w.put(t, manifest.BlobObject(o.SHA256), data)
	return o
}

// wantStream reads an artifact as readers do that have nothing.
func (w *world) wantStream(t *testing.T, r, want string) {
	t.Helper()
	s, err := transfer.Open(ctx, w.store, &w.manifestOf(t, r).Artifacts[0], progress.Silent{}.Start("", 0))
	check(t, err)
	defer s.Close()
	if got, err := io.ReadAll(s); err != nil || string(got) != want {
		t.Errorf("%s: %d bytes, %v", r, len(got), err)
	}
}

// TestAForgedObjectWithoutAnIndexIsNotInherited: a stolen engineer's key publishes a release whose artifact has the raw digest of the
// vendor's, and is stored as an object of other bytes, without an index. Honest releases of the same artifact can be fetched, before
// the forged one is recalled and after, in a directory and over a network.
func TestAForgedObjectWithoutAnIndexIsNotInherited(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"small": "#!/bin/sh\n" + strings.Repeat("install\n", 1000), "large": image(0)} {
		for place, over := range map[string]func(storage.Store) storage.Store{"directory": func(s storage.Store) storage.Store { return s },
			"network": func(s storage.Store) storage.Store { return overNetwork{s} }} {
			t.Run(name+" in a "+place, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				p := w.over(t, over(w.store), w.online)
				publish := func(r string) {
					t.Helper()
					_, err := p.Publish(ctx, source(t, r, map[string]string{"file": content}), signers(w.engineer))
					check(t, err)
					w.wantStream(t, r, content)
				}
				publish("openstack@1.0.0")
				evil := w.blob(t, []byte("what a thief would run"))
				w.forged(t, "openstack@1.0.0", "1.1.0", w.colleague, func(a *manifest.Artifact) {
					a.Stored, a.Index, a.Deltas = manifest.Stored{SHA256: evil.SHA256, Size: evil.Size, Encoding: manifest.EncodingZstd}, manifest.Object{}, nil
				})
				publish("openstack@1.2.0")
				_, err := p.Recall(ctx, release("openstack@1.1.0"), "stolen", signers(w.engineer))
				check(t, err)
				publish("openstack@1.3.0")
			})
		}
	}
}

// TestWhatInheritedAForgedObjectIsNotBelieved: over a network an honest release shared, by its raw digest, the object in chunks that a
// stolen key stored, before that release was recalled. What the recalled one names nobody shares afterwards.
func TestWhatInheritedAForgedObjectIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.over(t, overNetwork{w.store}, w.online)
	publish := func(r string) *manifest.Artifact {
		t.Helper()
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": image(0)}), signers(w.engineer))
		check(t, err)
		return &w.manifestOf(t, r).Artifacts[0]
	}
	publish("openstack@1.0.0")
	w.forged(t, "openstack@1.0.0", "1.1.0", w.colleague, func(a *manifest.Artifact) {
		object := w.object(t, manifest.BlobObject(a.Stored.SHA256))
		a.Stored.SHA256 = w.blob(t, append([]byte{object[0] ^ 1}, object[1:]...)).SHA256
	})
	inherited := publish("openstack@1.2.0")
	_, err := p.Recall(ctx, release("openstack@1.1.0"), "stolen", signers(w.engineer))
	check(t, err)
	a := publish("openstack@1.3.0")
	if a.Stored == inherited.Stored {
		t.Error("it is shared still")
	}
	w.wantContent(t, a, "", image(0))
}

// TestWhatAnotherProductPackedBadlyIsNotShared: all who fetch would pay for it.
func TestWhatAnotherProductPackedBadlyIsNotShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	publish := func(r string, by key) *manifest.Artifact {
		t.Helper()
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": image(0)}), signers(by))
		check(t, err)
		return &w.manifestOf(t, r).Artifacts[0]
	}
	plain := publish("openstack@0.1.0", w.engineer)
	publish("ceph@1.0.0", w.cephEngineer)
	w.forged(t, "ceph@1.0.0", "1.1.0", w.cephEngineer, func(a *manifest.Artifact) {
		x, err := chunk.ParseIndex(w.object(t, manifest.BlobObject(a.Index.SHA256)))
		check(t, err)
		var object []byte
		at := 0
		for i, c := range x {
			frame := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 2<<6 | 1<<5}, uint32(c.Raw))
			for raw := []byte(image(0))[at : at+c.Raw]; len(raw) > 0; {
				n := min(len(raw), 128<<10)
				head := uint32(n) << 3
				if n == len(raw) {
					head |= 1
				}
				frame, raw = append(append(frame, byte(head), byte(head>>8), byte(head>>16)), raw[:n]...), raw[n:]
			}
			at, x[i].Stored, object = at+c.Raw, len(frame), append(object, frame...)
		}
		index, err := x.Encode()
		check(t, err)
		stored := w.blob(t, object)
		a.Stored.SHA256, a.Stored.Size, a.Index, a.Deltas = stored.SHA256, stored.Size, w.blob(t, index), nil
	})
	_, err := w.publisher(t, w.online).Yank(ctx, release("openstack@0.1.0"), "so that its own is not shared", signers(w.engineer))
	check(t, err)
	_, err = w.publisher(t, w.online).Yank(ctx, release("ceph@1.0.0"), "so that the other is", signers(w.cephEngineer))
	check(t, err)
	if a := publish("openstack@1.0.0", w.engineer); a.Stored.Size > plain.Stored.Size*5/4 {
		t.Errorf("stored as %d bytes, which take %d", a.Stored.Size, plain.Stored.Size)
	}
}

// padded is the object of an index with a frame that says nothing before each of its own.
func padded(object []byte, x chunk.Index) (out []byte, with chunk.Index) {
	for _, c := range x {
		frame := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0xe8, 0x03, 0, 0}, bytes.Repeat([]byte{'x'}, 1000)...)
		frame = append(frame, object[:c.Stored]...)
		object = object[c.Stored:]
		out, with = append(out, frame...), append(with, chunk.Chunk{SHA256: c.SHA256, Raw: c.Raw, Stored: len(frame)})
	}
	return out, with
}

// TestPaddedFramesAreNotInherited: frames of a stolen key that unpack to the right chunks, and carry a thousand bytes each besides, get
// into no honest release of the product, nor of another one.
func TestPaddedFramesAreNotInherited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	content := image(0)
	publish := func(r string, by key) *manifest.Artifact {
		t.Helper()
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": content}), signers(by))
		check(t, err)
		return &w.manifestOf(t, r).Artifacts[0]
	}
	plain := publish("openstack@1.0.0", w.engineer)
	w.forged(t, "openstack@1.0.0", "1.1.0", w.colleague, func(a *manifest.Artifact) {
		x, err := chunk.ParseIndex(w.object(t, manifest.BlobObject(a.Index.SHA256)))
		check(t, err)
		object, with := padded(w.object(t, manifest.BlobObject(a.Stored.SHA256)), x)
		index, err := with.Encode()
		check(t, err)
		stored := w.blob(t, object)
		a.Stored.SHA256, a.Stored.Size, a.Index, a.Deltas = stored.SHA256, stored.Size, w.blob(t, index), nil
	})
	for _, a := range []*manifest.Artifact{publish("openstack@1.2.0", w.engineer), publish("ceph@1.0.0", w.cephEngineer)} {
		if a.Stored.Size > plain.Stored.Size {
			t.Errorf("stored as %d bytes, which take %d", a.Stored.Size, plain.Stored.Size)
		}
	}
}

// terabyte is an index, and the start of an object, of a tebibyte of zeros behind one true chunk.
func terabyte(t *testing.T, first chunk.Chunk, frame []byte) (x chunk.Index, object []byte) {
	t.Helper()
	codec, err := chunk.NewCodec(zstd.SpeedFastest, 1)
	check(t, err)
	zeros := codec.Encode(nil, make([]byte, chunk.Max))
	x, object = append(x, first), append(object, frame...)
	for range 1 << 10 { // a GiB is enough to be seen
		x = append(x, chunk.Chunk{SHA256: chunk.Sum(make([]byte, chunk.Max)), Raw: chunk.Max, Stored: len(zeros)})
		object = append(object, zeros...)
	}
	return x, object
}

// TestAnEarlierObjectThatClaimsToUnpackToMuch: a stolen key publishes an object of kilobytes that unpacks to a great deal, under the
// path and under the raw digest of what others publish. None of them unpacks it.
func TestAnEarlierObjectThatClaimsToUnpackToMuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	p.Cache = t.TempDir() // so that honest objects have seals, and are not read
	content := image(0)
	publish := func(r, content string, by key) {
		t.Helper()
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": content}), signers(by))
		check(t, err)
	}
	publish("ceph@1.0.0", content, w.cephEngineer)
	publish("openstack@1.0.0", image(3), w.engineer)
	for _, forge := range []struct {
		like string
		by   key
		raw  bool
	}{{"openstack@1.0.0", w.colleague, true}, {"ceph@1.0.0", w.cephEngineer, false}} {
		w.forged(t, forge.like, "1.1.0", forge.by, func(a *manifest.Artifact) {
			honest, err := chunk.ParseIndex(w.object(t, manifest.BlobObject(a.Index.SHA256)))
			check(t, err)
			x, object := terabyte(t, honest[0], w.object(t, manifest.BlobObject(a.Stored.SHA256))[:honest[0].Stored])
			index, err := x.Encode()
			check(t, err)
			a.Size, _ = x.Sizes()
			if stored := w.blob(t, object); forge.raw {
				a.SHA256 = catalogtest.Digest([]byte("never compared"))
				a.Stored.SHA256, a.Stored.Size, a.Index = stored.SHA256, stored.Size, w.blob(t, index)
			} else {
				a.Stored.SHA256, a.Stored.Size, a.Index = stored.SHA256, stored.Size, manifest.Object{SHA256: catalogtest.Digest(index), Size: int64(len(index))}
			}
			a.Deltas = nil
		})
	}
	heard := &labels{}
	p.Progress = heard
	publish("openstack@1.2.0", content, w.engineer)
	if heard.has("reading what is stored for an earlier disk") {
		t.Errorf("it was unpacked: %q", heard.list)
	}
}

// TestAProductWhoseRoleIsDamagedStopsNoOther: sharing what another product stores only saves.
func TestAProductWhoseRoleIsDamagedStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.publisher(t, w.online).Publish(ctx, source(t, "ceph@1.0.0", map[string]string{"disk": image(0)}), signers(w.cephEngineer))
	check(t, err)
	w.flip(t, manifest.RoleObject(manifest.RoleProduct("ceph"), w.view(t).Snapshot().Roles[manifest.RoleProduct("ceph")].Version))
	_, err = w.publisher(t, w.online).Publish(ctx, source(t, "openstack@1.0.0", map[string]string{"disk": image(1)}), signers(w.engineer))
	check(t, err)
}

// TestWhatAnotherProductTookBackIsNotShared, even where it holds what it should.
func TestWhatAnotherProductTookBackIsNotShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	publish := func(r string, edits uint64, by key) *manifest.Artifact {
		t.Helper()
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": prose(edits)}), signers(by))
		check(t, err)
		return &w.manifestOf(t, r).Artifacts[0]
	}
	publish("ceph@1.0.0", 0, w.cephEngineer)
	theirs := publish("ceph@2.0.0", 2, w.cephEngineer)
	publish("openstack@1.0.0", 1, w.engineer)
	_, err := p.Recall(ctx, release("ceph@2.0.0"), "stolen", signers(w.cephEngineer))
	check(t, err)
	if mine := publish("openstack@2.0.0", 2, w.engineer); mine.Stored == theirs.Stored {
		t.Error("it is shared")
	}
}

// TestManifestsAreReadOnce: what they say of artifacts is kept beside the cache, and no publication asks for them again.
func TestManifestsAreReadOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	faults := storagetest.NewFaults(t, w.store)
	cache := t.TempDir()
	publish := func(r string, edits int, by key) {
		t.Helper()
		p := w.over(t, faults, w.online) // with nothing in its state
		p.Cache = cache
		_, err := p.Publish(ctx, source(t, r, map[string]string{"disk": image(edits)}), signers(by))
		check(t, err)
	}
	publish("openstack@1.0.0", 2, w.engineer)
	publish("openstack@1.1.0", 3, w.engineer)
	before := len(faults.Calls())
	publish("openstack@1.2.0", 4, w.engineer)
	read := map[string]bool{}
	for _, c := range faults.Calls()[before:] {
		if strings.HasPrefix(c.Key, "targets/catalog/openstack/") && c.Op == "open" {
			read[strings.Split(c.Key, "/")[3]] = true
		}
	}
	kept, err := filepath.Glob(filepath.Join(cache, "*.artifacts"))
	if err != nil || len(kept) != 2 || read["1.0.0"] || !read["1.1.0"] {
		t.Errorf("%v: read %v, kept %q", err, read, kept)
	}
	check(t, os.WriteFile(kept[0], []byte("null"), 0o600)) // it is read anew
	publish("openstack@1.3.0", 5, w.engineer)
	if data, err := os.ReadFile(kept[0]); err != nil || len(data) < 100 {
		t.Errorf("%q, %v", data, err)
	}
}
