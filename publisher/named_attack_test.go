package publisher_test

import (
	"fmt"
	"strings"
	"testing"
)

// A thief of one engineer's key names each of his proposals after another role that nobody has, which comes before his own in the order of
// names: no more of them are looked at than of others.
func TestOneKeyFloodsUnderNamesOfNoRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	for i := range 60 {
		w.craft(t, crafted{fmt.Sprintf("product.a%d", i), nil, nil}, crafted{productRole, nil, signers(w.engineer)})
	}
	laptop := w.publisher(t, nil)
	told := &listener{counted: map[string]int{}}
	laptop.Progress = told
	pending, err := laptop.Pending(ctx)
	check(t, err)
	if len(pending) != 50 {
		t.Errorf("%d are shown", len(pending))
	}
	if text := fmt.Sprint(told.counted); !strings.Contains(text, "10 more proposals for "+productRole+" signed by key "+short(w.engineer)) {
		t.Errorf("of the flood it says %q", text)
	}
	if result := commit(t, w.publisher(t, w.online)); len(result.Refused) > 50 {
		t.Errorf("%d are refused", len(result.Refused))
	}
}
