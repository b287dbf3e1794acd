// Package trust decides what of a catalog may be believed. Bytes and a time come in, decisions come out: it
// does no I/O, reads no clock, and is the only package that knows go-tuf.
//
// A catalog is a repository of The Update Framework, specification 1.0.31 (the section numbers in comments are
// that document's), with consistent snapshots. A Session runs the specification's client workflow; there is one
// such path for everything: on line, off line, for the candidate of a commit, and for foreign repositories.
//
// # Rules
//
// Of every file, before it means anything:
//
//  1. It is strict JSON: valid UTF-8, no duplicate keys, at most 32 deep, whole numbers up to 2^53-1 only,
//     nothing after the value. Its size is capped by whoever read it.
//  2. What was understood, written again in canonical form, is exactly what was signed. No spelling, order or
//     null can mean one thing to the signer and another to the reader.
//  3. It carries at most one signature per key id. A threshold is at least 1 and counts different keys, by
//     their public part: one key under two ids is one.
//  4. A delegated role has a name of its own, once, and is verified with the keys of the delegator through
//     which it was reached.
//
// Of the chain (5.3 to 5.6):
//
//  5. Root N+1 is signed by the thresholds of root N and of itself. Only the last one must not have expired.
//  6. A timestamp is not older than the last one seen, nor is the snapshot it names.
//  7. The snapshot is what the timestamp names. It drops no role that was ever listed and rolls none back.
//  8. A role is what the snapshot lists: length, digest, version. It has not expired.
//  9. What was remembered under timestamp or snapshot keys that have changed since is forgotten (5.3.11).
//
// Of a Kitchen catalog beyond that (catalogrules.go; StartGeneral leaves these out):
//
//  10. Timestamp and snapshot list length and sha256 of everything they name, and nothing less.
//  11. A timestamp says when it was issued: that is the age of all knowledge, and a floor for the time.
//  12. The same version never comes with other content: timestamp, snapshot or role.
//  13. Targets lists no files and delegates everything; its delegations are terminating and by paths; a delegated
//     role delegates nothing and lists no path outside its delegation, or it is refused as a whole.
//  14. Keys stand under their own id, are ECDSA P-256 or ed25519, and suffice for their threshold.
//  15. A role file says, signed, which role it is: one key may sign several roles, and a file of one is never one of
//     another.
//  16. Target paths are plain relative paths, no two differing in case alone; custom holds strings.
//
// # Departures
//
// From the specification: an expired timestamp or snapshot may be excused by a caller who says so (AllowStale);
// the time, fixed at the start (5.1), moves on to a timestamp's issued time; rules 10 to 16 refuse repositories
// that the specification allows. From go-tuf: trustedmetadata is not used, because it stops at an expired
// timestamp for good, takes nulls it then trips over, and verifies the form it would itself have written;
// hash-prefix delegations compare hex, as specified.
//
// # Writing
//
// Root, Timestamp, Snapshot and Targets give their Payload, Sign signs it, Envelope joins both to the file:
//
//	{"signatures":[{"keyid":"5d9c…","sig":"3045…"}],
//	 "signed":{"_type":"timestamp","expires":"2026-03-08T12:00:00Z","issued":"2026-03-01T12:00:00Z",
//	  "meta":{"snapshot.json":{"hashes":{"sha256":"…"},"length":1402,"version":7}},"spec_version":"1.0.31","version":9}}
//
// (in one line, keys sorted). A payload is valid JSON; signatures are made over its OLPC canonical form, which
// differs in that PEM keys stand in it with raw newlines. Any TUF client reads the result.
// Beyond TUF's fields a timestamp has "issued", and a role file "role" (its name), "replaces" (the sha256 of the file that this
// version was written to replace) and "proposal_expires" (until when committers may publish it); a root has the last two.
package trust
