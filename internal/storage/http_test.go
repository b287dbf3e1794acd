package storage_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// serve is a plain web server on a directory. With tags it sends entity tags, as nginx and CDNs do.
func serve(dir string, tags bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(dir, filepath.FromSlash(r.URL.Path))
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			http.NotFound(w, r)
			return
		}
		if data, err := os.ReadFile(path); err == nil && tags {
			w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
		}
		http.ServeFile(w, r, path)
	})
}

// web opens a store on a TLS server whose authority is given as AWS_CA_BUNDLE.
func web(t *testing.T, handler http.Handler, opts storage.Options) storage.Store {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	ca := authority(t, server)
	opts.Getenv = func(name string) string { return map[string]string{"AWS_CA_BUNDLE": ca}[name] }
	return openURL(t, server.URL+"/some/path/", opts)
}

// authority gives the file of a server's authority.
func authority(t *testing.T, server *httptest.Server) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca
}

func seeded(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := openURL(t, "file://"+dir+"/some/path", storage.Options{CreateBucket: true})
	for key, data := range storagetest.Seed() {
		storagetest.Put(t, s, key, data)
	}
	return dir
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	noRanges := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			next.ServeHTTP(w, r)
		})
	}
	for name, wrap := range map[string]func(dir string) http.Handler{
		"with entity tags":         func(dir string) http.Handler { return serve(dir, true) },
		"without entity tags":      func(dir string) http.Handler { return serve(dir, false) },
		"server that skips ranges": func(dir string) http.Handler { return noRanges(serve(dir, false)) },
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.RunReader(t, func(t *testing.T) storage.Store { return web(t, wrap(seeded(t)), storage.Options{}) })
			skipsRanges(t, web(t, wrap(seeded(t)), storage.Options{}), name == "server that skips ranges")
		})
	}
}

// skipsRanges holds a store to telling whether its server does.
func skipsRanges(t *testing.T, s storage.Store, want bool) {
	t.Helper()
	for _, r := range []struct {
		offset, length int64
		whole          bool
	}{{0, -1, false}, {0, 10, want}, {10, 10, want}, {10, -1, want}} {
		body, info, err := s.Open(t.Context(), "blobs/sha256/ab/large", r.offset, r.length)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		if info.Whole != r.whole {
			t.Errorf("range %d+%d: whole is %v, want %v", r.offset, r.length, info.Whole, r.whole)
		}
	}
}

func TestHTTPIsReadOnly(t *testing.T) {
	t.Parallel()
	s := openURL(t, "http://127.0.0.1:1/", storage.Options{})
	_, swapErr := s.Swap(t.Context(), "k", "", nil, "", "")
	for name, err := range map[string]error{"create": put(t.Context(), s, "k", "x"), "swap": swapErr, "delete": s.Delete(t.Context(), "k"), "list": listError(t.Context(), s), "probe": storage.CheckConditionalWrites(t.Context(), s)} {
		var e *storage.Error
		if !errors.Is(err, storage.ErrUnsupported) || !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%s: %v, want ErrUnsupported and a hint", name, err)
		}
	}
	if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("nobody listens: %v, want ErrUnavailable", err)
	}
}

// TestHTTPStatus: absent, forbidden and broken are told apart.
func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		http.StatusNotFound: storage.ErrNotFound, http.StatusGone: storage.ErrNotFound,
		http.StatusForbidden: storage.ErrForbidden, http.StatusUnauthorized: storage.ErrForbidden,
		http.StatusInternalServerError: storage.ErrUnavailable, http.StatusBadGateway: storage.ErrUnavailable,
		http.StatusTooManyRequests: storage.ErrUnavailable, http.StatusNotModified: storage.ErrNotModified,
		http.StatusTeapot: nil, http.StatusNotImplemented: nil, http.StatusNoContent: nil,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.Answer, Status: status, Times: -1})
			s := openURL(t, "http://catalog.example", storage.Options{RoundTripper: faults.Wrap})
			_, _, openErr := s.Open(t.Context(), "k", 0, -1)
			_, statErr := s.Stat(t.Context(), "k")
			for name, err := range map[string]error{"open": openErr, "stat": statErr} {
				if err == nil || want != nil && !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
				for _, other := range []error{storage.ErrNotFound, storage.ErrForbidden, storage.ErrUnavailable, storage.ErrNotModified} {
					if other != want && errors.Is(err, other) {
						t.Errorf("%s: %v is %v, too", name, err, other)
					}
				}
			}
		})
	}
}

