package chunk

import "crypto/sha256"

// Follower cuts a stream just as Reader does, and gives the digest of each chunk, too. Where the stream goes on as an artifact
// did that was cut before, the next cut is known and not searched for: a chunk that begins here with the bytes of one of that
// artifact's ends where that one did. What is taken over has the digest that the index says, and ends as a chunk may; an index that
// was not cut like this could have two chunks pass for one, which costs what others share with them, and nothing else.
type Follower struct {
	reader *Reader
	index  Index   // of the artifact that was cut before
	order  []int32 // see ByDigest
	next   int     // the position of the chunk that is expected; beyond the index: none is
}

// NewFollower begins to cut what r has left.
func NewFollower(r *Reader, earlier Index) *Follower {
	return &Follower{reader: r, index: earlier, order: earlier.ByDigest()}
}

// Next gives the next chunk, valid until the next call, and its digest, or io.EOF after the last one.
func (f *Follower) Next() (raw []byte, sha [sha256.Size]byte, err error) {
	data, err := f.reader.window()
	if err != nil {
		return nil, sha, err
	}
	hashed := 0
	if f.next < len(f.index) && mayEnd(data, f.index[f.next].Raw) {
		hashed = f.index[f.next].Raw
		sha = Sum(data[:hashed])
		if sha == f.index[f.next].SHA256 {
			f.next++
			return f.reader.take(hashed), sha, nil
		}
	}
	n := Cut(data)
	if n != hashed {
		sha = Sum(data[:n])
	}
	from, known := f.index.Find(f.order, sha)
	switch {
	case known:
		f.next = int(f.order[from]) + 1
	case n == hashed: // a change within the chunk, most likely
		f.next++
	default:
		f.next = len(f.index)
	}
	return f.reader.take(n), sha, nil
}

// mayEnd tells whether Cut could end a chunk after n bytes of data by what lies before that end. It does not search for
// an earlier one.
func mayEnd(data []byte, n int) bool {
	if n <= Min || n >= Max || n > len(data) {
		return n == Max && n <= len(data)
	}
	var hash uint64
	for _, b := range data[n-window : n] {
		hash = hash<<1 + gear[b]
	}
	if n <= Average {
		return hash < early
	}
	return hash < late
}
