// Package gatewaytest is the conformance suite of the trustless gateway over any
// [block.Opener].
//
// It restates the groups trustless-block, trustless-car and trustless-car-optional
// of gateway-conformance (https://github.com/ipfs/gateway-conformance, v0.13) over
// the same fixtures, and adds what those leave out: HEAD, conditional requests,
// absence, cut streams and HTTP/2.
package gatewaytest

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/gateway"
)

//go:embed testdata/fixtures.car testdata/hamt-shards.txt
var testdata embed.FS

// Fixtures returns the archive of all DAGs that the suite asks for. Its blocks
// stand in no useful order, and one of them is missing on purpose.
func Fixtures() []byte {
	b, err := testdata.ReadFile("testdata/fixtures.car")
	if err != nil {
		panic(err) // it is part of the program
	}
	return b
}

// Run tests a gateway over what open makes of an archive: an Opener that serves
// each of its blocks, and each DAG below each of them.
func Run(t *testing.T, open func(t *testing.T, car []byte) block.Opener) {
	opener := open(t, Fixtures())
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			s := newServer(t, opener, proto)
			t.Run("Block", s.testBlock)
			t.Run("Ranges", s.testRanges)
			t.Run("CAR", s.testCAR)
			t.Run("Optional", s.testOptional)
			t.Run("Precedence", s.testPrecedence)
			t.Run("Head", s.testHead)
			t.Run("NotModified", s.testNotModified)
			t.Run("Tags", s.testTags)
			t.Run("Refused", s.testRefused)
			t.Run("Cut", s.testCut)
			t.Run("Probe", s.testProbe)
			t.Run("Spelling", s.testSpelling)
		})
	}
}

// server is a gateway and a client of one protocol.
type server struct {
	url    string
	client *http.Client
}

func newServer(t *testing.T, opener block.Opener, proto string) *server {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: gateway.New(opener, nil), Protocols: &protocols}
	go srv.Serve(listener)
	t.Cleanup(func() { srv.Close() })
	var spoken http.Protocols
	spoken.SetHTTP1(proto == "HTTP/1.1")
	spoken.SetUnencryptedHTTP2(proto == "HTTP/2")
	transport := &http.Transport{Protocols: &spoken, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &server{"http://" + listener.Addr().String(), &http.Client{Transport: transport}}
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	length int64 // as announced, or -1
	err    error // of reading the body
}

// do sends a request. Headers are pairs of name and value.
func (s *server) do(t *testing.T, method, target string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil { // a connection cut before its header arrived
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body, res.ContentLength, err}
}

// get is do for a GET that must succeed.
func (s *server) get(t *testing.T, target string, headers ...string) answer {
	t.Helper()
	a := s.do(t, http.MethodGet, target, headers...)
	if a.err != nil || a.status != http.StatusOK {
		t.Fatalf("GET %s %q: status %d, %v: %s", target, headers, a.status, a.err, a.body)
	}
	return a
}

// blocks returns the CIDs of a CAR after verifying all of it.
func blocks(t *testing.T, archive []byte) []string {
	t.Helper()
	cids, err := readCAR(archive)
	if err != nil {
		t.Fatal(err)
	}
	return cids
}

func readCAR(archive []byte) ([]string, error) {
	r, err := car.NewReader(bytes.NewReader(archive), nil)
	if err != nil {
		return nil, err
	}
	var cids []string
	for {
		section, err := r.Next()
		if errors.Is(err, io.EOF) {
			return cids, nil
		}
		if err != nil {
			return cids, err
		}
		data, err := r.Data()
		if err != nil {
			return cids, err
		}
		if _, err := block.New(section.CID, data); err != nil {
			return cids, err
		}
		cids = append(cids, section.CID.String())
	}
}

// expect compares headers, given as pairs of name and value. A value that ends
// or begins with "…" is a prefix or suffix.
func (a answer) expect(t *testing.T, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, want := a.header.Get(pairs[i]), pairs[i+1]
		ok := got == want
		if prefix, cut := strings.CutSuffix(want, "…"); cut {
			ok = strings.HasPrefix(got, prefix)
		} else if suffix, cut := strings.CutPrefix(want, "…"); cut {
			ok = strings.HasSuffix(got, suffix)
		}
		if !ok {
			t.Errorf("%s is %q, want %q", pairs[i], got, want)
		}
	}
}

// with adds parameters to a query.
func with(query string, more ...string) string {
	for i := 0; i < len(more); i += 2 {
		query += "&" + more[i] + "=" + url.QueryEscape(more[i+1])
	}
	return "?" + strings.TrimPrefix(query, "&")
}

// identity returns the text of a raw identity CID of n bytes.
func identity(n int) string {
	hash := append([]byte{0x00, byte(n)}, bytes.Repeat([]byte{'x'}, n)...)
	if n > 127 {
		hash = append([]byte{0x00, byte(n) | 0x80, byte(n >> 7)}, bytes.Repeat([]byte{'x'}, n)...)
	}
	return cid.NewCidV1(cid.Raw, hash).String()
}

func list(parts ...any) []string {
	var out []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			out = append(out, p)
		case []string:
			out = append(out, p...)
		default:
			panic(fmt.Sprintf("list of %T", p))
		}
	}
	return out
}
