package publisher_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// staleID is the id of the only stale proposal.
func (w *world) staleID(t *testing.T) string {
	t.Helper()
	list, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	var stale []publisher.PendingProposal
	for _, p := range list {
		if p.Stale != "" {
			stale = append(stale, p)
		}
	}
	if len(stale) != 1 {
		t.Fatalf("stale: %+v", list)
	}
	return stale[0].ID
}

// overtaken makes a change that waits, and another one that takes effect without knowing of it. It gives the id of the
// first, which is stale then.
func (w *world) overtaken(t *testing.T, change, meanwhile func(w *world) error) string {
	t.Helper()
	other := w.copy(t)
	check(t, change(w))
	w.now = w.now.Add(time.Minute)
	other.now = w.now
	check(t, meanwhile(other))
	check(t, filepath.WalkDir(other.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		check(t, err)
		name, err := filepath.Rel(other.dir, path)
		check(t, err)
		write(t, filepath.Join(w.dir, name), string(data))
		return nil
	}))
	w.now = w.now.Add(time.Minute)
	return w.staleID(t)
}

// Each kind of change goes stale, because another change of its role takes effect first, and is made again by one call.
func TestAStaleChangeIsProposedAgain(t *testing.T) {
	t.Parallel()
	yes := func(_ *publisher.Outcome, err error) error { return err }
	for name, c := range map[string]struct {
		prepare   func(t *testing.T, w *world)
		change    func(t *testing.T, w *world, p *publisher.Publisher) error // waits
		meanwhile func(t *testing.T, w *world, p *publisher.Publisher) error // takes effect
		by        func(w *world) []key
		holds     func(t *testing.T, w *world) bool
	}{
		"publish": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Publish(ctx, source(t, v1, nil), signers(w.engineer)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Publish(ctx, source(t, v2, nil), signers(w.colleague)))
			},
			by:    func(w *world) []key { return []key{w.engineer} },
			holds: func(t *testing.T, w *world) bool { return w.published(t, v2, 1) == nil && w.published(t, v1, 2) == nil },
		},
		"yank": {
			prepare: func(t *testing.T, w *world) { w.publish(t, v1); w.publish(t, v2) },
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Yank(ctx, release(v1), "slow", signers(w.engineer)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Yank(ctx, release(v2), "worse", signers(w.colleague)))
			},
			by: func(w *world) []key { return []key{w.colleague} },
			holds: func(t *testing.T, w *world) bool {
				return w.info(t, v1).Yanked == "slow" && w.info(t, v2).Yanked == "worse"
			},
		},
		"validate": {
			prepare: func(t *testing.T, w *world) { w.publish(t, v1); w.publish(t, v2) },
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Validate(ctx, release(v1), signers(w.validator)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Validate(ctx, release(v2), signers(w.validator)))
			},
			by:    func(w *world) []key { return []key{w.validator} },
			holds: func(t *testing.T, w *world) bool { return w.stage(t, v1) == manifest.StageValidated },
		},
		"recall": {
			prepare: func(t *testing.T, w *world) { w.publish(t, v1); w.publish(t, v2) },
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Recall(ctx, release(v1), "broken", signers(w.engineer)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.Recall(ctx, release(v2), "worse", signers(w.certA)))
			},
			by: func(w *world) []key { return []key{w.certB} },
			holds: func(t *testing.T, w *world) bool {
				info := w.info(t, v1)
				return info.Recalled != nil && info.Recalled.Reason == "broken" && w.info(t, v2).Recalled != nil
			},
		},
		"product": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.root[:2]...)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.AddProduct(ctx, publisher.ProductRequest{Name: "nova", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA)}, signers(w.root[1:]...)))
			},
			by: func(w *world) []key { return w.root[:2] },
			holds: func(t *testing.T, w *world) bool {
				return strings.Join(w.view(t).Products(), " ") == "ceph nova openstack swift"
			},
		},
		"customer": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.AddSite(ctx, w.site("acme/lab", w.stranger), signers(w.admin)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return yes(p.AddSite(ctx, w.site("acme/other", catalogtest.NewKey(t)), signers(w.admin)))
			},
			by: func(w *world) []key { return []key{w.admin} },
			holds: func(t *testing.T, w *world) bool {
				acme, err := w.view(t).Customer(ctx, "acme")
				return err == nil && acme.Site("lab") != nil && acme.Site("other") != nil && acme.Site("staging") != nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.prepare != nil {
				c.prepare(t, w)
			}
			id := w.overtaken(t, func(w *world) error { return c.change(t, w, w.publisher(t, nil)) },
				func(w *world) error { return c.meanwhile(t, w, w.publisher(t, w.online)) })
			shown, err := w.publisher(t, nil).PendingOne(ctx, id)
			check(t, err)
			if strings.Join(shown.Again, "; ") != "kitchen pending again "+id+" --key FILE" {
				t.Errorf("to propose it again: %q", shown.Again)
			}
			before := w.proposals(t)
			var asked publisher.PendingProposal
			no := func(p publisher.PendingProposal) (bool, error) { asked = p; return false, nil }
			must(t, publisher.Declined)(w.publisher(t, nil).Again(ctx, id, no, signers(c.by(w)...)))
			if len(asked.Change) == 0 || asked.ID != id || asked.Stale == "" || !slices.Equal(w.proposals(t), before) {
				t.Errorf("asked about %+v; proposals %q, there were %q", asked, w.proposals(t), before)
			}
			out := must(t, publisher.Pending)(w.publisher(t, nil).Again(ctx, id, nil, signers(c.by(w)...)))
			if now, err := w.publisher(t, nil).PendingOne(ctx, out.Proposal); err != nil || strings.Join(now.Change, "\n") != strings.Join(asked.Change, "\n") {
				t.Errorf("%v: what was asked about: %q; what was signed: %q", err, asked.Change, now.Change)
			}
			if again := must(t, publisher.Pending)(w.publisher(t, nil).Again(ctx, id, nil, signers(c.by(w)...))); again.Proposal != out.Proposal {
				t.Errorf("a second time it is %s, not %s", again.Proposal, out.Proposal)
			}
			commit(t, w.publisher(t, w.online))
			if !c.holds(t, w) {
				t.Errorf("not as meant: %q", out.Summary)
			}
			must(t, publisher.Unchanged)(w.publisher(t, nil).Again(ctx, id, nil, signers(c.by(w)...)))
		})
	}
}

