package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"io"
	"os"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// earlierObject is what an artifact of an earlier release was stored as, and is at hand. All of it was read once, and had the
// digest that its manifest says. It may be changed afterwards, by whoever writes to the store or by the disk: so each frame is
// held to a sum of that one reading (with a seed that nobody knows) before it is stored again.
type earlierObject struct {
	file   *os.File
	index  chunk.Index
	seed   maphash.Seed
	frames map[[sha256.Size]byte]earlierFrame
}

type earlierFrame struct {
	offset int64
	length int
	sum    uint64
}

var errDamaged = errors.New("damaged")

// readEarlier reads a file that should be an object, and closes it if it is not.
func readEarlier(ctx context.Context, f *os.File, x chunk.Index, want manifest.Stored) (*earlierObject, error) {
	o := &earlierObject{file: f, index: x, seed: maphash.MakeSeed(), frames: make(map[[sha256.Size]byte]earlierFrame, len(x))}
	sum, offset, buffer := sha256.New(), int64(0), []byte{}
	from := io.TeeReader(&itemReader{ctx: ctx, Reader: f}, sum)
	for _, c := range x {
		if cap(buffer) < c.Stored {
			buffer = make([]byte, c.Stored)
		}
		if _, err := io.ReadFull(from, buffer[:c.Stored]); err != nil {
			f.Close()
			return nil, errDamaged
		}
		o.frames[c.SHA256] = earlierFrame{offset, c.Stored, maphash.Bytes(o.seed, buffer[:c.Stored])}
		offset += int64(c.Stored)
	}
	if more, err := io.Copy(io.Discard, from); err != nil || more != 0 || offset != want.Size || hexSum(sum) != want.SHA256 {
		f.Close()
		return nil, errDamaged
	}
	return o, nil
}

// frame appends the frame of a chunk; false where there is none, or it is not what was read: it is compressed again then.
func (o *earlierObject) frame(dst []byte, sha [sha256.Size]byte) ([]byte, bool) {
	at, ok := o.frames[sha]
	if !ok {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, make([]byte, at.length)...)
	n, _ := o.file.ReadAt(dst[start:], at.offset)
	if n < at.length || maphash.Bytes(o.seed, dst[start:]) != at.sum {
		return dst[:start], false
	}
	return dst, true
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
// neither, or is damaged.
func (u *uploader) object(ctx context.Context, a *manifest.Artifact) *earlierObject {
	name := a.Stored.SHA256 + "." + a.Index.SHA256
	if o := u.opened[name]; o != nil {
		return o
	}
	o := u.cache.object(ctx, a)
	if local, ok := u.Store.(storage.Local); ok && o == nil {
		o = localObject(ctx, u.Store, local, a)
	}
	if o != nil {
		if u.opened == nil {
			u.opened = map[string]*earlierObject{}
		}
		u.opened[name] = o
	}
	return o
}

func localObject(ctx context.Context, store storage.Reader, local storage.Local, a *manifest.Artifact) *earlierObject {
	x, err := transfer.ReadIndex(ctx, store, a)
	if err != nil {
		return nil
	}
	f, err := local.File(ctx, manifest.BlobObject(a.Stored.SHA256))
	if err != nil {
		return nil
	}
	o, err := readEarlier(ctx, f, x, a.Stored)
	if err != nil {
		return nil
	}
	return o
}

func (u *uploader) closeEarlier() {
	for _, o := range u.opened {
		o.file.Close()
	}
	u.opened = nil
}
