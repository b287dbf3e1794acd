package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/enovance/kitchen/internal/storage"
)

// serving is a server without a network whose every object is data.
type serving struct{ data []byte }

func (s serving) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: int64(len(s.data)),
		Header: http.Header{"Content-Length": {strconv.Itoa(len(s.data))}}, Body: io.NopCloser(bytes.NewReader(s.data))}, nil
}

func limited(t *testing.T, perSecond int64, data []byte) storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Timeout: time.Second,
		RoundTripper: func(http.RoundTripper) http.RoundTripper { return serving{data} }})
	if err != nil {
		t.Fatal(err)
	}
	return storage.Limited(s, perSecond, time.Now)
}

// The clock of the bubble moves only while all wait. Three bodies share one rate, for far longer than the server may
// be silent (1 s); what came in any second is at most that rate, and in all nearly as much.
func TestLimitedBodiesShareOneRate(t *testing.T) {
	t.Parallel()
	const size, rate = 300_000, 30_000
	for name, speed := range map[string]int64{"small": rate, "one byte at a time": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := bytes.Repeat([]byte("x"), int(size*speed/rate))
				s, began := limited(t, speed, data), time.Now()
				var mu sync.Mutex
				perSecond := map[int64]int64{}
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						body, _, err := s.Open(t.Context(), "k", 0, -1)
						if err != nil {
							t.Error(err)
							return
						}
						defer body.Close()
						p, all := make([]byte, 100_000), 0
						for err == nil {
							var n int
							n, err = body.Read(p)
							mu.Lock()
							perSecond[(time.Since(began).Nanoseconds()-1)/int64(time.Second)] += int64(n)
							mu.Unlock()
							all += n
						}
						if err != io.EOF || all != len(data) {
							t.Errorf("%d bytes, %v", all, err)
						}
					})
				}
				wg.Wait()
				want := 3 * time.Duration(len(data)) * time.Second / time.Duration(speed)
				if took := time.Since(began); took < want || took > want+want/20 {
					t.Errorf("took %s, want %s", took, want)
				}
				for second, n := range perSecond {
					if n > speed+speed/10+1 {
						t.Errorf("%d bytes in second %d, at %d a second", n, second, speed)
					}
				}
			})
		})
	}
}

func TestLimitedEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, began := limited(t, 1, make([]byte, 1000)), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		body, _, err := s.OpenIfChanged(ctx, "k", "")
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		got, err := io.ReadAll(body)
		var e *storage.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || len(got) != 5 || time.Since(began) != 5500*time.Millisecond {
			t.Errorf("%d bytes after %s, %v", len(got), time.Since(began), err)
		}
	})
}

func TestLimitedByNothing(t *testing.T) {
	t.Parallel()
	if got := content(t, limited(t, 0, []byte("data")), "k"); got != "data" {
		t.Errorf("%q", got)
	}
}

// cutting is a server without a network whose connections always break, after so many bytes.
type cutting struct {
	serving
	after int64
	times *[]time.Time
}

func (c cutting) RoundTrip(req *http.Request) (*http.Response, error) {
	*c.times = append(*c.times, time.Now())
	resp, err := c.serving.RoundTrip(req)
	resp.Body = io.NopCloser(io.LimitReader(resp.Body, c.after))
	return resp, err
}

// TestBackOffGrows: a body that breaks is asked for again so often and no more, with growing pauses that differ from
// one reader to the next; and so often anew after each byte gained.
func TestBackOffGrows(t *testing.T) {
	t.Parallel()
	var firsts []time.Duration
	for range 4 {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Resumes: 6,
				RoundTripper: func(http.RoundTripper) http.RoundTripper { return cutting{serving{make([]byte, 100)}, 0, &times} }})
			if err != nil {
				t.Fatal(err)
			}
			body, _, err := s.Open(t.Context(), "k", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			for range 2 { // an error stays
				if _, err := body.Read(make([]byte, 10)); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "100 bytes missing") {
					t.Errorf("%v, want ErrUnavailable", err)
				}
			}
			if len(times) != 6 {
				t.Fatalf("%d requests, want 6", len(times))
			}
			for n := 1; n < len(times); n++ {
				base := 50 * time.Millisecond << n
				if pause := times[n].Sub(times[n-1]); pause < base/2 || pause > base+base/2 {
					t.Errorf("pause %d is %s, want about %s", n, pause, base)
				}
			}
			firsts = append(firsts, times[1].Sub(times[0]))
		})
	}
	if firsts[0] == firsts[1] && firsts[1] == firsts[2] && firsts[2] == firsts[3] {
		t.Errorf("all readers pause for %s", firsts[0])
	}
}

