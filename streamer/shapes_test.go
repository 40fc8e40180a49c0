package streamer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
)

// shapes makes random DAGs of files, directories and dag-cbor, with repeats of
// leaves and of whole subtrees, the same block linked under several CIDs, inline
// blocks, and data inside of interior nodes.
type shapes struct {
	rng    *rand.Rand
	blocks []block.Block
	files  []made // raw leaves too
	others []made
	known  map[string]bool
}

type made struct {
	c    cid.Cid
	size uint64 // of a file
}

func (s *shapes) put(c cid.Cid, data []byte) cid.Cid {
	if !s.known[string(c.Hash())] && c.Prefix().MhType != uint64(digest.Identity) {
		s.known[string(c.Hash())] = true
		s.blocks = append(s.blocks, block.Block{CID: c, Data: data})
	}
	return c
}

func (s *shapes) sum(codec uint64, data []byte) cid.Cid {
	code := digest.SHA256
	if len(data) < 100 && s.rng.IntN(8) == 0 {
		code = digest.Identity
	}
	d, err := digest.Sum(code, data)
	if err != nil {
		panic(err)
	}
	return s.put(d.CID(codec), data)
}

// spell returns one of the CIDs of the block of c.
func (s *shapes) spell(c cid.Cid) cid.Cid {
	if c.Type() != cid.DagProtobuf || c.Prefix().MhType != uint64(digest.SHA256) {
		return c
	}
	if s.rng.IntN(4) == 0 {
		return cid.NewCidV0(c.Hash())
	}
	return cid.NewCidV1(cid.DagProtobuf, c.Hash())
}

func pick[T any](s *shapes, from []T) T {
	if len(from) > 6 && s.rng.IntN(3) > 0 { // mostly what is new, so that DAGs become deep
		from = from[len(from)-6:]
	}
	return from[s.rng.IntN(len(from))]
}

func (s *shapes) leaf() {
	data := random(uint64(s.rng.IntN(30)), 1+s.rng.IntN(60))
	if s.rng.IntN(2) == 0 {
		s.files = append(s.files, made{s.sum(cid.Raw, data), uint64(len(data))})
		return
	}
	n := unixfs.NewFSNode(unixfs.TFile)
	n.SetData(data)
	s.files = append(s.files, made{s.node(n, nil), uint64(len(data))})
}

func (s *shapes) node(n *unixfs.FSNode, links []*format.Link) cid.Cid {
	data, err := n.GetBytes()
	if err != nil {
		panic(err)
	}
	return s.linked(merkledag.NodeWithData(data), links)
}

func (s *shapes) linked(p *merkledag.ProtoNode, links []*format.Link) cid.Cid {
	for _, l := range links {
		if err := p.AddRawLink(l.Name, l); err != nil {
			panic(err)
		}
	}
	data, err := p.Marshal()
	if err != nil {
		panic(err)
	}
	return s.sum(cid.DagProtobuf, data)
}

func (s *shapes) file() {
	n := unixfs.NewFSNode(unixfs.TFile)
	var links []*format.Link
	if s.rng.IntN(6) == 0 {
		n.SetData(random(uint64(s.rng.IntN(30)), 1+s.rng.IntN(20)))
	}
	for range 1 + s.rng.IntN(4) {
		child := pick(s, s.files)
		n.AddBlockSize(child.size)
		links = append(links, &format.Link{Cid: s.spell(child.c), Size: child.size})
	}
	s.files = append(s.files, made{s.node(n, links), n.FileSize()})
}

func (s *shapes) directory() {
	var links []*format.Link
	for i := range s.rng.IntN(5) {
		child := pick(s, s.files)
		if len(s.others) > 0 && s.rng.IntN(2) == 0 {
			child = pick(s, s.others)
		}
		links = append(links, &format.Link{Name: fmt.Sprint("entry ", i), Cid: s.spell(child.c)})
	}
	s.others = append(s.others, made{c: s.node(unixfs.NewFSNode(unixfs.TDirectory), links)})
}

