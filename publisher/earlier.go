package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
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
func newEarlier(f *os.File, x chunk.Index, s *seals) *earlierObject {
	o := &earlierObject{file: f, index: x, seals: s, offsets: make([]int64, len(x)), order: x.ByDigest()}
	offset := int64(0)
	for i, c := range x {
		o.offsets[i] = offset
		offset += int64(c.Stored)
	}
	return o
}

// hasSize tells whether a file has the size of an artifact's object, and its index that of both.
func hasSize(f *os.File, x chunk.Index, a *manifest.Artifact) bool {
	raw, stored := x.Sizes()
	info, err := f.Stat()
	return err == nil && info.Size() == a.Stored.Size && stored == a.Stored.Size && raw == a.Size
}

// sealWhole reads a file that should be an artifact's object, and seals its frames if all of it is what the manifest says. Who
// signed for it is not enough: what is stored again is signed for anew, by others.
func sealWhole(ctx context.Context, codec *chunk.Codec, f io.Reader, x chunk.Index, a *manifest.Artifact, task progress.Task) (*seals, error) {
	s, err := newSeals()
	if err != nil {
		return nil, err
	}
	err = transfer.Unpack(ctx, io.TeeReader(f, progress.Writer{Task: task}), codec, x, a, s.add)
	if wrong := new(transfer.Mismatch); errors.As(err, &wrong) {
		err = errDamaged
	}
	if err != nil {
		return nil, err
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

// earlierFor is the newest object at hand of an artifact with the path of an item; nil for none.
func (u *uploader) earlierFor(ctx context.Context, it *item) *earlierObject {
	for _, m := range u.past.sound {
		if a := artifactOf(m, it.artifact.Path); a != nil && ofLikeSize(a, it.artifact.Size) {
			if o := u.object(ctx, a); o != nil {
				return o
			}
		}
	}
	return nil
}

// object opens what an earlier artifact was stored as, in the cache or in a store on this machine, once. Nil where it is
// neither, or is not what its manifest says. Without seals it is read whole, which makes them.
func (u *uploader) object(ctx context.Context, a *manifest.Artifact) *earlierObject {
	name := a.Stored.SHA256 + "." + a.Index.SHA256 + "." + a.SHA256
	if o, known := u.opened[name]; known {
		return o
	}
	if u.opened == nil {
		u.opened = map[string]*earlierObject{}
	}
	u.opened[name] = u.openEarlier(ctx, a)
	return u.opened[name]
}

func (u *uploader) openEarlier(ctx context.Context, a *manifest.Artifact) *earlierObject {
	f, x := u.cache.object(a)
	if f == nil {
		f, x = u.localObject(ctx, a)
	}
	if f == nil {
		return nil
	}
	s, err := u.sealsOf(ctx, a, f, x)
	if err != nil {
		f.Close()
		if errors.Is(err, errDamaged) {
			u.cache.forget(a)
		}
		return nil
	}
	return newEarlier(f, x, s)
}

// sealsOf are those in the cache, or new ones.
func (u *uploader) sealsOf(ctx context.Context, a *manifest.Artifact, f *os.File, x chunk.Index) (s *seals, err error) {
	if !hasSize(f, x, a) {
		return nil, errDamaged
	}
	if s := u.cache.seals(a, len(x)); s != nil {
		return s, nil
	}
	if err := u.openCodec(); err != nil {
		return nil, err
	}
	task := u.sink().Start("reading what is stored for an earlier "+a.Path, a.Stored.Size)
	defer func() { task.Done(err) }()
	if s, err = sealWhole(ctx, u.codec, f, x, a, task); err == nil {
		u.cache.keepSeals(a, s)
	}
	return s, err
}

// isAtHand tells whether an artifact's object would be read on this machine, undamaged or not.
func (u *uploader) isAtHand(a *manifest.Artifact) bool {
	if _, local := u.Store.(storage.Local); local {
		return true
	}
	f, _ := u.cache.object(a)
	if f != nil {
		f.Close()
	}
	return f != nil
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
		if o != nil {
			o.file.Close()
		}
	}
	u.opened = nil
}
