package obs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// scrape returns the series of m whose line matches pattern, without timings.
func scrape(t testing.TB, m *Metrics, pattern string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var out []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "hashstream_")
		if regexp.MustCompile(pattern).MatchString(line) && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func wantSeries(t testing.TB, m *Metrics, pattern string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, scrape(t, m, pattern)); diff != "" {
		t.Errorf("%s:\n%s", pattern, diff)
	}
}

func TestRequests(t *testing.T) {
	m := NewMetrics("v1")
	for range 3 {
		m.RequestStarted()
	}
	m.RequestDone("GET", "car", 200, 1000, 3*time.Second)
	m.RequestStarted()
	m.RequestDone("HEAD", "", 404, 0, 0)
	m.RequestDone("BREW", "coffee", 999, -1, 0)
	m.Rejected("rate")
	wantSeries(t, m, "^http_re(quests|jected)",
		`http_rejected_total{limit="rate"} 1`,
		`http_requests_in_flight 1`,
		`http_requests_total{format="car",method="GET",status="200"} 1`,
		`http_requests_total{format="none",method="HEAD",status="404"} 1`,
		`http_requests_total{format="other",method="other",status="0"} 1`)
	wantSeries(t, m, `^http_request_seconds_(sum|count).*car`, `http_request_seconds_sum{format="car"} 3`, `http_request_seconds_count{format="car"} 1`)
	wantSeries(t, m, `^http_response_bytes_total.*car`, `http_response_bytes_total{format="car"} 1000`)
	wantSeries(t, m, "^build_info", `build_info{version="v1"} 1`)
}

func TestCounts(t *testing.T) {
	m := NewMetrics("")
	m.Verified(2, 300, nil)
	m.Verified(1, 10, fmt.Errorf("block: %w", digest.ErrMismatch))
	m.Verified(1, 10, io.ErrUnexpectedEOF) // says nothing about the bytes
	m.Planned(true)
	m.Planned(true)
	m.Planned(false)
	m.Quarantined(4)
	m.StreamFailed("corrupt")
	m.PlanHit()
	m.PlanMiss()
	hit, miss := m.Cache("blocks")
	hit()
	m.CacheLookup("blocks")(true)
	miss()
	m.CacheLookup("blocks")(false)
	m.ScrubProgress(100, 100, 400)
	m.PackScrubbed(1)
	m.Gauge("cache_bytes", "help", func() float64 { return 12 })
	wantSeries(t, m, "^(bodies|verif|quarantined|stream|cache|scrub_)",
		`bodies_total{kind="plan"} 2`, `bodies_total{kind="walk"} 1`,
		`cache_bytes 12`,
		`cache_lookups_total{cache="blocks",result="hit"} 2`, `cache_lookups_total{cache="blocks",result="miss"} 2`,
		`cache_lookups_total{cache="plan",result="hit"} 1`, `cache_lookups_total{cache="plan",result="miss"} 1`,
		`quarantined_blocks 4`,
		`scrub_bytes_total 100`, `scrub_duration_seconds 0`, `scrub_faults_total 1`, `scrub_finished_timestamp_seconds 0`, `scrub_packs_total 1`, `scrub_progress_ratio 0.25`,
		`stream_failures_total{cause="corrupt"} 1`,
		`verified_blocks_total 2`, `verified_bytes_total 300`, `verify_failed_blocks_total 1`)
	m.ScrubDone(time.Unix(100, 0), time.Unix(160, 5e8))
	wantSeries(t, m, "^scrub_(progress|finished|duration)", `scrub_duration_seconds 60.5`, `scrub_finished_timestamp_seconds 160.5`, `scrub_progress_ratio 1`)
}

func TestRequestsConcurrently(t *testing.T) {
	m := NewMetrics("")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				m.RequestStarted()
				m.RequestDone("GET", "raw", 206, 1, time.Millisecond)
			}
		})
	}
	wg.Wait()
	wantSeries(t, m, "^http_requests", `http_requests_in_flight 0`, `http_requests_total{format="raw",method="GET",status="206"} 800`)
}

