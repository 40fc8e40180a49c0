package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
)

func TestParseStat(t *testing.T) {
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 1 0 100 1 1"
	if got := parseStat([]byte(stat)); got != 2*time.Second {
		t.Errorf("parseStat: %v, want 2s", got)
	}
}

func TestStatusBytes(t *testing.T) {
	const status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	if got := statusBytes([]byte(status), "VmHWM:"); got != 2*mib {
		t.Errorf("VmHWM: %d, want 2 MiB", got)
	}
}

func TestParseWrk(t *testing.T) {
	for _, tt := range []struct {
		name, out string
		rate      float64
		ok        bool
	}{
		{"good", "Running\nRESULT 1000 4096000 500000 0\n", 2000, true},
		{"failures", "RESULT 1000 4096000 500000 1", 0, false},
		{"nothing", "RESULT 0 0 500000 0", 0, false},
		{"no result", "unable to connect", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parseWrk(tt.out)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if tt.ok && m.perSecond() != tt.rate {
				t.Errorf("%v requests/s, want %v", m.perSecond(), tt.rate)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(tt.v); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestJudge(t *testing.T) {
	b := &bench{samples: map[key][]sample{
		{"r", sysHashstream}: {{Value: 50}},
		{"r", sysNginx}:      {{Value: 100}},
	}}
	for _, tt := range []struct {
		name       string
		row        row
		target     target
		reach, met string
	}{
		{"faster wanted", row{id: "r"}, times(0.6, sysNginx), "0.50×", "**not met**"},
		{"faster reached", row{id: "r"}, times(0.5, sysNginx), "0.50×", "met"},
		{"lower is better", row{id: "r", lower: true}, times(2, sysNginx), "2.00×", "met"},
		{"limit", row{id: "r", lower: true, unit: "ms"}, atMost(49), "50.0", "**not met**"},
		{"at least", row{id: "r", unit: "/s"}, atLeast(51), "50.0", "**not met**"},
		{"at least reached", row{id: "r", unit: "/s"}, atLeast(50), "50.0", "met"},
		{"no peer", row{id: "r"}, times(2, sysBoxo), "–", "–"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, reach, met := b.judge(tt.row, tt.target); reach != tt.reach || met != tt.met {
				t.Errorf("%s, %s; want %s, %s", reach, met, tt.reach, tt.met)
			}
		})
	}
}

// What only some rows are compared with must be shown, and named by the row.
func TestOthers(t *testing.T) {
	b := &bench{samples: map[key][]sample{{"r", sysPacked}: {{Value: 50}}, {"r", sysGet}: {{Value: 7}}}}
	if got := b.others(row{id: "r", others: []string{sysGet, sysCloud, sysPacked}}); got != "GET 7.00; packed 50.0" {
		t.Errorf("others: %q", got)
	}
	for _, r := range rows {
		for _, target := range r.targets {
			if target.against != "" && !slices.Contains(append(columns, r.others...), target.against) {
				t.Errorf("row %s: %s is not shown", r.id, target.against)
			}
		}
	}
}

func TestCheckScan(t *testing.T) {
	for line, ok := range map[string]bool{`{"files":3,"unchanged":3}`: true, `{"files":3,"unchanged":2}`: false, `{"files":2,"unchanged":2}`: false, ``: false} {
		if err := checkScan(line, 3); (err == nil) != ok {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// The row ids of scenarios and rows must agree, or a row is never shown.
func TestScenariosFillRows(t *testing.T) {
	known, filled := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		known[r.id] = true
	}
	for _, s := range scenarios {
		for _, id := range s.rows {
			if !known[id] {
				t.Errorf("scenario %s: no row %s", s.name, id)
			}
			filled[id] = true
		}
	}
	for id := range known {
		if !filled[id] {
			t.Errorf("no scenario fills row %s", id)
		}
	}
}

func TestReceiver(t *testing.T) {
	body := strings.Repeat("x", 3*mib)
	mux := http.NewServeMux()
	mux.HandleFunc("/sized", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.car", time.Time{}, strings.NewReader(body))
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, body[:2*mib])
		panic(http.ErrAbortHandler)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	for _, tt := range []struct {
		path string
		ok   bool
	}{{"/sized", true}, {"/chunked", true}, {"/cut", false}, {"/absent", false}} {
		for _, copies := range []bool{false, true} {
			r := receiver{buf: make([]byte, 64*kib), copies: copies}
			err := r.get(t.Context(), s.Listener.Addr().String(), tt.path, int64(len(body)))
			if (err == nil) != tt.ok {
				t.Errorf("%s, copies %v: %v", tt.path, copies, err)
			}
		}
	}
}

func TestReceiverEndsWithItsContext(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 64*kib))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := receiver{buf: make([]byte, 64*kib)}
	if err := r.get(ctx, s.Listener.Addr().String(), "/", mib); err == nil {
		t.Error("no error from a read that was cancelled")
	}
}

// The CAR must hold the whole file, each block once, in depth-first order.
func TestWriteCAR(t *testing.T) {
	dir := t.TempDir()
	const size = 2100*4*kib - 5 // three levels
	d := &dataset{leaf: 4 * kib, source: filepath.Join(dir, "source"), carRoot: dir}
	if err := writeRandom(t.Context(), d.source, size); err != nil {
		t.Fatal(err)
	}
	if err := d.writeCAR(t.Context()); err != nil {
		t.Fatal(err)
	}
	bs, err := blockstore.OpenReadOnly(d.car())
	if err != nil {
		t.Fatal(err)
	}
	defer bs.Close()
	dag := merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs)))
	order := depthFirst(t, dag, d.root)
	f, err := os.Open(d.car())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := carv2.NewBlockReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range order {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Cid().String(); got != want {
			t.Fatalf("block %d is %s, want %s", i, got, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last block: %v, want io.EOF", err)
	}
	root, err := dag.Get(t.Context(), d.root)
	if err != nil {
		t.Fatal(err)
	}
	file, err := unixfs.NewDagReader(t.Context(), root, dag)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(d.source); err != nil || string(got) != string(want) {
		t.Errorf("the CAR holds another file (%v)", err)
	}
}

// depthFirst lists the CIDs of c and what is below it, in the order of the links.
func depthFirst(t *testing.T, dag ipld.NodeGetter, c cid.Cid) []string {
	t.Helper()
	n, err := dag.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{c.String()}
	for _, l := range n.Links() {
		list = append(list, depthFirst(t, dag, l.Cid)...)
	}
	return list
}

// The wire must pass everything on and count both directions.
func TestWire(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 100_000)) }))
	defer s.Close()
	w, err := newWire(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient()
	n, err := request(t.Context(), c, http.MethodGet, "http://"+w.Addr().String(), io.Discard)
	c.CloseIdleConnections()
	w.close()
	if err != nil || n != 100_000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got := w.bytes.Load(); got < 100_100 || got > 101_000 {
		t.Errorf("%d bytes were counted, want 100,000 with two headers", got)
	}
}

func TestCounter(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	defer s.Close()
	p := newCounter(s.Listener.Addr().String())
	defer p.Close()
	c := newClient()
	defer c.CloseIdleConnections()
	for range 3 {
		var host strings.Builder
		if _, err := request(t.Context(), c, http.MethodGet, p.URL, &host); err != nil {
			t.Fatal(err)
		}
		if want := p.Listener.Addr().String(); host.String() != want {
			t.Errorf("the server sees host %s, the client signed %s", &host, want)
		}
	}
	if got := p.requests.Load(); got != 3 {
		t.Errorf("%d requests were counted, want 3", got)
	}
}
