package storehttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mr-tron/base58"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// TestClient goes through all of a store from another node, by frames and by JSON.
func TestClient(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		m := newMemory()
		c := newClient(t, node(t, m, nil), &storehttp.ClientOptions{Foreign: foreign})
		g := group(3)
		all := records(35_000) // several frames, or documents
		if err := c.PutSealed(t.Context(), g, all); err != nil {
			t.Fatal(err)
		}
		if foreign {
			g = ipni.SealedGroup{}
		}
		for e := range all.All() {
			if !m.records[record{g, e.Key, string(e.Value)}] {
				t.Fatalf("foreign %v: %x is lost", foreign, e.Key)
			}
		}
		key := dhash.SecondHash([]byte("1"))
		got, err := collect(c.ValueKeys(t.Context(), key), bytes.Clone)
		if err != nil || len(got) != 1 || got[0][0] != 1 {
			t.Errorf("foreign %v: %x, %v", foreign, got, err)
		}
		if got, err := collect(c.ValueKeys(t.Context(), dhash.Key{}), bytes.Clone); err != nil || got != nil {
			t.Errorf("foreign %v: none: %x, %v", foreign, got, err)
		}
		if err := c.DeleteSealed(t.Context(), g, all); err != nil || len(m.records) != 0 {
			t.Errorf("foreign %v: %d left, %v", foreign, len(m.records), err)
		}
		md := bytes.Repeat([]byte{7}, 40)
		if err := c.PutSealedMetadata(t.Context(), dhash.MetadataKey{1}, md); err != nil {
			t.Error(err)
		}
		if got, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{1}); err != nil || !bytes.Equal(got, md) {
			t.Errorf("metadata %x, %v", got, err)
		}
		if err := c.PutSealedMetadata(t.Context(), dhash.MetadataKey{1}, nil); err != nil || len(m.metadata) != 0 {
			t.Errorf("metadata is left, %v", err)
		}
		if _, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{1}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no metadata: %v", err)
		}
		for _, only := range []*dhash.MetadataKey{nil, {1}} {
			if err := c.RemoveSealed(t.Context(), ipni.ProviderTag{1}, only, 5); foreign != errors.Is(err, errors.ErrUnsupported) || !foreign && err != nil {
				t.Errorf("remove: %v", err)
			}
		}
	}
}

// TestManyValues streams a key with as many values as the hottest in the field.
func TestManyValues(t *testing.T) {
	m := newMemory()
	var want []string
	for i := range 14_000 {
		v := fmt.Sprintf("%0102d", i)
		want = append(want, v)
		m.records[record{group(1), dhash.Key{1}, v}] = true
	}
	for _, foreign := range []bool{false, true} {
		c := newClient(t, node(t, m, nil), &storehttp.ClientOptions{Foreign: foreign})
		var got []string
		for v, err := range c.ValueKeys(t.Context(), dhash.Key{1}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(v))
		}
		if !cmp.Equal(got, want) {
			t.Errorf("foreign %v: %d values", foreign, len(got))
		}
	}
}

func post(tb testing.TB, method, url string, header map[string]string, body io.Reader) (*http.Response, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, body)
	if err != nil {
		tb.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(data)
}

func merge(key dhash.Key, values ...string) string {
	var parts []string
	for _, v := range values {
		parts = append(parts, fmt.Sprintf(`{"key":"%s","value":"%s"}`, base64.StdEncoding.EncodeToString(key.Multihash()), base64.StdEncoding.EncodeToString([]byte(v))))
	}
	return `{"merges":[` + strings.Join(parts, ",") + `]}`
}

func zipped(tb testing.TB, data []byte) io.Reader {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return &b
}

