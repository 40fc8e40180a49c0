package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// observed collects what a Trace saw.
type observed struct {
	mu      sync.Mutex
	results chan Result
	causes  []Cause
}

func (o *observed) trace() *Trace {
	return &Trace{
		Done: func(_ *http.Request, res Result) { o.results <- res },
		Broken: func(_ *http.Request, cause Cause, _ error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.causes = append(o.causes, cause)
		},
	}
}

func newObserved() *observed { return &observed{results: make(chan Result, 16)} }

// TestCut cuts answers that have begun, on each protocol: the client must see an
// error, and the trace the cause.
func TestCut(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for name, x := range map[string]struct {
		body  fakeBody
		cause Cause
	}{
		"absent":             {fakeBody{data: long, size: 1 << 20, err: fs.ErrNotExist}, CauseAbsent},
		"corrupt":            {fakeBody{data: long, size: 1 << 20, err: digest.ErrMismatch}, CauseCorrupt},
		"other":              {fakeBody{data: long, size: 1 << 20, err: errors.New("fire")}, CauseOther},
		"few bytes sent":     {fakeBody{data: "x", size: 1 << 20, err: errors.New("fire")}, CauseOther},
		"unknown length":     {fakeBody{data: long, size: -1, err: fs.ErrNotExist}, CauseAbsent},
		"unknown, few bytes": {fakeBody{data: "x", size: -1, err: fs.ErrNotExist}, CauseAbsent},
		"from a file":        {fakeBody{data: long, size: 1 << 20, err: fs.ErrNotExist, file: true}, CauseAbsent},
		"too short":          {fakeBody{data: long, size: 1 << 20}, CauseLength},
		"short by a byte":    {fakeBody{data: long, size: int64(len(long)) + 1, file: true}, CauseLength},
	} {
		for proto, client := range clients(t) {
			t.Run(name+"/"+proto, func(t *testing.T) {
				seen := newObserved()
				body := x.body
				f, c := one("data", &body)
				res, err := client.Get(serve(t, New(f, &Options{Trace: seen.trace()})) + "/ipfs/" + c + "?format=car")
				if err == nil {
					defer res.Body.Close()
					_, err = io.Copy(io.Discard, res.Body)
				}
				if err == nil {
					t.Error("the cut answer looks whole")
				}
				got := <-seen.results
				if !got.Cut || got.Status != 200 || got.Err == nil || got.Format != "car" || len(seen.causes) != 1 || seen.causes[0] != x.cause {
					t.Errorf("result %+v, causes %v, want %s", got, seen.causes, x.cause)
				}
			})
		}
	}
}

// TestFailBeforeFirstByte: nothing was sent yet, so the answer is a proper one.
func TestFailBeforeFirstByte(t *testing.T) {
	for name, x := range map[string]struct {
		body   fakeBody
		status int
		header string
	}{
		"absent":         {fakeBody{size: 9, err: fs.ErrNotExist}, 404, ""},
		"corrupt":        {fakeBody{size: 9, err: digest.ErrMismatch}, 500, ""},
		"nothing":        {fakeBody{size: 9}, 500, ""},
		"unknown, empty": {fakeBody{size: -1}, 500, ""},
		"too long":       {fakeBody{data: "longer than promised", size: 9}, 500, ""},
		"too long, file": {fakeBody{data: "longer than promised", size: 9, file: true}, 500, ""},
	} {
		for proto, client := range clients(t) {
			t.Run(name+"/"+proto, func(t *testing.T) {
				body := x.body
				f, c := one("data", &body)
				res, err := client.Get(serve(t, New(f, nil)) + "/ipfs/" + c + "?format=car")
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != x.status || !strings.HasSuffix(string(text), ".\n") {
					t.Errorf("%d %q %v", res.StatusCode, text, err)
				}
				for _, name := range []string{"Etag", "Content-Disposition", "Accept-Ranges", "X-Ipfs-Path", "X-Ipfs-Roots"} {
					if v := res.Header.Get(name); v != "" {
						t.Errorf("the error has %s: %s", name, v)
					}
				}
				if got := res.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("Cache-Control: %s", got)
				}
			})
		}
	}
	for proto, client := range clients(t) {
		f, c := one("data", brokenSource{})
		res, err := client.Get(serve(t, New(f, nil)) + "/ipfs/" + c + "?format=car")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 500 {
			t.Errorf("%s: a source that fails at once gives %d", proto, res.StatusCode)
		}
	}
	f, c := one("data", &fakeBody{data: strings.Repeat("\x00", 5), size: 9, err: nil, variant: "v"})
	f.bodies[rawCID("data")] = brokenRange{f.bodies[rawCID("data")]}
	if w := ask(t, f, "GET", "/ipfs/"+c+"?format=raw", "Range", "bytes=1-3"); w.Code != 500 || w.Header().Get("Content-Range") != "" {
		t.Errorf("range that fails at once: %d %v", w.Code, w.Header())
	}
}

// brokenSource is a body whose file fails at its first byte.
type brokenSource struct{}

func (brokenSource) Size() (int64, bool) { return 9, true }
func (brokenSource) Variant() string     { return "v" }

