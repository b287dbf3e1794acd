package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

func put(ctx context.Context, s storage.Store, key, data string) error {
	return s.Create(ctx, key, strings.NewReader(data), int64(len(data)), "text/plain", "")
}

func content(t *testing.T, s storage.Store, key string) string {
	t.Helper()
	data, _, err := storage.ReadAll(t.Context(), s, key, 64<<20)
	if err != nil {
		t.Errorf("%s: %v", key, err)
	}
	return string(data)
}

// TestS3CreateOverBadNetwork: whatever happens to the write or its answer, nil means stored and nothing is lost.
func TestS3CreateOverBadNetwork(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	for _, c := range []struct {
		name  string
		fault storagetest.Fault
	}{
		{"answer lost", storagetest.Fault{Kind: storagetest.LoseAnswer}},
		{"own write answered by 412", storagetest.Fault{Kind: storagetest.Echo}},
		{"write never arrives", storagetest.Fault{Kind: storagetest.Refuse}},
		{"write lost twice", storagetest.Fault{Kind: storagetest.Refuse, Times: 2}},
		{"409 while another write is under way", storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusConflict}},
		{"412 for an object that is not there", storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusPreconditionFailed}},
		{"503", storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusServiceUnavailable}},
		{"stalled", storagetest.Fault{Kind: storagetest.Stall}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{100, 1 << 20} {
				faults := new(storagetest.HTTPFaults)
				s := server.Open(t, bucket, c.name, storage.Options{RoundTripper: faults.Wrap, Timeout: 2 * time.Second})
				key, data := "k"+string(rune('0'+size%7)), storagetest.Pattern(size)
				c.fault.Method = http.MethodPut
				faults.Add(c.fault)
				if err := s.Create(t.Context(), key, bytes.NewReader(data), int64(size), "", ""); err != nil {
					t.Fatal(err)
				}
				if content(t, s, key) != string(data) {
					t.Error("not what was written")
				}
				faults.Add(c.fault)
				if err := put(t.Context(), s, key, "another"); !errors.Is(err, storage.ErrExists) {
					t.Errorf("another object under that name: %v, want ErrExists", err)
				}
			}
		})
	}
}

func TestS3SwapOverBadNetwork(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	const key = "metadata/timestamp.json"
	for _, c := range []struct {
		name  string
		fault storagetest.Fault
	}{
		{"answer lost", storagetest.Fault{Kind: storagetest.LoseAnswer}},
		{"own write answered by 412", storagetest.Fault{Kind: storagetest.Echo}},
		{"write never arrives", storagetest.Fault{Kind: storagetest.Refuse}},
		{"409 while another write is under way", storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusConflict}},
		{"503", storagetest.Fault{Kind: storagetest.Answer, Status: http.StatusServiceUnavailable}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			faults := new(storagetest.HTTPFaults)
			s := server.Open(t, bucket, c.name, storage.Options{RoundTripper: faults.Wrap})
			c.fault.Method = http.MethodPut
			tag := ""
			for _, data := range []string{"one", "two", "three"} {
				faults.Add(c.fault)
				now, err := s.Swap(t.Context(), key, tag, []byte(data), "application/json", "no-store")
				if err != nil {
					t.Fatal(err)
				}
				if info, err := s.Stat(t.Context(), key); err != nil || info.ETag != now {
					t.Errorf("tag %q, the store says %+v, %v", now, info, err)
				}
				if content(t, s, key) != data {
					t.Error("not what was written")
				}
				tag = now
			}
		})
	}
}

// meanwhile is a network on which somebody else is quicker, once.
type meanwhile struct {
	next http.RoundTripper
	do   func()
}

func (m *meanwhile) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut && m.do != nil {
		m.do()
		m.do = nil
		return nil, errors.New("injected: connection reset")
	}
	return m.next.RoundTrip(req)
}

