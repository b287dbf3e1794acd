package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	maxPathLength    = 4096
	maxSegmentLength = 255
	maxSegments      = 128
)

// PathError reports a path that may not appear in a release.
type PathError struct {
	Path   string
	Reason string
}

func (e *PathError) Error() string { return fmt.Sprintf("path %q: %s", clip(e.Path), e.Reason) }

// CheckRelativePath accepts a slash-separated path that stays below the
// directory it is relative to and means the same on every system: valid UTF-8
// without control characters or backslashes, at most 4,096 bytes and 128
// segments, no empty segment (so neither absolute nor with a slash at its end), no "." or "..",
// segments of at most 255 bytes. The error is a *PathError.
func CheckRelativePath(p string) error {
	bad := func(reason string) error { return &PathError{Path: p, Reason: reason} }
	switch {
	case p == "":
		return bad("is empty")
	case len(p) > maxPathLength:
		return bad("is longer than 4096 bytes")
	case !utf8.ValidString(p):
		return bad("is not valid UTF-8")
	case p[0] == '/':
		return bad("is absolute: write it relative to the directory of product.toml")
	case strings.ContainsRune(p, '\\'):
		return bad("contains a backslash: separate directories with '/'")
	case strings.IndexFunc(p, unicode.IsControl) >= 0:
		return bad("contains a control character")
	case strings.Count(p, "/") >= maxSegments:
		return bad("is more than 128 directories deep")
	}
	for seg := range strings.SplitSeq(p, "/") {
		switch {
		case seg == "":
			return bad("contains an empty segment")
		case seg == "." || seg == "..":
			return bad(fmt.Sprintf("contains %q: name the file by its plain path below the directory", seg))
		case len(seg) > maxSegmentLength:
			return bad("has a segment of more than 255 bytes")
		}
	}
	return nil
}

// FoldPath maps paths that some file system takes for the same name to the
// same key: it folds case (Unicode full case folding) and composes characters
// (NFC). Use it to look for collisions, never to open files.
func FoldPath(p string) string {
	if isLowerASCII(p) {
		return p
	}
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(p)))
}

func isLowerASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf || 'A' <= s[i] && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

// layout collects the paths that end up in one directory and refuses what
// cannot lie there side by side on every file system.
type layout struct {
	seen map[string]place // by folded path: entries, and the directories they imply
}

type place struct {
	path  string
	entry bool // named itself, not only implied by what lies below
}

func newLayout() *layout { return &layout{seen: map[string]place{}} }

// add takes a checked path; a slash at its end is ignored.
func (l *layout) add(path string) error {
	path = strings.TrimSuffix(path, "/")
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if err := l.put(path[:i], false, path); err != nil {
			return err
		}
	}
	return l.put(path, true, path)
}

func (l *layout) put(path string, entry bool, whole string) error {
	key := FoldPath(path)
	old, taken := l.seen[key]
	switch {
	case !taken:
		l.seen[key] = place{path, entry}
	case old.path != path:
		return &PathError{Path: whole, Reason: fmt.Sprintf("collides with %q on a file system that ignores case", clip(old.path))}
	case entry && old.entry:
		return &PathError{Path: whole, Reason: "is listed twice"}
	case entry:
		return &PathError{Path: whole, Reason: "is listed itself and so is something below it"}
	case old.entry:
		return &PathError{Path: whole, Reason: fmt.Sprintf("lies below %q, which is listed itself", clip(old.path))}
	}
	return nil
}
