// Package sharded reads and writes sharded DAG indexes, "index/sharded/dag@0.1": one file
// that says in which packs the blocks of one DAG are, and where in them.
//
// The format (https://github.com/storacha/specs/blob/main/w3-index.md) is a CARv1 whose one root is
// a DAG-CBOR block with the root of the DAG and links to a block for each shard, a pack; that
// block has the multihash of the pack and the multihash, offset and length of each slice, which is
// a block of the DAG or the pack itself. As in the implementations, the root comes
// first, then the shards as they are linked, and shards and slices are sorted by hash value.
//
// # Errors
//
// What is not such an index matches [ErrMalformed], a block that is not what its CID says
// [digest.ErrMismatch] too. Import and Export name their own.
//
// Functions are safe for concurrent use.
package sharded

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// Version is the name of the format.
const Version = "index/sharded/dag@0.1"

// ErrMalformed reports bytes that are no sharded DAG index.
var ErrMalformed = errors.New("malformed sharded index")

// Index is the index of one DAG.
type Index struct {
	Content cid.Cid // root of the DAG
	Shards  []Shard
}

// Shard is what one pack holds of it.
type Shard struct {
	Digest digest.Digest // of the pack
	Slices []Slice
}

// Slice is one block, or the whole pack.
type Slice struct {
	Digest         digest.Digest
	Offset, Length int64 // of its bytes in the pack
}

// sort brings shards and slices into the order in which they are written. It
// fails if one comes twice.
func (x *Index) sort() error {
	if err := sortBy(x.Shards, func(s Shard) digest.Digest { return s.Digest }); err != nil {
		return fmt.Errorf("shard %w", err)
	}
	for _, s := range x.Shards {
		if err := sortBy(s.Slices, func(s Slice) digest.Digest { return s.Digest }); err != nil {
			return fmt.Errorf("slice %w", err)
		}
	}
	return nil
}

func sortBy[T any](all []T, name func(T) digest.Digest) error {
	slices.SortStableFunc(all, func(a, b T) int { return bytes.Compare(name(a).Value(), name(b).Value()) })
	return checkOrder(all, name)
}

// checkOrder returns an error unless all is sorted by hash value and names nothing twice.
func checkOrder[T any](all []T, name func(T) digest.Digest) error {
	alike := 0 // the first with the same hash value
	for i := 1; i < len(all); i++ {
		d := name(all[i])
		switch c := bytes.Compare(name(all[i-1]).Value(), d.Value()); {
		case c > 0:
			return fmt.Errorf("%s: %w: out of order", d, ErrMalformed)
		case c < 0:
			alike = i
		}
		// Names of one hash value differ by function, of which there are few.
		for _, other := range all[max(alike, i-maxAlike):i] {
			if name(other) == d {
				return fmt.Errorf("%s: %w: twice", d, ErrMalformed)
			}
		}
		if i-alike >= maxAlike {
			return fmt.Errorf("%s: %w: more than %d of its hash value", d, ErrMalformed, maxAlike)
		}
	}
	return nil
}

const maxAlike = 16

// clone returns a copy that can be sorted.
func (x Index) clone() Index {
	x.Shards = slices.Clone(x.Shards)
	for i := range x.Shards {
		x.Shards[i].Slices = slices.Clone(x.Shards[i].Slices)
	}
	return x
}
