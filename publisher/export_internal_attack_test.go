package publisher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/manifest"
)

// TestLargeProposalsKeepNoOthersOutOfAFile: a signing file has room for 64 MiB. Strangers leave proposals of 14 MB, one stolen key three
// more: what others began is in the file, and the file can be written and read.
func TestLargeProposalsKeepNoOthersOutOfAFile(t *testing.T) {
	t.Parallel()
	f := &SigningFile{Schema: signingSchema, Role: "targets", Sizes: map[string]int64{}, Objects: map[string][]byte{"metadata/1.root.json": []byte("{}")}}
	var offered []PendingProposal
	leave := func(size int, owners ...string) string {
		id := manifest.ProposalID("targets", 2, fmt.Sprintf("%016x%048x", len(offered), 0))
		f.Objects[manifest.ProposalObject(id, manifest.PayloadName("targets"))] = make([]byte, size)
		offered = append(offered, PendingProposal{ID: id, owners: owners})
		return id
	}
	for range 20 {
		leave(1000)
	}
	for range 5 {
		leave(14 << 20)
	}
	stolen := []string{leave(14<<20, "thief"), leave(14<<20, "thief"), leave(14<<20, "thief")}
	honest := []string{leave(1000, "ann"), leave(2<<20, "ben")}
	kept, left := f.fit(offered)
	f.keepProposals(kept)
	held := func(id string) bool {
		return slices.ContainsFunc(kept, func(p PendingProposal) bool { return p.ID == id }) && f.Objects[manifest.ProposalObject(id, manifest.PayloadName("targets"))] != nil
	}
	for _, id := range honest {
		if !held(id) {
			t.Errorf("%s is left out", id)
		}
	}
	if !held(stolen[0]) || len(kept)+len(left) != len(offered) || len(left) != 6 {
		t.Errorf("kept %d, left %d of %d", len(kept), len(left), len(offered))
	}
	var many []PendingProposal
	for i := range 60 {
		id := manifest.ProposalID("targets", 3, fmt.Sprintf("%016x%048x", i, 0))
		size, owners := 900<<10, []string{"thief"}
		if i == 59 {
			size, owners = 1<<20, []string{"thief", "ann"}
		}
		f.Objects[manifest.ProposalObject(id, manifest.PayloadName("targets"))] = make([]byte, size)
		many = append(many, PendingProposal{ID: id, owners: owners})
	}
	if some, _ := (&SigningFile{Objects: maps.Clone(f.Objects)}).fit(many); !slices.ContainsFunc(some, func(p PendingProposal) bool { return len(p.owners) == 2 }) {
		t.Error("59 of one key keep out the one of another")
	}
	maps.DeleteFunc(f.Objects, func(key string, _ []byte) bool { return strings.Contains(key, "targets.3.") })
	if text := leftOut(left); !strings.Contains(text, left[0].ID) || !strings.Contains(text, "no room for 6 proposals") {
		t.Errorf("it says %q", text)
	}
	data, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSigningFile(data); err != nil {
		t.Error(err)
	}
}
