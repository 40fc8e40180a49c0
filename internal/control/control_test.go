package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/kvtest"
	"github.com/hashstream/hashstream/kv/memkv"
)

// serve runs a node's control socket in home until the test ends or stop is called.
func serve(t testing.TB, home string, s *Server) (stop func()) {
	t.Helper()
	l, err := Listen(home)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, home string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestClient holds the client to what every store must do.
func TestClient(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		home := t.TempDir()
		serve(t, home, NewServer(memkv.New(), nil))
		return dial(t, home)
	})
}

func TestStatus(t *testing.T) {
	home := t.TempDir()
	want := Status{Version: "v1", PID: 7, Started: time.Unix(1700000000, 0).UTC(), Home: home, Index: "pebble:/i", Packs: "file:/p",
		Addresses: map[string]string{"gateway": "http://127.0.0.1:8080"}}
	serve(t, home, NewServer(memkv.New(), &Options{Status: func() Status { return want }}))
	got, err := dial(t, home).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if up := got.Uptime(time.Unix(1700000090, 5)); up != 90*time.Second {
		t.Errorf("uptime %v", up)
	}
}

// TestUpdateConcurrently counts with many clients: a lost update would show.
func TestUpdateConcurrently(t *testing.T) {
	home := t.TempDir()
	serve(t, home, NewServer(memkv.New(), nil))
	const clients, times = 4, 25
	var wg sync.WaitGroup
	for range clients {
		c := dial(t, home)
		wg.Go(func() {
			for range times {
				err := c.Update(t.Context(), []byte("n"), func(old []byte) ([]byte, error) { return append(old, '.'), nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := dial(t, home).Get(t.Context(), []byte("n"))
	if err != nil || len(got) != clients*times {
		t.Errorf("%d updates are there, want %d (%v)", len(got), clients*times, err)
	}
}

// TestUpdateEmpty tells an empty value from an absent one.
func TestUpdateEmpty(t *testing.T) {
	home := t.TempDir()
	serve(t, home, NewServer(memkv.New(), nil))
	c := dial(t, home)
	var seen []string
	for _, next := range [][]byte{{}, []byte("x"), nil, {}} {
		err := c.Update(t.Context(), []byte("k"), func(old []byte) ([]byte, error) {
			seen = append(seen, fmt.Sprintf("%q %t", old, old == nil))
			return next, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`"" true`, `"" false`, `"x" false`, `"" true`}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestDo(t *testing.T) {
	home := t.TempDir()
	started := make(chan struct{})
	stopped := make(chan error, 1)
	serve(t, home, NewServer(memkv.New(), &Options{Commands: map[string]Command{
		"echo": func(_ context.Context, args []byte, out io.Writer) error {
			_, err := out.Write(bytes.Repeat(args, 100_000)) // more than a part holds
			return err
		},
		"fail": func(_ context.Context, _ []byte, out io.Writer) error {
			_, _ = io.WriteString(out, "so far")
			return fmt.Errorf("pack p: %w", digest.ErrMismatch)
		},
		"wait": func(ctx context.Context, _ []byte, out io.Writer) error {
			_, _ = io.WriteString(out, "working") // must arrive before the end
			close(started)
			<-ctx.Done()
			stopped <- ctx.Err()
			return ctx.Err()
		},
	}}))
	c := dial(t, home)
	var out bytes.Buffer
	if err := c.Do(t.Context(), "echo", []byte("hello"), &out); err != nil || out.String() != strings.Repeat("hello", 100_000) {
		t.Errorf("echo wrote %d bytes, %v", out.Len(), err)
	}
	out.Reset()
	err := c.Do(t.Context(), "fail", nil, &out)
	if !errors.Is(err, digest.ErrMismatch) || out.String() != "so far" || !strings.Contains(err.Error(), "pack p") {
		t.Errorf("fail: %v after %q", err, out.String())
	}
	if err := c.Do(t.Context(), "dance", nil, io.Discard); !errors.Is(err, ErrNoCommand) {
		t.Errorf("unknown command: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	early := writerFunc(func(p []byte) (int, error) {
		<-started
		cancel()
		return len(p), nil
	})
	if err := c.Do(ctx, "wait", nil, early); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled command: %v", err)
	}
	if err := <-stopped; err == nil {
		t.Error("the command was not stopped")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestErrorsCrossTheWire ties the mapping to its inverse.
func TestErrorsCrossTheWire(t *testing.T) {
	for _, want := range []error{fs.ErrNotExist, fs.ErrInvalid, digest.ErrMismatch, ErrTooLarge, ErrMalformed, ErrNoCommand, errConflict} {
		got := errorOf(statusOf(fmt.Errorf("at work: %w", want)), "text")
		if !errors.Is(got, want) || got.Error() != "text" {
			t.Errorf("%v comes back as %v", want, got)
		}
	}
	if got := errorOf(statusOf(io.ErrClosedPipe), "text"); got.Error() != "text" || errors.Is(got, fs.ErrNotExist) {
		t.Errorf("other errors come back as %v", got)
	}
}

// broken fails every call, and a scan after one pair.
type broken struct{ kv.Store }

func (broken) Get(context.Context, []byte) ([]byte, error) { return nil, io.ErrClosedPipe }
func (broken) Batch(context.Context, []kv.Op) error        { return fs.ErrInvalid }
func (broken) Scan(context.Context, kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		_ = yield(kv.Pair{Key: []byte("a")}, nil) && yield(kv.Pair{}, digest.ErrMismatch)
	}
}

func TestStoreErrors(t *testing.T) {
	home := t.TempDir()
	serve(t, home, NewServer(broken{}, nil))
	c := dial(t, home)
	if _, err := c.Get(t.Context(), []byte("k")); err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
		t.Errorf("get: %v", err)
	}
	if err := c.Batch(t.Context(), nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("batch: %v", err)
	}
	pairs := 0
	var last error
	for _, err := range c.Scan(t.Context(), kv.Range{}) {
		if err == nil {
			pairs++
		}
		last = err
	}
	if pairs != 1 || !errors.Is(last, digest.ErrMismatch) {
		t.Errorf("scan: %d pairs, %v", pairs, last)
	}
}

func TestLimits(t *testing.T) {
	home := t.TempDir()
	store := memkv.New()
	serve(t, home, NewServer(store, nil))
	c := dial(t, home)
	long := make([]byte, MaxKey+1)
	if _, err := c.Get(t.Context(), long); !errors.Is(err, ErrTooLarge) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.call(t.Context(), "/kv/get", long); !errors.Is(err, ErrTooLarge) {
		t.Errorf("get, judged by the server: %v", err)
	}
	if _, err := c.call(t.Context(), "/kv/get", make([]byte, MaxKey+1000)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("get of a body over the limit: %v", err)
	}
	half := make([]byte, MaxBatch/2)
	if err := c.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), half), kv.Put([]byte("b"), half)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("batch: %v", err)
	}
	if _, err := c.Get(t.Context(), []byte("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused batch left something: %v", err)
	}
	if _, err := c.call(t.Context(), "/kv/batch", []byte{5, 0, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a batch that is cut off: %v", err)
	}
	if err := c.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), half)}); err != nil {
		t.Errorf("half a batch: %v", err)
	}
	if got, err := c.Get(t.Context(), []byte("a")); err != nil || len(got) != len(half) {
		t.Errorf("got %d bytes back, %v", len(got), err)
	}
}

// TestForeignServer: whatever answers without the header is no node.
func TestForeignServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	c := newClient(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", other.Listener.Addr().String())
	})
	defer c.Close()
	if _, err := c.Get(t.Context(), []byte("k")); !errors.Is(err, ErrMalformed) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get from another server: %v", err)
	}
}

