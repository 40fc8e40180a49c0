package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/digest"
)

// TestStatus ties both directions: what a server says and what a client makes of it.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		back   error // what ErrorOf(status) matches; nil: nothing in particular
	}{
		{fs.ErrNotExist, 404, fs.ErrNotExist},
		{fs.ErrPermission, 403, fs.ErrPermission},
		{fs.ErrInvalid, 400, fs.ErrInvalid},
		{fs.ErrExist, 409, fs.ErrExist},
		{ErrBusy, 503, ErrBusy},
		{errors.ErrUnsupported, 501, errors.ErrUnsupported},
		{context.DeadlineExceeded, 504, context.DeadlineExceeded},
		{context.Canceled, 503, ErrBusy},
		{digest.ErrMismatch, 502, nil},
		{errors.New("disk on fire"), 500, nil},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, 500, nil},
		{&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrInvalid}, 500, nil},
		{&os.LinkError{Op: "link", Old: "/x", New: "/y", Err: fs.ErrExist}, 500, nil},
		{&os.SyscallError{Syscall: "sync", Err: errors.ErrUnsupported}, 500, nil},
		{syscall.ENOENT, 500, nil},
		{syscall.ENOTSUP, 500, nil},
		{syscall.ENOSPC, 507, nil},
		{errors.Join(context.DeadlineExceeded, syscall.EIO), 504, nil},
		{errors.Join(fs.ErrNotExist, digest.ErrMismatch), 502, nil},
		{errors.Join(fs.ErrNotExist, context.DeadlineExceeded), 504, nil},
		{&http.MaxBytesError{Limit: 1}, 413, fs.ErrInvalid},
		{&Error{Status: 429}, 429, ErrBusy},
		{&Error{Status: 418}, 418, nil},
		{&Error{Status: 404, remote: true}, 404, nil},
		{&Error{Status: 403, remote: true}, 502, nil},
		{&Error{Status: 400, remote: true}, 502, nil},
		{&Error{Status: 500, remote: true}, 502, nil},
		{&Error{Status: 429, remote: true}, 503, nil},
		{&Error{Status: 504, remote: true}, 504, nil},
	} {
		wrapped := fmt.Errorf("store: find it: %w", c.err)
		if got := StatusOf(wrapped); got != c.status {
			t.Errorf("StatusOf(%v) = %d, want %d", c.err, got, c.status)
		}
		if back := ErrorOf(c.status); c.back != nil && !errors.Is(back, c.back) {
			t.Errorf("ErrorOf(%d) = %v, want a match of %v", c.status, back, c.back)
		}
	}
	if StatusOf(nil) != 200 || ErrorOf(204) != nil {
		t.Error("success is no error")
	}
	for status := 400; status < 600; status++ {
		if got := StatusOf(ErrorOf(status)); got != status {
			t.Errorf("StatusOf(ErrorOf(%d)) = %d", status, got)
		}
		if got := LookupStatus(ErrorOf(status)); got == 404 || got == 500 {
			t.Errorf("LookupStatus(ErrorOf(%d)) = %d", status, got)
		}
	}
}

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err         error
		text, retry string
	}{
		{errors.New("secret path"), "Internal Server Error", ""},
		{Refuse(400, "no %s", "way"), "no way", ""},
		{&Error{Status: 503, Reason: "full", RetryAfter: 1500 * time.Millisecond}, "full", "2"},
		{ErrBusy, "Service Unavailable", "1"},
		{&Error{Status: 404, Reason: "what it said", remote: true}, "Not Found", ""},
	} {
		w := httptest.NewRecorder()
		WriteError(w, httptest.NewRequest("GET", "/", nil), StatusOf(c.err), c.err, nil)
		if got := strings.TrimSpace(w.Body.String()); got != c.text || w.Code != StatusOf(c.err) {
			t.Errorf("%v: %d %q", c.err, w.Code, got)
		}
		if h := w.Header(); h.Get("Retry-After") != c.retry || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %v", c.err, h)
		}
	}
}

