package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// fileBody sends a file through ReadFrom, as backends on disk do.
type fileBody struct {
	f    *os.File
	size int64
}

func (b fileBody) Size() (int64, bool) { return b.size, true }
func (b fileBody) Variant() string     { return "v" }

func (b fileBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	return b.SendRange(ctx, w, 0, b.size)
}

func (b fileBody) SendRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	if _, err := b.f.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	return w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: b.f, N: n})
}

// readFromSpy stands for the server's connection: it sees what would reach
// sendfile.
type readFromSpy struct {
	*httptest.ResponseRecorder
	files, others int
}

func (s *readFromSpy) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			s.files++
			return io.Copy(s.ResponseRecorder, r)
		}
	}
	s.others++
	return io.Copy(s.ResponseRecorder, r)
}

// TestSendfileShape: the server must meet a file under at most one LimitedReader,
// or the kernel's sendfile is lost without a trace.
func TestSendfileShape(t *testing.T) {
	const size = 3*stride + 17
	name := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(name, []byte(strings.Repeat("0123456789abcdef", size/16+1)[:size]), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, c := one("data", fileBody{file, size})
	limited := NewRateLimit(1000, nil).Wrap(NewConcurrencyLimit(10, nil).Wrap(New(f, nil)))
	spy := &readFromSpy{ResponseRecorder: httptest.NewRecorder()}
	limited.ServeHTTP(spy, httptest.NewRequest("GET", "/ipfs/"+c+"?format=car", nil))
	if spy.files != 4 || spy.others != 0 || spy.Body.Len() != size {
		t.Errorf("%d passes of a file, %d of something else, %d bytes", spy.files, spy.others, spy.Body.Len())
	}
	for proto, client := range clients(t) {
		req, err := http.NewRequest("GET", serve(t, New(f, nil))+"/ipfs/"+c+"?format=raw", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=5-%d", size-2))
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 206 || string(got) != spy.Body.String()[5:size-1] {
			t.Errorf("%s: status %d, %d bytes, %v", proto, res.StatusCode, len(got), err)
		}
	}
}

// TestTrace sees each request begin and end once.
func TestTrace(t *testing.T) {
	var started atomic.Int64
	seen := newObserved()
	trace := seen.trace()
	trace.Start = func(*http.Request) { started.Add(1) }
	f, c := one("data", whole("data"))
	h := New(f, &Options{Trace: trace})
	for _, x := range []struct {
		method, target string
		want           Result
	}{
		{"GET", "/ipfs/" + c + "?format=raw", Result{Status: 200, Bytes: 4, Format: "raw", Variant: "v"}},
		{"HEAD", "/ipfs/" + c + "?format=car", Result{Status: 200, Format: "car", Variant: "v"}},
		{"OPTIONS", "/", Result{Status: 204}},
		{"GET", "/ipfs/" + rawCID("no").String() + "?format=car", Result{Status: 404, Format: "car", Bytes: 1}},
	} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(x.method, x.target, nil))
		got := <-seen.results
		if x.want.Status == 404 {
			x.want.Bytes = got.Bytes
		}
		if (got.Err != nil) != (x.want.Status == 404) || got.Elapsed <= 0 {
			t.Errorf("%s %s: %+v", x.method, x.target, got)
		}
		got.Err, got.Elapsed = nil, 0
		if got != x.want {
			t.Errorf("%s %s: %+v, want %+v", x.method, x.target, got, x.want)
		}
	}
	if started.Load() != 4 {
		t.Errorf("started %d times", started.Load())
	}
}
