package httpblob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/httpblob"
)

func server(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func getter(t testing.TB, base string, o *httpblob.Options) *httpblob.Getter {
	t.Helper()
	g, err := httpblob.New(base, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// files serves objects from a directory by net/http's own file server.
func files(t *testing.T, objects map[string][]byte) http.Handler {
	t.Helper()
	dir := t.TempDir()
	for key, b := range objects {
		path := filepath.Join(dir, filepath.FromSlash(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	inner := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fi, err := os.Stat(filepath.Join(dir, r.URL.Path)); err == nil && fi.IsDir() {
			http.NotFound(w, r) // a static server without listings
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func TestFileServer(t *testing.T) {
	blobtest.RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
		srv := server(t, http.StripPrefix("/some/base", files(t, objects)).ServeHTTP)
		return getter(t, srv.URL+"/some/base/", nil)
	})
}

// TestPlainServer: no ranges, no HEAD.
func TestPlainServer(t *testing.T) {
	blobtest.RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
		inner := files(t, objects)
		return getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			r.Header.Del("Range")
			inner.ServeHTTP(w, r)
		}).URL, nil)
	})
}

func TestStatuses(t *testing.T) {
	for code, want := range map[int]error{
		404: fs.ErrNotExist, 410: fs.ErrNotExist, 416: blob.ErrRange, 401: fs.ErrPermission, 403: fs.ErrPermission, 500: nil, 204: nil, 304: nil,
	} {
		srv := server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) })
		g := getter(t, srv.URL, nil)
		_, err := g.Get(t.Context(), "k", 1, 2)
		_, serr := g.Stat(t.Context(), "k")
		if err == nil || serr == nil || want != nil && (!errors.Is(err, want) || !errors.Is(serr, want)) {
			t.Errorf("status %d: Get %v, Stat %v, want %v", code, err, serr, want)
		}
		if want == nil && !strings.Contains(err.Error(), strconv.Itoa(code)) {
			t.Errorf("status %d: the error %q does not name it", code, err)
		}
	}
}

// TestLyingServer asks for 10+5 of servers whose answers do not fit.
func TestLyingServer(t *testing.T) {
	for _, contentRange := range []string{
		"", "bytes 0-4/100", "bytes 10-13/100", "bytes 10-15/100", "bytes 11-15/100", "bytes 10-14/14", "bytes 10-14/*",
		"bytes 14-10/100", "bytes -10-14/100", "bytes +10-14/100", "bytes 10-14", "items 10-14/100", "bytes 10-14/99999999999999999999",
		"bytes */100",
	} {
		g := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", contentRange)
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, "01234")
		}).URL, nil)
		if o, err := g.Get(t.Context(), "k", 10, 5); err == nil {
			t.Errorf("Content-Range %q: accepted as %+v", contentRange, o.Info())
		}
	}
	for name, header := range map[string]http.Header{
		"wrong length": {"Content-Range": {"bytes 10-14/100"}, "Content-Length": {"6"}},
		"compressed":   {"Content-Range": {"bytes 10-14/100"}, "Content-Encoding": {"gzip"}},
	} {
		g := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, "012345")
		}).URL, nil)
		if o, err := g.Get(t.Context(), "k", 10, 5); err == nil {
			t.Errorf("%s: accepted as %+v", name, o.Info())
		}
	}
}

func TestShortBody(t *testing.T) {
	g := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "only this")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}).URL, nil)
	o, err := g.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if b, err := io.ReadAll(o); string(b) != "only this" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v, want io.ErrUnexpectedEOF", b, err)
	}
}

func TestLimits(t *testing.T) {
	g := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, strings.Repeat("0123456789", 100))
	}).URL, &httpblob.Options{MaxSkip: 100})
	if b, err := blob.Read(t.Context(), g, "k", 97, 5); string(b) != "78901" || err != nil {
		t.Errorf("skipping 97 bytes: %q, %v", b, err)
	}
	if _, err := g.Get(t.Context(), "k", 101, 5); err == nil {
		t.Error("skipping 101 bytes succeeded")
	}
	for limit, ok := range map[int64]bool{999: false, 1000: true} {
		srv := server(t, files(t, map[string][]byte{"k": make([]byte, 1000)}).ServeHTTP)
		g := getter(t, srv.URL, &httpblob.Options{MaxSize: limit})
		_, err := g.Get(t.Context(), "k", 5, 5)
		_, serr := g.Stat(t.Context(), "k")
		if (err == nil) != ok || (serr == nil) != ok {
			t.Errorf("limit %d, 1000 bytes: Get %v, Stat %v", limit, err, serr)
		}
	}
	chunked := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		io.WriteString(w, "no size")
	}).URL, nil)
	if o, err := chunked.Get(t.Context(), "k", 0, -1); err == nil {
		t.Errorf("an answer without a size is accepted as %+v", o.Info())
	}
}

