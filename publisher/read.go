package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/enovance/kitchen/internal/progress"
)

const copyBuffer = 1 << 20

// read takes the size and digest of every item: after it, all artifacts are complete but for how they are stored.
func (s *source) read(ctx context.Context, sink progress.Sink) error {
	for _, it := range s.items {
		if err := it.read(ctx, s, sink); err != nil {
			return err
		}
	}
	return nil
}

// read takes an item's size and digest; an item that was read before must not have changed.
func (it *item) read(ctx context.Context, s *source, sink progress.Sink) (err error) {
	task := sink.Start("reading "+it.path, it.artifact.Size)
	defer func() { task.Done(err) }()
	if err := it.readFiles(ctx); err != nil {
		return err
	}
	src, err := it.stream(ctx, s)
	if err != nil {
		return err
	}
	defer src.Close()
	sum := sha256.New()
	size, err := io.CopyBuffer(io.MultiWriter(sum, progress.Writer{Task: task}), struct{ io.Reader }{src}, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	return it.is(size, hexSum(sum))
}

// is notes what an item's raw bytes are, or finds that they are not what they were.
func (it *item) is(size int64, sha string) error {
	if !it.unpack && size != it.artifact.Size || it.artifact.SHA256 != placeholder && sha != it.artifact.SHA256 {
		return &Source{Path: it.path, Reason: errChanged.Error(), Err: errChanged}
	}
	it.artifact.Size, it.artifact.SHA256 = size, sha
	return nil
}

// known tells whether the item was read.
func (it *item) known() bool { return it.artifact.SHA256 != placeholder }

// readFiles takes the digests of a tree's files, once.
func (it *item) readFiles(ctx context.Context) error {
	buffer := make([]byte, copyBuffer)
	for i := range it.artifact.Files {
		f := &it.artifact.Files[i]
		if f.SHA256 != placeholder {
			continue
		}
		var err error
		if f.SHA256, err = it.hashFile(ctx, f.Path, f.Size, buffer); err != nil {
			return err
		}
	}
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
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{&itemReader{ctx: ctx, Reader: f}}, buffer)
	if err != nil {
		return "", err
	}
	if n != size {
		return "", &Source{Path: it.shown(name), Reason: errChanged.Error(), Err: errChanged}
	}
	return hexSum(sum), nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
