package publisher_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// hosts are readers with a state directory each. At every step one comes that never saw the catalog and knows the first
// root alone; all that ever came refresh; and copies of some are left to be those that were away since.
type hosts struct {
	t    *testing.T
	w    *world
	dirs map[string]string
}

func (h *hosts) open(dir string) *catalog.Catalog {
	h.t.Helper()
	c, err := catalog.Open(ctx, catalog.Options{Store: h.w.store, Dir: dir, RootFingerprint: h.w.fingerprint, Now: h.w.clock})
	check(h.t, err)
	return c
}

// step: every host refreshes, sees openstack@1.0.0 certified and nothing broken, and answers offline.
func (h *hosts) step(name string) {
	h.t.Helper()
	h.dirs[name] = h.t.TempDir()
	for since, dir := range h.dirs {
		v, err := h.open(dir).Refresh(ctx)
		if err != nil {
			h.t.Fatalf("%s: a host of %q: %v", name, since, err)
		}
		if len(v.Broken()) > 0 {
			h.t.Fatalf("%s: a host of %q: %v", name, since, v.Broken())
		}
		info, err := v.Release(release(v1))
		if err != nil || info.Stage != manifest.StageReady {
			h.t.Fatalf("%s: a host of %q: %+v, %v", name, since, info, err)
		}
		if _, err := h.open(dir).Offline(nil); err != nil {
			h.t.Fatalf("%s: a host of %q offline: %v", name, since, err)
		}
	}
	away := filepath.Join(h.t.TempDir(), "state")
	check(h.t, os.CopyFS(away, os.DirFS(h.dirs[name])))
	h.dirs[name+", away since"] = away
}

// ready is a world in which openstack@1.0.0 is certified.
func readyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.validated(t, v1)
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
	return w
}

func rotate(role string, old, fresh key) publisher.RoleRequest {
	req := publisher.RoleRequest{Role: role}
	if old != nil {
		req.Old = []string{short(old)}
	}
	if fresh != nil {
		req.New = publics(fresh)
	}
	return req
}

// story is a change of a role on its way: who proposes, who signs which role of it days later, from laptops without the
// online key.
type story struct {
	name string
	req  func(w *world, fresh key) publisher.RoleRequest
	by   func(w *world, fresh key) []key    // proposes
	sign func(w *world, fresh key) []signAs // sign after it
	took func(w *world, fresh key)          // people as they are then
}

type signAs struct {
	role string
	by   key
}

