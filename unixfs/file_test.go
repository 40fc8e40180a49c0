package unixfs_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

// random returns bytes that are the same in every run.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestPublishedVectors(t *testing.T) {
	for _, tt := range []struct{ profile, data, want string }{
		// IPIP-499, section Test fixtures.
		{unixfs.V1, "hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
		{unixfs.V0, "hello world", "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"},
		// The well-known CIDs of the empty file.
		{unixfs.V1, "", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
		{unixfs.V0, "", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"},
	} {
		p := profile(t, tt.profile, nil)
		root, _ := build(t, p, p.FileRoot(int64(len(tt.data))), []byte(tt.data), nil)
		if got := root.CID.String(); got != tt.want {
			t.Errorf("%s of %q = %s, want %s", tt.profile, tt.data, got, tt.want)
		}
	}
}

func TestFilesLikeBoxo(t *testing.T) {
	profiles := map[string]func(*unixfs.Profile){
		"width 2":    func(p *unixfs.Profile) { p.ChunkSize, p.Width = 5, 2 },
		"width 3":    func(p *unixfs.Profile) { p.ChunkSize, p.Width = 200, 3 },
		"width 10":   func(p *unixfs.Profile) { p.ChunkSize, p.Width = 33, 10 },
		"raw leaves": func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.RawLeaves = 100, 4, true },
		"pb leaves":  func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.RawLeaves = 127, 4, false },
		"blake3":     func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.CIDVersion, p.Hash = 100, 4, 1, digest.BLAKE3 },
		"sha2-512":   func(p *unixfs.Profile) { p.ChunkSize, p.Width, p.CIDVersion, p.Hash = 100, 4, 1, digest.SHA512 },
	}
	for _, base := range []string{unixfs.V1, unixfs.V0} {
		for name, change := range profiles {
			t.Run(base+"/"+name, func(t *testing.T) {
				p := profile(t, base, change)
				for _, size := range edges(p.ChunkSize, p.Width) {
					sameAsBoxo(t, p, size)
				}
			})
		}
	}
}

// edges are the sizes around which the shape of the DAG changes.
func edges(chunk int64, width int) []int64 {
	sizes := []int64{0, 1, 2}
	for full := chunk; full <= chunk*int64(width*width*width); full *= int64(width) {
		sizes = append(sizes, full-1, full, full+1, full+chunk, full+chunk+1, 2*full-1, 2*full+1)
	}
	return sizes
}

func TestRealParametersLikeBoxo(t *testing.T) {
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		p := profile(t, name, nil)
		for _, size := range []int64{p.ChunkSize - 1, p.ChunkSize, p.ChunkSize + 1, 3*p.ChunkSize + 17} {
			sameAsBoxo(t, p, size)
		}
	}
	// A full interior node at the real widths, and the first byte after it.
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		p := profile(t, name, func(p *unixfs.Profile) { p.ChunkSize = 64 })
		full := int64(p.Width) * p.ChunkSize
		for _, size := range []int64{full - 1, full, full + 1} {
			sameAsBoxo(t, p, size)
		}
	}
}

func sameAsBoxo(t *testing.T, p unixfs.Profile, size int64) {
	t.Helper()
	data := random(int(size))
	dserv, want := boxoFile(t, p, data)
	root, tsize := build(t, p, p.FileRoot(size), data, func(b block.Block) {
		mustGet(t.Context(), t, dserv, b.CID) // every block, not the root alone
	})
	if !root.CID.Equals(want.Cid()) {
		t.Fatalf("%d bytes: root %s, boxo says %s", size, root.CID, want.Cid())
	}
	if tsize != nodeSize(t, want) {
		t.Errorf("%d bytes: Tsize %d, boxo says %d", size, tsize, nodeSize(t, want))
	}
}

func TestHugeShapes(t *testing.T) {
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		for _, width := range []int{2, 3, 174, 1024} {
			p := profile(t, name, func(p *unixfs.Profile) { p.Width = width })
			for _, size := range []int64{10 << 40, math.MaxInt64} {
				s := p.FileRoot(size)
				if n := p.NumChildren(s); n < 2 || n > width {
					t.Errorf("%s width %d: root of %d bytes has %d children", name, width, size, n)
				}
				var total int64
				for child := range p.Children(s) {
					total += child.Bytes
				}
				if total != size {
					t.Errorf("%s width %d: children hold %d bytes of %d", name, width, total, size)
				}
				if p.BlockSize(s) > block.MaxSize || p.Tsize(s) <= uint64(size) {
					t.Errorf("%s width %d: block of %d bytes, Tsize %d of %d", name, width, p.BlockSize(s), p.Tsize(s), size)
				}
			}
		}
	}
}

