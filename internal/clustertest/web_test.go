package clustertest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/faultproxy"
)

// TestWebFile indexes a file on a web server, replaces it and removes it.
func TestWebFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(web.Close)
	r := rand.New(rand.NewPCG(5, 5))
	file := filepath.Join(dir, "files", "a file ü")
	put := func(content string, age time.Duration) {
		t.Helper()
		write(t, dir, map[string]string{"files/a file ü": content})
		must(t, os.Chtimes(file, time.Now().Add(-age), time.Now().Add(-age)))
	}
	put(randomText(r, 300_000), 2*time.Hour)
	s := newSite(t, web.URL+"/files/")
	url, err := backends.SourceName(web.URL + "/files/a file ü")
	must(t, err)
	first := s.scan(t, url)
	root, want := added(t, s.profile, file)
	car, err := s.car(t.Context(), root)
	if first.Result.Root != root || err != nil || !bytes.Equal(car, want) {
		t.Errorf("root %s, want %s; CAR of %d bytes, %v", first.Result.Root, root, len(car), err)
	}
	if again := s.scan(t, url); again.Different() {
		t.Errorf("a scan without a change gives %+v", again.Report)
	}
	put(randomText(r, 300_000), time.Hour)
	s.gone(t, "a replaced file before the scan", root)
	second := s.scan(t, url)
	s.gone(t, "a replaced file", root)
	root, want = added(t, s.profile, file)
	if car, err := s.car(t.Context(), root); second.Result.Root != root || err != nil || !bytes.Equal(car, want) {
		t.Errorf("after a change: CAR of %d bytes, %v", len(car), err)
	}
	must(t, os.Remove(file))
	s.gone(t, "a removed file before the scan", root)
	if _, err := s.tryScan(t.Context(), url); err == nil || !strings.Contains(err.Error(), "a file") && !strings.Contains(err.Error(), "a%20file") {
		t.Errorf("scan of a removed file: %v", err)
	}
	if _, err := s.tryScan(t.Context(), web.URL+"/files"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("scan of a directory: %v", err)
	}
	if _, err := s.tryScan(t.Context(), web.URL+"/elsewhere"); !errors.Is(err, backends.ErrNoRoot) {
		t.Errorf("scan beside the root: %v", err)
	}
}

// TestWebFaults meets servers that cannot be used for content in place, and one that is
// in trouble.
func TestWebFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"file": randomText(rand.New(rand.NewPCG(6, 6)), 300_000)})
	hour := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, "file"), hour, hour))
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(web.Close)
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		want  error // or nil: it is overcome
		says  string
	}{
		"busy for ever":     {faultproxy.Status(503, ""), nil, "file"},
		"busy for a while":  {faultproxy.Status(503, "").Times(2), nil, ""},
		"connections break": {faultproxy.Cut(100_000).Method("GET").Times(2), nil, ""},
		"no validator":      {faultproxy.Header("Last-Modified", ""), nil, "file: its store does not tell when it changes"},
		"refused":           {faultproxy.Status(403, ""), nil, "file"},
		"absent":            {faultproxy.Status(404, ""), nil, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, err := faultproxy.Start(web.URL)
			must(t, err)
			t.Cleanup(func() { proxy.Close() })
			proxy.Fail(c.fault)
			s := newSite(t, proxy.URL())
			got, err := s.tryScan(t.Context(), proxy.URL()+"/file")
			if c.says != "" {
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("scan: %v", err)
				}
				return
			}
			must(t, err)
			root, want := added(t, s.profile, filepath.Join(dir, "file"))
			if car, err := s.car(t.Context(), root); got.Result.Root != root || err != nil || !bytes.Equal(car, want) {
				t.Errorf("CAR of %d bytes, %v", len(car), err)
			}
		})
	}
}
