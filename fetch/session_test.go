package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/fetch"
)

const chunkSize = 4 << 10

func client(t *testing.T, o *fetch.Options, urls ...string) *fetch.Client {
	t.Helper()
	c, err := fetch.New(urls, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// readFile reads the fixture's file the way that files are written to disk.
func readFile(ctx context.Context, c *fetch.Client, f fixture) ([]byte, error) {
	s, err := c.Open(ctx, block.Selection{Root: f.file, Scope: block.ScopeEntity, Dups: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []byte
	for data, err := range dag.FileBytes(ctx, s, f.file) {
		if err != nil {
			return all, err
		}
		all = append(all, data...)
	}
	return all, nil
}

// walkFile collects the CIDs of the file's DAG.
func walkFile(ctx context.Context, c *fetch.Client, f fixture) ([]string, error) {
	var cids []string
	for b, err := range c.Walk(ctx, block.Selection{Root: f.file, Scope: block.ScopeAll}) {
		if err != nil {
			return cids, err
		}
		cids = append(cids, b.CID.String())
	}
	return cids, nil
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "cannot \x1b[31m serve this", code)
		return true
	}
}

// carStatus refuses CARs only.
func carStatus(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("format") != "car" {
			return false
		}
		http.Error(w, "no CAR here", code)
		return true
	}
}

// cutAt announces the whole body and breaks the connection after a part of it.
func cutAt(part float64) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, body []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:int(float64(len(body))*part)])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// endAt ends the response cleanly after a part of the body.
func endAt(part float64) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, body []byte) {
		w.Write(body[:int(float64(len(body))*part)])
	}
}

func flipOne(blocks []block.Block) []block.Block {
	blocks[len(blocks)/2] = flipped(blocks[len(blocks)/2])
	return blocks
}

func dropOne(blocks []block.Block) []block.Block {
	return append(blocks[:len(blocks)/2:len(blocks)/2], blocks[len(blocks)/2+1:]...)
}

func shuffle(blocks []block.Block) []block.Block {
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	return blocks
}

// junk returns n valid blocks that belong to nothing.
func junk(n, size int) []block.Block {
	blocks := make([]block.Block, n)
	for i := range blocks {
		data := append(make([]byte, size), fmt.Sprint("junk ", i)...)
		d, _ := digest.Sum(digest.SHA256, data)
		blocks[i] = block.Block{CID: d.CID(cid.Raw), Data: data}
	}
	return blocks
}

// interleave puts a block that nobody wants before every other.
func interleave(blocks []block.Block) []block.Block {
	var mixed []block.Block
	for i, b := range junk(len(blocks), chunkSize) {
		mixed = append(mixed, b, blocks[i])
	}
	return mixed
}

