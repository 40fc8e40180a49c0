package cloudblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
)

// faulty is a store behind a proxy, with an object of 1 MiB.
type faulty struct {
	*cloudblob.Store
	proxy   *faultproxy.Proxy
	direct  *cloudblob.Store
	server  server
	bucket  string
	content []byte
}

func openFaulty(t *testing.T, o cloudblob.Options) *faulty {
	t.Helper()
	s := s3Server(t)
	f := &faulty{server: s, bucket: s.bucket(t), content: random(1 << 20)}
	p, err := faultproxy.Start(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	f.proxy = p
	f.direct = s.open(t, f.bucket, "p", cloudblob.Options{})
	s.endpoint = p.URL()
	if o.TempDir == "" {
		o.TempDir = t.TempDir()
	}
	f.Store = s.open(t, f.bucket, "p", o)
	put(t, f.direct, "k", f.content)
	return f
}

func (f *faulty) read(ctx context.Context, off, n int64) ([]byte, error) {
	o, err := f.Get(ctx, "k", off, n)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

// clean checks that an error names the object and holds no secret.
func (f *faulty) clean(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v %+v %q", err, err, err.Error())
	for _, secret := range []string{f.server.key.Secret, f.server.key.ID, "Signature", "X-Amz", "x-id", "?"} {
		if strings.Contains(text, secret) {
			t.Errorf("the error holds %q: %v", secret, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "s3://"+f.bucket+"/p") {
		t.Errorf("the error is not one line that names the object: %v", err)
	}
}

// TestReadFaults: what helps is repeated, what does not is not, and no wrong byte comes.
func TestReadFaults(t *testing.T) {
	lie := func(cr string) faultproxy.Fault { return faultproxy.Header("Content-Range", cr) }
	for name, c := range map[string]struct {
		faults   []faultproxy.Fault
		err      error // nil: the bytes come; other errors that are not listed here are errAny
		requests int
	}{
		"none":                  {nil, nil, 1},
		"403":                   {[]faultproxy.Fault{faultproxy.Status(403, "AccessDenied")}, fs.ErrPermission, 1},
		"401":                   {[]faultproxy.Fault{faultproxy.Status(401, "")}, fs.ErrPermission, 1},
		"404":                   {[]faultproxy.Fault{faultproxy.Status(404, "NoSuchKey")}, fs.ErrNotExist, 1},
		"no bucket":             {[]faultproxy.Fault{faultproxy.Status(404, "NoSuchBucket")}, fs.ErrNotExist, 1},
		"412":                   {[]faultproxy.Fault{faultproxy.Status(412, "PreconditionFailed")}, blob.ErrChanged, 1},
		"301":                   {[]faultproxy.Fault{faultproxy.Answer(301, "PermanentRedirect", http.Header{"X-Amz-Bucket-Region": {"eu-west-1"}})}, errAny, 1},
		"503 twice":             {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown").Times(2)}, nil, 3},
		"503 for ever":          {[]faultproxy.Fault{faultproxy.Status(503, "SlowDown")}, errAny, 4},
		"429":                   {[]faultproxy.Fault{faultproxy.Status(429, "").Times(1)}, nil, 2},
		"500, 502, 504":         {[]faultproxy.Fault{faultproxy.Status(500, "InternalError").Times(1), faultproxy.Status(502, "").Times(1), faultproxy.Status(504, "").Times(1)}, nil, 4},
		"501":                   {[]faultproxy.Fault{faultproxy.Status(501, "NotImplemented")}, errAny, 1},
		"silence":               {[]faultproxy.Fault{faultproxy.Silence().Times(1)}, nil, 2},
		"silence for ever":      {[]faultproxy.Fault{faultproxy.Silence()}, os.ErrDeadlineExceeded, 4},
		"cut":                   {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1)}, nil, 2},
		"cut at once":           {[]faultproxy.Fault{faultproxy.Cut(0).Times(1)}, nil, 2},
		"cut thrice":            {[]faultproxy.Fault{faultproxy.Cut(150000).Times(3)}, nil, 4},
		"cut for ever":          {[]faultproxy.Fault{faultproxy.Cut(10)}, io.ErrUnexpectedEOF, 4},
		"stall":                 {[]faultproxy.Fault{faultproxy.Stall(5000).Times(1)}, nil, 2},
		"stall for ever":        {[]faultproxy.Fault{faultproxy.Stall(5)}, os.ErrDeadlineExceeded, 4},
		"wrong range once":      {[]faultproxy.Fault{lie("bytes 0-524287/1048576").Times(1)}, nil, 2},
		"wrong range":           {[]faultproxy.Fault{lie("bytes 0-524287/1048576")}, errAny, 4},
		"wrong size":            {[]faultproxy.Fault{lie("bytes 100-524387/524380")}, errAny, 1},
		"malformed range":       {[]faultproxy.Fault{lie("bytes 100-/1048576")}, errAny, 1},
		"no range":              {[]faultproxy.Fault{lie("")}, errAny, 1},
		"whole for a range":     {[]faultproxy.Fault{faultproxy.Alter(func(r *http.Response) { r.StatusCode = 200; r.Header.Del("Content-Range") })}, errAny, 4},
		"another after a cut":   {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1), faultproxy.Header("ETag", `"other"`)}, blob.ErrChanged, 2},
		"no tag, cut":           {[]faultproxy.Fault{faultproxy.Alter(func(r *http.Response) { r.Header.Del("ETag"); r.Body = io.NopCloser(io.LimitReader(r.Body, 100)) })}, io.ErrUnexpectedEOF, 1},
		"403 after a cut":       {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1), faultproxy.Status(403, "ExpiredToken")}, fs.ErrPermission, 2},
		"wrong range on resume": {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1), lie("bytes 100-524387/1048576")}, errAny, 2},
		"not satisfiable":       {[]faultproxy.Fault{faultproxy.Status(416, "InvalidRange").Method("GET").Times(1)}, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openFaulty(t, cloudblob.Options{Attempts: 4, Stall: 300 * time.Millisecond})
			f.proxy.Fail(c.faults...)
			got, err := f.read(t.Context(), 100, 512<<10)
			f.clean(t, err)
			switch {
			case c.err == nil && (err != nil || !bytes.Equal(got, f.content[100:100+512<<10])):
				t.Errorf("%d bytes, %v", len(got), err)
			case c.err == errAny && err == nil, c.err != nil && c.err != errAny && !errors.Is(err, c.err):
				t.Errorf("%d bytes, error %v, want %v", len(got), err, c.err)
			case !bytes.HasPrefix(f.content[100:], got):
				t.Errorf("wrong bytes among %d", len(got))
			}
			if n := len(f.proxy.Requests()); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

var errAny = errors.New("any error")

// TestReplacedInMidRead: bytes of two objects never mix, and the second is not read.
func TestReplacedInMidRead(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	f.proxy.Fail(faultproxy.Cut(1000).Times(1), faultproxy.Do(func() { put(t, f.direct, "k", random(1<<20)) }).Times(1))
	got, err := f.read(t.Context(), 0, -1)
	if !errors.Is(err, blob.ErrChanged) || !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(got, f.content[:1000]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	f.clean(t, err)
	r := f.proxy.Requests()
	if len(r) != 2 || r[0].Header.Get("If-Match") != "" || r[1].Header.Get("If-Match") == "" {
		t.Errorf("requests %v", r)
	}
}

func TestDeletedInMidRead(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	f.proxy.Fail(faultproxy.Cut(1000).Times(1), faultproxy.Do(func() {
		if err := f.direct.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
	}).Times(1))
	if got, err := f.read(t.Context(), 0, -1); !errors.Is(err, fs.ErrNotExist) || len(got) != 1000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestGetIf(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	i, err := f.Stat(t.Context(), "k")
	if err != nil || !strings.HasPrefix(i.Identity, `"`) || i.Identity != i.Version {
		t.Fatalf("%+v, %v", i, err)
	}
	f.proxy.Reset()
	o, err := f.GetIf(t.Context(), "k", i.Identity, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(o); err != nil || !bytes.Equal(b, f.content[10:20]) {
		t.Errorf("%x, %v", b, err)
	}
	o.Close()
	if n := len(f.proxy.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	ranges := []struct{ off, n int64 }{{0, 1}, {0, -1}, {0, 0}, {1 << 20, 1}, {5, 0}}
	check := func(what string) {
		t.Helper()
		for _, r := range ranges {
			if _, err := f.GetIf(t.Context(), "k", i.Identity, r.off, r.n); !errors.Is(err, blob.ErrChanged) {
				t.Errorf("%s, %d+%d: %v", what, r.off, r.n, err)
			}
		}
	}
	for _, r := range ranges {
		o, err := f.GetIf(t.Context(), "k", i.Identity, r.off, r.n)
		if err != nil {
			t.Errorf("%d+%d: %v", r.off, r.n, err)
			continue
		}
		o.Close()
	}
	put(t, f.direct, "k", f.content[1:])
	check("replaced")
	f.proxy.Fail(faultproxy.Alter(func(r *http.Response) {})) // and a server that ignores conditions:
	if _, err := f.GetIf(t.Context(), "k", `"00000000000000000000000000000000"`, 0, 1); !errors.Is(err, blob.ErrChanged) {
		t.Errorf("foreign identity: %v", err)
	}
	if _, err := f.GetIf(t.Context(), "k", "", 0, 1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no identity: %v", err)
	}
	if _, err := f.GetIf(t.Context(), "absent", i.Identity, 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// TestClockSkew: the clock here is wrong. One correction is made; where it does not help the
// error says why.
func TestClockSkew(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	skewed := faultproxy.Answer(403, "RequestTimeTooSkewed", http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}})
	f.proxy.Fail(skewed.Times(1))
	f.read(t.Context(), 0, 10)
	r := f.proxy.Requests()
	if len(r) < 2 {
		t.Fatalf("%d requests", len(r))
	}
	var times [2]time.Time
	for i := range times {
		var err error
		if times[i], err = time.Parse("20060102T150405Z", r[i].Header.Get("X-Amz-Date")); err != nil {
			t.Fatal(err)
		}
	}
	if d := times[1].Sub(times[0]); d < 59*time.Minute || d > 61*time.Minute {
		t.Errorf("the second request is dated %v after the first", d)
	}
	f.proxy.Reset()
	f.proxy.Fail(skewed)
	_, err := f.read(t.Context(), 0, 10)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "clock") {
		t.Errorf("%v", err)
	}
	f.clean(t, err)
}

// TestRequestCounts: a Get is one request, and the trace tells each.
func TestRequestCounts(t *testing.T) {
	var mu sync.Mutex
	var told []cloudblob.Request
	f := openFaulty(t, cloudblob.Options{Trace: &cloudblob.Trace{Request: func(_ context.Context, r cloudblob.Request) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r)
	}}})
	large := random(64 << 20)
	put(t, f.direct, "large", large)
	for off := int64(0); off < 64<<20; off += 8 << 20 {
		if got := read(t, f, "large", off, 8<<20); !bytes.Equal(got, large[off:off+8<<20]) {
			t.Errorf("wrong bytes at %d", off)
		}
	}
	if n := len(f.proxy.Requests()); n != 8 {
		t.Errorf("64 MiB in ranges of 8 MiB: %d requests", n)
	}
	var sum int64
	for _, r := range told {
		if sum += r.Received; r.Op != "get" || r.Status != 206 || r.Retry || r.Err != nil || r.Duration < r.Wait || r.Wait <= 0 {
			t.Errorf("told %+v", r)
		}
	}
	if len(told) != 8 || sum != 64<<20 {
		t.Errorf("told of %d requests and %d bytes", len(told), sum)
	}
	for name, c := range map[string]struct {
		do   func() error
		want int
	}{
		"get all":    {func() error { _, err := f.read(t.Context(), 0, -1); return err }, 1},
		"empty":      {func() error { _, err := f.read(t.Context(), 5, 0); return err }, 1},
		"end":        {func() error { _, err := f.read(t.Context(), 1<<20, 10); return err }, 2},
		"stat":       {func() error { _, err := f.Stat(t.Context(), "k"); return err }, 1},
		"put":        {func() error { return f.Put(t.Context(), "small", strings.NewReader("x")) }, 1},
		"delete":     {func() error { return f.Delete(t.Context(), "small") }, 1},
		"absent":     {func() error { return f.Delete(t.Context(), "absent") }, 1},
		"put 40 MiB": {func() error { return f.Put(t.Context(), "parts", bytes.NewReader(large[:40<<20])) }, 5},
	} {
		f.proxy.Reset()
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(f.proxy.Requests()); n != c.want {
			t.Errorf("%s: %d requests, want %d", name, n, c.want)
		}
	}
}

// TestCanceled ends reads and writes that are under way.
func TestCanceled(t *testing.T) {
	f := openFaulty(t, cloudblob.Options{})
	f.proxy.Fail(faultproxy.Stall(1000))
	ctx, cancel := context.WithCancel(t.Context())
	o, err := f.Get(ctx, "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := io.ReadFull(o, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := o.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	f.proxy.Reset()
	f.proxy.Fail(faultproxy.Silence())
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := f.Put(ctx, "new", bytes.NewReader(f.content)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
	if n := len(f.proxy.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}
