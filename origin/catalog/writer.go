package catalog

import (
	"context"

	"github.com/hashstream/hashstream/kv"
)

// Writer collects writes into batches.
type Writer struct {
	kv    kv.Store
	ops   []kv.Op
	bytes int
}

const maxBatch = 1 << 20 // bytes

// Put adds a write.
func (w *Writer) Put(ctx context.Context, op kv.Op) error {
	w.ops = append(w.ops, op)
	if w.bytes += len(op.Key) + len(op.Value); w.bytes > maxBatch {
		return w.Flush(ctx)
	}
	return nil
}

// Flush returns when all that was added is durable.
func (w *Writer) Flush(ctx context.Context) error {
	if len(w.ops) == 0 {
		return nil
	}
	err := w.kv.Batch(ctx, w.ops)
	w.ops, w.bytes = w.ops[:0], 0
	return err
}

// NewWriter returns a Writer to store.
func NewWriter(store kv.Store) *Writer { return &Writer{kv: store} }
