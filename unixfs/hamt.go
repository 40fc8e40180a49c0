package unixfs

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/spaolacci/murmur3"
)

// hashBits is the length of the hash that places a name, in bits.
const hashBits = 64

// NameHash returns the murmur3-x64-64 hash that places a name in a HAMT.
func NameHash(name string) uint64 { return murmur3.Sum64([]byte(name)) }

// hashed is an entry and its place in the trie.
type hashed struct {
	hash  uint64
	entry int
}

// hamt builds the trie. Sorted by hash, the entries of every shard stand
// together and in the order of its buckets.
func (p Profile) hamt(entries []DirEntry) (*DirNode, error) {
	order := make([]hashed, len(entries))
	for i := range entries {
		order[i] = hashed{NameHash(entries[i].Name), i}
	}
	slices.SortFunc(order, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	for i := 1; i < len(order); i++ {
		if name := entries[order[i].entry].Name; name == entries[order[i-1].entry].Name {
			return nil, fmt.Errorf("two entries have the name %q", name)
		}
	}
	return p.shard(entries, order, 0)
}

// shard builds the shard of all entries in order, level shards below the root. A
// bucket with one entry links to it, one with more to a shard of its own.
func (p Profile) shard(entries []DirEntry, order []hashed, level int) (*DirNode, error) {
	if _, ok := bucket(order[0].hash, p.HAMTFanout, level); !ok {
		return nil, fmt.Errorf("the hashes of %q and %q collide", entries[order[0].entry].Name, entries[order[1].entry].Name)
	}
	n := &DirNode{CIDLen: p.cidLen(false), fanout: p.HAMTFanout, entries: entries}
	for len(order) > 0 {
		at, _ := bucket(order[0].hash, p.HAMTFanout, level)
		end := 1
		for end < len(order) {
			if next, _ := bucket(order[end].hash, p.HAMTFanout, level); next != at {
				break
			}
			end++
		}
		item := DirItem{Entry: order[0].entry, bucket: at}
		if end > 1 {
			child, err := p.shard(entries, order[:end], level+1)
			if err != nil {
				return nil, err
			}
			item.Entry, item.Child = -1, child
		}
		n.Items = append(n.Items, item)
		order = order[end:]
	}
	n.Items = slices.Clip(n.Items)
	return n, n.measure()
}

// bucket returns the bucket of a hash in the shards at level, counted from the
// root. Levels consume the hash from its most significant bit on; it reports
// false where the hash is used up.
func bucket(hash uint64, fanout, level int) (int, bool) {
	width := bits.TrailingZeros(uint(fanout))
	used := (level + 1) * width
	if level < 0 || used > hashBits {
		return 0, false
	}
	return int(hash>>(hashBits-used)) & (fanout - 1), true
}

// prefixLen is the number of hexadecimal digits before the names in a shard.
func prefixLen(fanout int) int { return (bits.Len(uint(fanout-1)) + 3) / 4 }

func (n *DirNode) prefixLen() int {
	if n.fanout == 0 {
		return 0
	}
	return prefixLen(n.fanout)
}

func (n *DirNode) prefix(bucket int) string {
	if n.fanout == 0 {
		return ""
	}
	return fmt.Sprintf("%0*X", prefixLen(n.fanout), bucket)
}

// bitfieldLen is the length of the bitfield, which has no leading zero bytes.
func (n *DirNode) bitfieldLen() int { return n.Items[len(n.Items)-1].bucket/8 + 1 }

// bitfield has one bit for every bucket, bucket 0 being the last bit.
func (n *DirNode) bitfield() []byte {
	b := make([]byte, n.bitfieldLen())
	for _, item := range n.Items {
		b[len(b)-1-item.bucket/8] |= 1 << (item.bucket % 8)
	}
	return b
}
