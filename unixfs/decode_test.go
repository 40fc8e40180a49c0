package unixfs_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipfs/boxo/ipld/merkledag"
	boxofs "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

// pb names data as a dag-pb block.
func pb(t testing.TB, data []byte) block.Block {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	if err != nil {
		t.Fatal(err)
	}
	return block.Block{CID: d.CID(cid.DagProtobuf), Data: data}
}

// sameNode compares a node with boxo's reading of the same bytes.
func sameNode(t testing.TB, data []byte, n *unixfs.Node) {
	t.Helper()
	node, err := merkledag.DecodeProtobuf(data)
	if err != nil {
		t.Fatalf("boxo does not take the envelope: %v", err)
	}
	want := &unixfs.Node{}
	for _, l := range node.Links() {
		want.Links = append(want.Links, unixfs.Link{Name: l.Name, CID: l.Cid, Tsize: l.Size})
	}
	fs, err := boxofs.FSNodeFromBytes(node.Data())
	if err != nil {
		t.Fatalf("boxo does not take the data: %v", err)
	}
	want.Type, want.Data = unixfs.Type(fs.Type()), fs.Data()
	want.ModTime = n.ModTime // boxo does not keep the zone; TestDecodeTakes has the facts
	if n.IsFile() {
		want.FileSize, want.BlockSizes = n.FileSize, fs.BlockSizes()
		if size := fs.FileSize(); size != 0 && size != uint64(n.FileSize) {
			t.Errorf("file of %d bytes, boxo says %d", n.FileSize, size)
		}
	}
	if n.Type == unixfs.HAMT {
		want.Fanout = int(fs.Fanout())
	}
	opts := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(unixfs.Node{}, "Mode"),
		cmp.Comparer(func(a, b cid.Cid) bool { return a.Equals(b) })}
	if !n.IsFile() {
		opts = append(opts, cmpopts.IgnoreFields(unixfs.Node{}, "BlockSizes"))
	}
	if diff := cmp.Diff(want, n, opts); diff != "" {
		t.Errorf("Decode and boxo differ (-boxo +ours):\n%s", diff)
	}
}

func TestDecodeReadsWhatIsWritten(t *testing.T) {
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		p := profile(t, name, func(p *unixfs.Profile) { p.ChunkSize, p.Width = 50, 4 })
		for _, size := range edges(50, 4) {
			var got []byte
			build(t, p, p.FileRoot(size), random(int(size)), func(b block.Block) {
				n, err := unixfs.Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if b.CID.Type() == cid.Raw {
					got = append(got, n.Data...)
					return
				}
				sameNode(t, b.Data, n)
				got = append(got, n.Data...)
			})
			if string(got) != string(random(int(size))) {
				t.Errorf("%s: the leaves of %d bytes hold something else", name, size)
			}
		}
		link, err := p.Symlink("to/here")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := unixfs.Decode(link); err != nil || n.Type != unixfs.Symlink || string(n.Data) != "to/here" {
			t.Errorf("symlink: %+v, %v", n, err)
		}
	}
}

func TestFindInDirectories(t *testing.T) {
	names := append(deep(t, 10), numbered(300, "%d")...)
	for _, change := range []func(*unixfs.Profile){
		nil,
		func(p *unixfs.Profile) { p.HAMTThreshold = 1 },
		func(p *unixfs.Profile) { p.HAMTThreshold, p.HAMTFanout = 1, 8 },
		func(p *unixfs.Profile) { p.HAMTThreshold, p.HAMTFanout = 1, 1024 },
	} {
		p := profile(t, unixfs.V1, change)
		entries := make([]unixfs.DirEntry, len(names))
		cids := make([]cid.Cid, len(names))
		for i, name := range names {
			leaf, err := p.Leaf([]byte(name))
			if err != nil {
				t.Fatal(err)
			}
			entries[i], cids[i] = unixfs.DirEntry{Name: name, Tsize: 9, CIDLen: 36}, leaf.CID
		}
		shape, err := p.Directory(entries)
		if err != nil {
			t.Fatal(err)
		}
		blocks := map[cid.Cid]*unixfs.Node{}
		listed := 0
		root := buildDir(t, p, shape, entries, cids, func(b block.Block) {
			n, err := unixfs.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			sameNode(t, b.Data, n)
			blocks[b.CID] = n
			for i := range n.Links {
				if _, shard := n.Entry(i); !shard {
					listed++
				}
			}
		})
		if listed != len(names) {
			t.Errorf("fanout %d: the shards list %d entries of %d", p.HAMTFanout, listed, len(names))
		}
		find := func(name string) (unixfs.Link, bool) {
			n := blocks[root.CID]
			for level := 0; ; level++ {
				l, shard, ok := n.Find(name, level)
				if !shard {
					return l, ok
				}
				n = blocks[l.CID]
			}
		}
		for i, name := range names {
			if l, ok := find(name); !ok || !l.CID.Equals(cids[i]) || l.Name != name {
				t.Errorf("Find(%q) = %v, %t", name, l, ok)
			}
		}
		for _, name := range []string{"", "absent", "00", "deep-", "deep-40001"} {
			if l, ok := find(name); ok {
				t.Errorf("Find(%q) = %v", name, l)
			}
		}
	}
}

