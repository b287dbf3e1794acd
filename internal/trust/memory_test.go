package trust_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/trust"
)

// TestReaderWithMemory names what one who has seen the catalog before must refuse besides.
func TestReaderWithMemory(t *testing.T) {
	for _, c := range []struct {
		name string
		kind trust.Kind
		step func(w *world) // between the first reading and the second
	}{
		{"nothing changed", "", func(*world) {}},
		{"ordinary commit", "", func(w *world) { w.productDoc.Version++; w.sealProduct(); w.commit() }},
		{"timestamp re-signed with the same snapshot", "", func(w *world) { w.timestampNo++; w.sealTimestamp() }},
		{"rollback of the timestamp", trust.Rollback, func(w *world) { w.timestampNo--; w.snapshotNo++; w.sealOnline() }},
		{"rollback of the snapshot", trust.Rollback, func(w *world) { w.timestampNo++; w.snapshotNo--; w.sealOnline() }},
		{"rollback of a role", trust.Rollback, func(w *world) {
			w.productDoc.Version--
			w.sealProduct()
			w.commit()
		}},
		{"dropped role", trust.Missing, func(w *world) { delete(w.roles, "product.openstack"); w.commit() }},
		{"same timestamp version, other content", trust.SameVersion, func(w *world) { w.snapshotNo++; w.sealOnline() }},
		{"same snapshot version, other content", trust.SameVersion, func(w *world) {
			w.productDoc.Version++
			w.sealProduct()
			w.timestampNo++
			w.sealOnline()
		}},
		{"same role version, other content", trust.SameVersion, func(w *world) {
			w.productDoc.Targets = nil
			w.sealProduct()
			w.commit()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.productDoc.Version = 7
			w.sealProduct()
			w.snapshotNo, w.timestampNo = 5, 5
			w.sealOnline()
			old := w.memory()
			c.step(w)
			wantKind(t, w.after(old), c.kind)
		})
	}
}

// TestRememberedSnapshotSaves shows the three answers to a remembered snapshot.
func TestRememberedSnapshotSaves(t *testing.T) {
	w := newWorld(t)
	old := w.memory()
	s, err := w.remembering(old)
	check(t, err)
	if s.Snapshot() == nil {
		t.Fatal("a snapshot that is still announced is in effect")
	}
	w.commit()
	s, err = w.remembering(old)
	check(t, err)
	if s.Snapshot() != nil {
		t.Fatal("an old snapshot is a floor and no more")
	}
	s, err = trust.Start(w.rootFile, now)
	check(t, err)
	check(t, s.FinishRoots())
	check(t, s.UpdateTimestamp(w.timestamp))
	wantKind(t, s.UpdateSnapshot(old.snapshot[:100], true), trust.Malformed)
	check(t, s.UpdateSnapshot(w.snapshotFile, false))
}

// TestDamagedMemoryHeals: a remembered file whose envelope was bent, but whose signed part still verifies,
// must not make the good file look like a second version of it.
func TestDamagedMemoryHeals(t *testing.T) {
	w := newWorld(t)
	bend := func(file []byte) []byte { return append([]byte(" "), file...) }
	check(t, w.after(memory{bend(w.timestamp), bend(w.snapshotFile)}))
}

func TestRollbackAgainstRememberedNumbers(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  trust.Kind
		floor trust.Floor
	}{
		{"nothing", "", trust.Floor{}},
		{"reached", "", trust.Floor{Timestamp: trust.Seen{Version: 1}, Snapshot: trust.Meta{Version: 1}}},
		{"timestamp", trust.Rollback, trust.Floor{Timestamp: trust.Seen{Version: 2}}},
		{"snapshot", trust.Rollback, trust.Floor{Snapshot: trust.Meta{Version: 2}}},
		{"role", trust.Rollback, trust.Floor{Roles: map[string]trust.Meta{"targets": {Version: 2}}}},
		{"role dropped", trust.Missing, trust.Floor{Roles: map[string]trust.Meta{"gone": {Version: 2}}}},
		{"other content", trust.SameVersion, trust.Floor{Timestamp: trust.Seen{Version: 1, Content: strings.Repeat("ab", 32)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s, err := trust.Start(w.rootFile, now)
			check(t, err)
			check(t, s.Remember(c.floor))
			wantKind(t, w.read(s, nil), c.kind)
			if c.kind == "" && (s.Floor().Timestamp.Version != 1 || s.Floor().Roles["targets"].SHA256 == "") {
				t.Fatalf("floor is %+v", s.Floor())
			}
		})
	}
}
