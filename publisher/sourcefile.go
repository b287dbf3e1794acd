package publisher

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/enovance/kitchen/manifest"
)

// openFile opens a regular file for reading, never waiting for the other end of a pipe. With a stamp, it has to be
// the very file, of the same size and time, that was looked at before.
func openFile(root *os.Root, name string, stamp os.FileInfo) (*os.File, os.FileInfo, error) {
	before, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("is %s, not a file", typeName(before.Mode()))
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || stamp != nil && !sameFile(stamp, info)) {
		err = errChanged
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

var errChanged = errors.New("changed while it was read")

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// steady is a file that fails at its end when it is not what it was when it was scanned.
type steady struct {
	*os.File
	shown string
	stamp os.FileInfo
}

func (it *item) open(root *os.Root, name string) (*steady, error) {
	shown := it.shown(name)
	f, _, err := openFile(root, name, it.stamps[name])
	if err != nil {
		return nil, sourceError(shown, err)
	}
	return &steady{File: f, shown: shown, stamp: it.stamps[name]}, nil
}

func (s *steady) Read(p []byte) (int, error) {
	n, err := s.File.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, sourceError(s.shown, err)
	}
	info, statErr := s.File.Stat()
	if statErr != nil || !sameFile(s.stamp, info) {
		return n, &Source{Path: s.shown, Reason: errChanged.Error(), Err: errChanged}
	}
	return n, io.EOF
}

// stream gives the item's raw bytes: the file, what it unpacks to, or the tree's canonical tar. It fails when anything
// is not what it was when it was scanned. It ends with the context.
func (it *item) stream(ctx context.Context, s *source) (io.ReadCloser, error) {
	if it.artifact.IsTree() {
		return it.tar(ctx), nil
	}
	f, err := it.open(s.root, it.path)
	if err != nil {
		return nil, err
	}
	if !it.unpack {
		return &itemReader{ctx: ctx, Reader: io.LimitReader(f, it.artifact.Size+1), close: f.Close}, nil // one that grows has changed, however long it gets
	}
	return it.unpacked(ctx, f)
}

// itemReader reads an item until its context ends.
type itemReader struct {
	ctx context.Context
	io.Reader
	close func() error
}

func (r *itemReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

func (r *itemReader) Close() error { return r.close() }

// tar writes a tree's tar while it is read.
func (it *item) tar(ctx context.Context) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		buffered := bufio.NewWriterSize(w, copyBuffer)
		err := manifest.WriteTree(buffered, it.artifact.Files, func(name string) (io.ReadCloser, error) { return it.open(it.dir, name) })
		var changed *manifest.ContentError
		if errors.As(err, &changed) {
			err = &Source{Path: it.shown(changed.Path), Reason: errChanged.Error(), Err: fmt.Errorf("%w: %w", errChanged, err)}
		}
		if err == nil {
			err = buffered.Flush()
		}
		w.CloseWithError(err) // ends with the reader: every write fails once that is closed
	}()
	return &itemReader{ctx: ctx, Reader: r, close: r.Close}
}

// unpacked takes the compression off a file.
func (it *item) unpacked(ctx context.Context, f *steady) (io.ReadCloser, error) {
	packed := bufio.NewReaderSize(&itemReader{ctx: ctx, Reader: f}, copyBuffer)
	r := &unpacker{it: it, packed: packed}
	closing := f.Close
	var err error
	switch packedAs(it.path) {
	case "gzip":
		r.raw, err = gzip.NewReader(packed)
	case "xz":
		r.raw, err = xz.NewReader(packed)
	default:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(packed, zstd.WithDecoderMaxWindow(maxUnpackWindow)); err == nil {
			r.raw, closing = z, func() error { z.Close(); return f.Close() }
		}
	}
	if err != nil {
		f.Close()
		return nil, r.fail(err)
	}
	return &itemReader{ctx: ctx, Reader: r, close: closing}, nil
}

// packedAs is the compression that a file's name tells.
func packedAs(name string) string {
	switch path.Ext(name) {
	case ".gz", ".tgz":
		return "gzip"
	case ".xz", ".txz":
		return "xz"
	}
	return "zstd"
}

// maxUnpackWindow bounds the memory that a packed artifact may ask for, in bytes.
const maxUnpackWindow = 128 << 20

// unpacker gives what a file unpacks to, and at its end looks at the rest of the file, too.
type unpacker struct {
	it     *item
	packed io.Reader
	raw    io.Reader
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.raw.Read(p)
	if err == io.EOF {
		if rest, drained := io.Copy(io.Discard, u.packed); drained != nil {
			err = drained
		} else if rest > 0 {
			err = fmt.Errorf("%d bytes follow its end", rest)
		}
	}
	if err != nil && err != io.EOF {
		err = u.fail(err)
	}
	return n, err
}

func (u *unpacker) fail(err error) error {
	var known *Source
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Source{Path: u.it.path, Reason: fmt.Sprintf("cannot be unpacked: it is no %s file, or broken (%v)", packedAs(u.it.path), err), Err: err,
		Next: "rename the file if its name says what it is not, make it anew if it is broken, or take unpack = true out of " + sourceFile + ": then it is published as it is"}
}
