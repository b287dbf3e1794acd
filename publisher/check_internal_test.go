package publisher

import (
	"fmt"
	"testing"
)

// TestManyReleasesNeedOneBlob: so many are named as a line takes, and the rest are counted.
func TestManyReleasesNeedOneBlob(t *testing.T) {
	t.Parallel()
	var c checker
	for i := range 14 {
		for range 2 { // two artifacts of a release may be the same bytes
			c.needs = append(c.needs, need{by: fmt.Sprintf("p@1.%02d", 13-i), path: "disk.img", listed: true})
		}
	}
	c.needs = append(c.needs, need{by: "p@0.1", path: "disk.img"}) // of a proposal: not needed yet
	c.result = &CheckResult{}
	c.sortNeeds()
	want := "p@1.00, p@1.01, p@1.02, p@1.03, p@1.04, p@1.05, p@1.06, p@1.07, p@1.08, p@1.09 and 4 more need it: artifact disk.img"
	if len(c.needs) != 1 || c.needs[0].words() != want {
		t.Errorf("%d of them, %s; want %s", len(c.needs), c.needs[0].words(), want)
	}
}
