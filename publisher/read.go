package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/manifest"
)

const copyBuffer = 1 << 20

// read takes the size and digest of every item: after it, all artifacts are complete but for Stored.
func (s *source) read(ctx context.Context, sink progress.Sink) error {
	buffer := make([]byte, copyBuffer)
	for _, it := range s.items {
		task := sink.Start("reading "+it.artifact.Path, it.artifact.Size)
		err := it.read(ctx, s, task, buffer)
		task.Done(err)
		if err != nil {
			return err
		}
	}
	return nil
}

func (it *item) read(ctx context.Context, s *source, task progress.Task, buffer []byte) error {
	for i := range it.artifact.Files {
		f := &it.artifact.Files[i]
		if f.SHA256 == "" {
			continue
		}
		var err error
		if f.SHA256, err = it.hashFile(ctx, f.Path, f.Size, buffer); err != nil {
			return err
		}
	}
	sum := sha256.New()
	size, err := it.copyTo(ctx, s, io.MultiWriter(sum, progress.Writer{Task: task}), buffer)
	if err != nil {
		return err
	}
	if size != it.artifact.Size {
		return &Source{Path: it.artifact.Path, Reason: errChanged.Error(), Err: errChanged}
	}
	it.artifact.SHA256 = hexSum(sum)
	return nil
}

// hashFile is one file of a tree.
func (it *item) hashFile(ctx context.Context, name string, size int64, buffer []byte) (string, error) {
	f, err := it.open(it.dir, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := copyContext(ctx, sum, f, buffer)
	if err != nil {
		return "", err
	}
	if n != size {
		return "", &Source{Path: it.shown(name), Reason: errChanged.Error(), Err: errChanged}
	}
	return hexSum(sum), nil
}

// copyTo streams the item's raw bytes: the file, or the tree's canonical tar. It fails when anything is not what it
// was when it was scanned.
func (it *item) copyTo(ctx context.Context, s *source, w io.Writer, buffer []byte) (int64, error) {
	if it.artifact.IsTree() {
		counted := &counter{w: contextWriter{ctx, w}}
		err := manifest.WriteTree(counted, it.artifact.Files, func(name string) (io.ReadCloser, error) { return it.open(it.dir, name) })
		var changed *manifest.ContentError
		if errors.As(err, &changed) {
			err = &Source{Path: it.shown(changed.Path), Reason: errChanged.Error(), Err: err}
		}
		return counted.n, err
	}
	f, err := it.open(s.root, it.artifact.Path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return copyContext(ctx, w, f, buffer)
}

// copyContext is io.CopyBuffer that ends with the context.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, buffer []byte) (int64, error) {
	return io.CopyBuffer(contextWriter{ctx, w}, struct{ io.Reader }{r}, buffer)
}

// contextWriter fails once its context has ended.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// counter counts what passes.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
