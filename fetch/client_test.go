package fetch_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/gateway"
)

func TestNew(t *testing.T) {
	for _, s := range []string{"", "ipfs.io", "ftp://host", "unix:///sock", "http://", "http://:80", "http://host/?a=b", "http://host/#x", "http://u:secret@ho st/", "file:///etc/passwd"} {
		if _, err := fetch.New([]string{s}, nil); err == nil {
			t.Errorf("%q was accepted", s)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells the password: %v", err)
		}
	}
	if _, err := fetch.New(nil, nil); err == nil {
		t.Error("a client without gateways was accepted")
	}
}

var hello, _ = digest.Sum(digest.SHA256, []byte("hello"))

// one fetches the block "hello".
func one(ctx context.Context, c *fetch.Client) (string, error) {
	b, err := block.Get(ctx, c, hello.CID(cid.Raw))
	return string(b.Data), err
}

func open(ctx context.Context, c *fetch.Client) error {
	s, err := c.Open(ctx, block.Selection{Root: hello.CID(cid.Raw), Scope: block.ScopeAll})
	if err == nil {
		_, err = block.Get(ctx, s, hello.CID(cid.Raw))
		s.Close()
	}
	return err
}

func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestRequest(t *testing.T) {
	var got *http.Request
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Write([]byte("hello"))
	})
	url = strings.Replace(url, "http://", "http://me:secret@", 1) + "/a%20b/ipfs/"
	c := client(t, &fetch.Options{UserAgent: "tester/1"}, url)
	data, err := one(t.Context(), c)
	if err != nil || data != "hello" {
		t.Fatalf("%q, %v", data, err)
	}
	if want := "/a%20b/ipfs/" + hello.String() + "?format=raw"; got.RequestURI != want {
		t.Errorf("asked for %s, want %s", got.RequestURI, want)
	}
	user, password, _ := got.BasicAuth()
	if user != "me" || password != "secret" {
		t.Errorf("authenticated as %s:%s", user, password)
	}
	if got.UserAgent() != "tester/1" || got.Header.Get("Accept") != "application/vnd.ipld.raw" {
		t.Errorf("header %v", got.Header)
	}
	sel := block.Selection{Root: hello.CID(cid.Raw), Path: []string{"a/b", "c d?"}, Bytes: &block.ByteRange{From: 1, Open: true}, Dups: true}
	s, err := c.Open(t.Context(), sel)
	if err == nil {
		s.Close()
	}
	if want := "/a%20b/ipfs/" + hello.String() + "/a%2Fb/c%20d%3F?car-dups=y&car-order=dfs&car-version=1&dag-scope=entity&entity-bytes=1%3A%2A&format=car"; got.RequestURI != want {
		t.Errorf("asked for %s,\nwant      %s", got.RequestURI, want)
	}
	if want := "application/vnd.ipld.car; version=1; order=dfs; dups=y"; got.Header.Get("Accept") != want {
		t.Errorf("accepts %s, want %s", got.Header.Get("Accept"), want)
	}
}

func TestErrorsHideCredentials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // refuses connections now
	c := client(t, nil, "http://me:secret@"+l.Addr().String())
	_, err = one(t.Context(), c)
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "me:") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("error %v does not name the gateway", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unreachable gateway says that content is absent: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	var auth []string
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		auth = append(auth, r.Header.Get("Authorization")+r.Header.Get("Referer"))
		w.Write([]byte("hello"))
	})
	home := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/loop"):
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/scheme"):
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, strings.Replace(other, "http://", "http://planted:secret@", 1), http.StatusFound)
		default:
			http.Redirect(w, r, "/away", http.StatusFound)
		}
	})
	home = strings.Replace(home, "http://", "http://me:secret@", 1)
	if data, err := one(t.Context(), client(t, nil, home)); err != nil || data != "hello" {
		t.Errorf("%q, %v", data, err)
	}
	if len(auth) != 1 || auth[0] != "" {
		t.Errorf("the other host was told %q", auth)
	}
	for _, path := range []string{"/loop", "/scheme"} {
		if _, err := one(t.Context(), client(t, nil, home+path)); err == nil || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		name string
		h    http.HandlerFunc
		is   error
	}{
		{"announced too large", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "99999999999") }, block.ErrTooLarge},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, block.ErrTooLarge},
		{"cut", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Write([]byte("hel"))
		}, fetch.ErrIncomplete},
		{"empty", func(w http.ResponseWriter, r *http.Request) {}, digest.ErrMismatch},
		{"other bytes", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hullo")) }, digest.ErrMismatch},
		{"more bytes", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello ")) }, digest.ErrMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := one(t.Context(), client(t, nil, serve(t, tt.h)))
			if !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %v", err, tt.is)
			}
		})
	}
}

// A server that never ends its header, and one that claims a huge section.
func TestEndlessHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				bufio.NewReader(conn).ReadString('\n')
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
				for err := error(nil); err == nil; {
					_, err = io.WriteString(conn, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
				}
			}()
		}
	}()
	if _, err := one(t.Context(), client(t, nil, "http://"+l.Addr().String())); err == nil {
		t.Error("no error")
	}
}

