package delta

import (
	"encoding/binary"
	"math/bits"
)

// Parameters of the search; they are not part of the format.
const (
	anchor     = 16      // bytes that have to be equal for a match to begin
	stride     = 8       // every so many bytes of the old window an anchor is remembered
	near       = 8       // bytes that have to be equal for the last match to go on
	far        = 1 << 16 // distance from which on a match is far
	worth      = 48      // bytes that a far match has to have
	patience   = 32      // bytes that a match is extended without gain
	barren     = 256     // bytes without a match, after which only every so many'th is probed:
	sparse     = 3       // odd, so that it meets anchors, which lie at multiples of stride, wherever they moved
	penalty    = 2       // equal bytes that make good for one that differs
	tagBits    = 7       // of an anchor's hash, kept in the table: most misses need no look at the old window
	tableShift = 2       // the table has room for one anchor in so many powers of two
	hashPrime  = 0x9e3779b97f4a7c15
)

// matcher finds where parts of a new window come from in an old one. There are fewer places in its table than anchors,
// so that it stays in fast memory; the first anchor keeps its place.
type matcher struct {
	old   []byte
	table []uint32 // hash of an anchor → its position in old / stride, and its tag
	shift uint
	added int // anchors up to here are in the table
}

// reset begins with another window; its anchors have to be added.
func (m *matcher) reset(old []byte) {
	size := max(10, uint(bits.Len(uint(len(old)/stride)))) - tableShift
	if len(m.table) != 1<<size {
		m.table = make([]uint32, 1<<size)
	} else {
		clear(m.table)
	}
	m.old, m.shift, m.added = old, 64-size, 0
}

// add remembers the anchors of old[:upTo].
func (m *matcher) add(upTo int) {
	i := m.added
	for ; i+anchor <= upTo; i += stride {
		slot, tag := m.hash(m.old[i:])
		if m.table[slot] == 0 {
			m.table[slot] = uint32(i/stride)<<tagBits | tag
		}
	}
	m.added = i
}

func (m *matcher) hash(b []byte) (slot uint64, tag uint32) {
	x := (binary.LittleEndian.Uint64(b)*hashPrime ^ binary.LittleEndian.Uint64(b[8:])) * hashPrime
	return x >> m.shift, uint32(x>>30) & (1<<tagBits - 1)
}

// sameAnchor compares anchor bytes.
func sameAnchor(a, b []byte) bool {
	return binary.LittleEndian.Uint64(a) == binary.LittleEndian.Uint64(b) &&
		binary.LittleEndian.Uint64(a[8:]) == binary.LittleEndian.Uint64(b[8:])
}

// find gives a position in old from where new[at:] may be copied; on is where the last match would go on.
func (m *matcher) find(new []byte, at, on int) (int, bool) {
	if on+near <= len(m.old) && binary.LittleEndian.Uint64(m.old[on:]) == binary.LittleEndian.Uint64(new[at:]) {
		return on, true
	}
	slot, tag := m.hash(new[at:])
	entry := m.table[slot]
	pos := int(entry>>tagBits) * stride
	return pos, entry&(1<<tagBits-1) == tag && pos+anchor <= len(m.old) && sameAnchor(m.old[pos:], new[at:])
}

// extend gives how far the match of old and new is worth being followed: the length whose equal bytes exceed those that
// differ, each counted as penalty, by most.
func extend(old, new []byte) int {
	n := min(len(old), len(new))
	best, gain, bestGain := 0, 0, 0
	for i := 0; i < n; {
		// Equal stretches are followed eight bytes at a time.
		for i+8 <= n {
			diff := binary.LittleEndian.Uint64(old[i:]) ^ binary.LittleEndian.Uint64(new[i:])
			if diff != 0 {
				same := bits.TrailingZeros64(diff) / 8
				i += same
				gain += same
				break
			}
			i += 8
			gain += 8
		}
		if gain > bestGain {
			best, bestGain = i, gain
		}
		if i >= n || i-best >= patience {
			break
		}
		if old[i] == new[i] {
			gain++
		} else {
			gain -= penalty
		}
		i++
		if gain > bestGain {
			best, bestGain = i, gain
		}
	}
	return best
}

// op is one step: so many literal bytes, then so many bytes from old at pos, of which some are changed.
type op struct{ literals, length, pos int }

// match walks through new and hands out the steps that make it from old; the last match before it ended at on. The last
// step may have no length.
func (m *matcher) match(new []byte, on int, step func(at int, o op)) (end int) {
	done := 0 // new[:done] is explained; on continues the last match
	for at := 0; at+anchor <= len(new); {
		pos, ok := m.find(new, at, on+at-done)
		if !ok {
			at++
			if at-done > barren {
				at += sparse - 1
			}
			continue
		}
		found := at
		for at > done && pos > 0 && m.old[pos-1] == new[at-1] {
			at--
			pos--
		}
		length := extend(m.old[pos:], new[at:])
		if move := pos - at - (on - done); length < worth && (move > far || move < -far) {
			at = max(found+1, at+length-near)
			continue
		}
		step(done, op{at - done, length, pos})
		at += length
		done, on = at, pos+length
	}
	if done < len(new) {
		step(done, op{literals: len(new) - done, pos: on})
	}
	return on
}
