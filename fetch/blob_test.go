package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/blob/treeblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
	"github.com/hashstream/hashstream/gateway"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest/single"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer"
)

// blobGateway serves data as one blob.
func blobGateway(t testing.TB, data []byte) (http.Handler, digest.Digest) {
	t.Helper()
	keys, packs := memkv.New(), memblob.New()
	res, err := single.Add(t.Context(), bytes.NewReader(data), packs, keys, bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	return gateway.New(streamer.New(index.New(keys, nil), packs, &streamer.Options{Trees: outboard.New(keys, nil)}), nil), res.Digest
}

func bytesOf(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func TestBlob(t *testing.T) {
	for _, size := range []int64{0, 1, bao.GroupSize, bao.GroupSize + 1, 3 << 20} {
		data := bytesOf(int(size))
		h, d := blobGateway(t, data)
		c := client(t, nil, serve(t, h.ServeHTTP))
		if got, err := c.BlobSize(t.Context(), d); err != nil || got != size {
			t.Errorf("size of %d: %d, %v", size, got, err)
		}
		for _, r := range [][2]int64{{0, -1}, {size / 3, size / 2}, {size / 2, -1}, {0, size + 5}, {0, 0}, {size / 3, 1}} {
			off, end := r[0], min(r[0]+r[1], size)
			if r[1] < 0 {
				end = size
			}
			var got bytes.Buffer
			n, err := c.Blob(t.Context(), &got, d, off, r[1])
			if err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), data[off:end]) {
				t.Errorf("%d from %d of %d: %d bytes, %v", r[1], off, size, n, err)
			}
		}
		for _, off := range []int64{size + 1, size + 1<<30} {
			if n, err := c.Blob(t.Context(), io.Discard, d, off, 10); n != 0 || !errors.Is(err, block.ErrRange) {
				t.Errorf("from %d of %d: %d bytes, %v", off, size, n, err)
			}
		}
	}
}

// liars are gateways that do not answer as they should. Each is told the right answer.
func liars() map[string]func(w http.ResponseWriter, right []byte) {
	proof := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/vnd.hashstream.bao") }
	flipped := func(at int) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, right []byte) {
			proof(w)
			right[(at+len(right))%len(right)] ^= 1
			w.Write(right)
		}
	}
	sized := func(n int64) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, right []byte) {
			proof(w)
			for i := range 8 {
				right[i] = byte(n >> (8 * i))
			}
			w.Write(right)
		}
	}
	return map[string]func(http.ResponseWriter, []byte){
		"wrong root node":  flipped(10),
		"wrong last byte":  flipped(-1),
		"wrong middle":     flipped(1 << 20),
		"size is less":     sized(1 << 20),
		"size is none":     sized(0),
		"size is one less": sized(3<<20 - 1),
		"size is more":     sized(3<<20 + 1),
		"size is negative": sized(-1),
		"size is endless":  sized(1 << 60),
		"empty":            func(w http.ResponseWriter, _ []byte) { proof(w) },
		"cut":              func(w http.ResponseWriter, right []byte) { proof(w); w.Write(right[:len(right)/3]) },
		"cut in a header":  func(w http.ResponseWriter, right []byte) { proof(w); w.Write(right[:5]) },
		"connection is lost": func(w http.ResponseWriter, right []byte) {
			proof(w)
			w.Write(right[:len(right)/3])
			panic(http.ErrAbortHandler)
		},
		"endless zeros": func(w http.ResponseWriter, _ []byte) {
			proof(w)
			for b := make([]byte, 64<<10); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		},
		"raw bytes": func(w http.ResponseWriter, right []byte) {
			w.Header().Set("Content-Type", "application/vnd.ipld.raw")
			w.Write(right)
		},
		"a page":        func(w http.ResponseWriter, _ []byte) { io.WriteString(w, "<html>") },
		"bad request":   func(w http.ResponseWriter, _ []byte) { http.Error(w, "unknown format", 400) },
		"not found":     func(w http.ResponseWriter, _ []byte) { http.NotFound(w, nil) },
		"failure":       func(w http.ResponseWriter, _ []byte) { http.Error(w, "sorry", 500) },
		"not there yet": func(w http.ResponseWriter, _ []byte) { http.Error(w, "wait", http.StatusServiceUnavailable) },
	}
}

