package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
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
)

// Fault is what happens to requests, from the first that matches on.
type Fault struct {
	Kind   Kind
	Method string // "" is any
	Key    string // a part of the path; "" is any
	Skip   int    // so many matching requests pass first
	Times  int    // how many then suffer; 0 is one, negative is all
	At     int64
	Status int
	Header http.Header // of an Answer
}

// HTTPFaults is a network that breaks where a test says so. Use Wrap as storage.Options.RoundTripper.
type HTTPFaults struct {
	mu       sync.Mutex // guards what follows
	faults   []*Fault
	requests []string
}

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
	h.faults, h.requests = nil, nil
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
		if f.Times == 0 || f.Method != "" && f.Method != req.Method || !strings.Contains(req.URL.Path, f.Key) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Times--
		return *f
	}
	return Fault{}
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
			Header: header, Body: http.NoBody, Request: req,
		}, nil
	case Echo:
		return t.twice(req)
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

func (t faultyTransport) twice(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	once := func() (*http.Response, error) {
		again := req.Clone(req.Context())
		if body != nil {
			again.Body = io.NopCloser(bytes.NewReader(body))
		}
		return t.next.RoundTrip(again)
	}
	first, err := once()
	if err != nil {
		return nil, err
	}
	io.Copy(io.Discard, first.Body)
	first.Body.Close()
	return once()
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
