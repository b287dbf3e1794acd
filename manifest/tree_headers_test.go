package manifest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestTreeHeaders pins where a path goes: into the name field, into prefix and name, or into a pax record. Trees that
// are published stay readable only while archive/tar, or what replaces it, decides the same.
func TestTreeHeaders(t *testing.T) {
	x := strings.Repeat
	content := digest("x")
	for _, c := range []struct {
		name         string
		file         TreeFile
		prefix, pax  string // pax: the records
		nameField    string
		headerBlocks int
	}{
		{"100 bytes", TreeFile{Path: x("a", 100), Size: 1, SHA256: content}, "", "", x("a", 100), 1},
		{"100 bytes with a slash", TreeFile{Path: x("a", 49) + "/" + x("b", 50), Size: 1, SHA256: content}, "", "", x("a", 49) + "/" + x("b", 50), 1},
		{"101 bytes without a slash", TreeFile{Path: x("a", 101), Size: 1, SHA256: content}, "", "111 path=" + x("a", 101) + "\n", x("a", 100), 3},
		{"101 bytes with a slash", TreeFile{Path: x("a", 50) + "/" + x("b", 50), Size: 1, SHA256: content}, x("a", 50), "", x("b", 50), 1},
		{"the last slash that does", TreeFile{Path: x("d/", 100) + "f", Size: 1, SHA256: content}, x("d/", 77) + "d", "", x("d/", 22) + "f", 1},
		{"prefix of 155 bytes", TreeFile{Path: x("a", 77) + "/" + x("a", 77) + "/" + x("b", 100), Size: 1, SHA256: content}, x("a", 77) + "/" + x("a", 77), "", x("b", 100), 1},
		{"prefix of 156 bytes", TreeFile{Path: x("a", 77) + "/" + x("a", 78) + "/" + x("b", 100), Size: 1, SHA256: content}, "",
			"267 path=" + x("a", 77) + "/" + x("a", 78) + "/" + x("b", 100) + "\n", x("a", 77) + "/" + x("a", 22), 3},
		{"name of 101 bytes", TreeFile{Path: "a/" + x("b", 101), Size: 1, SHA256: content}, "", "113 path=a/" + x("b", 101) + "\n", "a/" + x("b", 98), 3},
		{"not ASCII", TreeFile{Path: "é", Size: 1, SHA256: content}, "", "11 path=é\n", "", 3},
		{"directory of 101 bytes", TreeFile{Path: x("d", 101) + "/"}, "", "112 path=" + x("d", 101) + "/\n", x("d", 100), 3},
		{"link target of 101 bytes", TreeFile{Path: "l", Link: x("x", 101)}, "", "115 linkpath=" + x("x", 101) + "\n", "l", 3},
		{"split path and long target", TreeFile{Path: x("a", 50) + "/" + x("b", 60), Link: x("x", 101)}, "",
			"115 linkpath=" + x("x", 101) + "\n121 path=" + x("a", 50) + "/" + x("b", 60) + "\n", x("a", 50) + "/" + x("b", 49), 3},
		{"8 GiB", TreeFile{Path: "big", Size: 8 << 30, SHA256: content}, "", "19 size=8589934592\n", "big", 3},
		{"a byte less", TreeFile{Path: "big", Size: 8<<30 - 1, SHA256: content}, "", "", "big", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, err := tarHeader(&c.file)
			if err != nil {
				t.Fatal(err)
			}
			if len(head) != c.headerBlocks*tarBlock {
				t.Fatalf("%d bytes of headers", len(head))
			}
			records := ""
			if c.headerBlocks == 3 {
				if head[156] != 'x' {
					t.Errorf("the first header is of type %q", head[156])
				}
				records = tarField(head[tarBlock : 2*tarBlock])
			}
			last := head[len(head)-tarBlock:]
			if name, prefix := tarField(last[:100]), tarField(last[345:500]); name != c.nameField || prefix != c.prefix || records != c.pax {
				t.Errorf("name %q, prefix %q, records %q", name, prefix, records)
			}
			size, err := TreeSize([]TreeFile{c.file})
			if want := int64(len(head)) + c.file.Size + padding(c.file.Size) + tarTrailer; err != nil || size != want {
				t.Errorf("TreeSize says %d, want %d, %v", size, want, err)
			}
		})
	}
}

