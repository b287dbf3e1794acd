package publisher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/publisher"
)

// A stranger leaves one proposal that is refused, and garbage under the id of an engineer's key: a round in which nothing is new is as quiet as
// ever.
func TestAStrangersRefusedProposalBeforeTheCommitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const garbage = 100
	for i := range garbage {
		dir := filepath.Join(w.dir, "pending", fmt.Sprintf("%s.9.%016x", productRole, i))
		write(t, filepath.Join(dir, "sig", productRole, fmt.Sprintf("%s-%064x.json", w.engineer.TUF.ID, i)), "{}")
		check(t, os.WriteFile(filepath.Join(dir, "proposal.json"), []byte("{}"), 0o644))
	}
	k, err := trust.NewKey(w.stranger.Public())
	check(t, err)
	w.craft(t, crafted{"targets", func(r *trust.Targets) {
		r.Delegations = append(r.Delegations, trust.Delegation{Name: "product.x", Authority: trust.Authority{Keys: []trust.Key{k}, Threshold: 1}, Paths: []string{"elsewhere/*"}})
	}, nil}, crafted{"product.x", nil, signers(w.stranger)})
	store := storagetest.NewLedger(t).Watch(w.store)
	rounds := &publisher.CommitRounds{Publisher: w.over(t, store, w.online)}
	for i := range 3 {
		before, begun := store.Count(""), time.Now()
		result, err := rounds.Round(ctx)
		check(t, err)
		n := store.Count("") - before
		t.Logf("round %d: %d requests in %v, refused %v", i, n, time.Since(begun), result != nil && len(result.Refused) > 0)
		if i > 0 && n > 8 {
			t.Errorf("a quiet round takes %d requests", n)
		}
	}
}
