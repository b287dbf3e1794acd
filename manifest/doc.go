// Package manifest owns Kitchen's names, document formats, object keys and
// object kinds. It is pure: no I/O but the streams it is given, no clock, no
// trust decisions. Whatever it parses may come from a stranger; it answers
// with a value or an error, within bounds, never with a guess.
//
// # Names
//
// Products, customers and sites match [a-z0-9][a-z0-9-]{0,62}; versions match
// [A-Za-z0-9][A-Za-z0-9._~-]{0,62}. A release is "product@version", a site
// "customer/site".
//
// # Documents
//
// product.toml ([Source], [ParseSource]) is what a release engineer writes:
// TOML 1.0, at most 1 MiB, unknown keys are errors with their line.
//
// manifest.toml ([Manifest], [ParseManifest]) is its canonical rendering with
// digests, at most 16 MiB: fixed order of keys, one spelling of every value,
// zero values left out. Two parties who hold the same digest hold the same
// meaning, because another spelling is not accepted:
//
//	format = 1
//	product = "openstack"
//	version = "2.1.0"
//	kind = "update"
//	from = ["2.0.0", ">=2.0.3 <2.1"]
//	summary = "Kilo, second maintenance release"
//
//	[requires]
//	arch = ["amd64"]
//	memory_gib = 16
//
//	[marmite]
//	path = "marmite.yaml"
//	size = 31
//	sha256 = "<64 hex digits of the raw bytes>"
//	stored = { sha256 = "<of the stored object>", size = 44, encoding = "zstd" }
//
//	[[artifact]]
//	path = "puppet/"
//	kind = "configuration"
//	size = 3584
//	sha256 = "<of the canonical tar>"
//	stored = { sha256 = "…", size = 300, encoding = "zstd" }
//	files = [
//	  { path = "apply", size = 10, sha256 = "…", executable = true },
//	  { path = "current", link = "apply" },
//	  { path = "empty/" },
//	]
//
// registry/<customer>.toml ([Customer]) says who may report: subscriptions,
// sites, their keys. At most 1 MiB, read as strictly as product.toml.
//
// A report ([Report]) is an in-toto Statement v1, at most 2 MiB before it is
// signed. An evidence document ([Evidence]) is canonical JSON, at most 1 MiB.
// JSON is held to: valid UTF-8, no key twice, at most 32 levels, one value.
//
// # Trees
//
// A tree is an artifact whose path ends in "/". It is stored as one tar with
// fixed header fields ([WriteTree]), read back only against the signed list of
// its files ([ReadTree]): names never come from the archive. At most 100,000
// entries a release. Links stay inside the tree, and nothing lies below a link.
//
// # Paths of files
//
// [CheckRelativePath] says which. All final paths of a release must be able to
// lie side by side on a file system that ignores case or composes characters.
//
// # Object keys
//
// This package alone builds and takes apart the keys of a catalog's bucket:
// functions that end in Object, Prefix and Target. They expect checked names
// and lower-case hex digests. [KindOf] is the one table of what lies under a
// key: content type, caching, and the size that caps every read.
package manifest
