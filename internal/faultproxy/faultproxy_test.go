package faultproxy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/faultproxy"
)

const content = "0123456789"

func start(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header().Set("Content-Range", "bytes 0-9/10")
		io.WriteString(w, content)
	}))
	t.Cleanup(srv.Close)
	p, err := faultproxy.Start(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func get(ctx context.Context, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestPass(t *testing.T) {
	p := start(t)
	const path = "/bucket/a%20b/%C3%BC%2f?list-type=2&prefix=a%2Fb;c"
	resp, body, err := get(t.Context(), p.URL()+path)
	if err != nil || body != content || "http://"+resp.Header.Get("X-Host") != p.URL() || resp.Header.Get("X-Uri") != path {
		t.Errorf("%q, %v, %v", body, err, resp.Header)
	}
	if r := p.Requests(); len(r) != 1 || r[0].Method != "GET" || r[0].URL != path {
		t.Errorf("requests %v", r)
	}
}

func TestFaults(t *testing.T) {
	called := false
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		check func(resp *http.Response, body string, err error) bool
	}{
		"status": {faultproxy.Status(403, "AccessDenied"), func(resp *http.Response, body string, err error) bool {
			return resp.StatusCode == 403 && strings.Contains(body, "<Code>AccessDenied</Code>")
		}},
		"header": {faultproxy.Header("Content-Range", "bytes 1-10/11"), func(resp *http.Response, body string, err error) bool {
			return resp.Header.Get("Content-Range") == "bytes 1-10/11"
		}},
		"without": {faultproxy.Header("Content-Range", ""), func(resp *http.Response, body string, err error) bool { return resp.Header["Content-Range"] == nil }},
		"cut": {faultproxy.Cut(4), func(resp *http.Response, body string, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && body == "0123"
		}},
		"stall": {faultproxy.Stall(4), func(resp *http.Response, body string, err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && body == "0123"
		}},
		"silence": {faultproxy.Silence(), func(resp *http.Response, body string, err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && resp == nil
		}},
		"delay": {faultproxy.Delay(time.Hour), func(resp *http.Response, body string, err error) bool {
			return errors.Is(err, context.DeadlineExceeded)
		}},
		"do":     {faultproxy.Do(func() { called = true }), func(resp *http.Response, body string, err error) bool { return called && body == content }},
		"method": {faultproxy.Status(500, "").Method("PUT"), func(resp *http.Response, body string, err error) bool { return body == content }},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			p.Fail(c.fault.Times(1))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if resp, body, err := get(ctx, p.URL()); !c.check(resp, body, err) {
				t.Errorf("%v, %q, %v", resp, body, err)
			}
			if _, body, err := get(t.Context(), p.URL()); body != content || err != nil {
				t.Errorf("the next request: %q, %v", body, err)
			}
		})
	}
}