// roundTripper answers without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func caller(t *testing.T, o *CallerOptions, f roundTripper) *Caller {
	t.Helper()
	o.Transport = f
	c, err := NewCaller("http://user:secret@index.example/at/?key=hidden", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(status int, header http.Header, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		status, calls int
	}{{200, 1}, {404, 1}, {400, 1}, {403, 1}, {500, 1}, {502, 3}, {503, 3}, {429, 3}, {504, 3}, {0, 3}} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			c2 := caller(t, &CallerOptions{}, func(r *http.Request) (*http.Response, error) {
				calls.Add(1)
				if got, _ := io.ReadAll(r.Body); string(got) != "body" || r.URL.Path != "/at/x" {
					t.Errorf("%s: body %q", r.URL, got)
				}
				if c.status == 0 {
					return nil, errors.New("connection refused")
				}
				return answer(c.status, http.Header{"Retry-After": {"1"}}, "why"), nil
			})
			began := time.Now()
			res, err := c2.Do(t.Context(), Call{Method: "PUT", Path: "/x", Length: 4, Body: func() io.Reader { return strings.NewReader("body") }})
			if err == nil {
				res.Body.Close()
			}
			if int(calls.Load()) != c.calls || (err == nil) != (c.status == 200) {
				t.Errorf("%d: %d calls, %v", c.status, calls.Load(), err)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "hidden")) {
				t.Errorf("a credential is told: %v", err)
			}
			if e := (*Error)(nil); c.status >= 400 && (!errors.As(err, &e) || e.Status != c.status || e.RetryAfter != time.Second) {
				t.Errorf("%d: %v", c.status, err)
			}
			if waited := time.Since(began); c.calls == 3 && (c.status > 0 && waited < 2*time.Second || waited > 10*time.Second) {
				t.Errorf("%d: waited %v", c.status, waited)
			}
		})
	}
}

// Who asks to be left alone for a while is, or is not asked again at all.
func TestRetryAfter(t *testing.T) {
	for after, calls := range map[int]int{3: 3, 5: 3, 6: 1, 3600: 1} {
		synctest.Test(t, func(t *testing.T) {
			n, last := 0, time.Time{}
			c := caller(t, &CallerOptions{}, func(*http.Request) (*http.Response, error) {
				if now := time.Now(); n > 0 && now.Sub(last) < time.Duration(after)*time.Second {
					t.Errorf("asked again after %v instead of %d s", now.Sub(last), after)
				}
				n, last = n+1, time.Now()
				return answer(503, http.Header{"Retry-After": {fmt.Sprint(after)}}, ""), nil
			})
			if _, err := c.Do(t.Context(), Call{Method: "GET", Path: "/x"}); err == nil || n != calls {
				t.Errorf("%d s: %d calls, %v, want %d", after, n, err, calls)
			}
		})
	}
}

// stalled is a body that never ends until it is cancelled.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, context.Cause(s.ctx) }
func (s stalled) Close() error             { return nil }

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &CallerOptions{Timeout: time.Second, Retries: -1}
		c := caller(t, o, func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		if _, err := c.Do(t.Context(), Call{Method: "GET"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no head: %v", err)
		}
		c = caller(t, o, func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: stalled{r.Context()}}, nil
		})
		res, err := c.Do(t.Context(), Call{Method: "GET"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the reader may take its time
		if _, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stalled body: %v", err)
		}
		res.Body.Close()

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		c = caller(t, &CallerOptions{}, func(*http.Request) (*http.Response, error) { return answer(503, nil, ""), nil })
		if _, err := c.Do(ctx, Call{Method: "GET"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended in a pause: %v", err)
		}
	})
}

func TestBadAddress(t *testing.T) {
	for _, base := range []string{"", "ftp://x", "http://", "http://user:secret@x y"} {
		if _, err := NewCaller(base, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", base, err)
		}
	}
}