func TestSession(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	good := func() *peer { return &peer{fixture: f, raw: f.mem} }
	blocks := len(f.walk(t, block.Selection{Root: f.file, Scope: block.ScopeAll}))
	tests := []struct {
		name    string
		peers   []*peer
		raws    int64 // requests for single blocks, at most
		is, not error // nil is: success
	}{
		{name: "good", peers: []*peer{good()}},
		{name: "sends no repeats", peers: []*peer{{fixture: f, dups: "n"}}},
		{name: "sends repeats", peers: []*peer{{fixture: f, dups: "y"}}},
		{name: "any order", peers: []*peer{{fixture: f, blocks: shuffle}}},
		{name: "junk between and after", peers: []*peer{{fixture: f, blocks: func(b []block.Block) []block.Block {
			return append(append(append(b[:3:3], junk(20, 10)...), b[3:]...), junk(20, 10)...)
		}}}},
		{name: "lacks a block", peers: []*peer{{fixture: f, blocks: dropOne, raw: f.mem}}, raws: 1},
		{name: "flips a bit", peers: []*peer{{fixture: f, blocks: flipOne, raw: f.mem}}, raws: int64(blocks)},
		{name: "flips a bit, any order", peers: []*peer{{fixture: f, raw: f.mem, blocks: func(b []block.Block) []block.Block { return shuffle(flipOne(b)) }}}, raws: int64(blocks)},
		{name: "cut", peers: []*peer{{fixture: f, car: cutAt(0.5), raw: f.mem}}, raws: int64(blocks)},
		{name: "ends early", peers: []*peer{{fixture: f, car: endAt(0.5), raw: f.mem}}, raws: int64(blocks)},
		{name: "answers with a web page", peers: []*peer{{fixture: f, raw: f.mem, car: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<html>please log in"))
		}}}, raws: int64(blocks)},
		{name: "does not know what a CAR is", peers: []*peer{{fixture: f, car: func(w http.ResponseWriter, _ *http.Request, body []byte) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Write(body)
		}}}},
		{name: "no CARs", peers: []*peer{{fixture: f, raw: f.mem, any: carStatus(406)}}, raws: int64(blocks)},
		{name: "another root in the header", peers: []*peer{{fixture: f, car: func(w http.ResponseWriter, _ *http.Request, body []byte) {
			blocks := f.walk(t, block.Selection{Root: f.file, Scope: block.ScopeAll, Dups: true})
			w.Write(encode(f.dir, blocks))
		}}}},

		{name: "second is good, first is absent", peers: []*peer{{any: status(404)}, good()}},
		{name: "second is good, first is broken", peers: []*peer{{any: status(500)}, good()}},
		{name: "second is good, first gives an empty CAR", peers: []*peer{{fixture: f, blocks: func([]block.Block) []block.Block { return nil }}, good()}},
		{name: "second is good, first is cut", peers: []*peer{{fixture: f, car: cutAt(0.3)}, good()}, raws: int64(blocks)},
		{name: "second is good, first flips bits", peers: []*peer{{fixture: f, blocks: flipOne, raw: f.mem.flipped()}, good()}, raws: int64(blocks)},

		{name: "absent", peers: []*peer{{any: status(404)}, {any: status(410)}}, is: fs.ErrNotExist, not: fetch.ErrIncomplete},
		{name: "absent here, broken there", peers: []*peer{{any: status(404)}, {any: status(503)}}, is: new(fetch.StatusError), not: fs.ErrNotExist},
		{name: "absent as boxo says it", peers: []*peer{{fixture: f, blocks: func([]block.Block) []block.Block { return nil }}}, is: fs.ErrNotExist, not: fetch.ErrIncomplete},
		{name: "forbidden", peers: []*peer{{any: status(403)}}, is: fs.ErrPermission},
		{name: "cut everywhere", peers: []*peer{{fixture: f, car: cutAt(0.5)}, {fixture: f, car: cutAt(0.7)}}, is: fetch.ErrIncomplete, not: fs.ErrNotExist},
		{name: "ends early everywhere", peers: []*peer{{fixture: f, car: endAt(0.5)}}, is: fetch.ErrIncomplete, not: fs.ErrNotExist},
		{name: "lacks a block everywhere", peers: []*peer{{fixture: f, blocks: dropOne}}, is: fetch.ErrIncomplete, not: fs.ErrNotExist},
		{name: "flips bits everywhere", peers: []*peer{{fixture: f, blocks: flipOne, raw: f.mem.flipped()}}, is: digest.ErrMismatch, not: fs.ErrNotExist},
		{name: "flips bits in the root", peers: []*peer{{fixture: f, blocks: func(b []block.Block) []block.Block { b[0] = flipped(b[0]); return b }}}, is: digest.ErrMismatch, not: fs.ErrNotExist},
		{name: "flips bits in single blocks", peers: []*peer{{fixture: f, any: carStatus(406), raw: f.mem.flipped()}, {any: status(404)}}, is: digest.ErrMismatch, not: fs.ErrNotExist},
	}
	want, err := idsOf(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var urls []string
			for _, p := range tt.peers {
				urls = append(urls, p.start(t))
			}
			o := &fetch.Options{Retries: -1, Buffer: 1 << 20}
			data, err := readFile(t.Context(), client(t, o, urls...), f)
			check(t, err, tt.is, tt.not)
			if err == nil && !bytes.Equal(data, f.data) {
				t.Error("read other bytes")
			}
			if !bytes.HasPrefix(f.data, data) {
				t.Error("delivered wrong bytes before the error")
			}
			var raws int64
			for _, p := range tt.peers {
				raws += p.raws.Swap(0)
			}
			if tt.is == nil && raws > tt.raws {
				t.Errorf("asked for %d single blocks, want at most %d", raws, tt.raws)
			}
			cids, err := walkFile(t.Context(), client(t, o, urls...), f)
			check(t, err, tt.is, tt.not)
			if diff := cmp.Diff(want, cids); err == nil && diff != "" {
				t.Errorf("walk (-want +got):\n%s", diff)
			}
		})
	}
}

// A stream of blocks that nobody asked for is left after a bounded number of
// bytes, and the content comes block by block.
func TestSessionHostile(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	const buffer = 1 << 20
	tests := []struct {
		name  string
		flood []block.Block
		limit int
	}{
		{"many blocks", junk(400, 32<<10), buffer + buffer/2},
		{"one block", slices.Repeat(junk(1, 32<<10), 400), 4*buffer + buffer/2},
		{"empty blocks", slices.Repeat(junk(1, 0), 100_000), 4*buffer + buffer/2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &peer{fixture: f, raw: f.mem, blocks: func(b []block.Block) []block.Block { return append(tt.flood, b...) }}
			var given []error
			read := 0
			c := client(t, &fetch.Options{Buffer: buffer, Trace: &fetch.Trace{
				Fallback: func(_ string, why error) { given = append(given, why) },
				Bytes:    func(n int) { read += n },
			}}, p.start(t))
			data, err := readFile(t.Context(), c, f)
			if err != nil || !bytes.Equal(data, f.data) {
				t.Errorf("error %v", err)
			}
			if len(given) != 1 || !errors.Is(given[0], fetch.ErrHostile) {
				t.Errorf("gave up because of %v", given)
			}
			if read -= len(f.data); read > tt.limit {
				t.Errorf("read %d bytes of junk, want at most %d", read, tt.limit)
			}
		})
	}
}