func TestHTTPTransientFailure(t *testing.T) {
	t.Parallel()
	dir := seeded(t)
	faults := new(storagetest.HTTPFaults)
	s := web(t, serve(dir, true), storage.Options{RoundTripper: faults.Wrap})
	for _, f := range []storagetest.Fault{
		{Kind: storagetest.Answer, Status: http.StatusServiceUnavailable, Times: 2},
		{Kind: storagetest.Refuse}, {Kind: storagetest.LoseAnswer},
	} {
		faults.Add(f)
		if got := content(t, s, "metadata/1.root.json"); got != `{"signed":{}}` {
			t.Errorf("%+v: %q", f, got)
		}
	}
}

func TestHTTPBodyCutShort(t *testing.T) {
	t.Parallel()
	for name, tags := range map[string]bool{"with entity tags": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bodiesCutShort(t, func(t *testing.T, data []byte, opts storage.Options) storage.Store {
				dir := t.TempDir()
				s := openURL(t, "file://"+dir+"/some/path", storage.Options{CreateBucket: true})
				storagetest.Put(t, s, "large", data)
				return web(t, serve(dir, tags), opts)
			})
		})
	}
}

// TestHTTPMixedObject: the rest of a body never comes from another object.
func TestHTTPMixedObject(t *testing.T) {
	t.Parallel()
	version := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version++
		data := bytes.Repeat([]byte{byte(version)}, 1000)
		w.Header().Set("Last-Modified", fmt.Sprintf("Mon, 0%d Jan 2024 00:00:00 GMT", version))
		w.Header().Set("Content-Length", "1000")
		if r.Header.Get("Range") == "" {
			w.Write(data[:500])
			return
		}
		w.Header().Set("Content-Range", "bytes 500-999/1000")
		w.Header().Set("Content-Length", "500")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[500:])
	})
	body, _, err := web(t, handler, storage.Options{}).Open(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || bytes.Contains(got, []byte{2}) {
		t.Errorf("%d bytes, %v; want io.ErrUnexpectedEOF after 500", len(got), err)
	}
}

// TestHTTPLyingRanges: what a server says about a range is checked. Each answers 206 with ten bytes to bytes 50-59.
func TestHTTPLyingRanges(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.Header{
		"no content-range":        {"Content-Type": {"text/plain"}},
		"several ranges":          {"Content-Type": {"multipart/byteranges; boundary=x"}},
		"no place":                {"Content-Range": {"bytes */100"}},
		"begins later":            {"Content-Range": {"bytes 60-69/100"}},
		"ends before it begins":   {"Content-Range": {"bytes 9-5/100"}},
		"beyond its own size":     {"Content-Range": {"bytes 50-59/55"}},
		"negative":                {"Content-Range": {"bytes -1-9/100"}},
		"signed":                  {"Content-Range": {"bytes +50-59/100"}},
		"another unit":            {"Content-Range": {"items 50-59/100"}},
		"no unit":                 {"Content-Range": {"50-59/100"}},
		"a size too large":        {"Content-Range": {"bytes 50-59/99999999999999999999"}},
		"of unknown size":         {"Content-Range": {"bytes 50-59/*"}},
		"another length":          {"Content-Range": {"bytes 50-58/100"}, "Content-Length": {"10"}},
		"all of it, but no bytes": {"Content-Range": {"bytes 0-9/100"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for field, value := range h {
					w.Header()[field] = value
				}
				w.WriteHeader(http.StatusPartialContent)
				w.Write(make([]byte, 10))
			})
			body, _, err := web(t, handler, storage.Options{}).Open(t.Context(), "k", 50, 10)
			var e *storage.Error
			if err == nil {
				body.Close()
				t.Fatal("taken for bytes 50-59")
			}
			if !errors.As(err, &e) || e.Key != "k" {
				t.Errorf("%v does not name the object", err)
			}
			if name == "all of it, but no bytes" { // it may have been cut
				return
			}
			wantWrongAnswer(t, err, map[string]string{"of unknown size": `content-range "bytes 50-59/*" lacks the size of the object`, "signed": "does not say which bytes of how many come"}[name])
		})
	}
}

