package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/origin"
)

// TestBucketSameAsAdd puts random trees into a bucket and compares them with the same
// trees added from a directory.
func TestBucketSameAsAdd(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	for seed := range uint64(6) {
		files := randomFiles(rand.New(rand.NewPCG(seed, 3)))
		dir, prefix := t.TempDir(), fmt.Sprintf("some/pre fix %d", seed)
		for name, content := range files {
			path := filepath.Join(dir, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(content), 0o644))
			b.put(t, prefix+"/"+name, content)
		}
		s := newSite(t, b.root("some"))
		got := s.scan(t, b.url(prefix))
		root, want := added(t, s.profile, dir)
		if got.Result.Root != root || got.New != int64(len(files)) {
			t.Fatalf("seed %d: in place %s of %+v, added %s of %d files", seed, got.Result.Root, got.Report, root, len(files))
		}
		if car, err := s.car(t.Context(), root); err != nil || !bytes.Equal(car, want) {
			t.Errorf("seed %d: CARs of %d and %d bytes differ, %v", seed, len(car), len(want), err)
		}
		b.proxy.Reset()
		again := s.scan(t, b.url(prefix))
		if again.Different() || again.Result.Root != root {
			t.Errorf("seed %d: a scan without a change gives %+v", seed, again)
		}
		if n := b.requests(); n["GET"] > 0 || n["HEAD"] > 1 {
			t.Errorf("seed %d: a scan without a change asks %v", seed, n)
		}
	}
}

