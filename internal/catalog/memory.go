package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// memory is what a host must not forget, whatever happens to the files it was learnt from. It is kept twice;
// of two intact copies the later generation counts.
//
// Floor and Issued guard against older metadata. They hold for one set of timestamp and snapshot keys: when a
// root after Root replaces those keys they start anew, so that numbers and times that a thief pushed ahead do
// not outlive the stolen key (TUF 1.0 §5.3.11). Targets and Recalled hold for ever.
type memory struct {
	Generation int64                   `json:"generation"`
	Root       int64                   `json:"root"`     // highest version of the root chain
	Floor      trust.Floor             `json:"floor"`    // highest versions, seen under that root's online keys
	Issued     time.Time               `json:"issued"`   // newest time a timestamp was issued, likewise
	Targets    map[string]string       `json:"targets"`  // target path of a stage → sha256
	Recalled   map[string]recallMemory `json:"recalled"` // by release, "p@v"
}

type recallMemory struct {
	SHA256 string `json:"sha256"`
	Reason string `json:"reason"`
}

// maxReason caps what is remembered of a recall's reason, in bytes.
const maxReason = 1 << 10

func newMemory() *memory {
	return &memory{Targets: map[string]string{}, Recalled: map[string]recallMemory{}}
}

// readMemory gives the better copy; nil when both are lost.
func (s stateDir) readMemory() *memory {
	var best *memory
	for _, name := range []string{memoryA, memoryB} {
		if m := s.readMemoryCopy(name); m != nil && (best == nil || m.Generation > best.Generation) {
			best = m
		}
	}
	return best
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
	if json.Unmarshal(body, m) != nil {
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

// intactMemories tells whether both copies are there and equal, so that nothing needs to be written.
func (s stateDir) intactMemories(generation int64) bool {
	a, b := s.readMemoryCopy(memoryA), s.readMemoryCopy(memoryB)
	return a != nil && b != nil && a.Generation == generation && b.Generation == generation
}

func (m *memory) clone() *memory {
	c := *m
	c.Targets = maps.Clone(m.Targets)
	c.Recalled = maps.Clone(m.Recalled)
	c.Floor.Roles = maps.Clone(m.Floor.Roles)
	return &c
}

// forgetOnline drops what was seen under online keys that root has replaced.
func (m *memory) forgetOnline() { m.Floor, m.Issued = trust.Floor{}, time.Time{} }

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

// checkRole refuses a role that shows another digest for a path seen before, or that drops a recall.
func (m *memory) checkRole(name string, t *trust.Targets) error {
	for path, target := range t.Targets {
		if seen, ok := m.Targets[path]; ok && seen != target.SHA256 {
			return &trust.Error{Kind: trust.Mismatch, Role: name, Have: "sha256 " + target.SHA256, Want: "sha256 " + seen,
				Err: fmt.Errorf("%s was seen before with other content; a release never changes", path)}
		}
	}
	kind, product, _ := manifest.SplitRole(name)
	if kind != manifest.StageRecalled {
		return nil
	}
	for release, recall := range m.Recalled {
		r, err := manifest.ParseRelease(release)
		if err != nil || r.Product != product {
			continue
		}
		if target, ok := t.Targets[manifest.TargetPath(manifest.StageRecalled, r)]; !ok || target.SHA256 != recall.SHA256 {
			return &trust.Error{Kind: trust.Missing, Role: name, Want: "the recall of " + release,
				Err: fmt.Errorf("version %d drops a recall seen before; recalls only grow", t.Version)}
		}
	}
	return nil
}

// sawRole remembers the releases and recalls of a role that was checked; it tells whether anything was new.
func (m *memory) sawRole(name string, t *trust.Targets) bool {
	changed := false
	kind, _, _ := manifest.SplitRole(name)
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
		recall := recallMemory{SHA256: target.SHA256, Reason: manifest.CleanText(target.Custom[CustomReason], maxReason)}
		if m.Recalled[release.String()] != recall {
			m.Recalled[release.String()], changed = recall, true
		}
	}
	return changed
}