func TestS3SwapLostToAnotherInDoubt(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	other := server.Open(t, bucket, "", storage.Options{})
	tag, err := other.Swap(t.Context(), "t", "", []byte("one"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	s := server.Open(t, bucket, "", storage.Options{RoundTripper: func(next http.RoundTripper) http.RoundTripper {
		return &meanwhile{next, func() {
			if _, err := other.Swap(t.Context(), "t", tag, []byte("theirs"), "", ""); err != nil {
				t.Error(err)
			}
		}}
	}})
	if _, err := s.Swap(t.Context(), "t", tag, []byte("ours"), "", ""); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("%v, want ErrConflict", err)
	}
	if got := content(t, s, "t"); got != "theirs" {
		t.Errorf("holds %q", got)
	}
}

// TestS3Unreachable: every kind of silence is ErrUnavailable with a hint, soon.
func TestS3Unreachable(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	forAll := func(name string, kind storagetest.Kind, status int) {
		t.Run(name, func(t *testing.T) {
			faults := new(storagetest.HTTPFaults).Add(storagetest.Fault{Kind: kind, Status: status, Times: -1})
			expectUnavailable(t, server.Open(t, bucket, "", storage.Options{RoundTripper: faults.Wrap, Timeout: 200 * time.Millisecond}))
		})
	}
	forAll("connection refused", storagetest.Refuse, 0)
	forAll("stalled server", storagetest.Stall, 0)
	forAll("overloaded server", storagetest.Answer, http.StatusServiceUnavailable)
	t.Run("server killed and back", func(t *testing.T) {
		s := server.Open(t, bucket, "", storage.Options{})
		if err := put(t.Context(), s, "before", "x"); err != nil {
			t.Fatal(err)
		}
		server.Kill()
		expectUnavailable(t, s)
		server.Start(t)
		if got := content(t, s, "before"); got != "x" {
			t.Errorf("after the restart: %q", got)
		}
	})
	t.Run("unknown certificate authority", func(t *testing.T) {
		s := server.Open(t, bucket, "", storage.Options{Getenv: func(name string) string {
			if name == "SSL_CERT_FILE" || name == "AWS_CA_BUNDLE" {
				return ""
			}
			return server.Getenv(name)
		}})
		expectUnavailable(t, s)
		if _, err := s.Stat(t.Context(), "x"); !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v does not mention the certificate", err)
		}
	})
}

func expectUnavailable(t *testing.T, s storage.Store) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"open":   func() error { _, _, err := s.Open(t.Context(), "k", 0, -1); return err },
		"stat":   func() error { _, err := s.Stat(t.Context(), "k"); return err },
		"create": func() error { return put(t.Context(), s, "k", "x") },
		"swap":   func() error { _, err := s.Swap(t.Context(), "k", "", []byte("x"), "", ""); return err },
		"list":   func() error { return listError(t.Context(), s) },
	} {
		wg.Go(func() {
			err := call()
			var e *storage.Error
			if !errors.Is(err, storage.ErrUnavailable) || !errors.As(err, &e) || e.Hint() == "" {
				t.Errorf("%s: %v, want ErrUnavailable and a hint", name, err)
			}
		})
	}
	wg.Wait()
}

func listError(ctx context.Context, s storage.Store) (last error) {
	for _, err := range s.List(ctx, "", "") {
		last = err
	}
	return last
}

func TestS3BodyCutShort(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	bodiesCutShort(t, func(t *testing.T, data []byte, opts storage.Options) storage.Store {
		s := server.Open(t, bucket, "", storage.Options{})
		if err := s.Create(t.Context(), "large", bytes.NewReader(data), int64(len(data)), "", ""); err != nil {
			t.Fatal(err)
		}
		opts.Getenv = server.Getenv
		return server.Open(t, bucket, "", opts)
	})
}

