package chunk

import (
	"crypto/sha256"
	"encoding/binary"
)

// Difference is what two artifacts do not share: positions in the earlier and in the later index, each digest once, at
// its first place, in order.
type Difference struct {
	Gone    []int             // only the earlier one has them
	Missing []int             // only the later one has them
	Churn   [sha256.Size]byte // names both: see the package comment
}

// Compare tells what old has and new has not, and the other way round. Stored lengths do not matter.
func Compare(old, new Index) Difference {
	var d Difference
	d.Gone, d.Missing = without(old, new), without(new, old)
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(d.Gone))))
	for _, i := range d.Gone {
		h.Write(old[i].SHA256[:])
	}
	for _, i := range d.Missing {
		h.Write(new[i].SHA256[:])
	}
	h.Sum(d.Churn[:0])
	return d
}

// without gives the positions in x of what other does not have.
func without(x, other Index) []int {
	seen := make(map[[sha256.Size]byte]bool, len(other))
	for _, c := range other {
		seen[c.SHA256] = true
	}
	var list []int
	for i, c := range x {
		if !seen[c.SHA256] {
			seen[c.SHA256] = true
			list = append(list, i)
		}
	}
	return list
}
