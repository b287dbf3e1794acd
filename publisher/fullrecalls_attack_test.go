package publisher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
)

// A thief of one engineer's key recalls releases that there are none of, in long words or many times, to fill the list of recalls. Recalls are
// never taken out: whoever finds a hole afterwards recalls that release all the same.
func TestOneKeyFillsTheListOfRecalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	recall := func(r *trust.Targets, i int, custom map[string]string) {
		custom["since"] = fmt.Sprint(r.Version)
		r.Targets[fmt.Sprintf("recalled/openstack/9.0.%d/manifest.toml", i)] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil), Custom: custom}
	}
	for says, fill := range map[string]func(r *trust.Targets){
		"has 1001 bytes, more than the 1000": func(r *trust.Targets) {
			recall(r, 1, map[string]string{"reason": strings.Repeat("x", 1001)})
		},
		"says more than its reason and its number": func(r *trust.Targets) {
			recall(r, 1, map[string]string{"reason": "hole", "why": strings.Repeat("x", 1001)})
		},
		"1001 recalls of what product.openstack does not list": func(r *trust.Targets) {
			for i := range 1001 {
				recall(r, i, map[string]string{"reason": "hole"})
			}
		},
	} {
		id := w.craft(t, crafted{recalledRole, fill, signers(w.engineer)})
		if p := w.pendingOne(t, id); !strings.Contains(p.Refused, says) {
			t.Errorf("want %q: %q", says, p.Refused)
		}
	}
	w.craft(t, crafted{recalledRole, func(r *trust.Targets) {
		for i := range 1000 {
			recall(r, i, map[string]string{"reason": strings.Repeat("x", 1000)})
		}
	}, signers(w.engineer)})
	if result := commit(t, w.publisher(t, w.online)); len(result.Committed) != 1 {
		t.Errorf("%+v", result)
	}
	must(t, publisher.Committed)(w.publisher(t, w.online).Recall(ctx, release(v1), "hole", signers(w.certA)))
	if w.info(t, v1).Recalled == nil {
		t.Errorf("%s is not recalled", v1)
	}
}

// The list of recalls holds as much as it may: whoever recalls is told so, and not that it waits for the committer.
func TestARecallThatDoesNotFitIsNotLeftWaiting(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish(v1, catalogtest.Content{})
	w.Validate(v1)
	w.Edit(productRole, func(r *trust.Targets) { clear(r.Targets) })
	w.Edit(recalledRole, func(r *trust.Targets) {
		for i := range 1000 {
			r.Targets[fmt.Sprintf("recalled/openstack/9.0.%d/manifest.toml", i)] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil),
				Custom: map[string]string{"since": "1", "reason": "hole"}}
		}
	})
	w.Commit()
	p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
	_, err := p.Recall(ctx, release(v1), "hole", []keys.Signer{w.RoleKeys[recalledRole][0]})
	wantError[*publisher.Refused](t, err, "more than the 1000 that it may")
}

// The same in letters that take more room in the list than they show: control characters are refused, and what is put between marks counts
// as it is written.
func TestOneKeyRecallsInLettersThatTakeMoreRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	for reason, says := range map[string]string{
		strings.Repeat("\x01", 1000): "is no plain text",
		strings.Repeat("\u2028", 10): "is no plain text",
		strings.Repeat(`"`, 600):     "has 1200 bytes, more than the 1000",
		strings.Repeat(`\`, 501):     "has 1002 bytes, more than the 1000",
	} {
		id := w.craft(t, crafted{recalledRole, func(r *trust.Targets) {
			r.Targets["recalled/openstack/9.0.0/manifest.toml"] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil), Custom: map[string]string{"reason": reason, "since": fmt.Sprint(r.Version)}}
		}, signers(w.engineer)})
		if p := w.pendingOne(t, id); !strings.Contains(p.Refused, says) || len(p.Refused) > 10_000 {
			t.Errorf("%.20q, want %q: %q", reason, says, p.Refused)
		}
	}
	for _, reason := range []string{strings.Repeat(`"`, 1000), strings.Repeat("ü\x01", 1000)} { // by the command they are cut
		must(t, publisher.Committed)(w.publisher(t, w.online).Recall(ctx, release(v1), reason, signers(w.certA)))
	}
}

// A thief of one engineer's key lists releases and recalls them, until the list of recalls is three quarters full. The last quarter is for what
// a certifier signs: he recalls as before.
func TestOneKeyFillsTheListOfRecallsWithWhatItLists(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish(v1, catalogtest.Content{})
	engineer, certifier := catalogtest.NewKey(t), w.RoleKeys[readyRole][0]
	w.Delegate(recalledRole, 1, engineer, certifier)
	w.Edit(recalledRole, func(r *trust.Targets) { // of old, in few entries: it has as many bytes
		r.Targets["recalled/openstack/9.0.0/manifest.toml"] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil),
			Custom: map[string]string{"since": "1", "reason": strings.Repeat("x", 12<<20-1000)}}
	})
	w.Commit()
	p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
	_, err := p.Recall(ctx, release(v1), "hole", []keys.Signer{engineer})
	wantError[*publisher.Refused](t, err, "kept for recalls that a holder of "+readyRole+" signs (kitchen recall, with such a key)")
	must(t, publisher.Pending)(p.Recall(ctx, release(v1), "hole", []keys.Signer{certifier})) // vetted before it is left
}
