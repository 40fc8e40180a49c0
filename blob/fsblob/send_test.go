package fsblob_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
)

// sendfileConn counts the bytes that arrive in the only form that package net
// sends with sendfile: a regular file inside a LimitedReader.
type sendfileConn struct {
	*net.TCPConn
	sent *atomic.Int64
}

func (c sendfileConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			c.sent.Add(n)
		}
	}
	return n, err
}

type sendfileListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l sendfileListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return sendfileConn{c.(*net.TCPConn), l.sent}, nil
}

// serve answers /key?off&n from s.
func serve(t testing.TB, s *fsblob.Store, sent *atomic.Int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		off, _ := strconv.ParseInt(r.FormValue("off"), 10, 64)
		n, _ := strconv.ParseInt(r.FormValue("n"), 10, 64)
		o, err := s.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), off, n)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer o.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		w.WriteHeader(http.StatusOK)
		o.(io.WriterTo).WriteTo(w)
	})}
	go srv.Serve(sendfileListener{l, sent})
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

func TestSendfile(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "%7d\n", i)
	}
	put(t, s, "k", []byte(b.String()))
	var sent atomic.Int64
	base := serve(t, s, &sent)
	for _, c := range []struct {
		off, n   int
		sendfile bool
	}{{0, 1_600_000, true}, {12_345, 256 << 10, true}, {99, 128 << 10, true}, {77, 4096, false}, {1_599_999, 1, false}} {
		sent.Store(0)
		resp, err := http.Get(fmt.Sprintf("%s/k?off=%d&n=%d", base, c.off, c.n))
		must(t, err)
		got, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if string(got) != b.String()[c.off:c.off+c.n] {
			t.Errorf("%d+%d: wrong bytes", c.off, c.n)
		}
		want := int64(0)
		if c.sendfile {
			want = int64(c.n) - 512 // net/http reads these for content sniffing
		}
		if sent.Load() != want {
			t.Errorf("%d+%d: %d bytes by sendfile, want %d", c.off, c.n, sent.Load(), want)
		}
	}
}

func benchStore(b *testing.B, size int) *fsblob.Store {
	s := open(b, b.TempDir(), nil)
	put(b, s, "k", make([]byte, size))
	return s
}

type sink struct{ io.Writer } // no ReaderFrom

func BenchmarkGet(b *testing.B) {
	for _, n := range []int64{4 << 10, 32 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			s := benchStore(b, 16<<20)
			b.SetBytes(n)
			b.ReportAllocs()
			ctx := b.Context()
			var off int64
			for b.Loop() {
				o, err := s.Get(ctx, "k", off%(15<<20), n)
				if err != nil {
					b.Fatal(err)
				}
				if k, err := o.(io.WriterTo).WriteTo(sink{io.Discard}); k != n || err != nil {
					b.Fatal(k, err)
				}
				o.Close()
				off += 12345
			}
		})
	}
}

// BenchmarkSend writes ranges to a TCP connection in both ways; it is what
// sendfileMin was chosen by.
func BenchmarkSend(b *testing.B) {
	for _, n := range []int64{4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20} {
		for _, way := range []string{"copy", "sendfile"} {
			b.Run(fmt.Sprintf("%dKiB/%s", n>>10, way), func(b *testing.B) { benchSend(b, n, way == "sendfile") })
		}
	}
}

func benchSend(b *testing.B, n int64, sendfile bool) {
	s := benchStore(b, 16<<20)
	conn := drain(b)
	b.SetBytes(n)
	var off int64
	for b.Loop() {
		o, err := s.Get(b.Context(), "k", off%(15<<20), n)
		must(b, err)
		if sendfile {
			_, err = o.(io.WriterTo).WriteTo(conn)
		} else {
			_, err = o.(io.WriterTo).WriteTo(sink{conn})
		}
		must(b, err)
		o.Close()
		off += 1 << 20
	}
}

// drain returns a connection whose other end throws everything away.
func drain(b *testing.B) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(sink{io.Discard}, c)
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(b, err)
	b.Cleanup(func() { conn.Close() })
	return conn
}

// FuzzKey: whatever the key, nothing outside the root is read, and what can be
// put can be read back under the same key alone.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "../x", "/etc/passwd", ".tmp/x", "a//b", "a/./b", "ü", "a\x00b", "a\\b", "..a", "link/x"} {
		f.Add(key)
	}
	dir := f.TempDir()
	s := open(f, filepath.Join(dir, "root"), nil)
	must(f, os.WriteFile(filepath.Join(dir, "x"), []byte("secret"), 0o600))
	must(f, os.Symlink("..", filepath.Join(dir, "root/link")))
	f.Fuzz(func(t *testing.T, key string) {
		ctx := context.Background()
		if o, err := s.Get(ctx, key, 0, -1); err == nil {
			t.Fatalf("Get(%q) of an empty store = %+v", key, o.Info())
		}
		if err := s.Put(ctx, key, strings.NewReader(key)); err != nil {
			return
		}
		if err := blob.CheckKey(key); err != nil {
			t.Errorf("Put stored a key that is malformed: %v", err)
		}
		n := 0
		for i, err := range s.List(ctx, "") {
			if n++; err != nil || i.Key != key {
				t.Errorf("after Put(%q) List yields %q, %v", key, i.Key, err)
			}
		}
		if got := get(t, s, key); n != 1 || got != key {
			t.Errorf("%d objects, Get = %q, want %q", n, got, key)
		}
		must(t, s.Delete(ctx, key))
	})
}
