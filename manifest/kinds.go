package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// Sizes, in bytes.
const (
	kib int64 = 1 << 10
	mib int64 = 1 << 20
	tib int64 = 1 << 40

	// MaxObjectSize bounds every object of a catalog, and every artifact.
	MaxObjectSize = 5 * tib
	// MaxIndexSize bounds the index of a stored object.
	MaxIndexSize = 64 * mib
)

const (
	forever = "public, max-age=31536000, immutable"
	never   = "no-store"
)

const (
	typeJSON  = "application/json"
	typeTOML  = "application/toml"
	typeBytes = "application/octet-stream"
	typeZstd  = "application/zstd"
	typeText  = "text/plain"
)

// Kind is what is known about an object from its key alone.
type Kind struct {
	Name         string // "root", "timestamp", "blob", …
	ContentType  string // RFC 9110 media type to upload with
	Mutable      bool   // changed by compare-and-swap; all others are created once
	MaxSize      int64  // bytes; every read is capped by it
	CacheControl string // RFC 9111
}

func fixed(name, contentType string, max int64) Kind {
	return Kind{Name: name, ContentType: contentType, MaxSize: max, CacheControl: forever}
}

// The table of object kinds: one row each, nowhere else repeated.
var (
	kindTimestamp = Kind{Name: "timestamp", ContentType: typeJSON, Mutable: true, MaxSize: 16 * kib, CacheControl: never}
	kindProbe     = Kind{Name: "probe", ContentType: typeText, Mutable: true, MaxSize: 16 * kib, CacheControl: never}
	kindPrune     = Kind{Name: "prune", ContentType: typeJSON, Mutable: true, MaxSize: mib, CacheControl: never}
	kindRoot      = fixed("root", typeJSON, 512*kib)
	kindSnapshot  = fixed("snapshot", typeJSON, 4*mib)
	kindRole      = fixed("role", typeJSON, 16*mib)
	kindManifest  = fixed("manifest", typeTOML, 16*mib)
	kindCustomer  = fixed("registry", typeTOML, mib)
	kindPolicy    = fixed("policy", typeTOML, mib)
	kindBlob      = fixed("blob", typeBytes, MaxObjectSize)
	kindEvidence  = fixed("evidence", typeJSON, mib)
	kindReport    = fixed("report", "application/vnd.dev.sigstore.bundle.v0.3+json", 4*mib)
	kindLog       = fixed("log", typeZstd, 64*mib)
	kindJournal   = fixed("journal", typeJSON, 2*mib)
	kindProposal  = fixed("proposal", typeJSON, 16*mib)
	kindSignature = fixed("signature", typeJSON, 16*kib)
)

// KindOf tells what an object key stands for. Keys that Kitchen does not write
// are errors. Keys are at most 1,024 bytes, segments 255.
func KindOf(key string) (Kind, error) {
	part := strings.Split(key, "/")
	k, ok := Kind{}, false
	if CheckRelativePath(key) == nil && len(key) <= 1024 {
		switch part[0] {
		case "metadata":
			k, ok = metadataKind(part[1:])
		case "targets":
			k, ok = targetKind(part[1:])
		case "blobs":
			k, ok = kindBlob, isSharded(part[1:])
		case "evidence":
			k, ok = kindEvidence, isSharded(part[1:])
		case "journal":
			k, ok = kindJournal, len(part) == 2 && isNumbered(part[1], ".json")
		case "reports":
			k, ok = reportKind(key, part[1:])
		case "pending":
			k, ok = pendingKind(part[1:])
		case "_kitchen":
			k, ok = kindProbe, len(part) == 3 && strings.HasPrefix(part[1], "probe-")
			if key == PruneObject {
				k, ok = kindPrune, true
			}
		}
	}
	if !ok {
		return Kind{}, fmt.Errorf("object key %q is not one of a catalog", clip(key))
	}
	return k, nil
}

func metadataKind(part []string) (Kind, bool) {
	if len(part) != 1 {
		return Kind{}, false
	}
	if part[0] == "timestamp.json" {
		return kindTimestamp, true
	}
	number, role, _ := strings.Cut(part[0], ".")
	role, ok := strings.CutSuffix(role, ".json")
	if !ok || !isNumber(number) {
		return Kind{}, false
	}
	switch role {
	case "root":
		return kindRoot, true
	case "snapshot":
		return kindSnapshot, true
	case "targets":
		return kindRole, true
	}
	kind, _, _ := SplitRole(role)
	return kindRole, kind != ""
}

func targetKind(part []string) (Kind, bool) {
	if len(part) == 0 {
		return Kind{}, false
	}
	sha, name, ok := strings.Cut(part[len(part)-1], ".")
	if !ok || checkDigest("", sha) != nil {
		return Kind{}, false
	}
	path := strings.Join(append(append([]string{}, part[:len(part)-1]...), name), "/")
	if customer, ok := strings.CutSuffix(name, ".toml"); ok && path == RegistryTarget(customer) {
		return kindCustomer, CheckName("customer", customer) == nil
	}
	if path == PolicyTarget {
		return kindPolicy, true
	}
	_, _, err := ParseTargetPath(path)
	return kindManifest, err == nil
}

func isSharded(part []string) bool {
	return len(part) == 3 && part[0] == "sha256" && checkDigest("", part[2]) == nil && part[1] == part[2][:2]
}

func reportKind(key string, part []string) (Kind, bool) {
	if len(part) == 4 && part[2] == "_logs" {
		sha, ok := strings.CutSuffix(part[3], ".zst")
		return kindLog, ok && checkDigest("", sha) == nil && SiteID{part[0], part[1]}.check() == nil
	}
	_, _, _, _, err := ParseReportObject(key)
	return kindReport, err == nil
}

func pendingKind(part []string) (Kind, bool) {
	if len(part) == 2 && strings.HasSuffix(part[1], ".json") {
		return kindProposal, true
	}
	ok := len(part) == 4 && part[1] == "sig" && strings.HasSuffix(part[3], ".json")
	return kindSignature, ok
}

func isNumbered(name, suffix string) bool {
	number, ok := strings.CutSuffix(name, suffix)
	return ok && isNumber(number)
}

// isNumber accepts a version number: positive, decimal, without leading zeros.
func isNumber(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}
