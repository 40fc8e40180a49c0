package routinghttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/routinghttp"
)

// lines asks s for lines, and returns what comes.
func lines(t *testing.T, s *httptest.Server) *bufio.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", asLines)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return bufio.NewReader(res.Body)
}

// TestStream: a line is sent while the finder still looks, and once more if there is news of the peer.
func TestStream(t *testing.T) {
	step := make(chan struct{})
	in := sample(t)
	s := serve(t, finding(func(ctx context.Context, yield func(ipni.Result, error) bool) {
		for _, r := range in {
			if !yield(r, nil) {
				return
			}
			select {
			case <-step:
			case <-ctx.Done():
				return
			}
		}
	}), nil)
	lines := lines(t, s)
	for i, want := range []string{`"Protocols":["transport-bitswap"]`, `"Protocols":[]`, `"Protocols":["transport-bitswap","transport-graphsync-filecoinv1"]`, `"Protocols":["transport-ipfs-gateway-http"]`} {
		line, err := lines.ReadString('\n') // the finder waits for what follows
		if err != nil || !strings.Contains(line, want) || !strings.Contains(line, in[i].Provider.ID.String()) {
			t.Fatalf("line %d: %s, %v", i, line, err)
		}
		step <- struct{}{}
	}
	step <- struct{}{} // the last result is no news
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

// TestCut: a failure behind the first line does not look like the end.
func TestCut(t *testing.T) {
	sent := make(chan struct{})
	var all sync.WaitGroup
	all.Add(1)
	o := &routinghttp.Options{Done: func(_ *http.Request, d routinghttp.Done) {
		defer all.Done()
		if d.Err == nil || d.Status != 200 || d.Records != 1 || d.First <= 0 || d.Elapsed < d.First {
			t.Errorf("%+v", d)
		}
	}}
	s := serve(t, finding(func(_ context.Context, yield func(ipni.Result, error) bool) {
		yield(sample(t)[0], nil)
		<-sent
		yield(ipni.Result{}, errors.New("broken"))
	}), o)
	lines := lines(t, s)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	close(sent)
	if rest, err := io.ReadAll(lines); err == nil {
		t.Errorf("it looks whole: %q", rest)
	}
	all.Wait()
}

// TestTimeout: an index that never answers costs a bounded time, whether it says so or ends in silence.
func TestTimeout(t *testing.T) {
	for name, silent := range map[string]bool{"silent": true, "loud": false} {
		for _, accept := range []string{asJSON, asLines} {
			t.Run(name+" "+accept, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					res := ask(finding(func(ctx context.Context, yield func(ipni.Result, error) bool) {
						<-ctx.Done()
						if !silent {
							yield(ipni.Result{}, ctx.Err())
						}
					}), nil, "GET", path(t), accept)
					if took := time.Since(began); res.StatusCode != 504 || took != 20*time.Second {
						t.Errorf("status %d after %v", res.StatusCode, took)
					}
				})
			})
		}
	}
}

// TestReaderLeaves: the finder ends when nobody waits for it any more.
func TestReaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := false
		f := finding(func(ctx context.Context, yield func(ipni.Result, error) bool) {
			for yield(sample(t)[0], nil) && ctx.Err() == nil {
				time.Sleep(time.Second)
			}
			ended = true
		})
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path(t), nil).WithContext(ctx)
		r.Header.Set("Accept", asLines)
		time.AfterFunc(5*time.Second, cancel)
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("it ends with %v", v)
				}
			}()
			routinghttp.NewHandler(f, nil).ServeHTTP(w, r)
		}()
		if !ended {
			t.Error("the finder goes on behind the end of the answer")
		}
	})
}

// broken is a connection that nothing can be written to.
type broken struct{ http.ResponseWriter }

func (broken) Write([]byte) (int, error) { return 0, net.ErrClosed }

// TestBrokenConnection: the finder ends before the answer does.
func TestBrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		f := finding(func(ctx context.Context, yield func(ipni.Result, error) bool) {
			if yield(sample(t)[0], nil) {
				<-ctx.Done()
				time.Sleep(time.Second) // what it does to end
			}
			ended = true
		})
		r := httptest.NewRequest("GET", path(t), nil)
		r.Header.Set("Accept", asLines)
		defer func() {
			if v := recover(); v != http.ErrAbortHandler || !ended {
				t.Errorf("it ends with %v, and the finder has ended: %t", v, ended)
			}
		}()
		routinghttp.NewHandler(f, nil).ServeHTTP(broken{httptest.NewRecorder()}, r)
	})
}

// TestPanic: a panic of a finder is one of the request, which the server survives.
func TestPanic(t *testing.T) {
	for _, accept := range []string{asJSON, asLines} {
		func() {
			defer func() {
				if v := recover(); v != "broken" {
					t.Errorf("%s: panic %v", accept, v)
				}
			}()
			ask(finding(func(context.Context, func(ipni.Result, error) bool) { panic("broken") }), nil, "GET", path(t), accept)
		}()
	}
}

// TestStalledReader: who does not read does not hold the answer for ever.
func TestStalledReader(t *testing.T) {
	ended := make(chan error, 1)
	results := many(t, 1<<12)
	s := serve(t, finding(func(ctx context.Context, yield func(ipni.Result, error) bool) {
		for ctx.Err() == nil {
			for i := range results {
				if !yield(results[i], nil) {
					return
				}
				results[i].Provider.Addrs = testAddrs(t, fmt.Sprintf("/dns/%s.example/tcp/%d", strings.Repeat("x", 200), len(results[i].Provider.Addrs)+1))
			}
		}
	}), &routinghttp.Options{Stall: 50 * time.Millisecond, Timeout: -1, Results: 1 << 30, Done: func(_ *http.Request, d routinghttp.Done) { ended <- d.Err }})
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\n\r\n", path(t), asLines)
	if err := <-ended; err == nil {
		t.Error("it ended well")
	}
}
