package unixfs

import (
	"math/bits"
	"strconv"
)

// used reports whether the bitfield of a shard has bucket i.
func (n *Node) used(i int) bool {
	at := len(n.Data) - 1 - i/8
	return at >= 0 && n.Data[at]>>(i%8)&1 == 1
}

// rank returns the number of buckets in use before i.
func (n *Node) rank(i int) int {
	at := len(n.Data) - 1 - i/8
	ones := bits.OnesCount8(n.Data[at] & (1<<(i%8) - 1))
	for _, b := range n.Data[at+1:] {
		ones += bits.OnesCount8(b)
	}
	return ones
}

// Entry returns the link number i of a directory. In a HAMT the bucket is taken
// off the name, and shard reports that the link leads to another shard of the
// same directory.
func (n *Node) Entry(i int) (l Link, shard bool) {
	l = n.Links[i]
	if n.Type != HAMT {
		return l, false
	}
	l.Name = l.Name[prefixLen(n.Fanout):]
	return l, l.Name == ""
}

// Find returns the entry of name in a directory. In a HAMT it looks into the
// bucket of this one shard, which stands level shards below the root, and
// returns the shard to go on with, if there is one. Of entries with equal names
// it returns the first.
func (n *Node) Find(name string, level int) (l Link, shard, ok bool) {
	if n.Type != HAMT {
		for _, l := range n.Links {
			if l.Name == name {
				return l, false, true
			}
		}
		return Link{}, false, false
	}
	at, ok := bucket(NameHash(name), n.Fanout, level)
	if !ok || !n.used(at) {
		return Link{}, false, false
	}
	l, shard = n.Entry(n.rank(at))
	return l, shard, shard || l.Name == name
}

// Bucket returns the bucket of link i of a HAMT shard.
func (n *Node) Bucket(i int) int {
	v, _ := strconv.ParseUint(n.Links[i].Name[:prefixLen(n.Fanout)], 16, 32) // Decode checked it
	return int(v)
}