// TestCutAnswer: a scan that ends without its end part is an error.
func TestCutAnswer(t *testing.T) {
	whole := append(appendField(appendField([]byte{tagData}, []byte("k")), []byte("v")), tagEnd)
	for n := range len(whole) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(versionHeader, version)
			_, _ = w.Write(whole[:n])
		}))
		c := newClient(func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		})
		var last error
		for _, err := range c.Scan(t.Context(), kv.Range{}) {
			last = err
		}
		if !errors.Is(last, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), last)
		}
		_ = c.Close()
		server.Close()
	}
}

func Example() {
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The node.
	l, err := Listen(home)
	if err != nil {
		panic(err)
	}
	node := NewServer(memkv.New(), &Options{Status: func() Status { return Status{Version: "v1.2.3"} }})
	go node.Serve(ctx, l)

	// A command in another process.
	c, err := Dial(ctx, home)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	status, _ := c.Status(ctx)
	_ = c.Batch(ctx, []kv.Op{kv.Put([]byte("k"), []byte("v"))})
	value, err := c.Get(ctx, []byte("k"))
	fmt.Println(status.Version, string(value), err)
	// Output: v1.2.3 v <nil>
}

func TestStatusJSON(t *testing.T) {
	data, err := json.Marshal(Status{Version: "v", PID: 1, Home: "/h", Index: "mem:", Packs: "mem:"})
	want := `{"version":"v","pid":1,"started":"0001-01-01T00:00:00Z","home":"/h","index":"mem:","packs":"mem:"}`
	if err != nil || string(data) != want {
		t.Errorf("%s, %v", data, err)
	}
}
