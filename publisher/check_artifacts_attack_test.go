package publisher_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// large is what is stored in chunks.
func large(seed uint64) string {
	b := make([]byte, 5<<20)
	chacha := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = chacha.Read(b)
	return string(b)
}

// listAsIs has a product list a manifest as it is.
func listAsIs(t *testing.T, w *catalogtest.World, m *manifest.Manifest) {
	t.Helper()
	data, err := m.Encode()
	check(t, err)
	w.Edit(manifest.RoleProduct(m.Product), func(role *trust.Targets) {
		path := manifest.TargetPath(manifest.StageCatalog, m.Release())
		role.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data), Custom: map[string]string{catalog.CustomSeq: "1"}}
		w.Put(manifest.TargetObject(path, catalogtest.Digest(data)), data)
	})
	w.Commit()
}

// TestCheckOfAnObjectThatUnpacksToOtherBytes: an engineer's key signed for an object that has its digest, and unpacks to other
// bytes than the manifest or its index says. Who reads the data finds it, and what is right is not accused.
func TestCheckOfAnObjectThatUnpacksToOtherBytes(t *testing.T) {
	t.Parallel()
	other := catalogtest.Digest([]byte("other"))
	for name, c := range map[string]struct {
		file   string
		change func(w *catalogtest.World, a *manifest.Artifact)
		want   string // words of the finding; "" for none
	}{
		"in one stream, right":    {"small\n", func(*catalogtest.World, *manifest.Artifact) {}, ""},
		"in chunks, right":        {large(1), func(*catalogtest.World, *manifest.Artifact) {}, ""},
		"in one stream, other":    {"small\n", func(_ *catalogtest.World, a *manifest.Artifact) { a.SHA256 = other }, "sha256: want " + other},
		"in one stream, longer":   {"small\n", func(_ *catalogtest.World, a *manifest.Artifact) { a.Size-- }, "size: want 5 bytes"},
		"in one stream, no zstd":  {"small\n", noZstd, "encoding: want valid zstd"},
		"in chunks, other":        {large(2), func(_ *catalogtest.World, a *manifest.Artifact) { a.SHA256 = other }, "of what its frames unpack to"},
		"in chunks, as one frame": {large(3), func(w *catalogtest.World, a *manifest.Artifact) { otherIndex(t, w, a, joined) }, "frame 1 of"},
		"in chunks, other index":  {large(4), func(w *catalogtest.World, a *manifest.Artifact) { otherIndex(t, w, a, exchanged) }, "frame 2 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := catalogtest.New(t)
			w.AddProduct("openstack")
			m := w.Manifest(release(v1), catalogtest.Content{Files: map[string]string{"disk": c.file}})
			c.change(w, &m.Artifacts[0])
			listAsIs(t, w, m)
			p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
			if r, err := p.Check(ctx, publisher.CheckRequest{}); err != nil || !r.Sound() {
				t.Fatalf("%v: %s", err, bad(r))
			}
			r, err := p.Check(ctx, publisher.CheckRequest{ReadData: true})
			check(t, err)
			if r.Checked.ReadBytes != r.Checked.BlobBytes {
				t.Errorf("read %d bytes of %d", r.Checked.ReadBytes, r.Checked.BlobBytes)
			}
			if c.want == "" {
				if bad(r) != "" {
					t.Errorf("what is right is accused: %s", bad(r))
				}
				return
			}
			object := manifest.BlobObject(m.Artifacts[0].Stored.SHA256)
			if got, want := bad(r), "fault artifact-mismatch "+object; got != want || !r.Untrusted {
				t.Fatalf("%s, want %s", got, want)
			}
			says(t, theFinding(t, r, object), v1+" says that it is artifact disk", c.want, "kitchen recall")
		})
	}
}

// noZstd stores something else than zstd under the name of an artifact.
func noZstd(w *catalogtest.World, a *manifest.Artifact) {
	object := []byte("this is no frame")
	a.Stored = manifest.Stored{SHA256: catalogtest.Digest(object), Size: int64(len(object)), Encoding: manifest.EncodingZstd}
	w.Put(manifest.BlobObject(a.Stored.SHA256), object)
}

// otherIndex stores another index for an artifact, and gives it that.
func otherIndex(t *testing.T, w *catalogtest.World, a *manifest.Artifact, change func(chunk.Index) chunk.Index) {
	t.Helper()
	x, err := chunk.ParseIndex(w.Object(manifest.BlobObject(a.Index.SHA256)))
	check(t, err)
	data, err := change(x).Encode()
	check(t, err)
	a.Index = manifest.Object{SHA256: catalogtest.Digest(data), Size: int64(len(data))}
	w.Put(manifest.BlobObject(a.Index.SHA256), data)
}

