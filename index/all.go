package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Roots yields the root of every plan that is complete. One that has several plans comes
// several times.
func (x *Index) Roots(ctx context.Context) iter.Seq2[digest.Digest, error] {
	return func(yield func(digest.Digest, error) bool) {
		for p, err := range x.store.Scan(ctx, kv.Prefix([]byte{keyPlan})) {
			var d digest.Digest
			if err == nil {
				d, err = digest.FromBytes(p.Value)
			}
			if err != nil {
				err = fmt.Errorf("index: roots: %w", err)
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// All yields the record of every place of every block, like [Index.Blobs] in the order of
// the digests.
func (x *Index) All(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for p, err := range x.store.Scan(ctx, kv.Prefix([]byte{keyBlock})) {
			var r Record
			if err == nil {
				r, err = x.one(ctx, p)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				err = fmt.Errorf("index: all: %w", err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// one decodes the pair of a block record.
func (x *Index) one(ctx context.Context, p kv.Pair) (Record, error) {
	if len(p.Key) < 1+len(ref{}) {
		return Record{}, fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(p.Key))
	}
	d, err := digest.FromBytes(p.Key[1 : len(p.Key)-len(ref{})])
	if err != nil {
		return Record{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return x.blob(ctx, d, suffix(p.Key), p.Value)
}