// TestHotPath: what every request does takes no memory.
func TestHotPath(t *testing.T) {
	m := NewMetrics("")
	hit, _ := m.Cache("c")
	work := func() {
		m.RequestStarted()
		m.BlocksVerified(1, 100)
		m.PlanHit()
		hit()
		m.RequestDone("GET", "raw", 200, 100, time.Millisecond)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := NewMetrics("")
	b.ReportAllocs()
	for b.Loop() {
		m.RequestStarted()
		m.PlanHit()
		m.BlocksVerified(1, 100)
		m.RequestDone("GET", "car", 200, 100, time.Millisecond)
	}
}

// fakeObject is an object with and without WriteTo.
type fakeObject struct{ io.Reader }

func (fakeObject) Close() error    { return nil }
func (fakeObject) Info() blob.Info { return blob.Info{Key: "k", Size: 99, Version: "v"} }

type fakeWriterTo struct {
	fakeObject
	seen *io.Writer
}

func (f fakeWriterTo) WriteTo(w io.Writer) (int64, error) {
	*f.seen = w
	return io.Copy(w, f.Reader)
}

type getterFunc func() (blob.Object, error)

func (f getterFunc) Get(context.Context, string, int64, int64) (blob.Object, error) { return f() }

type withStat struct{ getterFunc }

func (withStat) Stat(context.Context, string) (blob.Info, error) { return blob.Info{Size: 5}, nil }

// TestBlobInterfaces: decorators neither lose nor invent abilities.
func TestBlobInterfaces(t *testing.T) {
	plain := getterFunc(func() (blob.Object, error) { return fakeObject{strings.NewReader("abc")}, nil })
	type bare struct{ blob.Store }
	for _, tt := range []struct {
		name                   string
		inner                  blob.Getter
		stater, store, drafter bool
	}{
		{"getter", plain, false, false, false},
		{"stater", withStat{plain}, true, false, false},
		{"store", bare{memblob.New()}, true, true, false},
		{"drafter", memblob.New(), true, true, true},
	} {
		got := NewMetrics("").Blob("packs", tt.inner)
		_, stater := got.(blob.Stater)
		_, store := got.(blob.Store)
		_, drafter := got.(blob.Drafter)
		if stater != tt.stater || store != tt.store || drafter != tt.drafter {
			t.Errorf("%s: stater %t, store %t, drafter %t", tt.name, stater, store, drafter)
		}
	}
}

func TestObject(t *testing.T) {
	m := NewMetrics("")
	var seen io.Writer
	sendable := true
	g := m.Blob("packs", getterFunc(func() (blob.Object, error) {
		o := fakeObject{strings.NewReader("abcde")}
		if sendable {
			return fakeWriterTo{o, &seen}, nil
		}
		return o, nil
	}))
	obj, err := g.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(blob.Info{Key: "k", Size: 99, Version: "v"}, obj.Info()); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	if n, err := obj.(io.WriterTo).WriteTo(&out); n != 5 || err != nil || seen != &out {
		t.Errorf("WriteTo wrote %d, %v, to %v: the object must see the very writer", n, err, seen)
	}
	_ = obj.Close()
	_ = obj.Close() // counts once
	sendable = false
	obj, err = g.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := obj.(io.WriterTo); ok {
		t.Error("an object that cannot be sent became one that can")
	}
	if _, err := io.ReadFull(obj, make([]byte, 3)); err != nil {
		t.Error(err)
	}
	_ = obj.Close()
	wantSeries(t, m, `^blob_(bytes|seconds_count)`, `blob_bytes_total{direction="read",store="packs"} 8`,
		`blob_seconds_count{op="get",store="packs"} 2`, `blob_seconds_count{op="read",store="packs"} 0`)
}

// TestBlobSuite holds the decorator to what every store must do.
func TestBlobSuite(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return NewMetrics("").BlobStore("packs", memblob.New()) })
}

