package clustertest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/origin"
)

// TestBucketFaultsInScan has requests of a scan fail. What is passing is overcome; the rest
// fails with the name of the object, takes the others, and a later scan succeeds.
func TestBucketFaultsInScan(t *testing.T) {
	t.Parallel()
	isBig := func(r *http.Request) bool { return isObject(r) && strings.HasSuffix(r.URL.Path, "/big") }
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		want  error  // or nil: it is overcome
		says  string // part of the error
	}{
		"busy for a while":       {faultproxy.Status(503, "SlowDown").Times(3), nil, ""},
		"listing busy":           {faultproxy.Status(503, "SlowDown").On(isList).Times(3), nil, ""},
		"slow":                   {faultproxy.Delay(300 * time.Millisecond).Times(4), nil, ""},
		"connections break":      {faultproxy.Cut(100_000).On(isBig).Times(3), nil, ""},
		"listing breaks":         {faultproxy.Cut(50).On(isList).Times(2), nil, ""},
		"busy for ever":          {faultproxy.Status(503, "SlowDown").On(isBig), origin.ErrIncomplete, "root/big"},
		"refused":                {faultproxy.Status(403, "AccessDenied").On(isBig), origin.ErrIncomplete, "root/big"},
		"listing refused":        {faultproxy.Status(403, "AccessDenied").On(isList), fs.ErrPermission, "root"},
		"no bucket":              {faultproxy.Status(404, "NoSuchBucket").On(isList), fs.ErrNotExist, "root"},
		"another range":          {faultproxy.Header("Content-Range", "bytes 1-4194304/9000000").On(isBig), origin.ErrIncomplete, "root/big"},
		"breaks at once always":  {faultproxy.Cut(0).On(isBig), origin.ErrIncomplete, "root/big"},
		"no tag":                 {faultproxy.Header("ETag", "").On(isBig), origin.ErrIncomplete, "big"},
		"listing without tags":   {rewrite("ETag>", "X>").On(isList), nil, ""},
		"a listing that is none": {rewrite("<", "{").On(isList), nil, "no listing"},
		"an empty listing":       {rewrite("<", "").On(isList), nil, "no listing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			dir := t.TempDir()
			big := randomText(rand.New(rand.NewPCG(9, 9)), 9_000_000)
			b.put(t, "root/big", big)
			b.put(t, "root/small", "small")
			write(t, dir, map[string]string{"big": big, "small": "small"})
			s := newSite(t, b.root(""))
			s.profile.ChunkSize, s.profile.Width = 100_000, 20
			root, want := added(t, s.profile, dir)

			b.proxy.Fail(c.fault)
			got, err := s.tryScan(t.Context(), b.url("root"))
			if c.says == "" {
				must(t, err)
			} else {
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("scan: %v", err)
				}
				b.proxy.Reset()
				got = s.scan(t, b.url("root"))
			}
			if car, err := s.car(t.Context(), got.Result.Root); got.Result.Root != root || err != nil || !bytes.Equal(car, want) {
				t.Errorf("root %s, want %s; CAR of %d bytes, want %d, %v", got.Result.Root, root, len(car), len(want), err)
			}
		})
	}
}