// TestAByteGainedStartsBackOffAnew: slow but sure is not the end.
func TestAByteGainedStartsBackOffAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Resumes: 2, RoundTripper: func(http.RoundTripper) http.RoundTripper {
			return growing{cutting{serving{[]byte("0123456789")}, 1, &times}}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, s, "k"); got != "0123456789" || len(times) != 10 {
			t.Errorf("%q after %d requests", got, len(times))
		}
	})
}

// growing lets one byte more through each time: this server skips ranges.
type growing struct{ cutting }

func (g growing) RoundTrip(req *http.Request) (*http.Response, error) {
	g.after = int64(len(*g.times) + 1)
	return g.cutting.RoundTrip(req)
}

// TestANetworkThatIsAwayForSeconds: the rest of a body is asked for until the network is back.
func TestANetworkThatIsAwayForSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		began := time.Now()
		s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{RoundTripper: func(http.RoundTripper) http.RoundTripper {
			return away{cutting{serving{[]byte("0123456789")}, 5, &times}, began.Add(2 * time.Second)}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, s, "k"); got != "0123456789" {
			t.Errorf("%q after %d requests", got, len(times))
		}
	})
}

// away is a network that breaks after the first answer, until a moment.
type away struct {
	cutting
	until time.Time
}

func (a away) RoundTrip(req *http.Request) (*http.Response, error) {
	if len(*a.times) > 0 {
		if time.Now().Before(a.until) {
			return nil, errors.New("injected: no route to host")
		}
		a.after = 10
	}
	return a.cutting.RoundTrip(req)
}

// dripping gives a byte of a body every second, or so many.
type dripping struct {
	serving
	each int
}

func (d dripping) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.serving.RoundTrip(req)
	resp.Body = io.NopCloser(drops{resp.Body, d.each})
	return resp, err
}

type drops struct {
	io.Reader
	each int
}

func (d drops) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return d.Reader.Read(p[:min(len(p), d.each)])
}

// TestABodyThatDrips: a byte a second holds nobody; what a bad line still carries is waited for.
func TestABodyThatDrips(t *testing.T) {
	t.Parallel()
	for each, ends := range map[int]bool{1: true, 100: true, 200: false} {
		synctest.Test(t, func(t *testing.T) {
			data, began := bytes.Repeat([]byte("x"), 100_000), time.Now()
			s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Resumes: 1, Timeout: 30 * time.Second, Now: time.Now, RoundTripper: func(http.RoundTripper) http.RoundTripper {
				return dripping{serving{data}, each}
			}})
			if err != nil {
				t.Fatal(err)
			}
			body, _, err := s.Open(t.Context(), "k", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			got, err := io.ReadAll(body)
			if ends && (!errors.Is(err, storage.ErrUnavailable) || time.Since(began) > 2*time.Minute) || !ends && (err != nil || len(got) != len(data)) {
				t.Errorf("%d bytes a second: %d bytes in %s, %v", each, len(got), time.Since(began), err)
			}
		})
	}
}

// tardy answers late, and sends late what it answers.
type tardy struct{ serving }

func (d tardy) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(20 * time.Second)
	resp, err := d.serving.RoundTrip(req)
	resp.Body = io.NopCloser(&late{Reader: resp.Body})
	return resp, err
}

type late struct {
	io.Reader
	once sync.Once
}

func (l *late) Read(p []byte) (int, error) {
	l.once.Do(func() { time.Sleep(20 * time.Second) })
	return l.Reader.Read(p)
}

// TestAnAnswerIsASignOfLife: what it took to come is not held against the body.
func TestAnAnswerIsASignOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := bytes.Repeat([]byte("x"), 1000)
		s, err := storage.Open(t.Context(), "http://cdn.example.org/k", storage.Options{Resumes: 1, Timeout: 30 * time.Second, Now: time.Now, RoundTripper: func(http.RoundTripper) http.RoundTripper {
			return tardy{serving{data}}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, s, "k"); got != string(data) {
			t.Errorf("%d bytes", len(got))
		}
	})
}