var stories = []story{
	{name: "a root key", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(trust.RoleRoot, w.root[0], fresh) },
		by:   func(w *world, _ key) []key { return []key{w.root[1]} },
		sign: func(w *world, _ key) []signAs { return []signAs{{trust.RoleRoot, w.root[2]}} },
		took: func(w *world, fresh key) { w.root = []key{w.root[1], w.root[2], fresh, w.root[0]} }}, // the last signs targets still
	{name: "the root threshold", req: func(*world, key) publisher.RoleRequest {
		return publisher.RoleRequest{Role: trust.RoleRoot, Threshold: 3}
	},
		by: func(w *world, _ key) []key { return []key{w.root[0]} },
		sign: func(w *world, _ key) []signAs {
			return []signAs{{trust.RoleRoot, w.root[1]}, {trust.RoleRoot, w.root[2]}}
		},
		took: func(*world, key) {}},
	{name: "targets keys", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(trust.RoleTargets, w.root[3], fresh) },
		by: func(w *world, _ key) []key { return []key{w.root[0], w.root[1]} },
		sign: func(w *world, fresh key) []signAs {
			return []signAs{{trust.RoleRoot, w.root[2]}}
		},
		took: func(w *world, fresh key) {}},
	{name: "an engineer's key", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(productRole, w.engineer, fresh) },
		by: func(w *world, fresh key) []key { return []key{w.root[0]} },
		sign: func(w *world, fresh key) []signAs {
			return []signAs{{productRole, fresh}, {trust.RoleTargets, w.root[1]}}
		},
		took: func(w *world, fresh key) { w.engineer = fresh }},
	{name: "a certifier who is lost", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(readyRole, w.certA, fresh) },
		by: func(w *world, fresh key) []key { return []key{fresh} },
		sign: func(w *world, fresh key) []signAs {
			return []signAs{{trust.RoleTargets, w.root[0]}, {readyRole, w.certB}, {trust.RoleTargets, w.root[1]}}
		},
		took: func(w *world, fresh key) { w.certA = fresh }},
	{name: "the certifiers' threshold", req: func(*world, key) publisher.RoleRequest { return publisher.RoleRequest{Role: readyRole, Threshold: 1} },
		by:   func(w *world, fresh key) []key { return []key{w.root[0]} },
		sign: func(w *world, fresh key) []signAs { return []signAs{{trust.RoleTargets, w.root[1]}} },
		took: func(*world, key) {}},
	{name: "the certifiers' threshold, up", req: func(*world, key) publisher.RoleRequest { return publisher.RoleRequest{Role: readyRole, Threshold: 2} },
		by:   func(w *world, fresh key) []key { return []key{w.root[0]} },
		sign: func(w *world, fresh key) []signAs { return []signAs{{trust.RoleTargets, w.root[1]}} },
		took: func(*world, key) {}},
	{name: "the registry's key", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(manifest.RoleRegistry, w.admin, fresh) },
		by:   func(w *world, fresh key) []key { return []key{fresh, w.root[0]} },
		sign: func(w *world, fresh key) []signAs { return []signAs{{trust.RoleTargets, w.root[1]}} },
		took: func(w *world, fresh key) { w.admin = fresh }},
	{name: "the validator", req: func(w *world, fresh key) publisher.RoleRequest {
		return rotate("validated.openstack", w.validator, fresh)
	},
		by:   func(w *world, fresh key) []key { return []key{fresh, w.root[0], w.root[1]} },
		sign: func(w *world, fresh key) []signAs { return nil },
		took: func(w *world, fresh key) { w.validator = fresh }},
	{name: "a recaller who goes", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(recalledRole, w.colleague, nil) },
		by:   func(w *world, fresh key) []key { return []key{w.root[0], w.root[1]} },
		sign: func(w *world, fresh key) []signAs { return nil },
		took: func(w *world, fresh key) {}},
	{name: "a policy holder who comes", req: func(w *world, fresh key) publisher.RoleRequest { return rotate(manifest.RolePolicy, nil, fresh) },
		by:   func(w *world, fresh key) []key { return []key{w.root[0], w.root[1]} },
		sign: func(w *world, fresh key) []signAs { return nil },
		took: func(w *world, fresh key) {}},
}

// TestRotations: one role after the other gets other keys or another threshold, proposed on one laptop and signed on
// others days apart, and put into effect by the committer. No host fails at any moment: not those that were there just
// before, nor those that come fresh with the first root, nor those that were away for any number of rotations.
func TestRotations(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	h := &hosts{t, w, map[string]string{}}
	h.step("the beginning")
	for _, s := range stories {
		fresh := catalogtest.NewKey(t)
		by := s.by(w, fresh)
		more := s.sign(w, fresh)
		out := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, s.req(w, fresh), nil, signers(by...)))
		for i, next := range more {
			w.now = w.now.Add(catalogtest.Day)
			commit(t, w.publisher(t, w.online))
			if got := commit(t, w.publisher(t, w.online)); len(got.Incomplete) != 1 || got.Incomplete[0].ID != out.Proposal {
				t.Fatalf("%s, with %d signers of %d: %+v", s.name, i+len(by), len(more)+len(by), got)
			}
			must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, next.role, yes, signers(next.by)))
		}
		h.step(s.name + ", signed")
		if got := commit(t, w.publisher(t, w.online)); len(got.Committed) != 1 || got.Committed[0].ID != out.Proposal {
			t.Fatalf("%s: %+v", s.name, got)
		}
		must(t, publisher.Unchanged)(w.publisher(t, w.online).ChangeRole(ctx, s.again(w, fresh), nil, signers(by...)))
		s.took(w, fresh)
		h.step(s.name + ", in effect")
	}
	if v := w.view(t); v.Root().Version != 4 {
		t.Errorf("root %d", v.Root().Version)
	}
	w.validated(t, "openstack@2.0.0") // the new people work
	mustCommit(t)(certify(w.publisher(t, w.online), "openstack@2.0.0", w.certA, w.certB))
	h.step("the end")
}

