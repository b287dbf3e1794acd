package publisher_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// Names that are no proposal, in every form that a listing can bring: nothing is asked for by them.
func TestNamesOfEveryKindInPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	bad := []string{"pending/", "pending//proposal.json", "pending/../metadata/timestamp.json", "pending/" + id + "/../../metadata/9.root.json",
		"pending/" + id + "/sig/../../../metadata/timestamp.json", "pending/./" + id + "/proposal.json", `pending/..\..\x/proposal.json`, "pending/\x00/proposal.json",
		"pending/" + id + "/sig/" + productRole + "/..", "pending/" + id + "/sig/" + productRole + "/../../proposal.json", "pending/root.2.00000000000000aa/proposal.json",
		"pending/PRODUCT.openstack.1.00000000000000aa/proposal.json", "pending/product.openstack.-1.00000000000000aa/proposal.json",
		"pending/product.openstack.9223372036854775808.00000000000000aa/proposal.json", "pending/" + strings.Repeat("x", 1000) + "/proposal.json", "other/" + id + "/proposal.json"}
	store := storagetest.NewLedger(t).Watch(&whispers{Store: w.store, keys: bad})
	before := w.state(t)
	p := w.over(t, &asked{Store: store, t: t, not: bad}, w.online)
	if result := commit(t, p); len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Errorf("%+v", result)
	}
	if maps.Equal(before, w.state(t)) {
		t.Error("the good proposal did not go through")
	}
}

// whispers lists more keys than there are objects.
type whispers struct {
	storage.Store
	keys []string
}

func (w *whispers) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for _, key := range w.keys {
			if !yield(storage.Info{Key: key, Size: 1}, nil) {
				return
			}
		}
		w.Store.List(ctx, prefix, after)(yield)
	}
}

// asked complains when one of the keys is asked for.
type asked struct {
	storage.Store
	t   *testing.T
	not []string
}

func (a *asked) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	for _, bad := range a.not {
		if key == bad {
			a.t.Errorf("asked for %q", key)
		}
	}
	return a.Store.Open(ctx, key, offset, length)
}

// Thousands of entries of every sort: what a command asks the store for is bounded by what is worth a look, and the
// good proposal goes through.
func TestThousandsOfEntriesInPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	const each = 400
	sig := func(dir, role, keyID string, i int) {
		write(t, filepath.Join(dir, "sig", role, fmt.Sprintf("%s-%064x.json", keyID, i)), `{"keyid":"x","sig":"00"}`)
	}
	for i := range each {
		dir := func(kind int) string {
			return filepath.Join(w.dir, "pending", fmt.Sprintf("%s.1.%08x%08x", productRole, kind, i))
		}
		write(t, filepath.Join(dir(0), "proposal.json"), "{}")                               // nobody signed
		write(t, filepath.Join(dir(1), "payload.json"), "{}")                                // no proposal
		write(t, filepath.Join(dir(2), "proposal.json"), strings.Repeat("[", 2000))          // deep, and nobody who may signed
		sig(dir(2), productRole, w.certA.TUF.ID, i)                                          //
		sig(dir(3), productRole, w.engineer.TUF.ID, i)                                       // nothing but a signature
		write(t, filepath.Join(w.dir, "pending", fmt.Sprintf("note-%d.txt", i)), "remember") // no proposal at all
	}
	const bait = 20 // named after a rightful key: these have to be read
	for i := range bait {
		dir := filepath.Join(w.dir, "pending", fmt.Sprintf("%s.1.%016x", productRole, 1<<60+i))
		write(t, filepath.Join(dir, "proposal.json"), strings.Repeat("[", 2000))
		sig(dir, productRole, w.engineer.TUF.ID, i)
		if i%2 == 0 {
			check(t, os.Truncate(filepath.Join(dir, "proposal.json"), 1<<30)) // huge
		}
	}
	store := storagetest.NewLedger(t).Watch(w.store)
	if result := commit(t, w.over(t, store, w.online)); len(result.Committed) != 1 || result.Committed[0].ID != id {
		t.Fatalf("committed %+v", result.Committed)
	}
	t.Logf("%d calls, %d bytes", store.Count(""), store.Bytes())
	const looks = 4 // before the commit, after it, at what is left, at what went stale
	if n := store.Count(""); n > looks*bait+100 {
		t.Errorf("%d calls of the store for %d entries of which %d are worth a look", n, 5*each+bait, bait)
	}
	if n := store.Bytes(); n > 1<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

