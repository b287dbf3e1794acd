package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// Covers says whether a target path is delegated here (TUF 4.5): one of Paths matches it segment by segment,
// or its sha256 in hex begins with one of PathHashPrefixes.
//
// Departure from go-tuf v2.4.2, which compares the prefixes with the base64 form of the digest; the
// specification means hex.
func (d Delegation) Covers(target string) bool {
	for _, pattern := range d.Paths {
		if matchPath(pattern, target) {
			return true
		}
	}
	if len(d.PathHashPrefixes) == 0 {
		return false
	}
	digest := sha256.Sum256([]byte(target))
	text := hex.EncodeToString(digest[:])
	for _, prefix := range d.PathHashPrefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// matchPath compares segment by segment, so that no "*" reaches over a "/". A broken pattern matches nothing.
func matchPath(pattern, target string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(target, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], got[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// DelegationsFor are the delegations to search for a target path, in order (TUF 5.6.7). The caller walks them
// depth first, stops after a terminating one, visits no role twice by the same way and bounds the number of roles.
func (t *Targets) DelegationsFor(target string) []Delegation {
	var list []Delegation
	for _, d := range t.Delegations {
		if d.Covers(target) {
			list = append(list, d)
		}
	}
	if t.succinct != nil {
		for _, bin := range t.succinct.GetRolesForTarget(target) {
			if d, ok := t.Delegation(bin.Name); ok {
				list = append(list, d)
			}
		}
	}
	return list
}
