package storage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/enovance/kitchen/internal/durable"
)

// maxSwapped bounds the mutable objects of every store, and so what a directory store reads to make an entity tag.
const maxSwapped = 1 << 20

// dirStore keeps each object as a file of that name. Beside the objects it has only reservedSegment/: lock (held
// while swapping), tmp/ (unfinished files, each locked by its writer; see scratch.go) and removed (see delete.go).
//
// The entity tag of an object of at most maxSwapped bytes is its SHA-256; a larger one is immutable and has none.
type dirStore struct {
	root   string // absolute
	url    string
	create bool     // root itself may be made
	rooted sync.Map // directory → removals() when its own name was made durable up to the root
}

func openDir(u *url.URL, create bool) (Store, error) {
	if u.Host != "" && u.Host != "localhost" || u.Opaque != "" || !filepath.IsAbs(u.Path) {
		return nil, &AddressError{URL: shown(u), Reason: "a directory is written file:///absolute/path"}
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, &AddressError{URL: shown(u), Reason: "a directory takes no parameters"}
	}
	root := filepath.Clean(u.Path)
	return &dirStore{root: root, url: "file://" + root, create: create}, nil
}

func (s *dirStore) URL() string { return s.url }

func (s *dirStore) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// errNoRoot keeps what is written to a disk that was unmounted from going into the directory below.
var errNoRoot = errors.New("there is no such directory")

// fail turns an error of the file system into one of this package.
func (s *dirStore) fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	e := &Error{Op: op, Key: key, Store: s.url, Err: err}
	switch {
	case errors.Is(err, errNoRoot):
		e.Err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Err = ErrNotFound
	case errors.Is(err, syscall.EROFS):
		e.Err, e.Right = fmt.Errorf("%w: the file system is read-only", ErrForbidden), "a writable "+s.root
	case errors.Is(err, fs.ErrPermission):
		e.Err, e.Right = ErrForbidden, dirRight(op, s.root, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Err = fmt.Errorf("the disk is full: %w", err)
	}
	return e
}

// dirRight names the path whose permissions are in the way: where a name is to be made or taken away, its directory's.
func dirRight(op, root string, err error) string {
	path := root
	var p *fs.PathError
	if errors.As(err, &p) {
		path = p.Path
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		path = filepath.Dir(link.New)
	} else if p != nil && p.Op == "unlink" {
		path = filepath.Dir(path)
	}
	info, err := os.Lstat(path)
	for err != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		info, err = os.Lstat(path)
	}
	switch {
	case op == "open", op == "read", op == "stat", op == "list":
		return "read permission on " + path
	case err == nil && info.Mode().IsRegular():
		return "read and write permission on " + path
	}
	return "write permission on " + path
}

// start is what every call begins with.
func (s *dirStore) start(ctx context.Context, op, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.fail(op, key, ctx.Err())
}

// openFile opens a regular file; a directory or anything else is no object.
func (s *dirStore) openFile(key string) (*os.File, fs.FileInfo, error) {
	path := s.path(key)
	if info, err := os.Stat(path); noObject(err) || err == nil && !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	} else if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// open gives the body of an object with its description; a small one is read at once, so that its tag is that
// of the very bytes.
func (s *dirStore) open(key string) (io.ReadSeekCloser, Info, error) {
	f, fi, err := s.openFile(key)
	if err != nil {
		return nil, Info{}, err
	}
	info := Info{Key: key, Size: fi.Size(), Modified: fi.ModTime()}
	if fi.Size() > maxSwapped {
		return f, info, nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, Info{}, err
	}
	info.Size, info.ETag = int64(len(data)), contentTag(data)
	return memoryBody{bytes.NewReader(data)}, info, nil
}

type memoryBody struct{ *bytes.Reader }

func (memoryBody) Close() error { return nil }

func contentTag(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *dirStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Info, error) {
	if err := s.start(ctx, "open", key); err != nil {
		return nil, Info{}, err
	}
	body, info, err := s.open(key)
	if err != nil {
		return nil, Info{}, s.fail("open", key, err)
	}
	offset, length = span(offset, length, info.Size)
	if _, err := body.Seek(offset, io.SeekStart); err != nil {
		body.Close()
		return nil, Info{}, s.fail("open", key, err)
	}
	fail := func(err error) error { return s.fail("read", key, err) }
	return &exactBody{ctx: ctx, src: body, left: length, fail: fail}, info, nil
}

func (s *dirStore) Stat(ctx context.Context, key string) (Info, error) {
	if err := s.start(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	body, info, err := s.open(key)
	if err != nil {
		return Info{}, s.fail("stat", key, err)
	}
	return info, s.fail("stat", key, body.Close())
}

func (s *dirStore) OpenIfChanged(ctx context.Context, key, etag string) (io.ReadCloser, Info, error) {
	body, info, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, Info{}, err
	}
	if etag != "" && info.ETag == etag {
		body.Close()
		return nil, info, &Error{Op: "open", Key: key, Store: s.url, Err: ErrNotModified}
	}
	return body, info, nil
}

