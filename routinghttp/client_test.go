package routinghttp_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/routinghttp"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

func newClient(t testing.TB, base string, o *routinghttp.ClientOptions) *routinghttp.Client {
	t.Helper()
	c, err := routinghttp.NewClient(base, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answering answers every request with the same.
func answering(t testing.TB, status int, media, text string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if media != "" {
			w.Header().Set("Content-Type", media)
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

const record = `{"Schema":"peer","ID":"12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt","Addrs":["/ip4/192.0.2.1/tcp/1"],"Protocols":["transport-bitswap"]}`

func TestAnswers(t *testing.T) {
	once := &routinghttp.ClientOptions{Retries: -1}
	for _, tt := range []struct {
		name        string
		status      int
		media, text string
		want        int // results
		wantErr     error
	}{
		{"lines", 200, "application/x-ndjson", record + "\n" + record + "\n", 2, nil},
		{"lines without an end", 200, "application/x-ndjson; charset=utf-8", record + "\n\n" + record, 2, nil},
		{"no lines", 200, "application/x-ndjson", "", 0, nil},
		{"document", 200, "application/json", `{"Providers":[` + record + `,` + record + `]}`, 2, nil},
		{"empty", 200, "application/json", `{"Providers":[]}`, 0, nil},
		{"null", 200, "application/json", `{"Providers":null}`, 0, nil},
		{"404", 404, "text/plain", "none", 0, nil},
		{"nothing said", 200, "application/json", `{}`, 0, digest.ErrMismatch},
		{"another document", 200, "application/json", `{"error":"overloaded"}`, 0, digest.ErrMismatch},
		{"no list", 200, "application/json", `{"Providers":{}}`, 0, digest.ErrMismatch},
		{"a page", 200, "text/html", "<html>", 0, digest.ErrMismatch},
		{"cut", 200, "application/json", `{"Providers":[` + record, 0, digest.ErrMismatch},
		{"two documents", 200, "application/json", `{"Providers":[]}{}`, 0, digest.ErrMismatch},
		{"a line that is cut", 200, "application/x-ndjson", record + "\n" + record[:40], 1, digest.ErrMismatch},
		{"a null record", 200, "application/json", `{"Providers":[null]}`, 0, digest.ErrMismatch},
		{"no schema", 200, "application/x-ndjson", `{"ID":"x"}`, 0, digest.ErrMismatch},
		{"another schema", 200, "application/x-ndjson", `{"Schema":"future","ID":7}` + "\n" + record, 1, nil},
		{"another schema, otherwise well formed", 200, "application/x-ndjson", `{"Schema":"future","ID":"x"}` + "\n" + record, 1, nil},
		{"no peer id", 200, "application/x-ndjson", `{"Schema":"peer"}`, 0, digest.ErrMismatch},
		{"a long peer id", 200, "application/x-ndjson", `{"Schema":"peer","ID":"1` + strings.Repeat("2", 500) + `"}`, 0, digest.ErrMismatch},
		{"an address to come", 200, "application/x-ndjson", strings.Replace(record, "/ip4/192", `/future/1","/ip4/192`, 1), 1, nil},
		{"a long, valid peer id", 200, "application/x-ndjson", `{"Schema":"peer","ID":"` + longID(t) + `"}`, 0, digest.ErrMismatch},
		{"a long, valid line", 200, "application/x-ndjson", record + strings.Repeat(" ", 1<<20) + "\n", 0, digest.ErrMismatch},
		{"too many protocols", 200, "application/x-ndjson", strings.Replace(record, `"transport-bitswap"`, strings.Repeat(`"x",`, 1024)+`"x"`, 1), 0, digest.ErrMismatch},
		{"our fault", 422, "text/plain", "not a CID", 0, fs.ErrInvalid},
		{"our fault, elsewhere", 400, "text/plain", "not a CID", 0, fs.ErrInvalid},
		{"slow", 504, "text/plain", "", 0, context.DeadlineExceeded},
		{"broken", 500, "text/plain", "", 0, new(routinghttp.Error)},
		{"redirected to nowhere", 302, "", "", 0, new(routinghttp.Error)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := answering(t, tt.status, tt.media, tt.text)
			got, err := collect(newClient(t, s.URL, once).Find(t.Context(), testCID(t).Hash()))
			if len(got) != tt.want {
				t.Errorf("%d results, want %d", len(got), tt.want)
			}
			var answer *routinghttp.Error
			if _, any := tt.wantErr.(*routinghttp.Error); any {
				if !errors.As(err, &answer) || answer.Status != tt.status || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("error %v", err)
				}
			} else if !errors.Is(err, tt.wantErr) {
				t.Errorf("error %v, want %v", err, tt.wantErr)
			}
		})
	}
}

// longID is a peer id of many bytes, which is well formed otherwise.
func longID(t *testing.T) string {
	t.Helper()
	mh, err := multihash.Sum(make([]byte, 300), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	text := cid.NewCidV1(cid.Libp2pKey, mh).String()
	if _, err := peer.Decode(text); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCanceled: the reason why a lookup was canceled is the error.
func TestCanceled(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	reason := errors.New("enough was found")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(reason) })
	if _, err := collect(newClient(t, s.URL, nil).Find(ctx, testCID(t).Hash())); !errors.Is(err, reason) {
		t.Error(err)
	}
}

// TestStatusesRoundTrip: what the server tells by a status is what the client returns.
func TestStatusesRoundTrip(t *testing.T) {
	once := &routinghttp.ClientOptions{Retries: -1}
	for _, want := range []error{context.DeadlineExceeded, fs.ErrInvalid} {
		s := serve(t, finder{err: want}, nil)
		base, isSlow := s.URL, want == context.DeadlineExceeded
		if !isSlow { // the question is at fault
			once = &routinghttp.ClientOptions{Retries: -1, Filter: filter.Filter{Addrs: []string{strings.Repeat("x", 64)}}}
		}
		if _, err := collect(newClient(t, base, once).Find(t.Context(), testCID(t).Hash())); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// TestCutLine: a connection that ends within a line is a failure of the connection.
func TestCutLine(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, record+"\n"+record[:40])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	got, err := collect(newClient(t, s.URL, nil).Find(t.Context(), testCID(t).Hash()))
	if len(got) != 1 || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, digest.ErrMismatch) {
		t.Errorf("%d results, %v", len(got), err)
	}
}

// endless is an answer that never ends, if nobody ends it.
func endless(t *testing.T, media, text string, zip bool) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", media)
		out := io.Writer(w)
		if zip {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			out = z
		}
		for r.Context().Err() == nil {
			if _, err := io.WriteString(out, text); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestBounds(t *testing.T) {
	for name, s := range map[string]*httptest.Server{
		"one line":       endless(t, "application/x-ndjson", strings.Repeat("x", 1<<10), false),
		"many lines":     endless(t, "application/x-ndjson", strings.Repeat("\n", 1<<10), false),
		"many records":   endless(t, "application/x-ndjson", record+"\n", false),
		"document":       endless(t, "application/json", `{"Providers":[]`+strings.Repeat(" ", 1<<10), false),
		"little of much": endless(t, "application/json", strings.Repeat(" ", 64<<10), true),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s.URL, &routinghttp.ClientOptions{MaxLine: 64 << 10, MaxAnswer: 1 << 20})
			if _, err := collect(c.Find(t.Context(), testCID(t).Hash())); !errors.Is(err, digest.ErrMismatch) {
				t.Error(err)
			}
		})
	}
}

