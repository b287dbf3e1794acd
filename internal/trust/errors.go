package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says what is wrong with a file, as one word for machines.
type Kind string

const (
	BadSignature Kind = "bad-signature" // not one valid signature by a key that may sign the role
	Threshold    Kind = "threshold"     // valid signatures, but by fewer different keys than needed
	Rollback     Kind = "rollback"      // an older version than one seen before
	SameVersion  Kind = "same-version"  // a version seen before, with other content
	Expired      Kind = "expired"       // not valid any more at the session's time
	Mismatch     Kind = "mismatch"      // not the file (length, digest, version) that a verified file names
	OutOfScope   Kind = "out-of-scope"  // a role lists a path, or delegates, where it may not
	Malformed    Kind = "malformed"     // not strict JSON, or not what a role file holds
	Missing      Kind = "missing"       // a verified file does not list something it must list
	Order        Kind = "order"         // the caller asked for a step before the steps it rests on
)

// Error is every refusal of this package that rests on the content of a file.
type Error struct {
	Kind       Kind
	Role       string    // whose file
	Have, Want string    // what came and what was expected: versions, digests, counts, paths
	Expiry     time.Time // Expired: when it ended
	KeyIDs     []string  // BadSignature, Threshold: the keys that may sign
	Signers    []string  // Threshold: those of them that did
	Err        error     // the particular reason, if any
}

// Unwrap gives the particular reason.
func (e *Error) Unwrap() error { return e.Err }

// Error says in one line what was expected and what came.
func (e *Error) Error() string {
	text := e.words()
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Evidence shows whole the keys of a BadSignature or Threshold, which Error tells apart by their first digits:
// somebody can make a key whose id begins like another's.
func (e *Error) Evidence() []string {
	var lines []string
	for _, id := range e.Signers {
		lines = append(lines, "signed   "+id)
	}
	for _, id := range e.KeyIDs {
		if !slices.Contains(e.Signers, id) {
			lines = append(lines, "may sign "+id)
		}
	}
	return lines
}

func signatureWords(n string) string {
	if n == "1" {
		return "1 valid signature"
	}
	return n + " valid signatures"
}

func (e *Error) words() string {
	switch e.Kind {
	case BadSignature:
		return fmt.Sprintf("%s: no valid signature by a key that may sign it (needs %s of %s)", e.Role, e.Want, shortIDs(e.KeyIDs))
	case Threshold:
		return fmt.Sprintf("%s: %s, needs %s (signed by %s of %s)", e.Role, signatureWords(e.Have), e.Want, shortIDs(e.Signers), shortIDs(e.KeyIDs))
	case Rollback:
		return fmt.Sprintf("%s: version %s was offered, version %s was seen before", e.Role, e.Have, e.Want)
	case SameVersion:
		return fmt.Sprintf("%s: same version, other content: %s was offered, %s was seen before", e.Role, e.Have, e.Want)
	case Expired:
		return fmt.Sprintf("%s: expired at %s, the time is %s", e.Role, e.Expiry.UTC().Format(timeFormat), e.Have)
	case Mismatch:
		return fmt.Sprintf("%s: not the file that was announced: got %s, want %s", e.Role, e.Have, e.Want)
	case OutOfScope:
		return fmt.Sprintf("%s: lists %s, which is outside its scope %s", e.Role, e.Have, e.Want)
	case Malformed:
		return fmt.Sprintf("%s: malformed", e.Role)
	case Missing:
		return fmt.Sprintf("%s: missing %s", e.Role, e.Want)
	default:
		return fmt.Sprintf("%s: cannot be checked before %s", e.Role, e.Want)
	}
}

// Hint names the next command to run and the innocent causes of what looks like an attack.
func (e *Error) Hint() string {
	switch e.Kind {
	case BadSignature, Threshold:
		if e.Role == RoleTimestamp || e.Role == RoleSnapshot {
			return "if the online key is being replaced, try again in a minute (its holder finishes with `kitchen commit --stolen`); a mirror that lags, a wrong pin or another catalog under the same URL look like this too"
		}
		return "if the vendor changed keys, run `kitchen refresh` against the original catalog; a wrong pin or another catalog under the same URL look like this too"
	case Rollback:
		return "a mirror that lags or a bucket restored from a backup looks like this; run `kitchen refresh` again later or against the original catalog, and tell the vendor if it stays"
	case SameVersion:
		return "two writers with the online key, or another catalog under the same URL, look like this; compare with the vendor before you go on"
	case Expired:
		return "check this host's clock, then run `kitchen refresh`; if it stays expired, the vendor has to run `kitchen commit` (timestamp, snapshot) or sign the role again"
	case Mismatch:
		return "a mirror or cache that mixes old and new files looks like this; run `kitchen refresh` again later or against the original catalog"
	case OutOfScope:
		return "the role's signers went beyond what was delegated to them; tell the vendor's root holders"
	case Malformed:
		return "a damaged copy, or a web page in place of the file, looks like this; check the catalog's URL and run `kitchen refresh`"
	case Missing:
		return "run `kitchen refresh`; if it stays, the catalog is incomplete or not one of Kitchen's"
	default:
		return ""
	}
}

// shortIDs shows enough of key ids to tell them apart on one line.
func shortIDs(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	short := make([]string, len(ids))
	for i, id := range ids {
		short[i] = clip(id, 12)
	}
	return strings.Join(short, " ")
}

// clip shortens foreign text and keeps control characters off the terminal.
func clip(s string, n int) string {
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(clean) <= n {
		return clean
	}
	return strings.ToValidUTF8(clean[:n], "") + "…"
}
