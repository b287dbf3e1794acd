package publisher

import (
	"fmt"
	"testing"
)

// A payload hands thousands of roles to the same thousand keys: each id that comes in is told once, and met again for nothing.
func TestTheSameKeysInThousandsOfRoles(t *testing.T) {
	var ids []string
	for i := range 100_000 {
		ids = append(ids, fmt.Sprintf("%064x", i%1000))
	}
	if lines := inWords(ids); len(lines) != 1000 {
		t.Errorf("%d lines", len(lines))
	}
	if n := testing.AllocsPerRun(1, func() { inWords(ids) }); n > 10_000 {
		t.Errorf("%.0f allocations for 1000 keys that come 100 times", n)
	}
}