// yes is the answer of whoever is asked: a change that its next holder has begun is not signed unasked.
func yes(publisher.PendingProposal) (bool, error) { return true, nil }

// again is the request that finds everything so already.
func (s story) again(w *world, fresh key) publisher.RoleRequest {
	req := s.req(w, fresh)
	if len(req.New) == 0 && len(req.Old) > 0 { // what is gone cannot be named
		return publisher.RoleRequest{Role: req.Role, Threshold: 1}
	}
	return req
}

// withBoth is a committer who has the old and the new online key.
func (w *world) withBoth(t *testing.T, store storage.Store, fresh key) *publisher.Publisher {
	p := w.over(t, store, w.online)
	p.OnlineToo = signers(fresh)
	return p
}

// TestOnlineKeyRotatedAsPlanned: laptops sign; a committer that lacks one of the keys leaves it alone and says so; with
// both it is done, twice over, and nobody notices.
func TestOnlineKeyRotatedAsPlanned(t *testing.T) {
	t.Parallel()
	w := readyWorld(t)
	h := &hosts{t, w, map[string]string{}}
	for round := range 2 {
		h.step(fmt.Sprintf("before, %d", round))
		fresh := catalogtest.NewKey(t)
		req := rotate(trust.RoleTimestamp, w.online, fresh)
		out := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, req, nil, signers(w.root[0])))
		w.now = w.now.Add(catalogtest.Day)
		must(t, publisher.Pending)(w.publisher(t, w.online).Sign(ctx, trust.RoleRoot, nil, signers(w.root[1])))
		result := commit(t, w.publisher(t, w.online))
		if len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, "online keys") {
			t.Fatalf("%+v", result)
		}
		h.step(fmt.Sprintf("signed, %d", round))
		if result := commit(t, w.withBoth(t, w.store, fresh)); len(result.Committed) != 1 || result.Committed[0].ID != out.Proposal {
			t.Fatalf("%+v", result)
		}
		h.step(fmt.Sprintf("done, %d", round))
		w.online = fresh
		w.report(t, "acme/staging", w.stagingCI, v1, manifest.Passed, nil)
		if result := commit(t, w.publisher(t, w.online)); result.Journaled != 1 { // the journal went along
			t.Fatalf("%+v", result)
		}
		h.step(fmt.Sprintf("the new key alone, %d", round))
	}
	v := w.view(t)
	for _, role := range []string{trust.RoleSnapshot, trust.RoleTimestamp, manifest.RoleJournal} {
		if a, _ := v.Authority(role); !slices.Equal(a.KeyIDs(), []string{w.online.TUF.ID}) {
			t.Errorf("%s is signed by %v", role, a.KeyIDs())
		}
	}
}

// TestOnlineKeyStolen: root first. What the thief signs then is refused, numbers that he pushed up are forgotten, and
// everybody goes on: hosts that saw the thief's numbers, those that did not, those that come fresh.
func TestOnlineKeyStolen(t *testing.T) {
	t.Parallel()
	for name, pushed := range map[string]int64{"numbers as they were": 0, "numbers pushed up": 1000, "numbers pushed to the end": trust.MaxInteger - 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := readyWorld(t)
			h := &hosts{t, w, map[string]string{}}
			h.step("before")
			if pushed > 0 {
				w.push(t, pushed)
				h.step("pushed")
			}
			fresh, thief := catalogtest.NewKey(t), w.online
			committer := w.publisher(t, fresh)
			committer.Stolen = true
			mustCommit(t)(committer.ChangeRole(ctx, rotate(trust.RoleSnapshot, w.online, fresh), nil, signers(w.root[:2]...)))
			w.online = fresh
			h.step("after")
			stolen := w.object(t, manifest.TimestampObject)
			v := w.view(t)
			next := &trust.Timestamp{Version: v.Timestamp().Version + 1, Issued: w.now, Expires: v.Timestamp().Expires, Snapshot: v.Timestamp().Snapshot}
			w.overwrite(t, manifest.TimestampObject, seal(t, next, thief))
			for _, dir := range []string{h.dirs["before"], t.TempDir()} {
				_, err := h.open(dir).Refresh(ctx)
				wantError[*trust.Error](t, err, "timestamp")
			}
			w.overwrite(t, manifest.TimestampObject, stolen)
			w.publish(t, "openstack@2.0.0")
			h.step("the new key goes on")
		})
	}
}

