package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// crowd is many publishers on one catalog: those who hold the online key commit themselves; the others propose, and
// one committer puts their proposals into effect. Readers refresh all the while.
type crowd struct {
	*world
	ledger *storagetest.Ledger
	way    func(n int) storage.Store // the nth party's own way to the store
	again  func(error) bool          // whether people would run their command again after such an error
	reruns int                       // of any one command, at most

	mu       sync.Mutex // guards what follows
	round    chan struct{}
	proposed chan struct{} // has one element while somebody waits for the committer
	say      []string      // what the parties counted
}

// party is one publisher of the crowd.
type party struct {
	release string
	by      key
	alone   bool // holds the online key
}

// parties are n publishers of three products, of whom three in ten only propose.
func (c *crowd) parties(n int) []party {
	var all []party
	for i := range n {
		p := party{alone: i%10 < 7}
		switch i % 3 {
		case 0:
			p.release, p.by = fmt.Sprintf("openstack@%d.0", i), []key{c.engineer, c.colleague}[i/3%2]
		case 1:
			p.release, p.by = fmt.Sprintf("ceph@%d.0", i), c.cephEngineer
		case 2:
			p.release, p.by = fmt.Sprintf("swift@%d.0", i), c.stranger
		}
		all = append(all, p)
	}
	return all
}

// newCrowd is a crowd on the world's store, with a third product.
func newCrowd(t *testing.T, w *world) *crowd {
	t.Helper()
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.stranger),
		Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.root[:2]...)))
	return &crowd{world: w, ledger: storagetest.NewLedger(t), round: make(chan struct{}), proposed: make(chan struct{}, 1),
		way: func(int) storage.Store { return openDir(t, w.dir) }, again: func(error) bool { return false }}
}

func (c *crowd) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say = append(c.say, fmt.Sprintf(format, args...))
}

// run repeats a command as its user would.
func (c *crowd) run(command func() error) error {
	for n := 0; ; n++ {
		err := command()
		if err == nil || n >= c.reruns || !c.again(err) {
			return err
		}
		c.note("run again after: %v", err)
	}
}

// publishes lands one release, whatever that takes the party.
func (c *crowd) publishes(t *testing.T, n int, p party) func() error {
	t.Helper()
	way := c.ledger.Watch(c.way(n))
	var online keys.Signer
	if p.alone {
		online = c.online
	}
	pub, dir := c.over(t, way, online), source(t, p.release, map[string]string{"disk.img": p.release, "shared.img": "the same for all"})
	return func() error {
		for {
			var out *publisher.Outcome
			c.mu.Lock()
			round := c.round
			c.mu.Unlock()
			if err := c.run(func() (err error) { out, err = pub.Publish(ctx, dir, []keys.Signer{p.by}); return err }); err != nil {
				return fmt.Errorf("after %d tries: %w", way.Count("open-if-changed")-1, err)
			}
			if out.Status != publisher.Pending {
				c.note("%s: %s after %d tries, %d calls of the store, %d swaps lost", p.release, out.Status, way.Count("open-if-changed")-1, way.Count(""), way.Count("conflict"))
				return nil
			}
			select {
			case c.proposed <- struct{}{}:
			default:
			}
			<-round // made before the proposal, closed after the committer looked
		}
	}
}

// commits puts proposals into effect until ctx ends.
func (c *crowd) commits(ctx context.Context, p *publisher.Publisher) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.proposed:
		}
		err := c.run(func() error { _, err := p.Commit(context.Background()); return err })
		c.mu.Lock()
		close(c.round)
		c.round = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// reads refreshes until ctx ends, whenever somebody swaps the timestamp and whenever there was news, and holds every
// view to the one before.
func (c *crowd) reads(ctx context.Context, t *testing.T, name string, open func() *catalog.Catalog) error {
	var last *catalog.View
	views, refreshes := 0, 0
	for n := 0; n < 2 || ctx.Err() == nil; n++ {
		swap := c.ledger.NextSwap()
		var v *catalog.View
		err := c.run(func() (err error) { v, err = open().Refresh(context.Background()); return err })
		if err == nil {
			err = c.run(func() error { return consistent(v, last) })
		}
		if err != nil {
			return fmt.Errorf("refresh %d: %w", n+1, err)
		}
		if last == nil || v.Timestamp().Version > last.Timestamp().Version {
			views++
		} else {
			select {
			case <-ctx.Done():
			case <-swap:
			}
		}
		last, refreshes = v, n+1
	}
	c.note("%s saw %d views in %d refreshes", name, views, refreshes)
	return nil
}