// joined says that the bytes of the first two frames are cut elsewhere.
func joined(x chunk.Index) chunk.Index { x[0].Stored--; x[1].Stored++; return x }

// exchanged says that the second chunk has other bytes.
func exchanged(x chunk.Index) chunk.Index { x[1].SHA256 = sha256.Sum256([]byte("other")); return x }

// TestCheckOfAnObjectWithManyClaims: whoever signs a thousand different things of one large object has it read a few times only.
func TestCheckOfAnObjectWithManyClaims(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	m := w.Manifest(release(v1), catalogtest.Content{Files: map[string]string{"disk": strings.Repeat("x", 100000)}})
	right := m.Artifacts[0]
	for i := range 50 {
		a := right
		a.Path, a.SHA256 = fmt.Sprintf("disk%02d", i), catalogtest.Digest([]byte{byte(i)})
		m.Artifacts = append(m.Artifacts, a)
	}
	m.Artifacts = append(m.Artifacts[1:], right)
	listAsIs(t, w, m)
	p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
	r, err := p.Check(ctx, publisher.CheckRequest{ReadData: true})
	check(t, err)
	if most := 8 * r.Checked.BlobBytes; r.Checked.ReadBytes > most || r.Sound() || !strings.Contains(r.Findings[len(r.Findings)-1].Why+r.Findings[0].Why, "43 were not tried") {
		t.Errorf("read %d bytes, more than %d: %+v", r.Checked.ReadBytes, most, r.Findings)
	}
}

// TestCheckOfALostIndex: the object is held to its digest all the same, and one fault is one finding.
func TestCheckOfALostIndex(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(w *catalogtest.World, a *manifest.Artifact) (want string){
		"the index is lost": func(w *catalogtest.World, a *manifest.Artifact) string {
			check(t, w.Store.Delete(ctx, manifest.BlobObject(a.Index.SHA256)))
			return "fault blob-missing " + manifest.BlobObject(a.Index.SHA256)
		},
		"the object is damaged": func(w *catalogtest.World, a *manifest.Artifact) string {
			key := manifest.BlobObject(a.Stored.SHA256)
			data := w.Object(key)
			data[len(data)/2] ^= 1
			check(t, w.Store.Delete(ctx, key))
			w.Put(key, data)
			return "fault blob-altered " + key
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := catalogtest.New(t)
			w.AddProduct("openstack")
			m := w.Publish(v1, catalogtest.Content{Files: map[string]string{"disk": large(5)}})
			want := harm(w, &m.Artifacts[0])
			p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
			r, err := p.Check(ctx, publisher.CheckRequest{ReadData: true})
			check(t, err)
			if bad(r) != want {
				t.Errorf("%s, want %s", bad(r), want)
			}
		})
	}
}

// TestCheckOfATreeWhoseListLies: the tar is what its digest says, and a file in it is not what the manifest says of it; whether the tree
// is compressed, or stored as it is, and whoever lists it as it is besides.
func TestCheckOfATreeWhoseListLies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ plain, lies bool }{"compressed": {false, true}, "as it is": {true, true}, "right": {false, false}, "right, as it is": {true, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := catalogtest.New(t)
			w.AddProduct("openstack")
			m := w.Manifest(release(v1), catalogtest.Content{Trees: map[string]map[string]string{"puppet/": {"a.pp": "one\n", "b.pp": "two\n"}}})
			a := &m.Artifacts[0]
			if c.plain {
				var tar bytes.Buffer
				check(t, manifest.WriteTree(&tar, a.Files, func(name string) (io.ReadCloser, error) {
					return io.NopCloser(strings.NewReader(map[string]string{"a.pp": "one\n", "b.pp": "two\n"}[name])), nil
				}))
				w.Put(manifest.BlobObject(a.SHA256), tar.Bytes())
				a.Stored = manifest.Stored{SHA256: a.SHA256, Size: a.Size, Encoding: manifest.EncodingIdentity}
			}
			want := ""
			if c.lies {
				a.Files[1].SHA256 = catalogtest.Digest([]byte("XXX\n"))
				want = "fault artifact-mismatch " + manifest.BlobObject(a.Stored.SHA256)
			}
			listAsIs(t, w, m)
			p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
			r, err := p.Check(ctx, publisher.CheckRequest{ReadData: true})
			check(t, err)
			if bad(r) != want {
				t.Errorf("%s, want %s", bad(r), want)
			}
		})
	}
}
