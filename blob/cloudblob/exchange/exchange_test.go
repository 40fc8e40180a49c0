package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob/exchange"
)

func FuzzScrub(f *testing.F) {
	for _, s := range []string{
		`Get "https://user:pass@host/k?sig=abc&x=1": EOF`, "https://a@b@host/?q", "//x:y@", "a\nb?c d", "s3://k:s@b/p?x", "?",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := exchange.Scrub(s)
		if strings.ContainsAny(got, "?\n\r\t") || len(got) > 500 {
			t.Errorf("Scrub(%q) = %q", s, got)
		}
		if again := exchange.Scrub(got); again != got {
			t.Errorf("%q becomes %q", got, again)
		}
	})
}

func TestScrub(t *testing.T) {
	got := exchange.Scrub("Get \"https://user:SECRET@host/key?sig=SECRET&b\":\n\tEOF after ftp://SECRET@h/x")
	if want := `Get "https://host/key": EOF after ftp://h/x`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCause(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		text string
	}{
		{&url.Error{Op: "Get", URL: "https://h/k?SECRET", Err: syscall.ECONNRESET}, syscall.ECONNRESET, "connection reset by peer"},
		{&url.Error{Op: "Get", URL: "https://h/k?SECRET", Err: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF, "unexpected EOF"},
		{&url.Error{Op: "Get", URL: "https://h/k?SECRET", Err: errors.New("odd: https://u:SECRET@h")}, nil, "odd: https://h"},
		{fmt.Errorf("x: %w", context.Canceled), context.Canceled, "context canceled"},
		{fmt.Errorf("x: %w", exchange.Stalled{}), os.ErrDeadlineExceeded, "no byte within the timeout"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "h"}}, nil, "no address of the host: no such host"},
	} {
		got := exchange.Cause(c.err)
		if got.Error() != c.text || c.is != nil && !errors.Is(got, c.is) {
			t.Errorf("Cause(%v) = %v, want %s", c.err, got, c.text)
		}
	}
}

// answer makes a call that one answer ends.
func answer(t *testing.T, status int, header http.Header) *exchange.Call {
	t.Helper()
	ctx, c := exchange.With(t.Context(), "get")
	tr := &exchange.Transport{Base: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}), Stall: time.Minute}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://h/k?SECRET", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestExplain(t *testing.T) {
	foreign := errors.New("GET http://h/k?SECRET said no\nat length")
	for _, c := range []struct {
		status int
		code   string
		header http.Header
		is     error
		text   string
	}{
		{403, "AccessDenied", nil, fs.ErrPermission, "status 403 Forbidden (AccessDenied); check the credentials"},
		{403, "RequestTimeTooSkewed", nil, fs.ErrPermission, "the clock here"},
		{401, "", nil, fs.ErrPermission, "status 401 Unauthorized; check"},
		{404, "NoSuchKey", nil, fs.ErrNotExist, "status 404 Not Found (NoSuchKey)"},
		{404, "NoSuchBucket", nil, fs.ErrNotExist, "there is no such bucket"},
		{412, "PreconditionFailed", nil, blob.ErrChanged, "status 412"},
		{301, "PermanentRedirect", http.Header{"X-Amz-Bucket-Region": {"eu-west-7"}}, nil, `the bucket is in region "eu-west-7"`},
		{400, "AuthorizationHeaderMalformed", nil, nil, "in another region"},
		{503, "SlowDown", nil, nil, "overloaded"},
		{500, "bad code\nSECRET", nil, nil, "status 500 Internal Server Error"},
	} {
		err := answer(t, c.status, c.header).Explain(0, c.code, foreign)
		got := err.Error()
		if !strings.Contains(got, c.text) || c.is != nil && !errors.Is(err, c.is) || strings.ContainsAny(got, "\n?") || strings.Contains(got, "SECRET") {
			t.Errorf("%d %s: %v, want %q and %v", c.status, c.code, err, c.text, c.is)
		}
		if absent := c.status == 404 && c.code != "NoSuchBucket"; err.Absent() != absent {
			t.Errorf("%d %s: absent %v", c.status, c.code, err.Absent())
		}
	}
}

// TestStall is silence of all kinds. Time is not real.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []exchange.Request
		ctx, _ := exchange.With(t.Context(), "get")
		pr, pw := io.Pipe()
		silent := true
		tr := &exchange.Transport{Stall: 30 * time.Second, Trace: func(_ context.Context, r exchange.Request) { told = append(told, r) },
			Base: roundTrip(func(r *http.Request) (*http.Response, error) {
				if silent {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				context.AfterFunc(r.Context(), func() { pw.CloseWithError(r.Context().Err()) })
				return &http.Response{StatusCode: 200, Body: pr}, nil
			})}
		req, err := http.NewRequestWithContext(ctx, "GET", "http://h/", nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := tr.RoundTrip(req); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("no answer: %v after %v", err, time.Since(start))
		}
		silent = false
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		go pw.Write([]byte("ab"))
		if n, err := io.ReadFull(resp.Body, make([]byte, 2)); err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(time.Hour) // the time between two reads is the reader's
		start = time.Now()
		if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("half an answer: %v after %v", err, time.Since(start))
		}
		if len(told) != 2 || told[0].Status != 0 || told[0].Retry || told[1].Status != 200 || !told[1].Retry || told[1].Received != 2 || told[1].Err == nil {
			t.Errorf("told %+v", told)
		}
	})
}

// TestSlowUpload: a request that makes progress is not silent.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, _ := exchange.With(t.Context(), "put")
		pr, pw := io.Pipe()
		go func() {
			for range 10 {
				time.Sleep(20 * time.Second)
				pw.Write([]byte("x"))
			}
			pw.Close()
		}()
		var sent int64
		tr := &exchange.Transport{Stall: 30 * time.Second, Trace: func(_ context.Context, r exchange.Request) { sent = r.Sent },
			Base: roundTrip(func(r *http.Request) (*http.Response, error) {
				_, err := io.Copy(io.Discard, r.Body)
				return &http.Response{StatusCode: 200, Body: http.NoBody}, errors.Join(err, r.Context().Err())
			})}
		req, err := http.NewRequestWithContext(ctx, "PUT", "http://h/", pr)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if sent != 10 {
			t.Errorf("%d bytes were sent", sent)
		}
	})
}

func TestSealed(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", "1") }))
	defer srv.Close()
	ctx, c := exchange.With(t.Context(), "get")
	tr := &exchange.Transport{Base: exchange.NewTransport(), Stall: time.Minute}
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if status, h := c.Seal(); status != 200 || h.Get("X") != "1" {
		t.Errorf("status %d, header %v", status, h)
	}
	if _, err := tr.RoundTrip(req); !errors.Is(err, exchange.ErrSealed) {
		t.Errorf("a request after the seal: %v", err)
	}
}