func TestClientTimeout(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, record+"\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	got, err := collect(newClient(t, s.URL, &routinghttp.ClientOptions{Timeout: 200 * time.Millisecond}).Find(t.Context(), testCID(t).Hash()))
	if len(got) != 1 || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, digest.ErrMismatch) {
		t.Errorf("%d results, %v", len(got), err)
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct{ status, failures, asked int }{
		{503, 2, 3}, {429, 1, 2}, {502, 3, 3}, {504, 1, 1}, {422, 1, 1}, {500, 1, 1},
	} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked <= tt.failures {
				w.WriteHeader(tt.status)
				return
			}
			w.Header().Set("Content-Type", "application/x-ndjson")
			io.WriteString(w, record)
		}))
		got, err := collect(newClient(t, s.URL, nil).Find(t.Context(), testCID(t).Hash()))
		if asked != tt.asked || (err == nil) != (tt.failures < tt.asked) || (err == nil) != (len(got) == 1) {
			t.Errorf("%+v: %d requests, %d results, %v", tt, asked, len(got), err)
		}
		s.Close()
	}
}

func TestBusy(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "too many", http.StatusTooManyRequests)
	}))
	defer s.Close()
	_, err := collect(newClient(t, s.URL, &routinghttp.ClientOptions{Retries: -1}).Find(t.Context(), testCID(t).Hash()))
	if e := (*routinghttp.Error)(nil); !errors.As(err, &e) || *e != (routinghttp.Error{Status: 429, Reason: "too many", RetryAfter: 7 * time.Second}) {
		t.Errorf("%v", err)
	}
}

