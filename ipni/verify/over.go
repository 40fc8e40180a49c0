package verify

import (
	"bytes"
	"context"
	"iter"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// Lookups answers lookups, as the nodes of a cluster do together.
type Lookups interface {
	ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error]
	Metadata(ctx context.Context, c ipni.Context) ([]byte, error)
}

// Over returns a [Store] of what can only be looked up. It does not tell the groups of a
// context apart, so what is missing from one and there in another counts as there.
func Over(l Lookups) Store { return over{l} }

type over struct{ Lookups }

// Check yields those of mhs under which the context is not found. Second hashes, which no
// store keeps, are not missing.
func (o over) Check(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		valueKey := g.ValueKey()
		for mh, err := range mhs.All() {
			found := false
			if err == nil {
				if _, second := dhash.ParseKey(mh); second == nil {
					continue
				}
				found, err = o.has(ctx, dhash.SecondHash(mh), dhash.Seal(nil, valueKey, mh))
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !found && !yield(mh, nil) {
				return
			}
		}
	}
}

func (o over) has(ctx context.Context, key dhash.Key, sealed []byte) (bool, error) {
	for got, err := range o.ValueKeys(ctx, key) {
		if err != nil {
			return false, err
		}
		if bytes.Equal(got, sealed) {
			return true, nil
		}
	}
	return false, nil
}
