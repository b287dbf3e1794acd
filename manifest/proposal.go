package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// ProposalName is the document of a proposal that says what the others are.
const ProposalName = "proposal.json"

// PayloadName is the document of a proposal that holds a role's next payload.
func PayloadName(role string) string { return role + ".payload.json" }

// ProposalID is the name of a proposal: its first role, that role's next
// version, and the first 16 digits of a digest (hex) over all its payloads.
func ProposalID(role string, version int64, sha string) string {
	return role + "." + strconv.FormatInt(version, 10) + "." + sha[:min(16, len(sha))]
}

// ParseProposalID is the inverse of ProposalID; the digest has 16 digits.
func ParseProposalID(id string) (role string, version int64, sha string, err error) {
	bad := fmt.Errorf("%q is not the name of a proposal (ROLE.VERSION.DIGEST)", clip(id))
	rest, sha, ok := cutLast(id, ".")
	if !ok || len(sha) != 16 || !isHex(sha) {
		return "", 0, "", bad
	}
	role, number, ok := cutLast(rest, ".")
	if !ok || !isNumber(number) {
		return "", 0, "", bad
	}
	if kind, _, _ := SplitRole(role); kind == "" && role != "root" && role != "targets" {
		return "", 0, "", bad
	}
	version, err = strconv.ParseInt(number, 10, 64)
	return role, version, sha, err
}

// ParsePendingObject takes the key of a proposal's object apart. A document
// gives its id and name; a signature its id, role and key id, with name "".
func ParsePendingObject(key string) (id, name, role, keyid string, err error) {
	bad := fmt.Errorf("object %q is not part of a proposal", clip(key))
	rest, ok := strings.CutPrefix(key, PendingPrefix)
	if k, kindErr := KindOf(key); kindErr != nil || !ok || k.Mutable {
		return "", "", "", "", bad
	}
	part := strings.Split(rest, "/")
	if _, _, _, err := ParseProposalID(part[0]); err != nil {
		return "", "", "", "", bad
	}
	if len(part) == 2 {
		return part[0], part[1], "", "", nil
	}
	keyid, sha, ok := strings.Cut(strings.TrimSuffix(part[3], ".json"), "-")
	if !ok || checkDigest("", sha) != nil || !isHex(keyid) {
		return "", "", "", "", bad
	}
	return part[0], "", part[2], keyid, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
