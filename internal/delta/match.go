package delta

import (
	"encoding/binary"
	"math/bits"
)

// Parameters of the search; they are not part of the format.
const (
	anchor    = 16 // bytes that have to be equal for a match to begin
	stride    = 8  // every so many bytes of the old window an anchor is remembered
	patience  = 96 // bytes that a match is extended without gain
	hashPrime = 0x9e3779b97f4a7c15
)

// matcher finds where parts of a new window come from in an old one.
type matcher struct {
	old   []byte
	table []uint32 // hash of an anchor → its position in old + 1; 0 = none
	shift uint
}

func newMatcher(old []byte) *matcher {
	size := uint(bits.Len(uint(len(old)/stride + 1)))
	m := &matcher{old: old, table: make([]uint32, 1<<size), shift: 64 - size}
	for i := 0; i+anchor <= len(old); i += stride {
		if slot := &m.table[m.hash(old[i:])]; *slot == 0 {
			*slot = uint32(i) + 1
		}
	}
	return m
}

func (m *matcher) hash(b []byte) uint64 {
	x := binary.LittleEndian.Uint64(b)*hashPrime ^ binary.LittleEndian.Uint64(b[8:])
	return x * hashPrime >> m.shift
}

// sameAnchor compares anchor bytes.
func sameAnchor(a, b []byte) bool {
	return binary.LittleEndian.Uint64(a) == binary.LittleEndian.Uint64(b) &&
		binary.LittleEndian.Uint64(a[8:]) == binary.LittleEndian.Uint64(b[8:])
}

// find gives a position in old from where new[at:] may be copied; on is where the last match would go on.
func (m *matcher) find(new []byte, at, on int) (int, bool) {
	if on >= 0 && on+anchor <= len(m.old) && sameAnchor(m.old[on:], new[at:]) {
		return on, true
	}
	if pos := int(m.table[m.hash(new[at:])]) - 1; pos >= 0 && sameAnchor(m.old[pos:], new[at:]) {
		return pos, true
	}
	return 0, false
}

// extend gives how far the match of old[pos:] and new[at:] is worth being followed: the length whose equal bytes
// exceed its half by most.
func (m *matcher) extend(new []byte, at, pos int) int {
	old := m.old[pos:]
	new = new[at:]
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
			gain--
		}
		i++
		if gain > bestGain {
			best, bestGain = i, gain
		}
	}
	return best
}

// op is one step: so many literal bytes, then so many bytes from old at pos, with differences added.
type op struct{ literals, length, pos int }

// match walks through new and hands out the steps that make it from old. The last one may have no length.
func (m *matcher) match(new []byte, step func(at int, o op)) {
	done, on := 0, 0 // new[:done] is explained; on continues the last match
	at := 0
	for at+anchor <= len(new) {
		pos, ok := m.find(new, at, on+at-done)
		if !ok {
			at++
			continue
		}
		for at > done && pos > 0 && m.old[pos-1] == new[at-1] {
			at--
			pos--
		}
		length := m.extend(new, at, pos)
		step(done, op{at - done, length, pos})
		at += length
		done, on = at, pos+length
	}
	if done < len(new) {
		step(done, op{literals: len(new) - done, pos: on})
	}
}
