package cloudblob_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/internal/faultproxy"
	"github.com/hashstream/hashstream/internal/servertest"
)

// gsBucket creates a bucket of a GCS emulator.
func gsBucket(t testing.TB, server string) string {
	t.Helper()
	name := "t-" + strings.ToLower(rand.Text())
	resp, err := http.Post(server+"/storage/v1/b?project=test", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return name
}

func openGS(t testing.TB, server, bucket string, o cloudblob.Options) *cloudblob.Store {
	t.Helper()
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	s, err := cloudblob.Open(t.Context(), "gs://"+bucket+"/pre fix?anonymous=true&endpoint="+server, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestGS(t *testing.T) {
	server := servertest.URL(t, "gcs")
	blobtest.Run(t, func(t *testing.T) blob.Store {
		return openGS(t, server, gsBucket(t, server), cloudblob.Options{TempDir: t.TempDir()})
	})
}

func TestGSFaults(t *testing.T) {
	server := servertest.URL(t, "gcs")
	p, err := faultproxy.Start(server)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	bucket := gsBucket(t, server)
	direct := openGS(t, server, bucket, cloudblob.Options{})
	s := openGS(t, p.URL(), bucket, cloudblob.Options{Attempts: 4, Stall: 300 * time.Millisecond})
	b := random(1 << 20)
	for name, c := range map[string]struct {
		faults   []faultproxy.Fault
		err      error
		requests int
	}{
		"none":           {nil, nil, 1},
		"403":            {[]faultproxy.Fault{faultproxy.Status(403, "")}, fs.ErrPermission, 1},
		"404":            {[]faultproxy.Fault{faultproxy.Status(404, "")}, fs.ErrNotExist, 1},
		"503 twice":      {[]faultproxy.Fault{faultproxy.Status(503, "").Times(2)}, nil, 3},
		"503":            {[]faultproxy.Fault{faultproxy.Status(503, "")}, errAny, 4},
		"cut":            {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1)}, nil, 2},
		"cut for ever":   {[]faultproxy.Fault{faultproxy.Cut(10)}, io.ErrUnexpectedEOF, 4},
		"stall":          {[]faultproxy.Fault{faultproxy.Stall(1000).Times(1)}, nil, 2},
		"wrong range":    {[]faultproxy.Fault{faultproxy.Header("Content-Range", "bytes 0-524287/1048576")}, errAny, 4},
		"replaced":       {[]faultproxy.Fault{faultproxy.Cut(1000).Times(1), faultproxy.Do(func() { put(t, direct, "k", random(1<<20)) }).Times(1)}, blob.ErrChanged, 2},
		"silence at all": {[]faultproxy.Fault{faultproxy.Silence().Times(1)}, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, direct, "k", b)
			p.Reset()
			p.Fail(c.faults...)
			var got []byte
			o, err := s.Get(t.Context(), "k", 100, 512<<10)
			if err == nil {
				defer o.Close()
				got, err = io.ReadAll(o)
			}
			if c.err == nil && (err != nil || len(got) != 512<<10) || c.err == errAny && err == nil || c.err != errAny && !errors.Is(err, c.err) {
				t.Errorf("%d bytes, %v, want %v", len(got), err, c.err)
			}
			if !bytes.HasPrefix(b[100:], got) {
				t.Errorf("wrong bytes among %d", len(got))
			}
			if n := len(p.Requests()); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
			if err != nil && (!strings.Contains(err.Error(), "gs://"+bucket+"/pre fix/k") || strings.ContainsAny(err.Error(), "?\n")) {
				t.Errorf("the error is not clean: %v", err)
			}
		})
	}
}
