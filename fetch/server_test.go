package fetch_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
)

// fixture is a directory with one file, made by boxo.
type fixture struct {
	store blockstore.Blockstore
	mem   memory
	dir   cid.Cid // holds the file as "file.bin"
	file  cid.Cid
	data  []byte
}

// memory is a block.Source.
type memory map[digest.Digest]block.Block

func (m memory) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		b, ok := m[d]
		if !ok {
			yield(block.Block{}, fmt.Errorf("block %s: %w", d, fs.ErrNotExist))
			return
		}
		yield(b, nil)
	}
}

// random returns bytes in which every tenth block of size repeats the first.
func random(size, blockSize int) []byte {
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{7})
	rng.Read(data)
	for at := 10 * blockSize; at+blockSize <= size; at += 10 * blockSize {
		copy(data[at:], data[:blockSize])
	}
	return data
}

func newFixture(t testing.TB, data []byte, chunkSize int64) fixture {
	t.Helper()
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	service := merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
	params := helpers.DagBuilderParams{Dagserv: service, RawLeaves: true, Maxlinks: 8, CidBuilder: cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}}
	builder, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), chunkSize))
	if err != nil {
		t.Fatal(err)
	}
	file, err := balanced.Layout(builder)
	if err != nil {
		t.Fatal(err)
	}
	dir := unixfs.EmptyDirNode()
	dir.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12})
	if err := dir.AddNodeLink("file.bin", file); err != nil {
		t.Fatal(err)
	}
	if err := service.Add(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	f := fixture{store: store, mem: memory{}, dir: dir.Cid(), file: file.Cid(), data: data}
	keys, err := store.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var raw []cid.Cid
	for c := range keys {
		raw = append(raw, c)
	}
	for _, c := range raw {
		got, err := store.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := digest.FromCID(c)
		f.mem[d] = block.Block{CID: got.Cid(), Data: got.RawData()}
	}
	return f
}

// walk lists the blocks of sel.
func (f fixture) walk(t testing.TB, sel block.Selection) []block.Block {
	t.Helper()
	var blocks []block.Block
	for b, err := range dag.Walk(context.Background(), f.mem, sel) {
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// encode writes a CAR without verifying anything.
func encode(root cid.Cid, blocks []block.Block) []byte {
	b := car.AppendHeader(nil, root)
	for _, x := range blocks {
		b = car.AppendHead(b, x.CID, int64(len(x.Data)))
		b = append(b, x.Data...)
	}
	return b
}

// peer is a gateway that can misbehave.
type peer struct {
	fixture fixture
	raw     memory                                                       // what it answers as raw; nil: nothing
	blocks  func(blocks []block.Block) []block.Block                     // changes what goes into a CAR
	car     func(w http.ResponseWriter, r *http.Request, body []byte)    // sends a CAR; nil: as it should be
	any     func(w http.ResponseWriter, r *http.Request) (answered bool) // is asked first
	dups    string                                                       // overrides car-dups
	cars    atomic.Int64
	raws    atomic.Int64
	t       testing.TB
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.any != nil && p.any(w, r) {
		return
	}
	segments := strings.Split(strings.TrimPrefix(r.URL.Path, "/ipfs/"), "/")
	root, err := cid.Decode(segments[0])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Query().Get("format") == "raw" {
		p.raws.Add(1)
		p.serveRaw(w, root)
		return
	}
	p.cars.Add(1)
	p.serveCAR(w, r, root, segments[1:])
}

func (p *peer) serveRaw(w http.ResponseWriter, c cid.Cid) {
	d, _ := digest.FromCID(c)
	b, ok := p.raw[d]
	if !ok {
		http.Error(w, "no such block", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.raw")
	w.Write(b.Data)
}

func (p *peer) serveCAR(w http.ResponseWriter, r *http.Request, root cid.Cid, path []string) {
	q := r.URL.Query()
	dups := q.Get("car-dups")
	if p.dups != "" {
		dups = p.dups
	}
	sel := block.Selection{Root: root, Path: path, Scope: block.Scope(q.Get("dag-scope")), Dups: dups == "y"}
	if sel.Scope == "" {
		sel.Scope = block.ScopeAll
	}
	if s := q.Get("entity-bytes"); s != "" {
		sel.Bytes, _ = block.ParseByteRange(s)
	}
	blocks := p.fixture.walk(p.t, sel)
	if p.blocks != nil {
		blocks = p.blocks(slices.Clone(blocks))
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.car; version=1; order=dfs; dups="+dups)
	body := encode(root, blocks)
	if p.car != nil {
		p.car(w, r, body)
		return
	}
	w.Write(body)
}

func (p *peer) start(t testing.TB) string {
	p.t = t
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// flipped returns a copy of b with one wrong bit.
func flipped(b block.Block) block.Block {
	b.Data = slices.Clone(b.Data)
	b.Data[len(b.Data)/2] ^= 1
	return b
}

func (m memory) flipped() memory {
	v := memory{}
	for d, b := range m {
		v[d] = flipped(b)
	}
	return v
}