// consistent says what a reader cannot make sense of, in a view and after the one before (nil: none).
func consistent(v, last *catalog.View) error {
	if broken := v.Broken(); len(broken) > 0 {
		return fmt.Errorf("role %s is broken: %w", broken[0].Role, broken[0].Err)
	}
	if last != nil {
		if err := follows(v, last); err != nil {
			return err
		}
	}
	for _, product := range v.Products() {
		all, err := v.Releases(product)
		if err != nil {
			return err
		}
		for i, info := range all {
			if info.Seq != int64(i+1) || info.Conflict != nil {
				return fmt.Errorf("%s is at place %d of the order, and says %d (%v)", info.Release, i+1, info.Seq, info.Conflict)
			}
			if last != nil {
				if _, err := last.Release(info.Release); err == nil {
					continue
				}
			}
			if _, err := v.Recall(info.Release); err != nil {
				return err
			}
			if _, _, err := v.Manifest(ctx, info.Release); err != nil {
				return err
			}
		}
	}
	return nil
}

// follows says what of a view goes back behind an earlier one.
func follows(v, last *catalog.View) error {
	have, was := v.Timestamp().Version, last.Timestamp().Version
	if have < was || (have == was) != bytes.Equal(v.RawTimestamp(), last.RawTimestamp()) {
		return fmt.Errorf("timestamp %d came after %d", have, was)
	}
	if have == was {
		return nil
	}
	if have, was := v.Snapshot().Version, last.Snapshot().Version; have <= was {
		return fmt.Errorf("snapshot %d came after %d", have, was)
	}
	for role, was := range last.Snapshot().Roles {
		now, ok := v.Snapshot().Roles[role]
		if !ok || now.Version < was.Version || now.Version == was.Version && now.SHA256 != was.SHA256 {
			return fmt.Errorf("%s %+v came after %+v", role, now, was)
		}
	}
	return nil
}

