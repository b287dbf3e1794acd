package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// smallParts are the smallest that a server takes; threeParts and sixParts are the sizes of objects of so many.
var (
	smallParts = storage.Parts{From: 1 << 20, Size: 5 << 20, Parallel: 3}
	oneByOne   = storage.Parts{From: 1 << 20, Size: 5 << 20, Parallel: 1}
)

const (
	threeParts = 11<<20 + 3
	sixParts   = 26<<20 + 1
)

// meter counts what an upload in parts sends, and lets a test act on each part.
type meter struct {
	next                    http.RoundTripper
	parts, started, aborted atomic.Int32
	before, after           func(n int) // the nth part, from 1
}

func (m *meter) wrap(next http.RoundTripper) http.RoundTripper { m.next = next; return m }

func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	query := req.URL.RawQuery
	switch {
	case req.Method == http.MethodPut && strings.Contains(query, "partNumber="):
		n := int(m.parts.Add(1))
		if m.before != nil {
			m.before(n)
		}
		resp, err := m.next.RoundTrip(req)
		if err == nil && m.after != nil {
			m.after(n)
		}
		return resp, err
	case req.Method == http.MethodPost && strings.Contains(query, "uploads="):
		m.started.Add(1)
	case req.Method == http.MethodDelete && strings.Contains(query, "uploadId="):
		m.aborted.Add(1)
	}
	return m.next.RoundTrip(req)
}

// metered opens a store that sends in parts, through the meter and then the faults.
func metered(t testing.TB, server *storagetest.S3, bucket string, m *meter, faults *storagetest.HTTPFaults) storage.Store {
	return server.Open(t, bucket, "cat", storage.Options{Parts: smallParts, Timeout: 5 * time.Second,
		RoundTripper: func(rt http.RoundTripper) http.RoundTripper {
			if faults != nil {
				rt = faults.Wrap(rt)
			}
			return m.wrap(rt)
		}})
}

func createBytes(ctx context.Context, s storage.Store, key string, data []byte) error {
	sum := sha256.Sum256(data)
	return s.Create(ctx, key, known{bytes.NewReader(data), hex.EncodeToString(sum[:])}, int64(len(data)), "application/octet-stream", "")
}

// known is a body that knows its digest.
type known struct {
	io.ReaderAt
	sum string
}

func (k known) SHA256() string { return k.sum }

func expectParts(t *testing.T, m *meter, parts, started, aborted int32) {
	t.Helper()
	if p, s, a := m.parts.Load(), m.started.Load(), m.aborted.Load(); p != parts || s != started || a != aborted {
		t.Errorf("%d parts were sent, %d uploads started, %d aborted; want %d, %d, %d", p, s, a, parts, started, aborted)
	}
}