func frames(tb testing.TB, fs ...storehttp.Frame) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := storehttp.NewWriter(&b)
	for _, f := range fs {
		if err := w.Write(f); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestRequests(t *testing.T) {
	m := newMemory()
	url := node(t, m, &storehttp.Options{Authorize: everybody, MaxBody: 64 << 10})
	key := dhash.Key{9}
	good := merge(key, strings.Repeat("a", dhash.Overhead), strings.Repeat("b", dhash.Overhead))
	stream := frames(t, storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: records(3)})
	binary := map[string]string{"Content-Type": storehttp.MediaType}
	gz := map[string]string{"Content-Encoding": "gzip", "Content-Type": "application/json; charset=utf-8"}
	for _, c := range []struct {
		method, path string
		header       map[string]string
		body         io.Reader
		status       int
		left         int // records afterwards
	}{
		{"PUT", "/multihash", nil, strings.NewReader(good), 202, 2},
		{"DELETE", "/multihash", nil, strings.NewReader(good), 202, 0}, // dhstore loses the first delete of a key
		{"PUT", "/encrypted/multihash", nil, strings.NewReader(good), 202, 2},
		{"DELETE", "/encrypted/multihash", gz, zipped(t, []byte(good)), 202, 0},
		{"PUT", "/encrypted/multihash", binary, bytes.NewReader(stream), 202, 3},
		{"PUT", "/multihash", binary, bytes.NewReader(stream), 202, 3},
		{"PUT", "/multihash", map[string]string{"Content-Type": storehttp.MediaType, "Content-Encoding": "gzip"}, zipped(t, stream), 202, 3},
		{"DELETE", "/multihash", binary, bytes.NewReader(stream), 202, 0},
		{"PUT", "/multihash", binary, bytes.NewReader(stream[:len(stream)-1]), 400, 0}, // nothing is acknowledged, and small frames wait
		{"DELETE", "/multihash", binary, bytes.NewReader(stream), 202, 0},
		{"PUT", "/multihash", binary, bytes.NewReader(append(bytes.Clone(stream), 0)), 400, 0},
		{"DELETE", "/multihash", binary, bytes.NewReader(stream), 202, 0},
		{"PUT", "/multihash", binary, strings.NewReader(good), 400, 0},
		{"PUT", "/multihash", nil, bytes.NewReader(stream), 400, 0},
		{"PUT", "/multihash", nil, strings.NewReader(`{"merges":[]}`), 400, 0},
		{"PUT", "/multihash", nil, strings.NewReader(``), 400, 0},
		{"PUT", "/multihash", nil, strings.NewReader(`garbage`), 400, 0},
		{"PUT", "/multihash", map[string]string{"Content-Type": "text/plain"}, strings.NewReader(good), 415, 0},
		{"PUT", "/multihash", map[string]string{"Content-Encoding": "br"}, strings.NewReader(good), 415, 0},
		{"PUT", "/multihash", gz, strings.NewReader(good), 400, 0},
		{"PUT", "/multihash", nil, strings.NewReader(`{"x":"` + strings.Repeat("x", 1<<20)), 413, 0},
		{"PUT", "/multihash", gz, zipped(t, []byte(`{"x":"`+strings.Repeat("x", 8<<20))), 413, 0}, // a bomb
		{"POST", "/multihash", nil, strings.NewReader(good), 400, 0},                              // a lookup
		{"PATCH", "/multihash", nil, strings.NewReader(good), 405, 0},
		{"PUT", "/metadata", nil, strings.NewReader(`{"key":"AA==","value":"AA=="}`), 400, 0},
		{"PUT", "/metadata", nil, strings.NewReader(`{"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","value":""}`), 400, 0},
		{"PUT", "/metadata", nil, strings.NewReader(`{"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","value":"` + base64.StdEncoding.EncodeToString(make([]byte, 1053)) + `"}`), 400, 0},
		{"PUT", "/metadata", nil, strings.NewReader(`{"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","value":"` + base64.StdEncoding.EncodeToString(make([]byte, 1052)) + `"}`), 202, 0},
		{"PUT", "/metadata", nil, strings.NewReader(strings.Repeat(" ", 1<<20)), 413, 0},
		{"DELETE", "/metadata", nil, nil, 405, 0},
		{"DELETE", "/metadata/" + base58.Encode(make([]byte, 32)), nil, nil, 200, 0},
		{"DELETE", "/metadata/x", nil, nil, 400, 0},
		{"POST", "/metadata/x", nil, nil, 405, 0},
		{"POST", "/remove", nil, strings.NewReader(`{"provider":"AA==","before":1}`), 400, 0},
		{"POST", "/remove", nil, strings.NewReader(`{"provider":"AAAAAAAAAAAAAAAAAAAAAA==","context":"AA==","before":1}`), 400, 0},
		{"GET", "/remove", nil, nil, 405, 0},
		{"GET", "/partition/00-ff", nil, nil, 200, 0},
		{"GET", "/partition/ff-00", nil, nil, 400, 0},
		{"GET", "/partition/0-ff", nil, nil, 400, 0},
		{"GET", "/partition/00ff", nil, nil, 400, 0},
		{"GET", "/partition/000-f", nil, nil, 400, 0},
		{"GET", "/partition/-ff", nil, nil, 400, 0},
		{"GET", "/partition/00-", nil, nil, 400, 0},
		{"GET", "/partition/00-ff-ff", nil, nil, 400, 0},
		{"GET", "/partition/xy-ff", nil, nil, 400, 0},
		{"GET", "/partition/" + strings.Repeat("00", 33) + "-ff", nil, nil, 400, 0},
		{"GET", "/partition/00ab01-00ab", nil, nil, 200, 0},
		{"GET", "/partition/00ab-00aa", nil, nil, 400, 0},
		{"GET", "/partition/" + strings.Repeat("00", 32) + "-" + strings.Repeat("FF", 32) + "?only=values", nil, nil, 200, 0},
		{"GET", "/partition/00-ff?only=metadata", nil, nil, 200, 0},
		{"GET", "/partition/00-ff?only=", nil, nil, 200, 0},
		{"GET", "/partition/00-ff?only=all", nil, nil, 400, 0},
		{"PUT", "/partition/00-ff", nil, nil, 405, 0},
		{"GET", "/health", nil, nil, 200, 0},
		{"GET", "/multihash/" + key.Multihash().B58String(), nil, nil, 404, 0},
		{"GET", "/encrypted/multihash/" + key.Multihash().B58String(), map[string]string{"Accept": storehttp.MediaType}, nil, 200, 0},
		{"GET", "/encrypted/multihash/x", map[string]string{"Accept": storehttp.MediaType}, nil, 400, 0},
		{"OPTIONS", "/multihash", nil, nil, 204, 0},
	} {
		body := c.body
		res, text := post(t, c.method, url+c.path, c.header, body)
		if res.StatusCode != c.status || len(m.records) != c.left {
			t.Errorf("%s %s %v: %s %q, %d records, want %d and %d", c.method, c.path, c.header, res.Status, text, len(m.records), c.status, c.left)
		}
		if c.status == 405 && res.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
}

// TestAuthorize looks for a way around the credential, in particular where nobody thought of one.
func TestAuthorize(t *testing.T) {
	for name, o := range map[string]*storehttp.Options{
		"default": {},
		"denied":  {Authorize: func(*http.Request) error { return errors.New("who are you?") }},
		"absent":  {Authorize: func(*http.Request) error { return &wire.Error{Status: 401, Reason: "a token, please"} }},
	} {
		m := newMemory()
		url := node(t, m, o)
		want := 403
		if name == "absent" {
			want = 401
		}
		for _, c := range []struct{ method, path string }{
			{"PUT", "/multihash"}, {"DELETE", "/multihash"}, {"PUT", "/encrypted/multihash"}, {"DELETE", "/encrypted/multihash"}, {"PUT", "/metadata"},
			{"DELETE", "/metadata/" + base58.Encode(make([]byte, 32))}, {"POST", "/remove"}, {"GET", "/partition/00-ff"},
		} {
			if res, text := post(t, c.method, url+c.path, nil, strings.NewReader(merge(dhash.Key{}, "x"))); res.StatusCode != want || strings.Contains(text, "who") {
				t.Errorf("%s: %s %s: %s %q", name, c.method, c.path, res.Status, text)
			}
		}
		if m.puts != 0 {
			t.Errorf("%s: %d writes", name, m.puts)
		}
		if res, _ := post(t, "GET", url+"/health", nil, nil); res.StatusCode != 200 {
			t.Errorf("%s: reads: %s", name, res.Status)
		}
	}
}

// TestStoreFails wants nothing acknowledged that is not durable.
func TestStoreFails(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{{errors.New("disk on fire"), 500}, {wire.ErrBusy, 503}, {fs.ErrNotExist, 500}, {context.DeadlineExceeded, 504}} {
		m := newMemory()
		m.err, m.failFrom = c.err, 2
		url := node(t, m, nil)
		body := merge(dhash.Key{1}, strings.Split(strings.Repeat(strings.Repeat("x", 1000)+",", 5000), ",")[:5000]...) // five batches
		res, _ := post(t, "PUT", url+"/multihash", nil, strings.NewReader(body))
		if res.StatusCode != c.status || (c.status == 503) != (res.Header.Get("Retry-After") != "") {
			t.Errorf("%v: %s %v", c.err, res.Status, res.Header)
		}
		if m.puts < 3 {
			t.Errorf("%d writes: the request was held as a whole", m.puts)
		}
		cl := newClient(t, url, nil)
		err := cl.PutSealed(t.Context(), group(1), records(10))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", c.err, err)
		}
		if _, err := collect(cl.ValueKeys(t.Context(), dhash.Key{1}), bytes.Clone); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: lookup: %v", c.err, err)
		}
	}
}