// push plays the thief: snapshot and timestamp with a number far ahead.
func (w *world) push(t *testing.T, to int64) {
	t.Helper()
	v := w.view(t)
	snapshot := v.Snapshot().Clone()
	snapshot.Version = to
	file := seal(t, snapshot, w.online)
	w.put(t, manifest.SnapshotObject(to), file)
	next := &trust.Timestamp{Version: to, Issued: w.now, Expires: v.Timestamp().Expires, Snapshot: trust.MetaOf(to, file)}
	w.overwrite(t, manifest.TimestampObject, seal(t, next, w.online))
}

func seal(t *testing.T, doc catalogtest.Document, by ...key) []byte {
	t.Helper()
	payload, err := doc.Payload()
	check(t, err)
	var sigs []trust.Signature
	for _, k := range by {
		sig, err := trust.Sign(ctx, payload, k)
		check(t, err)
		sigs = append(sigs, sig)
	}
	file, err := trust.Envelope(payload, sigs)
	check(t, err)
	return file
}

// TestCrashAtEveryWriteOfARotation: of those that take several steps. Whenever it stops, hosts see a consistent catalog,
// but for the outage of a stolen key; running again completes it.
func TestCrashAtEveryWriteOfARotation(t *testing.T) {
	t.Parallel()
	start, fresh := readyWorld(t), catalogtest.NewKey(t)
	for name, c := range map[string]struct {
		role   string
		old    key
		stolen bool
		min    int
	}{
		"targets keys":            {trust.RoleTargets, start.root[0], false, 4}, // targets, snapshot, timestamp, root
		"online key, as planned":  {trust.RoleSnapshot, start.online, false, 5},
		"online key, stolen":      {trust.RoleSnapshot, start.online, true, 7}, // root, snapshot, timestamp; targets, journal, snapshot, timestamp
		"root key":                {trust.RoleRoot, start.root[0], false, 1},
		"product key (one point)": {productRole, start.engineer, false, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do := func(t *testing.T, w *world, store storage.Store) error {
				p := w.withBoth(t, store, fresh)
				if p.Stolen = c.stolen; c.stolen {
					p.Online, p.OnlineToo = fresh, nil
				}
				by := []key{start.root[1], start.root[2], fresh}
				if slices.Contains([]string{trust.RoleSnapshot, trust.RoleRoot}, c.role) {
					by = by[:2]
				}
				_, err := p.ChangeRole(ctx, rotate(c.role, c.old, fresh), nil, signers(by...))
				return err
			}
			for _, stored := range []bool{false, true} {
				n := 1
				for ; ; n++ {
					w := start.copy(t)
					h := &hosts{t, w, map[string]string{}}
					h.step("before")
					faults := storagetest.NewFaults(t, w.store)
					faults.CrashAtWrite(n, stored)
					err := do(t, w, faults)
					if faults.Writes() < n {
						check(t, err)
						break
					}
					if !errors.Is(err, storagetest.ErrCrashed) {
						t.Fatalf("crash at write %d (stored: %t): %v", n, stored, err)
					}
					if _, err := h.open(t.TempDir()).Refresh(ctx); err == nil {
						h.step("after the crash")
					} else if refused := new(trust.Error); !c.stolen || !errors.As(err, &refused) || refused.Kind != trust.BadSignature {
						t.Fatalf("after a crash at write %d (stored: %t): %v", n, stored, err)
					}
					check(t, do(t, w, w.store))
					h.step("completed")
					if a, _ := w.view(t).Authority(c.role); a.Has(c.old.TUF.ID) || !a.Has(fresh.TUF.ID) {
						t.Fatalf("after a crash at write %d (stored: %t) running again does not complete it", n, stored)
					}
				}
				if n <= c.min {
					t.Fatalf("it takes %d writes; at least %d were expected", n-1, c.min)
				}
			}
		})
	}
}
