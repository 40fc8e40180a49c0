package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// PlainRecord is a multihash of a group.
type PlainRecord struct {
	Group     ipni.Group
	Multihash multihash.Multihash
}

// errSealed is why a sealed store cannot tell what it holds.
var errSealed = fmt.Errorf("the store is sealed: it holds no multihashes: %w", errors.ErrUnsupported)

// ExportPlain yields what a compact store holds, without sealing it; a sealed one cannot
// tell. It is as of one moment, except that what is removed while an export is under way may be
// yielded or not. A record may come more than once. A multihash is valid until the next one is
// yielded. [Store.Put] takes what is yielded, in either mode.
func (s *Store) ExportPlain(ctx context.Context) iter.Seq2[PlainRecord, error] {
	return func(yield func(PlainRecord, error) bool) {
		if !s.o.Compact {
			yield(PlainRecord{}, fmt.Errorf("store: export: %w", errSealed))
			return
		}
		for rec, err := range s.values.Range(ctx, valuestore.Everything()) {
			var o *owner
			if err == nil {
				o, err = s.owner(ctx, rec.Value)
			}
			if err != nil {
				yield(PlainRecord{}, fmt.Errorf("store: export: %w", err))
				return
			}
			if o == nil {
				continue // it was removed meanwhile
			}
			if !yield(PlainRecord{ipni.Group{Context: o.context, Epoch: o.Epoch}, rec.Bytes}, nil) {
				return
			}
		}
	}
}