// gather lets all parties loose at the same moment, with a committer and readers around them until all are done.
func (c *crowd) gather(t *testing.T, parties []party) {
	t.Helper()
	background, end := context.WithCancel(ctx)
	defer end()
	var around, work sync.WaitGroup
	start := make(chan struct{})
	in := func(group *sync.WaitGroup, name string, do func() error) {
		group.Go(func() {
			<-start
			if err := do(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for i, p := range parties {
		in(&work, p.release, c.publishes(t, i, p))
	}
	committer := c.over(t, c.ledger.Watch(c.way(len(parties))), c.online)
	in(&around, "committer", func() error { return c.commits(background, committer) })
	for i := range 3 {
		held := c.catalog(t, c.ledger.Watch(c.way(len(parties)+1+i)))
		name := fmt.Sprintf("reader %d", i+1)
		in(&around, name, func() error { return c.reads(background, t, name, func() *catalog.Catalog { return held }) })
	}
	fresh := c.ledger.Watch(c.way(len(parties) + 4))
	in(&around, "fresh readers", func() error {
		return c.reads(background, t, "fresh readers", func() *catalog.Catalog { return c.catalog(t, fresh) })
	})
	close(start)
	work.Wait()
	end()
	around.Wait()
	for _, line := range c.say {
		t.Log(line)
	}
}

// wantLanded holds the end of it to the beginning: every release once, in an order without gaps, and numbers that rise
// by one where nothing was left by a beaten writer.
func (c *crowd) wantLanded(t *testing.T, parties []party, began *catalog.View) {
	t.Helper()
	v, count := c.view(t), map[string]int{}
	for _, p := range parties {
		count[release(p.release).Product]++
		if _, err := v.Release(release(p.release)); err != nil {
			t.Error(err)
		}
	}
	steps := int64(0)
	for product, n := range count {
		c.wantSeqs(t, product, n)
		steps += c.wantChain(t, v, manifest.RoleProduct(product))
		c.wantChain(t, v, manifest.RoleRecalled(product))
	}
	// Every commit changes one product, so that a commit in which two would have been lost or doubled shows here.
	if rose := v.Timestamp().Version - began.Timestamp().Version; rose != steps {
		t.Errorf("the timestamp rose by %d, and the products' roles changed %d times", rose, steps)
	}
	for n := int64(1); n <= v.Snapshot().Version; n++ {
		c.read(t, manifest.SnapshotObject(n))
	}
	t.Logf("%d releases in %d commits; snapshot %d, timestamp %d", len(parties), steps, v.Snapshot().Version, v.Timestamp().Version)
}

// wantChain walks a role back by what each version says it replaces; numbers in between have to be used up. It
// gives the number of versions that were in effect.
func (c *crowd) wantChain(t *testing.T, v *catalog.View, role string) (steps int64) {
	t.Helper()
	n := v.Snapshot().Roles[role].Version
	for file := v.RawRole(role); ; steps++ {
		payload, _, err := trust.ParseEnvelope(file)
		check(t, err)
		targets, err := trust.ParseTargetsPayload(payload)
		check(t, err)
		if targets.Version != n {
			t.Fatalf("%s has version %d under the number %d", role, targets.Version, n)
		}
		if targets.Replaces == "" {
			for n--; n > 0; n-- {
				c.read(t, manifest.RoleObject(role, n))
			}
			return steps + 1
		}
		for n--; ; n-- {
			if file = c.read(t, manifest.RoleObject(role, n)); catalogtest.Digest(file) == targets.Replaces {
				break
			}
		}
	}
}

// read gives an object that has to be there.
func (c *crowd) read(t *testing.T, key string) []byte {
	t.Helper()
	data, _, err := storage.ReadAll(ctx, c.store, key, 16<<20)
	check(t, err)
	return data
}

func TestTwentyPublishersInADirectory(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, newWorld(t))
	began, parties := c.view(t), c.parties(20)
	c.gather(t, parties)
	c.wantLanded(t, parties, began)
}

// onS3 moves the world to a bucket; open gives another way to it.
func (w *world) onS3(t *testing.T) (open func(storage.Options) storage.Store) {
	t.Helper()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	open = func(opts storage.Options) storage.Store { return server.Open(t, bucket, "kitchen", opts) }
	to := open(storage.Options{})
	for _, key := range w.objects(t) {
		data := w.object(t, key)
		if key == manifest.TimestampObject {
			_, err := to.Swap(ctx, key, "", data, "", "")
			check(t, err)
			continue
		}
		check(t, to.Create(ctx, key, bytes.NewReader(data), int64(len(data)), "", ""))
	}
	w.store = to
	return open
}

func TestTwentyPublishersOnAnS3Server(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, newWorld(t))
	open := c.onS3(t)
	c.way = func(int) storage.Store { return open(storage.Options{}) }
	began, parties := c.view(t), c.parties(20)
	c.gather(t, parties)
	c.wantLanded(t, parties, began)
}

// badNetwork loses, repeats, delays and refuses about every fourth write and every eighth read.
func badNetwork() []storagetest.Chance {
	answer := func(method string, oneIn, status int, header http.Header) storagetest.Chance {
		return storagetest.Chance{Fault: storagetest.Fault{Kind: storagetest.Answer, Method: method, Status: status, Header: header}, OneIn: oneIn}
	}
	kind := func(method string, oneIn int, f storagetest.Fault) storagetest.Chance {
		f.Method = method
		return storagetest.Chance{Fault: f, OneIn: oneIn}
	}
	return []storagetest.Chance{
		kind(http.MethodPut, 12, storagetest.Fault{Kind: storagetest.LoseAnswer}),
		kind(http.MethodPut, 12, storagetest.Fault{Kind: storagetest.Echo}),
		kind(http.MethodPut, 12, storagetest.Fault{Kind: storagetest.EchoLate, Wait: 50 * time.Millisecond}),
		kind(http.MethodPut, 12, storagetest.Fault{Kind: storagetest.Delay, Wait: 30 * time.Millisecond}),
		answer(http.MethodPut, 20, http.StatusConflict, nil),
		answer(http.MethodPut, 20, http.StatusPreconditionFailed, nil),
		answer(http.MethodPut, 20, http.StatusServiceUnavailable, nil),
		kind(http.MethodGet, 50, storagetest.Fault{Kind: storagetest.LoseAnswer}),
		kind(http.MethodGet, 50, storagetest.Fault{Kind: storagetest.Refuse}),
		kind(http.MethodGet, 50, storagetest.Fault{Kind: storagetest.CutBody, At: 10}),
		kind(http.MethodGet, 25, storagetest.Fault{Kind: storagetest.Delay, Wait: 30 * time.Millisecond}),
		answer("", 50, http.StatusServiceUnavailable, nil),
		answer("", 200, http.StatusServiceUnavailable, http.Header{"Retry-After": {"1"}}),
	}
}

// Whatever the network does to requests and answers, a release lands once, and readers see one history. Who is told
// that the store is out of reach (exit 6) runs the same command again.
func TestPublishersOnAnS3ServerOverABadNetwork(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, newWorld(t))
	open := c.onS3(t)
	var networks []*storagetest.HTTPFaults
	c.way = func(n int) storage.Store {
		faults := new(storagetest.HTTPFaults).AtRandom(uint64(n), badNetwork()...)
		networks = append(networks, faults)
		return open(storage.Options{RoundTripper: faults.Wrap})
	}
	c.again, c.reruns = func(err error) bool { // the rest of a body that was cut may be gone: replaced by another writer
		return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrConflict)
	}, 10
	began, parties := c.view(t), c.parties(8)
	c.gather(t, parties)
	requests, suffered := 0, 0
	for _, n := range networks {
		n.Settle()
		requests, suffered = requests+len(n.Requests()), suffered+n.Suffered()
	}
	t.Logf("%d of %d requests met a fault", suffered, requests)
	if suffered < 100 {
		t.Error("hardly any fault: the network is too good")
	}
	c.wantLanded(t, parties, began)
}
