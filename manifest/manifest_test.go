package manifest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestManifestGolden(t *testing.T) {
	m := sampleManifest(t)
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.toml", data)
	back, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, m) {
		t.Errorf("have %+v\nwant %+v", back, m)
	}
	again, err := back.Encode()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("a second encoding differs: %v", err)
	}
	if m.Release() != (Release{"openstack", "2.1.0"}) {
		t.Error(m.Release())
	}
}

func TestSmallestManifest(t *testing.T) {
	m := sampleManifest(t)
	m.Kind, m.From, m.Summary, m.Requires, m.Artifacts = KindInitial, nil, "", Requires{}, m.Artifacts[:1]
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-initial.toml", data)
	if back, err := ParseManifest(data); err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("have %+v, %v", back, err)
	}
}

// TestNotCanonical: the same meaning in another spelling is another digest,
// and is refused.
func TestNotCanonical(t *testing.T) {
	good, err := sampleManifest(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"comment":          {"format = 1\n", "format = 1 # one\n"},
		"blank":            {"format = 1\n", "format  = 1\n"},
		"literal string":   {`"openstack"`, `'openstack'`},
		"number":           {"cpus = 4", "cpus = 0x4"},
		"order":            {"cpus = 4\nmemory_gib = 16\n", "memory_gib = 16\ncpus = 4\n"},
		"zero value":       {"cpus = 4\n", "cpus = 4\ndisk_gib = 0\n"},
		"false":            {", executable = true", ", executable = false"},
		"carriage returns": {"\n", "\r\n"},
		"end":              {"]\n", "]"},
		"kind of marmite":  {"path = \"marmite.yaml\"\n", "path = \"marmite.yaml\"\nkind = \"marmite\"\n"},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if name == "end" {
			text = strings.TrimSuffix(string(good), "\n")
		}
		m, err := ParseManifest([]byte(text))
		if err == nil || m != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, "manifest.toml:", "canonical")
	}
}

