// Package chunk cuts artifacts into pieces by their content, stores them as one object of zstd frames, and describes
// that object in an index, so that a reader who has an earlier release moves only what changed.
//
// # Cuts
//
// A chunk has 64 KiB to 1 MiB, 256 KiB on average; the last one may be shorter. Its end is where the Gear hash of
// the bytes before it has zeros under a mask (Xia et al., "FastCDC", USENIX ATC 2016, with normalisation level 2):
//
//	hash = hash<<1 + gear[byte]              uint64, wraps; it depends on the last 64 bytes alone
//	cut after a byte of the first 256 KiB    when hash & 0xfffff00000000000 == 0  (20 bits)
//	cut after a later byte                   when hash & 0xffff000000000000 == 0  (16 bits)
//
// The first 64 KiB minus 64 bytes of a chunk are skipped; the hash begins with zero there. gear[i] is the first eight
// bytes, big endian, of SHA-256("kitchen gear " + the byte i). Cuts are part of the format: other cuts would be read
// just as well, but share nothing with those of earlier releases.
//
// # Object
//
// One zstd frame (RFC 8878) per chunk, back to back, without checksum and with its content size, so that `zstd -d`
// gives back the artifact. A chunk that does not get smaller is a frame of raw blocks.
//
// # Index
//
// Big endian: the 8 bytes "kitchen\x01", the number of chunks (uint32), then for each chunk 40 bytes: SHA-256 of its
// raw bytes, raw length (uint32, more than 64 KiB and up to 1 MiB, the last one from 1), length of its frame (uint32, 1 to 1 MiB + 64 KiB). Nothing follows. The
// index is at most 64 MiB; its digest stands in the signed manifest.
//
// # Differences
//
// The chunks that an earlier artifact has and a later one has not are gone, those that only the later one has are
// missing: each digest once, in the order of its first place. Their churn is SHA-256 of: the number of gone chunks
// (uint32, big endian), the SHA-256 of each gone chunk, the SHA-256 of each missing one. A delta (package delta) leads
// from all gone chunks, concatenated, to all missing ones; it is named by their churn, so that it serves whoever
// misses the same, whatever else differs.
package chunk
