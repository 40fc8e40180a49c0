package dag_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	boxo "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	carv2 "github.com/ipld/go-car/v2"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/unixfs"
)

// oracle is boxo's gateway over the same blocks.
type oracle struct{ backend *boxo.BlocksBackend }

func newOracle(t testing.TB, m *memory) oracle {
	t.Helper()
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for _, b := range m.blocks {
		bb, err := blocks.NewBlockWithCid(b.Data, b.CID)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Put(t.Context(), bb); err != nil {
			t.Fatal(err)
		}
	}
	backend, err := boxo.NewBlocksBackend(blockservice.New(store, offline.Exchange(store)))
	if err != nil {
		t.Fatal(err)
	}
	return oracle{backend}
}

// walk returns the CIDs of boxo's CAR.
func (o oracle) walk(ctx context.Context, sel block.Selection) (cids []string, err error) {
	p := "/ipfs/" + sel.Root.String()
	for _, s := range sel.Path {
		p += "/" + s
	}
	parsed, err := path.NewPath(p)
	if err != nil {
		return nil, err
	}
	immutable, err := path.NewImmutablePath(parsed)
	if err != nil {
		return nil, err
	}
	params := boxo.CarParams{Scope: boxo.DagScope(sel.Scope), Order: boxo.DagOrderDFS, Duplicates: boxo.DuplicateBlocksExcluded}
	if sel.Dups {
		params.Duplicates = boxo.DuplicateBlocksIncluded
	}
	if sel.Bytes != nil {
		r, err := boxo.NewDagByteRange(sel.Bytes.String())
		if err != nil {
			return nil, err
		}
		params.Range = &r
	}
	_, body, err := o.backend.GetCAR(ctx, immutable, params)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	r, err := carv2.NewBlockReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			return cids, nil
		}
		if err != nil {
			return nil, err
		}
		cids = append(cids, b.Cid().String())
	}
}

// compare walks sel with both.
func compare(t *testing.T, m *memory, o oracle, sel block.Selection) {
	t.Helper()
	want, err := o.walk(t.Context(), sel)
	if err != nil {
		t.Fatalf("boxo: %+v: %v", sel, err)
	}
	got, err := walk(t, m, sel)
	if err != nil {
		t.Fatalf("%+v: %v", sel, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%+v bytes %v (-boxo +ours):\n%s", sel, sel.Bytes, diff)
	}
}

// tree builds a random tree with much that repeats, and returns paths into it.
func (m *memory) tree(t testing.TB, p unixfs.Profile, r *rand.Rand, depth int) (node, []string) {
	nodes, paths := map[string]node{}, []string{}
	for range 1 + r.IntN(20) {
		name := fmt.Sprintf("n%d", r.IntN(100))
		switch kind := r.IntN(10); {
		case kind < 3 && depth > 0:
			sub, below := m.tree(t, p, r, depth-1)
			nodes[name] = sub
			for _, b := range below {
				paths = append(paths, name+"/"+b)
			}
		case kind == 3:
			b, err := p.Symlink("n1")
			nodes[name] = node{m.put(t, b, err), uint64(len(b.Data))}
		default:
			// Few seeds, and runs of one byte: blocks repeat inside files and among them.
			data := random(uint64(r.IntN(3)), r.IntN(200))
			if r.IntN(2) == 0 {
				data = bytes.Repeat([]byte{1}, r.IntN(200))
			}
			nodes[name] = m.file(t, p, data)
		}
		paths = append(paths, name)
	}
	kept := paths[:0]
	for _, path := range paths { // names that came twice may have lost what was below
		if r.IntN(3) == 0 {
			kept = append(kept, path)
		}
	}
	return m.dir(t, p, nodes), kept
}

func TestTreesLikeBoxo(t *testing.T) {
	for seed := range uint64(12) {
		name, threshold := unixfs.V1, 300
		if seed%2 == 1 {
			name, threshold = unixfs.V0, 400
		}
		p := profile(t, name, func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.HAMTFanout, p.HAMTThreshold = 16, 3, 8, threshold })
		m := newMemory()
		r := rand.New(rand.NewPCG(seed, 1))
		root, paths := m.tree(t, p, r, 3)
		o := newOracle(t, m)
		for _, path := range append(paths[:min(len(paths), 25)], "") {
			sel := selection(t, root.c.String(), block.ScopeAll, "")
			if path != "" {
				sel = selection(t, root.c.String()+"/"+path, block.ScopeAll, "")
			}
			if _, err := dag.Resolve(t.Context(), m, sel.Root, sel.Path); err != nil {
				continue
			}
			for _, sel.Scope = range []block.Scope{block.ScopeAll, block.ScopeEntity, block.ScopeBlock} {
				for _, sel.Dups = range []bool{true, false} {
					compare(t, m, o, sel)
				}
			}
		}
	}
}

// trickleFile builds the other layout that is in use: leaves at many depths.
func (m *memory) trickle(t testing.TB, data []byte, chunkSize int64, width int, raw bool) cid.Cid {
	t.Helper()
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	dserv := merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
	params := helpers.DagBuilderParams{Maxlinks: width, RawLeaves: raw, CidBuilder: merkledag.V1CidPrefix(), Dagserv: dserv}
	db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), chunkSize))
	if err != nil {
		t.Fatal(err)
	}
	root, err := trickle.Layout(db)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := store.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		b, err := store.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		m.data(t, cid.DagProtobuf, b.RawData())
	}
	return root.Cid()
}

// layouts are files of all shapes, of the same bytes.
func (m *memory) layouts(t testing.TB, data []byte) map[string]cid.Cid {
	v1 := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize, p.Width = 10, 3 })
	v0 := profile(t, unixfs.V0, func(p *unixfs.Profile) { p.ChunkSize, p.Width = 7, 4 })
	return map[string]cid.Cid{
		"balanced v1":       m.file(t, v1, data).c,
		"balanced v0":       m.file(t, v0, data).c,
		"trickle":           m.trickle(t, data, 9, 3, false),
		"trickle raw":       m.trickle(t, data, 9, 3, true),
		"data beside links": m.inline(t, data),
	}
}

func TestRangesLikeBoxo(t *testing.T) {
	for _, data := range [][]byte{random(1, 150), bytes.Repeat([]byte{7}, 150), bytes.Repeat(random(9, 30), 6), random(2, 5), nil} {
		m := newMemory()
		layouts := m.layouts(t, data)
		o := newOracle(t, m)
		r := rand.New(rand.NewPCG(3, uint64(len(data))))
		for name, c := range layouts {
			if name == "data beside links" {
				continue // boxo's reader does not know the form; see TestRangesAreMinimal
			}
			for range 60 {
				if len(data) == 0 {
					break
				}
				from := r.IntN(len(data))
				bytes := &block.ByteRange{From: int64(from), To: int64(from + r.IntN(len(data)-from))}
				bytes.Open = r.IntN(4) == 0
				compare(t, m, o, block.Selection{Root: c, Scope: block.ScopeEntity, Bytes: bytes})
			}
			compare(t, m, o, block.Selection{Root: c, Scope: block.ScopeEntity})
			compare(t, m, o, block.Selection{Root: c, Scope: block.ScopeAll})
		}
	}
}