// message builds UnixFS data in an envelope, field by field.
type message struct{ data, links []byte }

func (m message) num(field protowire.Number, v uint64) message {
	m.data = protowire.AppendVarint(protowire.AppendTag(m.data, field, protowire.VarintType), v)
	return m
}

func (m message) bytes(field protowire.Number, v string) message {
	m.data = protowire.AppendString(protowire.AppendTag(m.data, field, protowire.BytesType), v)
	return m
}

func (m message) link(name string) message {
	l := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "\x01\x55\x00\x00")
	l = protowire.AppendString(protowire.AppendTag(l, 2, protowire.BytesType), name)
	m.links = protowire.AppendBytes(protowire.AppendTag(m.links, 2, protowire.BytesType), l)
	return m
}

func (m message) encode() []byte {
	return protowire.AppendBytes(protowire.AppendTag(m.links, 1, protowire.BytesType), m.data)
}

func TestDecodeRefuses(t *testing.T) {
	file, hamt := message{}.num(1, 2), message{}.num(1, 5).num(5, 0x22).num(6, 8)
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"no data":                {nil, unixfs.ErrNotUnixFS},
		"no type":                {message{}.num(3, 1).encode(), unixfs.ErrNotUnixFS},
		"unknown type":           {message{}.num(1, 6).encode(), unixfs.ErrNotUnixFS},
		"text in place of data":  {append([]byte{0x0a, 5}, "hello"...), unixfs.ErrNotUnixFS},
		"text alone":             {[]byte("hello world"), unixfs.ErrMalformed},
		"cut":                    {message{}.num(1, 1).link("abc").encode()[:8], unixfs.ErrMalformed},
		"data twice":             {append(file.encode(), file.encode()...), unixfs.ErrMalformed},
		"links apart":            {append(file.link("").encode(), file.link("").links...), unixfs.ErrMalformed},
		"link without CID":       {[]byte{0x12, 2, 0x12, 0}, unixfs.ErrMalformed},
		"link with a bad CID":    {[]byte{0x12, 4, 0x0a, 2, 1, 0x55}, unixfs.ErrMalformed},
		"CID with more behind":   {[]byte{0x12, 7, 0x0a, 5, 1, 0x55, 0, 0, 0}, unixfs.ErrMalformed},
		"name before CID":        {[]byte{0x12, 8, 0x12, 0, 0x0a, 4, 1, 0x55, 0, 0}, unixfs.ErrMalformed},
		"CID twice":              {[]byte{0x12, 12, 0x0a, 4, 1, 0x55, 0, 0, 0x0a, 4, 1, 0x55, 0, 0}, unixfs.ErrMalformed},
		"size without link":      {file.num(4, 7).encode(), unixfs.ErrMalformed},
		"link without size":      {file.link("").encode(), unixfs.ErrMalformed},
		"file size lies":         {file.bytes(2, "abc").num(3, 4).encode(), unixfs.ErrMalformed},
		"sizes overflow":         {file.link("").link("").num(4, math.MaxInt64).num(4, 1).encode(), unixfs.ErrMalformed},
		"a huge size":            {file.link("").num(4, math.MaxUint64).encode(), unixfs.ErrMalformed},
		"part with a name":       {file.link("x").num(4, 1).encode(), unixfs.ErrMalformed},
		"symlink with links":     {message{}.num(1, 4).bytes(2, "t").link("").encode(), unixfs.ErrMalformed},
		"hamt by another hash":   {message{}.num(1, 5).num(5, 0x23).num(6, 8).encode(), unixfs.ErrMalformed},
		"hamt without fanout":    {message{}.num(1, 5).num(5, 0x22).encode(), unixfs.ErrMalformed},
		"hamt of fanout 2^63":    {message{}.num(1, 5).num(5, 0x22).num(6, 1<<63).encode(), unixfs.ErrMalformed},
		"hamt of fanout 12":      {message{}.num(1, 5).num(5, 0x22).num(6, 12).encode(), unixfs.ErrMalformed},
		"hamt with a long field": {hamt.bytes(2, "\x00\x01").link("0x").encode(), unixfs.ErrMalformed},
		"hamt with spare bits":   {hamt.bytes(2, "\x03").link("0x").encode(), unixfs.ErrMalformed},
		"hamt with spare links":  {hamt.bytes(2, "\x01").link("0x").link("1x").encode(), unixfs.ErrMalformed},
		"hamt in another bucket": {hamt.bytes(2, "\x02").link("0x").encode(), unixfs.ErrMalformed},
		"time without seconds":   {message{}.num(1, 1).bytes(8, "").encode(), unixfs.ErrNotUnixFS},
		"hamt without prefix":    {hamt.bytes(2, "\x01").link("").encode(), unixfs.ErrMalformed},
	} {
		if n, err := unixfs.Decode(pb(t, tt.data)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v; want %v", name, n, err, tt.want)
		}
	}
	if _, err := unixfs.Decode(block.Block{CID: pb(t, nil).CID, Data: make([]byte, block.MaxSize+1)}); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("a block over 2 MiB: %v", err)
	}
	if _, err := unixfs.DecodeLinks(make([]byte, block.MaxSize+1)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("links of a block over 2 MiB: %v", err)
	}
	cbor := block.Block{CID: cid.NewCidV1(cid.DagCBOR, pb(t, nil).CID.Hash())}
	if _, err := unixfs.Decode(cbor); !errors.Is(err, unixfs.ErrNotUnixFS) {
		t.Errorf("dag-cbor: %v", err)
	}
}

