package ingest_test

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"path"
	"testing"
	"testing/fstest"

	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	mdtest "github.com/ipfs/boxo/ipld/merkledag/test"
	boxofs "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	boxoio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/unixfs"
)

// The oracle is boxo, the library under Kubo: it builds the same tree into a DAG
// service, and its own nodes say what the depth-first order is.
type oracle struct {
	t     testing.TB
	p     unixfs.Profile
	dserv ipld.DAGService
}

func newOracle(t testing.TB, p unixfs.Profile) *oracle { return &oracle{t, p, mdtest.Mock()} }

func (o *oracle) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *oracle) builder() cid.Builder {
	return cid.Prefix{Version: uint64(o.p.CIDVersion), Codec: cid.DagProtobuf, MhType: uint64(o.p.Hash), MhLength: -1}
}

func (o *oracle) file(data []byte) ipld.Node {
	params := helpers.DagBuilderParams{Maxlinks: o.p.Width, RawLeaves: o.p.RawLeaves, CidBuilder: o.builder(), Dagserv: o.dserv}
	db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), o.p.ChunkSize))
	o.must(err)
	root, err := balanced.Layout(db)
	o.must(err)
	return root
}

func (o *oracle) symlink(target string) ipld.Node {
	data, err := boxofs.SymlinkData(target)
	o.must(err)
	node := merkledag.NodeWithData(data)
	o.must(node.SetCidBuilder(o.builder()))
	o.must(o.dserv.Add(context.Background(), node))
	return node
}

func (o *oracle) directory(names []string, children []ipld.Node) ipld.Node {
	estimate := boxoio.SizeEstimationBlock
	if o.p.HAMTEstimate == unixfs.LinksBytes {
		estimate = boxoio.SizeEstimationLinks
	}
	dir, err := boxoio.NewDirectory(o.dserv, boxoio.WithCidBuilder(o.builder()),
		boxoio.WithMaxHAMTFanout(o.p.HAMTFanout), boxoio.WithSizeEstimationMode(estimate))
	o.must(err)
	dir.SetHAMTShardingSize(o.p.HAMTThreshold)
	for i, name := range names {
		o.must(dir.AddChild(context.Background(), name, children[i]))
	}
	node, err := dir.GetNode()
	o.must(err)
	o.must(o.dserv.Add(context.Background(), node))
	return node
}

// tree adds what name is in fsys.
func (o *oracle) tree(fsys fs.FS, name string, hidden bool) ipld.Node {
	fi, err := fs.Lstat(fsys, name)
	o.must(err)
	switch fi.Mode().Type() {
	case fs.ModeSymlink:
		target, err := fs.ReadLink(fsys, name)
		o.must(err)
		return o.symlink(target)
	case fs.ModeDir:
		entries, err := fs.ReadDir(fsys, name)
		o.must(err)
		var names []string
		var nodes []ipld.Node
		for _, e := range entries {
			if e.Name()[0] != '.' || hidden {
				names = append(names, e.Name())
				nodes = append(nodes, o.tree(fsys, path.Join(name, e.Name()), hidden))
			}
		}
		return o.directory(names, nodes)
	}
	data, err := fs.ReadFile(fsys, name)
	o.must(err)
	return o.file(data)
}

// order returns the CIDs of the DAG in depth-first pre-order, first-seen.
func (o *oracle) order(root cid.Cid) []cid.Cid {
	var order []cid.Cid
	seen := map[cid.Cid]bool{}
	var walk func(c cid.Cid)
	walk = func(c cid.Cid) {
		if seen[c] {
			return
		}
		seen[c] = true
		order = append(order, c)
		node, err := o.dserv.Get(context.Background(), c)
		o.must(err)
		for _, l := range node.Links() {
			walk(l.Cid)
		}
	}
	walk(root)
	return order
}

// randomTree makes files, symlinks and directories, with repeated and hidden ones.
func randomTree(r *rand.Rand, entries, maxSize int) fstest.MapFS {
	fsys := fstest.MapFS{"top": {Mode: fs.ModeDir | 0o755}}
	dirs := []string{"top"}
	var contents [][]byte
	for i := range entries {
		name := path.Join(dirs[r.IntN(len(dirs))], randomName(r, i))
		switch k := r.IntN(10); {
		case k == 0:
			fsys[name] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			dirs = append(dirs, name)
		case k == 1:
			fsys[name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(randomName(r, i))}
		case k == 2:
			fsys[name] = &fstest.MapFile{Data: make([]byte, r.IntN(maxSize)), Mode: 0o644}
		case k < 5 && len(contents) > 0:
			fsys[name] = &fstest.MapFile{Data: contents[r.IntN(len(contents))], Mode: 0o644}
		default:
			data := make([]byte, r.IntN(maxSize))
			for j := range data {
				data[j] = byte(r.Uint32())
			}
			contents = append(contents, data)
			fsys[name] = &fstest.MapFile{Data: data, Mode: 0o644}
		}
	}
	return fsys
}

func randomName(r *rand.Rand, i int) string {
	name := string(rune('a'+r.IntN(26))) + string(rune('à'+r.IntN(26))) + string(rune('0'+i%10)) + string(rune('a'+i/10%26)) + string(rune('A'+i/260))
	if r.IntN(12) == 0 {
		return "." + name
	}
	return name
}

func nodes(ns ...ipld.Node) []ipld.Node { return ns }
