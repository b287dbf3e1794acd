package manifest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"
)

// A tree travels as one tar archive (POSIX.1-2001), in exactly one form: the
// entries of the signed list in its order, nothing else; mode 0755 for
// directories and executable files, 0644 for other files, 0777 for links;
// owner and group 0 without names; modification time 0; two zero blocks at
// the end. `tar x` of these bytes gives the tree.
//
// An entry whose path and link target are ASCII of at most 100 bytes each, and
// whose size is below 8 GiB, has a plain ustar header with the whole path in
// its name field. Every other entry is written as archive/tar does in its pax
// format: an ASCII path that a slash divides into at most 155 and at most 100
// bytes goes into the fields prefix and name, divided at the last slash that
// does, and needs no record. If anything of the entry does need one, a pax
// header stands before it with the records linkpath, path and size of all that
// is not ASCII, longer than 100 bytes or not below 8 GiB, and prefix is empty.
// A test pins that, whatever later versions of archive/tar prefer.

const (
	tarBlock   = 512
	tarTrailer = 2 * tarBlock
	maxUSTAR   = 1 << 33 // a ustar header holds sizes below 8 GiB
)

// ContentError reports a file whose bytes are not those of the signed list.
type ContentError struct {
	Path string
	Have string // digest or size found
	Want string
}

func (e *ContentError) Error() string {
	return fmt.Sprintf("%q is not what the list says: have %s, want %s", clip(e.Path), e.Have, e.Want)
}

// tarHeader renders the header blocks of one entry.
func tarHeader(f *TreeFile) ([]byte, error) {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: f.Size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.IsDir():
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	case f.Executable:
		h.Mode = 0o755
	}
	if fitsUSTAR(f) {
		h.Format = tar.FormatUSTAR
	}
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, fmt.Errorf("tar header of %q: %w", clip(f.Path), err)
	}
	return b.Bytes(), nil
}

// fitsUSTAR is deliberately simple, and stricter than ustar itself: short
// ASCII names only. What it turns down may still become a header without records.
func fitsUSTAR(f *TreeFile) bool {
	return len(f.Path) <= 100 && len(f.Link) <= 100 && f.Size < maxUSTAR && isASCII(f.Path) && isASCII(f.Link)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// padding is how many zero bytes follow content of this size.
func padding(size int64) int64 { return -size & (tarBlock - 1) }

// TreeSize is the exact size of a tree's canonical tar, in bytes. The error is
// about entries that break the rules of a tree, most often a *PathError.
func TreeSize(files []TreeFile) (int64, error) {
	if err := checkTree(files); err != nil {
		return 0, err
	}
	total := int64(tarTrailer)
	for i := range files {
		head := int64(tarBlock)
		if !fitsUSTAR(&files[i]) {
			b, err := tarHeader(&files[i])
			if err != nil {
				return 0, err
			}
			head = int64(len(b))
		}
		total += head + files[i].Size + padding(files[i].Size)
		if total > MaxObjectSize {
			return 0, errors.New("the tree is larger than 5 TiB")
		}
	}
	return total, nil
}

// WriteTree streams a tree's canonical tar. open gives the content of a file
// by its path in the tree; it is asked for files only, in order, and closed.
// Each is held to the size and digest in the list: a *ContentError says that a
// file changed since it was listed, and what was written so far is of no use.
func WriteTree(w io.Writer, files []TreeFile, open func(path string) (io.ReadCloser, error)) error {
	if err := checkTree(files); err != nil {
		return err
	}
	for i := range files {
		f := &files[i]
		head, err := tarHeader(f)
		if err != nil {
			return err
		}
		if _, err := w.Write(head); err != nil {
			return err
		}
		if f.SHA256 == "" {
			continue
		}
		if err := writeContent(w, f, open); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, tarTrailer))
	return err
}

func writeContent(w io.Writer, f *TreeFile, open func(path string) (io.ReadCloser, error)) error {
	r, err := open(f.Path)
	if err != nil {
		return fmt.Errorf("open %q: %w", clip(f.Path), err)
	}
	// One byte more than listed, so that a file that grew is noticed.
	content := newContent(io.LimitReader(r, f.Size+1), f)
	_, err = io.Copy(w, content)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	_, err = w.Write(make([]byte, padding(f.Size)))
	return err
}

// ReadTree reads a tree's canonical tar, and accepts exactly the bytes that
// WriteTree gives for this list: names come from the list, never from the
// archive. put is called for every entry in order; for directories and links
// content is empty. content ends with io.EOF only when size and digest are
// right, otherwise with a *ContentError, so a put that returns nil on its
// error is its own fault; what put does not read is read and checked after it.
func ReadTree(r io.Reader, files []TreeFile, put func(f TreeFile, content io.Reader) error) error {
	if err := checkTree(files); err != nil {
		return err
	}
	for i := range files {
		f := &files[i]
		head, err := tarHeader(f)
		if err != nil {
			return err
		}
		if err := expect(r, head, f.Path); err != nil {
			return err
		}
		content := newContent(io.LimitReader(r, f.Size), f)
		if err := put(*f, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		if err := expect(r, make([]byte, padding(f.Size)), f.Path); err != nil {
			return err
		}
	}
	if err := expect(r, make([]byte, tarTrailer), "its end"); err != nil {
		return err
	}
	var more [1]byte
	if n, err := io.ReadFull(r, more[:]); n > 0 {
		return errors.New("the tree's tar has bytes after its end")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// expect reads exactly the bytes of want.
func expect(r io.Reader, want []byte, at string) error {
	have := make([]byte, len(want))
	if _, err := io.ReadFull(r, have); err != nil {
		return fmt.Errorf("the tree's tar at %q: %w", clip(at), noEOF(err))
	}
	if !bytes.Equal(have, want) {
		return &ContentError{Path: at, Have: "another tar header or padding", Want: "the canonical one of the signed list"}
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// content checks a file's bytes while they flow.
type content struct {
	r    io.Reader
	f    *TreeFile
	hash hash.Hash
	size int64
	err  error
}

func newContent(r io.Reader, f *TreeFile) *content {
	return &content{r: r, f: f, hash: sha256.New()}
}

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	c.size += int64(n)
	if c.size > c.f.Size {
		n, err = 0, &ContentError{c.f.Path, fmt.Sprintf("more than %d bytes", c.f.Size), fmt.Sprintf("%d bytes", c.f.Size)}
	}
	if err == io.EOF {
		err = c.end()
	}
	c.err = err
	return n, err
}

// end is io.EOF when everything is right.
func (c *content) end() error {
	if c.size != c.f.Size {
		return &ContentError{c.f.Path, fmt.Sprintf("%d bytes", c.size), fmt.Sprintf("%d bytes", c.f.Size)}
	}
	if have := hex.EncodeToString(c.hash.Sum(nil)); c.f.SHA256 != "" && have != c.f.SHA256 {
		return &ContentError{c.f.Path, "sha256 " + have, "sha256 " + c.f.SHA256}
	}
	return io.EOF
}
