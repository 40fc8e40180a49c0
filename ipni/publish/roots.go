package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ipni/ad"
)

// RootContext returns the context id of a root: its multihash, or if that is longer than a context
// id the sha2-256 of it, as a multihash.
func RootContext(root digest.Digest) []byte {
	b := root.Bytes()
	if len(b) <= ad.MaxContextID {
		return b
	}
	sum := sha256.Sum256(b)
	return append([]byte{multihash.SHA2_256, sha256.Size}, sum[:]...)
}

// Roots yields what an index holds, for [Publisher.Reconcile]: an item for the root of every plan
// of which no pack or file was removed, whose entries are all blocks of the DAG, wherever they lie; and one for every block that is
// a whole blob, in a store or in place. Inline blocks are left out. Blocks that
// were indexed without a plan are not roots of anything, and are left out too.
//
// A root with several plans comes several times, and is the same each time.
func Roots(x *index.Index) func(ctx context.Context) iter.Seq2[Item, error] {
	return func(ctx context.Context) iter.Seq2[Item, error] {
		return func(yield func(Item, error) bool) {
			for root, err := range x.Roots(ctx) {
				var item Item
				ok := false
				if err == nil {
					item, ok, err = rootItem(ctx, x, root)
				}
				if err != nil {
					yield(Item{}, fmt.Errorf("publish: roots: %w", err))
					return
				}
				if ok && !yield(item, nil) {
					return
				}
			}
			blobItems(ctx, x, yield)
		}
	}
}

// rootItem returns the item of the first plan of root whose packs and files are all known, if
// there is one. Plans outlive the packs that were removed.
func rootItem(ctx context.Context, x *index.Index, root digest.Digest) (Item, bool, error) {
	for p, err := range x.Plans(ctx, root) {
		if err == nil {
			err = located(ctx, p)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Item{}, false, err
		}
		id := p.ID()
		return Item{ContextID: RootContext(root), Entries: planEntries(ctx, p), Version: id[:]}, true, nil
	}
	return Item{}, false, nil
}

// located returns an error that matches fs.ErrNotExist if a place of the plan's blocks was removed.
func located(ctx context.Context, p index.Plan) error {
	for _, err := range p.Locations(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// planEntries yields the multihashes of the blocks of a plan, each once as far as the plan
// knows.
func planEntries(ctx context.Context, p index.Plan) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		for number := p.First(); number < p.End(); number++ {
			e, _, err := p.Entry(ctx, number)
			if err == nil && (e.First >= p.First() || e.First < 0 && e.Source < 0) {
				continue // a repeat, or inline
			}
			var c cid.Cid
			if err == nil {
				c, err = e.CID()
			}
			if !yield(c.Hash(), err) || err != nil {
				return
			}
		}
	}
}

// blobItems yields the blocks that are whole blobs: objects of their own in the pack store, and
// files in place that were hashed as one.
func blobItems(ctx context.Context, x *index.Index, yield func(Item, error) bool) {
	var last digest.Digest
	for r, err := range x.All(ctx) {
		if err != nil {
			yield(Item{}, fmt.Errorf("publish: roots: %w", err))
			return
		}
		if r.Digest == last || !wholeBlob(r) {
			continue
		}
		last = r.Digest
		if _, planned, err := rootItem(ctx, x, r.Digest); planned || err != nil {
			if err != nil {
				yield(Item{}, fmt.Errorf("publish: roots: %w", err))
				return
			}
			continue // it came already, with all below it
		}
		mh := multihash.Multihash(r.Digest.Bytes())
		one := func(yield func(multihash.Multihash, error) bool) { yield(mh, nil) }
		if !yield(Item{ContextID: RootContext(r.Digest), Entries: one, Version: mh}, nil) {
			return
		}
	}
}

// wholeBlob reports whether a record is of a blob that is no part of a DAG.
func wholeBlob(r index.Record) bool {
	if _, ok := r.Location.StoreKey(); ok {
		return true
	}
	return r.Location.Path != "" && r.Offset == 0 && r.Digest.Code() == digest.BLAKE3
}