// cbor makes an array of links, some of them under another codec.
func (s *shapes) cbor() {
	n := 1 + s.rng.IntN(4)
	data := []byte{0x80 | byte(n)}
	for range n {
		c := s.spell(pick(s, append(s.files, s.others...)).c)
		if s.rng.IntN(8) == 0 {
			c = cid.NewCidV1(cid.Raw, c.Hash())
		}
		b := append([]byte{0}, c.Bytes()...)
		data = append(data, 0xd8, 0x2a, 0x58, byte(len(b)))
		data = append(data, b...)
	}
	s.others = append(s.others, made{c: s.sum(cid.DagCBOR, data)})
}

func newShapes(seed uint64, nodes int) *shapes {
	s := &shapes{rng: rand.New(rand.NewPCG(seed, 1)), known: map[string]bool{}}
	s.leaf()
	for range nodes {
		switch s.rng.IntN(6) {
		case 0, 1:
			s.leaf()
		case 2, 3:
			s.file()
		case 4:
			s.directory()
		default:
			s.cbor()
		}
	}
	return s
}

// FuzzImported compares the bodies of DAGs that were imported from archives in any
// order, some with holes, with walks over the blocks.
func FuzzImported(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint8(10+seed), seed%4 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, nodes uint8, hole bool) {
		checkShapes(t, seed, int(nodes)%80, hole, nil)
	})
}

func checkShapes(t *testing.T, seed uint64, nodes int, hole bool, o *streamer.Options) {
	made := newShapes(seed, nodes)
	blocks := made.blocks
	made.rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	if hole && len(blocks) > 1 {
		blocks = blocks[1:]
	}
	m := memory{}
	var roots []cid.Cid
	for _, b := range blocks {
		d, _ := digest.FromCID(b.CID)
		m[d] = b
		roots = append(roots, made.spell(b.CID))
	}
	s := imported(t, archived(blocks), o, roots...)
	for _, root := range roots {
		for _, sel := range made.ask(made.spell(root)) {
			compare(t, s, m, sel)
		}
	}
}

// imported is a streamer over an archive in memory.
func imported(t testing.TB, archive []byte, o *streamer.Options, roots ...cid.Cid) *streamer.Streamer {
	t.Helper()
	packs, keys := memblob.New(), memkv.New()
	shelf := ingest.Shelf{Keys: keys, Packs: packs}
	p, err := pack.Import(t.Context(), packs, bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.IndexPack(t.Context(), p.Digest, shelf, roots...); err != nil {
		t.Fatal(err)
	}
	return streamer.New(index.New(keys, nil), packs, o)
}

// ask returns selections of what is below root.
func (s *shapes) ask(root cid.Cid) (sels []block.Selection) {
	for _, dups := range []bool{false, true} {
		for _, scope := range []block.Scope{block.ScopeAll, block.ScopeEntity, block.ScopeBlock} {
			sels = append(sels, block.Selection{Root: root, Scope: scope, Dups: dups, Encoding: block.EncodingCAR})
		}
		for range 2 {
			from := int64(s.rng.IntN(120)) - 20
			r := &block.ByteRange{From: from, To: from + int64(s.rng.IntN(60))}
			sels = append(sels, block.Selection{Root: root, Scope: block.ScopeEntity, Bytes: r, Dups: dups, Encoding: block.EncodingCAR})
		}
	}
	if s.rng.IntN(4) == 0 {
		sels = append(sels, block.Selection{Root: cid.NewCidV1(cid.Raw, root.Hash()), Scope: block.ScopeAll, Encoding: block.EncodingCAR})
	}
	return sels
}

// compare sends the body of sel and compares it with the walk.
func compare(t *testing.T, s *streamer.Streamer, m memory, sel block.Selection) {
	t.Helper()
	name := fmt.Sprintf("%s %s", sel.Root, describe(sel))
	want, wantErr := tryWalk(t, m, sel)
	var got bytes.Buffer
	body, err := s.Open(t.Context(), sel)
	if err == nil {
		_, err = body.Send(t.Context(), &got)
		size, exact := body.Size()
		if err == nil && exact && size != int64(got.Len()) {
			t.Fatalf("%s: size %d, sent %d", name, size, got.Len())
		}
	}
	for _, kind := range []error{nil, fs.ErrNotExist, block.ErrRange} {
		if errors.Is(wantErr, kind) != errors.Is(err, kind) {
			t.Fatalf("%s: %v, but the walk: %v", name, err, wantErr)
		}
	}
	if err == nil && !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("%s: %T of %d bytes\n%s\nthe walk has %d\n%s", name, body, got.Len(), list(t, got.Bytes()), len(want), list(t, want))
	}
}