// wantWrongAnswer wants words about a store that is in reach, and that may be asked again all the same.
func wantWrongAnswer(t *testing.T, err error, says string) {
	t.Helper()
	var e *storage.Error
	if !errors.Is(err, storage.ErrUnavailable) || !errors.As(err, &e) || strings.Contains(err.Error(), "out of reach") || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want that the server answers wrongly: %q", err, says)
	} else if !strings.Contains(e.Hint(), "the store can be reached") {
		t.Errorf("hint %q", e.Hint())
	}
}

// TestHTTPRangeEndsEarly: a range that is shorter than asked for is gone on with; one of an object of another size is
// not.
func TestHTTPRangeEndsEarly(t *testing.T) {
	t.Parallel()
	data := storagetest.Pattern(100)
	for size, want := range map[int]error{100: nil, 101: storage.ErrConflict} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var first, last int
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
			last = min(last, first+3)
			total := 100
			if first > 50 {
				total = size
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, total))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[first : last+1])
		})
		body, _, err := web(t, handler, storage.Options{}).Open(t.Context(), "k", 50, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		got, err := io.ReadAll(body)
		if !errors.Is(err, want) || err == nil && !bytes.Equal(got, data[50:60]) {
			t.Errorf("%q, %v; want %v", got, err, want)
		}
	}
}

// TestHTTPRangeRefused: 416 for a range within the object is an error, at once and in the middle of a body, and not
// the end of it.
func TestHTTPRangeRefused(t *testing.T) {
	t.Parallel()
	var gets atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		switch {
		case r.Method == http.MethodHead:
		case r.URL.Path == "/some/path/later" && gets.Add(1) == 1:
			w.Header().Set("Content-Range", "bytes 50-99/100")
			w.Header().Set("Content-Length", "50")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 7)) // and cut
		default:
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}
	})
	s := web(t, handler, storage.Options{})
	var e *storage.Error
	if _, _, err := s.Open(t.Context(), "k", 50, -1); !errors.As(err, &e) || !strings.Contains(err.Error(), "range") {
		t.Errorf("at once: %v, want an error about the range", err)
	}
	_, _, err := s.Open(t.Context(), "k", 50, -1)
	wantWrongAnswer(t, err, "the server answers wrongly: it refuses the range from byte 50 of 100")
	if body, _, err := s.Open(t.Context(), "k", 100, -1); err != nil {
		t.Errorf("at the end: %v", err)
	} else {
		body.Close()
	}
	body, _, err := s.Open(t.Context(), "later", 50, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); len(got) != 7 || !errors.Is(err, storage.ErrConflict) || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &e) {
		t.Errorf("later: %d bytes, %v; want ErrConflict after 7", len(got), err)
	}
	if n := gets.Load(); n != 2 {
		t.Errorf("%d requests: what cannot pass is not asked again", n)
	}
}

// TestHTTPEndlessData: a server that does not tell the size and never stops is cut at the cap.
func TestHTTPEndlessData(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	data, info, err := storage.ReadAll(t.Context(), web(t, handler, storage.Options{}), "k", 1<<20)
	if !errors.Is(err, storage.ErrTooLarge) || data != nil || info.Size != -1 {
		t.Errorf("%d bytes of %d, %v; want ErrTooLarge", len(data), info.Size, err)
	}
}

func TestHTTPCompressedAnswer(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write([]byte("x"))
	})
	if _, _, err := web(t, handler, storage.Options{}).Open(t.Context(), "k", 0, -1); err == nil {
		t.Error("a compressed answer is taken for the object")
	}
}

func TestHTTPUnknownSize(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		io.WriteString(w, "0123456789")
	})
	s := web(t, handler, storage.Options{})
	if got := content(t, s, "k"); got != "0123456789" {
		t.Errorf("%q", got)
	}
	body, _, err := s.Open(t.Context(), "k", 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "234" {
		t.Errorf("range: %q, %v", got, err)
	}
}
