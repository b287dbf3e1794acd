package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// earlierObject is what an artifact of an earlier release was stored as, and is at hand. It may be damaged or changed at any
// time, by whoever writes to the store or by the disk: so each frame is held to its seal before it is stored again.
type earlierObject struct {
	file    *os.File
	index   chunk.Index
	seals   *seals
	offsets []int64 // of the frames
	order   []int32 // of the chunks, by digest
}

var errDamaged = errors.New("damaged")

// newEarlier takes a file that should be an object, and its seals.
func newEarlier(f *os.File, x chunk.Index, want manifest.Stored, s *seals) (*earlierObject, error) {
	o := &earlierObject{file: f, index: x, seals: s, offsets: make([]int64, len(x)), order: x.ByDigest()}
	offset := int64(0)
	for i, c := range x {
		o.offsets[i] = offset
		offset += int64(c.Stored)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if offset != want.Size || info.Size() != want.Size {
		return nil, errDamaged
	}
	return o, nil
}

// sealWhole reads a file that should be an object, and seals its frames if all of it has the digest that its manifest says.
func sealWhole(ctx context.Context, f *os.File, x chunk.Index, want manifest.Stored) (*seals, error) {
	s, err := newSeals()
	if err != nil {
		return nil, err
	}
	sum, offset, buffer := sha256.New(), int64(0), []byte{}
	from := io.TeeReader(&itemReader{ctx: ctx, Reader: f}, sum)
	for _, c := range x {
		if cap(buffer) < c.Stored {
			buffer = make([]byte, c.Stored)
		}
		if _, err := io.ReadFull(from, buffer[:c.Stored]); err != nil {
			return nil, errDamaged
		}
		s.add(buffer[:c.Stored])
		offset += int64(c.Stored)
	}
	if more, err := io.Copy(io.Discard, from); err != nil || more != 0 || offset != want.Size || hexSum(sum) != want.SHA256 {
		return nil, errDamaged
	}
	return s, nil
}

// frame appends the frame of a chunk; false where there is none, or it is not what was sealed: it is compressed again then.
func (o *earlierObject) frame(dst []byte, sha [sha256.Size]byte) ([]byte, bool) {
	from, found := o.index.Find(o.order, sha)
	if !found {
		return dst, false
	}
	return o.read(dst, int(o.order[from]))
}

func (o *earlierObject) read(dst []byte, at int) ([]byte, bool) {
	start, length := len(dst), o.index[at].Stored
	dst = slices.Grow(dst, length)[:start+length]
	n, _ := o.file.ReadAt(dst[start:], o.offsets[at])
	if n < length || !o.seals.fit(at, dst[start:]) {
		return dst[:start], false
	}
	return dst, true
}

// sound tells whether the frames at these positions are those that were sealed.
func (o *earlierObject) sound(positions []int) bool {
	var frame []byte
	for _, at := range positions {
		var ok bool
		if frame, ok = o.read(frame[:0], at); !ok {
			return false
		}
	}
	return true
}

// earlierFor is the newest object at hand of an artifact with the path; nil for none.
func (u *uploader) earlierFor(ctx context.Context, path string) *earlierObject {
	for _, m := range u.earlier {
		if a := artifactOf(m, path); a != nil {
			if o := u.object(ctx, a); o != nil {
				return o
			}
		}
	}
	return nil
}

// object opens what an earlier artifact was stored as, in the cache or in a store on this machine, once. Nil where it is
// neither, or is damaged. Without seals it is read whole, which makes them.
func (u *uploader) object(ctx context.Context, a *manifest.Artifact) *earlierObject {
	name := a.Stored.SHA256 + "." + a.Index.SHA256
	if o := u.opened[name]; o != nil {
		return o
	}
	f, x := u.cache.object(a)
	if f == nil {
		f, x = u.localObject(ctx, a)
	}
	if f == nil {
		return nil
	}
	o, err := u.openEarlier(ctx, a, f, x)
	if err != nil {
		f.Close()
		if errors.Is(err, errDamaged) {
			u.cache.forget(a)
		}
		return nil
	}
	if u.opened == nil {
		u.opened = map[string]*earlierObject{}
	}
	u.opened[name] = o
	return o
}

func (u *uploader) openEarlier(ctx context.Context, a *manifest.Artifact, f *os.File, x chunk.Index) (*earlierObject, error) {
	s := u.cache.seals(a, len(x))
	if s == nil {
		var err error
		if s, err = sealWhole(ctx, f, x, a.Stored); err != nil {
			return nil, err
		}
		u.cache.keepSeals(a, s)
	}
	return newEarlier(f, x, a.Stored, s)
}

// localObject opens the object in a store on this machine; nil where there is none.
func (u *uploader) localObject(ctx context.Context, a *manifest.Artifact) (*os.File, chunk.Index) {
	local, ok := u.Store.(storage.Local)
	if !ok {
		return nil, nil
	}
	x, err := transfer.ReadIndex(ctx, u.Store, a)
	if err != nil {
		return nil, nil
	}
	f, err := local.File(ctx, manifest.BlobObject(a.Stored.SHA256))
	if err != nil {
		return nil, nil
	}
	return f, x
}

func (u *uploader) closeEarlier() {
	for _, o := range u.opened {
		o.file.Close()
	}
	u.opened = nil
}
