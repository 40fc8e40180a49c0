package storehttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// TestShort writes what is too short to be encrypted, in all forms. What was taken once can be deleted.
func TestShort(t *testing.T) {
	binary := map[string]string{"Content-Type": storehttp.MediaType}
	frame := func(kind storehttp.Kind, value []byte) []byte {
		return frames(t, storehttp.Frame{Kind: kind, Records: valuestore.Records(nil).Append(dhash.Key{9}, value)})
	}
	for _, c := range []struct{ n, status int }{{1, 400}, {dhash.Overhead - 1, 400}, {dhash.Overhead, 202}} {
		m := newMemory()
		url := node(t, m, nil)
		value := bytes.Repeat([]byte{7}, c.n)
		document := fmt.Sprintf(`{"key":"%s","value":"%s"}`, base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(value))
		for name, put := range map[string]func() (*http.Response, string){
			"values as JSON": func() (*http.Response, string) {
				return post(t, "PUT", url+"/multihash", nil, strings.NewReader(merge(dhash.Key{9}, string(value))))
			},
			"values as frames": func() (*http.Response, string) {
				return post(t, "PUT", url+"/multihash", binary, bytes.NewReader(frame(storehttp.Values, value)))
			},
			"metadata as JSON": func() (*http.Response, string) {
				return post(t, "PUT", url+"/metadata", nil, strings.NewReader(document))
			},
			"metadata as frames": func() (*http.Response, string) {
				return post(t, "PUT", url+"/metadata", binary, bytes.NewReader(frame(storehttp.Metadata, value)))
			},
		} {
			res, text := put()
			if taken := len(m.records)+len(m.metadata) > 0; res.StatusCode != c.status || taken != (c.status == 202) {
				t.Errorf("%s of %d bytes: %s %q, taken: %v", name, c.n, res.Status, text, taken)
			}
			clear(m.records)
			clear(m.metadata)
		}
		old := record{key: dhash.Key{9}, value: string(value)}
		for name, body := range map[string]io.Reader{"": strings.NewReader(merge(old.key, old.value)), storehttp.MediaType: bytes.NewReader(frame(storehttp.Values, value))} {
			m.records[old] = true
			if res, text := post(t, "DELETE", url+"/multihash", map[string]string{"Content-Type": name}, body); res.StatusCode != 202 || len(m.records) != 0 {
				t.Errorf("delete of %d bytes: %s %q", c.n, res.Status, text)
			}
		}
	}
	// Nothing is no short metadata, but that there is none.
	m := newMemory()
	m.metadata[dhash.MetadataKey{9}] = make([]byte, 40)
	if res, text := post(t, "PUT", node(t, m, nil)+"/metadata", binary, bytes.NewReader(frame(storehttp.Metadata, nil))); res.StatusCode != 202 || len(m.metadata) != 0 {
		t.Errorf("%s %q, %d left", res.Status, text, len(m.metadata))
	}
}