func TestDecodeTakes(t *testing.T) {
	packed := message{}.num(1, 2).bytes(2, "ab").bytes(4, "\x07\x81\x01").link("").link("")
	for name, tt := range map[string]struct {
		data []byte
		want unixfs.Node
	}{
		"packed sizes":       {packed.encode(), unixfs.Node{Type: unixfs.File, Data: []byte("ab"), FileSize: 138, BlockSizes: []uint64{7, 129}}},
		"data before links":  {append(message{}.num(1, 1).encode(), message{}.link("x").links...), unixfs.Node{Type: unixfs.Directory}},
		"mode and time":      {message{}.num(1, 1).num(7, 0o755).bytes(8, "\x08\x05\x15\x01\x00\x00\x00").encode(), unixfs.Node{Type: unixfs.Directory, Mode: 0o755, ModTime: time.Unix(5, 1).UTC()}},
		"a later field":      {message{}.num(1, 4).bytes(2, "t").num(99, 1).encode(), unixfs.Node{Type: unixfs.Symlink, Data: []byte("t")}},
		"deprecated raw":     {message{}.num(1, 0).bytes(2, "abc").num(3, 3).encode(), unixfs.Node{Type: unixfs.Raw, Data: []byte("abc"), FileSize: 3}},
		"names that repeat":  {message{}.num(1, 1).link("x").link("x").encode(), unixfs.Node{Type: unixfs.Directory}},
		"hamt in lower case": {message{}.num(1, 5).num(5, 0x22).num(6, 16).bytes(2, "\x04\x00").link("ax").encode(), unixfs.Node{Type: unixfs.HAMT, Fanout: 16, Data: []byte{4, 0}}},
		"time out of range":  {message{}.num(1, 1).bytes(8, "\x08\x05\x15\xff\xff\xff\xff").encode(), unixfs.Node{Type: unixfs.Directory}},
	} {
		n, err := unixfs.Decode(pb(t, tt.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, n, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(unixfs.Node{}, "Links")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A hostile block must not take many times its size in memory.
func TestDecodeIsBounded(t *testing.T) {
	sizes := message{}.num(1, 2).bytes(4, string(make([]byte, block.MaxSize-16))).encode()
	var links message
	for len(links.links) < block.MaxSize-64 {
		links = links.link("")
	}
	for name, data := range map[string][]byte{"sizes": sizes, "links": links.num(1, 1).encode()} {
		b := pb(t, data)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := unixfs.Decode(b)
		runtime.ReadMemStats(&after)
		if err == nil && len(n.Links) == 0 {
			t.Errorf("%s: nothing was read", name)
		}
		bytes := after.TotalAlloc - before.TotalAlloc
		if bytes > 12*block.MaxSize {
			t.Errorf("%s: %d bytes allocated for a block of %d", name, bytes, len(data))
		}
	}
}

// The blocks of the gateway-conformance suite were written by many versions of
// Kubo: what boxo takes for UnixFS is taken here.
func TestDecodeFixtures(t *testing.T) {
	f, err := os.Open("../dag/testdata/fixtures.car")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := carv2.NewBlockReader(f)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[unixfs.Type]int{}
	for b, err := r.Next(); err == nil; b, err = r.Next() {
		if b.Cid().Type() != cid.DagProtobuf {
			continue
		}
		n, err := unixfs.Decode(block.Block{CID: b.Cid(), Data: b.RawData()})
		if err != nil {
			node, boxoErr := merkledag.DecodeProtobuf(b.RawData())
			if boxoErr == nil {
				_, boxoErr = boxofs.FSNodeFromBytes(node.Data())
			}
			if boxoErr == nil {
				t.Errorf("%s: %v", b.Cid(), err)
			}
			continue
		}
		sameNode(t, b.RawData(), n)
		seen[n.Type]++
	}
	if len(seen) < 4 {
		t.Errorf("the fixtures hold too little: %v", seen)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		p := profile(f, name, func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.RawLeaves = 10, 3, false })
		build(f, p, p.FileRoot(40), random(40), func(b block.Block) { f.Add(b.Data) })
	}
	hamt := message{}.num(1, 5).num(5, 0x22).num(6, 8)
	f.Add(hamt.bytes(2, "\x05").link("0").link("2name").encode())
	f.Add(message{}.num(1, 1).num(7, 0o755).bytes(8, "\x08\x05\x15\x01\x00\x00\x00").link("x").encode())
	f.Add(message{}.num(1, 2).bytes(4, "\x07").link("").encode())
	f.Add(message{}.num(1, 2).num(protowire.MaxValidNumber+1, 1).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := unixfs.Decode(block.Block{CID: cid.NewCidV1(cid.DagProtobuf, cid.Undef.Hash()), Data: data})
		if err != nil {
			if !errors.Is(err, unixfs.ErrNotUnixFS) && !errors.Is(err, unixfs.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		sameNode(t, data, n)
		for i := range n.Links {
			l, shard := n.Entry(i)
			if found, _, ok := n.Find(l.Name, 0); n.IsDir() && !shard && n.Type == unixfs.Directory && (!ok || found.Name != l.Name) {
				t.Errorf("entry %q is not found", l.Name)
			}
		}
		n.Find("name", 1)
		n.Find("name", 63)
	})
}

func BenchmarkDecodeFile(b *testing.B) {
	p := profile(b, unixfs.V1, nil)
	s := p.FileRoot(1 << 30)
	leaf, err := p.Leaf(nil)
	if err != nil {
		b.Fatal(err)
	}
	children := make([]cid.Cid, p.NumChildren(s))
	for i := range children {
		children[i] = leaf.CID
	}
	node, err := p.FileNode(s, children)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unixfs.Decode(node); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleDecode() {
	data, err := hex.DecodeString("0a040801" + "1800") // a directory, and a file size that means nothing there
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	d, _ := digest.Sum(digest.SHA256, data)
	n, err := unixfs.Decode(block.Block{CID: d.CID(cid.DagProtobuf), Data: data})
	fmt.Println(n.Type, len(n.Links), err)
	// Output: directory 0 <nil>
}