// Somebody with the store's disk puts garbage where a signer's own signature file was, and where it will be.
func TestGarbageAtASignersOwnSignatureName(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]func(k key) keys.Signer{
		"of a signer whose signatures differ each time": func(k key) keys.Signer { return k },
		"of a signer who always answers the same":       func(k key) keys.Signer { return &constantSigner{Signer: k} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.validated(t, v1)
			id := must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA)).Proposal
			b := []keys.Signer{signer(w.certB)}
			for range 3 {
				must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, readyRole, nil, b))
				for key := range w.pendingFiles(t, id) {
					if strings.Contains(key, "/"+w.certB.TUF.ID+"-") {
						w.overwrite(t, key, []byte("garbage"))
					}
				}
			}
			if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
				t.Fatalf("without B's signature: %+v", result.Committed)
			}
			mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, nil, b))
			w.wantStage(t, v1, manifest.StageReady)
		})
	}
}

// constantSigner gives the same signature for the same message.
type constantSigner struct {
	keys.Signer
	given map[string][]byte
}

func (c *constantSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if sig, ok := c.given[string(message)]; ok {
		return sig, nil
	}
	sig, err := c.Signer.Sign(ctx, message)
	if c.given == nil {
		c.given = map[string][]byte{}
	}
	c.given[string(message)] = sig
	return sig, err
}

// Somebody who guesses a proposal's name takes it first: it is told, and a second later it has another name.
func TestGarbageAtAProposalsOwnName(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	w := start.copy(t)
	id := w.waits(t)
	for key := range w.pendingFiles(t, id) {
		if strings.Contains(key, "/sig/") {
			continue // cannot be guessed
		}
		w := start.copy(t)
		w.put(t, key, []byte("{}"))
		_, err := w.publisher(t, nil).Publish(ctx, source(t, v1, nil), signers(w.engineer))
		wantError[*storage.Error](t, err, key)
		w.now = w.now.Add(time.Second)
		second := w.waits(t)
		w.onlyGood(t, second)
	}
}

func TestReplayOfAProposalThatLapsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	files := w.pendingFiles(t, id)
	w.now = w.now.Add(14 * catalogtest.Day)
	commit(t, w.publisher(t, w.online))
	check(t, os.RemoveAll(filepath.Join(w.dir, "pending", id)))
	for key, data := range files {
		w.overwrite(t, key, data) // with a new date
	}
	before := w.state(t)
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 0 {
		t.Errorf("a lapsed proposal took effect: %+v", result.Committed)
	}
	if !maps.Equal(before, w.state(t)) {
		t.Error("the catalog changed")
	}
}

// A proposal is dropped by deleting its objects. Who kept them can put them back, and it takes effect after all, as
// its signers meant, until it lapses or another change of the role takes effect first.
func TestReplayOfAProposalThatWasDropped(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	id := start.waits(t)
	files := start.pendingFiles(t, id)
	check(t, os.RemoveAll(filepath.Join(start.dir, "pending", id)))
	if result := commit(t, start.publisher(t, start.online)); len(result.Committed)+len(result.Incomplete) != 0 {
		t.Fatalf("it was not dropped: %+v", result)
	}
	back := func(t *testing.T, w *world) *publisher.CommitResult {
		for key, data := range files {
			w.overwrite(t, key, data)
		}
		return commit(t, w.publisher(t, w.online))
	}
	t.Run("nothing happened meanwhile", func(t *testing.T) {
		if result := back(t, start.copy(t)); len(result.Committed) != 1 || result.Committed[0].ID != id {
			t.Errorf("%+v", result)
		}
	})
	t.Run("another change took effect meanwhile", func(t *testing.T) {
		w := start.copy(t)
		w.publish(t, "openstack@2.0.0")
		if result := back(t, w); len(result.Committed) != 0 || len(result.Stale) != 1 {
			t.Errorf("%+v", result)
		}
		w.wantStage(t, v1, "")
	})
	t.Run("it lapsed", func(t *testing.T) {
		w := start.copy(t)
		w.now = w.now.Add(14 * catalogtest.Day)
		if result := back(t, w); len(result.Committed) != 0 {
			t.Errorf("%+v", result)
		}
		w.wantStage(t, v1, "")
	})
}