// TestStoreErrors tells failures of a store apart: few of them concern who asks, and none tells of paths.
func TestStoreErrors(t *testing.T) {
	path := func(errno syscall.Errno) error {
		return fmt.Errorf("store: put: %w", &fs.PathError{Op: "open", Path: "/secret/path", Err: errno})
	}
	for _, c := range []struct {
		err    error
		status int
	}{
		{path(syscall.EACCES), 500}, {path(syscall.EPERM), 500}, {path(syscall.EEXIST), 500}, {path(syscall.ENOENT), 500},
		{path(syscall.ENOSYS), 500}, {path(syscall.ENOTSUP), 500}, {path(syscall.EIO), 500}, {path(syscall.ENOSPC), 507}, {path(syscall.EDQUOT), 507},
		{&os.LinkError{Op: "rename", Old: "/secret/path", New: "/secret/path2", Err: fs.ErrExist}, 500},
		{&fs.PathError{Op: "open", Path: "/secret/path", Err: fs.ErrInvalid}, 500},
		{os.NewSyscallError("sync", syscall.ENOTSUP), 500},
		{fs.ErrPermission, 500}, {fs.ErrExist, 500}, {digest.ErrMismatch, 500}, {errors.New("disk on fire"), 500},
		{fmt.Errorf("store: %w", fs.ErrInvalid), 400}, {fmt.Errorf("store: %w", errors.ErrUnsupported), 501},
		{wire.ErrBusy, 503}, {cluster.ErrUnavailable, 503}, {context.DeadlineExceeded, 504},
	} {
		m := newMemory()
		m.err = c.err
		url := node(t, m, nil)
		long := strings.Repeat("x", 40)
		document := fmt.Sprintf(`{"key":"%s","value":"%s"}`, base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString([]byte(long)))
		for name, write := range map[string]func() (*http.Response, string){
			"JSON": func() (*http.Response, string) {
				return post(t, "PUT", url+"/multihash", nil, strings.NewReader(merge(dhash.Key{1}, long)))
			},
			"frames": func() (*http.Response, string) {
				return post(t, "DELETE", url+"/multihash", map[string]string{"Content-Type": storehttp.MediaType}, bytes.NewReader(frames(t, storehttp.Frame{Kind: storehttp.Values, Records: records(3)})))
			},
			"metadata": func() (*http.Response, string) {
				return post(t, "PUT", url+"/metadata", nil, strings.NewReader(document))
			},
			"remove": func() (*http.Response, string) {
				return post(t, "POST", url+"/remove", nil, strings.NewReader(`{"provider":"AAAAAAAAAAAAAAAAAAAAAA==","before":1}`))
			},
		} {
			res, text := write()
			if res.StatusCode != c.status || strings.Contains(text, "secret") || (c.status == 503) != (res.Header.Get("Retry-After") != "") {
				t.Errorf("%v: %s: %s %q", c.err, name, res.Status, text)
			}
		}
	}
}

// TestCorruptGzip sends compressed bodies with every byte changed: it is never the connection's fault.
func TestCorruptGzip(t *testing.T) {
	url := node(t, newMemory(), nil)
	header := map[string]string{"Content-Encoding": "gzip"}
	good, err := io.ReadAll(zipped(t, []byte(merge(dhash.Key{1}, strings.Repeat("x", 40), strings.Repeat("yz", 40)))))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x55
		switch res, text := post(t, "PUT", url+"/multihash", header, bytes.NewReader(bad)); res.StatusCode {
		case 400:
			refused++
		case 202: // such as the time in the header
		default:
			t.Errorf("byte %d: %s %q", i, res.Status, text)
		}
	}
	if refused < len(good)/2 {
		t.Errorf("%d of %d were refused", refused, len(good))
	}
}

// slow is a store that removes a provider in parts, of which each takes a while.
type slow struct {
	*memory
	part  time.Duration
	parts atomic.Int32 // left
	dumb  bool         // does not tell that it did a part
}

func (s *slow) RemoveSealed(ctx context.Context, _ ipni.ProviderTag, _ *dhash.MetadataKey, _ uint64) error {
	for some := false; s.parts.Load() > 0; some = true {
		select {
		case <-ctx.Done():
			if some && !s.dumb {
				return fmt.Errorf("slow: %w: %w", ipni.ErrUnfinished, ctx.Err())
			}
			return ctx.Err()
		case <-time.After(s.part):
			s.parts.Add(-1)
		}
	}
	return nil
}

