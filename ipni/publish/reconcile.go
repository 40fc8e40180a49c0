package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/kv"
)

// Item is a context that is to be advertised.
type Item struct {
	ContextID []byte // 1 to 64 bytes
	Entries   iter.Seq2[multihash.Multihash, error]
	Metadata  []byte // nil means that of the Options
	// Version, if it is not empty, is the same only if the set is the same: a context whose
	// last item had it is passed over without reading its entries.
	Version []byte
}

// ReconcileOptions tunes [Publisher.Reconcile]. Nil means the default.
type ReconcileOptions struct {
	// MaxRemoved is the share of the contexts that may be removed at once. Default 0.25. Up to
	// ten may always be.
	MaxRemoved float64
	// RemoveAll allows any number.
	RemoveAll bool
}

// Reconciled counts what a reconciliation did.
type Reconciled struct {
	Items, Put, Removed int
}

const (
	defaultShare = 0.25
	alwaysFew    = 10
	marksAtOnce  = 512
)

// Reconcile makes the chain say what is wanted: it puts what is new or changed and removes
// what a former reconciliation put and this one does not want. Contexts that came from
// [Publisher.Put] stay. If want fails nothing is removed; if too much would be, nothing is
// and the error matches [ErrMass]. Whatever was interrupted is done again by the next call, which
// passes over what is advertised already. Memory does not grow with the number of items.
//
// One call waits for another. Those of several publishers of one chain must not overlap.
func (p *Publisher) Reconcile(ctx context.Context, want iter.Seq2[Item, error], o *ReconcileOptions) (Reconciled, error) {
	var done Reconciled
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return done, fmt.Errorf("publish: reconcile: %w", context.Cause(ctx))
	}
	err := p.kv.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix(key(kindMark)))})
	if err == nil {
		err = p.putWanted(ctx, want, &done)
	}
	if err == nil {
		err = p.removeUnwanted(ctx, o, &done)
	}
	if err == nil {
		err = p.kv.Batch(ctx, []kv.Op{kv.DeleteRange(kv.Prefix(key(kindMark)))})
	}
	if err != nil {
		return done, fmt.Errorf("publish: reconcile: %w", err)
	}
	return done, nil
}

// putWanted puts every item and marks its context.
func (p *Publisher) putWanted(ctx context.Context, want iter.Seq2[Item, error], done *Reconciled) error {
	var marks []kv.Op
	for item, err := range want {
		if err != nil {
			return err
		}
		grew, err := p.put(ctx, item, true)
		if err != nil {
			return fmt.Errorf("context %x: %w", item.ContextID, err)
		}
		done.Items++
		if grew {
			done.Put++
		}
		marks = append(marks, kv.Put(markKey(item.ContextID), nil))
		if len(marks) == marksAtOnce {
			if err := p.kv.Batch(ctx, marks); err != nil {
				return err
			}
			marks = nil
		}
	}
	if len(marks) == 0 {
		return nil
	}
	return p.kv.Batch(ctx, marks)
}

// removeUnwanted removes the contexts that have no mark, after it has counted them.
func (p *Publisher) removeUnwanted(ctx context.Context, o *ReconcileOptions, done *Reconciled) error {
	all, gone := 0, 0
	for context, err := range p.wanted(ctx) {
		if err != nil {
			return err
		}
		all++
		if !context.marked {
			gone++
		}
	}
	share := defaultShare
	if o != nil && o.MaxRemoved > 0 {
		share = o.MaxRemoved
	}
	if (o == nil || !o.RemoveAll) && gone > alwaysFew && float64(gone) > share*float64(all) {
		return fmt.Errorf("%d of %d contexts are gone: %w", gone, all, ErrMass)
	}
	for context, err := range p.wanted(ctx) {
		if err != nil {
			return err
		}
		if context.marked {
			continue
		}
		removed, err := p.Remove(ctx, context.id)
		if err != nil {
			return err
		}
		if removed {
			done.Removed++
		}
	}
	return nil
}

type wantedContext struct {
	id     []byte
	marked bool
}

// wanted yields the contexts that reconciliations put.
func (p *Publisher) wanted(ctx context.Context) iter.Seq2[wantedContext, error] {
	return func(yield func(wantedContext, error) bool) {
		prefix := key(kindContext)
		for pair, err := range p.kv.Scan(ctx, kv.Prefix(prefix)) {
			var s contextState
			if err == nil {
				s, err = decodeContext(pair.Value)
			}
			if err == nil && !s.Wanted {
				continue
			}
			var c wantedContext
			if err == nil {
				c.id = pair.Key[len(prefix):]
				_, err = p.kv.Get(ctx, markKey(c.id))
				c.marked = err == nil
				if errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}