// TestLiars are nodes that answer garbage: an error, never absence.
func TestLiars(t *testing.T) {
	right := frames(t, storehttp.Frame{Kind: storehttp.Values, Records: valuestore.Records(nil).Append(dhash.Key{1}, []byte("value"))})
	other := frames(t, storehttp.Frame{Kind: storehttp.Values, Records: valuestore.Records(nil).Append(dhash.Key{2}, []byte("value"))})
	for name, lie := range map[string]func(http.ResponseWriter){
		"a page":    func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
		"not found": func(w http.ResponseWriter) { http.Error(w, "?", 404) },
		"empty":     func(w http.ResponseWriter) { w.Header().Set("Content-Type", storehttp.MediaType) },
		"other key": func(w http.ResponseWriter) { w.Header().Set("Content-Type", storehttp.MediaType); w.Write(other) },
		"cut":       func(w http.ResponseWriter) { w.Header().Set("Content-Type", storehttp.MediaType); w.Write(right[:40]) },
		"without an end": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", storehttp.MediaType)
			w.Write(right[:len(right)-65])
		},
		"failure": func(w http.ResponseWriter) { http.Error(w, "sorry", 500) },
		"broken off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", storehttp.MediaType)
			w.Write(right[:10])
			panic(http.ErrAbortHandler)
		},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { lie(w) }))
		t.Cleanup(s.Close)
		c := newClient(t, s.URL, nil)
		got, err := collect(c.ValueKeys(t.Context(), dhash.Key{1}), bytes.Clone)
		if err == nil || errors.Is(err, fs.ErrNotExist) || got != nil && name != "without an end" {
			t.Errorf("%s: %x, %v", name, got, err)
		}
		if garbage := name != "failure" && name != "broken off" && name != "cut" && name != "without an end" && name != "empty"; garbage != errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRetries sends what a busy node may have missed again.
