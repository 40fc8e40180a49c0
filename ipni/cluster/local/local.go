// Package local makes the store of this process one that a cluster can use: a
// [cluster.Node] that also takes records of many groups at once (rebalance.Importer).
//
// # Errors
//
// Those of package store. What a compact store cannot do, to take records from others, matches
// [errors.ErrUnsupported]; it can be read and exported.
//
// A Node is safe for concurrent use.
package local

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// parallel is how many groups are written to at a time, so that durable writes are shared.
const parallel = 64

// Node is a store of this process. In a cluster nobody writes to the store
// itself: writes go through a rebalance.Replica of the Node.
type Node struct {
	ipni.SealedStore
	store *store.Store
}

var _ cluster.Node = (*Node)(nil)

// New returns the node whose store is s.
func New(s *store.Store) *Node { return &Node{s, s} }

// ValueKeys yields the encrypted value keys of key in the order of their bytes. For a compact
// store all of them are held.
func (n *Node) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	if !n.store.Compact() {
		return n.store.ValueKeys(ctx, key) // in this order
	}
	return func(yield func([]byte, error) bool) {
		var all [][]byte
		for v, err := range n.store.ValueKeys(ctx, key) {
			if err != nil {
				yield(nil, err)
				return
			}
			all = append(all, bytes.Clone(v))
		}
		slices.SortFunc(all, bytes.Compare)
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// ExportSealed yields the records of r, as [store.Store.ExportSealed] does: in the order of
// key, value and group.
func (n *Node) ExportSealed(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Record, error] {
	return as(n.store.ExportSealed(ctx, r), func(x store.SealedRecord) cluster.Record { return cluster.Record(x) })
}

// ExportMetadata yields the metadata whose keys lie in r, in their order.
func (n *Node) ExportMetadata(ctx context.Context, r valuestore.Range) iter.Seq2[cluster.Metadata, error] {
	return as(n.store.ExportMetadata(ctx, dhash.MetadataKey(r.From), dhash.MetadataKey(r.To)), func(x store.SealedMetadata) cluster.Metadata { return cluster.Metadata(x) })
}

// as yields what seq does, converted.
func as[A, B any](seq iter.Seq2[A, error], f func(A) B) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for x, err := range seq {
			if !yield(f(x), err) {
				return
			}
		}
	}
}

// ImportSealed puts and deletes records of any groups. No record may be in both. It
// returns when all is durable, or with the first error, when some may be.
func (n *Node) ImportSealed(ctx context.Context, put, del []cluster.Record) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(parallel)
	for group, records := range byGroup(put) {
		all.Go(func() error { return n.store.PutSealed(ctx, group, records) })
	}
	for group, records := range byGroup(del) {
		all.Go(func() error { return n.store.DeleteSealed(ctx, group, records) })
	}
	return all.Wait()
}

func byGroup(all []cluster.Record) map[ipni.SealedGroup]valuestore.Records {
	groups := map[ipni.SealedGroup]valuestore.Records{}
	for _, x := range all {
		groups[x.Group] = groups[x.Group].Append(x.Key, x.Value)
	}
	return groups
}