// bodiesCutShort runs against any network store; open gives one whose object "large" holds data.
func bodiesCutShort(t *testing.T, open func(t *testing.T, data []byte, opts storage.Options) storage.Store) {
	data := storagetest.Pattern(2<<20 + 3)
	get := func(t *testing.T, f storagetest.Fault, offset, length int64) ([]byte, []string, error) {
		f.Method = http.MethodGet
		faults := new(storagetest.HTTPFaults).Add(f)
		opts := storage.Options{RoundTripper: faults.Wrap, Resumes: 3}
		if f.Kind == storagetest.StallBody {
			opts.Timeout = 500 * time.Millisecond
		}
		s := open(t, data, opts)
		body, _, err := s.Open(t.Context(), "large", offset, length)
		if err != nil {
			return nil, faults.Requests(), err
		}
		defer body.Close()
		got, err := io.ReadAll(body)
		return got, faults.Requests(), err
	}
	for _, r := range []struct{ offset, length, at int64 }{{0, -1, 0}, {0, -1, 1}, {0, -1, 1 << 20}, {100, -1, 5000}, {100, 70000, 60000}} {
		want := data[r.offset:]
		if r.length >= 0 {
			want = want[:r.length]
		}
		got, requests, err := get(t, storagetest.Fault{Kind: storagetest.CutBody, At: r.at, Times: 3}, r.offset, r.length)
		if r.at == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			continue // three times without a byte is not worth another try
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: %d bytes, %v; want %d", r, len(got), err, len(want))
		}
		if len(requests) < 2 {
			t.Errorf("%+v: nothing was cut: %q", r, requests)
		}
	}
	got, _, err := get(t, storagetest.Fault{Kind: storagetest.CutBody, At: 300, Times: -1}, 0, 1000)
	if err != nil || !bytes.Equal(got, data[:1000]) {
		t.Errorf("300 bytes at a time: %d bytes, %v", len(got), err)
	}
	_, _, err = get(t, storagetest.Fault{Kind: storagetest.CutBody, Times: -1}, 0, -1)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("never a byte: %v, want io.ErrUnexpectedEOF and ErrUnavailable", err)
	}
	_, _, err = get(t, storagetest.Fault{Kind: storagetest.StallBody, At: 100, Times: -1}, 0, -1)
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("slow retrieval: a body that stalls: %v, want ErrUnavailable", err)
	}
}

// TestS3SlowReader: the deadline is for the server's silence, not for the reader's.
func TestS3SlowReader(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	data := storagetest.Pattern(4 << 20)
	const limit = 500 * time.Millisecond
	s := server.Open(t, bucket, "", storage.Options{Timeout: limit})
	if err := s.Create(t.Context(), "large", bytes.NewReader(data), int64(len(data)), "", ""); err != nil {
		t.Fatal(err)
	}
	body, _, err := s.Open(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(body, first); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * limit)
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(append(first, rest...), data) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}

