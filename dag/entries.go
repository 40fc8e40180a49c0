package dag

import (
	"context"
	"fmt"
	"iter"
	"math/bits"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/unixfs"
)

// Entries yields the entries of the directory whose root block is dir. The shards
// of a HAMT are demanded depth first, each when its turn comes, and names are
// without the bucket. A name that does not hash to where it stands gives
// [ErrMalformed], so that shards which occur twice cannot multiply entries.
func Entries(ctx context.Context, src block.Source, dir block.Block) iter.Seq2[unixfs.Link, error] {
	return func(yield func(unixfs.Link, error) bool) {
		n, err := unixfs.Decode(dir)
		if err == nil && !n.IsDir() {
			err = fmt.Errorf("%w: a %s", ErrNotDir, n.Type)
		}
		if err == nil {
			err = entries(ctx, src, n, place{}, yield)
		}
		if err != nil && err != errStop {
			yield(unixfs.Link{}, fmt.Errorf("dag: list %s: %w", dir.CID, err))
		}
	}
}

// place is the beginning that the hashes below a bucket have in common.
type place struct {
	hash uint64
	bits int
}

// below returns the place of link i of a shard at p, and whether there can be one.
func (p place) below(n *unixfs.Node, i int) (place, bool) {
	width := bits.TrailingZeros(uint(n.Fanout))
	next := place{p.hash<<width | uint64(n.Bucket(i)), p.bits + width}
	return next, next.bits <= 64
}

func (p place) holds(name string) bool { return unixfs.NameHash(name)>>(64-p.bits) == p.hash }

// entries is recursive: a hash has bits for few levels.
func entries(ctx context.Context, src block.Source, n *unixfs.Node, at place, yield func(unixfs.Link, error) bool) error {
	for i := range n.Links {
		l, shard := n.Entry(i)
		if n.Type == unixfs.HAMT {
			next, ok := at.below(n, i)
			if !ok || (!shard && !next.holds(l.Name)) {
				return fmt.Errorf("%q does not belong in its shard: %w", l.Name, ErrMalformed)
			}
			if shard {
				if err := subEntries(ctx, src, l, n.Fanout, next, yield); err != nil {
					return err
				}
				continue
			}
		}
		if !yield(l, nil) {
			return errStop
		}
	}
	return nil
}

func subEntries(ctx context.Context, src block.Source, l unixfs.Link, fanout int, at place, yield func(unixfs.Link, error) bool) error {
	b, err := block.Get(ctx, src, l.CID)
	if err != nil {
		return err
	}
	n, err := decodeShard(b, fanout)
	if err != nil {
		return err
	}
	return entries(ctx, src, n, at, yield)
}
