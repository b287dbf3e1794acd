// Package catalog is the verified view of a catalog that publishers and fetchers share.
//
// A Catalog joins a store (the bucket, which nobody trusts) and a state directory (what this host verified
// before). Refresh plays the client workflow of TUF 1.0 §5.3–5.6 over the store and gives a View; Offline plays
// the same code over the state directory alone. A View is immutable, and all that it gives was verified: roles by
// signatures, manifests and registry entries by the digests those roles list, reports by the keys of the very
// site that claims them.
//
// # State directory
//
//	lock                      held while refreshing (exclusive) or reading offline (shared)
//	pin.json                  version and sha256 of the root this host was told to trust; checksummed
//	root/N.root.json          the root chain, from the pinned one on
//	timestamp.json            the last accepted timestamp
//	timestamp.etag            its entity tag, bound to its digest and to the store
//	snapshot.json             the last accepted snapshot
//	roles/<role>.json         targets and every delegated role the snapshot lists
//	manifests/<sha256>.toml   manifests by digest
//	registry/<sha256>.toml    registry entries by digest
//	journal/<N>.<sha256>.json the segments of the journal that were read
//	reports/<sha256 of key>   copies of verified reports
//	memory.a.json, .b.json    two checksummed copies of what must never be forgotten (see memory.go)
//	_tmp-…                    unfinished files of writers, in any of these places; swept by the next refresh
//	site/…                    belongs to the fetcher
//
// Every file is written durably right after it was verified and never before. A file that is missing, damaged or
// not what the files above it name is ignored and fetched again. Two things are not replaced silently: the pin
// (without it and without a configured pin nothing is read) and the memory (with both copies lost, or of another
// catalog, Offline refuses and a refresh begins anew: View.MemoryLost).
//
// # Rules beyond TUF
//
//   - Time is the later of the host's clock and the newest "issued" of a timestamp seen under the current online
//     keys; new online keys (a root rotation) forget the old ones' versions and times.
//   - A broken, expired or withheld delegated role is an error of that role and hides no other.
//   - Of a file whose length a verified one lists not a byte more is read.
//   - Path and digest of every release in every stage are remembered: the role that shows another digest for a
//     known path is refused. So is a recalled.<p> that lacks a recall seen before, and a journal that shrinks.
package catalog