func TestWidestNodeFits(t *testing.T) {
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) {
		p.Width, p.ChunkSize, p.Hash, p.RawLeaves = unixfs.MaxWidth, unixfs.MaxChunkSize, digest.SHA512, false
	})
	if size := p.BlockSize(p.FileRoot(math.MaxInt64 / 2)); size > block.MaxSize {
		t.Errorf("the widest node has %d bytes, over %d", size, block.MaxSize)
	}
	if size := p.LeafSize(unixfs.MaxChunkSize); size > block.MaxSize {
		t.Errorf("the largest leaf has %d bytes", size)
	}
}

func TestRawLeafIsNotCopied(t *testing.T) {
	p := profile(t, unixfs.V1, nil)
	data := random(1000)
	leaf, err := p.Leaf(data)
	if err != nil {
		t.Fatal(err)
	}
	if &leaf.Data[0] != &data[0] {
		t.Error("the leaf has a copy of the data")
	}
}

func TestEncodeRefuses(t *testing.T) {
	p := profile(t, unixfs.V1, func(p *unixfs.Profile) { p.ChunkSize = 10 })
	if _, err := p.Leaf(make([]byte, 11)); err == nil {
		t.Error("Leaf took more than a chunk")
	}
	if _, err := p.FileNode(p.FileRoot(25), make([]cid.Cid, 2)); err == nil {
		t.Error("FileNode took 2 children in place of 3")
	}
	if _, err := p.FileNode(p.FileRoot(5), nil); err == nil {
		t.Error("FileNode encoded a leaf")
	}
	leaf, err := p.Leaf(nil)
	if err != nil {
		t.Fatal(err)
	}
	v0 := profile(t, unixfs.V0, func(p *unixfs.Profile) { p.ChunkSize = 10 })
	if _, err := v0.FileNode(v0.FileRoot(15), []cid.Cid{leaf.CID, leaf.CID}); err == nil {
		t.Error("FileNode took CIDs of another length than it promised")
	}
}

func TestSymlinksLikeBoxo(t *testing.T) {
	for _, name := range []string{unixfs.V1, unixfs.V0} {
		p := profile(t, name, nil)
		for _, target := range []string{"", "a", "../some/where", string(random(300))} {
			b, err := p.Symlink(target)
			if err != nil {
				t.Fatal(err)
			}
			if want := boxoSymlink(t, p, target).Cid(); !b.CID.Equals(want) {
				t.Errorf("%s symlink to %q: %s, boxo says %s", name, target, b.CID, want)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for i, change := range []func(*unixfs.Profile){
		func(p *unixfs.Profile) { p.CIDVersion = 2 },
		func(p *unixfs.Profile) { p.CIDVersion, p.Hash = 0, digest.BLAKE3 },
		func(p *unixfs.Profile) { p.Hash = digest.Identity },
		func(p *unixfs.Profile) { p.ChunkSize = 0 },
		func(p *unixfs.Profile) { p.ChunkSize = unixfs.MaxChunkSize + 1 },
		func(p *unixfs.Profile) { p.Width = 1 },
		func(p *unixfs.Profile) { p.Width = unixfs.MaxWidth + 1 },
		func(p *unixfs.Profile) { p.HAMTFanout = 24 },
		func(p *unixfs.Profile) { p.HAMTFanout = 4 },
		func(p *unixfs.Profile) { p.HAMTFanout = 2048 },
		func(p *unixfs.Profile) { p.HAMTThreshold = 0 },
		func(p *unixfs.Profile) { p.HAMTThreshold = 2 << 20 },
		func(p *unixfs.Profile) { p.HAMTEstimate = 2 },
	} {
		p, err := unixfs.ParseProfile(unixfs.V1)
		if err != nil {
			t.Fatal(err)
		}
		change(&p)
		if p.Validate() == nil {
			t.Errorf("case %d: Validate accepts %+v", i, p)
		}
	}
	if _, err := unixfs.ParseProfile("unixfs-v9"); err == nil {
		t.Error("ParseProfile accepts a name it does not know")
	}
}

func ExampleProfile() {
	p, _ := unixfs.ParseProfile(unixfs.V1)
	root := p.FileRoot(3 << 20)
	fmt.Println("depth", root.Depth, "links", p.NumChildren(root), "root block", p.BlockSize(root), "bytes, DAG", p.Tsize(root))
	leaf, _ := p.Leaf([]byte("hello world"))
	fmt.Println(leaf.CID)
	// Output:
	// depth 1 links 3 root block 159 bytes, DAG 3145887
	// bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e
}