// TestBlobFromLiars gets nothing wrong from a gateway that lies, and all of it where an
// honest one is asked next, which goes on after what was right.
func TestBlobFromLiars(t *testing.T) {
	data := bytesOf(3 << 20)
	honest, d := blobGateway(t, data)
	for name, lie := range liars() {
		t.Run(name, func(t *testing.T) {
			liar := serve(t, func(w http.ResponseWriter, r *http.Request) {
				right := httptest.NewRecorder()
				honest.ServeHTTP(right, r)
				lie(w, right.Body.Bytes())
			})
			var asked atomic.Value
			second := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Store(r.URL.Query().Get("entity-bytes"))
				honest.ServeHTTP(w, r)
			})
			o := &fetch.Options{Retries: -1}
			var alone bytes.Buffer
			n, err := client(t, o, liar).Blob(t.Context(), &alone, d, 0, -1)
			if err == nil || n != int64(alone.Len()) || !bytes.HasPrefix(data, alone.Bytes()) {
				t.Errorf("alone: %d bytes, a prefix: %v, %v", n, bytes.HasPrefix(data, alone.Bytes()), err)
			}
			if absent := name == "not found"; errors.Is(err, fs.ErrNotExist) != absent {
				t.Errorf("absent: %v", err)
			}
			if none := name == "raw bytes" || name == "a page" || name == "bad request"; errors.Is(err, fetch.ErrNoProof) != none {
				t.Errorf("no proofs: %v", err)
			}
			if size, err := client(t, o, liar).BlobSize(t.Context(), d); err == nil && size != int64(len(data)) {
				t.Errorf("a size of %d was believed", size)
			}
			var got bytes.Buffer
			if n, err := client(t, o, liar, second).Blob(t.Context(), &got, d, 0, -1); err != nil || n != int64(len(data)) || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("with another: %d bytes, %v", n, err)
			}
			if from, _, _ := strings.Cut(asked.Load().(string), ":"); from != strconv.Itoa(alone.Len()) {
				t.Errorf("the second was asked from %s on, after %d bytes", from, alone.Len())
			}
		})
	}
}

// TestBlobMoreThanAsked takes nothing but the range, and does not mind what comes after.
func TestBlobMoreThanAsked(t *testing.T) {
	data := bytesOf(3 << 20)
	honest, d := blobGateway(t, data)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		right := httptest.NewRecorder()
		honest.ServeHTTP(right, r)
		w.Header().Set("Content-Type", "application/vnd.hashstream.bao")
		w.Write(append(right.Body.Bytes(), data...))
	})
	var got bytes.Buffer
	if n, err := client(t, nil, url).Blob(t.Context(), &got, d, 100, 70_000); err != nil || n != 70_000 || !bytes.Equal(got.Bytes(), data[100:70_100]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// full is a receiver without room.
type full struct{}

var errFull = errors.New("no room")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestBlobReceiverFails(t *testing.T) {
	data := bytesOf(100_000)
	honest, d := blobGateway(t, data)
	var asked atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); honest.ServeHTTP(w, r) })
	if _, err := client(t, nil, url, url).Blob(t.Context(), full{}, d, 0, -1); !errors.Is(err, errFull) || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// TestBlobTrickle ends an answer that has its bytes come one by one, so that it is never idle.
func TestBlobTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := digest.Sum(digest.BLAKE3, bytesOf(100_000))
		if err != nil {
			t.Fatal(err)
		}
		c, err := fetch.New([]string{"http://slow"}, &fetch.Options{Retries: -1, Transport: trickle{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Blob(t.Context(), io.Discard, d, 0, -1); !errors.Is(err, fetch.ErrStalled) {
			t.Errorf("got %v", err)
		}
	})
}

// trickle answers with a byte every ten seconds.
type trickle struct{}

func (trickle) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &drops{ctx: r.Context(), data: []byte{0, 0, 0, 0, 1}} // a size of 4 GiB, of which a node would follow
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/vnd.hashstream.bao"}}, ContentLength: -1, Body: body, Request: r}, nil
}

type drops struct {
	ctx  context.Context
	data []byte
}

func (d *drops) Read(b []byte) (int, error) {
	select {
	case <-time.After(10 * time.Second):
		b[0] = 0
		n := copy(b[:1], d.data)
		d.data = d.data[n:]
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (*drops) Close() error { return nil }

// counting counts what is read of a file.
type counting struct {
	*treeblob.Tree
	bytes *atomic.Int64
}

func (c counting) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	obj, err := c.Tree.GetIf(ctx, key, identity, off, n)
	if err != nil {
		return nil, err
	}
	return counted{obj, c.bytes}, nil
}

type counted struct {
	blob.Object
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Object.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// TestBlobSlice fetches 1 MiB of a sparse file of 1 GiB that stays where it is, from
// anywhere in it.
func TestBlobSlice(t *testing.T) {
	const size, n = 1<<30 + 777, 1 << 20
	name := filepath.Join(t.TempDir(), "sparse")
	if err := errors.Join(os.WriteFile(name, []byte("begin"), 0o600), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	tree, err := treeblob.Open(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := tree.Stat(t.Context(), "sparse")
	if err != nil {
		t.Fatal(err)
	}
	keys := memkv.New()
	res, err := single.Place(t.Context(), f, index.Location{Path: "sparse", Version: info.Identity}, func(int64) error { return nil }, keys, bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	var read, came atomic.Int64
	s := streamer.New(index.New(keys, nil), memblob.New(), &streamer.Options{Trees: outboard.New(keys, nil), Files: counting{tree, &read}})
	c := client(t, &fetch.Options{Trace: &fetch.Trace{Bytes: func(n int) { came.Add(int64(n)) }}}, serve(t, gateway.New(s, nil).ServeHTTP))
	for _, off := range []int64{0, 512<<20 - n/2, 123_456_789, size - n} {
		read.Store(0)
		came.Store(0)
		got, err := c.Blob(t.Context(), io.Discard, res.Digest, off, n)
		if err != nil || got != n {
			t.Fatalf("from %d: %d bytes, %v", off, got, err)
		}
		if came.Load() > n+n/10 || read.Load() > n+64<<10 || read.Load() < n {
			t.Errorf("1 MiB from %d: %d bytes came, %d of the file were read", off, came.Load(), read.Load())
		}
	}
}
