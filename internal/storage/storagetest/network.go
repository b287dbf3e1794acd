package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Kind is what happens to one HTTP request.
type Kind int

// The faults of a network, and of servers behind it.
const (
	Pass       Kind = iota
	Refuse          // the request is not sent
	LoseAnswer      // the request is carried out, the connection breaks before the answer
	Echo            // the request is carried out twice and the second answer comes back, as after a retry below the client
	CutBody         // the connection breaks after At bytes of the answer's body
	StallBody       // nothing comes after At bytes of the body
	Stall           // no answer ever comes, and the request is not carried out
	Answer          // the request is not sent; Status comes back
	Delay           // the request is carried out after Wait
	EchoLate        // the request is carried out, and once more after Wait, when the client has its answer and went on
)

// Fault is what happens to requests, from the first that matches on.
type Fault struct {
	Kind   Kind
	Method string // "" is any
	Key    string // a part of the path; "" is any
	Query  string // a part of the query, "partNumber=" for one; "" is any
	Skip   int    // so many matching requests pass first
	Times  int    // how many then suffer; 0 is one, negative is all
	At     int64
	Status int
	Header http.Header   // of an Answer
	Body   string        // of an Answer
	Wait   time.Duration // of Delay and EchoLate
}

// Chance is a fault that one in OneIn of the requests suffers, of those that match its Method and Key.
type Chance struct {
	Fault
	OneIn int
}

// HTTPFaults is a network that breaks where a test says so. Use Wrap as storage.Options.RoundTripper.
type HTTPFaults struct {
	late     sync.WaitGroup // echoes on their way
	mu       sync.Mutex     // guards what follows
	faults   []*Fault
	requests []string
	chances  []Chance
	dice     *rand.Rand
	suffered int
}

// AtRandom lets faults happen at random, with the dice of a seed: the same requests in the same order suffer the same.
func (h *HTTPFaults) AtRandom(seed uint64, chances ...Chance) *HTTPFaults {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.chances, h.dice = chances, rand.New(rand.NewPCG(seed, seed))
	return h
}

// Suffered gives the number of requests so far that met a fault.
func (h *HTTPFaults) Suffered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.suffered
}

// Settle waits for the echoes that are still on their way.
func (h *HTTPFaults) Settle() { h.late.Wait() }

// Add lets another fault happen.
func (h *HTTPFaults) Add(f Fault) *HTTPFaults {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	h.faults = append(h.faults, &f)
	return h
}

// Clear forgets the faults and the requests seen.
func (h *HTTPFaults) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults, h.requests, h.chances, h.suffered = nil, nil, nil, 0
}

// Requests gives "METHOD /path" of every request so far, faulty ones included.
func (h *HTTPFaults) Requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.requests...)
}

// Wrap puts the faults in front of a transport.
func (h *HTTPFaults) Wrap(next http.RoundTripper) http.RoundTripper {
	return faultyTransport{h, next}
}

func (h *HTTPFaults) match(req *http.Request) Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, req.Method+" "+req.URL.Path)
	for _, f := range h.faults {
		if f.Times == 0 || !f.meant(req) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Times--
		h.suffered++
		return *f
	}
	for _, c := range h.chances {
		if c.meant(req) && h.dice.IntN(c.OneIn) == 0 {
			h.suffered++
			return c.Fault
		}
	}
	return Fault{}
}

func (f *Fault) meant(req *http.Request) bool {
	return (f.Method == "" || f.Method == req.Method) && strings.Contains(req.URL.Path, f.Key) && strings.Contains(req.URL.RawQuery, f.Query)
}

type faultyTransport struct {
	faults *HTTPFaults
	next   http.RoundTripper
}

func (t faultyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	f := t.faults.match(req)
	switch f.Kind {
	case Refuse:
		return nil, errors.New("injected: connection refused")
	case Stall:
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	case Answer:
		header := f.Header
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{
			StatusCode: f.Status, Status: http.StatusText(f.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header, Body: io.NopCloser(strings.NewReader(f.Body)), ContentLength: int64(len(f.Body)), Request: req,
		}, nil
	case Echo:
		return t.twice(req)
	case EchoLate:
		return t.late(req, f.Wait)
	case Delay:
		if err := sleep(req.Context(), f.Wait); err != nil {
			return nil, err
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case LoseAnswer:
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return nil, errors.New("injected: connection reset")
	case CutBody, StallBody:
		resp.Body = &faultyBody{ReadCloser: resp.Body, left: f.At, stall: f.Kind == StallBody, ctx: req.Context()}
	}
	return resp, nil
}

// again makes a request that can be sent any number of times.
func (t faultyTransport) again(req *http.Request) (func(context.Context) (*http.Response, error), error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) (*http.Response, error) {
		again := req.Clone(ctx)
		if body != nil {
			again.Body = io.NopCloser(bytes.NewReader(body))
		}
		return t.next.RoundTrip(again)
	}, nil
}

func (t faultyTransport) twice(req *http.Request) (*http.Response, error) {
	send, err := t.again(req)
	if err != nil {
		return nil, err
	}
	first, err := send(req.Context())
	if err != nil {
		return nil, err
	}
	io.Copy(io.Discard, first.Body)
	first.Body.Close()
	return send(req.Context())
}

func (t faultyTransport) late(req *http.Request, wait time.Duration) (*http.Response, error) {
	send, err := t.again(req)
	if err != nil {
		return nil, err
	}
	resp, err := send(req.Context())
	t.faults.late.Go(func() {
		ctx := context.WithoutCancel(req.Context())
		sleep(ctx, wait)
		if again, err := send(ctx); err == nil {
			io.Copy(io.Discard, again.Body)
			again.Body.Close()
		}
	})
	return resp, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// faultyBody breaks, or falls silent, after some bytes.
type faultyBody struct {
	io.ReadCloser
	left  int64
	stall bool
	ctx   context.Context
}

func (b *faultyBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.stall {
			<-b.ctx.Done()
			return 0, context.Cause(b.ctx)
		}
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