// TestS3PartsOverBadNetwork: whatever is lost, nil means stored, an object is never overwritten, and no part goes more
// often than it must.
func TestS3PartsOverBadNetwork(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	const start, part, end = "uploads=", "partNumber=", "uploadId="
	answer := func(status int, code string) storagetest.Fault {
		return storagetest.Fault{Kind: storagetest.Answer, Status: status, Body: "<Error><Code>" + code + "</Code></Error>"}
	}
	twice := func(f storagetest.Fault) storagetest.Fault { f.Times = 2; return f }
	for name, c := range map[string]struct {
		method, query string
		fault         storagetest.Fault
		parts         int32
	}{
		"start: answer lost":      {http.MethodPost, start, storagetest.Fault{Kind: storagetest.LoseAnswer}, 3},
		"part: answer lost":       {http.MethodPut, part, storagetest.Fault{Kind: storagetest.LoseAnswer, Skip: 1}, 4},
		"part: lost twice":        {http.MethodPut, part, storagetest.Fault{Kind: storagetest.Refuse, Times: 2, Skip: 2}, 5},
		"part: 503":               {http.MethodPut, part, answer(http.StatusServiceUnavailable, "SlowDown"), 4},
		"part: delayed":           {http.MethodPut, part, storagetest.Fault{Kind: storagetest.Delay, Wait: 50 * time.Millisecond}, 3},
		"part: damaged":           {http.MethodPut, part, answer(http.StatusBadRequest, "BadDigest"), 4},
		"part: upload is gone":    {http.MethodPut, part, answer(http.StatusNotFound, "NoSuchUpload"), 6},
		"end: answer lost":        {http.MethodPost, end, storagetest.Fault{Kind: storagetest.LoseAnswer}, 3},
		"end: own write, 412":     {http.MethodPost, end, storagetest.Fault{Kind: storagetest.Echo}, 3},
		"end: never arrives":      {http.MethodPost, end, storagetest.Fault{Kind: storagetest.Refuse}, 3},
		"end: cut":                {http.MethodPost, end, storagetest.Fault{Kind: storagetest.CutBody, At: 20}, 3},
		"end: 412, nothing there": {http.MethodPost, end, answer(http.StatusPreconditionFailed, "PreconditionFailed"), 3},
		"end: 409 once":           {http.MethodPost, end, answer(http.StatusConflict, "ConditionalRequestConflict"), 3},
		"end: 409 twice":          {http.MethodPost, end, twice(answer(http.StatusConflict, "ConditionalRequestConflict")), 6},
		"end: upload is gone":     {http.MethodPost, end, answer(http.StatusNotFound, "NoSuchUpload"), 6},
		"end: a part is replaced": {http.MethodPost, end, answer(http.StatusBadRequest, "InvalidPart"), 6},
		"end: 200 with an error":  {http.MethodPost, end, answer(http.StatusOK, "InternalError"), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, faults := new(meter), new(storagetest.HTTPFaults)
			s := storagetest.NewLedger(t).Watch(metered(t, server, bucket, m, faults))
			c.fault.Method, c.fault.Query = c.method, c.query
			faults.Add(c.fault)
			key, data := "blobs/"+strings.ReplaceAll(name, " ", "-"), storagetest.Pattern(threeParts)
			if err := createBytes(t.Context(), s, key, data); err != nil {
				t.Fatal(err)
			}
			if got := m.parts.Load(); got < c.parts-2 || got > c.parts { // what was under way when it failed is not sent again
				t.Errorf("%d parts were sent, want %d", got, c.parts)
			}
			if content(t, s, key) != string(data) {
				t.Error("not what was written")
			}
			data[len(data)-1]++
			if err := createBytes(t.Context(), s, key, data); !errors.Is(err, storage.ErrExists) {
				t.Errorf("another object under that name: %v, want ErrExists", err)
			}
		})
	}
}

// TestS3PartsAfterKill: a process that is killed in the middle of an upload, and one that is interrupted, leave what
// they sent for the next, which sends only the rest.
func TestS3PartsAfterKill(t *testing.T) {
	const address, object = "KITCHEN_TEST_UPLOAD_TO", "blobs/large"
	data := storagetest.Pattern(sixParts)
	if url := os.Getenv(address); url != "" { // the process that is killed when it sends its fourth part
		m := &meter{before: func(n int) {
			if n == 4 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}}
		s := openURL(t, url, storage.Options{Getenv: os.Getenv, RoundTripper: m.wrap, Parts: oneByOne})
		t.Fatal("still alive: ", createBytes(t.Context(), s, object, data))
	}
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestS3PartsAfterKill$")
	cmd.Env = append(append(os.Environ(), server.Env()...), address+"="+server.URL(bucket, "cat"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := &meter{after: func(n int) {
		if n == 1 {
			cancel()
		}
	}}
	s := server.Open(t, bucket, "cat", storage.Options{RoundTripper: m.wrap, Parts: oneByOne})
	if err := createBytes(ctx, s, object, data); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, want context.Canceled", err)
	}
	expectParts(t, m, 1, 0, 0)
	if keys := storagetest.Keys(t, s, "", ""); len(keys) != 0 {
		t.Errorf("half an object is visible: %q", keys)
	}
	m = new(meter)
	s = metered(t, server, bucket, m, nil)
	if err := createBytes(t.Context(), s, object, data); err != nil {
		t.Fatal(err)
	}
	expectParts(t, m, 2, 0, 0) // three went before the kill, one before the interrupt
	if content(t, s, object) != string(data) {
		t.Error("not what was written")
	}
}

// halfSent leaves an upload of two parts behind.
func halfSent(t *testing.T, server *storagetest.S3, bucket, key string, data []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m := &meter{before: func(n int) {
		if n == 3 {
			cancel()
		}
	}}
	s := server.Open(t, bucket, "cat", storage.Options{RoundTripper: m.wrap, Parts: oneByOne})
	if err := createBytes(ctx, s, key, data); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want context.Canceled", err)
	}
}

