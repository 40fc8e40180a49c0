package ipnihttp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/scatter"
)

// errSome ends answers as those who ask many do.
var errSome = fmt.Errorf("scatter: %w: %w", ipni.ErrIncomplete, context.DeadlineExceeded)

// record asks a handler without a server. It reports whether the answer was cut.
func record(h http.Handler, method, path, accept, body string) (w *httptest.ResponseRecorder, cut bool) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w = httptest.NewRecorder()
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			cut = true
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
	return w, false
}

// TestIncomplete wants what is known told as a whole answer, which nobody may keep.
func TestIncomplete(t *testing.T) {
	mh := hash(t, 1)
	second := dhash.SecondHash(mh).Multihash()
	for _, path := range []string{"/multihash/" + mh.B58String(), "/multihash/" + second.B58String(), "/encrypted/multihash/" + second.B58String(), "/providers"} {
		for _, accept := range []string{"application/json", "application/x-ndjson"} {
			t.Run(path[:10]+" "+accept, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory()
					m.add(t, mh, 1)
					if path != "/providers" { // which come in any order
						m.add(t, mh, 2)
					}
					var done ipnihttp.Done
					h := ipnihttp.New(m.index(), &ipnihttp.Options{Done: func(_ *http.Request, d ipnihttp.Done) { done = d }})
					whole, _ := record(h, "GET", path, accept, "")
					m.err = errSome
					w, cut := record(h, "GET", path, accept, "")
					if w.Code != 200 || cut || w.Header().Get("Cache-Control") != "no-store" {
						t.Errorf("%d %v, cut %v", w.Code, w.Header(), cut)
					}
					if diff := cmp.Diff(whole.Body.String(), w.Body.String()); diff != "" {
						t.Error(diff)
					}
					if path != "/providers" && (done.Status != 200 || done.Results != 2 || !errors.Is(done.Err, ipni.ErrIncomplete)) {
						t.Errorf("%+v", done)
					}
				})
			})
		}
	}
}

// TestIncompleteTooLate wants an answer cut that was begun as one that caches may keep, and no other.
func TestIncompleteTooLate(t *testing.T) {
	mh := hash(t, 1)
	second := dhash.SecondHash(mh).Multihash()
	for _, hitAge := range []time.Duration{time.Minute, -1} {
		for _, path := range []string{"/multihash/" + mh.B58String(), "/encrypted/multihash/" + second.B58String(), "/providers"} {
			for _, accept := range []string{"application/json", "application/x-ndjson"} {
				m := newMemory()
				for n := range 1000 {
					m.add(t, mh, byte(n))
				}
				m.err = errSome
				url := serve(t, ipnihttp.New(m.index(), &ipnihttp.Options{HitAge: hitAge}))
				res, body, err := ask(t, "GET", url+path, accept, "")
				if (err != nil) != (hitAge > 0) || res.StatusCode != 200 || len(body) < 32<<10 {
					t.Errorf("%s as %s, kept for %v: %s, %d bytes, %v", path, accept, hitAge, res.Status, len(body), err)
				}
			}
		}
	}
	// Few lines are sent after a moment, which others may take longer than.
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := m.add(t, mh, 1)
		slow := finding(func(yield func(ipni.Result, error) bool) {
			yield(r, nil)
			time.Sleep(time.Second)
			yield(ipni.Result{}, errSome)
		})
		h := ipnihttp.New(ipnihttp.Index{Finder: slow}, nil)
		if w, cut := record(h, "GET", "/multihash/"+mh.B58String(), "application/x-ndjson", ""); !cut || w.Header().Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("cut %v, %v", cut, w.Header())
		}
		if w, cut := record(h, "GET", "/multihash/"+mh.B58String(), "application/json", ""); cut || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("cut %v, %v", cut, w.Header())
		}
	})
}

func b64(mh multihash.Multihash) string { return base64.StdEncoding.EncodeToString(mh) }

// finding is a finder of the same for every multihash.
type finding func(yield func(ipni.Result, error) bool)

func (f finding) Find(context.Context, multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return iter.Seq2[ipni.Result, error](f)
}

// some is a memory in which answers for one multihash may lack something.
type some struct {
	*memory
	mh multihash.Multihash
}

func (s some) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	s.err = nil
	if mh.B58String() == s.mh.B58String() {
		s.err = errSome
	}
	return s.memory.Find(ctx, mh)
}

// TestIncompleteBatch wants one answer that lacks something to spoil neither the others nor caches.
func TestIncompleteBatch(t *testing.T) {
	m := newMemory()
	for n := range 3 {
		m.add(t, hash(t, n), byte(n))
	}
	body := fmt.Sprintf(`{"Multihashes":["%s","%s","%s"]}`, b64(hash(t, 0)), b64(hash(t, 1)), b64(hash(t, 2)))
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		synctest.Test(t, func(t *testing.T) {
			whole, _ := record(ipnihttp.New(m.index(), nil), "POST", "/multihash", accept, body)
			h := ipnihttp.New(ipnihttp.Index{Finder: some{m, hash(t, 1)}}, nil)
			w, cut := record(h, "POST", "/multihash", accept, body)
			if cut || w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v, cut %v", w.Code, w.Header(), cut)
			}
			if diff := cmp.Diff(whole.Body.String(), w.Body.String()); diff != "" {
				t.Error(diff)
			}
			// Of a multihash without results nobody may think that it has none.
			h = ipnihttp.New(ipnihttp.Index{Finder: some{m, hash(t, 3)}}, nil)
			w, _ = record(h, "POST", "/multihash", accept, strings.Replace(body, b64(hash(t, 1)), b64(hash(t, 3)), 1))
			if w.Code != 504 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
		})
	}
}

// TestUnavailable wants no failure behind this server to be told as anything else, whatever its cause.
func TestUnavailable(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) }))
	defer busy.Close()
	_, remote := collect(newClient(t, busy.URL, &ipnihttp.ClientOptions{CallerOptions: wire.CallerOptions{Retries: -1}}).Find(t.Context(), hash(t, 1)))
	if !errors.Is(remote, wire.ErrBusy) {
		t.Fatal(remote)
	}
	mh := hash(t, 1)
	second := dhash.SecondHash(mh).Multihash().B58String()
	var key dhash.MetadataKey
	for _, no := range []error{scatter.ErrUnavailable, cluster.ErrUnavailable, ipni.ErrIncomplete} {
		for _, c := range []struct {
			cause  error
			status int
		}{
			{errors.New("broken"), 502}, {digest.ErrMismatch, 502}, {fs.ErrPermission, 502}, {fs.ErrInvalid, 502},
			{errors.ErrUnsupported, 502}, {remote, 502}, {errors.Join(remote, fs.ErrExist), 502},
			{context.DeadlineExceeded, 504}, {errors.Join(digest.ErrMismatch, context.DeadlineExceeded), 504}, {errors.Join(remote, context.DeadlineExceeded), 504},
		} {
			m := newMemory()
			m.err = fmt.Errorf("find: %w: %w", no, c.cause)
			h := ipnihttp.New(m.index(), nil)
			for _, path := range []string{"/multihash/" + mh.B58String(), "/multihash/" + second, "/encrypted/multihash/" + second, "/metadata/" + base58.Encode(key[:]), "/providers"} {
				w, _ := record(h, "GET", path, "", "")
				if w.Code != c.status || w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), "find") {
					t.Errorf("%s: %v: %d %v %s", path, m.err, w.Code, w.Header(), w.Body)
				}
			}
		}
	}
}
