// Package outboard keeps the trees of BLAKE3 blobs beside the index, so that any
// part of a blob can be proved without reading the rest.
//
// The data stays untouched, wherever it lies. What is kept here is the parent nodes
// that package bao computes, in a [kv.Store], in segments of up to 63 nodes: each
// is a subtree of 6 levels, and so a slice of 1 MiB reads a handful of segments
// of at most 4 KiB, in a blob of any size. A blob of at most [bao.GroupSize] bytes has no tree,
// and nothing is kept of it. docs/formats/bao.md gives the bytes.
//
// A [Writer] stores the nodes while a blob is hashed; they become visible all at
// once, by the last write. What was abandoned before that is removed by [Sweep].
//
// # Errors
//
// Absence matches [io/fs.ErrNotExist], a damaged record [digest.ErrMismatch].
//
// A [Store] is safe for concurrent use; a [Writer] and a [Tree] belong to one goroutine.
package outboard

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
)

// The keys of this package begin with keySpace and one byte more, which says what
// they hold.
const (
	keySpace   = 'h'
	keyHeader  = 'h' // ‖ multihash ‖ id      → header: the tree is complete
	keyIntent  = 'i' // ‖ id                  → unix time: the tree is being written
	keySegment = 's' // ‖ id ‖ tier ‖ number  → segment
)

const (
	version  = 1
	tierBits = 6 // levels of a segment
	pairSize = len(bao.Pair{})
	perTier  = 1<<tierBits - 1 // nodes of a full segment
	maxTiers = 8               // for blobs of bao.MaxSize
)

// treeID tells apart the trees that were written of one blob.
type treeID [16]byte

func headersOf(d digest.Digest) []byte {
	return d.AppendTo([]byte{keySpace, keyHeader})
}

func headerKey(d digest.Digest, id treeID) []byte { return append(headersOf(d), id[:]...) }
func intentKey(id treeID) []byte                  { return append([]byte{keySpace, keyIntent}, id[:]...) }
func segmentsOf(id treeID) []byte                 { return append([]byte{keySpace, keySegment}, id[:]...) }

func segmentKey(id treeID, p place) []byte {
	return binary.BigEndian.AppendUint64(append(segmentsOf(id), p.tier), uint64(p.number))
}

// place is where a segment stands: the tier counts from the groups up.
type place struct {
	tier   uint8
	number int64
}

// locate returns the segment of a node and its slot there. The trailing zeros of
// the split are the node's level; the bits above those of the tier number the
// nodes of the tier from left to right, in order.
func locate(split int64) (p place, slot int) {
	tier := bits.TrailingZeros64(uint64(split)) / tierBits
	inTier := split >> (tier * tierBits)
	return place{uint8(tier), inTier >> tierBits}, int(inTier&perTier) - 1
}

// nodes returns how many nodes the segment p has in a tree of so many groups: the
// full number but at the right edge, where the slots from some one on are empty.
func (p place) nodes(groups int64) int {
	last := (groups - 1) >> (p.tier * tierBits) // the last node of the tier
	return int(min(last-p.number<<tierBits, perTier))
}

// groups returns how many groups a blob has.
func groups(size int64) int64 { return (size + bao.GroupSize - 1) / bao.GroupSize }

// encodeSegment appends the pairs, each of which is there.
func encodeSegment(pairs []byte) []byte { return append([]byte{version}, pairs...) }

// decodeSegment takes a segment of n nodes apart.
func decodeSegment(b []byte, n int) ([]byte, error) {
	if len(b) == 0 || b[0] != version {
		return nil, fmt.Errorf("outboard: segment of another version than %d: %w", version, digest.ErrMismatch)
	}
	if len(b) != 1+n*pairSize {
		return nil, fmt.Errorf("outboard: segment of %d bytes, want %d nodes: %w", len(b), n, digest.ErrMismatch)
	}
	return b[1:], nil
}

func encodeHeader(size int64) []byte {
	return binary.AppendUvarint([]byte{version}, uint64(size))
}

func decodeHeader(b []byte) (size int64, err error) {
	if len(b) == 0 || b[0] != version {
		return 0, fmt.Errorf("outboard: header of another version than %d: %w", version, digest.ErrMismatch)
	}
	v, n := binary.Uvarint(b[1:])
	if n <= 0 || n != len(b)-1 || b[n] == 0 { // cut, followed by something, or not the shortest
		return 0, fmt.Errorf("outboard: header %x: %w", b, digest.ErrMismatch)
	}
	if v <= bao.GroupSize || v > bao.MaxSize {
		return 0, fmt.Errorf("outboard: header of a blob of %d bytes: %w", v, digest.ErrMismatch)
	}
	return int64(v), nil
}
