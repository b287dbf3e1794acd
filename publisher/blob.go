package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// zstdWindow is as much of the past as a reader has to keep in memory, in bytes (RFC 8878 §3.1.1.1.2 recommends
// decoders to support 8 MiB at least).
const zstdWindow = 8 << 20

// stored objects of earlier releases, by the digest of the raw bytes.
type storedBlobs map[string]manifest.Stored

func (b storedBlobs) add(m *manifest.Manifest) {
	for _, a := range append(m.Artifacts, m.Marmite) {
		if _, known := b[a.SHA256]; !known {
			b[a.SHA256] = a.Stored
		}
	}
}

// has tells whether the store holds the object, at its size.
func (p *Publisher) has(ctx context.Context, s manifest.Stored) (bool, error) {
	info, err := p.Store.Stat(ctx, manifest.BlobObject(s.SHA256))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrForbidden) {
		return false, nil
	}
	there := err == nil && info.Size == s.Size
	if there {
		p.saw(s)
	}
	return there, err
}

// saw remembers a stored object that is there: vetting the same release again need not ask for it again.
func (p *Publisher) saw(s manifest.Stored) {
	if p.stored == nil {
		p.stored = map[manifest.Stored]bool{}
	}
	p.stored[s] = true
}

// vetRelease holds a release that is new to what its readers will ask for: its manifest, and every object that this
// names, at its size. What is in them only a reader can tell, and does.
func (p *Publisher) vetRelease(ctx context.Context, role, path string, target trust.Target) error {
	m, err := getManifest(ctx, p.Store, role, path, target)
	if err != nil {
		return err
	}
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		if p.stored[a.Stored] {
			continue
		}
		there, err := p.has(ctx, a.Stored)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s of %s is not in the store whole, as %s", a.Path, m.Release(), manifest.BlobObject(a.Stored.SHA256))
		}
	}
	return nil
}

// upload stores what is not stored yet, and completes the artifacts. It tells how many bytes went up.
func (p *Publisher) upload(ctx context.Context, s *source, known storedBlobs) (sent int64, err error) {
	u := &uploader{Publisher: p, source: s, buffer: make([]byte, copyBuffer)}
	for _, it := range s.items {
		if stored, ok := known[it.artifact.SHA256]; ok {
			there, err := p.has(ctx, stored)
			if err != nil {
				return sent, err
			}
			if there {
				it.artifact.Stored = stored
				continue
			}
		}
		n, err := u.store(ctx, it)
		if err != nil {
			return sent, err
		}
		sent += n
		known[it.artifact.SHA256] = it.artifact.Stored
	}
	return sent, nil
}

// uploader stores one artifact after the other: each is compressed into a private file, so that what goes up is
// what its name says, whatever happens to the source meanwhile.
type uploader struct {
	*Publisher
	source  *source
	encoder *zstd.Encoder
	buffer  []byte
}

func (u *uploader) store(ctx context.Context, it *item) (sent int64, err error) {
	spool, err := os.CreateTemp(u.Scratch, "kitchen-spool-*")
	if err != nil {
		return 0, err
	}
	// Without a name from the start: a process that is killed leaves nothing behind.
	err = os.Remove(spool.Name())
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err != nil {
		return 0, err
	}
	if it.artifact.Stored, err = u.compress(ctx, it, spool); err != nil {
		return 0, err
	}
	if it.artifact.Stored.Size >= it.artifact.Size {
		if it.artifact.Stored, err = u.plain(ctx, it, spool); err != nil {
			return 0, err
		}
	}
	if it.artifact.Stored.Size > storage.MaxObject {
		return 0, &Source{Path: it.artifact.Path, Reason: fmt.Sprintf("takes %d bytes as stored, more than the %d that one object may have", it.artifact.Stored.Size, int64(storage.MaxObject))}
	}
	there, err := u.has(ctx, it.artifact.Stored)
	if err != nil || there {
		return 0, err
	}
	return it.artifact.Stored.Size, u.send(ctx, it, spool)
}

// compress spools the item as zstd.
func (u *uploader) compress(ctx context.Context, it *item, spool *os.File) (manifest.Stored, error) {
	task := u.sink().Start("compressing "+it.artifact.Path, it.artifact.Size)
	sum := sha256.New()
	out := &counter{w: io.MultiWriter(spool, sum)}
	err := u.encode(ctx, it, out, task)
	task.Done(err)
	return manifest.Stored{SHA256: hexSum(sum), Size: out.n, Encoding: manifest.EncodingZstd}, err
}

func (u *uploader) encode(ctx context.Context, it *item, out io.Writer, task progress.Task) error {
	if u.encoder == nil {
		encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(true))
		if err != nil {
			return err
		}
		u.encoder = encoder
	}
	u.encoder.Reset(out)
	err := u.again(ctx, it, io.MultiWriter(u.encoder, progress.Writer{Task: task}))
	return errors.Join(err, u.encoder.Close())
}

// plain spools the item as it is.
func (u *uploader) plain(ctx context.Context, it *item, spool *os.File) (manifest.Stored, error) {
	if err := spool.Truncate(0); err != nil {
		return manifest.Stored{}, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return manifest.Stored{}, err
	}
	err := u.again(ctx, it, spool)
	return manifest.Stored{SHA256: it.artifact.SHA256, Size: it.artifact.Size, Encoding: manifest.EncodingIdentity}, err
}

// again streams the item once more, and fails when the bytes are not those that were read first.
func (u *uploader) again(ctx context.Context, it *item, w io.Writer) error {
	sum := sha256.New()
	if _, err := it.copyTo(ctx, u.source, io.MultiWriter(w, sum), u.buffer); err != nil {
		return err
	}
	if hexSum(sum) != it.artifact.SHA256 {
		return &Source{Path: it.artifact.Path, Reason: errChanged.Error(), Err: errChanged}
	}
	return nil
}

func (u *uploader) send(ctx context.Context, it *item, spool *os.File) error {
	key := manifest.BlobObject(it.artifact.Stored.SHA256)
	kind, err := manifest.KindOf(key)
	if err != nil {
		return err
	}
	task := u.sink().Start("uploading "+it.artifact.Path, it.artifact.Stored.Size)
	body := &countedReaderAt{r: spool, sha256: it.artifact.Stored.SHA256, task: task}
	err = u.Store.Create(ctx, key, body, it.artifact.Stored.Size, kind.ContentType, kind.CacheControl)
	task.Done(err)
	if err == nil {
		u.saw(it.artifact.Stored)
	}
	return err
}

// countedReaderAt tells a task how far a body was read. Stores may read it more than once, to try again; only new
// ground counts.
type countedReaderAt struct {
	r      io.ReaderAt
	sha256 string
	task   progress.Task
	mu     sync.Mutex // guards seen
	seen   int64
}

// SHA256 implements storage.Digested.
func (c *countedReaderAt) SHA256() string { return c.sha256 }

func (c *countedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.mu.Lock()
	if end := off + int64(n); end > c.seen {
		c.task.Add(end - c.seen)
		c.seen = end
	}
	c.mu.Unlock()
	return n, err
}