func list(t *testing.T, archive []byte) (text string) {
	for _, c := range cids(t, archive) {
		text += c.String() + "\n"
	}
	return text
}

// tryWalk is walked for a walk that may fail.
func tryWalk(t *testing.T, m memory, sel block.Selection) ([]byte, error) {
	t.Helper()
	out := car.AppendHeader(nil, sel.Root)
	for b, err := range dag.Walk(t.Context(), m, sel) {
		if err != nil {
			return out, err
		}
		out = append(car.AppendHead(out, b.CID, int64(len(b.Data))), b.Data...)
	}
	return out, nil
}

// bomb is a file of levels nodes, each of which links twice to the one below, and
// a directory over it and over a second file that shares half of it.
func bomb(levels int) (s *shapes, root, deep, second cid.Cid) {
	s = &shapes{rng: rand.New(rand.NewPCG(1, 1)), known: map[string]bool{}}
	leaf := random(1, 200)
	below := made{s.sum(cid.Raw, leaf), 200}
	var half made
	for i := range levels {
		n := unixfs.NewFSNode(unixfs.TFile)
		n.AddBlockSize(below.size)
		n.AddBlockSize(below.size)
		link := &format.Link{Cid: below.c, Size: below.size}
		below = made{s.node(n, []*format.Link{link, link}), n.FileSize()}
		if i == levels/2 {
			half = below
		}
	}
	n := unixfs.NewFSNode(unixfs.TFile)
	n.SetData(random(2, 120)) // too much for an identity CID
	n.AddBlockSize(half.size)
	second = s.node(n, []*format.Link{{Cid: half.c, Size: half.size}})
	root = s.node(unixfs.NewFSNode(unixfs.TDirectory), []*format.Link{{Name: "deep", Cid: below.c}, {Name: "second", Cid: second}})
	return s, root, below.c, second
}

// TestFolded serves DAGs of few blocks that stand for many.
func TestFolded(t *testing.T) {
	made, root, deep, second := bomb(40)
	m := memory{}
	for _, b := range made.blocks {
		d, _ := digest.FromCID(b.CID)
		m[d] = b
	}
	s := imported(t, archived(made.blocks), &streamer.Options{MaxRepeating: 1000}, root)
	for _, c := range []cid.Cid{root, deep, second} {
		compare(t, s, m, whole(c))
		for _, r := range []string{"0:5", "100:700", "-700:-100", "3:3", "123456:124000", "1000000000000000:*"} {
			br, err := block.ParseByteRange(r)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, s, m, block.Selection{Root: c, Scope: block.ScopeEntity, Bytes: br, Encoding: block.EncodingCAR})
		}
	}
	n := 0
	for b, err := range s.Blocks(t.Context(), mustDigest(t, second)) {
		if _, bad := block.New(b.CID, b.Data); err != nil || bad != nil {
			t.Fatal(err, bad)
		}
		n++
	}
	if n != 1 && n != 40/2+3 { // the root alone, or what is below it too: its half of the bomb
		t.Errorf("the source yields %d blocks", n)
	}
	sel := whole(root)
	sel.Dups = true
	body, err := s.Open(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := body.Send(t.Context(), io.Discard); !errors.Is(err, dag.ErrLimit) || n == 0 {
		t.Errorf("a DAG without end: sent %d bytes, %v", n, err)
	}
}
