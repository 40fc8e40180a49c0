package foreigntest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	cbornode "github.com/ipfs/go-ipld-cbor"
	ipld "github.com/ipfs/go-ipld-format"
	carv2 "github.com/ipld/go-car/v2"
	carstore "github.com/ipld/go-car/v2/blockstore"
	"github.com/multiformats/go-multihash"
)

// boxoStore is a blockstore of boxo's with a DAG service.
type boxoStore struct {
	blockstore.Blockstore
	dag ipld.DAGService
}

func newBoxoStore() boxoStore {
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	return boxoStore{bs, merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs)))}
}

// layouts has boxo make files of the same bytes in all shapes it knows. Their names
// tell the type: over CARs, boxo's gateway cannot look at bytes outside of a range.
func (s boxoStore) layouts(t *testing.T, data []byte) map[string]cid.Cid {
	t.Helper()
	roots := map[string]cid.Cid{}
	for _, raw := range []bool{true, false} {
		for name, layout := range map[string]func(*helpers.DagBuilderHelper) (ipld.Node, error){"trickle": trickle.Layout, "balanced": balanced.Layout} {
			builder := cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: multihash.SHA2_256, MhLength: -1}
			if !raw {
				builder.Version = 0
			}
			params := helpers.DagBuilderParams{Maxlinks: 5, RawLeaves: raw, CidBuilder: builder, Dagserv: s.dag}
			db, err := params.New(chunk.NewRabinMinMax(bytes.NewReader(data), 256, 1024, 4096))
			must(t, err)
			root, err := layout(db)
			must(t, err)
			roots[fmt.Sprintf("%s raw %v.bin", name, raw)] = root.Cid()
		}
	}
	return roots
}

// document has boxo make a dag-cbor node that links to files.
func (s boxoStore) document(t *testing.T, links map[string]cid.Cid) (cid.Cid, []byte) {
	t.Helper()
	list := []any{}
	files := map[string]any{}
	for name, c := range links {
		files[name] = c
		list = append(list, c, c)
	}
	inner, err := cbornode.WrapObject(map[string]any{"files": files}, multihash.SHA2_256, -1)
	must(t, err)
	outer, err := cbornode.WrapObject(map[string]any{"title": "document", "list": list, "inner": inner.Cid()}, multihash.SHA2_256, -1)
	must(t, err)
	must(t, s.dag.AddMany(t.Context(), []ipld.Node{inner, outer}))
	return outer.Cid(), outer.RawData()
}

// cids lists what is below root, in order.
func (s boxoStore) cids(t *testing.T, root cid.Cid) []cid.Cid {
	t.Helper()
	var order []cid.Cid
	seen := cid.NewSet()
	must(t, merkledag.Walk(t.Context(), merkledag.GetLinksWithDAG(s.dag), root, func(c cid.Cid) bool {
		fresh := seen.Visit(c)
		if fresh {
			order = append(order, c)
		}
		return fresh
	}))
	return order
}

// write has go-car write what is below root, in no order.
func (s boxoStore) write(t *testing.T, root cid.Cid, o ...carv2.Option) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.car")
	w, err := carstore.OpenReadWrite(file, []cid.Cid{root}, append(o, carv2.UseWholeCIDs(true))...)
	must(t, err)
	order := s.cids(t, root)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, c := range order {
		b, err := s.Get(t.Context(), c)
		must(t, err)
		must(t, w.Put(t.Context(), b))
	}
	must(t, w.Finalize())
	return file
}

// TestForeignArchives imports what boxo made and go-car wrote, and has boxo's
// gateways and go-ipld-prime's selectors read it from the node.
func TestForeignArchives(t *testing.T) {
	t.Parallel()
	data := append(random(9, 150_000), make([]byte, 50_000)...)
	for version, options := range map[string][]carv2.Option{"v1": {carv2.WriteAsCarV1(true)}, "v2 indexed": {carv2.UseDataPadding(100), carv2.UseIndexPadding(33)}} {
		t.Run(version, func(t *testing.T) {
			n := start(t, false)
			s := newBoxoStore()
			files := s.layouts(t, data)
			doc, encoded := s.document(t, files)
			hashstream(t, n.home, "pack", "import", s.write(t, doc, options...))
			checkOrder(t, n, doc.String(), "", "block", "all")
			for _, gw := range proxies(t, n) {
				want(t, gw.url+"/ipfs/"+doc.String()+"?format=dag-cbor", http.StatusOK, string(encoded))
				for name, c := range files {
					checkFiles(t, gw.url+"/ipfs/"+doc.String()+"/inner/files", map[string][]byte{name: data})
					want(t, gw.url+"/ipfs/"+c.String(), http.StatusOK, string(data))
				}
			}
			for name, c := range files {
				checkOrder(t, n, c.String(), "", "block", "entity", "all")
				checkOrder(t, n, doc.String(), "inner/files/"+name, "block", "entity", "all")
			}
		})
	}
}

// TestPacksAreCARs has go-car read the packs that add wrote, and boxo the trees in them.
func TestPacksAreCARs(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dir, _ := site(t)
	original := onDisk(t, dir)
	roots := map[string]string{}
	for profile, flags := range profiles() {
		roots[profile] = hashstream(t, home, append([]string{"add", "--quiet", dir}, flags...)...)
	}
	s := newBoxoStore()
	packs := 0
	must(t, filepath.WalkDir(filepath.Join(home, "packs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".car" {
			return err
		}
		packs++
		f, err := os.Open(name)
		must(t, err)
		defer f.Close()
		r, err := carv2.NewBlockReader(f, carv2.WithTrustedCAR(false))
		must(t, err)
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			must(t, err)
			must(t, s.Put(t.Context(), b))
		}
	}))
	if packs <= len(roots) {
		t.Errorf("%d packs", packs)
	}
	for profile, root := range roots {
		if diff := cmp.Diff(original, inDAG(t, s.dag, cid.MustParse(root))); diff != "" {
			t.Errorf("%s (-original +boxo):\n%s", profile, diff)
		}
	}
}
