package chunk

import (
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"sync/atomic"
)

// Packed is what Pack made.
type Packed struct {
	Index  Index
	Raw    Digested // the artifact
	Stored Digested // the object
}

// Digested is a length and a digest of bytes.
type Digested struct {
	Size   int64
	SHA256 [sha256.Size]byte
}

// piece is one chunk on its way: the cutter fills raw, a worker the rest.
type piece struct {
	at    int // position
	raw   []byte
	block *block // that raw lies in
	frame []byte
	chunk Chunk
	done  chan struct{}
}

// block is a stretch of an artifact that is read at once, in which chunks lie until they are written.
type block struct {
	buf  []byte
	uses atomic.Int32 // by chunks, and by the cutter while it reads
}

// Options say how to pack. The zero value packs with one worker.
type Options struct {
	Workers int // chunks that are compressed at a time
	// Known appends the frame of a chunk to dst where one is known, so that it need not be compressed again; the caller
	// answers for its being that chunk's. Nil: none is. It is called by many at once.
	Known func(dst []byte, sha [sha256.Size]byte) ([]byte, bool)
	// Packed is given each frame, one after the other in their order. Nil: nobody asks.
	Packed func(frame []byte)
	// Earlier is the index of an artifact that this one is likely to resemble: see Follower. Nil: there is none.
	Earlier Index
	// Harder has what is not known compressed by EncodeHarder.
	Harder bool
	// Like is the index of an object that is to be made once more: of the ways to compress a chunk, the one that gives a frame
	// of its length is taken. Whether the object is that one, its digest tells. Nil: it is a new one.
	Like Index
}

// Pack reads an artifact to its end, cuts it, and writes its object to w, in one pass: workers compress and hash in
// parallel, and frames are written in order. It holds 4 MiB for each worker and 8 more, and the frames under way.
func (c *Codec) Pack(ctx context.Context, src io.Reader, w io.Writer, o Options) (*Packed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := max(o.Workers, 1)
	p := &packer{codec: c, options: o, todo: make(chan *piece), order: make(chan *piece, workers), free: make(chan *piece, 2*workers+2),
		blocks: make(chan *block, workers+2)}
	for range cap(p.free) {
		p.free <- &piece{done: make(chan struct{}, 1)}
	}
	for range cap(p.blocks) {
		p.blocks <- &block{}
	}
	for range workers {
		go p.work()
	}
	total := make(chan error, 1)
	packed := &Packed{}
	go func() { total <- p.cut(ctx, src) }()
	err := p.write(ctx, w, packed)
	if err != nil {
		cancel(err)
		for range p.order { // the cutter ends, and closes it
		}
	}
	if cut := <-total; err == nil { // what ended the writer ended the cutter, too
		err = cut
	}
	return packed, err
}

type packer struct {
	codec   *Codec
	options Options
	todo    chan *piece
	order   chan *piece
	free    chan *piece
	blocks  chan *block // that nobody uses
	cutting *block      // that the cutter reads into
}

// move gives the cutter another block, which begins with the rest of the one before.
func (p *packer) move(ctx context.Context, rest []byte) ([]byte, error) {
	var next *block
	select {
	case next = <-p.blocks:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	next.uses.Add(1)
	if next.buf == nil {
		next.buf = make([]byte, readerBuffer)
	}
	copy(next.buf, rest)
	if p.cutting != nil {
		p.release(p.cutting)
	}
	p.cutting = next
	return next.buf, nil
}

// release ends a use of a block.
func (p *packer) release(b *block) {
	if b.uses.Add(-1) == 0 {
		p.blocks <- b
	}
}

// cut reads and cuts; it owns todo and order.
func (p *packer) cut(ctx context.Context, src io.Reader) (err error) {
	defer close(p.todo)
	defer close(p.order)
	r := &Reader{src: src, move: func(rest []byte) ([]byte, error) { return p.move(ctx, rest) }}
	follower := NewFollower(r, p.options.Earlier)
	for at := 0; ; at++ {
		var raw []byte
		var sha [sha256.Size]byte
		if p.follows() {
			raw, sha, err = follower.Next()
		} else {
			raw, err = r.Next()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var next *piece
		select {
		case next = <-p.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p.cutting.uses.Add(1)
		next.at, next.raw, next.block, next.chunk = at, raw, p.cutting, Chunk{SHA256: sha, Raw: len(raw)}
		p.order <- next
		p.todo <- next
	}
}

// follows tells whether the cutter gives the digests of chunks; else a worker does.
func (p *packer) follows() bool { return len(p.options.Earlier) > 0 }

func (p *packer) work() {
	for next := range p.todo {
		if !p.follows() {
			next.chunk.SHA256 = Sum(next.raw)
		}
		next.frame = p.frame(next.frame[:0], next, next.chunk.SHA256)
		next.chunk.Stored = len(next.frame)
		next.done <- struct{}{}
	}
}

func (p *packer) frame(dst []byte, next *piece, sha [sha256.Size]byte) []byte {
	encodings := []func(dst, raw []byte) []byte{p.codec.Encode, p.codec.EncodeHarder}
	if p.options.Harder {
		slices.Reverse(encodings)
	}
	right := func(frame []byte) bool {
		return p.options.Like == nil || next.at < len(p.options.Like) && len(frame)-len(dst) == p.options.Like[next.at].Stored
	}
	if p.options.Known != nil && !isZero(next.raw) { // a frame of zeros costs nothing to make
		if frame, ok := p.options.Known(dst, sha); ok && right(frame) {
			return frame
		}
	}
	frame := encodings[0](dst, next.raw)
	if !right(frame) {
		frame = encodings[1](frame[:len(dst)], next.raw)
	}
	return frame
}

func (p *packer) write(ctx context.Context, w io.Writer, packed *Packed) error {
	whole, sum := sha256.New(), sha256.New()
	for next := range p.order {
		<-next.done
		whole.Write(next.raw)
		packed.Raw.Size += int64(len(next.raw))
		sum.Write(next.frame)
		if p.options.Packed != nil {
			p.options.Packed(next.frame)
		}
		if _, err := w.Write(next.frame); err != nil {
			return err
		}
		packed.Stored.Size += int64(len(next.frame))
		packed.Index = append(packed.Index, next.chunk)
		p.release(next.block)
		p.free <- next
	}
	whole.Sum(packed.Raw.SHA256[:0])
	sum.Sum(packed.Stored.SHA256[:0])
	return context.Cause(ctx)
}
