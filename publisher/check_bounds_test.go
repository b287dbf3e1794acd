package publisher_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// manyBlobs is a store that lists many blobs, needed and not, and counts what it is asked for.
type manyBlobs struct {
	storage.Store
	blobs         []storage.Info
	reads, stats  atomic.Int64
	before, after uint64 // bytes on the heap that are in use, before the check and when all is listed
}

func (s *manyBlobs) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	if prefix != "blobs/" {
		return s.Store.List(ctx, prefix, after)
	}
	return func(yield func(storage.Info, error) bool) {
		for _, o := range s.blobs {
			if !yield(o, nil) {
				return
			}
		}
		s.after = inUse()
	}
}

func (s *manyBlobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	s.reads.Add(1)
	return s.Store.Open(ctx, key, offset, length)
}

func (s *manyBlobs) Stat(ctx context.Context, key string) (storage.Info, error) {
	s.stats.Add(1)
	return s.Store.Stat(ctx, key)
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCheckOfManyObjects: 100,000 blobs that ten releases need and 100,000 that nothing does, one of each gone or cut.
// Their sizes come with the listing: not one of them is asked for. It is not parallel: it measures memory.
func TestCheckOfManyObjects(t *testing.T) {
	const releases, each, orphans = 10, 10_000, 100_000
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	s := &manyBlobs{Store: w.Store}
	blob := func(i int) storage.Info {
		return storage.Info{Key: manifest.BlobObject(catalogtest.Digest(fmt.Append(nil, i))), Size: 100 + int64(i), Modified: w.Now.Add(-30 * catalogtest.Day)}
	}
	listed := map[string]trust.Target{}
	for n := range releases {
		r := release(fmt.Sprintf("openstack@1.%d.0", n))
		m := &manifest.Manifest{Format: 1, Product: r.Product, Version: r.Version, Kind: manifest.KindInitial, Summary: "many"}
		for i := range each {
			o := blob(n*each + i)
			sha := o.Key[strings.LastIndexByte(o.Key, '/')+1:]
			a := manifest.Artifact{Path: fmt.Sprintf("images/disk-%d.img", i), Kind: "image", Size: o.Size, SHA256: sha,
				Stored: manifest.Stored{SHA256: sha, Size: o.Size, Encoding: manifest.EncodingIdentity}}
			if i == 0 {
				a.Path, a.Kind = "marmite.yaml", manifest.KindMarmite
				m.Marmite = a
			} else {
				m.Artifacts = append(m.Artifacts, a)
			}
			if n != 1 || i != 1 { // one is gone
				s.blobs = append(s.blobs, o)
			}
		}
		data, err := m.Encode()
		check(t, err)
		path := manifest.TargetPath(manifest.StageCatalog, r)
		w.Put(manifest.TargetObject(path, catalogtest.Digest(data)), data)
		listed[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data), Custom: map[string]string{"seq": fmt.Sprint(n + 1)}}
	}
	w.Edit(manifest.RoleProduct("openstack"), func(role *trust.Targets) { role.Targets = listed })
	w.Commit()
	for i := range orphans {
		s.blobs = append(s.blobs, blob(releases*each+i))
	}
	s.blobs[7].Size-- // one is cut
	slices.SortFunc(s.blobs, func(a, b storage.Info) int { return strings.Compare(a.Key, b.Key) })

	o := w.Options(t.TempDir())
	o.Store = s
	p := &publisher.Publisher{Catalog: opened(t, o), Store: s, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
	s.before = inUse()
	r, err := p.Check(ctx, publisher.CheckRequest{})
	check(t, err)
	if r.Counts[publisher.Fault] != 2 || notes(r)[publisher.CodeOrphanBlobs] != orphans || r.Checked.Blobs != releases*each {
		t.Errorf("%d faults, %v, %+v", r.Counts[publisher.Fault], notes(r), r.Checked)
	}
	grown := int64(s.after) - int64(s.before)
	t.Logf("%d objects: %d bytes more in use, %d reads, %d stats", len(s.blobs), grown, s.reads.Load(), s.stats.Load())
	if perBlob := grown / (releases * each); perBlob > 200 {
		t.Errorf("%d bytes of memory for each blob that is needed", perBlob)
	}
	if reads := s.reads.Load(); reads > releases+60 || s.stats.Load() > 1 { // the newest root
		t.Errorf("%d reads, %d stats", reads, s.stats.Load())
	}
}

func opened(t *testing.T, o catalog.Options) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(ctx, o)
	check(t, err)
	return c
}