func TestBadManifest(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"format":                   func(m *Manifest) { m.Format = 2 },
		"product":                  func(m *Manifest) { m.Product = "" },
		"marmite tree":             func(m *Manifest) { m.Marmite.Path = "m/" },
		"marmite kind":             func(m *Manifest) { m.Marmite.Kind = "image" },
		"artifact kind marmite":    func(m *Manifest) { m.Artifacts[0].Kind = KindMarmite },
		"no artifacts":             func(m *Manifest) { m.Artifacts = nil },
		"upper-case digest":        func(m *Manifest) { m.Artifacts[0].SHA256 = strings.ToUpper(digest("x")) },
		"short digest":             func(m *Manifest) { m.Artifacts[0].Stored.SHA256 = "abc" },
		"negative size":            func(m *Manifest) { m.Artifacts[0].Size = -1 },
		"endless size":             func(m *Manifest) { m.Artifacts[0].Stored.Size = MaxObjectSize + 1 },
		"encoding":                 func(m *Manifest) { m.Artifacts[0].Stored.Encoding = "gzip" },
		"identity, other digest":   func(m *Manifest) { m.Marmite.Stored.SHA256 = digest("other") },
		"identity, other size":     func(m *Manifest) { m.Marmite.Stored.Size++ },
		"index without chunks":     func(m *Manifest) { m.Marmite.Index = Object{SHA256: digest("index"), Size: 52} },
		"deltas without index":     func(m *Manifest) { m.Artifacts[0].Index = Object{} },
		"endless index":            func(m *Manifest) { m.Artifacts[0].Index.Size = MaxIndexSize + 1 },
		"index without digest":     func(m *Manifest) { m.Artifacts[0].Index.SHA256 = "" },
		"delta of negative size":   func(m *Manifest) { m.Artifacts[0].Deltas[1].Size = -1 },
		"delta with a short churn": func(m *Manifest) { m.Artifacts[0].Deltas[1].Churn = "abc" },
		"delta from nowhere":       func(m *Manifest) { m.Artifacts[0].Deltas[1].From = "" },
		"two deltas for one churn": func(m *Manifest) { m.Artifacts[0].Deltas[1].Churn = digest("? to !") },
		"too many deltas": func(m *Manifest) {
			for i := range MaxDeltas {
				d := m.Artifacts[0].Deltas[0]
				d.Churn = digest(strings.Repeat("x", i))
				m.Artifacts[0].Deltas = append(m.Artifacts[0].Deltas, d)
			}
		},
		"files of a file":            func(m *Manifest) { m.Artifacts[0].Files = sampleTree() },
		"empty tree":                 func(m *Manifest) { m.Artifacts[1].Files = nil },
		"tree of another size":       func(m *Manifest) { m.Artifacts[1].Size += 512 },
		"path out of the directory":  func(m *Manifest) { m.Artifacts[0].Path = "../x" },
		"artifact inside the tree":   func(m *Manifest) { m.Artifacts[0].Path = "puppet/apply2" },
		"collision with tree's name": func(m *Manifest) { m.Artifacts[0].Path = "Puppet/apply2" },
		"collision with marmite":     func(m *Manifest) { m.Artifacts[0].Path = "MARMITE.yaml" },
		"path too long with tree": func(m *Manifest) {
			m.Artifacts[1].Path = strings.Repeat("d/", 120)
			m.Artifacts[1].Files[4].Path = strings.Repeat(strings.Repeat("e", 250)+"/", 16) + "f"
		},
	} {
		m := sampleManifest(t)
		change(m)
		if data, err := m.Encode(); err == nil || data != nil {
			t.Errorf("%s: encoded", name)
		}
		if _, err := ParseManifest(m.render()); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestSameContent(t *testing.T) {
	a, b := sampleManifest(t), sampleManifest(t)
	b.Artifacts[1].Stored.SHA256, b.Artifacts[1].Stored.Size = digest("another compressor"), 299
	b.Artifacts[0].Index, b.Artifacts[0].Deltas = Object{}, nil
	if !a.SameContent(b) {
		t.Error("another compression is another content")
	}
	if b.Artifacts[1].Stored.Size != 299 {
		t.Error("comparing changed the manifest")
	}
	for name, change := range map[string]func(m *Manifest){
		"summary":    func(m *Manifest) { m.Summary = "x" },
		"digest":     func(m *Manifest) { m.Artifacts[0].SHA256 = digest("x") },
		"executable": func(m *Manifest) { m.Artifacts[1].Files[0].Executable = false },
		"requires":   func(m *Manifest) { m.Requires.CPUs++ },
	} {
		m := sampleManifest(t)
		change(m)
		if a.SameContent(m) {
			t.Errorf("%s: same", name)
		}
	}
}

// TestLargeManifest parses the most files a release may have, in reasonable time.
func TestLargeManifest(t *testing.T) {
	m := sampleManifest(t)
	files := make([]TreeFile, MaxTreeFiles)
	for i := range files {
		files[i] = TreeFile{Path: fmt.Sprintf("d%03d/f%05d", i/1000, i), Size: 1, SHA256: digest("x")}
	}
	size, err := TreeSize(files)
	if err != nil {
		t.Fatal(err)
	}
	m.Artifacts[1].Files, m.Artifacts[1].Size = files, size
	start := time.Now()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %v", len(data), time.Since(start))
	if len(back.Artifacts[1].Files) != MaxTreeFiles {
		t.Error(len(back.Artifacts[1].Files))
	}
	m.Artifacts[1].Files = append(files, TreeFile{Path: "e", Size: 1, SHA256: digest("x")})
	if _, err := m.Encode(); err == nil {
		t.Error("one file too many")
	}
}

func TestObjects(t *testing.T) {
	m := sampleManifest(t)
	want := []Object{{digest("roles"), 5}, {digest("zstd of image!"), 19}, {digest("index"), 52}, {digest("delta"), 77},
		{digest("other delta"), 78}, {digest("zstd of tree"), 300}}
	if have := m.Objects(); !slices.Equal(have, want) {
		t.Errorf("objects %v, want %v", have, want)
	}
}
