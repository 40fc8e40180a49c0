package backends

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/internal/faultproxy"
)

// TestWebRetries: packs on a web server survive what passes, and a body that breaks off.
func TestWebRetries(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	file := filepath.Join(t.TempDir(), "pack.car")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	hourAgo := time.Now().Add(-time.Hour) // a younger time does not tell versions apart
	if err := os.Chtimes(file, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	defer server.Close()
	for name, fault := range map[string]faultproxy.Fault{
		"unavailable": faultproxy.Status(http.StatusServiceUnavailable, "SlowDown").Times(1),
		"broken":      faultproxy.Status(http.StatusInternalServerError, "InternalError").Times(2),
		"cut":         faultproxy.Cut(100_000).Times(1),
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := faultproxy.Start(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			packs, closer, err := Getter(t.Context(), t.TempDir(), proxy.URL(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer closer.Close()
			proxy.Fail(fault)
			obj, err := packs.Get(t.Context(), "pack.car", 10, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer obj.Close()
			got, err := io.ReadAll(obj)
			if err != nil || !bytes.Equal(got, data[10:]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if n := len(proxy.Requests()); n < 2 {
				t.Errorf("%d requests: nothing failed", n)
			}
			proxy.Fail(faultproxy.Status(http.StatusBadGateway, "").Times(1))
			if i, err := packs.(blob.Stater).Stat(t.Context(), "pack.car"); err != nil || i.Size != int64(len(data)) {
				t.Errorf("stat: %+v, %v", i, err)
			}
		})
	}
}

// TestWebYoung: a body that breaks off is not resumed where the server cannot tell that the
// object is the same, and that is a failure, not absence.
func TestWebYoung(t *testing.T) {
	modified := time.Now()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", modified, strings.NewReader(strings.Repeat("x", 1<<20)))
	}))
	defer server.Close()
	proxy, err := faultproxy.Start(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	packs, closer, err := Getter(t.Context(), t.TempDir(), proxy.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	proxy.Fail(faultproxy.Cut(1000).Times(1))
	if _, err := blob.Read(t.Context(), packs, "pack.car", 0, 1<<20); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a body that was cut: %v", err)
	}
}

// TestWebAbsence is asked for once.
func TestWebAbsence(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.NotFound(w, r)
	}))
	defer server.Close()
	packs, closer, err := Getter(t.Context(), t.TempDir(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if _, ok := packs.(blob.Putter); ok {
		t.Error("a web server can be written")
	}
	if _, err := packs.Get(t.Context(), "pack.car", 0, -1); !errors.Is(err, fs.ErrNotExist) || asked != 1 {
		t.Errorf("%d requests, %v", asked, err)
	}
}
