package inspect

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/find"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/registry"
)

// providerAge is how old what is known of a provider may be.
const providerAge = 2 * time.Second

// coverage compares the records of this index, without those of other indexers that it may ask,
// with another index.
func (ix Index) coverage(ctx context.Context, r Request) (any, error) {
	other, err := ipnihttp.NewClient(r.Against, nil)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w: %w", fs.ErrInvalid, err)
	}
	defer other.Close()
	o := &coverage.Options{Rate: r.Rate}
	if r.Walk > 0 {
		o.Distance = coverage.Walk(ix.Open, r.Walk)
	}
	if len(r.Multihashes) == 0 {
		return coverage.CompareProviders(ctx, ix.Providers, other, o)
	}
	ours := find.New(ix.Records, registry.NewCache(ix.Registry, providerAge), nil)
	return coverage.CompareReads(ctx, ours, other, multihashes(r.Multihashes), o)
}

func multihashes(all [][]byte) iter.Seq2[multihash.Multihash, error] {
	return func(yield func(multihash.Multihash, error) bool) {
		for _, b := range all {
			n, mh, err := multihash.MHFromBytes(b)
			if err != nil || n != len(b) {
				yield(nil, fmt.Errorf("inspect: %x is no multihash: %w", b, fs.ErrInvalid))
				return
			}
			if !yield(mh, nil) {
				return
			}
		}
	}
}