func TestTimeout(t *testing.T) {
	more := make(chan struct{})
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stalls" {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "he")
			w.(http.Flusher).Flush()
			<-more
			io.WriteString(w, "ad")
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	g := getter(t, srv.URL, &httpblob.Options{Timeout: 200 * time.Millisecond})
	if _, err := g.Get(t.Context(), "silent", 0, -1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Get: %v, want os.ErrDeadlineExceeded", err)
	}
	o, err := g.Get(t.Context(), "stalls", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range 2 { // a slow reader is not the server's fault
		time.Sleep(300 * time.Millisecond)
		if n, err := o.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	close(more)
	if b, err := io.ReadAll(o); string(b) != "ad" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %q, %v, want ad and os.ErrDeadlineExceeded", b, err)
	}
}

func TestVersions(t *testing.T) {
	const modified = "Mon, 02 Jan 2006 15:04:05 GMT"
	versions := map[string]bool{}
	for _, h := range []struct{ etag, modified string }{
		{`"a"`, ""}, {`"b"`, modified}, {`W/"b"`, modified}, {`W/"b"`, "Mon, 02 Jan 2006 15:04:06 GMT"}, {"", modified}, {"", ""},
	} {
		g := getter(t, server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", h.etag)
			w.Header().Set("Last-Modified", h.modified)
			w.Header().Set("Content-Length", "5")
		}).URL, nil)
		i, err := g.Stat(t.Context(), "k")
		if err != nil || versions[i.Version] || (i.Version == "") != (h.etag == "" && h.modified == "") {
			t.Errorf("%+v: version %q, %v", h, i.Version, err)
		}
		versions[i.Version] = true
	}
}

// TestSecrets: the credentials work, and no error tells them.
func TestSecrets(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "us3r" || password != "s3cret" || r.FormValue("sig") != "t0ken" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/base/ok":
			io.WriteString(w, "fine")
		case "/base/loop":
			w.Header().Set("Location", r.URL.String())
			w.WriteHeader(http.StatusFound)
		case "/base/cut":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	address := strings.TrimPrefix(srv.URL, "http://")
	g := getter(t, "http://us3r:s3cret@"+address+"/base?sig=t0ken", nil)
	if b, err := blob.Read(t.Context(), g, "ok", 0, 4); string(b) != "fine" || err != nil {
		t.Fatalf("Read: %q, %v", b, err)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	refused := getter(t, "http://us3r:s3cret@"+strings.TrimPrefix(closed.URL, "http://")+"/?sig=t0ken", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := map[string]error{}
	for _, key := range []string{"loop", "cut", "other"} {
		_, errs[key] = g.Get(t.Context(), key, 0, -1)
		_, errs["stat "+key] = g.Stat(t.Context(), key)
	}
	_, errs["refused"] = refused.Get(t.Context(), "k", 0, -1)
	_, errs["canceled"] = g.Get(ctx, "k", 0, -1)
	for _, base := range []string{"http://us3r:s3cret@host:port/", "ftp://us3r:s3cret@h", "us3r:s3cret", "http://us3r:s3cret%zz@h", "\x7fs3cret", "http:///s3cret"} {
		_, errs[base] = httpblob.New(base, nil)
	}
	for name, err := range errs {
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, secret := range []string{"us3r", "s3cret", "t0ken", url.QueryEscape("s3cret")} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v tells %s", name, err, secret)
			}
		}
	}
}

func TestRefererKeepsNoQuery(t *testing.T) {
	other := server(t, func(w http.ResponseWriter, r *http.Request) {
		if ref := r.Referer(); ref != "" {
			t.Errorf("Referer %q", ref)
		}
		io.WriteString(w, "moved")
	})
	srv := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if b, err := blob.Read(t.Context(), getter(t, srv.URL+"?sig=t0ken", nil), "k", 0, 5); string(b) != "moved" || err != nil {
		t.Errorf("Read: %q, %v", b, err)
	}
}

func Example() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("hello, world"))
	}))
	defer srv.Close()
	g, err := httpblob.New(srv.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := blob.Read(context.Background(), g, "greeting", 7, 5)
	fmt.Printf("%s %v\n", b, err)
	// Output: world <nil>
}

// zeros are those before a number.
var zeros = regexp.MustCompile(`\b0+([0-9])`)

// FuzzContentRange: whatever range a server claims, what is read is the range
// that was asked for, or an error.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 2-4/10", "bytes\r2-4/10", "bytes 0-4/10", "bytes 3-5/10", "bytes 2-4/*", "bytes */10", "", "bytes 2-9223372036854775807/9223372036854775808"} {
		f.Add(s, int64(2), int64(3))
	}
	var claim string
	srv := server(f, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", claim)
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, "234")
	})
	g := getter(f, srv.URL, nil)
	f.Fuzz(func(t *testing.T, s string, off, n int64) {
		claim = s
		o, err := g.Get(t.Context(), "k", off, n)
		if err != nil || n == 0 {
			return
		}
		defer o.Close()
		size := o.Info().Size
		want := size - off
		if n > 0 {
			want = min(want, n)
		}
		sent := strings.Trim(strings.NewReplacer("\r", " ", "\n", " ").Replace(s), " \t") // as net/http does it
		if exact := fmt.Sprintf("bytes %d-%d/%d", off, off+want-1, size); exact != zeros.ReplaceAllString(sent, "$1") {
			t.Errorf("Get(%d, %d) accepts %q", off, n, s)
		}
		if b, err := io.ReadAll(o); err == nil && int64(len(b)) != want {
			t.Errorf("Get(%d, %d) with %q reads %d bytes", off, n, s, len(b))
		}
	})
}