// TestRequest: requests are the same for the same question, for the sake of caches.
func TestRequest(t *testing.T) {
	var uri, user, agent, accept string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri, agent, accept = r.RequestURI, r.UserAgent(), r.Header.Get("Accept")
		user, _, _ = r.BasicAuth()
		w.WriteHeader(http.StatusNotFound)
	}))
	defer s.Close()
	for _, suffix := range []string{"/a", "/a/", "/a/routing/v1", "/a/routing/v1/?token=hunter2"} {
		c := newClient(t, strings.Replace(s.URL, "//", "//name:hunter2@", 1)+suffix, &routinghttp.ClientOptions{
			Header: http.Header{"user-agent": {"x"}},
			Filter: filter.Filter{Addrs: []string{"tcp", "!IP6", "quic-v1"}, Protocols: []string{"unknown", "a/b", "unknown"}},
		})
		if _, err := collect(c.Find(t.Context(), testCID(t).Hash())); err != nil {
			t.Fatal(err)
		}
		want := "/a" + path(t) + "?filter-addrs=%21ip6,quic-v1,tcp&filter-protocols=a%2Fb,unknown"
		if uri != want || user != "name" || agent != "x" || !strings.HasPrefix(accept, "application/x-ndjson,") {
			t.Errorf("%s by %q of %q, accepts %s; want %s", uri, agent, user, accept, want)
		}
		if c.Name() != s.URL+"/a" {
			t.Errorf("name %s", c.Name())
		}
	}
}

// TestSecrets: no error tells a password, and none leads to another host with one.
func TestSecrets(t *testing.T) {
	for _, base := range []string{"http://name:hunter2@127.0.0.1:1/?hunter2", "ftp://name:hunter2@host", "http://name:hunter2@ho st/", "http://name:hunter2@/", "hunter2"} {
		c, err := routinghttp.NewClient(base, &routinghttp.ClientOptions{Retries: -1})
		if err == nil {
			_, err = collect(c.Find(t.Context(), testCID(t).Hash()))
		} else if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", base, err)
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "name") {
			t.Errorf("%s: %v", base, err)
		}
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it asked elsewhere") }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer s.Close()
	var answer *routinghttp.Error
	if _, err := collect(newClient(t, s.URL, nil).Find(t.Context(), testCID(t).Hash())); !errors.As(err, &answer) || answer.Status != 302 {
		t.Error(err)
	}
}

// TestReason: what a server says is printed without what does harm to terminals, and not all of it.
func TestReason(t *testing.T) {
	s := answering(t, 422, "text/plain", "no\x1b[31m\n"+strings.Repeat("x", 1<<20))
	_, err := collect(newClient(t, s.URL, nil).Find(t.Context(), testCID(t).Hash()))
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
		t.Errorf("%.2000q", err)
	}
}

// TestMuchMetadata: the protocols of a record are all returned, in several results if need be.
func TestMuchMetadata(t *testing.T) {
	protocols := []ad.Protocol{bitswap, gateway}
	for _, code := range []ad.Code{0x300001, 0x300002} {
		protocols = append(protocols, ad.Protocol{Code: code, Payload: []byte(strings.Repeat("x", 900))})
	}
	in := sample(t)[0]
	var results []ipni.Result
	for _, p := range protocols {
		in.Metadata = testMetadata(t, p)
		results = append(results, in)
	}
	s := serve(t, finder{results: results}, nil)
	got, err := collect(newClient(t, s.URL, nil).Find(t.Context(), testCID(t).Hash()))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	var found []string
	for _, r := range got {
		for p, err := range ad.Protocols(r.Metadata) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, p.Code.String())
		}
	}
	if want := "[transport-bitswap transport-ipfs-gateway-http 0x300001 0x300002]"; fmt.Sprint(found) != want {
		t.Errorf("%v, want %s", found, want)
	}
}
