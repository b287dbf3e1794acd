package publisher

import (
	"testing"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// A payload that fits and a file that does not: the commit would fail each time, and stop all others with it. Tested
// from within, since a real proposal of that size takes half a minute to read.
func TestRolesThatWouldNotFitWithTheirSignatures(t *testing.T) {
	name := manifest.RoleRecalled("openstack")
	kind, err := manifest.KindOf(manifest.RoleObject(name, 1))
	if err != nil {
		t.Fatal(err)
	}
	for size, refused := range map[int64]bool{100: false, kind.MaxSize - 4096: false, kind.MaxSize - 1000: true, kind.MaxSize: true} {
		r := &roleDraft{name: name, next: &trust.Targets{Role: name, Version: 1}, payload: make([]byte, size), authority: trust.Authority{Keys: make([]trust.Key, 3)}}
		if reason := vetSize(r); (reason != "") != refused {
			t.Errorf("%d bytes: %q", size, reason)
		}
	}
}
