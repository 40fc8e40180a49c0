package cloudblob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
)

const part = 5 << 20 // the smallest that S3 takes

// uploads counts the uploads of a bucket that neither ended nor were aborted.
func (f *faulty) uploads(t *testing.T) int {
	t.Helper()
	out, err := f.server.client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &f.bucket})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func isPart(r *http.Request) bool { return r.URL.Query().Has("partNumber") }

// TestWriteFaults: an object appears whole or not at all, and nothing stays behind.
func TestWriteFaults(t *testing.T) {
	broken := errors.New("broken source")
	parts, single := random(4*part+5), random(1000)
	for name, c := range map[string]struct {
		faults []faultproxy.Fault
		src    io.Reader
		want   []byte
		err    error
	}{
		"parts":                 {nil, bytes.NewReader(parts), parts, nil},
		"parts of a stream":     {nil, iotest.HalfReader(bytes.NewReader(parts)), parts, nil},
		"503 of a part":         {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown").On(isPart).Times(2)}, bytes.NewReader(parts), parts, nil},
		"503 of the end":        {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown").Method("POST").Times(2)}, bytes.NewReader(parts), parts, nil},
		"silence to a part":     {[]faultproxy.Fault{faultproxy.Silence().On(isPart).Times(1)}, bytes.NewReader(parts), parts, nil},
		"503 of parts for ever": {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown").On(isPart)}, bytes.NewReader(parts), nil, errAny},
		"403 of a part":         {[]faultproxy.Fault{faultproxy.Status(403, "AccessDenied").On(isPart)}, bytes.NewReader(parts), nil, fs.ErrPermission},
		"error in the second":   {nil, io.MultiReader(bytes.NewReader(parts[:4*part]), iotest.ErrReader(broken)), nil, broken},
		"error at the end":      {nil, io.MultiReader(bytes.NewReader(parts), iotest.ErrReader(broken)), nil, broken},
		"503 of a small one":    {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown").Times(3)}, bytes.NewReader(single), single, nil},
		"403 of a small one":    {[]faultproxy.Fault{faultproxy.Status(403, "AccessDenied")}, bytes.NewReader(single), nil, fs.ErrPermission},
		"no bucket":             {[]faultproxy.Fault{faultproxy.Status(404, "NoSuchBucket")}, bytes.NewReader(single), nil, fs.ErrNotExist},
		"cut answer of a part":  {[]faultproxy.Fault{faultproxy.Status(500, "InternalError").On(isPart).Times(1)}, bytes.NewReader(parts), parts, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openFaulty(t, cloudblob.Options{Attempts: 4, Stall: 2 * time.Second, PartSize: part, Concurrency: 2})
			f.proxy.Fail(c.faults...)
			err := f.Put(t.Context(), "new", c.src)
			f.clean(t, err)
			if c.err == errAny && err == nil || c.err != errAny && !errors.Is(err, c.err) {
				t.Errorf("Put: %v, want %v", err, c.err)
			}
			if c.want != nil {
				if got := read(t, f.direct, "new", 0, -1); !bytes.Equal(got, c.want) {
					t.Errorf("%d bytes are there, want %d", len(got), len(c.want))
				}
			} else if i, err := f.direct.Stat(t.Context(), "new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%+v, %v", i, err)
			}
			if n := f.uploads(t); n != 0 {
				t.Errorf("%d uploads stayed behind", n)
			}
		})
	}
}

// TestPutCanceled: whoever breaks an upload off leaves nothing behind.
func TestPutCanceled(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{PartSize: part})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	f.proxy.Fail(faultproxy.Silence().On(func(r *http.Request) bool {
		if isPart(r) {
			cancel(gone)
		}
		return isPart(r)
	}))
	start := time.Now()
	if err := f.Put(ctx, "new", bytes.NewReader(random(4*part))); !errors.Is(err, gone) || time.Since(start) > 10*time.Second {
		t.Errorf("Put: %v after %v", err, time.Since(start))
	}
	if n := f.uploads(t); n != 0 {
		t.Errorf("%d uploads stayed behind", n)
	}
}

func draftOf(t *testing.T, s *cloudblob.Store, b []byte) blob.Draft {
	t.Helper()
	d, err := s.Draft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Discard() })
	if _, err := d.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestKeep: whoever comes first stays, also when both asked before.
