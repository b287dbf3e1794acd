package publisher

import (
	"context"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
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

// Whose recalls may take the last quarter of their list.
func TestTheLastRoomOfAListOfRecalls(t *testing.T) {
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	name := manifest.RoleRecalled("openstack")
	engineer, certifier := catalogtest.NewKey(t), w.RoleKeys[manifest.RoleReady("openstack")][0]
	w.Commit()
	v := w.View()
	grown := map[string]trust.Target{"recalled/openstack/9.0.0/manifest.toml": {Length: 1, SHA256: catalogtest.Digest(nil)}}
	for _, c := range []struct {
		what    string
		size    int
		next    map[string]trust.Target
		holders []*catalogtest.Key
		by      []*catalogtest.Key
		refused bool
	}{
		{"an engineer's", 12 << 20, grown, []*catalogtest.Key{engineer, certifier}, []*catalogtest.Key{engineer}, true},
		{"nobody's yet", 12 << 20, grown, []*catalogtest.Key{engineer, certifier}, nil, true},
		{"an engineer's, with room", 12<<20 - 4096, grown, []*catalogtest.Key{engineer, certifier}, []*catalogtest.Key{engineer}, false},
		{"a certifier's", 12 << 20, grown, []*catalogtest.Key{engineer, certifier}, []*catalogtest.Key{engineer, certifier}, false},
		{"a renewal", 12 << 20, nil, []*catalogtest.Key{engineer, certifier}, []*catalogtest.Key{engineer}, false},
		{"where no certifier may recall", 12 << 20, grown, []*catalogtest.Key{engineer}, []*catalogtest.Key{engineer}, false},
	} {
		payload := []byte(`{"x":"` + strings.Repeat("x", c.size) + `"}`)
		r := &roleDraft{name: name, next: &trust.Targets{Role: name, Version: 1, Targets: c.next}, payload: payload, authority: catalogtest.Authority(1, c.holders...)}
		for _, k := range c.by {
			sig, err := trust.Sign(context.Background(), payload, k)
			if err != nil {
				t.Fatal(err)
			}
			r.sigs = append(r.sigs, sig)
		}
		if reason := vetRoom(v, r); (reason != "") != c.refused {
			t.Errorf("%s: %q", c.what, reason)
		}
	}
}
