// Package faultproxy is an HTTP proxy for tests that stands between a client and a real
// server, an S3 server for instance, and makes things go wrong on demand.
//
//	p, err := faultproxy.Start("http://127.0.0.1:9000")
//	p.Fail(faultproxy.Status(503, "SlowDown").Times(2))
//	// a client of p.URL() meets two answers of 503, and then the server
//
// Requests are passed on as they came, with their Host, because signatures cover that, the
// path, the query and the header. Only answers can be changed.
//
// # Errors
//
// An unreachable server is status 502.
//
// A Proxy is safe for concurrent use. It ends with Close.
package faultproxy

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Fault is something that goes wrong.
type Fault struct {
	match  func(r *http.Request) bool
	left   int // how many requests it meets yet, negative for all
	before func(r *http.Request) error
	answer func(r *http.Request) *http.Response
	alter  func(resp *http.Response)
}

// Times limits a fault to the next n requests that it applies to.
func (f Fault) Times(n int) Fault {
	f.left = n
	return f
}

// On limits a fault to some requests.
func (f Fault) On(match func(r *http.Request) bool) Fault {
	f.match = match
	return f
}

// Method limits a fault to the requests of one method.
func (f Fault) Method(method string) Fault {
	return f.On(func(r *http.Request) bool { return r.Method == method })
}

// Status answers with an error of S3 and does not ask the server.
func Status(status int, code string) Fault {
	return Answer(status, code, nil)
}

// Answer is Status with more header fields.
func Answer(status int, code string, header http.Header) Fault {
	return Fault{left: -1, answer: func(r *http.Request) *http.Response {
		return respond(r, status, code, header)
	}}
}

// Do calls f before a request is passed on.
func Do(f func()) Fault {
	return Fault{left: -1, before: func(*http.Request) error { f(); return nil }}
}

// Delay waits before a request is passed on.
func Delay(d time.Duration) Fault {
	return Fault{left: -1, before: func(r *http.Request) error {
		select {
		case <-time.After(d):
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}}
}

// Silence never answers.
func Silence() Fault {
	return Fault{left: -1, before: func(r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	}}
}

// Alter changes answers of the server.
func Alter(f func(resp *http.Response)) Fault {
	return Fault{left: -1, alter: f}
}

// Header sets a field in the header of answers; an empty value removes it.
func Header(name, value string) Fault {
	return Alter(func(resp *http.Response) {
		if resp.Header.Del(name); value != "" {
			resp.Header.Set(name, value)
		}
	})
}

// Cut breaks the connection after n bytes of the body.
func Cut(n int64) Fault {
	return Alter(func(resp *http.Response) {
		resp.Body = &broken{resp.Body, n, func() error { return io.ErrUnexpectedEOF }}
	})
}

// Stall falls silent after n bytes of the body, until the client goes away.
func Stall(n int64) Fault {
	return Alter(func(resp *http.Response) {
		ctx := resp.Request.Context()
		resp.Body = &broken{resp.Body, n, func() error {
			<-ctx.Done()
			return ctx.Err()
		}}
	})
}

// broken is a body that ends after n bytes.
type broken struct {
	io.ReadCloser
	n   int64
	end func() error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.n <= 0 {
		return 0, b.end()
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.n)])
	b.n -= int64(n)
	return n, err
}

// Request is a request that a proxy met.
type Request struct {
	Method string
	URL    string // path and query
	Header http.Header
}

// Proxy stands before a server.
type Proxy struct {
	http *http.Server
	back *httputil.ReverseProxy
	addr string

	mu       sync.Mutex
	faults   []*Fault
	requests []Request
}

type chosenKey struct{}

// Start starts a proxy of the server at upstream on a free port of the loopback.
func Start(upstream string) (*Proxy, error) {
	u, err := url.Parse(upstream)
	if err != nil || u.Host == "" {
		return nil, errors.New("faultproxy: start: the address of the server is no URL")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: start: %w", err)
	}
	p := &Proxy{addr: l.Addr().String()}
	p.back = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Host = r.In.Host
		},
		Transport:      &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32},
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
		ModifyResponse: modify,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	p.http = &http.Server{Handler: http.HandlerFunc(p.serve), ErrorLog: log.New(io.Discard, "", 0)}
	go p.http.Serve(l)
	return p, nil
}

// URL is the address of the proxy.
func (p *Proxy) URL() string { return "http://" + p.addr }

// Close ends the proxy, and breaks what is under way.
func (p *Proxy) Close() error { return p.http.Close() }

// Fail adds faults. The first that applies to a request meets it.
func (p *Proxy) Fail(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range faults {
		p.faults = append(p.faults, &f)
	}
}

// Reset forgets all faults and requests.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.requests = nil, nil
}

// Requests returns the requests since the start or Reset.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	f := p.choose(r)
	if f == nil {
		p.back.ServeHTTP(w, r)
		return
	}
	if f.before != nil && f.before(r) != nil {
		panic(http.ErrAbortHandler)
	}
	if f.answer != nil {
		io.Copy(io.Discard, io.LimitReader(r.Body, 64<<20)) // or the client would see a reset
		send(w, r, f.answer(r))
		return
	}
	p.back.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chosenKey{}, f)))
}

// choose records a request and finds its fault.
func (p *Proxy) choose(r *http.Request) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, Request{r.Method, r.URL.RequestURI(), r.Header.Clone()})
	for _, f := range p.faults {
		if f.left != 0 && (f.match == nil || f.match(r)) {
			f.left--
			return f
		}
	}
	return nil
}

func modify(resp *http.Response) error {
	if f, ok := resp.Request.Context().Value(chosenKey{}).(*Fault); ok && f.alter != nil {
		f.alter(resp)
	}
	return nil
}

// xmlError is how S3 says what went wrong.
type xmlError struct {
	XMLName  xml.Name `xml:"Error"`
	Code     string
	Message  string
	Resource string
}

func respond(r *http.Request, status int, code string, header http.Header) *http.Response {
	body, _ := xml.Marshal(xmlError{Code: code, Message: "a fault of the test", Resource: r.URL.Path})
	resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}}
	for name, values := range header {
		resp.Header[name] = values
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func send(w http.ResponseWriter, r *http.Request, resp *http.Response) {
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if r.Method != http.MethodHead {
		io.Copy(w, resp.Body)
	}
}
