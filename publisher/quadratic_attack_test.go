package publisher_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// A stranger without any key leaves a payload of targets that hands one role to more key ids than a role may have: it is
// refused for that, before they are compared.
func TestAPayloadOfVeryManyKeyIDs(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 20_000} {
		w := newWorld(t)
		targets, err := w.view(t).Role(trust.RoleTargets)
		check(t, err)
		next := targets.Clone()
		next.Version++
		next.Replaces = catalogtest.Digest(w.view(t).RawRole(trust.RoleTargets))
		next.Expires, next.ProposalExpires = w.now.Add(365*catalogtest.Day), w.now.Add(14*catalogtest.Day)
		payload, err := next.Payload()
		check(t, err)
		var ids strings.Builder
		for i := range n {
			fmt.Fprintf(&ids, `"%x",`, 0x100000+i)
		}
		bad := strings.Replace(string(payload), `"keyids":[`, `"keyids":[`+ids.String(), 1)
		_, err = trust.ParseTargetsPayload([]byte(bad))
		if refused := err != nil && strings.Contains(err.Error(), "at most 1024"); refused != (n > 0) {
			t.Errorf("%d key ids more: %v", n, err)
		}
		w.raw(t, trust.RoleTargets, next.Version, []byte(bad))
		_, err = w.publisher(t, nil).Pending(ctx)
		check(t, err)
	}
}

// A mirror, or whoever may write metadata/, offers a next root of very many key ids, which nobody signed: hosts refuse it for that.
func TestANextRootOfVeryManyKeyIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := string(w.object(t, manifest.RootObject(1)))
	var ids strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&ids, `"%x",`, 0x100000+i)
	}
	bad := strings.Replace(root, `"keyids":[`, `"keyids":[`+ids.String(), 1)
	bad = strings.Replace(bad, `"version":1`, `"version":2`, 1)
	if len(bad) > 512<<10 || len(bad) < 300_000 {
		t.Fatal(len(bad))
	}
	w.put(t, manifest.RootObject(2), []byte(bad))
	if _, err := w.catalog(t, w.store).Refresh(ctx); err == nil || !strings.Contains(err.Error(), "at most 1024") {
		t.Errorf("%v", err)
	}
}
