package pebblekv

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/hashstream/hashstream/kv"
)

// groupBytes is the length of a byte of name space and a multihash of 32 bytes.
// Keys that share so many bytes are a group: filters tell which tables have one,
// so that neither a Get nor a Scan within a group reads the others.
const groupBytes = 1 + 34

func split(key []byte) int { return min(len(key), groupBytes) }

// comparer orders keys by their bytes, as kv demands, and tells groups apart.
func comparer() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "hashstream.groups"
	c.Split = split
	c.ImmediateSuccessor = func(dst, prefix []byte) []byte {
		if len(prefix) < groupBytes {
			return append(append(dst, prefix...), 0)
		}
		if next := kv.Prefix(prefix).To; next != nil {
			return append(dst, next...)
		}
		return append(append(dst, prefix...), 0) // no group is greater
	}
	return &c
}

// oneGroup reports whether all keys of r share a group.
func oneGroup(r kv.Range) bool {
	if len(r.From) < groupBytes || r.To == nil {
		return false
	}
	next := kv.Prefix(r.From[:groupBytes]).To
	return next == nil || string(r.To) <= string(next)
}