// After a stream broke, the other gateways are asked first.
func TestSessionDistrust(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	bad := &peer{fixture: f, raw: f.mem, blocks: flipOne}
	good := &peer{fixture: f, raw: f.mem}
	data, err := readFile(t.Context(), client(t, nil, bad.start(t), good.start(t)), f)
	if err != nil || !bytes.Equal(data, f.data) {
		t.Errorf("error %v", err)
	}
	if bad.raws.Load() != 0 || good.raws.Load() == 0 {
		t.Errorf("asked the bad gateway for %d blocks, the good one for %d", bad.raws.Load(), good.raws.Load())
	}
}

func idsOf(f fixture) ([]string, error) {
	var ids []string
	for b, err := range dag.Walk(context.Background(), f.mem, block.Selection{Root: f.file, Scope: block.ScopeAll}) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, b.CID.String())
	}
	return ids, nil
}

func check(t *testing.T, err, is, not error) {
	t.Helper()
	if is == nil {
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
		return
	}
	if want := new(*fetch.StatusError); errors.As(is, want) {
		if !errors.As(err, want) {
			t.Errorf("error %v, want a status", err)
		}
	} else if !errors.Is(err, is) {
		t.Errorf("error %v, want one that is %v", err, is)
	}
	if not != nil && errors.Is(err, not) {
		t.Errorf("error %v is %v", err, not)
	}
}

// A stream out of order that is longer than the buffer still ends well.
func TestSessionSmallBuffer(t *testing.T) {
	f := newFixture(t, random(2<<20, chunkSize), chunkSize)
	for name, change := range map[string]func([]block.Block) []block.Block{"shuffled": shuffle, "one missing": dropOne, "junk between": interleave} {
		t.Run(name, func(t *testing.T) {
			p := &peer{fixture: f, raw: f.mem, blocks: change}
			c := client(t, &fetch.Options{Buffer: 64 << 10}, p.start(t))
			data, err := readFile(t.Context(), c, f)
			if err != nil || !bytes.Equal(data, f.data) {
				t.Errorf("error %v, %d bytes of %d", err, len(data), len(f.data))
			}
			if want, ok := map[string]int64{"one missing": 1, "junk between": 0}[name]; ok && p.raws.Load() != want {
				t.Errorf("asked for %d single blocks, want %d", p.raws.Load(), want)
			}
		})
	}
}

func TestSessionPathAndRange(t *testing.T) {
	f := newFixture(t, random(300<<10, chunkSize), chunkSize)
	p := &peer{fixture: f}
	c := client(t, nil, p.start(t)+"/ipfs/")
	sel := block.Selection{Root: f.dir, Path: []string{"file.bin"}, Scope: block.ScopeEntity, Bytes: &block.ByteRange{From: 100_000, To: 120_000}}
	var got, want []string
	for b, err := range c.Walk(t.Context(), sel) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.CID.String())
	}
	for _, b := range f.walk(t, sel) {
		want = append(want, b.CID.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p.cars.Load() != 1 || p.raws.Load() != 0 {
		t.Errorf("%d CARs and %d blocks were asked for, want one CAR", p.cars.Load(), p.raws.Load())
	}
	sel.Path = []string{".."}
	if _, err := c.Open(t.Context(), sel); err == nil {
		t.Error("a path that walks up was asked for")
	}
}

func TestIdentity(t *testing.T) {
	c := client(t, nil, "http://127.0.0.1:1")
	d, err := digest.Sum(digest.Identity, []byte("inline"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), block.Selection{Root: d.CID(cid.Raw), Scope: block.ScopeAll})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, src := range map[string]block.Source{"client": c, "session": s} {
		for b, err := range src.Blocks(t.Context(), d) {
			if err != nil || string(b.Data) != "inline" {
				t.Errorf("%s: %q, %v", name, b.Data, err)
			}
		}
	}
}

// BenchmarkWalk fetches a file of 64 MiB over loopback.
func BenchmarkWalk(b *testing.B) {
	const size = 64 << 20
	f := newFixture(b, random(size, 256<<10), 256<<10)
	body := encode(f.file, f.walk(b, block.Selection{Root: f.file, Scope: block.ScopeAll}))
	p := &peer{fixture: f, any: func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
		return true
	}}
	c, err := fetch.New([]string{p.start(b)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range c.Walk(b.Context(), block.Selection{Root: f.file, Scope: block.ScopeAll}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
