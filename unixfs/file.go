package unixfs

import (
	"fmt"
	"iter"
	"math"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
)

// Subtree is a part of the balanced DAG of a file, known by its shape alone.
// Every leaf is as far from the root as any other, and all but the last hold
// ChunkSize bytes.
type Subtree struct {
	Depth int   // 0 is a leaf
	Bytes int64 // file bytes below
}

// FileRoot returns the shape of a file of size bytes.
func (p Profile) FileRoot(size int64) Subtree {
	s := Subtree{Bytes: size}
	for p.capacity(s.Depth) < size {
		s.Depth++
	}
	return s
}

// capacity returns the bytes that a full subtree holds, without overflow.
func (p Profile) capacity(depth int) int64 {
	n := p.ChunkSize
	for range depth {
		if n > math.MaxInt64/int64(p.Width) {
			return math.MaxInt64
		}
		n *= int64(p.Width)
	}
	return n
}

// NumChildren returns the number of links of the root of s: 0 for a leaf.
func (p Profile) NumChildren(s Subtree) int {
	if s.Depth == 0 {
		return 0
	}
	full := p.capacity(s.Depth - 1)
	return int((s.Bytes-1)/full) + 1 // written so that it cannot overflow
}

// Child returns the child number i of s.
func (p Profile) Child(s Subtree, i int) Subtree {
	full := p.capacity(s.Depth - 1)
	return Subtree{s.Depth - 1, min(full, s.Bytes-int64(i)*full)}
}

// Children yields the children of s in order.
func (p Profile) Children(s Subtree) iter.Seq[Subtree] {
	return func(yield func(Subtree) bool) {
		for i := range p.NumChildren(s) {
			if !yield(p.Child(s, i)) {
				return
			}
		}
	}
}

// BlockSize returns the bytes of the block at the root of s.
func (p Profile) BlockSize(s Subtree) int64 {
	size, _ := p.sizes(s)
	return size
}

// Tsize returns the bytes of all blocks of s together, each counted as often as
// it is linked.
func (p Profile) Tsize(s Subtree) uint64 {
	_, tsize := p.sizes(s)
	return tsize
}

// sizes computes the size of the root block and of all blocks. All children but
// the last are alike and full, and so are all below them: the work is the square
// of the depth at most, whatever the size of the file.
func (p Profile) sizes(s Subtree) (size int64, tsize uint64) {
	if s.Depth == 0 {
		size = p.LeafSize(s.Bytes)
		return size, uint64(size)
	}
	n := p.NumChildren(s)
	links, lengths := 0, 0
	add := func(child Subtree, times int) {
		_, t := p.sizes(child)
		links += times * linkSize(0, p.CIDLen(child), t)
		lengths += times * varintSize(uint64(child.Bytes))
		tsize += uint64(times) * t
	}
	first, last := p.Child(s, 0), p.Child(s, n-1)
	if first == last {
		add(first, n)
	} else {
		add(first, n-1)
		add(last, 1)
	}
	size = int64(links + bytesSize(fileHeader(s.Bytes)+lengths))
	return size, tsize + uint64(size)
}

// fileHeader is the size of the type and the file size in a File message.
func fileHeader(size int64) int { return 2 + varintSize(uint64(size)) }

// CIDLen returns the bytes of the CID of the block at the root of s.
func (p Profile) CIDLen(s Subtree) int { return p.cidLen(s.Depth == 0 && p.RawLeaves) }

// LeafSize returns the bytes of the block of a leaf with n bytes of the file.
func (p Profile) LeafSize(n int64) int64 {
	if p.RawLeaves {
		return n
	}
	size := fileHeader(n)
	if n > 0 {
		size += bytesSize(int(n))
	}
	return int64(bytesSize(size))
}

// Leaf returns the leaf of data, which is a whole small file or a chunk of at
// most ChunkSize bytes. A raw leaf shares memory with data.
func (p Profile) Leaf(data []byte) (block.Block, error) {
	if int64(len(data)) > p.ChunkSize {
		return block.Block{}, fmt.Errorf("unixfs: encode leaf of %d bytes: a chunk is %d", len(data), p.ChunkSize)
	}
	if p.RawLeaves {
		return p.seal(cid.Raw, data)
	}
	n := int64(len(data))
	size := p.LeafSize(n)
	inner := fileHeader(n)
	if n > 0 {
		inner += bytesSize(len(data))
	}
	b := make([]byte, 0, size)
	b = protowire.AppendVarint(append(b, tagNodeData), uint64(inner))
	b = append(b, tagType, byte(File))
	if n > 0 {
		b = appendBytes(b, tagData, data)
	}
	b = appendNumber(b, tagFileSize, uint64(n))
	return p.sealNode(b, size)
}

// FileNode returns the block at the root of s, which is not a leaf, from the
// CIDs of its children.
func (p Profile) FileNode(s Subtree, children []cid.Cid) (block.Block, error) {
	if n := p.NumChildren(s); n == 0 || n != len(children) {
		return block.Block{}, fmt.Errorf("unixfs: encode file node: %d children, want %d", len(children), n)
	}
	size := p.BlockSize(s)
	b := make([]byte, 0, size)
	for i, tsize := range p.tsizes(s) {
		b = appendLink(b, "", "", children[i], tsize)
	}
	inner := fileHeader(s.Bytes)
	for child := range p.Children(s) {
		inner += varintSize(uint64(child.Bytes))
	}
	b = protowire.AppendVarint(append(b, tagNodeData), uint64(inner))
	b = append(b, tagType, byte(File))
	b = appendNumber(b, tagFileSize, uint64(s.Bytes))
	for child := range p.Children(s) {
		b = appendNumber(b, tagBlockSizes, uint64(child.Bytes))
	}
	return p.sealNode(b, size)
}

// tsizes yields the Tsize of every child of s. It computes two, as all but the
// last are alike.
func (p Profile) tsizes(s Subtree) iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		n := p.NumChildren(s)
		first := p.Tsize(p.Child(s, 0))
		for i := range n - 1 {
			if !yield(i, first) {
				return
			}
		}
		yield(n-1, p.Tsize(p.Child(s, n-1)))
	}
}

// Symlink returns the block of a symbolic link.
func (p Profile) Symlink(target string) (block.Block, error) {
	inner := 2 + bytesSize(len(target))
	b := make([]byte, 0, bytesSize(inner))
	b = protowire.AppendVarint(append(b, tagNodeData), uint64(inner))
	b = append(b, tagType, byte(Symlink))
	b = appendBytes(b, tagData, []byte(target))
	return p.sealNode(b, p.SymlinkSize(target))
}

// SymlinkSize returns the bytes of the block of a symbolic link. Its CID is as
// long as that of [Profile.Directory].
func (p Profile) SymlinkSize(target string) int64 {
	return int64(bytesSize(2 + bytesSize(len(target))))
}
