package manifest

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

const (
	maxSummary   = 500
	maxFrom      = 100
	maxRange     = 200
	maxRequires  = 1_000_000 // CPUs, GiB
	maxLabels    = 100
	maxLabelSize = 63
)

// artifactKinds are what an [[artifact]] may be.
var artifactKinds = []string{"image", "provision-data", "configuration", "script", "other"}

// head is what product.toml and manifest.toml have in common.
type head struct {
	product, version, kind string
	from                   []string
	summary                string
	requires               *Requires
}

func (h head) check() error {
	if h.product == "" {
		return fieldf("product", `is missing: write product = "openstack"`)
	}
	if err := CheckName("product", h.product); err != nil {
		return field("product", err)
	}
	if h.version == "" {
		return fieldf("version", `is missing: write version = "1.0.0"`)
	}
	if err := CheckVersion(h.version); err != nil {
		return field("version", err)
	}
	if err := h.checkKind(); err != nil {
		return err
	}
	if err := checkText("summary", h.summary, maxSummary, false); err != nil {
		return field("summary", err)
	}
	return h.requires.check()
}

func (h head) checkKind() error {
	switch h.kind {
	case KindInitial:
		if len(h.from) > 0 {
			return fieldf("from", `is only for kind = "update"; an initial release starts from nothing`)
		}
	case KindUpdate:
		if len(h.from) == 0 {
			return fieldf("from", `is missing: say what the update may be applied to, such as from = ["1.0.0", ">=1.0.3 <1.1"]`)
		}
	case "":
		return fieldf("kind", `is missing: write kind = "initial" or kind = "update"`)
	default:
		return fieldf("kind", `%q is neither "initial" nor "update"`, clip(h.kind))
	}
	if len(h.from) > maxFrom {
		return fieldf("from", "has more than %d entries", maxFrom)
	}
	for i, from := range h.from {
		if _, err := parseFrom(from); err != nil {
			return field(indexKey("from", i), err)
		}
	}
	return nil
}

