package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// memory is what a host must not forget, whatever happens to the files it was learnt from. It is kept twice;
// of two intact copies that belong to this catalog the later generation counts. Pin and the last root tell which
// catalog that is: a copy whose roots are not in the chain is another catalog's, and is as good as none.
//
// Floor, Issued and Journal guard against older metadata. They hold for one set of timestamp and snapshot keys: when a
// root after Root replaces those keys they start anew, so that numbers and times that a thief pushed ahead do
// not outlive the stolen key (TUF 1.0 §5.3.11). Targets and Recalled hold for ever.
type memory struct {
	Generation int64                   `json:"generation"`
	Pin        pin                     `json:"pin"`            // where the root chain began
	Lost       bool                    `json:"lost,omitempty"` // made anew after both copies were lost, and not said yet
	Root       int64                   `json:"root"`           // highest version of the root chain; 0 = no walk ever ended
	RootSHA256 string                  `json:"root_sha256"`    // of that version
	Floor      trust.Floor             `json:"floor"`          // highest versions, seen under that root's online keys
	Issued     time.Time               `json:"issued"`         // newest time a timestamp was issued, likewise
	Targets    map[string]string       `json:"targets"`        // target path of a stage → sha256
	Recalled   map[string]recallMemory `json:"recalled"`       // by release, "p@v"
	Journal    manifest.JournalLink    `json:"journal"`        // newest segment of the journal, seen under that root's online keys
}

type recallMemory struct {
	SHA256 string `json:"sha256"`
	Reason string `json:"reason"`
	Since  int64  `json:"since,omitempty"` // see Recall
}

// maxReason caps what is remembered of a recall's reason, in bytes.
const maxReason = 1 << 10

func newMemory() *memory {
	return &memory{Targets: map[string]string{}, Recalled: map[string]recallMemory{}}
}

// readMemories gives the intact copies, the later generation first.
func (s stateDir) readMemories() []*memory {
	var copies []*memory
	for _, name := range []string{memoryA, memoryB} {
		if m := s.readMemoryCopy(name); m != nil {
			copies = append(copies, m)
		}
	}
	slices.SortStableFunc(copies, func(x, y *memory) int { return cmp.Compare(y.Generation, x.Generation) })
	return copies
}

func (s stateDir) readMemoryCopy(name string) *memory {
	data, ok := s.read(name, maxMemory)
	if !ok {
		return nil
	}
	body, err := openChecked(data)
	if err != nil {
		return nil
	}
	m := newMemory()
	if json.Unmarshal(body, m) != nil || m.Targets == nil || m.Recalled == nil {
		return nil
	}
	return m
}