func tarField(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// longTree has a file for every way in which a path can be written.
func longTree() []TreeFile {
	x := strings.Repeat
	var files []TreeFile
	for _, path := range []string{x("a", 100), x("b", 101), x("c", 50) + "/" + x("c", 60), x("d", 155) + "/" + x("d", 100), x("e", 156) + "/f", "é"} {
		files = append(files, TreeFile{Path: path, Size: 1, SHA256: digest("x")})
	}
	return files
}

func longTar(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	err := WriteTree(&out, longTree(), func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil })
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestTreeGoldenOfLongPaths pins the bytes, and that any tar reads them.
func TestTreeGoldenOfLongPaths(t *testing.T) {
	data := longTar(t)
	sum := sha256.Sum256(data)
	golden(t, "tree-long.sha256", []byte(hex.EncodeToString(sum[:])+"\n"))
	r := tar.NewReader(bytes.NewReader(data))
	for _, f := range longTree() {
		h, err := r.Next()
		if err != nil || h.Name != f.Path || h.Size != 1 {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	check := func(TreeFile, io.Reader) error { return nil }
	if err := ReadTree(iotest.OneByteReader(bytes.NewReader(data)), longTree(), check); err != nil {
		t.Error(err)
	}
}

// TestForeignTarsAreRefused: archives that a general reader would unpack, or choke on, against the list of one file.
// Nothing of them is believed: the list says what comes, byte by byte.
func TestForeignTarsAreRefused(t *testing.T) {
	files := []TreeFile{{Path: "a", Size: 4, SHA256: digest("text")}}
	archive := func(headers ...*tar.Header) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			io.CopyN(w, strings.NewReader(strings.Repeat("text", 1+int(h.Size)/4)), h.Size)
		}
		w.Flush()
		return append(out.Bytes(), make([]byte, tarTrailer)...)
	}
	file := func(change func(h *tar.Header)) []byte {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 4, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		change(h)
		return archive(h)
	}
	pax := func(records map[string]string) []byte {
		return file(func(h *tar.Header) { h.Format, h.PAXRecords = tar.FormatPAX, records })
	}
	good := file(func(*tar.Header) {})
	sparse := bytes.Clone(good)
	sparse[156] = 'S'
	if err := ReadTree(bytes.NewReader(good), files, put(t, "text")); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"GNU sparse":            sparse,
		"pax sparse":            archive(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "GNU.sparse"}}),
		"pax comment":           pax(map[string]string{"KITCHEN.x": "y"}),
		"pax records of 1 MiB":  pax(map[string]string{"KITCHEN.x": strings.Repeat("y", 1<<20-100)}),
		"pax header of 8 GiB":   headerOf('x', 8<<30-1),
		"long name of 8 GiB":    headerOf('L', 8<<30-1),
		"owner":                 file(func(h *tar.Header) { h.Uname = "root" }),
		"set-uid":               file(func(h *tar.Header) { h.Mode = 0o4755 }),
		"time":                  file(func(h *tar.Header) { h.ModTime = time.Unix(1, 0) }),
		"GNU format":            file(func(h *tar.Header) { h.Format, h.AccessTime = tar.FormatGNU, time.Unix(1, 0) }),
		"another name":          file(func(h *tar.Header) { h.Name = "../a" }),
		"hard link":             file(func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = tar.TypeLink, "/etc/passwd", 0 }),
		"device":                file(func(h *tar.Header) { h.Typeflag, h.Size = tar.TypeBlock, 0 }),
		"another size":          file(func(h *tar.Header) { h.Size = 5 }),
		"one file more":         archive(header("a"), header("b")),
		"the same file twice":   archive(header("a"), header("a")),
		"nothing":               make([]byte, tarTrailer),
		"more than the end":     append(bytes.Clone(good), 0),
		"padding that is not 0": bytes.Replace(good, []byte("text\x00"), []byte("text\x01"), 1),
	} {
		source := &countingReader{r: bytes.NewReader(data)}
		err := ReadTree(source, files, func(_ TreeFile, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if source.n > 4*tarBlock+1 {
			t.Errorf("%s: %d bytes were read", name, source.n)
		}
	}
	endless := &countingReader{r: iotest.DataErrReader(zeros{})}
	var differs *ContentError
	if err := ReadTree(endless, files, put(t, "")); !errors.As(err, &differs) || endless.n > tarBlock {
		t.Errorf("endless zeros: %v after %d bytes", err, endless.n)
	}
}

func header(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 4, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
}

// headerOf is a lone header of a type that announces content for a general reader to take in.
func headerOf(kind byte, size int64) []byte {
	block := make([]byte, tarBlock)
	copy(block, "././@LongLink")
	copy(block[124:], fmt.Sprintf("%011o", size))
	copy(block[257:], "ustar\x0000")
	block[156] = kind
	return append(block, make([]byte, 4*tarBlock)...)
}

func put(t *testing.T, want string) func(TreeFile, io.Reader) error {
	return func(_ TreeFile, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err == nil && string(data) != want {
			t.Errorf("content %q", data)
		}
		return err
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