// TestBucketFaultsInServing has requests of a response fail. Whatever happens, what was
// sent is a beginning of what is right.
func TestBucketFaultsInServing(t *testing.T) {
	t.Parallel()
	replace := func(b *bucket, t *testing.T) faultproxy.Fault {
		return faultproxy.Do(func() { b.put(t, "root/big", "another") })
	}
	for name, c := range map[string]struct {
		fault func(b *bucket, t *testing.T) faultproxy.Fault
		after int   // object requests that go well before
		want  error // what the error matches; nil: it is overcome
		all   bool  // any error will do
	}{
		"busy for a while":     {fault: fixed(faultproxy.Status(503, "SlowDown").Times(3))},
		"slow":                 {fault: fixed(faultproxy.Delay(300 * time.Millisecond).Times(2))},
		"connections break":    {fault: fixed(faultproxy.Cut(100_000).Times(3))},
		"busy for ever":        {fault: fixed(faultproxy.Status(503, "SlowDown")), all: true},
		"refused":              {fault: fixed(faultproxy.Status(403, "AccessDenied")), want: fs.ErrPermission},
		"absent":               {fault: fixed(faultproxy.Status(404, "NoSuchKey")), want: fs.ErrNotExist},
		"absent in the middle": {fault: fixed(faultproxy.Status(404, "NoSuchKey")), after: 1, want: fs.ErrNotExist},
		"another range":        {fault: fixed(faultproxy.Header("Content-Range", "bytes 1-4194304/9000000")), all: true},
		"another version":      {fault: fixed(faultproxy.Header("ETag", `"0123"`)), want: blob.ErrChanged},
		"wrong bytes":          {fault: fixed(flipped()), want: digest.ErrMismatch},
		"wrong bytes later":    {fault: fixed(flipped()), after: 1, want: digest.ErrMismatch},
		"replaced at first":    {fault: replace, want: blob.ErrChanged},
		"replaced in mid-read": {fault: replace, after: 1, want: blob.ErrChanged},
		"replaced while broken": {fault: func(b *bucket, t *testing.T) faultproxy.Fault {
			return faultproxy.Alter(func(resp *http.Response) {
				b.put(t, "root/big", "another")
				resp.Body = cutBody(resp.Body, 200_000)
			}).Times(1)
		}, want: blob.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			b.put(t, "root/big", randomText(rand.New(rand.NewPCG(9, 9)), 9_000_000))
			s := newSite(t, b.root(""))
			s.profile.ChunkSize, s.profile.Width = 100_000, 20
			root := s.scan(t, b.url("root")).Result.Root
			want, err := s.car(t.Context(), root)
			must(t, err)
			b.proxy.Reset()
			if c.after > 0 {
				b.proxy.Fail(faultproxy.Do(func() {}).On(isObject).Times(c.after))
			}
			b.proxy.Fail(c.fault(b, t).On(isObject))

			fresh := newStreamer(s) // which has verified nothing yet
			got, err := fresh.car(t.Context(), root)
			if !bytes.HasPrefix(want, got) {
				t.Errorf("%d wrong bytes were sent", len(got))
			}
			if c.after > 0 && len(got) < 1_000_000 && len(b.proxy.Requests()) < 2 {
				t.Errorf("the fault came before the middle: %d bytes", len(got))
			}
			switch {
			case c.want == nil && !c.all:
				if err != nil || len(got) != len(want) {
					t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
				}
			case err == nil || c.want != nil && !errors.Is(err, c.want):
				t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
			}
		})
	}
}

func fixed(f faultproxy.Fault) func(*bucket, *testing.T) faultproxy.Fault {
	return func(*bucket, *testing.T) faultproxy.Fault { return f }
}

// flipped changes one byte of each body.
func flipped() faultproxy.Fault {
	return faultproxy.Alter(func(resp *http.Response) { resp.Body = &flipBody{resp.Body} })
}

type flipBody struct{ io.ReadCloser }

func (f *flipBody) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}

// cutBody breaks off after n bytes.
func cutBody(body io.ReadCloser, n int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, n), iotest.ErrReader(io.ErrUnexpectedEOF)), body}
}

// TestBucketReplacedInScan replaces an object while it is hashed: what is indexed is one
// version of it, the later one.
func TestBucketReplacedInScan(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	r := rand.New(rand.NewPCG(4, 4))
	before, after := randomText(r, 9_000_000), randomText(r, 9_000_000)
	b.put(t, "root/big", before)
	s := newSite(t, b.root(""))
	s.profile.ChunkSize, s.profile.Width = 100_000, 20
	b.proxy.Fail(faultproxy.Do(func() {}).On(isObject).Times(1), faultproxy.Do(func() { b.put(t, "root/big", after) }).On(isObject).Times(1))
	got := s.scan(t, b.url("root"))
	dir := t.TempDir()
	write(t, dir, map[string]string{"big": after})
	root, want := added(t, s.profile, dir)
	if car, err := s.car(t.Context(), root); got.Result.Root != root || err != nil || !bytes.Equal(car, want) {
		t.Errorf("root %s, want %s; CAR of %d bytes, %v", got.Result.Root, root, len(car), err)
	}
}