func (s *dirStore) Create(ctx context.Context, key string, body io.ReaderAt, size int64, _, _ string) error {
	if err := s.start(ctx, "create", key); err != nil {
		return err
	}
	if err := checkSize(key, s.url, size); err != nil {
		return err
	}
	if taken, err := s.settled(ctx, key, body, size); taken || err != nil {
		return err
	}
	temp, err := s.newScratch(ctx)
	if err != nil {
		return s.fail("create", key, err)
	}
	defer temp.discard()
	if err := temp.fill(digested(bodyReader{ctx, io.NewSectionReader(body, 0, size)}, body), size); err != nil {
		return s.fail("create", key, err)
	}
	return s.place(ctx, key, temp, body, size)
}

// place gives a finished file, which holds the size bytes of body, its name.
func (s *dirStore) place(ctx context.Context, key string, temp *scratch, body io.ReaderAt, size int64) error {
	return s.fail("create", key, undisturbed(ctx, func() error {
		if err := s.makeParents(key); err != nil {
			return err
		}
		err := s.linkNew(ctx, temp.path, s.path(key))
		if errors.Is(err, fs.ErrExist) {
			return s.lost(ctx, key, body, size)
		}
		if err == nil {
			err = s.syncUp(key)
		}
		return err
	}))
}

func checkSize(key, store string, size int64) error {
	if size < 0 || size > MaxObject {
		return &Error{Op: "create", Key: key, Store: store, Err: fmt.Errorf("%w: %d bytes, at most %d can be stored as one object", ErrTooLarge, size, int64(MaxObject))}
	}
	return nil
}

// settled tells whether the name is taken, and then whether by these very bytes (nil) or not (ErrExists).
func (s *dirStore) settled(ctx context.Context, key string, body io.ReaderAt, size int64) (bool, error) {
	_, err := os.Lstat(s.path(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case noObject(err) && !errors.Is(err, syscall.ENAMETOOLONG):
		err = s.obstructed(key)
		return err != nil, err
	case err != nil:
		return true, cmp.Or(s.obstructed(key), s.fail("create", key, err))
	}
	err = s.lost(ctx, key, body, size)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // deleted meanwhile
	}
	return true, s.fail("create", key, err)
}

// lost compares with the object that has the name, and makes sure that it is durable before it counts as ours.
// fs.ErrNotExist when it is gone again.
func (s *dirStore) lost(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	same, err := holds(ctx, s, key, body, size)
	switch {
	case errors.Is(err, ErrNotFound):
		if _, err := os.Lstat(s.path(key)); errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return &Error{Op: "create", Key: key, Store: s.url, Err: fmt.Errorf("%w: %s: look at it, and move it out of the way", ErrExists, cmp.Or(s.inTheWay(key), s.path(key)))}
	case err != nil:
		return err
	case !same:
		return &Error{Op: "create", Key: key, Store: s.url, Err: ErrExists}
	}
	return s.syncUp(key)
}

// linkNew gives a finished file its name, unless the name is taken. A file system without hard links gets the
// same promise from the lock that every writer of this store takes there.
func (s *dirStore) linkNew(ctx context.Context, temp, path string) error {
	err := os.Link(temp, path)
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	unlock, lockErr := s.lock(ctx)
	if lockErr != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	return os.Rename(temp, path)
}

// makeParents makes the directories that hold an object; fs.ErrNotExist when one was removed while it did.
func (s *dirStore) makeParents(key string) error {
	dir := filepath.Dir(s.path(key))
	err := durable.MkdirAll(dir, 0o777)
	if !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.obstructed(key); err != nil {
		return err
	}
	return fs.ErrNotExist
}

// syncUp makes an object's name durable, and those of the directories above it, whoever made them.
func (s *dirStore) syncUp(key string) error {
	leaf := filepath.Dir(s.path(key))
	if err := durable.SyncDir(leaf); err != nil {
		return err
	}
	removals := s.removals()
	if when, ok := s.rooted.Load(leaf); ok && when == removals {
		return nil
	}
	for dir := leaf; dir != s.root && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	s.rooted.Store(leaf, removals)
	return nil
}

func (s *dirStore) Swap(ctx context.Context, key, oldETag string, data []byte, _, _ string) (string, error) {
	if err := s.start(ctx, "swap", key); err != nil {
		return "", err
	}
	if len(data) > maxSwapped {
		return "", &Error{Op: "swap", Key: key, Store: s.url, Err: fmt.Errorf("%w: at most %d bytes", ErrTooLarge, maxSwapped)}
	}
	temp, err := s.newScratch(ctx)
	if err != nil {
		return "", s.fail("swap", key, err)
	}
	defer temp.discard()
	if err := temp.fill(bytes.NewReader(data), int64(len(data))); err != nil {
		return "", s.fail("swap", key, err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", s.fail("swap", key, err)
	}
	defer unlock()
	if err := s.expect(ctx, key, oldETag); err != nil {
		return "", err
	}
	return contentTag(data), s.fail("swap", key, undisturbed(ctx, func() error {
		if err := s.makeParents(key); err != nil {
			return err
		}
		if err := os.Rename(temp.path, s.path(key)); err != nil {
			return err
		}
		return s.syncUp(key)
	}))
}

// expect is the compare of compare-and-set; the lock is held.
func (s *dirStore) expect(ctx context.Context, key, etag string) error {
	info, err := s.Stat(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound) && etag == "":
		return nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	case err == nil && etag != "" && info.ETag == etag:
		return nil
	}
	return &Error{Op: "swap", Key: key, Store: s.url, Err: ErrConflict}
}
