package manifest

import (
	"fmt"
	"strings"
)

// Source is product.toml as a release engineer writes it.
type Source struct {
	Product   string           `toml:"product"`
	Version   string           `toml:"version"`
	Kind      string           `toml:"kind"`
	From      []string         `toml:"from"`
	Summary   string           `toml:"summary"`
	Marmite   SourceFile       `toml:"marmite"`
	Requires  Requires         `toml:"requires"`
	Artifacts []SourceArtifact `toml:"artifact"`
}

// SourceFile is the [marmite] table: the description of the deployment.
type SourceFile struct {
	Path string `toml:"path"`
}

// SourceArtifact is an [[artifact]] table. A Path that ends in "/" is a tree:
// every file below it. A compressed file with Unpack set is published as what it
// unpacks to.
type SourceArtifact struct {
	Path   string `toml:"path"`
	Kind   string `toml:"kind"`
	Unpack bool   `toml:"unpack"`
}

// compressed are the endings of compressed files, and what stands for them when they are unpacked.
var compressed = []struct{ ending, unpacked string }{
	{".tgz", ".tar"}, {".txz", ".tar"}, {".tzst", ".tar"}, {".gz", ""}, {".xz", ""}, {".zst", ""},
}

// UnpackedPath is the path of a compressed file when it is unpacked: "root.tar" for "root.tar.gz" and "root.tgz".
// ok is false for a path that does not say how it is compressed (gzip, xz or zstd).
func UnpackedPath(name string) (unpacked string, ok bool) {
	for _, c := range compressed {
		stem, found := strings.CutSuffix(name, c.ending)
		if found && stem != "" && !strings.HasSuffix(stem, "/") {
			return stem + c.unpacked, true
		}
	}
	return name, false
}

// PublishedPath is where a host has the artifact.
func (a SourceArtifact) PublishedPath() string {
	if !a.Unpack {
		return a.Path
	}
	name, _ := UnpackedPath(a.Path)
	return name
}

// Requires is the hardware that a site needs in order to test a release.
// Zero values ask for nothing.
type Requires struct {
	Arch      []string `toml:"arch"`
	CPUs      int      `toml:"cpus"`
	MemoryGiB int      `toml:"memory_gib"`
	DiskGiB   int      `toml:"disk_gib"`
	Labels    []string `toml:"labels"`
}

// maxSourceSize is the size of product.toml, in bytes.
const maxSourceSize = 1 << 20

// ParseSource reads product.toml; name is what errors call it. It is strict:
// an unknown key, a wrong type, a missing or contradictory value are errors of
// type *FileError that carry the line. Whether the files exist is not its
// business. The document is at most 1 MiB.
func ParseSource(name string, data []byte) (*Source, error) {
	if len(data) > maxSourceSize {
		return nil, &FileError{Name: name, Reason: "is larger than 1 MiB"}
	}
	var s Source
	if err := DecodeTOML(name, data, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, located(name, data, err)
	}
	return &s, nil
}

// Release names the release that the source describes.
func (s *Source) Release() Release { return Release{Product: s.Product, Version: s.Version} }

func (s *Source) check() error {
	h := head{s.Product, s.Version, s.Kind, s.From, s.Summary, &s.Requires}
	if err := h.check(); err != nil {
		return err
	}
	if s.Marmite.Path == "" {
		return fieldf("marmite.path", `is missing: write a [marmite] table with path = "marmite.yaml", the description of the deployment`)
	}
	if err := checkArtifactPath("marmite.path", s.Marmite.Path, false); err != nil {
		return err
	}
	if len(s.Artifacts) == 0 {
		return errNoArtifact
	}
	if len(s.Artifacts) > MaxArtifacts {
		return fieldf("artifact", "more than %d artifacts", MaxArtifacts)
	}
	all := newLayout()
	if err := all.add(s.Marmite.Path); err != nil {
		return field("marmite.path", err)
	}
	for i, a := range s.Artifacts {
		at := indexKey("artifact", i)
		if err := checkArtifactPath(at+".path", a.Path, true); err != nil {
			return err
		}
		if err := checkArtifactKind(at+".kind", a.Kind); err != nil {
			return err
		}
		if _, ok := UnpackedPath(a.Path); a.Unpack && !ok {
			return fieldf(at+".unpack", "is for files whose name ends in .gz, .tgz, .xz, .txz, .zst or .tzst")
		}
		if err := all.add(a.PublishedPath()); err != nil {
			return field(at+".path", s.sameUnpacked(i, err))
		}
	}
	return nil
}

// sameUnpacked adds to a path that is taken that unpacking made it equal to that of another file.
func (s *Source) sameUnpacked(i int, err error) error {
	a := s.Artifacts[i]
	for _, other := range append([]SourceArtifact{{Path: s.Marmite.Path}}, s.Artifacts[:i]...) {
		if other.Path != a.Path && other.PublishedPath() == a.PublishedPath() {
			return fmt.Errorf("%w, as %q and %q have that name once unpacked; rename one of them, or take its unpack = true out", err, clip(other.Path), clip(a.Path))
		}
	}
	return err
}
