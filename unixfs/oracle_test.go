package unixfs_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	mdtest "github.com/ipfs/boxo/ipld/merkledag/test"
	boxofs "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	boxoio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

// The oracle is boxo, the library under Kubo, with the parameters of a profile.

func boxoBuilder(p unixfs.Profile) cid.Builder {
	return cid.Prefix{Version: uint64(p.CIDVersion), Codec: cid.DagProtobuf, MhType: uint64(p.Hash), MhLength: -1}
}

func boxoFile(t testing.TB, p unixfs.Profile, data []byte) (ipld.DAGService, ipld.Node) {
	t.Helper()
	dserv := mdtest.Mock()
	params := helpers.DagBuilderParams{
		Maxlinks: p.Width, RawLeaves: p.RawLeaves, CidBuilder: boxoBuilder(p), Dagserv: dserv,
	}
	db, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), p.ChunkSize))
	if err != nil {
		t.Fatal(err)
	}
	root, err := balanced.Layout(db)
	if err != nil {
		t.Fatal(err)
	}
	return dserv, root
}

func boxoEstimate(p unixfs.Profile) boxoio.SizeEstimationMode {
	if p.HAMTEstimate == unixfs.LinksBytes {
		return boxoio.SizeEstimationLinks
	}
	return boxoio.SizeEstimationBlock
}

// sized is a node with the CID and size that a test wants.
type sized struct {
	*merkledag.RawNode
	size uint64
}

func (n sized) Size() (uint64, error) { return n.size, nil }

func boxoDir(t testing.TB, p unixfs.Profile, names []string, children []ipld.Node) (ipld.DAGService, ipld.Node) {
	t.Helper()
	dserv := mdtest.Mock()
	dir, err := boxoio.NewDirectory(dserv, boxoio.WithCidBuilder(boxoBuilder(p)),
		boxoio.WithMaxHAMTFanout(p.HAMTFanout), boxoio.WithSizeEstimationMode(boxoEstimate(p)))
	if err != nil {
		t.Fatal(err)
	}
	dir.SetHAMTShardingSize(p.HAMTThreshold)
	for i, name := range names {
		if err := dir.AddChild(t.Context(), name, children[i]); err != nil {
			t.Fatal(err)
		}
	}
	node, err := dir.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	return dserv, node
}

func boxoSymlink(t testing.TB, p unixfs.Profile, target string) ipld.Node {
	t.Helper()
	data, err := boxofs.SymlinkData(target)
	if err != nil {
		t.Fatal(err)
	}
	node := merkledag.NodeWithData(data)
	if err := node.SetCidBuilder(boxoBuilder(p)); err != nil {
		t.Fatal(err)
	}
	return node
}

func profile(t testing.TB, name string, change func(*unixfs.Profile)) unixfs.Profile {
	t.Helper()
	p, err := unixfs.ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

// build encodes the subtree s of data in post-order and checks every prediction
// against what was encoded. It returns the root and the bytes of all blocks.
func build(t testing.TB, p unixfs.Profile, s unixfs.Subtree, data []byte, emit func(block.Block)) (block.Block, uint64) {
	t.Helper()
	var root block.Block
	var err error
	total := uint64(0)
	if s.Depth == 0 {
		root, err = p.Leaf(data)
	} else {
		var children []cid.Cid
		rest := data
		for child := range p.Children(s) {
			b, n := build(t, p, child, rest[:child.Bytes], emit)
			children, rest, total = append(children, b.CID), rest[child.Bytes:], total+n
		}
		if len(rest) != 0 || len(children) != p.NumChildren(s) {
			t.Fatalf("%+v: %d bytes left after %d children", s, len(rest), len(children))
		}
		root, err = p.FileNode(s, children)
	}
	if err != nil {
		t.Fatal(err)
	}
	total += uint64(len(root.Data))
	if got, want := p.BlockSize(s), int64(len(root.Data)); got != want {
		t.Fatalf("BlockSize(%+v) = %d, encoded %d", s, got, want)
	}
	if got := p.Tsize(s); got != total {
		t.Fatalf("Tsize(%+v) = %d, encoded %d", s, got, total)
	}
	if got, want := p.CIDLen(s), root.CID.ByteLen(); got != want {
		t.Fatalf("CIDLen(%+v) = %d, is %d", s, got, want)
	}
	if emit != nil {
		emit(root)
	}
	return root, total
}

// buildDir encodes a directory shape, checking predictions.
func buildDir(t testing.TB, p unixfs.Profile, n *unixfs.DirNode, entries []unixfs.DirEntry, cids []cid.Cid, emit func(block.Block)) block.Block {
	t.Helper()
	var links []cid.Cid
	total := uint64(0)
	for _, item := range n.Items {
		if item.Child != nil {
			b := buildDir(t, p, item.Child, entries, cids, emit)
			links, total = append(links, b.CID), total+item.Child.Tsize
			continue
		}
		links, total = append(links, cids[item.Entry]), total+entries[item.Entry].Tsize
	}
	b, err := p.EncodeDir(n, links)
	if err != nil {
		t.Fatal(err)
	}
	if n.Size != int64(len(b.Data)) || n.Tsize != total+uint64(len(b.Data)) || n.CIDLen != b.CID.ByteLen() {
		t.Fatalf("shape says size %d, tsize %d, CID %d; encoded %d, %d, %d",
			n.Size, n.Tsize, n.CIDLen, len(b.Data), total+uint64(len(b.Data)), b.CID.ByteLen())
	}
	if emit != nil {
		emit(b)
	}
	return b
}

func nodeSize(t testing.TB, n ipld.Node) uint64 {
	t.Helper()
	size, err := n.Size()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func mustGet(ctx context.Context, t testing.TB, dserv ipld.DAGService, c cid.Cid) ipld.Node {
	t.Helper()
	n, err := dserv.Get(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
