package storage_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// always is a server that answers every request with a few bytes.
type always struct{ status int }

func (a always) RoundTrip(req *http.Request) (*http.Response, error) {
	const text = "an answer"
	return &http.Response{StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: int64(len(text)),
		Header: http.Header{"Content-Length": {"9"}, "Etag": {`"x"`}}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// The clock of the bubble moves only while all wait.
func TestAServerThatAsksForRestGetsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after       string
		from, until time.Duration
	}{
		"for seconds":          {"3", 3 * time.Second, 4 * time.Second},
		"for no time":          {"0", 0, time.Second},
		"for longer than fits": {"86400", 5 * time.Second, 6 * time.Second}, // a quarter of the call's 20 s
		"without a number":     {"soon", 0, time.Second},
		"in the past":          {"-5", 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusServiceUnavailable,
					Header: http.Header{"Retry-After": {c.after}}})
				s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Timeout: 20 * time.Second,
					RoundTripper: func(http.RoundTripper) http.RoundTripper { return faults.Wrap(always{http.StatusOK}) }})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err := s.Stat(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < c.from || took > c.until {
					t.Errorf("asked again after %s, want %s to %s", took, c.from, c.until)
				}
			})
		})
	}
}

// An S3 client that was told "404" and then lost the connection must ask again: only a whole answer is one.
func TestS3AnErrorAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.CutBody, At: 10, Times: 2})
	s := server.Open(t, server.Bucket(t), "", storage.Options{RoundTripper: faults.Wrap})
	if _, _, err := s.Open(t.Context(), "absent", 0, -1); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if n := len(faults.Requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// unplaced takes away what tells which part of an object an answer is.
type unplaced struct{ next http.RoundTripper }

func (u unplaced) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := u.next.RoundTrip(req)
	if err == nil {
		resp.Header.Del("Content-Range")
	}
	return resp, err
}

// TestS3PartThatDoesNotSayWhich: the client library does not tell 206 from 200, so the transport must: another part of
// the object is never taken for its beginning.
func TestS3PartThatDoesNotSayWhich(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	s := server.Open(t, server.Bucket(t), "", storage.Options{RoundTripper: func(rt http.RoundTripper) http.RoundTripper { return unplaced{rt} }})
	storagetest.Put(t, s, "k", []byte("0123456789"))
	if body, info, err := s.Open(t.Context(), "k", 2, 8); err == nil {
		got, err := io.ReadAll(body)
		t.Errorf("read %q, %v of %+v", got, err, info)
	} else {
		wantWrongAnswer(t, err, "206 without content-range")
		if strings.Contains(err.Error(), "Get ") {
			t.Errorf("names a URL with its query: %v", err)
		}
	}
}