// proposals are the objects of all proposals.
func (w *world) proposals(t *testing.T) (list []string) {
	t.Helper()
	for _, key := range w.objects(t) {
		if strings.HasPrefix(key, manifest.PendingPrefix) {
			list = append(list, key)
		}
	}
	return list
}

// What would not mean the same today is not made again, and says what to do.
func TestWhatMakesNoSenseAnyMoreIsNotProposedAgain(t *testing.T) {
	t.Parallel()
	by := func(_ *publisher.Outcome, err error) error { return err }
	for name, c := range map[string]struct {
		change, meanwhile func(t *testing.T, w *world, p *publisher.Publisher) error
		by                func(w *world) key
		reason, command   string
	}{
		"other bytes were published under the version": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.Publish(ctx, source(t, v2, nil), signers(w.engineer)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.Publish(ctx, source(t, v2, map[string]string{"x": "other"}), signers(w.colleague)))
			},
			by:     func(w *world) key { return w.engineer },
			reason: "changed meanwhile", command: "kitchen publish DIR",
		},
		"a certificate": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error { return by(certify(p, v1, w.certA)) },
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				w.report(t, "enovance/ci", w.vendorCI, "openstack@1.2.0", manifest.Passed, nil)
				mustCommit(t)(p.Validate(ctx, release("openstack@1.2.0"), signers(w.validator)))
				return by(certify(p, "openstack@1.2.0", w.certA, w.certB))
			},
			by:     func(w *world) key { return w.certA },
			reason: "gather its evidence anew", command: "kitchen certify " + v1,
		},
		"the release was recalled for another reason": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.Recall(ctx, release(v1), "broken", signers(w.engineer)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.Recall(ctx, release(v1), "worse", signers(w.certA)))
			},
			by:     func(w *world) key { return w.engineer },
			reason: "changed meanwhile", command: "kitchen recall " + v1,
		},
		"a site's key ends when it is said to": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: w.stranger.Public()}, signers(w.admin)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				return by(p.AddCustomer(ctx, publisher.CustomerRequest{Name: "zeta"}, signers(w.admin)))
			},
			by:     func(w *world) key { return w.admin },
			reason: "counts from the moment it is said (kitchen site rotate-key", command: "customer show acme",
		},
		"the release was recalled before it was validated": {
			change: func(t *testing.T, w *world, p *publisher.Publisher) error {
				mustCommit(t)(w.publisher(t, w.online).Publish(ctx, source(t, v2, nil), signers(w.engineer)))
				return by(p.Validate(ctx, release(v2), signers(w.validator)))
			},
			meanwhile: func(t *testing.T, w *world, p *publisher.Publisher) error {
				mustCommit(t)(p.Publish(ctx, source(t, v2, nil), signers(w.engineer)))
				mustCommit(t)(p.Validate(ctx, release("openstack@1.2.0"), signers(w.validator)))
				return by(p.Recall(ctx, release(v2), "broken", signers(w.engineer)))
			},
			by:     func(w *world) key { return w.validator },
			reason: "is recalled: broken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.validated(t, v1)
			w.publish(t, "openstack@1.2.0")
			id := w.overtaken(t, func(w *world) error { return c.change(t, w, w.publisher(t, nil)) },
				func(w *world) error { return c.meanwhile(t, w, w.publisher(t, w.online)) })
			err := w.refused(t, func() error {
				_, err := w.publisher(t, w.online).Again(ctx, id, nil, signers(c.by(w)))
				return err
			})
			not := wantError[*publisher.NotAgain](t, err, c.reason)
			if !strings.Contains(not.Command, c.command) {
				t.Errorf("to run instead: %q", not.Command)
			}
			wantError[*publisher.NotAuthorized](t, w.refused(t, func() error {
				_, err := w.publisher(t, w.online).Again(ctx, id, nil, signers(w.stranger))
				return err
			}))
		})
	}
}