// writeMemory writes both copies, one after the other: at any moment one is intact.
func (s stateDir) writeMemory(m *memory) error {
	m.Generation++
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	data, err := sealChecked(body)
	if err != nil {
		return err
	}
	for _, name := range []string{memoryA, memoryB} {
		if err := s.write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// intactMemories tells whether both copies are there, equal and of this generation, so that nothing needs to be written.
func (s stateDir) intactMemories(generation int64) bool {
	a, okA := s.read(memoryA, maxMemory)
	b, okB := s.read(memoryB, maxMemory)
	m := s.readMemoryCopy(memoryA)
	return okA && okB && bytes.Equal(a, b) && m != nil && m.Generation == generation
}

func (m *memory) clone() *memory {
	c := *m
	c.Targets = maps.Clone(m.Targets)
	c.Recalled = maps.Clone(m.Recalled)
	c.Floor.Roles = maps.Clone(m.Floor.Roles)
	return &c
}

// forgetOnline drops what was seen under online keys that root has replaced.
func (m *memory) forgetOnline() {
	m.Floor, m.Issued, m.Journal = trust.Floor{}, time.Time{}, manifest.JournalLink{}
}

// sawOnline remembers what a session verified down to the snapshot; it tells whether anything was new.
func (m *memory) sawOnline(s *trust.Session) bool {
	floor, issued := s.Floor(), m.Issued
	if s.Timestamp().Issued.After(issued) {
		issued = s.Timestamp().Issued
	}
	if m.Root == s.Root().Version && m.Issued.Equal(issued) && reflect.DeepEqual(m.Floor, floor) {
		return false
	}
	m.Root, m.Floor, m.Issued = s.Root().Version, floor, issued
	return true
}

// bind ties the memory to the chain of roots that it was made on; it tells whether anything was new.
func (m *memory) bind(first pin, lastRoot []byte) bool {
	digest := sha256Hex(lastRoot)
	if m.Pin == first && m.RootSHA256 == digest {
		return false
	}
	m.Pin, m.RootSHA256 = first, digest
	return true
}

// checkRole refuses a role that shows another digest for a path seen before, or that drops a recall.
func (m *memory) checkRole(name string, t *trust.Targets) error {
	for path, target := range t.Targets {
		if seen, ok := m.Targets[path]; ok && seen != target.SHA256 {
			return &trust.Error{Kind: trust.Mismatch, Role: name, Have: "sha256 " + target.SHA256, Want: "sha256 " + seen,
				Err: fmt.Errorf("%s was seen before with other content; a release never changes", path)}
		}
	}
	kind, product, _ := manifest.SplitRole(name)
	if kind == manifest.RoleJournal {
		return m.checkJournal(t)
	}
	if kind != manifest.StageRecalled {
		return nil
	}
	for release, recall := range m.Recalled {
		r, err := manifest.ParseRelease(release)
		if err != nil || r.Product != product {
			continue
		}
		target, ok := t.Targets[manifest.TargetPath(manifest.StageRecalled, r)]
		if !ok || target.SHA256 != recall.SHA256 || recallNumber(target.Custom[CustomSince]) < recall.Since {
			return &trust.Error{Kind: trust.Missing, Role: name, Want: "the recall of " + release,
				Err: fmt.Errorf("version %d drops a recall seen before, or has an earlier one; recalls only grow", t.Version)}
		}
	}
	return nil
}

// sawRole remembers the releases and recalls of a role that was checked; it tells whether anything was new.
func (m *memory) sawRole(name string, t *trust.Targets) bool {
	changed := false
	kind, _, _ := manifest.SplitRole(name)
	if kind == manifest.RoleJournal {
		head := JournalHead(t)
		changed, m.Journal = m.Journal != head, head
	}
	for path, target := range t.Targets {
		_, release, err := manifest.ParseTargetPath(path)
		if err != nil {
			continue // registry and policy entries change by right
		}
		if m.Targets[path] != target.SHA256 {
			m.Targets[path], changed = target.SHA256, true
		}
		if kind != manifest.StageRecalled {
			continue
		}
		recall := recallMemory{SHA256: target.SHA256, Reason: manifest.CleanText(target.Custom[CustomReason], maxReason),
			Since: recallNumber(target.Custom[CustomSince])}
		if m.Recalled[release.String()] != recall {
			m.Recalled[release.String()], changed = recall, true
		}
	}
	return changed
}

// recollect picks this catalog's memory, once the chain of roots that ends at version last is known, and holds the
// chain to it. Without one a refresh begins anew, and says so if the state directory was used before.
func (w *walk) recollect(last int64) error {
	mine := slices.IndexFunc(w.copies, func(m *memory) bool {
		return w.inChain(m.Pin.Version, m.Pin.SHA256) || w.inChain(m.Root, m.RootSHA256)
	})
	switch {
	case mine >= 0:
		w.memory = w.copies[mine]
	case w.writes:
		w.memory = newMemory()
		w.memory.Lost = len(w.copies) > 0 || w.c.state.used()
	}
	if !w.writes && (w.memory == nil || w.memory.Lost || w.memory.Root == 0) {
		return w.forgetful()
	}
	if last < w.memory.Root {
		return &trust.Error{Kind: trust.Rollback, Role: trust.RoleRoot, Have: fmt.Sprint(last), Want: fmt.Sprint(w.memory.Root)}
	}
	if seen := w.memory.Root; w.hasRoot(seen) && !w.inChain(seen, w.memory.RootSHA256) {
		return &trust.Error{Kind: trust.SameVersion, Role: trust.RoleRoot, Have: sha256Hex(w.rootOf(seen)), Want: w.memory.RootSHA256,
			Err: fmt.Errorf("version %d", seen)}
	}
	return nil
}

// beginMemory writes a memory that is made anew, once a timestamp has shown that the pin is this catalog's and
// before anything else is kept: from then on a state directory without one has lost it.
func (w *walk) beginMemory() error {
	if !w.writes || w.memory.Generation > 0 {
		return nil
	}
	w.memory.Pin = w.c.pins.first()
	return w.c.state.writeMemory(w.memory)
}

func (w *walk) forgetful() error {
	reason := "both copies of its memory of versions and recalls are missing, damaged or another catalog's"
	if w.memory != nil && w.memory.Root == 0 {
		reason = "no refresh of it has ended yet"
	}
	return &NotRefreshed{Dir: w.c.state.dir, Reason: reason}
}

// hasRoot tells whether a version is part of the chain walked so far.
func (w *walk) hasRoot(version int64) bool {
	first := w.c.pins.first().Version
	return version >= first && version < first+int64(len(w.chain))
}

func (w *walk) rootOf(version int64) []byte { return w.chain[version-w.c.pins.first().Version] }

func (w *walk) inChain(version int64, digest string) bool {
	return w.hasRoot(version) && sha256Hex(w.rootOf(version)) == digest
}