func randomFiles(r *rand.Rand) map[string]string {
	files := map[string]string{}
	shared := randomText(r, 3500)
	for i := range 12 + r.IntN(12) {
		dir := ""
		for range r.IntN(4) {
			dir += fmt.Sprintf("d%d/", r.IntN(3))
		}
		name := fmt.Sprintf("%s%d-ü %%+&?#=", dir, i)
		switch r.IntN(5) {
		case 0:
			files[name] = shared
		case 1:
			files[name] = ""
		case 2:
			files[name] = strings.Repeat(shared[:1000], 1+r.IntN(9))
		default:
			files[name] = randomText(r, r.IntN(12_000))
		}
	}
	return files
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// TestBucketChange replaces and removes objects: what they held is gone at once, without
// a scan, and what they hold now is there after one.
func TestBucketChange(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	large := randomText(rand.New(rand.NewPCG(1, 1)), 11_000)
	b.put(t, "data/large", large)
	b.put(t, "data/sub/small", "small")
	b.put(t, "data/sub/kept", "kept")
	s := newSite(t, b.root(""))
	root := s.scan(t, b.url("data")).Result.Root
	largeRoot := s.scan(t, b.url("data/large")).Result.Root
	smallRoot := s.scan(t, b.url("data/sub/small")).Result.Root
	want, err := s.car(t.Context(), root)
	must(t, err)

	b.put(t, "data/large", large[1:]+"!")
	s.gone(t, "a replaced object before the scan", largeRoot)
	b.remove(t, "data/sub/small")
	s.gone(t, "a removed object before the scan", smallRoot)
	if got, err := s.car(t.Context(), root); err == nil || !bytes.HasPrefix(want, got) {
		t.Errorf("the old root before the scan: %d bytes, %v", len(got), err)
	}
	got := s.scan(t, b.url("data"))
	if want := (origin.Report{Files: 2, Bytes: int64(len(large) + 4), Unchanged: 1, Changed: 1, Removed: 1}); got.Report != want {
		t.Errorf("scan: %s", cmp.Diff(want, got.Report))
	}
	s.gone(t, "the old root", root)
	s.gone(t, "a replaced object", largeRoot)
	s.gone(t, "a removed object", smallRoot)
	car, err := s.car(t.Context(), got.Result.Root)
	if err != nil || !bytes.Contains(car, []byte("kept")) {
		t.Errorf("the new root: %d bytes, %v", len(car), err)
	}

	// Everything went: that is believed only if it is said.
	b.remove(t, "data/large")
	b.remove(t, "data/sub/kept")
	if _, err := s.tryScan(t.Context(), b.url("data")); !errors.Is(err, origin.ErrEmptied) {
		t.Errorf("scan of an emptied prefix: %v", err)
	}
}

// TestBucketPages lists a prefix of more objects than a page has.
func TestBucketPages(t *testing.T) {
	t.Parallel()
	const files = 2050
	b := newBucket(t)
	var puts sync.WaitGroup
	for worker := range 16 {
		puts.Go(func() {
			for i := worker; i < files; i += 16 {
				b.put(t, fmt.Sprintf("many/%04d", i), fmt.Sprint("content ", i))
			}
		})
	}
	puts.Wait()
	s := newSite(t, b.root("many"))
	b.proxy.Reset()
	got := s.scan(t, b.url("many"))
	n := b.requests()
	if got.New != files || got.Files != files || n["list"] < 3 || n["GET"] > files+10 {
		t.Errorf("scan %+v with %v", got.Report, n)
	}
	car, err := s.car(t.Context(), got.Result.Root)
	if err != nil || !bytes.Contains(car, []byte("content 2049")) {
		t.Errorf("CAR of %d bytes, %v", len(car), err)
	}
	b.proxy.Reset()
	if again := s.scan(t, b.url("many")); again.Unchanged != files {
		t.Errorf("again: %+v", again.Report)
	}
	// Three pages, once: the look whether anything is there is not made twice.
	if n := b.requests(); !maps.Equal(n, map[string]int{"list": 3}) {
		t.Errorf("a scan without a change asks %v", n)
	}
}

// TestBucketKeys meets keys that have no place in a tree. The server cannot have some of
// them, so the proxy writes them into its listings.
func TestBucketKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keys     []string
		old, new string // in listings
		want     error  // or nil: it is left out
		says     string // part of the error
	}{
		"an object and a directory": {[]string{"a/b", "c"}, "<Key>root/c<", "<Key>root/a<", fs.ErrInvalid, "a is an object and a directory"},
		"empty segments":            {[]string{"a/b", "c"}, "<Prefix>root/a/<", "<Prefix>root/a//<", fs.ErrInvalid, `"root/a//"`},
		"dots":                      {[]string{"a/b", "c"}, "<Key>root/c<", "<Key>root/..<", fs.ErrInvalid, `"root/.."`},
		"no UTF-8":                  {[]string{"a/b", "c"}, "<Key>root/c<", "<Key>root/c\xff<", nil, "UTF-8"},
		"elsewhere":                 {[]string{"a/b", "c"}, "<Key>root/c<", "<Key>ro/c<", fs.ErrInvalid, `"ro/c"`},
		"a marker of a directory":   {[]string{"dir/", "dir/x"}, "", "", nil, ""},
		"a long name":               {[]string{strings.Repeat("n", 200) + "/" + strings.Repeat("ü", 100)}, "", "", nil, ""},
		"a newline":                 {[]string{"line\nbreak"}, "", "", nil, ""},
		"a key of 40,000 bytes":     {[]string{"c"}, "<Key>root/c<", "<Key>root/" + strings.Repeat("x", 40_000) + "<", fs.ErrInvalid, "a name of 40000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			b.put(t, "root/good", "good")
			for _, key := range c.keys {
				content := "content"
				if strings.HasSuffix(key, "/") {
					content = ""
				}
				b.put(t, "root/"+key, content)
			}
			b.proxy.Fail(rewrite(c.old, c.new).On(isList))
			s := newSite(t, b.root(""))
			got, err := s.tryScan(t.Context(), b.url("root"))
			if c.says == "" {
				must(t, err)
				if _, err := s.car(t.Context(), got.Result.Root); err != nil || got.Files != 2 {
					t.Errorf("%+v, then %v", got.Report, err)
				}
				return
			}
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 2000 {
				t.Errorf("scan: %v", err)
			}
		})
	}
}

func isList(r *http.Request) bool { return r.Method == "GET" && r.URL.Query().Get("list-type") == "2" }

func isObject(r *http.Request) bool { return r.Method == "GET" && !isList(r) }

// rewrite replaces text in the bodies of answers.
func rewrite(old, new string) faultproxy.Fault {
	return faultproxy.Alter(func(resp *http.Response) {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return
		}
		resp.Body.Close()
		if old != "" {
			body = bytes.ReplaceAll(body, []byte(old), []byte(new))
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	})
}
