package unixfs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashstream/hashstream/block"
)

// DirEntry is what a directory's shape depends on: a name and the sizes of what
// it names.
type DirEntry struct {
	Name   string
	Tsize  uint64 // bytes of all blocks below
	CIDLen int    // bytes of the CID
}

// DirNode is a block of a directory that is yet to be encoded: the directory
// itself, or a HAMT shard of it.
type DirNode struct {
	Size   int64     // bytes of the block
	Tsize  uint64    // bytes of the block and all below
	CIDLen int       // bytes of the CID
	Items  []DirItem // in the order of the links

	fanout  int // 0 in a basic directory
	entries []DirEntry
}

// DirItem is one link of a [DirNode].
type DirItem struct {
	Entry int      // index of the entry, or -1
	Child *DirNode // a shard, where Entry is -1

	bucket int // of a shard
}

// Sharded reports whether the node is a HAMT shard.
func (n *DirNode) Sharded() bool { return n.fanout != 0 }

// Directory returns the shape of the directory that holds entries, in any order:
// one block, or the tree of HAMT shards above the threshold. Names must be
// unique, not empty, neither "." nor "..", and without "/" and NUL. It keeps
// entries.
func (p Profile) Directory(entries []DirEntry) (*DirNode, error) {
	n, err := p.directory(entries)
	if err != nil {
		return nil, fmt.Errorf("unixfs: directory of %d entries: %w", len(entries), err)
	}
	return n, nil
}

func (p Profile) directory(entries []DirEntry) (*DirNode, error) {
	estimate := 0
	if p.HAMTEstimate == BlockBytes {
		estimate = bytesSize(2)
	}
	for i := range entries {
		if err := checkName(entries[i].Name); err != nil {
			return nil, err
		}
		estimate += p.estimate(&entries[i])
	}
	if estimate > p.HAMTThreshold && len(entries) > 0 {
		return p.hamt(entries)
	}
	return p.basic(entries)
}

func (p Profile) estimate(e *DirEntry) int {
	if p.HAMTEstimate == LinksBytes {
		return len(e.Name) + e.CIDLen
	}
	return linkSize(len(e.Name), e.CIDLen, e.Tsize)
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("name %q is not allowed", name)
	}
	return nil
}

func (p Profile) basic(entries []DirEntry) (*DirNode, error) {
	n := &DirNode{CIDLen: p.cidLen(false), entries: entries, Items: make([]DirItem, len(entries))}
	for i := range entries {
		n.Items[i].Entry = i
	}
	slices.SortFunc(n.Items, func(a, b DirItem) int { return cmp.Compare(entries[a.Entry].Name, entries[b.Entry].Name) })
	for i := 1; i < len(n.Items); i++ {
		if name := entries[n.Items[i].Entry].Name; name == entries[n.Items[i-1].Entry].Name {
			return nil, fmt.Errorf("two entries have the name %q", name)
		}
	}
	return n, n.measure()
}

// measure sets the sizes of n from those of its items.
func (n *DirNode) measure() error {
	n.Size = int64(bytesSize(n.dataSize()))
	n.Tsize = 0
	for _, item := range n.Items {
		name, cidLen, tsize := n.link(item)
		n.Size += int64(linkSize(n.prefixLen()+len(name), cidLen, tsize))
		n.Tsize += tsize
	}
	n.Tsize += uint64(n.Size)
	if n.Size > block.MaxSize {
		return fmt.Errorf("node of %d links: %w", len(n.Items), block.ErrTooLarge)
	}
	return nil
}

// link returns what item contributes to the encoding; the name is without prefix.
func (n *DirNode) link(item DirItem) (name string, cidLen int, tsize uint64) {
	if item.Child != nil {
		return "", item.Child.CIDLen, item.Child.Tsize
	}
	e := &n.entries[item.Entry]
	return e.Name, e.CIDLen, e.Tsize
}

// dataSize returns the size of the UnixFS message.
func (n *DirNode) dataSize() int {
	if n.fanout == 0 {
		return 2
	}
	return 2 + bytesSize(n.bitfieldLen()) + varintSize(murmur3Code) + varintSize(uint64(n.fanout))
}

// EncodeDir returns the block of n from the CIDs of its items, in their order.
func (p Profile) EncodeDir(n *DirNode, links []cid.Cid) (block.Block, error) {
	if len(links) != len(n.Items) {
		return block.Block{}, fmt.Errorf("unixfs: encode directory: %d links, want %d", len(links), len(n.Items))
	}
	b := make([]byte, 0, n.Size)
	for i, item := range n.Items {
		name, _, tsize := n.link(item)
		b = appendLink(b, n.prefix(item.bucket), name, links[i], tsize)
	}
	b = protowire.AppendVarint(append(b, tagNodeData), uint64(n.dataSize()))
	if n.fanout == 0 {
		b = append(b, tagType, byte(Directory))
		return p.sealNode(b, n.Size)
	}
	b = append(b, tagType, byte(HAMT))
	b = appendBytes(b, tagData, n.bitfield())
	b = appendNumber(b, tagHashType, murmur3Code)
	b = appendNumber(b, tagFanout, uint64(n.fanout))
	return p.sealNode(b, n.Size)
}
