package publisher_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// Whoever may write below pending/ says of a proposal that is in effect that it was built on another, which went stale by it: the
// holder of that one is told of it all the same.
func TestAWordThatHidesAStaleChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := w.openstack()
	req.Name = "nova"
	lost := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(w.root[0]))).Proposal
	w.now = w.now.Add(time.Minute)
	// An exchange of the online key builds on nothing.
	next := catalogtest.NewKey(t)
	exchange := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate("snapshot", w.online, next), nil, signers(w.root[0]))).Proposal
	must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, exchange, nil, signers(w.root[1])))
	p := w.publisher(t, w.online)
	p.OnlineToo = append(p.OnlineToo, next)
	commit(t, p)
	told := func() bool {
		t.Helper()
		pending, err := w.publisher(t, nil).Pending(ctx)
		check(t, err)
		for _, p := range pending {
			t.Logf("%s stale %q", p.ID, p.Stale)
			if p.ID == lost {
				return true
			}
		}
		return false
	}
	if !told() {
		t.Fatal("not told before")
	}
	file := filepath.Join(w.dir, filepath.FromSlash(manifest.ProposalObject(exchange, manifest.ProposalName)))
	var doc map[string]any
	data, err := os.ReadFile(file)
	check(t, err)
	check(t, json.Unmarshal(data, &doc))
	doc["on"] = lost
	data, err = json.Marshal(doc)
	check(t, err)
	check(t, os.WriteFile(file, data, 0o644))
	if !told() {
		t.Errorf("nothing is said any more of %s", lost)
	}
}
