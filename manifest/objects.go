package manifest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TimestampObject is the only mutable object of a catalog.
const TimestampObject = "metadata/timestamp.json"

// PruneObject is the list of the blobs that a prune under way is about to delete.
const PruneObject = "_kitchen/prune.json"

// PendingPrefix lies before every proposal.
const PendingPrefix = "pending/"

// reportTime is the time in a report's object key: UTC, to the second, and
// ordered as text is.
const reportTime = "20060102T150405Z"

// RootObject is the key of version n of the root role.
func RootObject(n int64) string { return RoleObject("root", n) }

// SnapshotObject is the key of version n of the snapshot role.
func SnapshotObject(n int64) string { return RoleObject("snapshot", n) }

// RoleObject is the key of version n of any versioned role: "metadata/7.product.openstack.json".
func RoleObject(role string, n int64) string {
	return "metadata/" + strconv.FormatInt(n, 10) + "." + role + ".json"
}

// BlobObject is the key of stored artifact bytes, named by their own digest.
func BlobObject(sha string) string { return sharded("blobs", sha) }

// EvidenceObject is the key of an evidence document, named by its digest.
func EvidenceObject(sha string) string { return sharded("evidence", sha) }

func sharded(dir, sha string) string {
	return dir + "/sha256/" + sha[:min(2, len(sha))] + "/" + sha
}

// ReportsPrefix lies before everything one site uploads.
func ReportsPrefix(s SiteID) string { return "reports/" + s.Customer + "/" + s.Site + "/" }

// ReportPrefix lies before one site's reports on one release.
func ReportPrefix(s SiteID, r Release) string {
	return ReportsPrefix(s) + r.Product + "/" + r.Version + "/"
}

// ReportObject is the key of one signed report. at is when it was made, sha
// the SHA-256 of its bytes in hex, of which the first 16 digits are used.
func ReportObject(s SiteID, r Release, at time.Time, sha string) string {
	return ReportPrefix(s, r) + at.UTC().Format(reportTime) + "-" + sha[:min(16, len(sha))] + ".json"
}

// ParseReportObject is the inverse of ReportObject; it accepts nothing else.
// The digest has its first 16 hex digits only. A key under a site's "_logs/"
// is not a report.
func ParseReportObject(key string) (SiteID, Release, time.Time, string, error) {
	bad := func(err error) (SiteID, Release, time.Time, string, error) {
		return SiteID{}, Release{}, time.Time{}, "", fmt.Errorf("object %q is not a report: %w", clip(key), err)
	}
	part := strings.Split(key, "/")
	if len(key) > maxTarget || len(part) != 6 || part[0] != "reports" {
		return bad(fmt.Errorf("want reports/CUSTOMER/SITE/PRODUCT/VERSION/TIME-DIGEST.json"))
	}
	s, r := SiteID{part[1], part[2]}, Release{part[3], part[4]}
	if err := s.check(); err != nil {
		return bad(err)
	}
	if err := r.check(); err != nil {
		return bad(err)
	}
	stamp, rest, _ := strings.Cut(part[5], "-")
	at, err := time.Parse(reportTime, stamp)
	if err != nil || at.Format(reportTime) != stamp {
		return bad(fmt.Errorf("time %q is not of the form %s", clip(stamp), reportTime))
	}
	sha, ok := strings.CutSuffix(rest, ".json")
	if !ok || len(sha) != 16 || !isHex(sha) {
		return bad(fmt.Errorf("%q is not 16 hex digits and .json", clip(rest)))
	}
	return s, r, at, sha, nil
}

// LogObject is the key of a stored log or attachment, named by the digest of the stored (compressed) bytes.
func LogObject(s SiteID, sha string) string { return ReportsPrefix(s) + "_logs/" + sha + ".zst" }

// ProposalObject is the key of a document of proposal id: "proposal.json" or "<role>.payload.json".
func ProposalObject(id, name string) string { return PendingPrefix + id + "/" + name }

// ProposalPrefix lies before every object of a proposal.
func ProposalPrefix(id string) string { return PendingPrefix + id + "/" }

// SignatureObject is the key of one signature on one role of a proposal; sha
// is the SHA-256 of the signature file.
func SignatureObject(id, role, keyid, sha string) string {
	return PendingPrefix + id + "/sig/" + role + "/" + keyid + "-" + sha + ".json"
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}
