package manifest

import (
	"bytes"
	"fmt"
	"slices"
)

// Limits of one manifest.
const (
	// MaxManifestSize is the size of manifest.toml, in bytes.
	MaxManifestSize = 16 << 20
	// MaxTreeFiles counts the entries of all trees of a release together.
	MaxTreeFiles = 100_000
	// MaxArtifacts counts the [[artifact]] tables.
	MaxArtifacts = 10_000
)

// Kinds of a release.
const (
	KindInitial = "initial"
	KindUpdate  = "update"
)

// KindMarmite is the Kind of the artifact that describes the deployment.
const KindMarmite = "marmite"

// Encodings of a stored object.
const (
	EncodingIdentity = "identity"
	EncodingZstd     = "zstd"
)

// Manifest is what a release consists of: product.toml plus digests. Its
// encoding, manifest.toml, is what every stage signs.
type Manifest struct {
	Format    int        `toml:"format"` // 1
	Product   string     `toml:"product"`
	Version   string     `toml:"version"`
	Kind      string     `toml:"kind"` // "initial" | "update"
	From      []string   `toml:"from"` // update only
	Summary   string     `toml:"summary"`
	Requires  Requires   `toml:"requires"`
	Marmite   Artifact   `toml:"marmite"` // of kind "marmite", never a tree
	Artifacts []Artifact `toml:"artifact"`
}

// Artifact is one file or one tree of a release.
type Artifact struct {
	Path   string     `toml:"path"`   // below the release's directory; a tree's ends in "/"
	Kind   string     `toml:"kind"`   // image | provision-data | configuration | script | other | marmite
	Size   int64      `toml:"size"`   // bytes of the raw content: the file, or the tree's canonical tar
	SHA256 string     `toml:"sha256"` // of the raw content, lower-case hex
	Stored Stored     `toml:"stored"`
	Index  Object     `toml:"index"`  // of the stored object's chunks; zero where it is one stream without chunks
	Deltas []Delta    `toml:"deltas"` // shorter ways to the same bytes, for who has earlier ones; only with Index
	Files  []TreeFile `toml:"files"`  // a tree's entries, sorted bytewise by Path; nil for a file
}

// Object is a blob that is named by its own digest.
type Object struct {
	SHA256 string `toml:"sha256"`
	Size   int64  `toml:"size"`
}

// Delta makes the chunks that an artifact has and an earlier one has not out of those that only the earlier one has.
// It serves whoever has other bytes than From, too, if they differ from the artifact by the same chunks.
type Delta struct {
	From   string `toml:"from"`   // SHA-256 of the earlier artifact's raw content
	Churn  string `toml:"churn"`  // names the chunks that only one of the two has: see internal/chunk
	SHA256 string `toml:"sha256"` // of the delta object
	Size   int64  `toml:"size"`
}

// MaxDeltas is how many deltas one artifact may name.
const MaxDeltas = 16

// Stored is the object that holds an artifact's bytes.
type Stored struct {
	SHA256   string `toml:"sha256"` // of the stored bytes: the object's name
	Size     int64  `toml:"size"`
	Encoding string `toml:"encoding"` // "zstd" | "identity"
}

// TreeFile is one entry of a tree: a file, an empty directory or a symbolic link.
type TreeFile struct {
	Path       string `toml:"path"`       // relative to the tree; an empty directory's ends in "/"
	Size       int64  `toml:"size"`       // files only
	SHA256     string `toml:"sha256"`     // files only
	Executable bool   `toml:"executable"` // files only
	Link       string `toml:"link"`       // a symbolic link's target, which stays inside the tree
}

// Release names the release this manifest describes.
func (m *Manifest) Release() Release { return Release{Product: m.Product, Version: m.Version} }

// IsTree tells whether the artifact is a directory tree.
func (a *Artifact) IsTree() bool { return len(a.Path) > 0 && a.Path[len(a.Path)-1] == '/' }

// IsDir tells whether the entry is an empty directory.
func (f *TreeFile) IsDir() bool { return len(f.Path) > 0 && f.Path[len(f.Path)-1] == '/' }

// Encode renders manifest.toml. The same manifest gives the same bytes,
// always; what it refuses, ParseManifest would refuse too.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.Release(), err)
	}
	data := m.render()
	if len(data) > MaxManifestSize {
		return nil, fmt.Errorf("manifest of %s is larger than 16 MiB: pack its largest tree into one file", m.Release())
	}
	return data, nil
}

// ParseManifest reads manifest.toml. It accepts exactly what Encode renders:
// another spelling of the same manifest is an error, so that two parties who
// agree on the bytes agree on the meaning. The error is a *FileError.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifestSize {
		return nil, &FileError{Name: manifestName, Reason: "is larger than 16 MiB"}
	}
	var m Manifest
	if err := DecodeTOML(manifestName, data, &m); err != nil {
		return nil, err
	}
	if m.Marmite.Kind == "" {
		m.Marmite.Kind = KindMarmite
	}
	if err := m.check(); err != nil {
		return nil, located(manifestName, data, err)
	}
	if canonical := m.render(); !bytes.Equal(canonical, data) {
		return nil, &FileError{Name: manifestName, Line: firstDifference(canonical, data),
			Reason: "is not in canonical form: kitchen publish writes it, nobody else"}
	}
	return &m, nil
}

// firstDifference is the number of the first line in which two texts differ.
func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			n = i
			break
		}
	}
	return 1 + bytes.Count(a[:n], []byte("\n"))
}

// SameContent tells whether two manifests give a host the same release: equal
// in everything but how the bytes are stored.
func (m *Manifest) SameContent(o *Manifest) bool {
	return bytes.Equal(m.unstored().render(), o.unstored().render())
}

func (m *Manifest) unstored() *Manifest {
	c := *m
	c.Marmite = m.Marmite.unstored()
	c.Artifacts = slices.Clone(m.Artifacts)
	for i := range c.Artifacts {
		c.Artifacts[i] = c.Artifacts[i].unstored()
	}
	return &c
}

func (a Artifact) unstored() Artifact {
	a.Stored, a.Index, a.Deltas = Stored{}, Object{}, nil
	return a
}

// Objects are all blobs that a release's readers may ask for: stored artifacts, their indexes and deltas.
func (m *Manifest) Objects() []Object {
	var list []Object
	for _, a := range append([]Artifact{m.Marmite}, m.Artifacts...) {
		list = append(list, a.Objects()...)
	}
	return list
}

// Objects are the blobs of one artifact, the stored one first.
func (a *Artifact) Objects() []Object {
	list := []Object{{a.Stored.SHA256, a.Stored.Size}}
	if a.Chunked() {
		list = append(list, a.Index)
	}
	for _, d := range a.Deltas {
		list = append(list, Object{d.SHA256, d.Size})
	}
	return list
}

// Chunked tells whether the stored object is described by an index.
func (a *Artifact) Chunked() bool { return a.Index != Object{} }