// wildcard looks like "2.x": a valid version name, but surely meant as a range.
var wildcard = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+)*\.[xX](\.[xX])*$`)

// parseFrom reads one entry of from: nil for an exact version, else a range.
func parseFrom(s string) (*semver.Constraints, error) {
	if wildcard.MatchString(s) {
		return nil, fmt.Errorf(`%q could be a version or a range: write a range with its bounds, such as ">=2.0 <3.0"`, clip(s))
	}
	if CheckVersion(s) == nil {
		return nil, nil
	}
	if len(s) > maxRange {
		return nil, fmt.Errorf("a range is longer than %d bytes", maxRange)
	}
	if err := checkText("range", s, maxRange, false); err != nil {
		return nil, err
	}
	c, err := semver.NewConstraint(s)
	if err != nil {
		return nil, fmt.Errorf(`%q is neither a version nor a range such as ">=2.0.3 <2.1"`, clip(s))
	}
	return c, nil
}

// AcceptsFrom tells whether the release, an update, may be applied to version:
// one of From names it exactly, or is a semantic-version range that holds it.
// A version that is not semantic is in no range. Pre-releases are in a range
// only when the range names one itself.
func (m *Manifest) AcceptsFrom(version string) (bool, error) {
	if err := CheckVersion(version); err != nil {
		return false, err
	}
	sem, semErr := semver.NewVersion(version)
	for _, from := range m.From {
		c, err := parseFrom(from)
		if err != nil {
			return false, fmt.Errorf("%s: from: %w", m.Release(), err)
		}
		if c == nil && from == version || c != nil && semErr == nil && c.Check(sem) {
			return true, nil
		}
	}
	return false, nil
}

func (r *Requires) check() error {
	for _, need := range []struct {
		name string
		n    int
	}{{"cpus", r.CPUs}, {"memory_gib", r.MemoryGiB}, {"disk_gib", r.DiskGiB}} {
		if need.n < 0 || need.n > maxRequires {
			return fieldf("requires."+need.name, "%d is not between 0 and %d", need.n, maxRequires)
		}
	}
	if err := checkWords("requires.arch", r.Arch); err != nil {
		return err
	}
	return checkWords("requires.labels", r.Labels)
}

func checkWords(at string, words []string) error {
	if len(words) > maxLabels {
		return fieldf(at, "has more than %d entries", maxLabels)
	}
	for i, w := range words {
		if err := checkText("it", w, maxLabelSize, false); err != nil {
			return field(indexKey(at, i), err)
		}
		if w == "" || w != strings.TrimSpace(w) {
			return fieldf(indexKey(at, i), "is empty or begins or ends with a blank")
		}
		if slices.Contains(words[:i], w) {
			return fieldf(indexKey(at, i), "%q is listed twice", w)
		}
	}
	return nil
}

// checkArtifactPath accepts the path of a file, or with a slash at its end of a tree.
func checkArtifactPath(at, p string, tree bool) error {
	if p == "" {
		return fieldf(at, `is missing: write path = "images/controller.img", or "puppet/" for a whole tree`)
	}
	plain, isTree := strings.CutSuffix(p, "/")
	if isTree && !tree {
		return fieldf(at, "%q is a tree: this must be one file", clip(p))
	}
	return field(at, CheckRelativePath(plain))
}

func checkArtifactKind(at, kind string) error {
	if !slices.Contains(artifactKinds, kind) {
		return fieldf(at, "%q is not one of %s", clip(kind), strings.Join(artifactKinds, ", "))
	}
	return nil
}

func (m *Manifest) check() error {
	if m.Format != 1 {
		return fieldf("format", "%d is not known: this version of kitchen reads format 1", m.Format)
	}
	h := head{m.Product, m.Version, m.Kind, m.From, m.Summary, &m.Requires}
	if err := h.check(); err != nil {
		return err
	}
	if m.Marmite.Kind != KindMarmite {
		return fieldf("marmite", "its kind is %q, not %q", clip(m.Marmite.Kind), KindMarmite)
	}
	if len(m.Artifacts) == 0 {
		return errNoArtifact
	}
	if len(m.Artifacts) > MaxArtifacts {
		return fieldf("artifact", "more than %d artifacts", MaxArtifacts)
	}
	all := newLayout()
	if err := m.Marmite.check("marmite", all); err != nil {
		return err
	}
	files := 0
	for i := range m.Artifacts {
		at := indexKey("artifact", i)
		if err := checkArtifactKind(at+".kind", m.Artifacts[i].Kind); err != nil {
			return err
		}
		if err := m.Artifacts[i].check(at, all); err != nil {
			return err
		}
		if files += len(m.Artifacts[i].Files); files > MaxTreeFiles {
			return fieldf(at+".files", "the release's trees have more than %d entries", MaxTreeFiles)
		}
	}
	return nil
}

var errNoArtifact = fieldf("artifact", `is missing: a release needs at least one [[artifact]] with path and kind`)

func (a *Artifact) check(at string, all *layout) error {
	if err := checkArtifactPath(at+".path", a.Path, a.Kind != KindMarmite); err != nil {
		return err
	}
	if err := all.add(a.Path); err != nil {
		return field(at+".path", err)
	}
	if err := checkSized(at, a.Size, a.SHA256); err != nil {
		return err
	}
	if err := a.Stored.check(at+".stored", a); err != nil {
		return err
	}
	if err := a.checkChunks(at); err != nil {
		return err
	}
	if !a.IsTree() {
		if a.Files != nil {
			return fieldf(at+".files", "is only for a tree, whose path ends in \"/\"")
		}
		return nil
	}
	if len(a.Files) == 0 {
		return fieldf(at+".files", "the tree %q is empty", clip(a.Path))
	}
	for i := range a.Files {
		if len(a.Path)+len(a.Files[i].Path) > maxPathLength {
			return fieldf(at+".files", "%q is longer than 4096 bytes together with its tree's path", clip(a.Files[i].Path))
		}
	}
	size, err := TreeSize(a.Files)
	if err != nil {
		return field(at+".files", err)
	}
	if size != a.Size {
		return fieldf(at+".size", "%d is not the size of the tree's tar, %d", a.Size, size)
	}
	return nil
}

func checkSized(at string, size int64, sha string) error {
	if size < 0 || size > MaxObjectSize {
		return fieldf(at+".size", "%d is not between 0 and 5 TiB", size)
	}
	return field(at+".sha256", checkDigest("it", sha))
}

func (s *Stored) check(at string, a *Artifact) error {
	if err := checkSized(at, s.Size, s.SHA256); err != nil {
		return err
	}
	switch s.Encoding {
	case EncodingZstd:
		return nil
	case EncodingIdentity:
		if s.SHA256 != a.SHA256 || s.Size != a.Size {
			return fieldf(at, "is stored as it is, but with another digest or size")
		}
		return nil
	}
	return fieldf(at+".encoding", "%q is neither %q nor %q", clip(s.Encoding), EncodingZstd, EncodingIdentity)
}

// checkChunks holds index and deltas to their rules: no index without chunks, no delta without an index.
func (a *Artifact) checkChunks(at string) error {
	if !a.Chunked() {
		if a.Deltas != nil {
			return fieldf(at+".deltas", "need an index beside them")
		}
		return nil
	}
	if a.Stored.Encoding != EncodingZstd {
		return fieldf(at+".index", "is for objects with encoding %q", EncodingZstd)
	}
	if err := checkSized(at+".index", a.Index.Size, a.Index.SHA256); err != nil {
		return err
	}
	if a.Index.Size > MaxIndexSize {
		return fieldf(at+".index", "has %d bytes, more than 64 MiB", a.Index.Size)
	}
	if len(a.Deltas) > MaxDeltas {
		return fieldf(at+".deltas", "more than %d", MaxDeltas)
	}
	for i, d := range a.Deltas {
		at := indexKey(at+".deltas", i)
		if err := checkSized(at, d.Size, d.SHA256); err != nil {
			return err
		}
		for name, sha := range map[string]string{".from": d.From, ".churn": d.Churn} {
			if err := checkDigest("it", sha); err != nil {
				return field(at+name, err)
			}
		}
		if slices.ContainsFunc(a.Deltas[:i], func(o Delta) bool { return o.Churn == d.Churn }) {
			return fieldf(at+".churn", "is named twice")
		}
	}
	return nil
}

// checkTree holds a tree's entries to their rules: sorted, without collisions,
// links that stay inside and that nothing lies below.
func checkTree(files []TreeFile) error {
	if len(files) > MaxTreeFiles {
		return fmt.Errorf("a tree has more than %d entries", MaxTreeFiles)
	}
	all := newLayout()
	for i := range files {
		f := &files[i]
		if i > 0 && f.Path <= files[i-1].Path {
			return &PathError{Path: f.Path, Reason: "is out of order: entries are sorted by path, each once"}
		}
		if err := f.check(); err != nil {
			return err
		}
		if err := all.add(f.Path); err != nil {
			return err
		}
	}
	return nil
}

func (f *TreeFile) check() error {
	plain, isDir := strings.CutSuffix(f.Path, "/")
	if err := CheckRelativePath(plain); err != nil {
		return err
	}
	if isDir || f.Link != "" {
		if f.Size != 0 || f.SHA256 != "" || f.Executable || isDir && f.Link != "" {
			return &PathError{Path: f.Path, Reason: "is a directory or link and has the fields of a file"}
		}
		if f.Link != "" {
			return checkLink(f.Path, f.Link)
		}
		return nil
	}
	if f.Size < 0 || f.Size > MaxObjectSize {
		return &PathError{Path: f.Path, Reason: fmt.Sprintf("its size %d is not between 0 and 5 TiB", f.Size)}
	}
	if err := checkDigest("its digest", f.SHA256); err != nil {
		return &PathError{Path: f.Path, Reason: err.Error()}
	}
	return nil
}

// checkLink accepts a symbolic link's target that stays inside the tree. A
// clean target has ".." only at its front, where the directories above are
// real ones (nothing lies below a link), so what holds for the text holds for
// the files too, whatever other links it passes on its way down.
func checkLink(at, target string) error {
	bad := func(reason string) error {
		return &PathError{Path: at, Reason: fmt.Sprintf("its link to %q %s", clip(target), reason)}
	}
	if path.Clean(target) != target || path.IsAbs(target) {
		return bad("is absolute or has superfluous parts: write it as short as can be, relative to the link")
	}
	down := target
	for down == ".." || strings.HasPrefix(down, "../") {
		down = strings.TrimPrefix(strings.TrimPrefix(down, ".."), "/")
	}
	if down != "" && down != "." {
		if err := CheckRelativePath(down); err != nil {
			return bad("is not allowed: " + reasonOf(err))
		}
	}
	if ups := strings.Count(target[:len(target)-len(down)], ".."); ups > strings.Count(at, "/") {
		return bad("leaves the tree")
	}
	if len(target) > maxPathLength {
		return bad("is too long")
	}
	return nil
}

func reasonOf(err error) string {
	if p, ok := errors.AsType[*PathError](err); ok {
		return p.Reason
	}
	return err.Error()
}