// TestS3PartsOfAnother: an upload under the same key of other content is neither used nor hurt.
func TestS3PartsOfAnother(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	open := func(m *meter) storage.Store { return metered(t, server, bucket, m, nil) }
	for name, other := range map[string]func(data []byte) []byte{
		"from its first byte on": func(data []byte) []byte { data[0]++; return data },
		"in a later part":        func(data []byte) []byte { data[5<<20]++; return data },
		"longer":                 func(data []byte) []byte { data[7]++; return append(data, data...) },
		"shorter":                func(data []byte) []byte { return data[1 : 10<<20] },
	} {
		t.Run(name, func(t *testing.T) {
			key, data := "blobs/"+strings.ReplaceAll(name, " ", "-"), storagetest.Pattern(threeParts)
			theirs := other(bytes.Clone(data))
			if len(theirs) > 10<<20 {
				halfSent(t, server, bucket, key, theirs)
			} else {
				orphan(t, server, bucket, key, theirs)
			}
			m := new(meter)
			if err := createBytes(t.Context(), open(m), key, data); err != nil {
				t.Fatal(err)
			}
			expectParts(t, m, 3, 1, 0)
			if content(t, open(new(meter)), key) != string(data) {
				t.Error("not what was written")
			}
			if err := createBytes(t.Context(), open(new(meter)), key, theirs); !errors.Is(err, storage.ErrExists) {
				t.Errorf("the other goes on: %v, want ErrExists", err)
			}
		})
	}
}

// orphan leaves an upload of one part behind that is all of data.
func orphan(t *testing.T, server *storagetest.S3, bucket, key string, data []byte) {
	t.Helper()
	faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: storagetest.Refuse, Method: http.MethodPost, Query: "uploadId=", Times: -1})
	s := metered(t, server, bucket, new(meter), faults)
	if err := createBytes(t.Context(), s, key, data); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
}

// TestS3PartsTwoAtOnce: all who upload the same succeed, whoever is first; of those who upload different things one does.
func TestS3PartsTwoAtOnce(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	ledger := storagetest.NewLedger(t)
	for name, different := range map[string]bool{"same": false, "different": true} {
		t.Run(name, func(t *testing.T) {
			const writers = 3
			key, errs := "blobs/"+name, make([]error, writers)
			bodies := make([][]byte, writers)
			var wg sync.WaitGroup
			for i := range writers {
				bodies[i] = storagetest.Pattern(threeParts)
				if different {
					bodies[i][threeParts-1] += byte(i)
				}
				s := ledger.Watch(metered(t, server, bucket, new(meter), nil))
				wg.Go(func() { errs[i] = createBytes(t.Context(), s, key, bodies[i]) })
			}
			wg.Wait()
			got, won := content(t, ledger.Watch(metered(t, server, bucket, new(meter), nil)), key), 0
			for i, err := range errs {
				if err == nil && got == string(bodies[i]) {
					won++
				} else if !different || !errors.Is(err, storage.ErrExists) {
					t.Errorf("writer %d: %v", i, err)
				}
			}
			if different && won != 1 {
				t.Errorf("%d of different uploads won", won)
			}
		})
	}
}

