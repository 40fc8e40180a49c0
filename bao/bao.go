// Package bao hashes, encodes and verifies blobs of any size under one BLAKE3 digest.
//
// BLAKE3 is a tree. Its inner nodes prove any part of a blob against the one hash
// of the whole, so a blob needs no chunks to be served and checked in parts. This
// package cuts blobs into groups of [GroupSize] bytes and knows the tree above
// them: a [Hasher] computes it from a blob, on all cores; a [Slice] writes a range
// together with the nodes that prove it, or the bare range after proving it; a
// [Reader] takes such a stream apart and gives out verified bytes only.
//
// The stream is the slice format of bao with groups of 16 chunks
// (https://github.com/oconnor663/bao/blob/master/docs/spec.md), byte for byte what
// lukechampine.com/blake3/bao writes with group 4, and bao-tree with blocks of 2^4
// chunks for ranges of whole blocks. docs/formats/bao.md spells it out.
//
// # Nodes
//
// Groups are numbered from 0. Every parent node is named by its split: the number
// of the first group of its right subtree. A blob of n groups has the splits 1 to
// n-1, each once; a split's number of trailing zero bits is the height of the node
// above its lowest possible place. So nodes need no other address, and the name
// of a node in a left subtree does not depend on the size of the blob.
//
// # Errors
//
// What does not hash to its digest matches [digest.ErrMismatch], a stream that ends
// early [io.ErrUnexpectedEOF], a digest of another function [digest.ErrUnsupported],
// and an impossible range or size [io/fs.ErrInvalid].
//
// A Hasher and a Reader belong to one goroutine, all else is immutable.
package bao

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/bits"

	"lukechampine.com/blake3/guts"

	"github.com/hashstream/hashstream/digest"
)

const (
	// GroupSize is how many bytes hang below one leaf of the tree.
	GroupSize = guts.ChunkSize << groupLog
	// MaxSize is the size of the largest blob, in bytes. It keeps all sums within 63 bits.
	MaxSize = 1 << 60

	groupLog   = 4
	headerSize = 8
)

// Pair is a parent node: the chaining values of its left and right subtree.
type Pair [64]byte

type chainingValue [8]uint32

func makePair(left, right chainingValue) (p Pair) {
	for i := range 8 {
		binary.LittleEndian.PutUint32(p[4*i:], left[i])
		binary.LittleEndian.PutUint32(p[32+4*i:], right[i])
	}
	return p
}

func (p *Pair) split() (left, right chainingValue) { return valueOf(p[:32]), valueOf(p[32:]) }

func valueOf(b []byte) (cv chainingValue) {
	for i := range cv {
		cv[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return cv
}

func parentOf(left, right chainingValue) guts.Node {
	return guts.ParentNode(left, right, &guts.IV, 0)
}

// valueAs returns the chaining value of n, as the root of the whole tree or below it.
func valueAs(n guts.Node, root bool) chainingValue {
	if root {
		n.Flags |= guts.FlagRoot
	}
	return guts.ChainingValue(n)
}

// groupNode hashes the first n bytes of b, at most [GroupSize], as the subtree that
// begins at byte off of the blob. Room for a whole group is read from b.
func groupNode(b []byte, n int, off int64) guts.Node {
	return guts.CompressBuffer((*[GroupSize]byte)(b), n, &guts.IV, uint64(off)/guts.ChunkSize, 0)
}

func digestOf(root chainingValue) digest.Digest {
	b := []byte{byte(digest.BLAKE3), 32}
	for _, w := range root {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	d, _ := digest.FromBytes(b) // a code, its length and so many bytes: never an error
	return d
}

func rootOf(d digest.Digest) (chainingValue, error) {
	value := d.Value()
	if d.Code() != digest.BLAKE3 || len(value) != 32 {
		return chainingValue{}, fmt.Errorf("bao: tree of %s: %w: want blake3 of 32 bytes", d, digest.ErrUnsupported)
	}
	return valueOf(value), nil
}

// shape is the tree over size bytes in groups of 1024<<log bytes. The log is
// always groupLog, but for tests against vectors of other implementations.
type shape struct {
	size int64
	log  uint8
}

func newShape(size int64) (shape, error) {
	if size < 0 || size > MaxSize {
		return shape{}, fmt.Errorf("bao: blob of %d bytes: %w: want 0 to %d", size, fs.ErrInvalid, int64(MaxSize))
	}
	return shape{size, groupLog}, nil
}

func (s shape) group() int64 { return guts.ChunkSize << s.log }

// groups returns how many groups there are: at least one, if only an empty one.
func (s shape) groups() int64 { return max(1, (s.size+s.group()-1)/s.group()) }

// bytes returns the size of a group.
func (s shape) bytes(group int64) int { return int(min(s.group(), s.size-group*s.group())) }

// parents counts the nodes above the groups first to last.
func (s shape) parents(first, last int64) int64 {
	n, end := int64(0), s.groups()-1
	for level := 1; end>>(level-1) > 0; level++ {
		n += last>>level - first>>level + 1
		// The place at the right edge is a node only if it has a right subtree.
		if at := end >> level; last>>level == at && end < at<<level+1<<(level-1) {
			n--
		}
	}
	return n
}

// subtree is a node and what is below it: the groups from first up to, not
// including, end.
type subtree struct {
	first, end int64
	value      chainingValue // that it must have
	root       bool
}

func (t subtree) leaf() bool { return t.end-t.first <= 1 }

// split returns the first group of the right subtree: the left one has as many
// groups as the largest power of two that leaves some.
func (t subtree) split() int64 {
	return t.first + 1<<(bits.Len64(uint64(t.end-t.first-1))-1)
}
