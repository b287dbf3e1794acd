package publisher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// handsOut adds new roles to targets, all for one key. Each takes some 160 bytes.
func handsOut(prefix string, roles int, k *catalogtest.Key) func(*trust.Targets) {
	return func(r *trust.Targets) {
		for i := range roles {
			name := fmt.Sprintf("product.%s%d", prefix, i)
			r.Delegations = append(r.Delegations, trust.Delegation{Name: name, Paths: manifest.RolePaths(name), Authority: catalogtest.Authority(1, k)})
		}
	}
}

// watched is what waits, by id, what is said besides, and how many bytes it took.
func (w *world) watched(t *testing.T) (ids []string, said string, bytes int64) {
	t.Helper()
	store := storagetest.NewLedger(t).Watch(w.store)
	p := w.over(t, store, nil)
	told := &listener{counted: map[string]int{}}
	p.Progress = told
	list, err := p.Pending(ctx)
	check(t, err)
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	for text, n := range told.counted {
		if n > 1 {
			t.Errorf("said %d times: %s", n, text)
		}
		said += text + "\n"
	}
	return ids, said, store.Bytes()
}

// Strangers leave large proposals of targets and root that nobody who holds a role has signed: signed by themselves, by nobody, or under the name
// of a key that there is none of. They are not read, and that is said; what holders signed is shown as before, however old it is.
func TestStrangersLargeProposalsAreNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	good := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	_, _, before := w.watched(t)
	w.now = w.now.Add(time.Minute)
	for i := range 4 {
		prefix := fmt.Sprintf("s%dx", i)
		switch id := w.craft(t, crafted{"targets", handsOut(prefix, 6500, w.stranger), nil}, crafted{"product." + prefix + "0", nil, signers(w.stranger)[:i%2]}); i % 2 {
		case 0:
			key := manifest.SignatureObject(id, "targets", strings.Repeat("a", 64), strings.Repeat("a", 64))
			w.put(t, key, []byte("{}"))
		}
	}
	ids, said, after := w.watched(t)
	if !slices.Equal(ids, []string{good}) || !strings.Contains(said, "4 more proposals that no holder has signed are not looked at: of one at most 1024 KiB are read, and 4 MiB of all") {
		t.Errorf("%q is shown, and it says %q", ids, said)
	}
	if more := after - before; more > 64<<10 {
		t.Errorf("%d bytes of them were read", more)
	}
	store := storagetest.NewLedger(t).Watch(w.store)
	commit(t, w.over(t, store, w.online))
	if n := store.Bytes(); n > 2<<20 {
		t.Errorf("a commit reads %d bytes", n)
	}
}

// The same in smaller pieces, for which there is room one by one: of all together only so much is read.
func TestStrangersManyProposalsAreNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	good := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, rotate(productRole, w.engineer, catalogtest.NewKey(t)), nil, signers(w.root[0]))).Proposal
	_, _, before := w.watched(t)
	w.now = w.now.Add(time.Minute)
	for i := range 10 {
		prefix := fmt.Sprintf("s%dx", i)
		w.craft(t, crafted{"targets", handsOut(prefix, 3000, w.stranger), nil}, crafted{"product." + prefix + "0", nil, signers(w.stranger)})
	}
	ids, said, after := w.watched(t)
	if !slices.Contains(ids, good) || len(ids) > 10 || !strings.Contains(said, "more proposals that no holder has signed are not looked at: of one at most") {
		t.Errorf("%d are shown, and it says %q", len(ids), said)
	}
	if more := after - before; more > 6<<20 {
		t.Errorf("%d bytes of them were read", more)
	}
}

// The same under a holder's name: a signature file that is none, or a genuine one copied from the file of a role in effect, beside a payload that he
// never saw. Bytes that nobody signed who holds their role are none of his. What he does sign is shown, however large it is.
func TestStrangersLargeProposalsUnderAHoldersName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	payload, sigs, err := trust.ParseEnvelope(w.view(t).RawRole(productRole))
	check(t, err)
	old, err := trust.ParseTargetsPayload(payload)
	check(t, err)
	copied := w.craft(t, crafted{"targets", handsOut("copied", 6500, w.stranger), nil}, crafted{productRole, func(r *trust.Targets) { *r = *old }, nil})
	w.signature(t, copied, productRole, sigs[0].KeyID, sigs[0])
	named := w.craft(t, crafted{"targets", handsOut("named", 6500, w.stranger), nil}, crafted{"product.named0", nil, signers(w.stranger)})
	w.signature(t, named, "targets", w.root[0].TUF.ID, trust.Signature{KeyID: w.root[0].TUF.ID, Sig: []byte("never")})
	ids, said, _ := w.watched(t)
	if len(ids) != 0 || !strings.Contains(said, "2 more proposals that no holder has signed are not looked at") {
		t.Errorf("%q is shown, and it says %q", ids, said)
	}
	large := w.craft(t, crafted{"targets", handsOut("honest", 6500, w.stranger), signers(w.root[0])})
	if ids, _, _ := w.watched(t); !slices.Equal(ids, []string{large}) {
		t.Errorf("%q is shown, and a holder signed %s", ids, large)
	}
	if p := w.pendingOne(t, large); len(p.Change) < 6500 {
		t.Errorf("%d lines are shown", len(p.Change))
	}
}
