package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
)

// holding is what a store has under the name of an object.
type holding int

const (
	absent holding = iota
	intact
	damaged // other bytes, or another number of them, than the name says
)

// Damaged is a stored object that has other bytes than its name says, and could not be replaced (exit 4).
type Damaged struct {
	Key, Store string
	Why        string
	Err        error // why it is there still
}

func (e *Damaged) Error() string {
	return fmt.Sprintf("%s in %s is damaged (%s), and cannot be restored from here: %v", e.Key, e.Store, e.Why, e.Err)
}

// Unwrap gives the store's error.
func (e *Damaged) Unwrap() error { return e.Err }

// Hint says what to run, and who can.
func (e *Damaged) Hint() string {
	const other = "put the object back from a mirror, a bundle or the bucket's versions: its name is the sha256 of the right bytes"
	if errors.Is(e.Err, storage.ErrForbidden) {
		return "run the same command again with credentials that may overwrite what lies below blobs/ (docs/ACCESS.md), or " + other
	}
	return "run the same command again, or " + other
}

// holding looks what the store has. In a directory the bytes are read, which costs what reading the artifact did. Over a
// network that is a download: there its size is all that is asked for, unless Packing.ReadData is set.
func (u *uploader) holding(ctx context.Context, o manifest.Object) (is holding, why string, err error) {
	if u.whole[o.SHA256] {
		return intact, "", nil
	}
	if why := u.damaged[o.SHA256]; why != "" {
		return damaged, why, nil
	}
	key := manifest.BlobObject(o.SHA256)
	info, err := u.Store.Stat(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrForbidden): // absent may read as forbidden
		return absent, "", nil
	case err != nil:
		return absent, "", err
	case info.Size != o.Size:
		return damaged, fmt.Sprintf("it has %d bytes, and should have %d", info.Size, o.Size), nil
	}
	if _, local := u.Store.(storage.Local); local || u.Packing.ReadData {
		task := u.sink().Start("reading the stored "+key, o.Size)
		n, sum, err := hashStored(ctx, u.Store, key, o.Size, task)
		task.Done(err)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return absent, "", nil
		case err != nil:
			return absent, "", err
		case n != o.Size || sum != hashOf(o.SHA256):
			return damaged, "it has other bytes than its name says: sha256 " + sum.String(), nil
		}
	}
	u.whole[o.SHA256] = true
	return intact, "", nil
}

// holdsAll tells whether the store holds all objects that readers of an artifact may ask for. What is damaged is said.
func (u *uploader) holdsAll(ctx context.Context, a *manifest.Artifact) (bool, error) {
	all := true
	for _, o := range a.Objects() {
		is, why, err := u.holding(ctx, o)
		if err != nil {
			return false, err
		}
		if is == damaged && u.damaged[o.SHA256] == "" {
			u.damaged[o.SHA256] = why
			u.sink().Note(fmt.Sprintf("%s, which is stored for %s, is damaged: %s", manifest.BlobObject(o.SHA256), a.Path, why))
		}
		all = all && is == intact
	}
	return all, nil
}

// replace puts the right bytes in the place of a damaged object. Whoever reads it gets them, or an error, as before.
func (u *uploader) replace(ctx context.Context, what string, body io.ReaderAt, o manifest.Object, why string) error {
	key := manifest.BlobObject(o.SHA256)
	kind, err := manifest.KindOf(key)
	if err != nil {
		return err
	}
	task := u.sink().Start("restoring "+what, o.Size)
	err = u.Store.Restore(ctx, key, &countedReaderAt{r: body, sha256: o.SHA256, task: task}, o.Size, kind.ContentType, kind.CacheControl)
	task.Done(err)
	if err != nil && !storeFailure(err) {
		return &Damaged{Key: key, Store: u.Store.URL(), Why: why, Err: err}
	}
	if err == nil {
		u.sent += o.Size
		u.restored++
		u.whole[o.SHA256] = true
		u.mended = append(u.mended, fmt.Sprintf("restored %s, which is stored for %s and was damaged: %s", key, what, why))
	}
	return err
}

// tell adds to an outcome what was restored on the way to it. Where there is none, it is said all the same.
func (u *uploader) tell(out *Outcome) {
	lines := u.mended
	if more := len(lines) - maxSummary; more > 0 {
		lines = append(slices.Clone(lines[:maxSummary]), fmt.Sprintf("restored %s more", count(more, "object")))
	}
	if out != nil {
		out.Summary = append(out.Summary, lines...)
		return
	}
	for _, line := range lines {
		u.sink().Note(line)
	}
}

// hashStored reads an object, and not a byte more than it should have.
func hashStored(ctx context.Context, r storage.Reader, key string, size int64, task progress.Task) (n int64, sum blobHash, err error) {
	body, _, err := r.Open(ctx, key, 0, -1)
	if err != nil {
		return 0, sum, err
	}
	defer body.Close()
	h := sha256.New()
	n, err = io.CopyBuffer(io.MultiWriter(h, progress.Writer{Task: task}), struct{ io.Reader }{io.LimitReader(body, size+1)}, make([]byte, copyBuffer))
	h.Sum(sum[:0])
	return n, sum, err
}
