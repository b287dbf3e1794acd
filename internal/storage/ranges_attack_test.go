package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// piecewise is a server without a network that answers every range with a thousand bytes of a large object.
type piecewise struct {
	size  int
	place func(first, size int) int // of the answer's first byte
	asked *int
}

func (s piecewise) RoundTrip(req *http.Request) (*http.Response, error) {
	*s.asked++
	first := 0
	if _, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &first); err != nil && req.Header.Get("Range") != "" {
		return nil, err
	}
	at := s.place(first, s.size)
	return &http.Response{StatusCode: http.StatusPartialContent, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: 1000,
		Header: http.Header{"Content-Length": {"1000"}, "Content-Range": {fmt.Sprintf("bytes %d-%d/%d", at, at+999, s.size)}, "Etag": {strconv.Quote("same")}},
		Body:   io.NopCloser(bytes.NewReader(make([]byte, 1000)))}, nil
}

// TestAServerThatAnswersEveryRangeWithAThousandBytes, the first of the object or of the range, is not asked a million times for an
// image: it is given up, in seconds, with what it did.
func TestAServerThatAnswersEveryRangeWithAThousandBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		place func(first, size int) int
		from  int64
		most  int // requests
		says  string
	}{
		"the first of the object":               {func(int, int) int { return 0 }, 0, 6, "the answer ends before byte 1000 of the object, which was asked for"},
		"the first of the object, from further": {func(int, int) int { return 0 }, 500_000, 1, "the answer ends before byte 500000 of the object, which was asked for"},
		"the first of the range":                {func(first, _ int) int { return first }, 0, 20, "20 answers in a row brought less than 64 KiB each"},
		"those after the range":                 {func(first, _ int) int { return first + 1 }, 500_000, 1, "answer begins at byte 500001 of the object instead of 500000"},
		"the last of the object":                {func(_, size int) int { return size - 1000 }, 0, 1, "answer begins at byte"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, began := 0, time.Now()
				s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{RoundTripper: func(http.RoundTripper) http.RoundTripper {
					return piecewise{1 << 30, c.place, &asked}
				}})
				if err != nil {
					t.Fatal(err)
				}
				body, _, err := s.Open(t.Context(), "k", c.from, 1<<29)
				if err == nil {
					defer body.Close()
					_, err = io.Copy(io.Discard, body)
				}
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "k (http://cdn.example.org/k)") {
					t.Errorf("%v; want %q", err, c.says)
				}
				if asked > c.most || time.Since(began) > 10*time.Second {
					t.Errorf("asked %d times, for %s", asked, time.Since(began))
				}
				if strings.Contains(c.says, "answers in a row") && !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