func (brokenSource) Send(_ context.Context, w io.Writer) (int64, error) {
	return io.Copy(w, io.LimitReader(iotest.ErrReader(errors.New("fire")), 9))
}

type brokenRange struct{ block.Body }

func (brokenRange) SendRange(context.Context, io.Writer, int64, int64) (int64, error) {
	return 0, digest.ErrMismatch
}

// raw10 speaks HTTP/1.0 without keep-alive and reads to the end of the connection.
func raw10(t *testing.T, url, target string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", target)
	all, err := io.ReadAll(conn)
	return string(all), err
}

// TestCutHTTP10: without a length, the end of an HTTP/1.0 answer is the end of
// its connection. Only a reset tells a cut answer from a whole one.
func TestCutHTTP10(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	f, c := one("data", &fakeBody{data: long, size: -1, err: fs.ErrNotExist})
	if all, err := raw10(t, serve(t, New(f, nil)), "/ipfs/"+c+"?format=car"); err == nil {
		t.Errorf("%d bytes, and the end looks proper", len(all))
	}
	f, c = one("data", &fakeBody{data: long, size: -1})
	if all, err := raw10(t, serve(t, New(f, nil)), "/ipfs/"+c+"?format=car"); err != nil || !strings.HasSuffix(all, long) {
		t.Errorf("a whole answer: %d bytes, %v", len(all), err)
	}
}

// TestRequestBody: a body on GET is refused, and the next request on the
// connection is understood.
func TestRequestBody(t *testing.T) {
	f, c := one("data", whole("data"))
	url := serve(t, New(f, nil))
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	smuggled := "GET /ipfs/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	fmt.Fprintf(conn, "GET /ipfs/%s?format=raw HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c, len(smuggled), smuggled)
	fmt.Fprintf(conn, "GET /ipfs/%s?format=raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", c)
	fmt.Fprintf(conn, "GET /ipfs/%s?format=raw HTTP/1.1\r\nHost: x\r\n\r\n", c)
	in := bufio.NewReader(conn)
	for i, want := range []int{400, 400, 200} {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("answer %d: status %d, want %d", i, res.StatusCode, want)
		}
	}
	for proto, client := range clients(t) {
		req, err := http.NewRequest("GET", url+"/ipfs/"+c+"?format=raw", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("%s: status %d, want 400", proto, res.StatusCode)
		}
	}
}

// endless is a body that goes on until its writer fails.
type endless struct {
	ended chan error
}

func (endless) Size() (int64, bool) { return 1 << 40, true }
func (endless) Variant() string     { return "v" }

func (e endless) Send(ctx context.Context, w io.Writer) (int64, error) {
	var n int64
	buf := make([]byte, 32<<10)
	for {
		k, err := w.Write(buf)
		n += int64(k)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			e.ended <- err
			return n, err
		}
	}
}

// TestClientLeaves: the request's context ends with its client.
func TestClientLeaves(t *testing.T) {
	for proto, client := range clients(t) {
		seen := newObserved()
		e := endless{ended: make(chan error, 1)}
		f, c := one("data", e)
		res, err := client.Get(serve(t, New(f, &Options{Trace: seen.trace()})) + "/ipfs/" + c + "?format=car")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Read(make([]byte, 1))
		res.Body.Close()
		<-e.ended
		if got := <-seen.results; !got.Cut || seen.causes[0] != CauseClient {
			t.Errorf("%s: %+v, causes %v", proto, got, seen.causes)
		}
		if err := f.ctx.Err(); err == nil {
			t.Errorf("%s: the context of Open still lives", proto)
		}
	}
}

// TestStalled: a client that takes no bytes is cut; one that takes few is not.
func TestStalled(t *testing.T) {
	for proto, client := range clients(t) {
		seen := newObserved()
		e := endless{ended: make(chan error, 1)}
		f, c := one("data", e)
		res, err := client.Get(serve(t, New(f, &Options{Trace: seen.trace(), IdleTimeout: 200 * time.Millisecond})) + "/ipfs/" + c + "?format=car")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		select {
		case <-e.ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the stalled client holds its connection", proto)
		}
		if got := <-seen.results; !got.Cut || seen.causes[0] != CauseStalled {
			t.Errorf("%s: %+v, causes %v", proto, got, seen.causes)
		}
	}
}

func TestSlowIsNotStalled(t *testing.T) {
	// The last MiBs lie in the buffers of the connection: what is before them takes longer than idle.
	const size, idle = 24 << 20, 600 * time.Millisecond
	for proto, client := range clients(t) {
		for _, file := range []bool{false, true} {
			f, c := one("data", &fakeBody{data: strings.Repeat("x", size), size: size, file: file})
			res, err := client.Get(serve(t, New(f, &Options{IdleTimeout: idle})) + "/ipfs/" + c + "?format=car")
			if err != nil {
				t.Fatal(err)
			}
			began, n := time.Now(), int64(0)
			for err == nil && n < size {
				var k int64
				k, err = io.CopyN(io.Discard, res.Body, 1<<20)
				n += k
				time.Sleep(idle / 10)
			}
			res.Body.Close()
			if err != nil || time.Since(began) < idle {
				t.Errorf("%s, file %v: %d bytes, %v", proto, file, n, err)
			}
		}
	}
}