func TestS3Rights(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	root := server.Open(t, bucket, "cat", storage.Options{})
	if err := put(t.Context(), root, "metadata/timestamp.json", "x"); err != nil {
		t.Fatal(err)
	}
	reader, reporter, nobody := server.User(t, "reader"), server.User(t, "reporter"), server.User(t, "nobody")
	server.SetPolicy(t, bucket,
		storagetest.Allow{User: "reader", Actions: []string{"s3:GetObject"}},
		storagetest.Allow{User: "reporter", Actions: []string{"s3:GetObject", "s3:ListBucket"}},
		storagetest.Allow{User: "reporter", Actions: []string{"s3:PutObject"}, Prefix: "cat/reports/acme/"},
	)
	as := func(env func(string) string) storage.Store {
		return server.Open(t, bucket, "cat", storage.Options{Getenv: env})
	}
	if got := content(t, as(reader), "metadata/timestamp.json"); got != "x" {
		t.Errorf("reader reads %q", got)
	}
	if _, err := as(reader).Stat(t.Context(), "absent"); !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("absent, without the right to list: %v", err)
	}
	if err := put(t.Context(), as(reporter), "reports/acme/ci/x", "report"); err != nil {
		t.Error(err)
	}
	swapErr := func(s storage.Store) error {
		_, err := s.Swap(t.Context(), "metadata/timestamp.json", "x", []byte("y"), "", "")
		return err
	}
	_, openErr := as(nobody).Stat(t.Context(), "metadata/timestamp.json")
	_, _, openErr2 := as(nobody).Open(t.Context(), "metadata/timestamp.json", 0, -1)
	for name, c := range map[string]struct {
		err   error
		right string
	}{
		"reader creates":                    {put(t.Context(), as(reader), "reports/acme/ci/y", "x"), "s3:PutObject"},
		"reader swaps":                      {swapErr(as(reader)), "s3:PutObject"},
		"reader lists":                      {listError(t.Context(), as(reader)), "s3:ListBucket"},
		"reporter writes to another":        {put(t.Context(), as(reporter), "reports/other/ci/y", "x"), "s3:PutObject"},
		"reporter swaps":                    {swapErr(as(reporter)), "s3:PutObject"},
		"reporter deletes":                  {as(reporter).Delete(t.Context(), "metadata/timestamp.json"), "s3:DeleteObject"},
		"nobody asks":                       {openErr, "s3:GetObject"},
		"nobody reads":                      {openErr2, "s3:GetObject"},
		"nobody creates":                    {put(t.Context(), as(nobody), "k", "x"), "s3:PutObject"},
		"without credentials":               {put(t.Context(), as(without(server.Getenv, "AWS_ACCESS_KEY_ID")), "k", "x"), "s3:PutObject"},
		"with a wrong secret":               {put(t.Context(), as(with(reader, "AWS_SECRET_ACCESS_KEY", "wrong")), "k", "x"), ""},
		"as a user that does not exist":     {put(t.Context(), as(with(reader, "AWS_ACCESS_KEY_ID", "who")), "k", "x"), ""},
		"with a shared file that is absent": {put(t.Context(), as(with(without(server.Getenv, "AWS_ACCESS_KEY_ID"), "AWS_SHARED_CREDENTIALS_FILE", "/nowhere")), "k", "x"), ""},
	} {
		var e *storage.Error
		if !errors.Is(c.err, storage.ErrForbidden) || !errors.As(c.err, &e) || e.Right != c.right || e.Hint() == "" {
			t.Errorf("%s: %v, want ErrForbidden, right %q", name, c.err, c.right)
		}
	}
	if got := content(t, root, "metadata/timestamp.json"); got != "x" {
		t.Errorf("afterwards it holds %q", got)
	}
	if keys := storagetest.Keys(t, root, "", ""); !slices.Equal(keys, []string{"metadata/timestamp.json", "reports/acme/ci/x"}) {
		t.Errorf("afterwards there are %q", keys)
	}
}

func without(env func(string) string, variable string) func(string) string {
	return with(env, variable, "")
}

func with(env func(string) string, variable, value string) func(string) string {
	return func(name string) string {
		switch name {
		case variable:
			return value
		case "AWS_EC2_METADATA_DISABLED":
			return "true"
		}
		return env(name)
	}
}

func TestS3Bucket(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	s := server.Open(t, "not-there", "p", storage.Options{})
	_, err := s.Stat(t.Context(), "k")
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("no bucket: %v, want ErrNotFound", err)
	}
	_, _, err = s.Open(t.Context(), "k", 0, -1)
	var e *storage.Error
	if !errors.Is(err, storage.ErrNotFound) || !errors.As(err, &e) || e.Key != "" || !strings.Contains(e.Error(), "bucket") {
		t.Errorf("no bucket: %v, want ErrNotFound without a key, naming the bucket", err)
	}
	if err := put(t.Context(), s, "k", "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.Swap(t.Context(), "k", "tag", []byte("x"), "", ""); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("swap: %v", err)
	}
	for range 2 {
		made := server.Open(t, "made-here", "p", storage.Options{CreateBucket: true})
		if err := put(t.Context(), made, "k", "x"); err != nil {
			t.Error(err)
		}
	}
	user := server.User(t, "small")
	if _, err := storage.Open(t.Context(), server.URL("by-small", ""), storage.Options{CreateBucket: true, Getenv: user}); !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("a bucket without the right: %v, want ErrForbidden", err)
	}
}