// The client understands what our own gateway says.
func TestStatus(t *testing.T) {
	for _, err := range []error{fs.ErrNotExist, block.ErrNotLink, gateway.ErrBusy, context.DeadlineExceeded} {
		if got := (&fetch.StatusError{Status: gateway.StatusOf(err)}); !errors.Is(got, err) {
			t.Errorf("%v becomes %d and %v", err, got.Status, got.Unwrap())
		}
	}
	for status, want := range map[int]error{410: fs.ErrNotExist, 401: fs.ErrPermission, 403: fs.ErrPermission, 451: fs.ErrPermission, 416: block.ErrRange, 500: nil, 302: nil} {
		if got := (&fetch.StatusError{Status: status}).Unwrap(); !errors.Is(got, want) {
			t.Errorf("%d becomes %v, want %v", status, got, want)
		}
	}
}

func TestHTTP2(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	for name, p := range map[string]*peer{"good": {fixture: f}, "cut": {fixture: f, car: cutAt(0.5)}} {
		t.Run(name, func(t *testing.T) {
			proto := ""
			p.t, p.any = t, func(_ http.ResponseWriter, r *http.Request) bool { proto = r.Proto; return false }
			s := httptest.NewUnstartedServer(p)
			s.EnableHTTP2 = true
			s.StartTLS()
			defer s.Close()
			_, err := readFile(t.Context(), client(t, &fetch.Options{Transport: s.Client().Transport}, s.URL), f)
			if (name == "cut") != errors.Is(err, fetch.ErrIncomplete) {
				t.Errorf("error %v", err)
			}
			if proto != "HTTP/2.0" {
				t.Errorf("spoke %s", proto)
			}
		})
	}
}

// roundTrip is a gateway without a network, for tests of time.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func response(status int, body io.Reader, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body), ContentLength: -1}
}

// drip gives a byte every step, until ctx ends.
type drip struct {
	ctx  context.Context
	step time.Duration
}

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(d.step):
		p[0] = 1
		return 1, nil
	}
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		name string
		rt   roundTrip
		want time.Duration
	}{
		{"no header", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 30 * time.Second},
		{"no byte", func(r *http.Request) (*http.Response, error) {
			return response(200, drip{r.Context(), time.Hour}), nil
		}, 30 * time.Second},
		{"a byte now and then", func(r *http.Request) (*http.Response, error) {
			return response(200, drip{r.Context(), 10 * time.Second}), nil
		}, 2 * time.Minute},
	}
	for _, tt := range tests {
		for kind, do := range map[string]func(context.Context, *fetch.Client) error{
			"block": func(ctx context.Context, c *fetch.Client) error { _, err := one(ctx, c); return err },
			"car":   open,
		} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					err := do(t.Context(), client(t, &fetch.Options{Transport: tt.rt}, "http://x"))
					if !errors.Is(err, fetch.ErrStalled) {
						t.Errorf("error %v", err)
					}
					limit := tt.want
					if kind == "car" {
						limit *= 2 // the CAR, and then the block
					}
					if took := time.Since(start); took < tt.want || took > limit {
						t.Errorf("took %v, want %v", took, tt.want)
					}
				})
			})
		}
	}
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		busy   int // answers of 429 before the good one
		want   time.Duration
		ok     bool
	}{
		{"seconds", []string{"Retry-After", "5"}, 1, 5 * time.Second, true},
		{"no hint", nil, 2, 3 * time.Second, true},
		{"too long", []string{"Retry-After", "3600"}, 1, 0, false},
		{"too often", []string{"Retry-After", "5"}, 3, 10 * time.Second, false},
		{"nonsense", []string{"Retry-After", "-7"}, 1, time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := client(t, &fetch.Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					if n++; n <= tt.busy {
						return response(429, strings.NewReader(""), tt.header...), nil
					}
					return response(200, strings.NewReader("hello")), nil
				})}, "http://x")
				start := time.Now()
				_, err := one(t.Context(), c)
				if (err == nil) != tt.ok || time.Since(start) != tt.want {
					t.Errorf("error %v after %v, want %v", err, time.Since(start), tt.want)
				}
			})
		})
	}
}

// A caller that gives up is told its own reason, at once, and no other gateway is asked.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := roundTrip(func(r *http.Request) (*http.Response, error) {
			n++
			return response(200, drip{r.Context(), time.Hour}), nil
		})
		mine := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, mine)
		defer cancel()
		c := client(t, &fetch.Options{Transport: rt}, "http://a", "http://b")
		if _, err := one(ctx, c); !errors.Is(err, mine) || n != 1 {
			t.Errorf("error %v after %d requests", err, n)
		}
	})
}

func TestTrace(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	p := &peer{fixture: f, raw: f.mem, car: cutAt(0.5)}
	var requests, bytes, blocks, fallbacks int
	o := &fetch.Options{Trace: &fetch.Trace{
		Request:  func(string, string) { requests++ },
		Bytes:    func(n int) { bytes += n },
		Block:    func(digest.Digest, int) { blocks++ },
		Fallback: func(string, error) { fallbacks++ },
	}}
	cids, err := walkFile(t.Context(), client(t, o, p.start(t)), f)
	if err != nil {
		t.Fatal(err)
	}
	if blocks != len(cids) || requests != 1+int(p.raws.Load()) || fallbacks != 1 || bytes < 250<<10 {
		t.Errorf("%d of %d blocks, %d requests, %d fallbacks, %d bytes", blocks, len(cids), requests, fallbacks, bytes)
	}
}
