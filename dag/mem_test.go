package dag_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

// memory is a source that records what is read.
type memory struct {
	blocks map[digest.Digest]block.Block
	reads  []digest.Digest
}

func newMemory() *memory { return &memory{blocks: map[digest.Digest]block.Block{}} }

func (m *memory) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		m.reads = append(m.reads, d)
		b, ok := m.blocks[d]
		if !ok {
			yield(block.Block{}, fmt.Errorf("memory: %s: %w", d, fs.ErrNotExist))
			return
		}
		yield(b, nil)
	}
}

func digestOf(t testing.TB, c cid.Cid) digest.Digest {
	t.Helper()
	d, err := digest.FromCID(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (m *memory) put(t testing.TB, b block.Block, err error) cid.Cid {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	m.blocks[digestOf(t, b.CID)] = b
	return b.CID
}

// data stores data under a codec.
func (m *memory) data(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	return m.put(t, block.Block{CID: d.CID(codec), Data: data}, err)
}

// fixtures are the blocks of the gateway-conformance suite.
func fixtures(t testing.TB) *memory {
	t.Helper()
	f, err := os.Open("testdata/fixtures.car")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := car.NewReader(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	for {
		s, err := r.Next()
		if err == io.EOF {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := r.Data()
		if err != nil {
			t.Fatal(err)
		}
		b, err := block.New(s.CID, bytes.Clone(data))
		m.put(t, b, err)
	}
}

// node is something in a directory.
type node struct {
	c     cid.Cid
	tsize uint64
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

func (m *memory) file(t testing.TB, p unixfs.Profile, data []byte) node {
	t.Helper()
	s := p.FileRoot(int64(len(data)))
	return node{m.subtree(t, p, s, data), p.Tsize(s)}
}

func (m *memory) subtree(t testing.TB, p unixfs.Profile, s unixfs.Subtree, data []byte) cid.Cid {
	t.Helper()
	if s.Depth == 0 {
		b, err := p.Leaf(data)
		return m.put(t, b, err)
	}
	var children []cid.Cid
	for child := range p.Children(s) {
		children = append(children, m.subtree(t, p, child, data[:child.Bytes]))
		data = data[child.Bytes:]
	}
	b, err := p.FileNode(s, children)
	return m.put(t, b, err)
}

func (m *memory) dir(t testing.TB, p unixfs.Profile, nodes map[string]node) node {
	t.Helper()
	names := slices.Sorted(maps.Keys(nodes))
	entries := make([]unixfs.DirEntry, len(names))
	for i, name := range names {
		entries[i] = unixfs.DirEntry{Name: name, Tsize: nodes[name].tsize, CIDLen: nodes[name].c.ByteLen()}
	}
	shape, err := p.Directory(entries)
	if err != nil {
		t.Fatal(err)
	}
	var encode func(n *unixfs.DirNode) cid.Cid
	encode = func(n *unixfs.DirNode) cid.Cid {
		var links []cid.Cid
		for _, item := range n.Items {
			if item.Child != nil {
				links = append(links, encode(item.Child))
			} else {
				links = append(links, nodes[names[item.Entry]].c)
			}
		}
		b, err := p.EncodeDir(n, links)
		return m.put(t, b, err)
	}
	return node{encode(shape), shape.Tsize}
}

// cbor stores a dag-cbor map of links.
func (m *memory) cbor(t testing.TB, links map[string]cid.Cid) cid.Cid {
	t.Helper()
	n, err := qp.BuildMap(basicnode.Prototype.Any, -1, func(a datamodel.MapAssembler) {
		for _, k := range slices.Sorted(maps.Keys(links)) {
			qp.MapEntry(a, k, qp.Link(cidlink.Link{Cid: links[k]}))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := dagcbor.Encode(n, &buf); err != nil {
		t.Fatal(err)
	}
	return m.data(t, cid.DagCBOR, buf.Bytes())
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(7, seed))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func parse(t testing.TB, s string) cid.Cid {
	t.Helper()
	c, err := cid.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