func TestBlobStore(t *testing.T) {
	m := NewMetrics("")
	s := m.BlobStore("packs", memblob.New())
	if err := s.Put(t.Context(), "a/b", strings.NewReader("1234567")); err != nil {
		t.Fatal(err)
	}
	d, err := s.(blob.Drafter).Draft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("xyz"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if diff := cmp.Diff([]string{"a/b", "c"}, keys); diff != "" {
		t.Error(diff)
	}
	if err := s.Delete(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if err := s.Put(t.Context(), "../x", strings.NewReader("")); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("put: %v", err)
	}
	wantSeries(t, m, `^blob_(bytes|errors|seconds_count).* [1-9]`, `blob_bytes_total{direction="written",store="packs"} 10`,
		`blob_errors_total{op="put",store="packs"} 1`,
		`blob_seconds_count{op="commit",store="packs"} 1`, `blob_seconds_count{op="delete",store="packs"} 1`, `blob_seconds_count{op="list",store="packs"} 1`,
		`blob_seconds_count{op="put",store="packs"} 2`, `blob_seconds_count{op="stat",store="packs"} 1`)
}

// fakeKV answers every call with the same.
type fakeKV struct{ err error }

func (f fakeKV) Get(context.Context, []byte) ([]byte, error) { return []byte("123"), f.err }
func (f fakeKV) Batch(context.Context, []kv.Op) error        { return f.err }
func (f fakeKV) Update(_ context.Context, _ []byte, g func([]byte) ([]byte, error)) error {
	_, err := g(nil)
	return errors.Join(err, f.err)
}

func (f fakeKV) Scan(context.Context, kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		if yield(kv.Pair{Key: []byte("k"), Value: []byte("v")}, nil) && f.err != nil {
			yield(kv.Pair{}, f.err)
		}
	}
}

func TestKV(t *testing.T) {
	for _, tt := range []struct {
		err    error
		errors []string
	}{
		{nil, nil},
		{fs.ErrNotExist, nil},
		{context.Canceled, nil},
		{io.ErrClosedPipe, []string{`kv_errors_total{op="batch",store="index"} 1`, `kv_errors_total{op="get",store="index"} 1`,
			`kv_errors_total{op="scan",store="index"} 1`, `kv_errors_total{op="update",store="index"} 1`}},
	} {
		m := NewMetrics("")
		s := m.KV("index", fakeKV{tt.err})
		_, err := s.Get(t.Context(), nil)
		errs := []error{err, s.Batch(t.Context(), []kv.Op{kv.Put([]byte("12"), []byte("34"))})}
		errs = append(errs, s.Update(t.Context(), nil, func([]byte) ([]byte, error) { return nil, nil }))
		last := error(nil)
		for _, err := range s.Scan(t.Context(), kv.Range{}) {
			last = err
		}
		for i, err := range append(errs, last) {
			if !errors.Is(err, tt.err) {
				t.Errorf("call %d: %v, want %v", i, err, tt.err)
			}
		}
		for range s.Scan(t.Context(), kv.Range{}) {
			break
		}
		wantSeries(t, m, `^kv_errors.* [1-9]`, tt.errors...)
		wantSeries(t, m, `^kv_seconds_count`, `kv_seconds_count{op="batch",store="index"} 1`, `kv_seconds_count{op="get",store="index"} 1`,
			`kv_seconds_count{op="scan",store="index"} 2`, `kv_seconds_count{op="update",store="index"} 1`)
		if tt.err == nil {
			wantSeries(t, m, `^kv_bytes`, `kv_bytes_total{direction="read",store="index"} 7`, `kv_bytes_total{direction="written",store="index"} 4`)
		}
	}
}

type fakeOpener struct{ body block.Ranger }

func (f fakeOpener) Open(context.Context, block.Selection) (block.Body, error) { return f.body, nil }

type fakeRanger struct{ block.Ranger }

func TestOpener(t *testing.T) {
	m := NewMetrics("")
	o := m.Opener(fakeOpener{fakeRanger{}})
	body, err := o.Open(t.Context(), block.Selection{Encoding: block.EncodingCAR})
	if _, ok := body.(block.Ranger); !ok || err != nil {
		t.Errorf("the body lost its abilities: %T, %v", body, err)
	}
	wantSeries(t, m, `^plan_seconds_count`, `plan_seconds_count{encoding="car"} 1`, `plan_seconds_count{encoding="raw"} 0`)
}
