package httpblob_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/httpblob"
)

// TestGetIf replaces a file of a web server, with and without tags, and with a server
// that ignores conditions.
func TestGetIf(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"times": func(h http.Handler) http.Handler { return h },
		"tags": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if fi, err := os.Stat(filepath.Join(r.Header.Get("Dir"), r.URL.Path)); err == nil {
					w.Header().Set("ETag", `"`+fi.ModTime().Format("20060102150405")+`"`)
				}
				h.ServeHTTP(w, r)
			})
		},
		"no conditions": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("If-Unmodified-Since")
				r.Header.Del("If-Match")
				h.ServeHTTP(w, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			write := func(content string, at time.Time) {
				t.Helper()
				if err := errors.Join(os.WriteFile(path, []byte(content), 0o644), os.Chtimes(path, at, at)); err != nil {
					t.Fatal(err)
				}
			}
			files := wrap(http.FileServer(http.Dir(dir)))
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Dir", dir)
				files.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			g, err := httpblob.New(s.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			write("before", time.Now().Add(-time.Hour))
			info, err := g.Stat(t.Context(), "file")
			if err != nil {
				t.Fatal(err)
			}
			obj, err := g.GetIf(t.Context(), "file", info.Identity, 2, -1)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(obj)
			if string(b) != "fore" || err != nil || obj.Info().Version == "" {
				t.Errorf("read %q, %v of version %q", b, err, obj.Info().Version)
			}
			obj.Close()

			write("after!", time.Now())
			for _, n := range []int64{-1, 3, 0} {
				if obj, err := g.GetIf(t.Context(), "file", info.Identity, 0, n); !errors.Is(err, blob.ErrChanged) {
					t.Errorf("%d bytes of a replaced file: %v, %v", n, obj, err)
				}
			}
			if info, err = g.Stat(t.Context(), "file"); err != nil {
				t.Fatal(err)
			}
			obj, err = g.GetIf(t.Context(), "file", info.Identity, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer obj.Close()
			// A time of just now does not tell the next second's change.
			if young := name != "tags"; (obj.Info().Version == "") != young {
				t.Errorf("version %q of identity %q", obj.Info().Version, info.Identity)
			}
		})
	}
}
