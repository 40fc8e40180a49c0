package find

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// Opened is a lookup over an index that sees second hashes only.
type Opened struct {
	sealed  ipni.SealedReader
	foreign atomic.Uint64
}

var _ ipni.Lookup = (*Opened)(nil)

// Open returns a lookup that hashes what it is asked for, asks sealed, and opens the
// answers. The index learns neither the multihash nor who has it; it does see which metadata is asked
// for afterwards. A [Finder] with Options.Ahead asks for that of many contexts at a time.
func Open(sealed ipni.SealedReader) *Opened { return &Opened{sealed: sealed} }

// Contexts yields the contexts of mh. What does not open is skipped and counted.
func (o *Opened) Contexts(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Context, error] {
	return func(yield func(ipni.Context, error) bool) {
		var buf []byte
		opener := dhash.NewOpener(mh)
		for sealed, err := range o.sealed.ValueKeys(ctx, dhash.SecondHash(mh)) {
			if err != nil {
				yield(ipni.Context{}, fmt.Errorf("find: value keys: %w", err))
				return
			}
			valueKey, err := opener.Open(buf[:0], sealed)
			if err != nil {
				o.foreign.Add(1)
				continue
			}
			buf = valueKey
			id, context, err := dhash.SplitValueKey(valueKey)
			if err != nil {
				o.foreign.Add(1)
				continue
			}
			if !yield(ipni.Context{Provider: id, ID: string(context)}, nil) {
				return
			}
		}
	}
}

// Metadata returns the metadata of a context. If it does not open, the index that holds it gave
// other bytes than those that were written, and the error matches digest.ErrMismatch.
func (o *Opened) Metadata(ctx context.Context, c ipni.Context) ([]byte, error) {
	valueKey := c.ValueKey()
	sealed, err := o.sealed.SealedMetadata(ctx, dhash.HashValueKey(valueKey))
	if err == nil {
		sealed, err = dhash.Open(nil, sealed, valueKey)
	}
	if err != nil {
		return nil, fmt.Errorf("find: metadata: %w", err)
	}
	return sealed, nil
}

// Foreign returns how many value keys did not open.
func (o *Opened) Foreign() uint64 { return o.foreign.Load() }