// direct calls a handler as a connection would.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// TestSlowRemoval removes what takes longer than any request may.
func TestSlowRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{memory: newMemory(), part: time.Second}
		h := storehttp.New(s, &storehttp.Options{Authorize: everybody})
		c := newClient(t, "http://node.example", &storehttp.ClientOptions{CallerOptions: wire.CallerOptions{Transport: direct{h}, Timeout: 15 * time.Second}})
		remove := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			return c.RemoveSealed(ctx, ipni.ProviderTag{1}, nil, 5)
		}
		s.parts.Store(100)
		if err := remove(time.Hour); err != nil || s.parts.Load() != 0 {
			t.Errorf("%d parts are left, %v", s.parts.Load(), err)
		}
		s.parts.Store(100)
		if err := remove(35 * time.Second); !errors.Is(err, ipni.ErrUnfinished) || !errors.Is(err, context.DeadlineExceeded) || s.parts.Load() == 100 {
			t.Errorf("%d parts are left, %v", s.parts.Load(), err)
		}
		left := s.parts.Load()
		if err := remove(time.Millisecond); err == nil || errors.Is(err, ipni.ErrUnfinished) || s.parts.Load() != left {
			t.Errorf("nothing was done: %v", err)
		}
		if err := remove(time.Hour); err != nil || s.parts.Load() != 0 {
			t.Errorf("%d parts are left, %v", s.parts.Load(), err)
		}
		// Who does not know of parts, or whose store does not, is told to come again.
		for _, body := range []string{`{"provider":"AAAAAAAAAAAAAAAAAAAAAA==","before":1}`, `{"provider":"AAAAAAAAAAAAAAAAAAAAAA==","before":1,"parts":true}`} {
			s.parts.Store(15)
			for _, want := range []int{503, 202} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/remove", strings.NewReader(body)))
				if w.Code != want || (want == 503) != (w.Header().Get("Retry-After") != "") {
					t.Errorf("%s: %d %v", body, w.Code, w.Header())
				}
			}
			s.dumb = true
		}
	})
}

// TestRemovalLiars are nodes whose answer to a removal is none: it is not finished.
func TestRemovalLiars(t *testing.T) {
	for _, body := range []string{"", "<html>", `{"finished":1}`} {
		c := newClient(t, "http://node.example", &storehttp.ClientOptions{CallerOptions: transport(direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, body)
		})})})
		if err := c.RemoveSealed(t.Context(), ipni.ProviderTag{}, nil, 1); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// held is a store that keeps everybody waiting.
type held struct {
	*memory
	now, most atomic.Int32
	free      chan struct{}
}

func (s *held) PutSealed(ctx context.Context, _ ipni.SealedGroup, _ valuestore.Records) error {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	<-s.free
	return nil
}

// TestMemory has many send all that a request may hold, at once, to a store that takes nothing for a while.
func TestMemory(t *testing.T) {
	const memory, clients = 32 << 20, 100
	big := frames(t, storehttp.Frame{Kind: storehttp.Values, Group: group(1), Records: records(30_000)})
	small := merge(dhash.Key{1}, strings.Repeat("x", 102))
	for _, c := range []struct {
		media, body string
		most        int32
	}{{storehttp.MediaType, string(big), 4}, {"application/json", small, 25}} {
		synctest.Test(t, func(t *testing.T) {
			s := &held{memory: newMemory(), free: make(chan struct{})}
			h := storehttp.New(s, &storehttp.Options{Authorize: everybody, Memory: memory})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var all sync.WaitGroup
			var statuses sync.Map
			var busy atomic.Int32
			for i := range clients {
				all.Go(func() {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/multihash", strings.NewReader(c.body))
					r.Header.Set("Content-Type", c.media)
					w := httptest.NewRecorder()
					if h.ServeHTTP(w, r); w.Code == 503 && w.Header().Get("Retry-After") == "1" {
						busy.Add(1)
					}
					statuses.Store(i, w.Code)
				})
			}
			synctest.Wait() // those who are in are in the store, the others wait
			runtime.GC()
			runtime.ReadMemStats(&after)
			if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > memory*5/4 {
				t.Errorf("%s: %d MiB are held", c.media, got>>20)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if s.most.Load() != c.most || busy.Load() != clients-c.most {
				t.Errorf("%s: %d at once, %d were sent away", c.media, s.most.Load(), busy.Load())
			}
			close(s.free)
			all.Wait()
			accepted := int32(0)
			statuses.Range(func(_, status any) bool {
				if status == 202 {
					accepted++
				}
				return true
			})
			if accepted != c.most {
				t.Errorf("%s: %d accepted", c.media, accepted)
			}
			// All of it was given back.
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/multihash", strings.NewReader(string(big)))
			r.Header.Set("Content-Type", storehttp.MediaType)
			for range 10 {
				w := httptest.NewRecorder()
				r.Body = io.NopCloser(strings.NewReader(string(big)))
				if h.ServeHTTP(w, r); w.Code != 202 {
					t.Fatalf("%s: afterwards: %d", c.media, w.Code)
				}
			}
		})
	}
}
