package routinghttp_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/scatter"
	"github.com/hashstream/hashstream/routinghttp"
)

// errSome ends answers as those who ask many do.
var errSome = fmt.Errorf("scatter: %w: %w", ipni.ErrIncomplete, errors.New("one broke"))

// TestIncomplete wants what is known told as a whole answer, which nobody may keep.
func TestIncomplete(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		for _, accept := range []string{asJSON, asLines} {
			synctest.Test(t, func(t *testing.T) { // lines wait for as long as others come
				whole := body(t, ask(finder{results: sample(t)}, nil, method, path(t), accept))
				var done routinghttp.Done
				o := &routinghttp.Options{Done: func(_ *http.Request, d routinghttp.Done) { done = d }}
				res := ask(finder{sample(t), errSome}, o, method, path(t), accept)
				if got := body(t, res); got != whole || res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: status %d, %v, %s; want %s", method, accept, res.StatusCode, res.Header, got, whole)
				}
				if done.Status != 200 || done.Records != 3 || !errors.Is(done.Err, ipni.ErrIncomplete) {
					t.Errorf("%+v", done)
				}
			})
		}
	}
	// An answer that is full lacks nothing.
	if res := ask(finder{sample(t), errSome}, &routinghttp.Options{Records: 3}, "GET", path(t), asJSON); res.Header.Get("Cache-Control") == "no-store" {
		t.Errorf("full: %v", res.Header)
	}
}

// TestIncompleteTooLate wants lines cut that were begun as an answer that caches may keep, and no others.
func TestIncompleteTooLate(t *testing.T) {
	slow := finding(func(_ context.Context, yield func(ipni.Result, error) bool) {
		yield(sample(t)[0], nil)
		time.Sleep(time.Second)
		yield(ipni.Result{}, errSome)
	})
	for age, want := range map[time.Duration]string{time.Minute: "public, max-age=60, stale-while-revalidate=120, stale-if-error=86400", -1: "no-store"} {
		synctest.Test(t, func(t *testing.T) {
			w, cut := httptest.NewRecorder(), false
			func() {
				defer func() { cut = recover() == http.ErrAbortHandler }()
				r := httptest.NewRequest("GET", path(t), nil)
				r.Header.Set("Accept", asLines)
				routinghttp.NewHandler(slow, &routinghttp.Options{HitAge: age}).ServeHTTP(w, r)
			}()
			if cut != (age > 0) || w.Header().Get("Cache-Control") != want || w.Body.Len() == 0 {
				t.Errorf("kept for %v: cut %v, %v", age, cut, w.Header())
			}
		})
		synctest.Test(t, func(t *testing.T) {
			if res := ask(slow, &routinghttp.Options{HitAge: age}, "GET", path(t), asJSON); res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("JSON: %d %v", res.StatusCode, res.Header)
			}
		})
	}
}

// TestUnavailable wants no failure behind this server to be told as absence, whatever its cause.
func TestUnavailable(t *testing.T) {
	for _, no := range []error{scatter.ErrUnavailable, cluster.ErrUnavailable, ipni.ErrIncomplete} {
		for _, tt := range []struct {
			cause  error
			status int
		}{
			{errors.New("broken"), 502}, {digest.ErrMismatch, 502}, {fs.ErrPermission, 502}, {fs.ErrNotExist, 502},
			{&routinghttp.Error{Status: 422}, 502}, {&routinghttp.Error{Status: 503}, 502}, {&routinghttp.Error{Status: 504}, 504},
			{context.DeadlineExceeded, 504}, {errors.Join(digest.ErrMismatch, context.DeadlineExceeded), 504},
		} {
			for _, accept := range []string{asJSON, asLines} {
				for name, target := range map[string]finder{"nothing": {}, "nothing that passes": {results: sample(t)}} {
					target.err = fmt.Errorf("find: %w: %w", no, tt.cause)
					res := ask(target, nil, "GET", path(t)+"?filter-addrs=webtransport", accept)
					if res.StatusCode != tt.status || res.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s: %v: status %d, %v", name, target.err, res.StatusCode, res.Header)
					}
				}
			}
		}
	}
}