func TestRetries(t *testing.T) {
	m := newMemory()
	inner := storehttp.New(m, &storehttp.Options{Authorize: everybody})
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2: // answered before it was read
			http.Error(w, "busy", http.StatusServiceUnavailable)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	c := newClient(t, s.URL, &storehttp.ClientOptions{CallerOptions: wire.CallerOptions{Retries: 3}})
	if err := c.PutSealed(t.Context(), group(1), records(40_000)); err != nil || len(m.records) != 40_000 {
		t.Errorf("%d records after %d calls, %v", len(m.records), calls.Load(), err)
	}
}

// TestLookupOnce tells at once that a lookup failed, and still sends writes again.
func TestLookupOnce(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Error(w, "busy", http.StatusServiceUnavailable)
	}))
	t.Cleanup(s.Close)
	for _, once := range []bool{false, true} {
		c := newClient(t, s.URL, &storehttp.ClientOptions{CallerOptions: wire.CallerOptions{Retries: 2}, LookupOnce: once})
		for name, call := range map[string]func() error{
			"values": func() (err error) {
				for _, err = range c.ValueKeys(t.Context(), dhash.Key{}) {
				}
				return err
			},
			"metadata": func() error { _, err := c.SealedMetadata(t.Context(), dhash.MetadataKey{}); return err },
			"put":      func() error { return c.PutSealed(t.Context(), group(1), records(1)) },
		} {
			calls.Store(0)
			want := int32(3)
			if once && name != "put" {
				want = 1
			}
			if err := call(); err == nil || calls.Load() != want {
				t.Errorf("once %t: %s was sent %d times, want %d; %v", once, name, calls.Load(), want, err)
			}
		}
	}
}

// TestStall ends an upload that does not go on.
func TestStall(t *testing.T) {
	url := node(t, newMemory(), &storehttp.Options{Authorize: everybody, Idle: 50 * time.Millisecond})
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	go io.WriteString(w, `{"merges":[`)
	if res, text := post(t, "PUT", url+"/multihash", nil, r); res.StatusCode != 408 {
		t.Errorf("%s %q", res.Status, text)
	}
}