// TestS3PartsRights: with the right to put objects alone an upload works, starting anew; with the rights to look for
// unfinished ones it goes on.
func TestS3PartsRights(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	put, resumer := server.User(t, "put"), server.User(t, "resumer")
	server.SetPolicy(t, bucket,
		storagetest.Allow{User: "put", Actions: []string{"s3:PutObject", "s3:GetObject"}},
		storagetest.Allow{User: "resumer", Actions: []string{"s3:PutObject", "s3:GetObject", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"}},
	)
	data := storagetest.Pattern(threeParts)
	for name, c := range map[string]struct {
		env            func(string) string
		parts, started int32
	}{"put": {put, 3, 1}, "resumer": {resumer, 1, 0}} {
		halfSent(t, server, bucket, "blobs/"+name, data)
		m := new(meter)
		s := server.Open(t, bucket, "cat", storage.Options{Parts: smallParts, Getenv: c.env, RoundTripper: m.wrap})
		if err := createBytes(t.Context(), s, "blobs/"+name, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		expectParts(t, m, c.parts, c.started, 0)
	}
}

// changing is a body whose bytes differ when they are read again.
type changing struct {
	data []byte
	read atomic.Int64
}

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, c.data[off:])
	if c.read.Add(int64(n)) > int64(len(c.data)) {
		p[0]++
	}
	return n, nil
}

// TestS3PartsWrongBytes: bytes with another digest, and bytes that change while they are sent, never become an object.
func TestS3PartsWrongBytes(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	m := new(meter)
	s := metered(t, server, bucket, m, nil)
	data := storagetest.Pattern(threeParts)
	err := s.Create(t.Context(), "blobs/x", known{bytes.NewReader(data), strings.Repeat("0", 64)}, threeParts, "", "")
	if err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("another digest: %v", err)
	}
	expectParts(t, m, 3, 1, 1)
	if err := s.Create(t.Context(), "blobs/x", &changing{data: data[:5<<20]}, 5<<20, "", ""); err == nil {
		t.Error("a file that changes while it is sent is stored")
	}
	if keys := storagetest.Keys(t, s, "", ""); len(keys) != 0 {
		t.Errorf("there are %q", keys)
	}
}

// overwriting is a server that completes every upload, whatever the conditions.
type overwriting struct{ next http.RoundTripper }

func (o overwriting) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || !strings.Contains(req.URL.RawQuery, "uploadId=") {
		return o.next.RoundTrip(req)
	}
	const text = "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>x</ETag></CompleteMultipartUploadResult>"
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text))}, nil
}

func TestProbeFindsServersThatOverwriteInParts(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	s := server.Open(t, server.Bucket(t), "", storage.Options{RoundTripper: func(rt http.RoundTripper) http.RoundTripper { return overwriting{rt} }})
	var broken *storage.ConditionError
	if err := storage.CheckConditionalWrites(t.Context(), s); !errors.As(err, &broken) || !strings.Contains(broken.Seen, "in parts") {
		t.Errorf("%v, want *ConditionError about parts", err)
	}
}

// TestS3PartsFullSize sends more than fits one PUT.
func TestS3PartsFullSize(t *testing.T) {
	const variable, size = "KITCHEN_TEST_5GIB", 5<<30 + 1
	if os.Getenv(variable) == "" {
		t.Skipf("NOT tested with an object above 5 GiB: set %s=1 (takes minutes, and 11 GB of disk)", variable)
	}
	server := storagetest.StartS3(t)
	s := server.Open(t, server.Bucket(t), "", storage.Options{})
	if err := s.Create(t.Context(), "blobs/huge", tiled(storagetest.Pattern(1<<20)), size, "", ""); err != nil {
		t.Fatal(err)
	}
	info, err := s.Stat(t.Context(), "blobs/huge")
	if err != nil || info.Size != size {
		t.Errorf("%+v, %v", info, err)
	}
	if err := s.Create(t.Context(), "blobs/huge", tiled(storagetest.Pattern(1<<20)), size, "", ""); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := s.Create(t.Context(), "blobs/huge", tiled(storagetest.Pattern(1<<19)), size, "", ""); !errors.Is(err, storage.ErrExists) {
		t.Errorf("another: %v, want ErrExists", err)
	}
}

// tiled is a body that repeats itself.
type tiled []byte

func (r tiled) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], r[(off+int64(n))%int64(len(r)):])
	}
	return len(p), nil
}

func TestPartSizes(t *testing.T) {
	for size, want := range map[int64]string{1 << 30: "64 parts", storage.MaxObject: "8993 parts"} {
		if got := fmt.Sprintf("%d parts", storage.PartCount(storage.Parts{}, size)); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}