func TestKeep(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "parts": 4*part + 1} {
		t.Run(name, func(t *testing.T) {
			f := openFaulty(t, cloudblob.Options{PartSize: part})
			first := random(size)
			f.proxy.Fail(faultproxy.Do(func() { put(t, f.direct, "new", first) }).On(func(r *http.Request) bool {
				return r.Method == "PUT" && (isPart(r) || size == 1000)
			}).Times(1))
			if err := draftOf(t, f.Store, random(size)).Commit(t.Context(), "new"); err != nil {
				t.Fatal(err)
			}
			if got := read(t, f, "new", 0, -1); !bytes.Equal(got, first) {
				t.Error("the second replaced the first")
			}
			if n := f.uploads(t); n != 0 {
				t.Errorf("%d uploads stayed behind", n)
			}
		})
	}
}

// TestKeepFaults is what conditional writes meet beside success.
func TestKeepFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		err   error
	}{
		"503":             {faultproxy.Status(503, "SlowDown").Times(2), nil},
		"conflict":        {faultproxy.Status(409, "ConditionalRequestConflict").Method("PUT").Times(2), nil},
		"no conditions":   {faultproxy.Status(501, "NotImplemented").On(func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" }), nil},
		"403 of the HEAD": {faultproxy.Status(403, "").Method("HEAD"), fs.ErrPermission},
		"403 of the PUT":  {faultproxy.Status(403, "AccessDenied").Method("PUT"), fs.ErrPermission},
		"no bucket":       {faultproxy.Status(404, "NoSuchBucket"), fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFaulty(t, cloudblob.Options{})
			f.proxy.Fail(c.fault)
			b := random(1000)
			err := draftOf(t, f.Store, b).Commit(t.Context(), "new")
			if f.clean(t, err); !errors.Is(err, c.err) {
				t.Errorf("Commit: %v, want %v", err, c.err)
			}
			if c.err == nil {
				if got := read(t, f.direct, "new", 0, -1); !bytes.Equal(got, b) {
					t.Errorf("%d bytes", len(got))
				}
			}
		})
	}
}

func TestDraftFiles(t *testing.T) {
	dir := t.TempDir()
	f := openFaulty(t, cloudblob.Options{TempDir: dir})
	d := draftOf(t, f.Store, random(1000))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a draft has the name %v, %v", entries, err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	g := openFaulty(t, cloudblob.Options{TempDir: dir + "/absent"})
	if _, err := g.Draft(t.Context()); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
		t.Errorf("Draft: %v", err)
	}
}

// collect lists a directory as names, with a slash behind prefixes.
func collect(t *testing.T, s *cloudblob.Store, prefix string) []string {
	t.Helper()
	var names []string
	for e, err := range s.Dir(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Dir {
			e.Name += "/"
		}
		names = append(names, e.Name)
	}
	return names
}

func TestDir(t *testing.T) {
	s := s3Server(t)
	st := s.open(t, s.bucket(t), "pre", cloudblob.Options{})
	for _, key := range []string{"a-b", "a/x", "a/y/z", "a0", "b", "c/d/e", "ü/ö", "a b+c%"} {
		put(t, st, key, []byte(key))
	}
	for prefix, want := range map[string][]string{
		"": {"a b+c%", "a-b", "a/", "a0", "b", "c/", "ü/"}, "a": {"x", "y/"}, "a/": {"x", "y/"}, "a/y": {"z"}, "b": nil, "none": nil, "ü": {"ö"},
	} {
		if got := collect(t, st, prefix); !slices.Equal(got, want) {
			t.Errorf("Dir(%q) = %q, want %q", prefix, got, want)
		}
	}
	for e, err := range st.Dir(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		if !e.Dir {
			i, err := st.Stat(t.Context(), e.Info.Key)
			if err != nil || i != e.Info || i.Key != "a/x" {
				t.Errorf("Dir says %+v, Stat %+v, %v", e.Info, i, err)
			}
		} else if e.Info != (blob.Info{Key: "a/y"}) {
			t.Errorf("Dir says %+v", e.Info)
		}
	}
}
