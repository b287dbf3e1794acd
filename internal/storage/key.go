package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// reservedSegment begins the names that a directory store keeps for itself (its lock, its unfinished files).
// No store reads or writes an object below it, so a directory may be served over http or copied to S3 as it is.
const reservedSegment = "_store"

// KeyError is a key that no store takes.
type KeyError struct{ Key, Reason string }

func (e *KeyError) Error() string { return fmt.Sprintf("object key %q: %s", e.Key, e.Reason) }

// checkKey holds a key to the rules of the package comment; the limits are those of S3 and of common file systems.
func checkKey(key string) error {
	switch {
	case key == "":
		return &KeyError{key, "is empty"}
	case len(key) > 1024:
		return &KeyError{key, "is longer than 1024 bytes"}
	case !utf8.ValidString(key):
		return &KeyError{key, "is not valid UTF-8"}
	case strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
		return &KeyError{key, "has a control character or a backslash"}
	}
	first := true
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "":
			return &KeyError{key, "has an empty segment"}
		case segment == "." || segment == "..":
			return &KeyError{key, "has a . or .. segment"}
		case len(segment) > 255:
			return &KeyError{key, "has a segment longer than 255 bytes"}
		case first && segment == reservedSegment:
			return &KeyError{key, "is a name that stores keep for themselves"}
		}
		first = false
	}
	return nil
}
